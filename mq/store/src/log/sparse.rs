//! Index to offset: the first entry of each segment and one entry per [`STEP`] bytes in between.
//!
//! What was appended or scanned since the start is known to that precision; of older segments only their first entry
//! is, until a cold read scans them and notes what it passes.

use std::collections::BTreeMap;

/// Bytes of log between two marks.
pub(crate) const STEP: u64 = 256 * 1024;

#[derive(Debug, Default)]
pub(crate) struct SparseIndex {
    marks: BTreeMap<u64, u64>,
}

impl SparseIndex {
    /// Notes where an entry is, unless a mark is near before it in the same segment.
    pub fn note(&mut self, index: u64, offset: u64, segment_bytes: u64) {
        let near = self
            .marks
            .range(..=index)
            .next_back()
            .is_some_and(|(_, at)| offset - at.min(&offset) < STEP && at / segment_bytes == offset / segment_bytes);
        if !near {
            self.marks.insert(index, offset);
        }
    }

    /// The nearest known entry at or before `index`.
    pub fn floor(&self, index: u64) -> Option<(u64, u64)> {
        self.marks
            .range(..=index)
            .next_back()
            .map(|(index, offset)| (*index, *offset))
    }

    /// Forgets entries from `index` on.
    pub fn truncate(&mut self, index: u64) {
        self.marks.split_off(&index);
    }

    /// Forgets entries below `index`.
    pub fn purge(&mut self, index: u64) {
        self.marks = self.marks.split_off(&index);
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.marks.iter().map(|(index, offset)| (*index, *offset))
    }

    pub fn clear(&mut self) {
        self.marks.clear();
    }
}
