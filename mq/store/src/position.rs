//! Positions of the Raft log. `docs/positions.md` says which is never ahead of which.

use std::fmt;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

position! {
    /// A leadership period.
    Term
}
position! {
    /// A member of the group, by its data directory: random, never reused.
    NodeId
}
position! {
    /// Number of an entry in the group's log, dense.
    RaftIndex
}

impl RaftIndex {
    /// The index after this one.
    pub const fn next(self) -> RaftIndex {
        RaftIndex(self.0.saturating_add(1))
    }
}

/// Names one entry. Ordered by term, leader, index, as Raft compares logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that made the entry.
    pub term: Term,
    /// That leader.
    pub node: NodeId,
    /// Position in the log.
    pub index: RaftIndex,
}

impl LogId {
    /// Length of the encoding.
    pub(crate) const ENCODED_LEN: usize = 24;

    /// index, term, node; big-endian (the order of the entry header).
    pub(crate) fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        out[0..8].copy_from_slice(&self.index.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.term.0.to_be_bytes());
        out[16..24].copy_from_slice(&self.node.0.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8; Self::ENCODED_LEN]) -> LogId {
        LogId {
            index: RaftIndex(be_u64(bytes, 0)),
            term: Term(be_u64(bytes, 8)),
            node: NodeId(be_u64(bytes, 16)),
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}-N{:x}.{}", self.term, self.node.0, self.index)
    }
}

/// Reads a big-endian u64. The caller has checked the length.
pub(crate) fn be_u64(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(out)
}

/// Reads a big-endian u32. The caller has checked the length.
pub(crate) fn be_u32(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(out)
}

/// Reads a big-endian u16. The caller has checked the length.
pub(crate) fn be_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
