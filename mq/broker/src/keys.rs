//! The index by key of this member: mq-store's index file, and a small file that says up to where it is durable.
//!
//! A checkpoint is taken before derived files are synced, and it is the group's, while the mark is this member's: so the
//! mark has a file of its own. It may be ahead of the checkpoint; what is applied again is then in the index twice, and a
//! query leaves the second out.

use mq_base::env::disk::{Disk, OpenMode};
use mq_message::CommitLogOffset;
use mq_store::{Index, IndexMark, IndexOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The index; clones share it.
#[derive(Clone)]
pub struct KeyIndex {
    index: Index,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

const MARK_FILE: &str = "index.mark";
/// Longer files are not ours.
const MARK_BYTES_MAX: usize = 4096;

impl KeyIndex {
    /// The index below `dir`.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: IndexOptions) -> io::Result<Self> {
        let index = Index::open(disk.clone(), dir, options)?;
        Ok(Self {
            index,
            disk,
            dir: dir.to_owned(),
        })
    }

    /// A message was stored.
    pub fn put<'a>(
        &self,
        topic: &str,
        keys: impl IntoIterator<Item = &'a str>,
        offset: CommitLogOffset,
        stored_ms: i64,
    ) {
        self.index.put(topic, keys, offset, stored_ms);
    }

    /// Records that may have a key, newest first. May block.
    pub fn query(
        &self,
        topic: &str,
        key: &str,
        begin_ms: i64,
        end_ms: i64,
        max: usize,
    ) -> io::Result<Vec<CommitLogOffset>> {
        let mut found = self.index.query(topic, key, begin_ms, end_ms, max)?;
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        Ok(found)
    }

    /// Makes what was put so far durable. Blocks.
    pub fn sync(&self) -> io::Result<()> {
        let mark = self.index.sync()?.encode();
        let (aside, place) = (self.dir.join("index.mark.new"), self.dir.join(MARK_FILE));
        let file = self.disk.open(&aside, OpenMode::CreateReadWrite)?;
        file.set_len(0)?;
        file.write_all_vectored_at(&[&mark], 0)?;
        file.sync_all()?;
        self.disk.rename(&aside, &place)?;
        self.disk.sync_dir(&self.dir)
    }

    /// At start: cuts back to what is durable. With `drop_all` nothing of it is of use: the log it points into is gone.
    pub fn restore(&self, drop_all: bool) -> io::Result<()> {
        let mark = if drop_all { None } else { self.mark()? };
        self.index.restore(mark.as_ref())
    }

    fn mark(&self) -> io::Result<Option<IndexMark>> {
        let place = self.dir.join(MARK_FILE);
        if !self.disk.exists(&place) {
            return Ok(None);
        }
        let file = self.disk.open(&place, OpenMode::Read)?;
        let mut bytes = vec![
            0;
            usize::try_from(file.len()?)
                .unwrap_or(MARK_BYTES_MAX)
                .min(MARK_BYTES_MAX)
        ];
        let read = file.read_at(&mut bytes, 0)?;
        let mark = IndexMark::decode(&bytes[..read]);
        if mark.is_none() {
            tracing::warn!(file = %place.display(), "damaged: older messages will not be found by key");
        }
        Ok(mark)
    }

    /// Retention has passed `line`.
    pub fn purge(&self, line: CommitLogOffset) -> io::Result<()> {
        self.index.purge(line)
    }
}
