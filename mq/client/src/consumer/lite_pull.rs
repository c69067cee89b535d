//! The lite pull consumer: the user asks for messages and says how far it has come.
//!
//! Each queue has a task that pulls ahead, at most [`LitePullConsumerBuilder::pull_threshold`] messages. What it brings waits in one
//! channel until it is polled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mq_base::env::clock::{self, Instant};
use mq_base::env::task;
use mq_base::stop::{Stop, StopSource};
use mq_message::{QueueOffset, topic};
use mq_remoting::body;
use mq_remoting::code::request;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::AllocateStrategy;
use super::offsets::{ConsumeFrom, Offsets, bound, search};
use super::pull::{PullStyle, Pulled, pause_after};
use super::share::share;
use super::subscription::{Filter, Subscription};
use crate::config::ClientConfig;
use crate::error::CallError;
use crate::inbound::ConsumerEvent;
use crate::instance::{ClientInstance, ConsumerEntry, Shared};
use crate::message::{MessageExt, MessageQueue};
use crate::producer::StartError;

/// Chunks that may wait to be polled; the thresholds of the queues bind earlier.
const CHUNKS_MAX: usize = 4_096;
/// Most messages a poll returns.
const POLL_MAX: usize = 1_024;
/// How soon to try again when not all queues could be taken.
const UNBALANCED_RETRY: Duration = Duration::from_secs(1);

/// Why a poll, seek or commit fails.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The queue is not assigned.
    #[error("queue {0} is not assigned to this consumer")]
    NotAssigned(MessageQueue),
    /// The broker does not answer or refuses.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Settings of a lite pull consumer; the defaults are RocketMQ's.
#[derive(Debug, Clone)]
pub struct LitePullConsumerBuilder {
    group: Arc<str>,
    subscriptions: BTreeMap<String, Filter>,
    from: ConsumeFrom,
    strategy: AllocateStrategy,
    pull_batch: u32,
    threshold: usize,
    auto_commit: Option<Duration>,
}

impl LitePullConsumerBuilder {
    /// Subscribes a topic: its queues are divided among the group. A text is a tag expression.
    #[must_use]
    pub fn subscribe(mut self, topic: &str, filter: impl Into<Filter>) -> Self {
        self.subscriptions.insert(topic.to_owned(), filter.into());
        self
    }

    /// Where a group without offsets begins.
    #[must_use]
    pub fn consume_from(mut self, from: ConsumeFrom) -> Self {
        self.from = from;
        self
    }

    /// How queues are divided.
    #[must_use]
    pub fn strategy(mut self, strategy: AllocateStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Most messages a pull may bring; 32. RocketMQ's default is 10.
    #[must_use]
    pub fn pull_batch(mut self, messages: u32) -> Self {
        self.pull_batch = messages.clamp(1, 1_024);
        self
    }

    /// Messages of a queue that may wait to be polled; 1,000.
    #[must_use]
    pub fn pull_threshold(mut self, messages: usize) -> Self {
        self.threshold = messages.max(1);
        self
    }

    /// How often polled messages are committed by themselves; 5 s. `None`: only by [`LitePullConsumer::commit`].
    #[must_use]
    pub fn auto_commit(mut self, interval: Option<Duration>) -> Self {
        self.auto_commit = interval;
        self
    }

    /// Starts a consumer with connections of its own.
    ///
    /// # Errors
    /// An illegal group or subscription, or no name server answers.
    pub async fn start(self, config: ClientConfig) -> Result<LitePullConsumer, StartError> {
        self.start_on(&ClientInstance::start(config)?).await
    }

    /// Starts a consumer that shares an instance's connections.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(self, instance: &ClientInstance) -> Result<LitePullConsumer, StartError> {
        topic::check_group(&self.group).map_err(|e| StartError::Group(e.to_string()))?;
        let mut subscriptions = BTreeMap::new();
        for (topic, filter) in &self.subscriptions {
            let subscription = Subscription::new(topic, filter)?;
            subscriptions.insert(subscription.topic.clone(), Arc::new(subscription));
        }
        let (source, stop) = StopSource::new();
        let (chunks, waiting) = mpsc::channel(CHUNKS_MAX);
        let (sender, events) = mpsc::channel(64);
        let shared = Arc::new(LiteShared {
            style: PullStyle {
                group: self.group.clone(),
                batch: self.pull_batch,
                batch_bytes: 1024 * 1024,
                suspend: Duration::from_secs(20),
                lite: true,
            },
            client: instance.shared.clone(),
            offsets: Offsets::remote(&self.group, &instance.shared),
            settings: self,
            subscriptions: Mutex::new(subscriptions),
            queues: Mutex::default(),
            chunks,
            stop,
        });
        register(instance, &shared, sender)?;
        if let Err(error) = shared.first_contact().await {
            shared.unregister();
            return Err(error.into());
        }
        let keeping = task::spawn("lite pull consumer", shared.clone().keep(events));
        Ok(LitePullConsumer {
            shared,
            waiting: tokio::sync::Mutex::new(waiting),
            committed_at: Mutex::new(clock::now()),
            keeping: Mutex::new(Some(keeping)),
            stop: source,
            _instance: instance.clone(),
        })
    }
}

fn register(
    instance: &ClientInstance,
    shared: &Arc<LiteShared>,
    events: mpsc::Sender<ConsumerEvent>,
) -> Result<(), StartError> {
    let group = shared.settings.group.clone();
    let mut groups = instance.shared.groups.write();
    if groups.consumers.contains_key(&group) {
        return Err(StartError::Taken(group));
    }
    let weak = Arc::downgrade(shared);
    let heartbeat = move || weak.upgrade().map(|s| s.heartbeat()).unwrap_or_default();
    let heartbeat = Box::new(heartbeat);
    let entry = ConsumerEntry { heartbeat, events };
    groups.consumers.insert(group, entry);
    Ok(())
}

/// A running lite pull consumer.
pub struct LitePullConsumer {
    shared: Arc<LiteShared>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Chunk>>,
    committed_at: Mutex<Instant>,
    keeping: Mutex<Option<task::TaskHandle>>,
    stop: StopSource,
    _instance: ClientInstance,
}

struct LiteShared {
    client: Arc<Shared>,
    settings: LitePullConsumerBuilder,
    style: PullStyle,
    subscriptions: Mutex<BTreeMap<Arc<str>, Arc<Subscription>>>,
    offsets: Offsets,
    queues: Mutex<BTreeMap<MessageQueue, Arc<LiteQueue>>>,
    chunks: mpsc::Sender<Chunk>,
    stop: Stop,
}

/// What one pull brought.
struct Chunk {
    queue: Arc<LiteQueue>,
    messages: Vec<MessageExt>,
    /// The position after it.
    next: QueueOffset,
}

/// One assigned queue. A seek replaces it.
struct LiteQueue {
    queue: MessageQueue,
    /// Messages pulled and not yet polled.
    held: AtomicUsize,
    dropped: AtomicBool,
    paused: AtomicBool,
    changed: Notify,
    /// After the last polled message.
    position: Mutex<QueueOffset>,
}

impl LitePullConsumer {
    /// Settings to start a consumer with.
    pub fn builder(group: &str) -> LitePullConsumerBuilder {
        LitePullConsumerBuilder {
            group: group.into(),
            subscriptions: BTreeMap::new(),
            from: ConsumeFrom::Last,
            strategy: AllocateStrategy::Averagely,
            pull_batch: 32,
            threshold: 1_000,
            auto_commit: Some(Duration::from_secs(5)),
        }
    }

    /// Takes just these queues, instead of a share of subscribed topics. Each begins at the group's offset. Queues that are assigned
    /// already go on.
    ///
    /// # Errors
    /// The starting offset of a queue cannot be found out; those before it are assigned.
    pub async fn assign(&self, queues: &[MessageQueue]) -> Result<(), PollError> {
        let shared = &self.shared;
        shared.assign(None, queues.iter().cloned().collect()).await?;
        Ok(())
    }

    /// Waits for messages, at most `timeout`; none if there were none. What earlier polls returned counts as consumed now.
    pub async fn poll(&self, timeout: Duration) -> Vec<MessageExt> {
        self.commit_if_due().await;
        let mut waiting = self.waiting.lock().await;
        let deadline = clock::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            let Ok(Some(chunk)) = clock::timeout(left, waiting.recv()).await else {
                return Vec::new();
            };
            let mut messages = chunk.take();
            while messages.len() < POLL_MAX
                && let Ok(more) = waiting.try_recv()
            {
                messages.extend(more.take());
            }
            if !messages.is_empty() {
                return messages;
            }
        }
    }

    /// The queues that are ours now.
    pub fn assigned(&self) -> Vec<MessageQueue> {
        self.shared.queues.lock().keys().cloned().collect()
    }

    /// Goes on at another offset.
    ///
    /// # Errors
    /// The queue is not assigned.
    pub fn seek(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), PollError> {
        let old = self.queue(queue)?;
        old.drop_queue();
        self.shared.begin(queue.clone(), offset);
        Ok(())
    }

    /// Goes on at the first message there is.
    ///
    /// # Errors
    /// The queue is not assigned, or its broker does not answer.
    pub async fn seek_to_begin(&self, queue: &MessageQueue) -> Result<(), PollError> {
        let begin = bound(&self.shared.client, queue, request::GET_MIN_OFFSET).await?;
        self.seek(queue, begin)
    }

    /// Goes on after the last message there is.
    ///
    /// # Errors
    /// As [`Self::seek_to_begin`].
    pub async fn seek_to_end(&self, queue: &MessageQueue) -> Result<(), PollError> {
        let end = bound(&self.shared.client, queue, request::GET_MAX_OFFSET).await?;
        self.seek(queue, end)
    }

    /// The first offset of a queue stored at or after a time, unix ms.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn offset_for_timestamp(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<QueueOffset, PollError> {
        Ok(search(&self.shared.client, queue, timestamp_ms).await?)
    }

    /// The position after the last polled message of a queue.
    ///
    /// # Errors
    /// The queue is not assigned.
    pub fn position(&self, queue: &MessageQueue) -> Result<QueueOffset, PollError> {
        Ok(*self.queue(queue)?.position.lock())
    }

    /// How far the group has come in a queue, as the broker says.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, PollError> {
        Ok(self.shared.offsets.stored(queue).await?)
    }

    /// Writes the positions of all queues and waits for the brokers.
    ///
    /// # Errors
    /// A broker does not answer; queues before it are written.
    pub async fn commit(&self) -> Result<(), PollError> {
        self.book_positions();
        for queue in self.assigned() {
            self.shared.offsets.persist_one(&queue).await?;
        }
        Ok(())
    }

    /// Writes an offset of one queue and waits for the broker.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn commit_offset(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), PollError> {
        self.shared.offsets.reset(queue, offset);
        Ok(self.shared.offsets.persist_one(queue).await?)
    }

    /// Stops pulling a queue for now. What has been pulled can still be polled.
    ///
    /// # Errors
    /// The queue is not assigned.
    pub fn pause(&self, queue: &MessageQueue, paused: bool) -> Result<(), PollError> {
        let queue = self.queue(queue)?;
        queue.paused.store(paused, Ordering::SeqCst);
        queue.changed.notify_waiters();
        Ok(())
    }

    /// Stops; with automatic commits, writes the positions first.
    pub async fn shutdown(self) {
        if self.shared.settings.auto_commit.is_some()
            && let Err(error) = self.commit().await
        {
            tracing::warn!(%error, "write last offsets");
        }
        self.stop.stop();
        let keeping = self.keeping.lock().take();
        if let Some(keeping) = keeping {
            let _ = keeping.join().await;
        }
    }

    fn queue(&self, queue: &MessageQueue) -> Result<Arc<LiteQueue>, PollError> {
        let queues = self.shared.queues.lock();
        let found = queues.get(queue).cloned();
        found.ok_or_else(|| PollError::NotAssigned(queue.clone()))
    }

    fn book_positions(&self) {
        for queue in self.shared.queues.lock().values() {
            self.shared.offsets.reset(&queue.queue, *queue.position.lock());
        }
    }

    async fn commit_if_due(&self) {
        let Some(interval) = self.shared.settings.auto_commit else {
            return;
        };
        {
            let mut last = self.committed_at.lock();
            if clock::now() < *last + interval {
                return;
            }
            *last = clock::now();
        }
        for queue in self.shared.queues.lock().values() {
            self.shared.offsets.advance(&queue.queue, *queue.position.lock());
        }
        self.shared.offsets.persist().await;
    }
}

impl Chunk {
    /// Its messages, unless the queue has been taken away or moved meanwhile.
    fn take(self) -> Vec<MessageExt> {
        self.queue.held.fetch_sub(self.messages.len(), Ordering::SeqCst);
        self.queue.changed.notify_one();
        if self.queue.dropped.load(Ordering::SeqCst) {
            return Vec::new();
        }
        *self.queue.position.lock() = self.next;
        self.messages
    }
}

impl LiteQueue {
    fn drop_queue(&self) {
        self.dropped.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Waits until `ready`, or the queue is taken away.
    async fn until(&self, ready: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.dropped.load(Ordering::SeqCst) || ready(self) {
                return;
            }
            changed.await;
        }
    }
}

impl LiteShared {
    async fn first_contact(&self) -> Result<(), CallError> {
        let topics: Vec<_> = self.subscriptions.lock().keys().cloned().collect();
        for topic in topics {
            match self.client.fetch_route(&topic, false).await {
                Ok(_) | Err(CallError::NoRoute(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.client.heartbeat().await;
        Ok(())
    }

    /// Keeps the share of subscribed topics.
    async fn keep(self: Arc<Self>, mut events: mpsc::Receiver<ConsumerEvent>) {
        let mut next = clock::now();
        loop {
            tokio::select! {
                biased;
                () = self.stop.wait() => break,
                event = events.recv() => match event {
                    Some(ConsumerEvent::Rebalance) => next = clock::now(),
                    Some(ConsumerEvent::ResetOffsets(offsets)) => self.reset(offsets).await,
                    Some(_) => {}
                    None => break,
                },
                () = clock::sleep_until(next) => {
                    let balanced = self.rebalance().await;
                    let interval = self.client.config.rebalance_interval;
                    next = clock::now() + if balanced { interval } else { UNBALANCED_RETRY };
                }
            }
        }
        let queues = std::mem::take(&mut *self.queues.lock());
        queues.values().for_each(|queue| queue.drop_queue());
        self.unregister();
        let group = self.settings.group.clone();
        self.client.unregister(None, Some(&group)).await;
    }

    async fn rebalance(self: &Arc<Self>) -> bool {
        let mut balanced = true;
        for topic in self.settings.subscriptions.keys() {
            let strategy = Some(&self.settings.strategy);
            let mine = share(&self.client, &self.settings.group, strategy, topic).await;
            let done = match mine {
                Ok(Some(mine)) => self.assign(Some(topic), mine).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::debug!(%topic, %error, "rebalance");
                balanced = false;
            }
        }
        balanced
    }

    /// Makes `mine` the assigned queues (of one topic).
    async fn assign(self: &Arc<Self>, topic: Option<&str>, mine: BTreeSet<MessageQueue>) -> Result<(), CallError> {
        let gone: Vec<_> = {
            let mut queues = self.queues.lock();
            let stays = |q: &MessageQueue| topic.is_some_and(|t| *q.topic != *t) || mine.contains(q);
            let gone: Vec<_> = queues.keys().filter(|q| !stays(q)).cloned().collect();
            gone.iter().filter_map(|queue| queues.remove(queue)).collect()
        };
        for queue in gone {
            queue.drop_queue();
            if self.settings.auto_commit.is_some() {
                self.offsets.advance(&queue.queue, *queue.position.lock());
                if let Err(error) = self.offsets.persist_one(&queue.queue).await {
                    tracing::warn!(queue = %queue.queue, %error, "write offset of a queue that leaves");
                }
            }
            self.offsets.forget(&queue.queue);
        }
        for queue in mine {
            if self.queues.lock().contains_key(&queue) {
                continue;
            }
            self.client.fetch_route(&queue.topic, false).await?;
            let from = self.offsets.start(&queue, self.settings.from).await?;
            self.begin(queue, from);
        }
        Ok(())
    }

    fn begin(self: &Arc<Self>, queue: MessageQueue, from: QueueOffset) {
        let fresh = Arc::new(LiteQueue {
            queue: queue.clone(),
            held: AtomicUsize::new(0),
            dropped: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            changed: Notify::new(),
            position: Mutex::new(from),
        });
        let Some(subscription) = self.subscription(&queue.topic) else {
            tracing::warn!(%queue, "illegal topic");
            return;
        };
        self.queues.lock().insert(queue, fresh.clone());
        task::spawn("lite pull", feed(self.clone(), fresh, subscription, from));
    }

    /// The topic's subscription; everything for a topic that was only assigned.
    fn subscription(&self, topic: &Arc<str>) -> Option<Arc<Subscription>> {
        let mut subscriptions = self.subscriptions.lock();
        if let Some(subscription) = subscriptions.get(topic) {
            return Some(subscription.clone());
        }
        let subscription = Arc::new(Subscription::new(topic, &Filter::All).ok()?);
        subscriptions.insert(topic.clone(), subscription.clone());
        Some(subscription)
    }

    async fn reset(self: &Arc<Self>, offsets: Vec<(MessageQueue, QueueOffset)>) {
        for (queue, offset) in offsets {
            let old = self.queues.lock().get(&queue).cloned();
            let Some(old) = old else { continue };
            old.drop_queue();
            self.offsets.reset(&queue, offset);
            if let Err(error) = self.offsets.persist_one(&queue).await {
                tracing::warn!(%queue, %error, "write reset offset");
            }
            self.begin(queue, offset);
        }
    }

    fn heartbeat(&self) -> body::ConsumerData {
        body::ConsumerData {
            consume_type: body::ConsumeType::Actively,
            group_name: self.settings.group.to_string(),
            subscription_data_set: self.subscriptions.lock().values().map(|s| s.data()).collect(),
            ..body::ConsumerData::default()
        }
    }

    fn unregister(&self) {
        let group = &self.settings.group;
        self.client.groups.write().consumers.remove(group);
    }
}

/// Pulls ahead until the queue is taken away.
async fn feed(consumer: Arc<LiteShared>, queue: Arc<LiteQueue>, subscription: Arc<Subscription>, from: QueueOffset) {
    let threshold = consumer.settings.threshold;
    let mut next = from;
    let mut suggested = 0;
    let mut failures = 0;
    loop {
        let room = |q: &LiteQueue| q.held.load(Ordering::SeqCst) < threshold && !q.paused.load(Ordering::SeqCst);
        queue.until(room).await;
        let style = &consumer.style;
        let pull = style.pull(&consumer.client, &queue.queue, &subscription, next, suggested);
        let pulled = tokio::select! {
            () = queue.until(|_| false) => return,
            pulled = pull => pulled,
        };
        let (messages, answer) = match pulled {
            Ok(Pulled::Messages(messages, answer)) => (messages, answer),
            // Java's lite pull consumer takes the offset the broker offers, and so do we.
            Ok(Pulled::Illegal(answer)) => {
                tracing::warn!(queue = %queue.queue, at = %next, go_on = %answer.next, "offset does not exist");
                (Vec::new(), answer)
            }
            Ok(Pulled::Moved) => {
                suggested = 0;
                continue;
            }
            Err(error) => {
                suggested = 0;
                let pause = pause_after(&error, failures);
                failures += 1;
                if failures > 3 {
                    tracing::warn!(queue = %queue.queue, %error, failures, "pull");
                }
                tokio::select! {
                    () = queue.until(|_| false) => return,
                    () = clock::sleep(pause) => continue,
                }
            }
        };
        failures = 0;
        suggested = answer.suggested_broker;
        let moved = next != answer.next;
        next = answer.next;
        if !moved && messages.is_empty() {
            continue;
        }
        queue.held.fetch_add(messages.len(), Ordering::SeqCst);
        let chunk = Chunk {
            queue: queue.clone(),
            messages,
            next,
        };
        let given = tokio::select! {
            () = queue.until(|_| false) => return,
            given = consumer.chunks.send(chunk) => given,
        };
        if given.is_err() || consumer.stop.is_stopped() {
            return;
        }
    }
}
