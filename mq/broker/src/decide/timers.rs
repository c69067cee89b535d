//! Delivery of delayed messages: messages and progress in one entry, so that each is delivered exactly once.

use super::check;
use super::draft::Draft;
use crate::ask::{DeliverTimers, Refusal};
use crate::state::Effect;
use mq_message::QueueId;

/// Delivers a run of one level.
pub(super) fn deliver(draft: &mut Draft<'_>, mut ask: DeliverTimers) {
    let progress = draft.state.schedule.progress();
    let current = progress.get((ask.level as usize).wrapping_sub(1)).copied();
    if current != Some(ask.from) || ask.to < ask.from {
        let text = format!("delay level {} is at {current:?}, not at {}", ask.level, ask.from);
        return ask.reply.send(Err(Refusal::Illegal(text)));
    }
    if ask.due_ms > draft.state.log_time_ms {
        let text = format!("not before {}; log time is {}", ask.due_ms, draft.state.log_time_ms);
        return ask.reply.send(Err(Refusal::Illegal(text)));
    }
    for message in &ask.messages {
        if let Err(error) = check::record(message) {
            return ask.reply.send(Err(error));
        }
    }
    for message in &mut ask.messages {
        let Some(topic) = draft.state.topics.get(&message.topic) else {
            continue;
        }; // deleted meanwhile
        let queues = topic.queues.len() as u32;
        if message.topic.contains('.') {
            continue;
        }
        if queues == 0 {
            continue;
        }
        let queue = QueueId(message.queue.get() % queues);
        if queue != message.queue {
            set_queue_id(&mut message.record, queue);
        }
        draft.message(&message.topic, queue, &mut message.record);
    }
    draft.effect(&Effect::Delivered {
        level: ask.level,
        to: ask.to,
    });
    draft.done(ask.reply);
}

/// The queue id lies at byte 12 of a record.
fn set_queue_id(record: &mut [u8], queue: QueueId) {
    record[12..16].copy_from_slice(&queue.get().to_be_bytes());
}
