//! The messages stored last, by unique key: finds out whether a send of unknown outcome was applied (ADR 008).
//!
//! Derived from the log like the consume queues, but kept in memory only: a resend follows within seconds. It is keyed by
//! topic and redelivery count too, because a message keeps its unique key on its way through the schedule, half, retry
//! and dead-letter topics.
//!
//! Every member notes every message, and hardly ever is one asked for. So they are noted in the order of the log, which
//! costs nothing, and a map is made of them when the first resend comes; it is kept up to date until none has come for
//! as long as a message is remembered.

use hashbrown::HashMap;
use mq_base::env::random::HashState;
use mq_message::{CommitLogOffset, QueueId, QueueOffset};
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// How many messages are remembered.
const REMEMBERED_MAX: usize = 262_144;

/// Where a message was stored.
pub type Place = (QueueId, QueueOffset, CommitLogOffset);

/// The memory.
#[derive(Default)]
pub struct Recent {
    order: VecDeque<(u64, Place)>,
    /// Number of the first message in `order`.
    first: u64,
    hashes: HashState,
    index: Option<Index>,
}

/// Number of the newest message of each fingerprint.
struct Index {
    numbers: HashMap<u64, u64, HashState>,
    /// Messages noted since it was last used.
    unused: usize,
}

impl Recent {
    /// A message was stored.
    pub fn stored(&mut self, topic: &str, reconsume_times: i32, unique_key: &str, place: Place) {
        let key = self.fingerprint(topic, reconsume_times, unique_key);
        if self.order.len() == REMEMBERED_MAX
            && let Some((oldest, _)) = self.order.pop_front()
        {
            if let Some(index) = &mut self.index
                && index.numbers.get(&oldest) == Some(&self.first)
            {
                index.numbers.remove(&oldest);
            }
            self.first += 1;
        }
        let number = self.first + self.order.len() as u64;
        self.order.push_back((key, place));
        if let Some(index) = &mut self.index {
            index.numbers.insert(key, number);
            index.unused += 1;
            if index.unused > REMEMBERED_MAX {
                self.index = None;
            }
        }
    }

    /// Where a message was stored last.
    pub fn find(&mut self, topic: &str, reconsume_times: i32, unique_key: &str) -> Option<Place> {
        let key = self.fingerprint(topic, reconsume_times, unique_key);
        let (first, order) = (self.first, &self.order);
        let index = self.index.get_or_insert_with(|| Index {
            numbers: (first..).zip(order).map(|(number, (key, _))| (*key, number)).collect(),
            unused: 0,
        });
        index.unused = 0;
        let number = index.numbers.get(&key)?;
        self.order.get((number - self.first) as usize).map(|(_, place)| *place)
    }

    fn fingerprint(&self, topic: &str, reconsume_times: i32, unique_key: &str) -> u64 {
        self.hashes.hash_one((topic, reconsume_times, unique_key))
    }

    /// Forgets everything: the state was replaced.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
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
    fn it_is_bounded_and_forgets_the_oldest_with_and_without_a_map() {
        let mut recent = Recent::default();
        let mut number = 0;
        let mut fill = |recent: &mut Recent, count: usize| {
            for _ in 0..count {
                recent.stored("T", 0, &number.to_string(), place(number));
                number += 1;
            }
            number as usize - REMEMBERED_MAX
        };
        for count in [REMEMBERED_MAX + 10, 100, REMEMBERED_MAX + 10] {
            let oldest = fill(&mut recent, count);
            assert_eq!(recent.index.is_some(), count == 100, "it goes when it is not used");
            assert_eq!(recent.order.len(), REMEMBERED_MAX);
            assert_eq!(recent.find("T", 0, &(oldest - 1).to_string()), None);
            assert_eq!(recent.find("T", 0, &oldest.to_string()), Some(place(oldest as u64)));
            assert_eq!(recent.index.as_ref().map(|i| i.numbers.len()), Some(REMEMBERED_MAX));
        }
    }
}
