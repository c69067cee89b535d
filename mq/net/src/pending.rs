//! Requests of ours that wait for an answer.

use std::io;

use mq_base::env::clock::Instant;
use mq_base::env::random::HashMap;
use mq_remoting::Command;
use tokio::sync::oneshot;

/// Why a call has no answer. [`InvokeError::certainly_not_sent`] tells whether the other side can have seen it.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// No connection could be made. Not sent.
    #[error("connect to {addr}")]
    Connect {
        /// Whom.
        addr: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection was lost before the first byte of the request was written. Not sent.
    #[error("connection lost before the request was sent")]
    NotSent,
    /// The connection was lost after bytes of the request were written: it may have been executed.
    #[error("connection lost while waiting for the answer")]
    Lost,
    /// No answer in time. The connection stays; a late answer is dropped.
    #[error("no answer in time")]
    TimedOut {
        /// Whether bytes of the request were written.
        sent: bool,
    },
    /// Too many calls wait already. Not sent.
    #[error("too many calls are waiting")]
    Full,
}

impl InvokeError {
    /// Whether the other side certainly has not seen the request, so that repeating it is safe.
    pub fn certainly_not_sent(&self) -> bool {
        match self {
            InvokeError::Connect { .. } | InvokeError::NotSent | InvokeError::Full => true,
            InvokeError::Lost => false,
            InvokeError::TimedOut { sent } => !sent,
        }
    }
}

pub(crate) type Answer = Result<Command, InvokeError>;

/// Who waits.
pub(crate) enum Waiter {
    Task(oneshot::Sender<Answer>),
    Callback(Box<dyn FnOnce(Answer) + Send>),
    /// Nobody: a one-way request that waits for its connection.
    Nobody,
}

impl Waiter {
    pub(crate) fn complete(self, answer: Answer) {
        match self {
            // A caller that stopped waiting is fine.
            Waiter::Task(sender) => drop(sender.send(answer)),
            Waiter::Callback(callback) => callback(answer),
            Waiter::Nobody => {}
        }
    }
}

struct Entry {
    waiter: Waiter,
    deadline: Instant,
    /// Position of the request's first byte in the connection's outbound stream.
    start: u64,
}

/// The table, by opaque.
#[derive(Default)]
pub(crate) struct Pending {
    entries: HashMap<i32, Entry>,
    /// Not later than the earliest deadline.
    earliest: Option<Instant>,
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, opaque: i32) -> bool {
        self.entries.contains_key(&opaque)
    }

    pub(crate) fn insert(&mut self, opaque: i32, waiter: Waiter, deadline: Instant, start: u64) {
        self.entries.insert(
            opaque,
            Entry {
                waiter,
                deadline,
                start,
            },
        );
        self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
    }

    pub(crate) fn take(&mut self, opaque: i32) -> Option<Waiter> {
        let entry = self.entries.remove(&opaque)?;
        if self.entries.is_empty() {
            self.earliest = None;
        }
        Some(entry.waiter)
    }

    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// Takes out what is overdue. `written`: bytes of the outbound stream that the socket has accepted.
    pub(crate) fn expire(&mut self, now: Instant, written: u64, expired: &mut Vec<(Waiter, InvokeError)>) {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        let overdue = self.entries.extract_if(|_, entry| entry.deadline <= now);
        expired.extend(overdue.map(|(_, e)| {
            (
                e.waiter,
                InvokeError::TimedOut {
                    sent: written > e.start,
                },
            )
        }));
        self.earliest = self.entries.values().map(|entry| entry.deadline).min();
    }

    /// The connection is gone: takes out everything.
    pub(crate) fn fail(&mut self, written: u64) -> Vec<(Waiter, InvokeError)> {
        self.earliest = None;
        let lost = |start| {
            if written > start {
                InvokeError::Lost
            } else {
                InvokeError::NotSent
            }
        };
        self.entries
            .drain()
            .map(|(_, entry)| (entry.waiter, lost(entry.start)))
            .collect()
    }
}
