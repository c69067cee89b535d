//! What the log's threads are asked to do.

use std::io;

use super::{Proof, Tail};
use crate::entry::Entry;

/// Called once when the work is done, on the log's own thread: it must not block.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Work of the writer, in the order it was asked for.
pub(crate) enum Job {
    Append(Vec<Entry>, Done),
    Vote(Vec<u8>, Done),
    /// The log now ends at `tail`; `cut` is where the first dropped entry was.
    Truncate {
        tail: Tail,
        cut: u64,
        done: Done,
    },
    Reset(Tail, Done),
    Repair(Vec<Entry>, Proof, Done),
    /// The log ends where it is interrupted.
    EndAtDamage(Done),
    Flush(Done),
    /// Reports a failure in its turn.
    Fail(io::Error, Done),
    Close(Done),
}

impl Job {
    pub fn into_done(self) -> Done {
        match self {
            Job::Append(_, done)
            | Job::Vote(_, done)
            | Job::Truncate { done, .. }
            | Job::Reset(_, done)
            | Job::Repair(_, _, done)
            | Job::EndAtDamage(done)
            | Job::Flush(done)
            | Job::Fail(_, done)
            | Job::Close(done) => done,
        }
    }
}

/// Work of the flusher: nothing of it is on the way of a message.
pub(crate) enum Chore {
    /// The log begins after this; whole segments below go.
    Purge(Tail, Done),
    /// Make everything written so far durable and the mark with it.
    Flush(Done),
}

impl Chore {
    pub fn into_done(self) -> Done {
        match self {
            Chore::Purge(_, done) | Chore::Flush(done) => done,
        }
    }
}
