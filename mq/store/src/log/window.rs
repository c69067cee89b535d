//! The most recent entries, in memory: what followers, apply and most pulls read.
//!
//! Holds a run of entries without gaps that ends at the tail. Entries that are not written yet are never evicted, so
//! the window may be larger than its bound while the disk is slow; the bytes in flight are bounded above (Raft).

use std::collections::VecDeque;

use bytes::Bytes;
use mq_message::CommitLogOffset;

use crate::buffers::Buffers;
use crate::entry::Entry;
use crate::position::RaftIndex;

#[derive(Debug)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Window {
    pub fn new(bytes_max: usize) -> Window {
        Window {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub fn first(&self) -> Option<RaftIndex> {
        self.entries.front().map(Entry::index)
    }

    /// Adds the entry after the last one.
    pub fn push(&mut self, entry: Entry) {
        debug_assert!(
            self.entries
                .back()
                .is_none_or(|last| last.index().next() == entry.index())
        );
        self.bytes += entry.len();
        self.entries.push_back(entry);
    }

    /// Drops the oldest entries that are written, down to the bound.
    pub fn evict(&mut self, written: CommitLogOffset, buffers: &Buffers) {
        while self.bytes > self.bytes_max && self.entries.front().is_some_and(|first| first.end() <= written) {
            if let Some(entry) = self.pop_front() {
                buffers.give(entry.into_bytes());
            }
        }
    }

    fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.len();
        Some(entry)
    }

    /// Drops entries from `index` on.
    pub fn truncate(&mut self, index: RaftIndex) {
        while let Some(last) = self.entries.back()
            && last.index() >= index
        {
            self.bytes -= last.len();
            self.entries.pop_back();
        }
    }

    /// Drops entries below `index`.
    pub fn purge(&mut self, index: RaftIndex) {
        while self.first().is_some_and(|first| first < index) {
            drop(self.pop_front());
        }
    }

    pub fn get(&self, index: RaftIndex) -> Option<&Entry> {
        let first = self.first()?;
        let at = index.get().checked_sub(first.get())?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The entry that starts at a commit log offset.
    pub fn at(&self, offset: CommitLogOffset) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&offset, Entry::offset).ok()?;
        self.entries.get(at)
    }

    /// The bytes at a commit log offset, if one entry of the window holds them all.
    pub fn bytes_at(&self, offset: CommitLogOffset, len: usize) -> Option<Bytes> {
        let after = self.entries.partition_point(|entry| entry.offset() <= offset);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        let from = usize::try_from(offset.get() - entry.offset().get()).ok()?;
        let to = from.checked_add(len)?;
        (to <= entry.len()).then(|| entry.bytes().slice(from..to))
    }
}
