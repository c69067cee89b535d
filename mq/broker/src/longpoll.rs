//! Pulls that found nothing wait here until a message arrives, their time is over, or this member's role changes.
//!
//! Waiting pulls are kept per queue and counted. The apply task calls [`LongPolls::arrived`] once per run with the
//! queues it touched; what is to be looked at again is handed to one task through [`LongPolls::ready`], so that the apply
//! task never does a pull's work.

use crate::ask::QueueName;
use mq_base::env::clock::Instant;
use mq_base::env::random::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Why a pull is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something arrived in its queue: it may go on waiting if that does not match.
    Arrived,
    /// It must be answered now.
    Over,
}

struct Waiting<P> {
    pull: P,
    deadline: Instant,
}

/// All waiting pulls. `P` is whatever a pull needs to be looked at again.
pub struct LongPolls<P> {
    shards: Vec<Mutex<HashMap<QueueName, Vec<Waiting<P>>>>>,
    count: AtomicUsize,
    max: usize,
    /// Taken off the queues, not yet looked at. Bounded by `max`: each entry was counted when it was parked.
    ready: Mutex<Vec<(P, Woken)>>,
    bell: Notify,
}

const SHARDS: usize = 16;

impl<P> LongPolls<P> {
    /// Room for `max` pulls.
    pub fn new(max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            max,
            ready: Mutex::default(),
            bell: Notify::new(),
        }
    }

    fn shard(&self, queue: &QueueName) -> &Mutex<HashMap<QueueName, Vec<Waiting<P>>>> {
        // The length of the name and the queue id spread well enough; the map inside hashes in earnest.
        let spread = queue
            .topic
            .len()
            .wrapping_mul(31)
            .wrapping_add(queue.queue.get() as usize);
        &self.shards[spread % SHARDS]
    }

    /// Number of waiting pulls.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parks a pull; gives it back if there is no room. The caller looks at the queue once more afterwards: a message may
    /// have arrived in between.
    pub fn park(&self, queue: QueueName, deadline: Instant, pull: P) -> Result<(), P> {
        if self.count.fetch_add(1, Ordering::AcqRel) >= self.max {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return Err(pull);
        }
        self.shard(&queue)
            .lock()
            .entry(queue)
            .or_default()
            .push(Waiting { pull, deadline });
        Ok(())
    }

    /// Messages have arrived in a queue.
    pub fn arrived(&self, queue: &QueueName) {
        if self.is_empty() {
            return;
        }
        let woken = self.shard(queue).lock().remove(queue);
        self.hand_over(woken.into_iter().flatten(), Woken::Arrived);
    }

    /// Wakes those whose time is over.
    pub fn expire(&self, now: Instant) {
        for shard in &self.shards {
            let mut over = Vec::new();
            shard.lock().retain(|_, waiting| {
                over.extend(waiting.extract_if(.., |w| w.deadline <= now));
                !waiting.is_empty()
            });
            self.hand_over(over, Woken::Over);
        }
    }

    /// Wakes all: this member's role has changed.
    pub fn wake_all(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *shard.lock());
            self.hand_over(all.into_values().flatten(), Woken::Over);
        }
    }

    fn hand_over(&self, woken: impl IntoIterator<Item = Waiting<P>>, why: Woken) {
        let mut ready = self.ready.lock();
        let before = ready.len();
        ready.extend(woken.into_iter().map(|w| (w.pull, why)));
        let moved = ready.len() - before;
        drop(ready);
        if moved > 0 {
            self.count.fetch_sub(moved, Ordering::AcqRel);
            self.bell.notify_one();
        }
    }

    /// Waits for pulls to look at again. For one task.
    pub async fn ready(&self) -> Vec<(P, Woken)> {
        loop {
            let taken = std::mem::take(&mut *self.ready.lock());
            if !taken.is_empty() {
                return taken;
            }
            self.bell.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mq_base::env::clock;
    use std::time::Duration;

    fn queue(topic: &str, id: u32) -> QueueName {
        QueueName {
            topic: topic.into(),
            queue: id.into(),
        }
    }

    #[tokio::test]
    async fn an_arrival_wakes_only_its_own_queue() {
        let polls = LongPolls::new(10);
        let later = clock::now() + Duration::from_secs(60);
        polls.park(queue("T", 0), later, "zero").unwrap();
        polls.park(queue("T", 1), later, "one").unwrap();
        polls.arrived(&queue("T", 1));
        assert_eq!(polls.ready().await, [("one", Woken::Arrived)]);
        assert_eq!(polls.len(), 1);
    }

    #[tokio::test]
    async fn time_and_role_changes_end_the_wait() {
        let polls = LongPolls::new(10);
        let now = clock::now();
        polls.park(queue("T", 0), now, "due").unwrap();
        polls
            .park(queue("T", 0), now + Duration::from_secs(60), "not due")
            .unwrap();
        polls.expire(now);
        assert_eq!(polls.ready().await, [("due", Woken::Over)]);
        polls.wake_all();
        assert_eq!(polls.ready().await, [("not due", Woken::Over)]);
        assert!(polls.is_empty());
    }

    #[test]
    fn what_finds_no_room_comes_back() {
        let polls = LongPolls::new(1);
        let later = clock::now() + Duration::from_secs(60);
        polls.park(queue("T", 0), later, 1).unwrap();
        assert_eq!(polls.park(queue("T", 0), later, 2), Err(2));
        assert_eq!(polls.len(), 1);
    }
}
