//! The store of one broker: the Raft log that is the commit log, and the files derived from it.
//!
//! * [`Log`] keeps entries in segments, the vote, and a window of recent entries in memory.
//! * [`ConsumeQueues`] say where the messages of each queue are.
//! * [`Index`] finds messages by key.
//! * [`Checkpoints`] keep what the layers above need to start again.
//!
//! It knows neither the remoting protocol nor Raft: who may append what is decided above. Callers are `mq-raft` (log,
//! vote, checkpoints) and `mq-broker` (records, consume queues, index). Everything outside the process is reached
//! through `mq_base::env`.
//!
//! Start reading at [`entry`], the format, then `log`.

mod buffers;
pub mod checkpoint;
mod container;
pub mod entry;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod index;
pub mod inspect;
pub mod log;
mod mailbox;
mod position;
pub mod queue;
mod slots;
mod sync_once;

pub use buffers::Buffers;
pub use checkpoint::Checkpoints;
pub use entry::{Entry, EntryBuilder, EntryError, EntryKind, Header, Item, ItemKind};
pub use index::{Index, IndexMark, IndexOptions};
pub use log::{
    Cut, Damage, Done, Gap, Known, Log, LogOptions, Lookup, OpenError, Promise, Proof, Recovered, Room, SegmentInfo,
    Tail, promise,
};
pub use position::{LogId, NodeId, RaftIndex, Term};
pub use queue::{Bounds, ConsumeQueues, CqEntry, QueueOptions, QueueRef, QueueTableRow};
pub use sync_once::SyncFailed;
