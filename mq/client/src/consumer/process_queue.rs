//! What a push consumer holds of one queue: messages pulled and not yet consumed, and how far its offset may move.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use mq_base::env::clock::{self, Instant};
use mq_message::QueueOffset;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::message::{MessageExt, MessageQueue};

/// How long a queue lock counts after the broker granted it. The broker itself keeps it for 60 s.
pub(crate) const LOCK_VALID_FOR: Duration = Duration::from_secs(30);

/// When to stop pulling: RocketMQ's limits for one queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Messages held.
    pub(crate) messages: usize,
    /// Bytes held.
    pub(crate) bytes: usize,
    /// Distance between the first and the last offset held; not checked for orderly consumers.
    pub(crate) span: Option<u64>,
}

/// One assigned queue.
#[derive(Debug)]
pub(crate) struct ProcessQueue {
    pub(crate) queue: MessageQueue,
    // A lock and not a task: the pull loop and the consuming workers touch it briefly.
    held: Mutex<Held>,
    /// Woken when messages leave.
    space: Notify,
    /// Woken when the queue is taken away or its lock changes.
    changed: Notify,
    dropped: AtomicBool,
    /// Calls of the listener that run now.
    running: AtomicUsize,
    idle: Notify,
    locked_at: Mutex<Option<Instant>>,
    pub(crate) last_pull_ms: AtomicI64,
    pub(crate) last_consume_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Held {
    /// Offset → message and time of arrival, of what is not yet consumed.
    messages: BTreeMap<QueueOffset, (MessageExt, Instant)>,
    bytes: usize,
    /// Where the next pull starts: all before it has been pulled or filtered out. Never behind a held message.
    next: Option<QueueOffset>,
}

/// A snapshot for the running info that tools show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl ProcessQueue {
    pub(crate) fn new(queue: MessageQueue) -> Self {
        Self {
            queue,
            held: Mutex::default(),
            space: Notify::new(),
            changed: Notify::new(),
            dropped: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            idle: Notify::new(),
            locked_at: Mutex::new(None),
            last_pull_ms: 0.into(),
            last_consume_ms: 0.into(),
        }
    }

    /// Takes in what was pulled; `next` is where the next pull starts.
    pub(crate) fn put(&self, messages: &[MessageExt], next: QueueOffset) {
        let now = clock::now();
        let mut held = self.held.lock();
        for message in messages {
            let size = message.memory_bytes();
            if held
                .messages
                .insert(message.queue_offset(), (message.clone(), now))
                .is_none()
            {
                held.bytes += size;
            }
        }
        held.next = Some(next);
    }

    /// These messages are done. Returns the offset that may be committed now.
    pub(crate) fn done(&self, offsets: impl Iterator<Item = QueueOffset>) -> Option<QueueOffset> {
        let mut held = self.held.lock();
        for offset in offsets {
            if let Some((message, _)) = held.messages.remove(&offset) {
                held.bytes -= message.memory_bytes();
            }
        }
        let committable = held.committable();
        drop(held);
        self.space.notify_one();
        committable
    }

    /// Whether the message is still held (it is not once it timed out and was sent back).
    pub(crate) fn holds(&self, offset: QueueOffset) -> bool {
        self.held.lock().messages.contains_key(&offset)
    }

    /// Messages that arrived before `before`, oldest first, at most 16.
    pub(crate) fn older_than(&self, before: Instant) -> Vec<MessageExt> {
        let held = self.held.lock();
        let old = held.messages.values().filter(|(_, at)| *at < before);
        old.map(|(message, _)| message.clone()).take(16).collect()
    }

    /// Waits until there is room under the limits, or the queue is dropped.
    pub(crate) async fn room(&self, limits: Limits) {
        while !self.is_dropped() && self.is_full(limits) {
            tokio::select! {
                () = self.space.notified() => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn is_full(&self, limits: Limits) -> bool {
        let held = self.held.lock();
        let span = match (held.messages.first_key_value(), held.messages.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last.since(*first),
            _ => 0,
        };
        held.messages.len() > limits.messages
            || held.bytes > limits.bytes
            || limits.span.is_some_and(|limit| span > limit)
    }

    /// Begins a call of the listener; `None` if the queue was taken away. The call ends when the guard is dropped.
    pub(crate) fn begin(&self) -> Option<Running<'_>> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(self);
        if self.dropped.load(Ordering::SeqCst) {
            return None;
        }
        self.last_consume_ms.store(clock::wall_ms(), Ordering::Relaxed);
        Some(running)
    }

    /// Waits until no call of the listener runs, at most `limit`; says whether that is so.
    pub(crate) async fn idle(&self, limit: Duration) -> bool {
        let wait = async {
            loop {
                let idle = self.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if self.running.load(Ordering::SeqCst) == 0 {
                    return;
                }
                idle.await;
            }
        };
        clock::timeout(limit, wait).await.is_ok()
    }

    /// Takes the queue away: loops over it end.
    pub(crate) fn drop_queue(&self) {
        self.dropped.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.space.notify_waiters();
        self.space.notify_one();
    }

    /// Whether it was taken away.
    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Waits for `duration`, less if the queue changes.
    pub(crate) async fn pause(&self, duration: Duration) {
        let changed = self.changed.notified();
        if !self.is_dropped() {
            let _ = clock::timeout(duration, changed).await;
        }
    }

    /// Resolves when the queue is taken away.
    pub(crate) async fn taken(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_dropped() {
                return;
            }
            changed.await;
        }
    }

    /// When the broker was asked for the lock it granted; `None` if it refused.
    pub(crate) fn set_locked(&self, asked: Option<Instant>) {
        *self.locked_at.lock() = asked;
        self.changed.notify_waiters();
    }

    /// Whether the lock is held and fresh enough to rely on.
    pub(crate) fn is_locked(&self) -> bool {
        self.locked_at
            .lock()
            .is_some_and(|at| clock::now() < at + LOCK_VALID_FOR)
    }

    /// Figures for tools.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let held = self.held.lock();
        Snapshot {
            min: held.messages.first_key_value().map_or(0, |(o, _)| o.get()),
            max: held.messages.last_key_value().map_or(0, |(o, _)| o.get()),
            count: held.messages.len(),
            bytes: held.bytes,
        }
    }
}

/// A call of the listener that runs.
pub(crate) struct Running<'a>(&'a ProcessQueue);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Held {
    fn committable(&self) -> Option<QueueOffset> {
        self.messages.first_key_value().map(|(offset, _)| *offset).or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use mq_message::{CommitLogOffset, QueueId, RecordSpec};

    fn messages(offsets: impl Iterator<Item = u64>) -> Vec<MessageExt> {
        let mut bytes = BytesMut::new();
        for offset in offsets {
            let host = "127.0.0.1:1".parse().unwrap();
            let spec = RecordSpec {
                topic: "T",
                queue_id: QueueId(0),
                flag: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: host,
                store_host: host,
                store_timestamp: 0,
                reconsume_times: 0,
                prepared_transaction_offset: CommitLogOffset(0),
                body: b"0123456789",
                properties: "",
                queue_offset: QueueOffset(offset),
                physical_offset: CommitLogOffset(0),
            };
            spec.encode_into(&mut bytes).unwrap();
        }
        MessageExt::decode_all(&bytes.freeze(), &MessageQueue::new("T", "b", 0)).unwrap()
    }

    #[tokio::test]
    async fn the_offset_moves_only_past_messages_that_are_done() {
        let queue = ProcessQueue::new(MessageQueue::new("T", "b", 0));
        assert_eq!(queue.done(std::iter::empty()), None);
        queue.put(&messages(5..8), QueueOffset(10));
        let done = |offset| queue.done(std::iter::once(QueueOffset(offset)));
        assert_eq!(done(6), Some(QueueOffset(5)));
        assert_eq!(done(5), Some(QueueOffset(7)));
        // 8 and 9 were filtered out by the broker or by us.
        assert_eq!(done(7), Some(QueueOffset(10)));
        queue.put(&[], QueueOffset(20));
        assert_eq!(queue.done(std::iter::empty()), Some(QueueOffset(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn pulling_waits_for_room() {
        let queue = ProcessQueue::new(MessageQueue::new("T", "b", 0));
        let limits = |messages, bytes, span| Limits { messages, bytes, span };
        queue.put(&messages([1, 2, 50].into_iter()), QueueOffset(51));
        assert!(!queue.is_full(limits(3, 30, Some(49))));
        assert!(queue.is_full(limits(2, 30, None)));
        assert!(queue.is_full(limits(3, 29, None)));
        assert!(queue.is_full(limits(3, 30, Some(48))));
        let short = Duration::from_millis(1);
        assert!(clock::timeout(short, queue.room(limits(2, 99, None))).await.is_err());
        queue.done(std::iter::once(QueueOffset(1)));
        assert!(clock::timeout(short, queue.room(limits(2, 99, None))).await.is_ok());
        queue.drop_queue();
        assert!(clock::timeout(short, queue.room(limits(0, 0, None))).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_goes_stale() {
        let queue = ProcessQueue::new(MessageQueue::new("T", "b", 0));
        assert!(!queue.is_locked());
        queue.set_locked(Some(clock::now()));
        clock::sleep(LOCK_VALID_FOR - Duration::from_millis(1)).await;
        assert!(queue.is_locked());
        clock::sleep(Duration::from_millis(2)).await;
        assert!(!queue.is_locked());
    }
}
