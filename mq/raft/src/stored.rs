//! The store's words for positions and entries, for users of this crate.

pub use mq_message::CommitLogOffset;
pub use mq_store::{Entry, LogId, NodeId, RaftIndex, Term};
