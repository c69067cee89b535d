//! Transactional messages: stored invisibly, then shown or dropped by the outcome of a local transaction. When that
//! outcome does not reach the broker, it asks.

use std::sync::Arc;

use mq_base::env::task;
use mq_base::stop::StopSource;
use mq_message::{msg_id, property};
use tokio::sync::mpsc;

use super::{Producer, ProducerBuilder, SendResult, SendStatus, StartError, Target};
use crate::error::{CallError, SendError};
use crate::inbound::TransactionCheck;
use crate::instance::{ClientInstance, ProducerEntry};
use crate::message::{Message, MessageExt};
use crate::wire::{self, HalfMessage, TransactionEnd};
use crate::{ClientConfig, MessageQueue};

/// Questions of brokers that may wait. More are dropped: the broker asks again.
const CHECKS_MAX: usize = 2_000;

/// How a local transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// Show the message.
    Commit,
    /// Drop it.
    Rollback,
    /// Not known yet: the broker shall ask later.
    Unknown,
}

impl From<TransactionState> for TransactionEnd {
    fn from(state: TransactionState) -> Self {
        match state {
            TransactionState::Commit => Self::Commit,
            TransactionState::Rollback => Self::Rollback,
            TransactionState::Unknown => Self::Unknown,
        }
    }
}

/// The user's side of transactions.
pub trait TransactionListener: Send + Sync + 'static {
    /// The half message is stored: run the local transaction. `transaction_id` is the message's key.
    fn execute(&self, message: &Message, transaction_id: &str) -> impl Future<Output = TransactionState> + Send;

    /// A broker asks how the local transaction stands. May be asked again, and for messages of other producers of the group.
    fn check(&self, message: &MessageExt) -> impl Future<Output = TransactionState> + Send;
}

/// Outcome of a transactional send.
#[derive(Debug, Clone)]
pub struct TransactionResult {
    /// Where the half message went. The visible message gets an offset of its own.
    pub send: SendResult,
    /// What the local transaction said.
    pub state: TransactionState,
    /// Whether the broker has acknowledged that. If not, it will ask.
    pub ended: bool,
}

/// Sends transactional messages.
pub struct TransactionProducer<L> {
    producer: Producer,
    listener: Arc<L>,
    _checks: StopSource,
}

impl ProducerBuilder {
    /// Starts a transactional producer with connections of its own.
    ///
    /// # Errors
    /// The group's name is illegal.
    pub async fn start_transactional<L: TransactionListener>(
        self,
        config: ClientConfig,
        listener: L,
    ) -> Result<TransactionProducer<L>, StartError> {
        let instance = ClientInstance::start(config)?;
        self.start_transactional_on(&instance, listener).await
    }

    /// Starts a transactional producer that shares an instance's connections. Brokers put their questions to the one that
    /// was started last in a group and instance.
    ///
    /// # Errors
    /// The group's name is illegal.
    pub async fn start_transactional_on<L: TransactionListener>(
        self,
        instance: &ClientInstance,
        listener: L,
    ) -> Result<TransactionProducer<L>, StartError> {
        let producer = self.start_on(instance).await?;
        let listener = Arc::new(listener);
        let (sender, checks) = mpsc::channel(CHECKS_MAX);
        let group = producer.shared.settings.group.clone();
        let mut groups = instance.shared.groups.write();
        if let Some(ProducerEntry { checks, .. }) = groups.producers.get_mut(&group) {
            *checks = Some(sender);
        }
        drop(groups);
        let (source, stop) = StopSource::new();
        let answering = answer_checks(group, listener.clone(), checks);
        task::spawn("transaction checks", async move {
            tokio::select! { () = answering => {}, () = stop.wait() => {} }
        });
        Ok(TransactionProducer {
            producer,
            listener,
            _checks: source,
        })
    }
}

impl<L: TransactionListener> TransactionProducer<L> {
    /// Stores a message invisibly, runs the local transaction, and tells the broker how it ended. If the half message is not
    /// stored as safely as asked, the local transaction is not run and the message is dropped, as in RocketMQ.
    ///
    /// # Errors
    /// The half message was not stored, or this is not known; the local transaction was not run then.
    pub async fn send_in_transaction(&self, message: Message) -> Result<TransactionResult, SendError> {
        let shared = &self.producer.shared;
        let message = message
            .set(property::TRAN_MSG, "true")
            .set(property::PGROUP, &shared.settings.group);
        let prepared = shared.prepare(message.clone())?;
        let send = shared.deliver(&prepared, Target::Turn).await?;
        let id = send.msg_id.clone();
        let state = match send.status {
            SendStatus::Ok => self.listener.execute(&message, &id).await,
            _ => TransactionState::Rollback,
        };
        let ended = self.end(&prepared.topic, &send, state).await;
        if let Err(error) = &ended {
            tracing::warn!(msg_id = id, %error, "end transaction; the broker will ask");
        }
        Ok(TransactionResult {
            send,
            state,
            ended: ended.is_ok(),
        })
    }

    /// The producer inside, for ordinary messages.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Tells the brokers that the group leaves here.
    pub async fn shutdown(self) {
        self.producer.shutdown().await;
    }

    /// Waits for the broker's answer, unlike RocketMQ's clients, which send this one-way. Only a request that was certainly
    /// not sent is repeated: a Java broker would show the message twice.
    async fn end(&self, topic: &Arc<str>, send: &SendResult, state: TransactionState) -> Result<(), CallError> {
        let shared = &self.producer.shared;
        let instance = &shared.instance.shared;
        let half = half_message(topic, send)?;
        let MessageQueue { broker_name, .. } = &send.queue;
        let make = || wire::end_transaction(&shared.settings.group, &half, state.into(), false);
        if state == TransactionState::Unknown {
            return Ok(());
        }
        let timeout = shared.settings.send_timeout;
        let answer = instance.call_once(broker_name, timeout, make).await?;
        crate::instance::succeed(answer, broker_name).map(|_| ())
    }
}

fn half_message(topic: &str, send: &SendResult) -> Result<HalfMessage, CallError> {
    let malformed = |e: msg_id::MsgIdError| CallError::Malformed {
        addr: send.queue.broker_name.clone(),
        what: e.to_string(),
    };
    let (_, commit_log_offset) = msg_id::parse_offset_id(&send.offset_msg_id).map_err(malformed)?;
    Ok(HalfMessage {
        topic: topic.to_owned(),
        msg_id: send.msg_id.clone(),
        transaction_id: send.transaction_id.clone().unwrap_or_else(|| send.msg_id.clone()),
        queue_offset: send.queue_offset,
        commit_log_offset,
    })
}

/// Answers brokers' questions one after the other, down the connection they came by.
async fn answer_checks<L: TransactionListener>(
    group: Arc<str>,
    listener: Arc<L>,
    mut checks: mpsc::Receiver<TransactionCheck>,
) {
    while let Some(check) = checks.recv().await {
        let state = listener.check(&check.message).await;
        let end = wire::end_transaction(&group, &check.half, state.into(), true);
        check.connection.oneway(end);
    }
}
