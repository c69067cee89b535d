//! Checkpoints: the replicated state at one entry, with what Raft needs to go on from there.
//!
//! ```text
//! 49 bytes place in the log (`mq_store::Known`) | 49 bytes place from which to recall | i64 log time
//! last log id and membership (`codec`) | state
//! ```
//! Big-endian, in the store's checkpoint files. The newest one is for restarts. An *anchor* is the state where a segment
//! ends: one per retained segment, because any of them may become the beginning of the log, and is then the snapshot
//! that a lagging member gets.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mq_base::env::disk::Disk;
use mq_message::CommitLogOffset;
use mq_store::{Checkpoints, Known, LogId, RaftIndex};

use crate::codec::{Malformed, Put, Take};
use crate::peer::message::{put_meta, take_meta};
use crate::types::{SnapshotMeta, from_raft};

/// A decoded checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry it covers, and where the log goes on.
    pub known: Known,
    /// Of the entries that it covers, those from here on are recalled at a restart (`recall`).
    pub recall: Known,
    /// Clock of the last entry.
    pub log_time_ms: i64,
    /// Last log id and membership.
    pub meta: SnapshotMeta,
    /// The application's state.
    pub state: Bytes,
}

impl Checkpoint {
    /// To bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256 + self.state.len());
        out.extend_from_slice(&self.known.encode());
        out.extend_from_slice(&self.recall.encode());
        out.u64(self.log_time_ms as u64);
        put_meta(&mut out, &self.meta);
        out.extend_from_slice(&self.state);
        out.into()
    }

    /// From bytes; the state shares them.
    pub fn decode(payload: &Bytes) -> Result<Checkpoint, Malformed> {
        let mut take = Take(payload);
        let mut place = || Known::decode(take.bytes(Known::ENCODED_LEN)?).ok_or(Malformed("checkpoint: place"));
        let (known, recall) = (place()?, place()?);
        let log_time_ms = take.u64()? as i64;
        let meta = take_meta(&mut take)?;
        if known.tail.last.is_none() || known.tail.last != meta.last_log_id.as_ref().map(from_raft) {
            return Err(Malformed("checkpoint: place and log id differ"));
        }
        Ok(Checkpoint {
            known,
            recall,
            log_time_ms,
            meta,
            state: payload.slice_ref(take.0),
        })
    }

    /// The last entry it covers.
    pub fn last(&self) -> LogId {
        self.known.tail.last.unwrap_or_default()
    }
}

/// What a checkpoint is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Restart.
    Recent,
    /// Restart, or the beginning of the log.
    Anchor,
}

/// The checkpoints of a member. Calls block.
#[derive(Clone)]
pub struct Files {
    stored: Checkpoints,
}

impl Files {
    /// Those in `dir`, the folder of the log.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            stored: Checkpoints::new(disk, dir),
        }
    }

    /// Writes a checkpoint. An anchor is named by the segment that begins after it.
    pub fn save(&self, kind: Kind, checkpoint: &Checkpoint, segment_bytes: u64) -> io::Result<()> {
        match kind {
            Kind::Recent => self.stored.save(&checkpoint.encode()),
            Kind::Anchor => {
                let segment = segment_after(checkpoint.known.tail.next_offset, segment_bytes);
                self.stored.save_anchored(segment, &checkpoint.encode())
            }
        }
    }

    /// The newest one for restarts. A damaged one counts as none: an anchor, or the log itself, replaces it.
    pub fn recent(&self) -> Option<Checkpoint> {
        decode(self.stored.load(), "checkpoint")
    }

    /// Anchors, newest first.
    pub fn anchors(&self) -> io::Result<impl Iterator<Item = (CommitLogOffset, Checkpoint)> + use<>> {
        let names = self.stored.list_anchored()?;
        let stored = self.stored.clone();
        Ok(names
            .into_iter()
            .rev()
            .filter_map(move |segment| Some((segment, decode(stored.load_anchored(segment), "anchored checkpoint")?))))
    }

    /// The last anchor at or before `upto`.
    pub fn anchor_before(&self, upto: RaftIndex) -> io::Result<Option<Checkpoint>> {
        Ok(self
            .anchors()?
            .map(|(_, anchor)| anchor)
            .find(|anchor| anchor.last().index <= upto))
    }

    /// The anchor that covers exactly up to `last`.
    pub fn anchor_at(&self, last: LogId) -> io::Result<Option<Checkpoint>> {
        Ok(self.anchor_before(last.index)?.filter(|anchor| anchor.last() == last))
    }

    /// Removes anchors below the one at which the log begins now.
    pub fn forget_before(&self, base: CommitLogOffset, segment_bytes: u64) -> io::Result<()> {
        let keep = segment_after(base, segment_bytes);
        for segment in self
            .stored
            .list_anchored()?
            .into_iter()
            .filter(|segment| *segment < keep)
        {
            self.stored.delete_anchored(segment)?;
        }
        Ok(())
    }

    /// Removes checkpoints of a state that the log does not reach: it lost its tail, or an install was cut short.
    pub fn forget_beyond(&self, end: CommitLogOffset) -> io::Result<()> {
        if self.recent().is_some_and(|c| c.known.tail.next_offset > end) {
            self.stored.delete()?;
        }
        let beyond: Vec<_> = self
            .anchors()?
            .take_while(|(_, anchor)| anchor.known.tail.next_offset > end)
            .map(|(s, _)| s)
            .collect();
        beyond
            .into_iter()
            .try_for_each(|segment| self.stored.delete_anchored(segment))
    }
}

fn segment_after(offset: CommitLogOffset, segment_bytes: u64) -> CommitLogOffset {
    CommitLogOffset::from(offset.get().div_ceil(segment_bytes) * segment_bytes)
}

fn decode(loaded: io::Result<Option<Vec<u8>>>, what: &str) -> Option<Checkpoint> {
    let decoded = loaded.and_then(|bytes| {
        bytes
            .map(|bytes| Checkpoint::decode(&bytes.into()).map_err(io::Error::other))
            .transpose()
    });
    decoded.unwrap_or_else(|error| {
        tracing::warn!(%error, "a {what} cannot be read");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::to_raft;
    use mq_store::{NodeId, Tail, Term};

    const SEGMENT: u64 = 1000;

    fn checkpoint(index: u64) -> Checkpoint {
        let last = LogId {
            term: Term(2),
            node: NodeId(3),
            index: RaftIndex(index),
        };
        let tail = Tail {
            last: Some(last),
            next_offset: (index * 900).into(),
            previous_hash: 7,
        };
        let known = Known {
            offset: (index * 900 - 64).into(),
            tail,
        };
        Checkpoint {
            known,
            recall: known,
            log_time_ms: -5,
            meta: SnapshotMeta {
                last_log_id: Some(to_raft(last)),
                last_membership: Default::default(),
            },
            state: Bytes::from(vec![index as u8; 100]),
        }
    }

    fn files(dir: &Path) -> Files {
        let files = Files::new(mq_base::env::disk::real(), dir);
        for index in [1, 2, 3] {
            files.save(Kind::Anchor, &checkpoint(index), SEGMENT).unwrap();
        }
        files.save(Kind::Recent, &checkpoint(4), SEGMENT).unwrap();
        files
    }

    #[test]
    fn anchors_are_found_by_what_they_cover() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        assert_eq!(files.recent(), Some(checkpoint(4)));
        assert_eq!(files.anchor_before(RaftIndex(9)).unwrap(), Some(checkpoint(3)));
        assert_eq!(files.anchor_before(RaftIndex(2)).unwrap(), Some(checkpoint(2)));
        assert_eq!(files.anchor_before(RaftIndex(0)).unwrap(), None);
        assert_eq!(files.anchor_at(checkpoint(2).last()).unwrap(), Some(checkpoint(2)));
    }

    #[test]
    fn what_the_log_no_longer_or_never_reached_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        files
            .forget_before(checkpoint(2).known.tail.next_offset, SEGMENT)
            .unwrap();
        assert_eq!(files.anchor_before(RaftIndex(1)).unwrap(), None);
        assert!(files.anchor_before(RaftIndex(2)).unwrap().is_some());
        files.forget_beyond(checkpoint(2).known.tail.next_offset).unwrap();
        assert_eq!(files.recent(), None);
        assert_eq!(files.anchor_before(RaftIndex(9)).unwrap(), Some(checkpoint(2)));
    }

    #[test]
    fn every_cut_of_a_checkpoint_is_noticed() {
        let payload = checkpoint(3).encode();
        for cut in 0..payload.len() - 100 {
            assert!(Checkpoint::decode(&payload.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
