//! The way to a client: down its connection here, or through the member that holds it.

use super::{Clients, ConnectionId, HERE};
use crate::broker::Broker;
use crate::forward::{PeerMessage, Pushed};
use crate::seams::ProducerChannels;
use crate::state::Name;
use mq_net::InvokeError;
use mq_remoting::Command;
use mq_remoting::code::request as code;
use mq_remoting::header::ConsumerGroupHeader;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What the member between may take longer than the client itself.
const RELAY_MARGIN: Duration = Duration::from_secs(1);

/// Why a client did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Its connection is gone, or the member that held it.
    #[error("the client is not connected")]
    Gone,
    /// It did not answer in time.
    #[error("the client did not answer in time")]
    TimedOut,
}

impl Broker {
    /// Sends a request to a client and waits for its answer.
    pub async fn ask_client(
        &self,
        to: ConnectionId,
        request: Command,
        timeout: Duration,
    ) -> Result<Command, PushError> {
        if to.member == HERE {
            let connection = self.clients.connection(to.number).ok_or(PushError::Gone)?;
            return connection.request(request, timeout).await.map_err(|error| match error {
                InvokeError::TimedOut { .. } => PushError::TimedOut,
                _ => PushError::Gone,
            });
        }
        let timeout_ms = timeout.as_millis() as u64;
        let message = PeerMessage::Push {
            connection: to.number,
            timeout_ms,
            frame: request.encode(),
        };
        let group = self.group().ok_or(PushError::Gone)?;
        let answer = group.call(to.member, message.encode(), timeout + RELAY_MARGIN).await;
        match answer.ok().and_then(|answer| Pushed::decode(&answer).ok()) {
            Some(Pushed::Answer(frame)) => mq_remoting::frame::decode_frame(frame).map_err(|_| PushError::Gone),
            Some(Pushed::TimedOut) => Err(PushError::TimedOut),
            _ => Err(PushError::Gone),
        }
    }

    /// Sends a one-way request to a client. Lost if the client is.
    pub fn tell_client(&self, to: ConnectionId, request: Command) {
        if to.member == HERE {
            if let Some(connection) = self.clients.connection(to.number) {
                connection.oneway(request);
            }
        } else if let Some(group) = self.group() {
            let frame = request.oneway().encode();
            let message = PeerMessage::Push {
                connection: to.number,
                timeout_ms: 0,
                frame,
            };
            let _ = group.cast(to.member, message.encode()); // a member that is gone has no clients
        }
    }

    /// Serves [`PeerMessage::Push`].
    pub(crate) async fn push(self: &Arc<Self>, number: u64, timeout: Duration, request: Command) -> Pushed {
        let to = ConnectionId { member: HERE, number };
        if timeout.is_zero() {
            self.tell_client(to, request);
            return Pushed::Sent;
        }
        match self.ask_client(to, request, timeout).await {
            Ok(answer) => Pushed::Answer(answer.encode()),
            Err(PushError::Gone) => Pushed::Gone,
            Err(PushError::TimedOut) => Pushed::TimedOut,
        }
    }

    /// Tells the clients of these groups on this member's connections that the membership of their group changed.
    pub(crate) fn notify_here(&self, groups: &[Name]) {
        for group in groups {
            let header = ConsumerGroupHeader {
                consumer_group: (&**group).into(),
            };
            for number in self.clients.numbers_here(group) {
                let notice = Command::request(code::NOTIFY_CONSUMER_IDS_CHANGED, &header);
                self.tell_client(ConnectionId { member: HERE, number }, notice);
            }
        }
    }
}

/// Connections of transaction producers, for the check-back.
pub struct Channels(Weak<Broker>);

impl Channels {
    /// Of this broker's group.
    pub fn new(broker: &Arc<Broker>) -> Channels {
        Channels(Arc::downgrade(broker))
    }
}

impl ProducerChannels for Channels {
    fn ask_one(&self, group: &str, request: Command) -> bool {
        let Some(broker) = self.0.upgrade() else { return false };
        let Some(to) = broker.clients.producer(group) else {
            return false;
        };
        broker.tell_client(to, request);
        true
    }
}

impl Clients {
    fn numbers_here(&self, group: &str) -> Vec<u64> {
        let registry = self.registry.lock();
        let clients = registry
            .consumers(group)
            .into_iter()
            .flat_map(|group| group.clients.keys());
        clients.filter(|id| id.member == HERE).map(|id| id.number).collect()
    }
}
