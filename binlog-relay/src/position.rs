//! The position: how far the source has been read into the queue. It travels with the rows, in the same atomic batch, and comes back when the
//! producer is opened again. That is all the state that a relay has.

use crate::gtid::GtidSet;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of this layout.
const VERSION: u32 = 1;

/// Where the relay stands after a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Position {
    /// Transactions that are in the queue whole.
    pub gtids: GtidSet,
    /// A transaction that is in the queue in part.
    pub partial: Option<Partial>,
    /// The `id` that the next message will have; the first has 1.
    pub next_id: u64,
    /// The number that the next barrier will have.
    pub next_barrier: u64,
    /// Tables that have been copied, or are being copied, by `database.table`.
    pub snapshots: BTreeMap<String, SnapshotState>,
}

/// How much of a transaction is in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// The transaction, as text.
    pub gtid: String,
    /// Rows of captured tables, in binlog order, that are in the queue.
    pub rows: u64,
    /// Fingerprint of the rules that chose them: with others the count would mean other rows.
    pub rules: u64,
}

/// The copy of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Wanted for the first time; its first barrier has not been written. Until then changes are left out, because the copy will hold them.
    Wanted,
    /// Wanted again; changes go on being written.
    Again,
    /// Being copied: chunks written, rows written, and the key of the last row (texts; none before the first row).
    Running {
        /// Chunks that are in the queue whole.
        chunk: u64,
        /// Rows that are in the queue.
        rows: u64,
        /// Key texts of the last row read, in key order.
        after: Option<Vec<String>>,
    },
    /// Complete, with so many rows; 0 if there was nothing to copy.
    Done(u64),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    gtids: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<Partial>,
    next_id: u64,
    next_barrier: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    snapshots: BTreeMap<String, SnapshotState>,
}

impl Position {
    /// The start of everything: nothing written, `gtids` to be skipped.
    pub fn start(gtids: GtidSet) -> Position {
        Position {
            gtids,
            next_id: 1,
            next_barrier: 1,
            ..Position::default()
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// It would be longer than the broker keeps: too many tables, or a GTID set with too many holes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let stored = Stored {
            v: VERSION,
            gtids: self.gtids.to_string(),
            partial: self.partial.clone(),
            next_id: self.next_id,
            next_barrier: self.next_barrier,
            snapshots: self.snapshots.clone(),
        };
        let bytes = serde_json::to_vec(&stored).context("write the position")?;
        let max = mq_message::atomic::POSITION_BYTES_MAX;
        ensure!(
            bytes.len() <= max,
            "the position has {} bytes, more than {max}: capture fewer tables in one relay",
            bytes.len()
        );
        Ok(bytes)
    }

    /// Reads the bytes back.
    ///
    /// # Errors
    /// They are no position, or one of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Position> {
        let stored: Stored = serde_json::from_slice(bytes).context("read the position that the queue holds")?;
        ensure!(
            stored.v == VERSION,
            "the position in the queue has version {}, this relay reads {VERSION}",
            stored.v
        );
        Ok(Position {
            gtids: GtidSet::parse(&stored.gtids)?,
            partial: stored.partial,
            next_id: stored.next_id,
            next_barrier: stored.next_barrier,
            snapshots: stored.snapshots,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        let mut position = Position::start(GtidSet::parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5").unwrap());
        assert_eq!(Position::decode(&position.encode().unwrap()).unwrap(), position);
        position.partial = Some(Partial {
            gtid: "3e11fa47-71ca-11e1-9e33-c80aa9429562:6".into(),
            rows: 17,
            rules: 4,
        });
        position.next_id = u64::MAX;
        for (name, state) in [
            ("a.b", SnapshotState::Wanted),
            ("a.c", SnapshotState::Done(9)),
            (
                "a.d",
                SnapshotState::Running {
                    chunk: 3,
                    rows: 12,
                    after: Some(vec!["7".into(), "\u{e9}\"".into()]),
                },
            ),
        ] {
            position.snapshots.insert(name.into(), state);
        }
        assert_eq!(Position::decode(&position.encode().unwrap()).unwrap(), position);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&b""[..], b"{}", br#"{"v":2,"gtids":"","next_id":1,"next_barrier":1}"#] {
            assert!(Position::decode(bytes).is_err());
        }
    }
}
