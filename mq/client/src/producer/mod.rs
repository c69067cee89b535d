//! Producers.
//!
//! A send picks a queue, numbers the message with a key of its own (`UNIQ_KEY`), and calls the group's leader. What
//! follows a failure is in `deliver.rs`.

mod batch;
mod deliver;
mod prepare;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use mq_message::msg_id::UniqueKeys;
use mq_message::{QueueOffset, java_hash};

pub use transaction::{TransactionListener, TransactionProducer, TransactionResult, TransactionState};

use crate::config::ClientConfig;
use crate::error::{CallError, SendError};
use crate::instance::{ClientInstance, ProducerEntry};
use crate::message::{Message, MessageQueue};
pub(crate) use deliver::Target;

/// What the broker says about a stored message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// Stored as safely as the broker is set to.
    Ok,
    /// Stored; flushing to disk took too long.
    FlushDiskTimeout,
    /// Stored; a replica took too long.
    FlushSlaveTimeout,
    /// Stored; there is no replica.
    SlaveNotAvailable,
}

/// Where a message went.
#[derive(Debug, Clone)]
pub struct SendResult {
    /// How safely it is stored.
    pub status: SendStatus,
    /// The client's id of the message (`UNIQ_KEY`); of a batch, that of the first message.
    pub msg_id: String,
    /// The broker's id; of a batch, one per message, divided by commas.
    pub offset_msg_id: String,
    /// The queue.
    pub queue: MessageQueue,
    /// Its number there; of a batch, that of the first message.
    pub queue_offset: QueueOffset,
    /// Given by the broker to half messages.
    pub transaction_id: Option<String>,
    /// Sends it took. With more than one the message may be stored more than once.
    pub tries: u32,
}

/// Settings of a producer; the defaults are RocketMQ's.
#[derive(Debug, Clone)]
pub struct ProducerBuilder {
    pub(crate) group: Arc<str>,
    pub(crate) send_timeout: Duration,
    pub(crate) try_timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) compress_over: usize,
    pub(crate) message_bytes_max: usize,
    pub(crate) latency_fault: bool,
    pub(crate) retry_not_ok: bool,
}

impl ProducerBuilder {
    fn new(group: &str) -> Self {
        Self {
            group: group.into(),
            send_timeout: Duration::from_secs(3),
            try_timeout: Duration::from_millis(1_500),
            retries: 2,
            compress_over: 4096,
            message_bytes_max: 4 * 1024 * 1024,
            latency_fault: false,
            retry_not_ok: false,
        }
    }

    /// Time for a send with all its tries; 3 s.
    #[must_use]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// Time for one try, after which another member or broker is asked; 1.5 s. RocketMQ's clients wait for the whole time
    /// of the send instead, so that a hanging broker cannot be retried.
    #[must_use]
    pub fn try_timeout(mut self, timeout: Duration) -> Self {
        self.try_timeout = timeout;
        self
    }

    /// Further tries after the first; 2. Connections that cannot be made are not counted: they cost nothing and are
    /// tried until the time is up.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Bodies of this size and more are compressed; 4 KiB.
    #[must_use]
    pub fn compress_over(mut self, bytes: usize) -> Self {
        self.compress_over = bytes;
        self
    }

    /// Largest body; 4 MiB, as brokers allow.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Avoids brokers that answered slowly (`sendLatencyFaultEnable`); off.
    #[must_use]
    pub fn avoid_slow_brokers(mut self, avoid: bool) -> Self {
        self.latency_fault = avoid;
        self
    }

    /// Tries another broker when a message was stored less safely than asked; off.
    #[must_use]
    pub fn retry_another_broker_when_not_store_ok(mut self, retry: bool) -> Self {
        self.retry_not_ok = retry;
        self
    }

    /// Starts a producer with connections of its own.
    ///
    /// # Errors
    /// The group's name is illegal.
    pub async fn start(self, config: ClientConfig) -> Result<Producer, StartError> {
        self.start_on(&ClientInstance::start(config)?).await
    }

    /// Starts a producer that shares an instance's connections.
    ///
    /// # Errors
    /// The group's name is illegal.
    pub async fn start_on(self, instance: &ClientInstance) -> Result<Producer, StartError> {
        mq_message::topic::check_group(&self.group).map_err(|e| StartError::Group(e.to_string()))?;
        let config = instance.config();
        let keys = UniqueKeys::new(
            config.client_ip,
            std::process::id() as u16,
            mq_base::env::random::u64() as u32,
        );
        let registration = Registration::new(instance, &self.group);
        Ok(Producer {
            shared: Arc::new(ProducerShared {
                instance: instance.clone(),
                settings: self,
                keys,
                _registration: registration,
            }),
        })
    }
}

/// Why a producer or consumer does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The group's name is illegal.
    #[error("illegal group: {0}")]
    Group(String),
    /// The subscription is illegal.
    #[error("illegal subscription: {0}")]
    Subscription(String),
    /// A group may have one consumer in a client instance only.
    #[error("the client already has a consumer in group {0}")]
    Taken(Arc<str>),
    /// The first talk with name server or broker failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] mq_net::TlsError),
    /// The file with a broadcasting consumer's offsets cannot be read.
    #[error("offset file: {0}")]
    Offsets(#[from] std::io::Error),
}

/// Sends messages. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    pub(crate) shared: Arc<ProducerShared>,
}

pub(crate) struct ProducerShared {
    pub(crate) instance: ClientInstance,
    pub(crate) settings: ProducerBuilder,
    pub(crate) keys: UniqueKeys,
    _registration: Registration,
}

impl Producer {
    /// Settings to start a producer with.
    pub fn builder(group: &str) -> ProducerBuilder {
        ProducerBuilder::new(group)
    }

    /// Sends to the topic's queues in turn.
    ///
    /// # Errors
    /// See [`SendError::is_unknown`] for whether the message may be stored all the same.
    pub async fn send(&self, message: Message) -> Result<SendResult, SendError> {
        let prepared = self.shared.prepare(message)?;
        self.shared.deliver(&prepared, Target::Turn).await
    }

    /// Sends to one queue.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_to(&self, message: Message, queue: &MessageQueue) -> Result<SendResult, SendError> {
        let prepared = self.shared.prepare(message)?;
        self.shared.deliver(&prepared, Target::Exact(queue)).await
    }

    /// Sends to the queue that `select` picks out of the topic's queues; the index counts modulo their number. Messages
    /// sent one after the other to the same queue stay in order.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_by(
        &self,
        message: Message,
        select: impl FnOnce(&[MessageQueue]) -> usize,
    ) -> Result<SendResult, SendError> {
        let prepared = self.shared.prepare(message)?;
        let unsent = |source| SendError::Call {
            source,
            tries: 0,
            unsent: true,
        };
        let queues = self.shared.instance.publish_queues(&prepared.topic).await;
        let queues = queues.map_err(unsent)?;
        if queues.is_empty() {
            return Err(unsent(CallError::NoRoute(prepared.topic.clone())));
        }
        let queue = &queues[select(&queues) % queues.len()];
        self.shared.deliver(&prepared, Target::Exact(queue)).await
    }

    /// Sends messages of the same key to the same queue, as RocketMQ's `SelectMessageQueueByHash` does.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_by_key(&self, message: Message, key: &str) -> Result<SendResult, SendError> {
        let hash = java_hash(key).unsigned_abs() as usize;
        let message = message.sharding_key(key);
        self.send_by(message, |_| hash).await
    }

    /// Sends messages of one topic as one request: all or none is stored, one after the other in one queue.
    ///
    /// # Errors
    /// As [`Self::send`]; also if the messages cannot go together.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<SendResult, SendError> {
        let prepared = self.shared.prepare_batch(messages)?;
        self.shared.deliver(&prepared, Target::Turn).await
    }

    /// As [`Self::send_batch`], to one queue.
    ///
    /// # Errors
    /// As [`Self::send_batch`].
    pub async fn send_batch_to(&self, messages: Vec<Message>, queue: &MessageQueue) -> Result<SendResult, SendError> {
        let prepared = self.shared.prepare_batch(messages)?;
        self.shared.deliver(&prepared, Target::Exact(queue)).await
    }

    /// Starts a send and returns at once; `done` is called with its outcome. Failed tries are repeated as for
    /// [`Self::send`].
    pub fn send_async(&self, message: Message, done: impl FnOnce(Result<SendResult, SendError>) + Send + 'static) {
        match self.shared.prepare(message) {
            Ok(prepared) => self.shared.clone().deliver_async(prepared, Box::new(done)),
            Err(error) => done(Err(error.into())),
        }
    }

    /// [`Self::send_batch`] that returns at once; `done` is called with the outcome.
    pub fn send_batch_async(
        &self,
        messages: Vec<Message>,
        done: impl FnOnce(Result<SendResult, SendError>) + Send + 'static,
    ) {
        match self.shared.prepare_batch(messages) {
            Ok(prepared) => self.shared.clone().deliver_async(prepared, Box::new(done)),
            Err(error) => done(Err(error.into())),
        }
    }

    /// Sends without waiting for an answer: whether the message is stored stays unknown.
    ///
    /// # Errors
    /// If it certainly was not sent.
    pub async fn send_oneway(&self, message: Message) -> Result<(), SendError> {
        let prepared = self.shared.prepare(message)?;
        self.shared.deliver_oneway(&prepared).await
    }

    /// The queues messages of a topic can be sent to.
    ///
    /// # Errors
    /// No route, or no name server answers.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, CallError> {
        self.shared.instance.publish_queues(topic).await
    }

    /// The instance it runs on.
    pub fn instance(&self) -> &ClientInstance {
        &self.shared.instance
    }

    /// Tells the brokers that the group leaves here. Sends in flight are not waited for.
    pub async fn shutdown(self) {
        let group = self.shared.settings.group.clone();
        let instance = self.shared.instance.clone();
        drop(self);
        if !instance.shared.groups.read().producers.contains_key(&group) {
            instance.shared.unregister(Some(&group), None).await;
        }
    }
}

/// Keeps a producer group in the instance's heartbeats.
struct Registration {
    instance: ClientInstance,
    group: Arc<str>,
}

impl Registration {
    fn new(instance: &ClientInstance, group: &Arc<str>) -> Self {
        let mut groups = instance.shared.groups.write();
        let entry = groups.producers.entry(group.clone());
        let entry = entry.or_insert_with(|| ProducerEntry { count: 0, checks: None });
        entry.count += 1;
        Self {
            instance: instance.clone(),
            group: group.clone(),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut groups = self.instance.shared.groups.write();
        if let Some(entry) = groups.producers.get_mut(&self.group) {
            entry.count -= 1;
            if entry.count == 0 {
                groups.producers.remove(&self.group);
            }
        }
    }
}
