//! Appending records to one queue.

use super::answer::Waiting;
use super::check;
use super::draft::Draft;
use crate::ask::{Append, Refusal};
use crate::state::{Effect, TopicConfig};
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
    check::records(&ask.records, &ask.topic, ask.queue)?;
    match (&ask.create, draft.state.topics.get(&ask.topic)) {
        (Some(config), None) if config.name == ask.topic => return check::created(config, ask.queue),
        (Some(config), _) => check::topic(config)?,
        _ => {}
    }
    draft.check_queue(&ask.topic, ask.queue)
}

/// Creates a topic unless it exists.
pub(super) fn create_if_absent(draft: &mut Draft<'_>, config: &TopicConfig) {
    if draft.state.topics.get(&config.name).is_none() {
        draft.effect(&Effect::TopicSet(config.clone()));
    }
}
