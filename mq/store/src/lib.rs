//! The store of one broker: the Raft log that is the commit log, and the files derived from it.
//!
//! * [`Log`] keeps entries in segments, the vote, and a window of recent entries in memory.
//!
//! It knows neither the remoting protocol nor Raft: who may append what is decided above. Callers are `mq-raft` (log,
//! vote, checkpoints) and `mq-broker` (records, consume queues, index). Everything outside the process is reached
//! through `mq_base::env`.
//!
//! Start reading at [`entry`], the format, then `log`.

pub mod entry;
mod position;

pub use entry::{Entry, EntryBuilder, EntryError, EntryKind, Header, Item, ItemKind};
pub use position::{LogId, NodeId, RaftIndex, Term};
