//! How calls fail. [`CallError`] is the fact that the errors of single operations are built from.

use std::sync::Arc;
use std::time::Duration;

use mq_remoting::code;

use crate::message::MessageError;

/// A request that was not answered, or answered with a refusal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// No connection could be made: nothing was sent.
    #[error("cannot connect to {addr}: {reason}")]
    Connect {
        /// Whom.
        addr: Arc<str>,
        /// What the system said.
        reason: String,
    },
    /// The connection ended before the answer came: the request may have been carried out or not.
    #[error("connection to {addr} closed before the answer")]
    Closed {
        /// Whom.
        addr: Arc<str>,
    },
    /// No answer in time: the request may have been carried out, or may yet be.
    #[error("{addr} did not answer within {after:?}")]
    Timeout {
        /// Whom.
        addr: Arc<str>,
        /// How long we waited.
        after: Duration,
    },
    /// Too many requests wait for this address already. Nothing was sent.
    #[error("too many requests wait for {addr}")]
    Busy {
        /// Whom.
        addr: Arc<str>,
    },
    /// The answer was a refusal.
    #[error("{addr} refused: {} ({code}) {remark}", code::response::name(*code))]
    Refused {
        /// Whom.
        addr: Arc<str>,
        /// Response code ([`mq_remoting::code::response`]).
        code: i32,
        /// What the broker says about it.
        remark: String,
    },
    /// The answer does not make sense.
    #[error("malformed answer of {addr}: {what}")]
    Malformed {
        /// Whom.
        addr: Arc<str>,
        /// What is wrong.
        what: String,
    },
    /// No address is known for this broker group.
    #[error("no address known for broker {0}")]
    NoBroker(Arc<str>),
    /// The client was given no name server.
    #[error("no name server given")]
    NoNameServer,
    /// No broker serves this topic.
    #[error("no route to topic {0}")]
    NoRoute(Arc<str>),
    /// The client has been shut down.
    #[error("the client is shut down")]
    Stopped,
}

impl CallError {
    /// Whether it is certain that the request had no effect, because it was never sent.
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Busy { .. }
                | Self::NoBroker(_)
                | Self::NoNameServer
                | Self::NoRoute(_)
                | Self::Stopped
        )
    }

    /// Whether the connection is at fault, so that another member of the group may do better.
    pub fn is_transport(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Closed { .. } | Self::Timeout { .. })
    }

    /// The response code of a refusal.
    pub fn refusal(&self) -> Option<i32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Why a send failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// The message cannot be sent as it is. Nothing was sent.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// All tries failed; this is how the last one did. Unless `unsent`, the message may be stored all the same.
    #[error("{source} (after {tries} tries)")]
    Call {
        /// How the last try failed.
        source: CallError,
        /// How many tries there were.
        tries: u32,
        /// Whether it is certain that nothing was stored.
        unsent: bool,
    },
}

impl SendError {
    /// Whether the message may be stored in spite of the error.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Call { unsent: false, .. })
    }

    /// The broker's response code, if it answered.
    pub fn refusal(&self) -> Option<i32> {
        match self {
            Self::Call { source, .. } => source.refusal(),
            Self::Message(_) => None,
        }
    }
}

/// Codes after which a producer tries again: the broker is in a passing state.
pub(crate) fn is_retryable(code: i32) -> bool {
    use code::response::*;
    matches!(
        code,
        TOPIC_NOT_EXIST
            | SERVICE_NOT_AVAILABLE
            | SYSTEM_ERROR
            | SYSTEM_BUSY
            | NO_PERMISSION
            | NO_BUYER_ID
            | NOT_IN_CURRENT_UNIT
    )
}
