//! Consumer offsets that nobody waits for (one-way commits, commits inside pulls) are gathered and handed to the judge
//! together: a consumer sends one with every pull, and only the latest of a queue matters.

use crate::ask::{Ask, OffsetCommit, Reply};
use crate::seams::Judged;
use crate::state::Name;
use mq_base::env::clock;
use mq_base::env::random::HashMap;
use mq_base::stop::Stop;
use mq_message::QueueId;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long an offset may wait. What waits is lost with this process; no client was told otherwise.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);
/// So many waiting offsets are handed over at once.
const WAITING_MAX: usize = 4_096;

type Key = (Name, Name, QueueId);

/// Offsets on their way to the judge.
#[derive(Default)]
pub struct OffsetBuffer {
    waiting: Mutex<HashMap<Key, OffsetCommit>>,
    bell: Notify,
}

impl OffsetBuffer {
    /// Takes a commit. An older one of the same queue is overtaken: all of them only advance.
    pub fn put(&self, commit: OffsetCommit) {
        let mut waiting = self.waiting.lock();
        let first = waiting.is_empty();
        let key = (commit.group.clone(), commit.topic.clone(), commit.queue);
        waiting
            .entry(key)
            .and_modify(|known| known.offset = known.offset.max(commit.offset))
            .or_insert(commit);
        if first || waiting.len() >= WAITING_MAX {
            self.bell.notify_one();
        }
    }

    /// Hands over what waits, so that whoever asks the judge next sees it.
    pub fn flush(&self, judge: &dyn Judged) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let mut commits: Vec<OffsetCommit> = waiting.into_values().collect();
        // The order must not depend on a hash seed: entries are compared between simulated runs.
        commits.sort_by(|a, b| (&a.group, &a.topic, a.queue).cmp(&(&b.group, &b.topic, b.queue)));
        while !commits.is_empty() {
            let rest = commits.split_off(commits.len().min(WAITING_MAX));
            judge.ask(Ask::CommitOffsets(commits, Reply::none()));
            commits = rest;
        }
    }

    /// Hands over what waits, soon after it came. Runs until told to stop.
    pub async fn run(self: Arc<Self>, judge: Arc<dyn Judged>, stop: Stop) {
        loop {
            tokio::select! { biased;
                () = self.bell.notified() => {}
                () = stop.wait() => return self.flush(&*judge),
            }
            if self.waiting.lock().len() < WAITING_MAX {
                clock::sleep(FLUSH_INTERVAL).await;
            }
            self.flush(&*judge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Asked(Mutex<Vec<OffsetCommit>>);

    impl Judged for Asked {
        fn ask(&self, ask: Ask) {
            if let Ask::CommitOffsets(commits, _) = ask {
                self.0.lock().extend(commits);
            }
        }

        fn leads(&self) -> bool {
            true
        }
    }

    fn commit(queue: u32, offset: u64) -> OffsetCommit {
        OffsetCommit {
            group: "G".into(),
            topic: "T".into(),
            queue: queue.into(),
            offset: offset.into(),
            only_advance: true,
        }
    }

    #[test]
    fn only_the_furthest_offset_of_a_queue_goes_on() {
        let buffer = OffsetBuffer::default();
        for (queue, offset) in [(1, 5), (0, 3), (1, 9), (1, 7)] {
            buffer.put(commit(queue, offset));
        }
        let judge = Asked::default();
        buffer.flush(&judge);
        assert_eq!(*judge.0.lock(), [commit(0, 3), commit(1, 9)]);
        buffer.flush(&judge);
        assert_eq!(judge.0.lock().len(), 2);
    }
}
