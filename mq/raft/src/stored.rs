//! Stand-ins for the types of `mq-store`, so that users of the seam compile before the log lands.

use bytes::Bytes;

/// Stand-in for `mq_message::CommitLogOffset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitLogOffset(pub u64);
/// Stand-in for `mq_store::Term`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);
/// Stand-in for `mq_store::NodeId`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);
/// Stand-in for `mq_store::RaftIndex`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftIndex(pub u64);
/// Stand-in for `mq_store::LogId`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that made the entry.
    pub term: Term,
    /// That leader.
    pub node: NodeId,
    /// Position in the log.
    pub index: RaftIndex,
}
/// Stand-in for `mq_store::Entry`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The stored bytes.
    pub bytes: Bytes,
}
