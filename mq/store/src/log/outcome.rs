//! What the log answers with: damage, what open found, room, look-ups.

use std::fmt;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use mq_message::CommitLogOffset;

use super::Tail;
use crate::position::{LogId, NodeId, RaftIndex};

/// Bytes of the log that should be there and are not as they were written. Never served; repaired by [`Log::repair`](crate::log::Log::repair).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is damaged at offset {offset} (index {index:?}): {what}")]
pub struct Damage {
    /// Where: the entry's place, or the record's.
    pub offset: CommitLogOffset,
    /// The entry's index, if known.
    pub index: Option<RaftIndex>,
    /// What was found.
    pub what: String,
}

impl Damage {
    pub(crate) fn new(offset: u64, index: Option<RaftIndex>, what: impl fmt::Display) -> Damage {
        Damage {
            offset: CommitLogOffset::from(offset),
            index,
            what: what.to_string(),
        }
    }

    /// The damage inside an error of a read.
    pub fn of(error: &io::Error) -> Option<&Damage> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }
}

/// Where the log is interrupted or damaged, and what proves that a peer's bytes belong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Everything up to here is intact; what follows must come from a peer.
    pub after: Tail,
    /// Places of this log behind the damage, nearest first; the last one is where it certainly went to. Whoever holds one
    /// of them has the same entries before it, because each header carries the hash of the one before.
    pub anchors: Vec<Tail>,
    /// Which state of the log this was seen in: what is vouched for is of no use once the log was cut or reset.
    pub generation: u64,
}

/// Why entries are the ones that stood where the log is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// This log's own chain leads on from them, or names them. The log checks it.
    Chain,
    /// The caller knows: the peer they come from holds one of [`Gap::anchors`], or they are committed. With the
    /// [`Gap::generation`] that this was found out for.
    Vouched(u64),
}

/// What was cut off at open: bytes above the flush mark that are not whole entries of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the log ends now.
    pub offset: CommitLogOffset,
    /// What was there.
    pub what: String,
}

/// What [`Log::open`](crate::log::Log::open) found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Random identity of this folder.
    pub node: NodeId,
    /// What the log begins after: the last purged entry, if any.
    pub base: Tail,
    /// Where the log ends; with `damage`, where it is interrupted.
    pub tail: Tail,
    /// The flush mark: at least this much had been synced.
    pub flush_mark: Tail,
    /// A torn tail that was dropped.
    pub cut: Option<Cut>,
    /// Damage below the flush mark. Nothing may be appended, and this member must not vote, until
    /// [`Log::repair`](crate::log::Log::repair) has closed it and [`Log::damage`](crate::log::Log::damage) is `None`.
    pub damage: Option<Damage>,
    /// The machine went down while the log was open, so synced is all that can be relied on: without `sync`,
    /// acknowledged entries may be missing, and this member must not vote before it knows better.
    pub unclean_machine: bool,
    /// Both slots of the flush mark are damaged: it is not known how much had been synced.
    pub mark_lost: bool,
    /// Nothing was ever in this folder.
    pub fresh: bool,
}

/// Why a log does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder belongs to another cluster or group.
    #[error("{dir} holds the data of {found}, not of {expected}")]
    OtherGroup {
        /// The folder.
        dir: PathBuf,
        /// Its cluster and group.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// A small file that cannot be replaced from elsewhere is damaged.
    #[error("{path} is damaged in both slots: {meaning}")]
    Lost {
        /// The file.
        path: PathBuf,
        /// What that means for this member.
        meaning: &'static str,
    },
    /// A setting that no log can be kept with.
    #[error("{0}")]
    Setting(&'static str),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What may still be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Anything.
    Plenty,
    /// The disk is full: the rest of the last segment is kept for small state entries; refuse messages.
    StateOnly {
        /// Bytes left in it.
        left: u64,
    },
}

/// Answer of [`Log::bytes_at`](crate::log::Log::bytes_at).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The bytes, from memory.
    Ready(Bytes),
    /// On disk: use [`Log::read_bytes_cold`](crate::log::Log::read_bytes_cold).
    Cold,
    /// Purged, or never written.
    Gone,
}

/// A segment, for retention and tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Start offset, the file's name.
    pub base: CommitLogOffset,
    /// First entry that starts in it.
    pub first: LogId,
    /// Where that entry is.
    pub offset: CommitLogOffset,
    /// That entry's clock.
    pub log_time_ms: i64,
}
