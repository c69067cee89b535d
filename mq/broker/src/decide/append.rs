//! Appending records to one queue.

use super::answer::Waiting;
use super::draft::Draft;
use crate::ask::{Append, Refusal};
use crate::state::{Effect, QUEUES_MAX, TopicConfig};
use mq_message::record::record_size;

/// Judges an append.
pub(super) fn append(draft: &mut Draft<'_>, mut ask: Append) {
    if let Err(refusal) = check(draft, &ask) {
        return ask.reply.send(Err(refusal));
    }
    if let Some(config) = &ask.create {
        create_if_absent(draft, config);
    }
    // A topic created just now has been checked against its configuration above.
    let first_item = draft.next_item();
    let mut first = None;
    let mut rest = &mut ask.records[..];
    while !rest.is_empty() {
        let size = record_size(rest).expect("records were checked before");
        let (record, after) = rest.split_at_mut(size);
        let offset = draft.message(&ask.topic, ask.queue, record);
        first.get_or_insert(offset);
        rest = after;
    }
    let waiting = Waiting::Appended {
        first: first.expect("there is at least one record"),
        store_time_ms: draft.now_ms(),
        reply: ask.reply,
    };
    let items = first_item..draft.next_item();
    draft.answer(waiting, items);
}

fn check(draft: &Draft<'_>, ask: &Append) -> Result<(), Refusal> {
    check_records(&ask.records)?;
    match (&ask.create, draft.state.topics.get(&ask.topic)) {
        (Some(config), None) if config.name == ask.topic => check_created(config, ask.queue.get()),
        (Some(config), _) if config.queues() > QUEUES_MAX => Err(too_many_queues(config)),
        _ => draft.check_queue(&ask.topic, ask.queue),
    }
}

/// That `records` is at least one whole record and nothing else.
pub(super) fn check_records(records: &[u8]) -> Result<(), Refusal> {
    let mut rest = records;
    loop {
        let size = record_size(rest).map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
        rest = &rest[size..];
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// That a topic that is about to be created has the queue.
pub(super) fn check_created(config: &TopicConfig, queue: u32) -> Result<(), Refusal> {
    if config.queues() > QUEUES_MAX {
        return Err(too_many_queues(config));
    }
    if queue >= config.queues() {
        return Err(Refusal::QueueIllegal {
            topic: config.name.clone(),
            queue,
            queues: config.queues(),
        });
    }
    Ok(())
}

pub(super) fn too_many_queues(config: &TopicConfig) -> Refusal {
    Refusal::Invalid(format!(
        "topic[{}] wants {} queues, at most {QUEUES_MAX} are allowed",
        config.name,
        config.queues()
    ))
}

/// Creates a topic unless it exists.
pub(super) fn create_if_absent(draft: &mut Draft<'_>, config: &TopicConfig) {
    if draft.state.topics.get(&config.name).is_none() {
        draft.effect(&Effect::TopicSet(config.clone()));
    }
}
