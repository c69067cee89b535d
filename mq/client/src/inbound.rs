//! What brokers ask of a client: questions about half messages, notices that a consumer group changed, offset resets,
//! and what tools want to know of a consumer.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use mq_message::{CommitLogOffset, QueueOffset, property};
use mq_net::{CloseReason, Connection, Inbound};
use mq_remoting::{Command, code};

use crate::instance::Shared;
use crate::message::{MessageExt, MessageQueue};
use crate::wire::{self, HalfMessage};

/// What a consumer is told.
pub(crate) enum ConsumerEvent {
    /// The group or a route changed: divide the queues again.
    Rebalance,
    /// Move these queues.
    ResetOffsets(Vec<(MessageQueue, QueueOffset)>),
    /// Tell the offsets of a topic's queues.
    Status { topic: String, reply: Reply },
    /// Tell all about yourself.
    RunningInfo(Reply),
    /// Consume this message now and say how it went.
    ConsumeDirectly { message: Box<MessageExt>, reply: Reply },
}

/// A broker's question about a half message.
pub(crate) struct TransactionCheck {
    /// Where it came from, and where the answer goes.
    pub(crate) connection: Arc<Connection>,
    pub(crate) half: HalfMessage,
    pub(crate) message: MessageExt,
}

/// A request that waits for our answer. Dropped without one, it is refused.
pub(crate) struct Reply {
    connection: Arc<Connection>,
    request: Option<Command>,
}

impl Reply {
    fn new(connection: &Arc<Connection>, request: Command) -> Self {
        Self {
            connection: connection.clone(),
            request: Some(request),
        }
    }

    /// Answers with a body.
    pub(crate) fn body(mut self, body: Bytes) {
        if let Some(request) = self.request.take() {
            let answer = Command::response(&request, code::response::SUCCESS);
            self.connection.respond(answer.with_body(body));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(request) = self.request.take()
            && !request.is_oneway()
        {
            let remark = "no such consumer here, or it is busy";
            let answer = Command::error(&request, code::response::SYSTEM_ERROR, remark);
            self.connection.respond(answer);
        }
    }
}

/// The handler of a client's connections.
#[derive(Default)]
pub(crate) struct Pushes {
    /// Set once, right after the client is made.
    pub(crate) shared: OnceLock<Weak<Shared>>,
}

impl Pushes {
    fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.get()?.upgrade()
    }
}

impl Inbound for Pushes {
    fn call(&self, addr: &str, connection: &Arc<Connection>, command: Command) {
        let Some(shared) = self.shared() else { return };
        let code = command.code;
        if shared.take_push(connection, command).is_none() {
            tracing::debug!(addr, code, "a broker's request was not understood");
        }
    }

    fn opened(&self, _addr: &str, _connection: &Arc<Connection>) {
        if let Some(shared) = self.shared() {
            shared.connection_opened();
        }
    }

    fn closed(&self, addr: &str, reason: CloseReason) {
        if let Some(shared) = self.shared() {
            tracing::debug!(addr, ?reason, "connection closed");
            shared.connection_failed(addr);
        }
    }
}

impl Shared {
    /// `None` if the request is malformed or for nobody here.
    fn take_push(&self, connection: &Arc<Connection>, command: Command) -> Option<()> {
        use code::request as c;
        let group = |key| command.ext.get(key).map(|group| group.into_owned());
        match command.code {
            c::CHECK_TRANSACTION_STATE => self.take_check(connection, &command),
            c::NOTIFY_CONSUMER_IDS_CHANGED => self.tell(&group("consumerGroup")?, ConsumerEvent::Rebalance),
            c::RESET_CONSUMER_CLIENT_OFFSET => {
                let group = group("group")?;
                let offsets = wire::read_reset(&command.body)?;
                self.tell(&group, ConsumerEvent::ResetOffsets(offsets))
            }
            c::GET_CONSUMER_STATUS_FROM_CLIENT => {
                let (group, topic) = (group("group")?, group("topic")?);
                let reply = Reply::new(connection, command);
                self.tell(&group, ConsumerEvent::Status { topic, reply })
            }
            c::GET_CONSUMER_RUNNING_INFO => {
                let group = group("consumerGroup")?;
                let reply = Reply::new(connection, command);
                self.tell(&group, ConsumerEvent::RunningInfo(reply))
            }
            c::CONSUME_MESSAGE_DIRECTLY => {
                let group = group("consumerGroup")?;
                let broker: Arc<str> = command.ext.get("brokerName")?.as_ref().into();
                let message = MessageExt::decode_one(&command.body, &broker);
                let reply = Reply::new(connection, command);
                let message = Box::new(message.ok()?);
                self.tell(&group, ConsumerEvent::ConsumeDirectly { message, reply })
            }
            _ => {
                drop(Reply::new(connection, command));
                None
            }
        }
    }

    /// A consumer whose channel is full gets nothing: brokers and tools ask again.
    fn tell(&self, group: &str, event: ConsumerEvent) -> Option<()> {
        let groups = self.groups.read();
        groups.consumers.get(group)?.events.try_send(event).ok()
    }

    fn take_check(&self, connection: &Arc<Connection>, command: &Command) -> Option<()> {
        let broker: Arc<str> = command.ext.get("bname").unwrap_or_default().as_ref().into();
        let message = MessageExt::decode_one(&command.body, &broker).ok()?;
        let text = |key| command.ext.get(key).map(|text| text.into_owned());
        let commit_log_offset = wire::integer(&command.ext, "commitLogOffset").ok()?;
        let half = HalfMessage {
            topic: message.topic().to_owned(),
            msg_id: text("msgId").unwrap_or_else(|| message.msg_id()),
            transaction_id: text("transactionId").unwrap_or_else(|| message.msg_id()),
            queue_offset: wire::offset(&command.ext, "tranStateTableOffset").ok()?,
            commit_log_offset: CommitLogOffset::from_wire(commit_log_offset)?,
        };
        let group = message.get(property::PGROUP)?.to_owned();
        let check = TransactionCheck {
            connection: connection.clone(),
            half,
            message,
        };
        let groups = self.groups.read();
        let checks = groups.producers.get(group.as_str())?.checks.as_ref()?;
        checks.try_send(check).ok()
    }
}
