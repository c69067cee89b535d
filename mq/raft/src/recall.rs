//! What an application keeps in memory only of the last moments: after a restart it is told of them once more.
//!
//! A checkpoint says where that begins. A walk back through the log from its end would have to start at the beginning of a
//! segment, up to 1 GiB away, before the member is there.

use std::collections::VecDeque;
use std::time::Duration;

use mq_store::{EntryKind, Known, Log};

use crate::application::Application;
use crate::checkpoint::Checkpoint;

/// How far back, in log time ...
const AGE_MAX: Duration = Duration::from_secs(10);
/// ... and in bytes of the log.
const BYTES_MAX: u64 = 32 << 20;
/// Places are noted so far apart, or a second.
const STEP_BYTES: u64 = 1 << 20;
const STEP_MS: i64 = 1_000;
/// Bytes read at a time.
const READ_BYTES: u64 = 4 << 20;

/// Places of entries applied lately, with their log times, oldest first.
#[derive(Default)]
pub struct RecentPlaces(VecDeque<(Known, i64)>);

impl RecentPlaces {
    /// An entry was applied.
    pub fn applied(&mut self, entry: Known, log_time_ms: i64) {
        let far = |(place, at): &(Known, i64), bytes: u64, ms: i64| {
            entry.offset.get().saturating_sub(place.offset.get()) >= bytes || log_time_ms - at >= ms
        };
        if self.0.back().is_none_or(|last| far(last, STEP_BYTES, STEP_MS)) {
            self.0.push_back((entry, log_time_ms));
        }
        let age_max = AGE_MAX.as_millis() as i64;
        while self.0.front().is_some_and(|first| far(first, BYTES_MAX, age_max)) {
            self.0.pop_front();
        }
    }

    /// The oldest.
    pub fn first(&self) -> Option<Known> {
        self.0.front().map(|(place, _)| *place)
    }

    /// Tells the application of the last entries that a checkpoint covers, as far as the log has them. Blocks.
    pub fn recall(checkpoint: &Checkpoint, log: &Log, app: &mut dyn Application) -> RecentPlaces {
        let mut places = RecentPlaces::default();
        let Some(first) = log.note_entry(&checkpoint.recall) else {
            return places; // Deleted meanwhile.
        };
        places.applied(checkpoint.recall, first.log_time_ms);
        let (mut next, end) = (first.id.index, checkpoint.last().index.next());
        while next < end {
            let entries = match log.read(next..end, READ_BYTES) {
                Ok(entries) => entries,
                Err(error) => {
                    tracing::warn!(%error, "not all of the last moments can be recalled: a send tried again now may be stored twice");
                    break;
                }
            };
            let batches = entries.iter().filter(|entry| entry.kind() == EntryKind::Batch);
            batches.for_each(|entry| app.recall(entry));
            match entries.last() {
                Some(last) if last.index() >= next => next = last.index().next(),
                _ => break,
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mq_store::{LogId, Tail};

    fn known(offset: u64) -> Known {
        Known {
            offset: offset.into(),
            tail: Tail {
                last: Some(LogId::default()),
                next_offset: (offset + 100).into(),
                previous_hash: 0,
            },
        }
    }

    #[test]
    fn it_begins_ten_seconds_ago_or_less() {
        let mut places = RecentPlaces::default();
        for n in 0..100 {
            places.applied(known(n * 100), n as i64 * 500);
        }
        let (first, at) = places.0[0];
        assert_eq!((first, at), (known(80 * 100), 40_000), "49.5 s is the last");
        assert_eq!(places.0.len(), 10);
    }

    #[test]
    fn it_begins_at_most_32_mib_ago() {
        let mut places = RecentPlaces::default();
        for n in 0..1_000 {
            places.applied(known(n * 100_000), 7);
        }
        let first = places.first().unwrap().offset.get();
        let back = 999 * 100_000 - first;
        assert!((BYTES_MAX - 2 * STEP_BYTES..BYTES_MAX).contains(&back), "{back}");
        assert!(places.0.len() <= 33);
    }
}
