//! The messages stored last, by unique key: finds out whether a send of unknown outcome was applied (ADR 008).
//!
//! Derived from the log like the consume queues, but kept in memory only: a resend follows within seconds. It is keyed by
//! topic and redelivery count too, because a message keeps its unique key on its way through the schedule, half, retry
//! and dead-letter topics.

use hashbrown::HashMap;
use mq_message::{CommitLogOffset, QueueId, QueueOffset};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many messages are remembered.
const REMEMBERED_MAX: usize = 262_144;

/// Where a message was stored.
pub type Place = (QueueId, QueueOffset, CommitLogOffset);

/// The memory.
#[derive(Default)]
pub struct Recent {
    places: HashMap<u64, Place>,
    order: VecDeque<u64>,
}

fn fingerprint(topic: &str, reconsume_times: i32, unique_key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, reconsume_times, unique_key).hash(&mut hasher);
    hasher.finish()
}

impl Recent {
    /// A message was stored.
    pub fn stored(&mut self, topic: &str, reconsume_times: i32, unique_key: &str, place: Place) {
        let key = fingerprint(topic, reconsume_times, unique_key);
        if self.places.insert(key, place).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    /// Where a message was stored.
    pub fn find(&self, topic: &str, reconsume_times: i32, unique_key: &str) -> Option<Place> {
        self.places
            .get(&fingerprint(topic, reconsume_times, unique_key))
            .copied()
    }

    /// Forgets everything: the state was replaced.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_in_another_topic_or_try_is_another_message() {
        let mut recent = Recent::default();
        let place = (QueueId(0), QueueOffset(1), CommitLogOffset(2));
        recent.stored("T", 0, "K", place);
        assert_eq!(recent.find("T", 0, "K"), Some(place));
        assert_eq!(recent.find("%RETRY%G", 0, "K"), None);
        assert_eq!(recent.find("T", 1, "K"), None);
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let mut recent = Recent::default();
        for n in 0..REMEMBERED_MAX + 10 {
            recent.stored(
                "T",
                0,
                &n.to_string(),
                (QueueId(0), QueueOffset(n as u64), CommitLogOffset(0)),
            );
        }
        assert_eq!(recent.places.len(), REMEMBERED_MAX);
        assert_eq!(recent.order.len(), REMEMBERED_MAX);
        assert_eq!(recent.find("T", 0, "9"), None);
        assert!(recent.find("T", 0, "10").is_some());
    }
}
