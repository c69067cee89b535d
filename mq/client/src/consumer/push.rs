//! The push consumer: it pulls ahead and calls a listener. (RocketMQ's name; nothing is pushed.)
//!
//! One task keeps the assignment (`rebalance.rs`): it asks who else is in the group, divides the queues, and starts or
//! ends their loops. Each queue has a pulling task (`feed.rs`) that fills a [`ProcessQueue`] under the flow limits. Concurrent
//! consumption hands what was pulled to a fixed set of workers (`concurrent.rs`), orderly consumption to a task of the queue's
//! own that consumes only while the broker has granted the queue's lock (`orderly.rs`).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mq_base::env::{clock, task};
use mq_base::stop::{Stop, StopSource};
use mq_message::topic;
use mq_remoting::body;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::concurrent::Work;
use super::offsets::{ConsumeFrom, Offsets};
use super::process_queue::{Limits, ProcessQueue};
use super::pull::PullStyle;
use super::subscription::{Filter, Subscription};
use super::{AllocateStrategy, concurrent};
use crate::config::ClientConfig;
use crate::inbound::ConsumerEvent;
use crate::instance::{ClientInstance, ConsumerEntry, Shared};
use crate::message::{MessageExt, MessageQueue};
use crate::producer::{Producer, StartError};

/// Events that may wait for a consumer; brokers repeat what is dropped.
const EVENTS_MAX: usize = 256;
/// The group of the producer that gives messages back when a broker does not take them otherwise.
const INNER_PRODUCER: &str = "CLIENT_INNER_PRODUCER";

/// Who of a group gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageModel {
    /// One consumer of the group.
    #[default]
    Clustering,
    /// Every consumer; offsets are kept on the consumer's machine and nothing is tried again.
    Broadcasting,
}

/// What a concurrent listener says about the messages it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeStatus {
    /// Done.
    Success,
    /// Try again later: after 10 s, 30 s, 1 m … and after the last time the message is a dead letter.
    ReconsumeLater,
    /// Try again after this delay level.
    ReconsumeAfter(u32),
    /// Straight to the dead letters.
    DeadLetter,
}

/// What an orderly listener says about the messages it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderlyStatus {
    /// Done.
    Success,
    /// Hold the queue and try the same messages again after a pause.
    SuspendCurrentQueueAMoment,
}

pub(crate) type Outcome<S> = Pin<Box<dyn Future<Output = S> + Send>>;
/// A listener, whatever its type.
pub(crate) type Listener<S> = Arc<dyn Fn(Vec<MessageExt>) -> Outcome<S> + Send + Sync>;

/// How messages are consumed.
pub(crate) enum Mode {
    Concurrent {
        listener: Listener<ConsumeStatus>,
        work: mpsc::Sender<Work>,
    },
    Orderly(Listener<OrderlyStatus>),
}

/// Settings of a push consumer; the defaults are RocketMQ's.
#[derive(Debug, Clone)]
pub struct PushConsumerBuilder {
    pub(crate) group: Arc<str>,
    pub(crate) subscriptions: BTreeMap<String, Filter>,
    pub(crate) model: MessageModel,
    pub(crate) from: ConsumeFrom,
    pub(crate) strategy: AllocateStrategy,
    pub(crate) workers: usize,
    pub(crate) consume_batch: usize,
    pub(crate) pull_batch: u32,
    pub(crate) pull_batch_bytes: u32,
    pub(crate) limits: Limits,
    pub(crate) max_reconsume_times: Option<i32>,
    pub(crate) suspend_queue: Duration,
    pub(crate) consume_timeout: Duration,
    pub(crate) shutdown_wait: Duration,
}

impl PushConsumerBuilder {
    fn new(group: &str) -> Self {
        Self {
            group: group.into(),
            subscriptions: BTreeMap::new(),
            model: MessageModel::Clustering,
            from: ConsumeFrom::Last,
            strategy: AllocateStrategy::Averagely,
            workers: 20,
            consume_batch: 1,
            pull_batch: 32,
            pull_batch_bytes: 256 * 1024,
            limits: Limits {
                messages: 1_000,
                bytes: 100 * 1024 * 1024,
                span: Some(2_000),
            },
            max_reconsume_times: None,
            suspend_queue: Duration::from_secs(1),
            consume_timeout: Duration::from_secs(15 * 60),
            shutdown_wait: Duration::from_secs(10),
        }
    }

    /// Subscribes a topic. A text is a tag expression: `*`, or `TagA || TagB`.
    #[must_use]
    pub fn subscribe(mut self, topic: &str, filter: impl Into<Filter>) -> Self {
        self.subscriptions.insert(topic.to_owned(), filter.into());
        self
    }

    /// Clustering (the default) or broadcasting.
    #[must_use]
    pub fn model(mut self, model: MessageModel) -> Self {
        self.model = model;
        self
    }

    /// Where a group without offsets begins.
    #[must_use]
    pub fn consume_from(mut self, from: ConsumeFrom) -> Self {
        self.from = from;
        self
    }

    /// How queues are divided. All members of a group must say the same.
    #[must_use]
    pub fn strategy(mut self, strategy: AllocateStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Calls of a concurrent listener that may run at the same time; 20.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.clamp(1, 1_000);
        self
    }

    /// Most messages a listener is given at once; 1.
    #[must_use]
    pub fn consume_batch(mut self, messages: usize) -> Self {
        self.consume_batch = messages.clamp(1, 1_024);
        self
    }

    /// Most messages a pull may bring; 32, which is also as many as a broker gives by default.
    #[must_use]
    pub fn pull_batch(mut self, messages: u32) -> Self {
        self.pull_batch = messages.clamp(1, 1_024);
        self
    }

    /// Messages and bytes of one queue that may wait for the listener; 1,000 and 100 MiB.
    #[must_use]
    pub fn pull_threshold(mut self, messages: usize, bytes: usize) -> Self {
        self.limits.messages = messages;
        self.limits.bytes = bytes;
        self
    }

    /// Tries after the first; 16, and without end for orderly consumers.
    #[must_use]
    pub fn max_reconsume_times(mut self, times: i32) -> Self {
        self.max_reconsume_times = Some(times);
        self
    }

    /// Pause before an orderly listener gets the same messages again; 1 s.
    #[must_use]
    pub fn suspend_queue(mut self, pause: Duration) -> Self {
        self.suspend_queue = pause;
        self
    }

    /// A message that a concurrent listener has not finished after this time is given back; 15 min.
    #[must_use]
    pub fn consume_timeout(mut self, timeout: Duration) -> Self {
        self.consume_timeout = timeout;
        self
    }

    /// How long a shutdown waits for running listeners; 10 s.
    #[must_use]
    pub fn shutdown_wait(mut self, wait: Duration) -> Self {
        self.shutdown_wait = wait;
        self
    }

    /// Starts a consumer whose listener may run for several messages at once.
    ///
    /// # Errors
    /// An illegal group or subscription, or no name server answers.
    pub async fn start_concurrently<F, O>(self, config: ClientConfig, listener: F) -> Result<PushConsumer, StartError>
    where
        F: Fn(Vec<MessageExt>) -> O + Send + Sync + 'static,
        O: Future<Output = ConsumeStatus> + Send + 'static,
    {
        let instance = ClientInstance::start(config)?;
        self.start_concurrently_on(&instance, listener).await
    }

    /// As [`Self::start_concurrently`], sharing an instance's connections. An instance takes one consumer of each group.
    ///
    /// # Errors
    /// As [`Self::start_concurrently`].
    pub async fn start_concurrently_on<F, O>(
        self,
        instance: &ClientInstance,
        listener: F,
    ) -> Result<PushConsumer, StartError>
    where
        F: Fn(Vec<MessageExt>) -> O + Send + Sync + 'static,
        O: Future<Output = ConsumeStatus> + Send + 'static,
    {
        // Room for what the workers take next; the rest waits in the process queues.
        let (work, waiting) = mpsc::channel(self.workers);
        let listener: Listener<ConsumeStatus> = Arc::new(move |m| Box::pin(listener(m)));
        let mode = Mode::Concurrent { listener, work };
        let consumer = self.start(instance, mode).await?;
        concurrent::start_workers(&consumer.shared, waiting);
        Ok(consumer)
    }

    /// Starts a consumer whose listener gets each queue's messages in order, one call at a time.
    ///
    /// # Errors
    /// As [`Self::start_concurrently`].
    pub async fn start_orderly<F, O>(self, config: ClientConfig, listener: F) -> Result<PushConsumer, StartError>
    where
        F: Fn(Vec<MessageExt>) -> O + Send + Sync + 'static,
        O: Future<Output = OrderlyStatus> + Send + 'static,
    {
        let instance = ClientInstance::start(config)?;
        self.start_orderly_on(&instance, listener).await
    }

    /// As [`Self::start_orderly`], sharing an instance's connections.
    ///
    /// # Errors
    /// As [`Self::start_concurrently`].
    pub async fn start_orderly_on<F, O>(
        mut self,
        instance: &ClientInstance,
        listener: F,
    ) -> Result<PushConsumer, StartError>
    where
        F: Fn(Vec<MessageExt>) -> O + Send + Sync + 'static,
        O: Future<Output = OrderlyStatus> + Send + 'static,
    {
        self.limits.span = None;
        let listener: Listener<OrderlyStatus> = Arc::new(move |m| Box::pin(listener(m)));
        self.start(instance, Mode::Orderly(listener)).await
    }

    async fn start(self, instance: &ClientInstance, mode: Mode) -> Result<PushConsumer, StartError> {
        topic::check_group(&self.group).map_err(|e| StartError::Group(e.to_string()))?;
        let (source, stop) = StopSource::new();
        let shared = Arc::new(self.build(instance, mode, stop).await?);
        let events = register(instance, &shared)?;
        if let Err(error) = shared.first_contact().await {
            shared.unregister();
            return Err(error.into());
        }
        let keeping = task::spawn("consumer", shared.clone().keep(events));
        Ok(PushConsumer {
            shared,
            keeping: Mutex::new(Some(keeping)),
            stop: source,
        })
    }

    async fn build(self, instance: &ClientInstance, mode: Mode, stop: Stop) -> Result<PushShared, StartError> {
        let client = &instance.shared;
        let mut subscriptions = BTreeMap::new();
        for (topic, filter) in &self.subscriptions {
            let subscription = Subscription::new(topic, filter)?;
            subscriptions.insert(subscription.topic.clone(), Arc::new(subscription));
        }
        let offsets = match self.model {
            MessageModel::Broadcasting => Offsets::local(&self.group, client).await?,
            MessageModel::Clustering => {
                let retry = topic::retry(&self.group);
                let subscription = Arc::new(Subscription::new(&retry, &Filter::All)?);
                subscriptions.insert(subscription.topic.clone(), subscription);
                Offsets::remote(&self.group, client)
            }
        };
        let giving_back = Producer::builder(INNER_PRODUCER).start_on(instance).await?;
        Ok(PushShared {
            style: PullStyle {
                group: self.group.clone(),
                batch: self.pull_batch,
                batch_bytes: self.pull_batch_bytes,
                suspend: Duration::from_secs(15),
                lite: false,
            },
            client: client.clone(),
            settings: self,
            subscriptions,
            offsets,
            assigned: Mutex::default(),
            mode,
            giving_back,
            stop,
            started_ms: clock::wall_ms(),
        })
    }
}

fn register(instance: &ClientInstance, shared: &Arc<PushShared>) -> Result<mpsc::Receiver<ConsumerEvent>, StartError> {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let group = shared.settings.group.clone();
    let mut groups = instance.shared.groups.write();
    if groups.consumers.contains_key(&group) {
        return Err(StartError::Taken(group));
    }
    let weak = Arc::downgrade(shared);
    let heartbeat = move || weak.upgrade().map(|s| s.heartbeat()).unwrap_or_default();
    let entry = ConsumerEntry {
        heartbeat: Box::new(heartbeat),
        events: sender,
    };
    groups.consumers.insert(group, entry);
    Ok(events)
}

/// A running push consumer. Dropped without [`PushConsumer::shutdown`], it stops without writing its offsets.
pub struct PushConsumer {
    pub(crate) shared: Arc<PushShared>,
    keeping: Mutex<Option<task::TaskHandle>>,
    stop: StopSource,
}

pub(crate) struct PushShared {
    pub(crate) client: Arc<Shared>,
    pub(crate) settings: PushConsumerBuilder,
    pub(crate) style: PullStyle,
    pub(crate) subscriptions: BTreeMap<Arc<str>, Arc<Subscription>>,
    pub(crate) offsets: Offsets,
    /// The queues that are ours now.
    pub(crate) assigned: Mutex<BTreeMap<MessageQueue, Arc<ProcessQueue>>>,
    pub(crate) mode: Mode,
    /// Sends messages back when the broker does not take them otherwise.
    pub(crate) giving_back: Producer,
    pub(crate) stop: Stop,
    pub(crate) started_ms: i64,
}

impl PushConsumer {
    /// Settings to start a consumer with.
    pub fn builder(group: &str) -> PushConsumerBuilder {
        PushConsumerBuilder::new(group)
    }

    /// The queues that are ours now.
    pub fn assigned(&self) -> Vec<MessageQueue> {
        self.shared.assigned.lock().keys().cloned().collect()
    }

    /// How far the group has come, by the queues that are ours.
    pub fn offsets(&self) -> Vec<(MessageQueue, mq_message::QueueOffset)> {
        self.shared.offsets.all()
    }

    /// Stops pulling, waits for running listeners, writes offsets, gives queue locks back, and leaves the group.
    pub async fn shutdown(self) {
        self.stop.stop();
        let keeping = self.keeping.lock().take();
        if let Some(keeping) = keeping {
            let _ = keeping.join().await;
        }
    }
}

impl PushShared {
    pub(crate) fn is_orderly(&self) -> bool {
        matches!(self.mode, Mode::Orderly(_))
    }

    pub(crate) fn is_clustering(&self) -> bool {
        self.settings.model == MessageModel::Clustering
    }

    /// Whether the queue is still ours in this very assignment.
    pub(crate) fn owns(&self, queue: &Arc<ProcessQueue>) -> bool {
        let assigned = self.assigned.lock();
        let mine = assigned.get(&queue.queue);
        mine.is_some_and(|mine| Arc::ptr_eq(mine, queue))
    }

    /// Messages were consumed (or given back): the offset moves.
    pub(crate) fn finish(&self, queue: &Arc<ProcessQueue>, offsets: impl Iterator<Item = mq_message::QueueOffset>) {
        let committable = queue.done(offsets);
        if let Some(offset) = committable
            && self.owns(queue)
        {
            self.offsets.advance(&queue.queue, offset);
        }
    }

    fn heartbeat(&self) -> body::ConsumerData {
        body::ConsumerData {
            consume_from_where: match self.settings.from {
                ConsumeFrom::Last => body::ConsumeFromWhere::LastOffset,
                ConsumeFrom::First => body::ConsumeFromWhere::FirstOffset,
                ConsumeFrom::Timestamp(_) => body::ConsumeFromWhere::Timestamp,
            },
            consume_type: body::ConsumeType::Passively,
            group_name: self.settings.group.to_string(),
            message_model: match self.settings.model {
                MessageModel::Clustering => body::MessageModel::Clustering,
                MessageModel::Broadcasting => body::MessageModel::Broadcasting,
            },
            subscription_data_set: self.subscriptions.values().map(|s| s.data()).collect(),
            unit_mode: false,
        }
    }

    pub(crate) fn unregister(&self) {
        let group = &self.settings.group;
        self.client.groups.write().consumers.remove(group);
    }
}
