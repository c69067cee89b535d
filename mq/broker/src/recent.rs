//! The messages stored last, by unique key: finds out whether a send of unknown outcome was applied (ADR 008).
//!
//! Derived from the log like the consume queues, but kept in memory only: a resend follows within seconds, and a member
//! that starts from a checkpoint recalls the last seconds before it. It is keyed by topic and redelivery count too, because
//! a message keeps its unique key on its way through the schedule, half, retry and dead-letter topics.
//!
//! Every member notes every message, and hardly ever is one asked for; but then, after an election, many at once. So noting
//! one is two writes: each message points to the one before it in its bucket. Nothing is ever removed from a bucket: the
//! walk back ends at the first message that is no longer remembered.

use mq_base::env::random::HashState;
use mq_message::{CommitLogOffset, QueueId, QueueOffset};
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// How many messages are remembered; as many buckets.
const REMEMBERED_MAX: usize = 262_144;

/// Where a message was stored.
pub type Place = (QueueId, QueueOffset, CommitLogOffset);

/// The memory.
#[derive(Default)]
pub struct Recent {
    /// In the order of the log.
    order: VecDeque<Noted>,
    /// Number of the next message. Numbers may wrap: only differences count.
    next: u32,
    /// Number of the newest message of each bucket; empty until one is stored.
    newest: Vec<u32>,
    hashes: HashState,
}

struct Noted {
    fingerprint: u64,
    offset: QueueOffset,
    physical: CommitLogOffset,
    queue: QueueId,
    /// Number of the message before it in its bucket.
    before: u32,
}

impl Recent {
    /// A message was stored.
    pub fn stored(&mut self, topic: &str, reconsume_times: i32, unique_key: &str, place: Place) {
        let fingerprint = self.fingerprint(topic, reconsume_times, unique_key);
        if self.newest.is_empty() {
            self.newest = vec![0; REMEMBERED_MAX];
        }
        if self.order.len() == REMEMBERED_MAX {
            self.order.pop_front();
        }
        let (queue, offset, physical) = place;
        let before = std::mem::replace(&mut self.newest[bucket(fingerprint)], self.next);
        self.order.push_back(Noted {
            fingerprint,
            offset,
            physical,
            queue,
            before,
        });
        self.next = self.next.wrapping_add(1);
    }

    /// Where a message was stored last.
    pub fn find(&self, topic: &str, reconsume_times: i32, unique_key: &str) -> Option<Place> {
        let fingerprint = self.fingerprint(topic, reconsume_times, unique_key);
        let mut number = *self.newest.get(bucket(fingerprint))?;
        let mut back = 0;
        loop {
            let further = self.next.wrapping_sub(number) as usize;
            // A bucket that was not written for long may point anywhere: the walk must lead back, and end.
            if further <= back || further > self.order.len() {
                return None;
            }
            back = further;
            let noted = &self.order[self.order.len() - back];
            if noted.fingerprint == fingerprint {
                return Some((noted.queue, noted.offset, noted.physical));
            }
            number = noted.before;
        }
    }

    fn fingerprint(&self, topic: &str, reconsume_times: i32, unique_key: &str) -> u64 {
        self.hashes.hash_one((topic, reconsume_times, unique_key))
    }

    /// Forgets everything: the state was replaced.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn bucket(fingerprint: u64) -> usize {
    fingerprint as usize % REMEMBERED_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: u64) -> Place {
        (QueueId(0), QueueOffset(n), CommitLogOffset(2))
    }

    #[test]
    fn the_same_key_in_another_topic_or_try_is_another_message() {
        let mut recent = Recent::default();
        recent.stored("T", 0, "K", place(1));
        assert_eq!(recent.find("T", 0, "K"), Some(place(1)));
        assert_eq!(recent.find("%RETRY%G", 0, "K"), None);
        assert_eq!(recent.find("T", 1, "K"), None);
    }

    #[test]
    fn of_a_key_stored_twice_the_last_place_counts_and_outlives_the_first() {
        let mut recent = Recent::default();
        recent.stored("T", 0, "K", place(1));
        assert_eq!(recent.find("T", 0, "K"), Some(place(1)));
        recent.stored("T", 0, "K", place(2));
        assert_eq!(recent.find("T", 0, "K"), Some(place(2)));
        for n in 0..REMEMBERED_MAX as u64 - 1 {
            recent.stored("T", 0, &n.to_string(), place(n));
        }
        assert_eq!(recent.find("T", 0, "K"), Some(place(2)));
        recent.stored("T", 0, "new", place(9));
        assert_eq!(recent.find("T", 0, "K"), None);
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let mut recent = Recent {
            next: u32::MAX - 100_000, // Numbers wrap on the way.
            ..Recent::default()
        };
        let stored = REMEMBERED_MAX as u64 + 1_000;
        for n in 0..stored {
            recent.stored("T", 0, &n.to_string(), place(n));
        }
        assert_eq!(recent.order.len(), REMEMBERED_MAX);
        for n in 0..stored {
            let found = recent.find("T", 0, &n.to_string());
            assert_eq!(found, (n >= 1_000).then(|| place(n)), "{n}");
        }
        assert_eq!(recent.find("T", 0, "unknown"), None);
    }
}
