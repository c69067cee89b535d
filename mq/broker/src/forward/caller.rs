//! Who a request came from: a client on a connection of this member, or one of another member that forwarded it.

use super::{Forwarding, Served};
use crate::ask::Refusal;
use crate::broker::Broker;
use crate::clients::{ConnectionId, HERE};
use crate::outcome;
use crate::request::{Caller, Request};
use bytes::{Bytes, BytesMut};
use mq_net::Connection;
use mq_remoting::Command;
use mq_store::NodeId;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use tokio::sync::oneshot;

/// A client on a connection of this member.
pub struct Local {
    number: u64,
    address: SocketAddr,
    /// Weak: the connection keeps this value.
    connection: Weak<Connection>,
    broker: Weak<Broker>,
}

impl Local {
    /// The client at the other end of `connection`.
    pub fn new(connection: &Arc<Connection>, broker: &Arc<Broker>) -> Local {
        Local {
            number: connection.id(),
            address: connection.peer(),
            connection: Arc::downgrade(connection),
            broker: Arc::downgrade(broker),
        }
    }
}

impl Caller for Local {
    fn respond(&self, answer: Command) {
        if let Some(connection) = self.connection.upgrade() {
            connection.respond(answer);
        }
    }

    fn respond_parts(&self, head: Command, parts: Vec<Bytes>) {
        if let Some(connection) = self.connection.upgrade() {
            connection.respond_parts(&head, parts);
        }
    }

    fn remote(&self) -> SocketAddr {
        self.address
    }

    fn is_open(&self) -> bool {
        self.connection
            .upgrade()
            .is_some_and(|connection| !connection.is_closed())
    }

    fn connection(&self) -> ConnectionId {
        ConnectionId {
            member: HERE,
            number: self.number,
        }
    }

    fn held_connection(&self) -> Option<Arc<Connection>> {
        self.connection.upgrade()
    }

    /// A request that leadership left behind goes on to the new leader instead of back to the client.
    fn refuse(&self, request: &Request, refusal: &Refusal) {
        match (refusal, self.broker.upgrade()) {
            (Refusal::NotLeader | Refusal::Unknown, Some(broker)) => {
                let again = Request {
                    command: request.command.clone(),
                    caller: request.caller.clone(),
                    retried: request.retried || *refusal == Refusal::Unknown,
                    until: request.until,
                };
                Forwarding::forward(&broker, again);
            }
            _ => request.answer(outcome::refuse(&request.command, refusal)),
        }
    }
}

/// A client of another member, which waits for the answer to pass it on.
pub struct Remote {
    origin: ConnectionId,
    address: SocketAddr,
    answer: Mutex<Option<oneshot::Sender<Served>>>,
}

impl Remote {
    /// The client with connection `number` of `member`; its answer arrives at the receiver.
    pub fn new(member: NodeId, number: u64, address: SocketAddr) -> (Remote, oneshot::Receiver<Served>) {
        let (sender, receiver) = oneshot::channel();
        let answer = Mutex::new(Some(sender));
        (
            Remote {
                origin: ConnectionId { member, number },
                address,
                answer,
            },
            receiver,
        )
    }

    fn send(&self, served: Served) {
        if let Some(sender) = self.answer.lock().take() {
            let _ = sender.send(served); // the other member stopped waiting
        }
    }
}

impl Caller for Remote {
    fn respond(&self, answer: Command) {
        self.send(Served::Answer(answer.encode()));
    }

    fn respond_parts(&self, head: Command, parts: Vec<Bytes>) {
        let len = parts.iter().map(Bytes::len).sum();
        let mut frame = BytesMut::with_capacity(len + 256);
        head.encode_head(len, &mut frame);
        parts.iter().for_each(|part| frame.extend_from_slice(part));
        self.send(Served::Answer(frame.freeze()));
    }

    fn remote(&self) -> SocketAddr {
        self.address
    }

    fn is_open(&self) -> bool {
        self.answer.lock().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    fn connection(&self) -> ConnectionId {
        self.origin
    }

    /// The member that holds the client finds the new leader.
    fn refuse(&self, request: &Request, refusal: &Refusal) {
        match refusal {
            Refusal::NotLeader => self.send(Served::NotLeader),
            Refusal::Unknown => self.send(Served::Unknown),
            _ => request.answer(outcome::refuse(&request.command, refusal)),
        }
    }
}
