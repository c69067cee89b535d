//! One entry in the making: items and the answers that wait for them.

use crate::application::{Answer, ItemSpan};

/// What [`Decide`](crate::Decide) fills: it becomes one entry of the log, whole or not at all.
#[derive(Debug)]
pub struct Batch<A> {
    payload: Vec<u8>,
    items: usize,
    answers: Vec<(A, ItemSpan)>,
    log_time_ms: i64,
}

impl<A: Answer> Batch<A> {
    /// Adds a stored message record (queue offset and store time already set; the log stamps the physical offset).
    /// Returns the item's number within the batch.
    pub fn push_message(&mut self, record: &[u8]) -> usize {
        self.push(record)
    }

    /// Adds an effect on the replicated state. Returns the item's number within the batch.
    pub fn push_effect(&mut self, effect: &[u8]) -> usize {
        self.push(effect)
    }

    fn push(&mut self, body: &[u8]) -> usize {
        self.payload.extend_from_slice(body);
        self.items += 1;
        self.items - 1
    }

    /// Completes `answer` when this batch's entry is applied or fails; `items` are the request's own.
    pub fn answer(&mut self, answer: A, items: ItemSpan) {
        self.answers.push((answer, items));
    }

    /// The time all members will see for this entry, unix milliseconds.
    pub fn log_time_ms(&self) -> i64 {
        self.log_time_ms
    }

    /// Bytes of the entry so far, header included.
    pub fn len(&self) -> usize {
        64 + self.payload.len()
    }

    /// No item and no answer yet.
    pub fn is_empty(&self) -> bool {
        self.items == 0 && self.answers.is_empty()
    }

    /// Items so far.
    pub fn item_count(&self) -> usize {
        self.items
    }

    /// The batch of a test, outside any group.
    pub fn for_test(log_time_ms: i64) -> Self {
        Self {
            payload: Vec::new(),
            items: 0,
            answers: Vec::new(),
            log_time_ms,
        }
    }
}
