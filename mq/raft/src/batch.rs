//! One entry in the making: items and the answers that wait for them.

use std::fmt;

use bytes::BytesMut;
use mq_message::CommitLogOffset;
use mq_store::EntryBuilder;
use mq_store::entry::{HEADER_LEN, ITEM_HEADER_LEN};

use crate::application::{Answer, ItemSpan, Outcome};

/// What [`Decide`](crate::Decide) fills: it becomes one entry of the log, whole or not at all.
pub struct Batch<A> {
    builder: EntryBuilder,
    /// Position of each item's body within the entry.
    bodies: Vec<u32>,
    answers: Vec<(A, ItemSpan)>,
    log_time_ms: i64,
}

impl<A: Answer> Batch<A> {
    pub(crate) fn new(buffer: BytesMut, log_time_ms: i64) -> Self {
        Self {
            builder: EntryBuilder::within(buffer),
            bodies: Vec::new(),
            answers: Vec::new(),
            log_time_ms,
        }
    }

    /// The batch of a test, outside any group.
    pub fn for_test(log_time_ms: i64) -> Self {
        Self::new(BytesMut::with_capacity(1024), log_time_ms)
    }

    /// Adds a stored message record (queue offset and store time already set; the log stamps the physical offset).
    /// Returns the item's number within the batch.
    pub fn push_message(&mut self, record: &[u8]) -> usize {
        self.bodies.push((self.builder.len() + ITEM_HEADER_LEN) as u32);
        self.builder.push_message(record)
    }

    /// Adds an effect on the replicated state. Returns the item's number within the batch.
    pub fn push_effect(&mut self, effect: &[u8]) -> usize {
        self.bodies.push((self.builder.len() + ITEM_HEADER_LEN) as u32);
        self.builder.push_effect(effect)
    }

    /// Completes `answer` when this batch's entry is applied or fails; `items` are the request's own.
    pub fn answer(&mut self, answer: A, items: ItemSpan) {
        debug_assert!(items.end <= self.bodies.len());
        self.answers.push((answer, items));
    }

    /// The time all members will see for this entry, unix milliseconds.
    pub fn log_time_ms(&self) -> i64 {
        self.log_time_ms
    }

    /// Bytes of the entry so far, header included.
    pub fn len(&self) -> usize {
        self.builder.len()
    }

    /// No item and no answer yet.
    pub fn is_empty(&self) -> bool {
        self.builder.len() == HEADER_LEN && self.answers.is_empty()
    }

    /// So many items that no further request should be added. A single request must stay below half of
    /// [`mq_store::entry::ITEMS_MAX`].
    pub fn is_crowded(&self) -> bool {
        self.builder.item_count() >= mq_store::entry::ITEMS_MAX / 2
    }

    /// Items so far.
    pub fn item_count(&self) -> usize {
        self.builder.item_count()
    }

    /// Splits the batch of a test into what goes to its log, and what completes the answers once that is applied.
    pub fn split_for_test(self) -> (EntryBuilder, impl FnOnce(&mq_store::Entry)) {
        let (builder, waiting) = self.split();
        (builder, move |entry: &mq_store::Entry| waiting.applied(entry))
    }

    /// Splits into what goes to the log and what waits for it.
    pub(crate) fn split(self) -> (EntryBuilder, Waiting<A>) {
        (
            self.builder,
            Waiting {
                bodies: self.bodies,
                answers: self.answers,
            },
        )
    }
}

impl<A> fmt::Debug for Batch<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({:?}, {} answers)", self.builder, self.answers.len())
    }
}

/// The answers of a batch on its way. Dropped unanswered, they get [`Outcome::Unknown`].
pub(crate) struct Waiting<A: Answer> {
    bodies: Vec<u32>,
    answers: Vec<(A, ItemSpan)>,
}

impl<A: Answer> Waiting<A> {
    /// The entry was applied.
    pub fn applied(mut self, entry: &mq_store::Entry) {
        let base = entry.offset().get();
        let offsets: Vec<CommitLogOffset> = self
            .bodies
            .iter()
            .map(|at| CommitLogOffset::from(base + u64::from(*at)))
            .collect();
        for (answer, items) in self.answers.drain(..) {
            let offsets = offsets.get(items).unwrap_or(&[]);
            answer.complete(Outcome::Applied { entry, offsets });
        }
    }

    /// The entry is certainly not in the log.
    pub fn refused(mut self) {
        self.answers
            .drain(..)
            .for_each(|(answer, _)| answer.complete(Outcome::Refused));
    }
}

impl<A: Answer> Drop for Waiting<A> {
    fn drop(&mut self) {
        self.answers
            .drain(..)
            .for_each(|(answer, _)| answer.complete(Outcome::Unknown));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use mq_store::{EntryKind, LogId};

    use super::*;

    struct Note(Arc<Mutex<Vec<String>>>, &'static str);
    impl Answer for Note {
        fn complete(self, outcome: Outcome<'_>) {
            let said = match outcome {
                Outcome::Applied { offsets, .. } => format!("{} at {offsets:?}", self.1),
                Outcome::Refused => format!("{} refused", self.1),
                Outcome::Unknown => format!("{} unknown", self.1),
            };
            self.0.lock().unwrap().push(said);
        }
    }

    fn batch(notes: &Arc<Mutex<Vec<String>>>) -> Batch<Note> {
        let mut batch = Batch::for_test(5);
        batch.push_effect(b"abc");
        let first = batch.push_message(&[0; 64]);
        batch.answer(Note(notes.clone(), "a"), 0..1);
        batch.answer(Note(notes.clone(), "b"), first..first + 1);
        batch
    }

    #[test]
    fn each_answer_learns_where_its_own_items_are() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let (builder, waiting) = batch(&notes).split();
        let entry = builder.finish(LogId::default(), 4096.into(), 0, 5, EntryKind::Batch);
        let items: Vec<_> = entry.items().map(|item| item.offset).collect();
        waiting.applied(&entry);
        assert_eq!(
            *notes.lock().unwrap(),
            [format!("a at {:?}", &items[..1]), format!("b at {:?}", &items[1..])]
        );
    }

    #[test]
    fn a_lost_batch_is_unknown_and_a_refused_one_refused() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        batch(&notes).split().1.refused();
        drop(batch(&notes).split());
        assert_eq!(
            *notes.lock().unwrap(),
            ["a refused", "b refused", "a unknown", "b unknown"]
        );
    }
}
