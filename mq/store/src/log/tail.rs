//! Places in the log: a tail, and the entry that a checkpoint stands on.

use mq_message::CommitLogOffset;

use crate::entry::Entry;
use crate::position::{LogId, be_u64};

/// A place between two entries: everything before it, in the three forms the next entry depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The last entry before this place; `None` at the beginning of a group's log.
    pub last: Option<LogId>,
    /// Its end.
    pub next_offset: CommitLogOffset,
    /// Its header's hash: `previous` of the next entry.
    pub previous_hash: u64,
}

impl Tail {
    /// Length of the encoding.
    pub const ENCODED_LEN: usize = 41;

    /// The place after `entry`.
    pub fn after(entry: &Entry) -> Tail {
        Tail {
            last: Some(entry.id()),
            next_offset: entry.end(),
            previous_hash: entry.hash(),
        }
    }

    /// u8 whether there is a last entry, its index, term, node, then next offset and hash; big-endian.
    pub fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        if let Some(last) = &self.last {
            out[0] = 1;
            out[1..25].copy_from_slice(&last.encode());
        }
        out[25..33].copy_from_slice(&self.next_offset.get().to_be_bytes());
        out[33..41].copy_from_slice(&self.previous_hash.to_be_bytes());
        out
    }

    /// `None` if `bytes` is not an encoding.
    pub fn decode(bytes: &[u8]) -> Option<Tail> {
        if bytes.len() != Self::ENCODED_LEN {
            return None;
        }
        let last = match bytes[0] {
            0 => None,
            1 => Some(LogId::decode(bytes[1..25].try_into().ok()?)),
            _ => return None,
        };
        let next_offset = be_u64(bytes, 25);
        // RocketMQ's offsets are signed; and segments and lengths are added to this one without a check.
        if next_offset > i64::MAX as u64 {
            return None;
        }
        Some(Tail {
            last,
            next_offset: CommitLogOffset::from(next_offset),
            previous_hash: be_u64(bytes, 33),
        })
    }
}

/// An entry that a checkpoint vouches for: recovery starts after it and does not look at what is before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Commit log offset of the entry's header.
    pub offset: CommitLogOffset,
    /// The place after it.
    pub tail: Tail,
}

impl Known {
    /// Length of the encoding.
    pub const ENCODED_LEN: usize = 8 + Tail::ENCODED_LEN;

    /// The place after `entry`.
    pub fn of(entry: &Entry) -> Known {
        Known {
            offset: entry.offset(),
            tail: Tail::after(entry),
        }
    }

    /// Offset, then [`Tail::encode`].
    pub fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        out[..8].copy_from_slice(&self.offset.get().to_be_bytes());
        out[8..].copy_from_slice(&self.tail.encode());
        out
    }

    /// `None` if `bytes` is not an encoding.
    pub fn decode(bytes: &[u8]) -> Option<Known> {
        if bytes.len() != Self::ENCODED_LEN {
            return None;
        }
        Some(Known {
            offset: CommitLogOffset::from(be_u64(bytes, 0)),
            tail: Tail::decode(&bytes[8..])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_beyond_the_address_space_is_no_encoding() {
        let at = |offset: u64| {
            let place = Tail {
                next_offset: offset.into(),
                ..Tail::default()
            };
            Tail::decode(&place.encode())
        };
        assert!(at(i64::MAX as u64).is_some());
        for beyond in [i64::MAX as u64 + 1, u64::MAX - 10, u64::MAX] {
            assert_eq!(at(beyond), None, "{beyond}");
        }
    }
}
