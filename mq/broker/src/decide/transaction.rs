//! Half messages: decided once, by whoever reports first.

use super::check;
use super::draft::Draft;
use crate::ask::{EndTransaction, HalfChecked, Refusal};
use crate::state::Effect;
use mq_message::{QueueId, topic as names};

/// Commits or rolls back. The delivered copy and the end of the half message are one entry; a repeat changes nothing and
/// is answered like the first, after it.
pub(super) fn end(draft: &mut Draft<'_>, mut ask: EndTransaction) {
    if draft.state.halves.get(ask.half).is_none() {
        return draft.done(ask.reply);
    }
    if let Some(out) = &mut ask.commit {
        if let Err(refusal) = check::outgoing(draft, out) {
            return ask.reply.send(Err(refusal));
        }
        draft.message(&out.topic, out.queue, &mut out.record);
    }
    draft.effect(&Effect::HalfDecided(ask.half));
    draft.done(ask.reply);
}

/// Counts checks, and moves what was checked too often out of the way.
pub(super) fn checked(draft: &mut Draft<'_>, mut ask: HalfChecked) {
    for (_, copy) in &ask.given_up {
        if let Err(error) = check::records(&copy.record, names::TRANS_CHECK_MAX_TIME, QueueId(0)) {
            return ask.reply.send(Err(error));
        }
    }
    if draft.check_queue(names::TRANS_CHECK_MAX_TIME, QueueId(0)).is_err() {
        return ask
            .reply
            .send(Err(Refusal::TopicMissing(names::TRANS_CHECK_MAX_TIME.into())));
    }
    for half in ask.checked {
        if draft.state.halves.get(half).is_some() {
            draft.effect(&Effect::HalfChecked(half));
        }
    }
    for (half, copy) in &mut ask.given_up {
        if draft.state.halves.get(*half).is_some() {
            draft.message(names::TRANS_CHECK_MAX_TIME, QueueId(0), &mut copy.record);
            draft.effect(&Effect::HalfDecided(*half));
        }
    }
    draft.done(ask.reply);
}
