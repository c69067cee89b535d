//! What our Raft is made of, in openraft's terms, and the way between its log ids and the store's.

use std::fmt;

use mq_store::{EntryBuilder, EntryKind, ItemKind, LogId, NodeId, RaftIndex, Term};
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::impls::leader_id_adv;
use openraft::raft::responder::Responder;
use openraft::{EntryPayload, RaftTypeConfig};

use crate::codec::Take;
use crate::group::Member;
use crate::runtime::EnvRuntime;

/// Chooses the types of our Raft.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct TypeConfig;

/// Term and node of a leader; `leader_id_adv` lets a second candidate of the same term win, so votes split less often.
pub type LeaderId = leader_id_adv::LeaderId<u64, u64>;
/// openraft's log id.
pub type RaftLogId = openraft::LogId<LeaderId>;
/// A vote; *committed* once a majority granted it.
pub type Vote = openraft::Vote<LeaderId>;
/// Voters (two sets while they change) and learners.
pub type Membership = openraft::Membership<u64, Member>;
/// A membership and the entry that set it.
pub type StoredMembership = openraft::StoredMembership<LeaderId, u64, Member>;
/// What is proposed to openraft.
pub type Payload = EntryPayload<Proposal, u64, Member>;
/// A checkpoint on its way to a member whose log begins too late.
pub type Snapshot = openraft::Snapshot<LeaderId, u64, Member, bytes::Bytes>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Member>;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Written;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = LogEntry;
    type AsyncRuntime = EnvRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// To the store's form.
pub fn from_raft(id: &RaftLogId) -> LogId {
    LogId {
        term: Term(id.leader_id.term),
        node: NodeId(id.leader_id.node_id),
        index: RaftIndex(id.index),
    }
}

/// To openraft's form.
pub fn to_raft(id: LogId) -> RaftLogId {
    RaftLogId::new(
        LeaderId {
            term: id.term.0,
            node_id: id.node.0,
        },
        id.index.0,
    )
}

/// A batch between the proposer and the log: position and checksums are still open.
pub struct Proposal {
    /// The items.
    pub builder: EntryBuilder,
    /// Term of the leadership that decided it.
    pub term: u64,
    /// Which session of the proposer decided it; sessions of a process count up from 1.
    pub session: u64,
    /// Its number within the session, from 0.
    pub sequence: u64,
    /// The entry's log time.
    pub log_time_ms: i64,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "batch {}.{}: {} items, {} bytes",
            self.session,
            self.sequence,
            self.builder.item_count(),
            self.builder.len()
        )
    }
}

/// The answer of the state machine to a write.
#[derive(Debug)]
pub enum Written {
    /// This entry was applied.
    Applied(mq_store::Entry),
    /// The batch did not follow its predecessor: a void entry stands in its place.
    Void,
}

/// Called with the result of a write.
pub struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    /// Wraps the function.
    pub fn new(call: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(call))
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// One entry of the log, as openraft handles it.
pub struct LogEntry {
    log_id: RaftLogId,
    /// See [`Body`].
    pub body: Body,
}

/// What is in a [`LogEntry`].
pub enum Body {
    /// Made by this member as leader; to be stamped by the log.
    Made(Payload),
    /// Stamped: read from the log or received from the leader.
    Stored(mq_store::Entry),
}

impl LogEntry {
    /// Wraps an entry that was read or received.
    pub fn stored(entry: mq_store::Entry) -> Self {
        Self {
            log_id: to_raft(entry.id()),
            body: Body::Stored(entry),
        }
    }
}

/// The membership in an entry of that kind. Damage is caught by the item's CRC; a membership of another version that
/// cannot be read is a bug, and shows as none.
pub fn membership_of(entry: &mq_store::Entry) -> Option<Membership> {
    if entry.kind() != EntryKind::Membership {
        return None;
    }
    let item = entry.items().find(|item| item.kind == ItemKind::Opaque)?;
    Take(item.body).membership().ok()
}

impl RaftEntry for LogEntry {
    type CommittedLeaderId = LeaderId;
    type Payload = Payload;

    fn new(log_id: RaftLogId, payload: Payload) -> Self {
        Self {
            log_id,
            body: Body::Made(payload),
        }
    }

    fn log_id_parts(&self) -> (&LeaderId, u64) {
        (&self.log_id.leader_id, self.log_id.index)
    }

    fn set_log_id(&mut self, new: RaftLogId) {
        self.log_id = new;
    }

    fn get_membership(&self) -> Option<Membership> {
        match &self.body {
            Body::Made(payload) => payload.get_membership(),
            Body::Stored(entry) => membership_of(entry),
        }
    }
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Made(payload) => write!(f, "{}:{payload}", self.log_id),
            Body::Stored(entry) => write!(f, "{entry:?}"),
        }
    }
}
