//! The task that keeps a push consumer's assignment, and what it does when told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mq_base::env::{clock, task};
use mq_message::QueueOffset;
use tokio::sync::mpsc;

use super::feed::{Sink, feed};
use super::orderly::{LOCK_INTERVAL, consume_in_order};
use super::process_queue::ProcessQueue;
use super::push::PushShared;
use super::share::share;
use crate::error::CallError;
use crate::inbound::ConsumerEvent;
use crate::message::MessageQueue;

/// How soon to try again when not all queues could be taken.
const UNBALANCED_RETRY: Duration = Duration::from_secs(1);
/// How long a queue that leaves may keep its running listener from being waited for.
const LEAVE_WAIT: Duration = Duration::from_secs(2);
/// Pulled chunks that wait for an orderly queue's task.
const CHUNKS_WAITING: usize = 4;

impl PushShared {
    /// Before anything else: routes, so that there are brokers, and a heartbeat, so that they know us. A topic that does not exist
    /// yet is no mistake.
    pub(super) async fn first_contact(&self) -> Result<(), CallError> {
        for topic in self.subscriptions.keys() {
            match self.client.fetch_route(topic, false).await {
                Ok(_) | Err(CallError::NoRoute(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.client.heartbeat().await;
        Ok(())
    }

    /// The life of the consumer.
    pub(super) async fn keep(self: Arc<Self>, mut events: mpsc::Receiver<ConsumerEvent>) {
        let config = &self.client.config;
        let (rebalance, persist) = (config.rebalance_interval, config.persist_consumer_offset_interval);
        let mut next_rebalance = clock::now();
        let mut next_persist = clock::now() + persist;
        let mut next_lock = clock::now() + LOCK_INTERVAL;
        loop {
            tokio::select! {
                biased;
                () = self.stop.wait() => break,
                event = events.recv() => match event {
                    Some(ConsumerEvent::Rebalance) => next_rebalance = clock::now(),
                    Some(event) => self.handle(event).await,
                    None => break,
                },
                () = clock::sleep_until(next_rebalance) => {
                    let balanced = self.rebalance().await;
                    next_rebalance = clock::now() + if balanced { rebalance } else { UNBALANCED_RETRY };
                }
                () = clock::sleep_until(next_persist) => {
                    self.offsets.persist().await;
                    self.give_back_overdue().await;
                    next_persist = clock::now() + persist;
                }
                () = clock::sleep_until(next_lock) => {
                    self.renew_locks().await;
                    next_lock = clock::now() + LOCK_INTERVAL;
                }
            }
        }
        self.leave().await;
    }

    /// Divides the queues of all topics again; says whether all went well.
    async fn rebalance(self: &Arc<Self>) -> bool {
        let mut balanced = true;
        for topic in self.subscriptions.keys() {
            match self.share_of(topic).await {
                Ok(Some(mine)) => balanced &= self.assign(topic, mine).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%topic, %error, "rebalance");
                    balanced = false;
                }
            }
        }
        balanced
    }

    async fn share_of(&self, topic: &str) -> Result<Option<BTreeSet<MessageQueue>>, CallError> {
        let strategy = self.is_clustering().then_some(&self.settings.strategy);
        share(&self.client, &self.settings.group, strategy, topic).await
    }

    /// Ends what is no longer ours in a topic, begins what is new.
    async fn assign(self: &Arc<Self>, topic: &str, mine: BTreeSet<MessageQueue>) -> bool {
        let current: Vec<_> = {
            let assigned = self.assigned.lock();
            let of_topic = assigned.values().filter(|q| &*q.queue.topic == topic);
            of_topic.cloned().collect()
        };
        let mut all = true;
        for queue in current {
            if queue.is_dropped() || !mine.contains(&queue.queue) {
                all &= self.release(&queue).await;
            }
        }
        let new: Vec<_> = {
            let assigned = self.assigned.lock();
            let new = mine.into_iter().filter(|q| !assigned.contains_key(q));
            new.collect()
        };
        if new.is_empty() {
            return all;
        }
        let asked = clock::now();
        let locked: Option<BTreeSet<MessageQueue>> = if self.is_orderly() && self.is_clustering() {
            Some(self.lock(&new).await.into_values().flatten().collect())
        } else {
            None
        };
        for queue in new {
            if locked.as_ref().is_some_and(|locked| !locked.contains(&queue)) {
                all = false;
                continue;
            }
            match self.offsets.start(&queue, self.settings.from).await {
                Ok(offset) => self.begin(queue, offset, locked.is_some().then_some(asked)),
                Err(error) => {
                    tracing::warn!(%queue, %error, "where to begin is unknown");
                    all = false;
                }
            }
        }
        all
    }

    /// Starts the tasks of a queue.
    fn begin(self: &Arc<Self>, queue: MessageQueue, from: QueueOffset, locked: Option<clock::Instant>) {
        let Some(subscription) = self.subscriptions.get(&queue.topic).cloned() else {
            return;
        };
        tracing::info!(%queue, %from, group = %self.settings.group, "consume");
        let held = Arc::new(ProcessQueue::new(queue.clone()));
        held.set_locked(locked);
        self.offsets.reset(&queue, from);
        self.assigned.lock().insert(queue, held.clone());
        let sink = Sink::for_workers(&self.mode).unwrap_or_else(|| {
            let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
            let consume = consume_in_order(self.clone(), held.clone(), chunks);
            task::spawn("consume in order", consume);
            Sink::Queue(sender)
        });
        task::spawn("pull", feed(self.clone(), held, subscription, from, sink));
    }

    /// Ends a queue: no more pulls, no more calls of the listener, offset written, lock given back. `false` if a running call of an
    /// orderly listener must be waited for.
    async fn release(&self, queue: &Arc<ProcessQueue>) -> bool {
        queue.drop_queue();
        let idle = queue.idle(LEAVE_WAIT).await;
        if !idle && self.is_orderly() {
            // The next owner must not begin before this call has ended.
            return false;
        }
        if let Err(error) = self.offsets.persist_one(&queue.queue).await {
            tracing::warn!(queue = %queue.queue, %error, "write offset of a queue that leaves");
        }
        self.assigned.lock().remove(&queue.queue);
        self.offsets.forget(&queue.queue);
        if self.is_orderly() && self.is_clustering() {
            self.unlock(std::slice::from_ref(&queue.queue)).await;
        }
        tracing::info!(queue = %queue.queue, group = %self.settings.group, "leave");
        true
    }

    /// Moves queues to other offsets, as an administrator wants it.
    pub(super) async fn reset(self: &Arc<Self>, offsets: Vec<(MessageQueue, QueueOffset)>) {
        for (queue, offset) in offsets {
            let held = self.assigned.lock().get(&queue).cloned();
            let Some(held) = held else { continue };
            held.drop_queue();
            held.idle(LEAVE_WAIT).await;
            self.assigned.lock().remove(&queue);
            self.offsets.reset(&queue, offset);
            if let Err(error) = self.offsets.persist_one(&queue).await {
                tracing::warn!(%queue, %error, "write reset offset");
            }
        }
        self.client.tell_rebalance(&self.settings.group);
    }

    /// The end: see [`super::PushConsumer::shutdown`].
    async fn leave(self: &Arc<Self>) {
        let queues: Vec<_> = self.assigned.lock().values().cloned().collect();
        queues.iter().for_each(|queue| queue.drop_queue());
        let deadline = clock::now() + self.settings.shutdown_wait;
        for queue in &queues {
            let left = deadline.saturating_duration_since(clock::now());
            if !queue.idle(left).await {
                tracing::warn!(queue = %queue.queue, "a listener still runs; its messages will come again");
            }
        }
        let mut brokers: BTreeMap<Arc<str>, Vec<MessageQueue>> = BTreeMap::new();
        for queue in queues {
            if let Err(error) = self.offsets.persist_one(&queue.queue).await {
                tracing::warn!(queue = %queue.queue, %error, "write last offset");
            }
            let name = queue.queue.broker_name.clone();
            brokers.entry(name).or_default().push(queue.queue.clone());
        }
        if self.is_orderly() && self.is_clustering() {
            for queues in brokers.values() {
                self.unlock(queues).await;
            }
        }
        self.unregister();
        let group = self.settings.group.clone();
        self.client.unregister(None, Some(&group)).await;
    }
}
