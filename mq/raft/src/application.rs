//! The seam to the broker: what it replicates ([`Application`]) and what it judges before that ([`Decide`]).
//!
//! Decide before append, apply never refuses: the leader's [`Decide`] turns requests into items of an entry, every
//! member's [`Application`] folds the same entries into its state.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::batch::Batch;
use mq_message::CommitLogOffset;
use mq_store::{Entry, LogId, Term};

/// See [`Application::prepare_checkpoint`].
pub type SyncDerived = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// The replicated state machine. It lives on the apply task; nobody else calls it.
pub trait Application: Send + 'static {
    /// Folds one committed entry into the state. Deterministic: a function of the state and the entry's bytes.
    fn apply(&mut self, entry: &Entry);

    /// Ends a run of applied entries: publish, wake waiters once.
    fn applied(&mut self, last: LogId);

    /// Returns the work that makes derived files durable up to the last applied entry. It runs on a thread where it may
    /// block, while further entries are applied (making those durable too does no harm); the checkpoint taken at the
    /// same moment is written after it.
    fn prepare_checkpoint(&mut self) -> SyncDerived;

    /// The whole replicated state exactly after the last applied entry.
    fn checkpoint(&mut self) -> Bytes;

    /// Replaces the state by a checkpoint (`None` is the empty state of a new group).
    ///
    /// `base` is the commit log offset at which the log goes on after that state. `install` is false at start, when
    /// derived files are cut back to `base`, and true when a snapshot came from the leader because the log below
    /// `base` no longer exists anywhere: then derived files are dropped.
    fn restore(&mut self, state: Option<&[u8]>, base: CommitLogOffset, install: bool) -> io::Result<()>;

    /// Told after a restore, oldest first, of the last entries (10 s, at most 32 MiB) that the restored state covers
    /// already: for what is kept of them in memory only. The log may hold fewer of them.
    fn recall(&mut self, entry: &Entry);
}

/// A term of leadership, or the part of it after a void entry.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// The leader's own term.
    pub term: Term,
    /// Log time at the beginning, unix milliseconds; never below that of any applied entry.
    pub now_ms: i64,
    /// Everything up to here is applied, and nothing of this member's own is in flight.
    pub applied: LogId,
}

/// The leader's judge, owned by the proposer task.
pub trait Decide: Send + 'static {
    /// What clients ask for.
    type Request: Send + 'static;
    /// Completes one request.
    type Answer: Answer;

    /// Leadership was gained and the own first entry is applied, or an entry was voided and nothing is in flight:
    /// rebuild the speculative view from the applied state.
    fn begin(&mut self, session: Session);

    /// Judges one request on applied plus in-flight state: pushes items and an answer into the batch, or answers at once.
    /// A request that pushes an answer but no item is answered when the batch's entry is applied (a barrier).
    fn decide(&mut self, request: Self::Request, batch: &mut Batch<Self::Answer>);

    /// Completes a request that was never decided (not the ready leader, shutting down): it is certainly not in the log.
    fn refuse(&mut self, request: Self::Request);

    /// Leadership was lost: drop the speculative view.
    fn end(&mut self);
}

/// Where the result of one request goes.
pub trait Answer: Send + 'static {
    /// Called once: on the leader's apply task, after [`Application::applied`] of the run, or when the entry failed.
    fn complete(self, outcome: Outcome<'_>);
}

/// What became of a decided request.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Committed by a majority and applied here.
    Applied {
        /// The entry that carries it.
        entry: &'a Entry,
        /// Commit log offsets of the bodies of the request's items, in the order they were pushed (for a message item
        /// its physical offset).
        offsets: &'a [CommitLogOffset],
    },
    /// Certainly not in the log: safe to try again.
    Refused,
    /// May be applied later: try again only with deduplication.
    Unknown,
}

/// Items of one request within a batch.
pub type ItemSpan = Range<usize>;
