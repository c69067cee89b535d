//! Checkpoints: what the layers above need to start again without reading the whole log.
//!
//! The newest is the file `checkpoint`; an *anchored* one, `checkpoint-<20 digits of a segment's start>`, is kept for
//! each retained segment, because a snapshot for a member that lags behind is the state at the end of a segment.
//! Contents are opaque here; the container (magic, version, length, CRC-32C) is replaced whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mq_base::env::disk::Disk;
use mq_message::CommitLogOffset;

use crate::container::{self, Stamp};
use crate::log::parse_name;

const STAMP: Stamp = Stamp {
    magic: 0x4642_4350,
    version: 1,
};
const NAME: &str = "checkpoint";
const ANCHORED: &str = "checkpoint-";

/// The checkpoints of one folder. Calls block.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Checkpoints {
    /// Those in `dir`, the folder of the log.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Checkpoints {
        Checkpoints {
            disk,
            dir: dir.to_owned(),
        }
    }

    /// Replaces the newest checkpoint; durable on return. The caller has synced what it covers.
    pub fn save(&self, content: &[u8]) -> io::Result<()> {
        self.disk.create_dir_all(&self.dir)?;
        container::replace(&*self.disk, &self.dir.join(NAME), STAMP, content)
    }

    /// The newest checkpoint; `None` if there never was one. Damage is `InvalidData`.
    pub fn load(&self) -> io::Result<Option<Vec<u8>>> {
        container::load(&*self.disk, &self.dir.join(NAME), STAMP)
    }

    /// Removes the newest checkpoint, before a log is reset.
    pub fn delete(&self) -> io::Result<()> {
        self.remove(&self.dir.join(NAME))
    }

    /// Saves the checkpoint of the state at the end of the segment before `segment`.
    pub fn save_anchored(&self, segment: CommitLogOffset, content: &[u8]) -> io::Result<()> {
        self.disk.create_dir_all(&self.dir)?;
        container::replace(&*self.disk, &self.anchored(segment), STAMP, content)
    }

    /// Loads an anchored checkpoint.
    pub fn load_anchored(&self, segment: CommitLogOffset) -> io::Result<Option<Vec<u8>>> {
        container::load(&*self.disk, &self.anchored(segment), STAMP)
    }

    /// Which anchored checkpoints there are, ascending.
    pub fn list_anchored(&self) -> io::Result<Vec<CommitLogOffset>> {
        if !self.disk.exists(&self.dir) {
            return Ok(Vec::new());
        }
        let mut out: Vec<_> = self
            .disk
            .list(&self.dir)?
            .iter()
            .filter_map(|(name, _)| parse_name(name.to_str()?.strip_prefix(ANCHORED)?))
            .map(CommitLogOffset::from)
            .collect();
        out.sort_unstable();
        Ok(out)
    }

    /// Removes an anchored checkpoint; a missing one is fine.
    pub fn delete_anchored(&self, segment: CommitLogOffset) -> io::Result<()> {
        self.remove(&self.anchored(segment))
    }

    fn anchored(&self, segment: CommitLogOffset) -> PathBuf {
        self.dir.join(format!("{ANCHORED}{:020}", segment.get()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.disk.exists(path) {
            return Ok(());
        }
        self.disk.remove(path)?;
        self.disk.sync_dir(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // Breaks files behind the store's back.

    use super::*;
    use mq_base::env::disk::{OpenMode, real};

    #[test]
    fn saved_content_comes_back_and_any_flipped_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(real(), dir.path());
        assert_eq!(checkpoints.load().unwrap(), None);
        checkpoints.save(b"one").unwrap();
        checkpoints.save(b"state two").unwrap();
        assert_eq!(checkpoints.load().unwrap().as_deref(), Some(&b"state two"[..]));

        let path = dir.path().join(NAME);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let error = checkpoints.load().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}");
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(checkpoints.load().is_err(), "cut to {len}");
        }
    }

    #[test]
    fn a_half_written_successor_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(real(), dir.path());
        checkpoints.save(b"old").unwrap();
        let aside = dir.path().join("checkpoint.new");
        let file = real().open(&aside, OpenMode::CreateReadWrite).unwrap();
        file.write_all_vectored_at(&[b"half"], 0).unwrap();
        assert_eq!(checkpoints.load().unwrap().as_deref(), Some(&b"old"[..]));
        checkpoints.save(b"x").unwrap();
        assert_eq!(checkpoints.load().unwrap().as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn anchored_ones_are_listed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(real(), dir.path());
        for base in [2048, 0, 1024u64] {
            let base = CommitLogOffset::from(base);
            checkpoints.save_anchored(base, &base.get().to_be_bytes()).unwrap();
        }
        checkpoints.delete_anchored(CommitLogOffset::from(0)).unwrap();
        checkpoints.delete_anchored(CommitLogOffset::from(0)).unwrap();
        let bases: Vec<u64> = checkpoints.list_anchored().unwrap().iter().map(|b| b.get()).collect();
        assert_eq!(bases, [1024, 2048]);
        let one = checkpoints.load_anchored(CommitLogOffset::from(1024)).unwrap();
        assert_eq!(one.unwrap(), 1024u64.to_be_bytes());
    }
}
