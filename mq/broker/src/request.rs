//! One request being served: the command, who asked, and where the answer goes.
//!
//! Handlers do not know whether a request came over this member's own connection or was forwarded by a follower (ADR 008):
//! both are a [`Caller`].

use crate::ask::Refusal;
use crate::clients::{ConnectionId, HERE};
use crate::outcome;
use bytes::Bytes;
use mq_base::env::clock::Instant;
use mq_net::Connection;
use mq_remoting::{ByteStr, Command};
use std::net::SocketAddr;
use std::sync::Arc;

/// Who asked.
pub trait Caller: Send + Sync + 'static {
    /// Sends an answer.
    fn respond(&self, answer: Command);

    /// Sends an answer whose body is `parts` one behind the other, without copying them.
    fn respond_parts(&self, head: Command, parts: Vec<Bytes>);

    /// The client's address (not the forwarding follower's).
    fn remote(&self) -> SocketAddr;

    /// False once the client is known to be gone: parked pulls are dropped then.
    fn is_open(&self) -> bool;

    /// The connection the client is on, wherever it is held.
    fn connection(&self) -> ConnectionId {
        ConnectionId {
            member: HERE,
            number: 0,
        }
    }

    /// The connection itself, if this member holds it.
    fn held_connection(&self) -> Option<Arc<Connection>> {
        None
    }

    /// The request was refused. [`Refusal::NotLeader`] and [`Refusal::Unknown`] may be worth another try with the new
    /// leader, so they come here before they become an answer. Also called for one-way requests.
    fn refuse(&self, request: &Request, refusal: &Refusal) {
        if !request.command.is_oneway() {
            self.respond(outcome::refuse(&request.command, refusal));
        }
    }
}

/// One request being served.
pub struct Request {
    /// What was asked.
    pub command: Command,
    /// Who asked.
    pub caller: Arc<dyn Caller>,
    /// A resend whose first attempt may have been applied: sends are deduplicated by their unique key (ADR 008).
    pub retried: bool,
    /// Set once the request has waited for a leader: when it stops being tried.
    pub until: Option<Instant>,
}

impl Request {
    /// A request that arrived on this member's own connection, for the first time.
    pub fn new(command: Command, caller: Arc<dyn Caller>) -> Self {
        Self {
            retried: command.is_resent(),
            command,
            caller,
            until: None,
        }
    }

    /// Answers, unless the request was one-way.
    pub fn answer(&self, answer: Command) {
        if !self.command.is_oneway() {
            self.caller.respond(answer);
        }
    }

    /// Answers with an error code and the reason, unless the request was one-way.
    pub fn fail(&self, code: i32, remark: impl Into<ByteStr>) {
        self.answer(Command::error(&self.command, code, remark));
    }

    /// Answers with a body in parts, unless the request was one-way.
    pub fn answer_parts(&self, head: Command, parts: Vec<Bytes>) {
        if !self.command.is_oneway() {
            self.caller.respond_parts(head, parts);
        }
    }

    /// Answers with the code and remark of a refusal.
    pub fn refuse(&self, refusal: &Refusal) {
        self.caller.refuse(self, refusal);
    }
}
