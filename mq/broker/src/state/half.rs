//! Half messages whose producers have not said yet whether to deliver them.

use super::codec::{CodecError, Reader, Writer};
use mq_message::{CommitLogOffset, QueueOffset};
use std::collections::BTreeMap;

/// An undecided half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    /// Where its record was first: with the queue offset, what the producer knows it by.
    pub first_physical: CommitLogOffset,
    /// Where its record is now (re-appended when retention passes it).
    pub physical: CommitLogOffset,
    /// Bytes of that record.
    pub size: u32,
    /// Log time it was first stored at, Unix milliseconds.
    pub stored_ms: i64,
    /// How often its producers were asked.
    pub checks: u32,
    /// Log time of the last check, Unix milliseconds; 0 before the first.
    pub checked_ms: i64,
}

/// All undecided half messages, by the queue offset they first had in the half queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Halves {
    by_offset: BTreeMap<QueueOffset, Half>,
}

impl Halves {
    /// One of them.
    pub fn get(&self, offset: QueueOffset) -> Option<&Half> {
        self.by_offset.get(&offset)
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (QueueOffset, &Half)> {
        self.by_offset.iter().map(|(offset, half)| (*offset, half))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_offset.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_offset.is_empty()
    }

    pub(super) fn add(&mut self, offset: QueueOffset, half: Half) {
        self.by_offset.insert(offset, half);
    }

    pub(super) fn decided(&mut self, offset: QueueOffset) {
        self.by_offset.remove(&offset);
    }

    pub(super) fn checked(&mut self, offset: QueueOffset, time_ms: i64) {
        if let Some(half) = self.by_offset.get_mut(&offset) {
            half.checks += 1;
            half.checked_ms = time_ms;
        }
    }

    /// The copy stored at `copy` takes the place of the record of `identity`.
    pub(super) fn moved(&mut self, identity: QueueOffset, copy: QueueOffset) {
        let Some(new) = self.by_offset.remove(&copy) else {
            return;
        };
        if let Some(half) = self.by_offset.get_mut(&identity) {
            half.physical = new.physical;
            half.size = new.size;
        }
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.varint(self.by_offset.len() as u64);
        for (offset, half) in &self.by_offset {
            w.varint(offset.get());
            w.varint(half.first_physical.get());
            w.varint(half.physical.get());
            w.varint(half.size.into());
            w.signed(half.stored_ms);
            w.varint(half.checks.into());
            w.signed(half.checked_ms);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut by_offset = BTreeMap::new();
        for _ in 0..r.count()? {
            let offset = QueueOffset::from(r.varint()?);
            let half = Half {
                first_physical: r.varint()?.into(),
                physical: r.varint()?.into(),
                size: r.u32()?,
                stored_ms: r.signed()?,
                checks: r.u32()?,
                checked_ms: r.signed()?,
            };
            by_offset.insert(offset, half);
        }
        Ok(Self { by_offset })
    }
}
