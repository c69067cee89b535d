//! Producers with epochs, and atomic batches (ADR 009).

use super::answer::Waiting;
use super::append::create_if_absent;
use super::check as checks;
use super::draft::{ASK_ITEMS_MAX, Draft};
use super::offsets;
use crate::ask::{AtomicBatch, BatchResult, OpenedProducer, ProducerSequence, Refusal, Reply};
use crate::state::codec::BLOB_BYTES_MAX;
use crate::state::{Effect, Name};
use crate::view::View;
use std::sync::Arc;

/// Raises the epoch: every older session is refused from now on.
pub(super) fn open(draft: &mut Draft<'_>, producer: Name, reply: Reply<OpenedProducer>) {
    if let Err(refusal) = checks::name("producer id", &producer) {
        return reply.send(Err(refusal));
    }
    let known = draft.state.producers.get(&producer).cloned().unwrap_or_default();
    let epoch = known.epoch + 1;
    draft.effect(&Effect::ProducerOpened { producer, epoch });
    let opened = OpenedProducer {
        epoch,
        last_sequence: known.last_sequence,
        position: known.position,
    };
    let at = draft.next_item();
    draft.answer(Waiting::Opened(opened, reply), at..at);
}

/// What a sequence number means for a producer.
enum Sequence {
    Next,
    /// Taken before; the result is remembered (or about to be, if the first is still in flight).
    Repeat,
}

/// Appends all of it or nothing.
pub(super) fn append(draft: &mut Draft<'_>, view: &Arc<View>, mut ask: AtomicBatch) {
    match check(draft, &ask) {
        Err(refusal) => return ask.reply.send(Err(refusal)),
        Ok(Sequence::Repeat) => return repeat(draft, view, ask.producer, ask.reply),
        Ok(Sequence::Next) => {}
    }
    for config in &ask.create {
        create_if_absent(draft, config);
    }
    let first_item = draft.next_item();
    let queue_offsets: Vec<_> = ask
        .messages
        .iter_mut()
        .map(|out| draft.remembered_message(&out.topic, out.queue, &mut out.record))
        .collect();
    let items = first_item..draft.next_item();
    for commit in &ask.offsets {
        draft.effect(&offsets::set(commit));
    }
    if let Some(ProducerSequence { producer, sequence, .. }) = ask.producer {
        let messages = queue_offsets.len() as u32;
        draft.effect(&Effect::ProducerTook {
            producer,
            sequence,
            position: ask.position,
            messages,
        });
    }
    draft.answer(Waiting::Batch(queue_offsets, ask.reply), items);
}

/// A repeat is answered behind this entry: the first one lies before it, so its result is applied by then.
fn repeat(draft: &mut Draft<'_>, view: &Arc<View>, producer: Option<ProducerSequence>, reply: Reply<BatchResult>) {
    let Some(ProducerSequence { producer, sequence, .. }) = producer else {
        return;
    };
    let at = draft.next_item();
    draft.answer(
        Waiting::Repeat {
            view: view.clone(),
            producer,
            sequence,
            reply,
        },
        at..at,
    );
}

fn check(draft: &Draft<'_>, ask: &AtomicBatch) -> Result<Sequence, Refusal> {
    if let Some(producer) = &ask.producer
        && let Sequence::Repeat = check_sequence(draft, producer)?
    {
        return Ok(Sequence::Repeat);
    }
    if ask.messages.len() + ask.offsets.len() + ask.create.len() >= ASK_ITEMS_MAX {
        return Err(Refusal::Invalid(format!(
            "an atomic batch has less than {ASK_ITEMS_MAX} messages and offsets"
        )));
    }
    if ask
        .position
        .as_ref()
        .is_some_and(|position| position.len() > BLOB_BYTES_MAX)
    {
        return Err(Refusal::Invalid(format!(
            "a position has at most {BLOB_BYTES_MAX} bytes"
        )));
    }
    for out in &ask.messages {
        checks::record(out)?;
        let created = ask.create.iter().find(|config| config.name == out.topic);
        match created.filter(|_| draft.state.topics.get(&out.topic).is_none()) {
            Some(config) => checks::created(config, out.queue)?,
            None => draft.check_queue(&out.topic, out.queue)?,
        }
    }
    for config in &ask.create {
        checks::topic(config)?;
    }
    for commit in &ask.offsets {
        checks::name("group", &commit.group)?;
        checks::name("topic", &commit.topic)?;
    }
    Ok(Sequence::Next)
}

fn check_sequence(draft: &Draft<'_>, ask: &ProducerSequence) -> Result<Sequence, Refusal> {
    let Some(known) = draft.state.producers.get(&ask.producer) else {
        return Err(Refusal::Illegal(format!(
            "producer[{}] has not been opened",
            ask.producer
        )));
    };
    if ask.epoch < known.epoch {
        return Err(Refusal::Fenced {
            producer: ask.producer.clone(),
            epoch: ask.epoch,
            current: known.epoch,
        });
    }
    if ask.epoch > known.epoch {
        let text = format!("producer[{}] epoch {} has not been opened", ask.producer, ask.epoch);
        return Err(Refusal::Illegal(text));
    }
    match known.last_sequence {
        None => Ok(Sequence::Next),
        Some(last) if Some(ask.sequence) == last.checked_add(1) => Ok(Sequence::Next),
        Some(last) if ask.sequence <= last => Ok(Sequence::Repeat),
        last => Err(Refusal::OutOfSequence {
            producer: ask.producer.clone(),
            sequence: ask.sequence,
            last,
        }),
    }
}
