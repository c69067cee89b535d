//! A running member of a broker group, as the broker sees it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::application::{Application, Decide};
use crate::config::GroupConfig;
use mq_store::{LogId, NodeId, Term};

/// A member of the group as its membership entries name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Random per data folder, never reused.
    pub id: NodeId,
    /// Its seat, such as `n0`.
    pub slot: String,
    /// `host:port` for the other members.
    pub peer_addr: String,
    /// `host:port` for clients.
    pub client_addr: String,
}

/// What this member does in its group at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Leads (perhaps not ready yet).
    Leader,
    /// Follows, or looks for a leader.
    #[default]
    Follower,
    /// Stands for election.
    Candidate,
    /// Receives the log without a vote.
    Learner,
}

/// Who leads, as far as this member knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Current term.
    pub term: Term,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// Its addresses.
    pub leader_member: Option<Member>,
    /// I lead, and the first entry of my term is applied: proposals are taken.
    pub ready: bool,
    /// My own part.
    pub role: Role,
}

/// Answers messages from other members that are not Raft's own (forwarded requests, relayed notices).
pub trait PeerService: Send + Sync + 'static {
    /// Handles one message; `None` sends no answer. For a [`Group::cast`] the answer is dropped.
    fn handle(&self, from: NodeId, message: Bytes) -> BoxFuture<'static, Option<Bytes>>;
}

/// Why a call to another member failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, so the message was certainly not handled.
    #[error("member {0:?} cannot be reached")]
    Unreachable(NodeId),
    /// It was sent; whether it was handled is not known.
    #[error("connection to member {0:?} was lost before it answered")]
    Lost(NodeId),
    /// It was sent; no answer in time.
    #[error("member {0:?} did not answer in time")]
    TimedOut(NodeId),
    /// Too many calls are waiting for that member; not sent.
    #[error("too many calls wait for member {0:?}")]
    Busy(NodeId),
}

/// The request queue is full or the group has stopped: the request comes back.
#[derive(Debug)]
pub struct Full<R>(pub R);

/// Why a member could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error("setting {name}: {reason}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or socket failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Why a change of leadership or membership failed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader can do it.
    #[error("not the leader; the leader is {0:?}")]
    NotLeader(Option<Member>),
    /// Refused, with the reason.
    #[error("{0}")]
    Refused(String),
}

/// One member in [`Status`].
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Has a vote.
    pub voter: bool,
    /// Last entry known to be stored there (only the leader knows).
    pub matched: Option<LogId>,
    /// Entries it is behind (only the leader knows).
    pub lag: Option<u64>,
    /// Milliseconds since it was last heard of.
    pub heard_ms_ago: Option<u64>,
}

/// State of the group as this member sees it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Own node id.
    pub id: NodeId,
    /// Who leads.
    pub leadership: Leadership,
    /// Last entry in the own log.
    pub last: Option<LogId>,
    /// Last committed entry known.
    pub committed: Option<LogId>,
    /// Last applied entry.
    pub applied: Option<LogId>,
    /// The log begins after this entry.
    pub purged: Option<LogId>,
    /// All members.
    pub members: Vec<MemberStatus>,
}

/// Handle of a running member; clones share it.
pub struct Group<R> {
    seam: Arc<Seam<R>>,
}

struct Seam<R> {
    leadership: watch::Receiver<Leadership>,
    failed: watch::Receiver<Option<String>>,
    _request: std::marker::PhantomData<fn(R)>,
}

impl<R> Clone for Group<R> {
    fn clone(&self) -> Self {
        Self {
            seam: self.seam.clone(),
        }
    }
}

impl<R: Send + 'static> Group<R> {
    /// Starts this member. Raft runs on the runtime that is current here: give it one of its own.
    pub async fn start<D: Decide<Request = R>>(
        _config: GroupConfig,
        _application: impl Application,
        _decide: D,
        _peers: Arc<dyn PeerService>,
    ) -> Result<Self, StartError> {
        Err(StartError::Setting {
            name: "group",
            reason: "not built yet".into(),
        })
    }

    /// Own node id.
    pub fn id(&self) -> NodeId {
        NodeId(0)
    }

    /// Hands a request to the proposer; `bytes` is what it counts against the queue's bound. When this member is not the
    /// ready leader the request is refused through [`Decide::refuse`].
    pub fn propose(&self, request: R, _bytes: usize) -> Result<(), Full<R>> {
        Err(Full(request))
    }

    /// As [`propose`](Self::propose), but waits for room.
    pub async fn propose_wait(&self, request: R, _bytes: usize) -> Result<(), Full<R>> {
        Err(Full(request))
    }

    /// Who leads, and whether proposals are taken here.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.seam.leadership.clone()
    }

    /// Becomes `Some(reason)` when the log or Raft failed for good: the process must exit.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.seam.failed.clone()
    }

    /// Sends a message to another member and waits for its answer. Bounded and pipelined.
    pub async fn call(&self, to: NodeId, _message: Bytes, _timeout: Duration) -> Result<Bytes, CallError> {
        Err(CallError::Unreachable(to))
    }

    /// Sends a message to another member without waiting; dropped when it cannot be reached.
    pub fn cast(&self, to: NodeId, _message: Bytes) -> Result<(), CallError> {
        Err(CallError::Unreachable(to))
    }

    /// Terms, indexes and members.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// Deletes the log up to `upto` (whole segments; the last one that ends there or before).
    pub async fn purge(&self, _upto: LogId) -> Result<(), ChangeError> {
        Ok(())
    }

    /// Hands leadership to another voter and returns when it is not ours any more.
    pub async fn transfer_leader(&self, _to: NodeId) -> Result<(), ChangeError> {
        Ok(())
    }

    /// Adds a member (first as learner, then, if `voter`, with a vote, replacing any older id of its slot).
    pub async fn add_member(&self, _member: Member, _voter: bool) -> Result<(), ChangeError> {
        Ok(())
    }

    /// Removes a member.
    pub async fn remove_member(&self, _id: NodeId) -> Result<(), ChangeError> {
        Ok(())
    }

    /// Stops this member: flushes, writes a checkpoint, marks the folder clean.
    pub async fn shutdown(&self) {}
}
