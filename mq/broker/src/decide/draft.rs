//! The entry under construction together with the state it will lead to.

use super::answer::Waiting;
use crate::ask::{Refusal, Reply};
use crate::state::codec::Writer;
use crate::state::{Effect, State, Stored, Within};
use mq_message::{CommitLogOffset, QueueId, QueueOffset};
use mq_raft::{Batch, ItemSpan};

/// Most items of one ask: below half of what an entry can count, so that it fits behind others.
pub(super) const ASK_ITEMS_MAX: usize = 32_000;

/// Pushes items and keeps the judge's state in step with them.
pub(super) struct Draft<'a> {
    pub state: &'a mut State,
    batch: &'a mut Batch<Waiting>,
    scratch: &'a mut Writer,
    /// Offsets of this ask's messages so far, for [`Effect::ProducerTook`].
    queue_offsets: Vec<QueueOffset>,
}

impl<'a> Draft<'a> {
    pub fn new(state: &'a mut State, batch: &'a mut Batch<Waiting>, scratch: &'a mut Writer) -> Self {
        Self {
            state,
            batch,
            scratch,
            queue_offsets: Vec::new(),
        }
    }

    /// Log time of the entry, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.state.log_time_ms
    }

    /// Number the next item will have.
    pub fn next_item(&self) -> usize {
        self.batch.item_count()
    }

    /// Checks that a queue exists and can hold messages: its topic's name becomes the name of a folder.
    pub fn check_queue(&self, topic: &str, queue: QueueId) -> Result<(), Refusal> {
        let Some(found) = self.state.topics.get(topic) else {
            return Err(Refusal::TopicMissing(topic.into()));
        };
        if found.queue(queue).is_none() || topic.contains('.') {
            let queues = found.config.queues();
            return Err(Refusal::QueueIllegal {
                topic: topic.into(),
                queue: queue.get(),
                queues,
            });
        }
        Ok(())
    }

    /// Stores a record at the end of a queue that [`check_queue`](Self::check_queue) has seen.
    pub fn message(&mut self, topic: &str, queue: QueueId, record: &mut [u8]) -> QueueOffset {
        let stored = Stored {
            physical: CommitLogOffset::ZERO,
            size: record.len() as u32,
        };
        let placed = self
            .state
            .place(topic, queue, stored)
            .expect("the queue was checked before");
        mq_message::set_queue_offset(record, placed.offset);
        mq_message::set_store_timestamp(record, self.state.log_time_ms);
        self.batch.push_message(record);
        placed.offset
    }

    /// As [`message`](Self::message), and remembers the place for [`Effect::ProducerTook`].
    pub fn remembered_message(&mut self, topic: &str, queue: QueueId, record: &mut [u8]) -> QueueOffset {
        let offset = self.message(topic, queue, record);
        self.queue_offsets.push(offset);
        offset
    }

    /// Pushes an effect and applies it.
    pub fn effect(&mut self, effect: &Effect) {
        self.scratch.clear();
        effect.encode(self.scratch);
        self.batch.push_effect(self.scratch.bytes());
        let within = Within {
            base: CommitLogOffset::ZERO,
            queue_offsets: &self.queue_offsets,
        };
        self.state.apply(effect, within);
    }

    /// Answers when the entry is applied.
    pub fn answer(&mut self, waiting: Waiting, items: ItemSpan) {
        self.batch.answer(waiting, items);
    }

    /// Answers "done" when the entry is applied, if anybody waits.
    pub fn done(&mut self, reply: Reply<()>) {
        if reply.is_awaited() {
            let at = self.next_item();
            self.answer(Waiting::Done(reply), at..at);
        }
    }
}
