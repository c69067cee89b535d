//! The segment files: `commitlog/<20 digits of the start offset>`, all of the same length.
//!
//! A new segment is a recycled one under a new name, or a file allocated aside and renamed, so a file with a segment's
//! name always has a segment's length. Old bytes in a recycled file are harmless: their headers carry another offset
//! and another chain. A purged segment is recycled only when nobody holds it, else unlinked.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mq_base::env::disk::{Disk, File, OpenMode};
use parking_lot::Mutex;

const ALLOCATING: &str = "allocating";
const RECYCLED: &str = "recycled-";

#[derive(Debug)]
pub(crate) struct Segment {
    pub base: u64,
    pub file: Arc<dyn File>,
}

#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub segment_bytes: u64,
    recycled_max: usize,
    mode: OpenMode,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Files that exist; opened when first used.
    open: BTreeMap<u64, Option<Arc<Segment>>>,
    recycled: Vec<PathBuf>,
}

/// A file in the segment folder that is not as a segment must be.
#[derive(Debug)]
pub(crate) struct BadSegment {
    pub base: u64,
    pub len: u64,
}

impl Segments {
    /// Lists the folder, which is made if it is missing.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        recycled_max: usize,
    ) -> io::Result<(Segments, Vec<BadSegment>)> {
        disk.create_dir_all(&dir)?;
        let mut table = Table::default();
        let mut bad = Vec::new();
        for (name, len) in disk.list(&dir)? {
            let path = dir.join(&name);
            let Some(name) = name.to_str() else { continue };
            if name == ALLOCATING {
                disk.remove(&path)?;
            } else if name.starts_with(RECYCLED) {
                if len == segment_bytes && table.recycled.len() < recycled_max {
                    table.recycled.push(path);
                } else {
                    disk.remove(&path)?;
                }
            } else if let Some(base) = parse_name(name) {
                if len != segment_bytes || base % segment_bytes != 0 {
                    bad.push(BadSegment { base, len });
                }
                table.open.insert(base, None);
            }
        }
        let segments = Segments {
            disk,
            dir,
            segment_bytes,
            recycled_max,
            mode: OpenMode::ReadWrite,
            table: Mutex::new(table),
        };
        Ok((segments, bad))
    }

    /// The same to look only: nothing is made or removed.
    pub fn look(disk: Arc<dyn Disk>, dir: PathBuf, segment_bytes: u64) -> io::Result<(Segments, Vec<BadSegment>)> {
        let mut table = Table::default();
        let mut bad = Vec::new();
        for (name, len) in disk.list(&dir)? {
            if let Some(base) = name.to_str().and_then(parse_name) {
                if len != segment_bytes || base % segment_bytes != 0 {
                    bad.push(BadSegment { base, len });
                }
                table.open.insert(base, None);
            }
        }
        let segments = Segments {
            disk,
            dir,
            segment_bytes,
            recycled_max: 0,
            mode: OpenMode::Read,
            table: Mutex::new(table),
        };
        Ok((segments, bad))
    }

    /// Gives a segment that was cut or grew its length again; what is missing reads as zeros, and the chain finds it.
    pub fn make_whole(&self, bad: &BadSegment) -> io::Result<()> {
        let path = self.dir.join(segment_name(bad.base));
        if !bad.base.is_multiple_of(self.segment_bytes) {
            let text = format!("{} is no segment of this log: move it away", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        tracing::error!(segment = %path.display(), len = bad.len, "a segment does not have the length of a segment");
        let file = self.disk.open(&path, OpenMode::ReadWrite)?;
        if bad.len > self.segment_bytes {
            file.set_len(self.segment_bytes)?;
        } else {
            file.allocate(self.segment_bytes)?;
        }
        file.sync_all()
    }

    /// Start of the segment that holds `offset`.
    pub fn base_of(&self, offset: u64) -> u64 {
        offset - offset % self.segment_bytes
    }

    /// The segment with this start, `None` if there is no such file.
    pub fn get(&self, base: u64) -> io::Result<Option<Arc<Segment>>> {
        let mut table = self.table.lock();
        match table.open.get_mut(&base) {
            None => Ok(None),
            Some(Some(segment)) => Ok(Some(segment.clone())),
            Some(slot) => {
                let path = self.dir.join(segment_name(base));
                let file = self.disk.open(&path, self.mode)?;
                let segment = Arc::new(Segment { base, file });
                *slot = Some(segment.clone());
                Ok(Some(segment))
            }
        }
    }

    pub fn exists(&self, base: u64) -> bool {
        self.table.lock().open.contains_key(&base)
    }

    /// Starts of all segments, ascending.
    pub fn bases(&self) -> Vec<u64> {
        self.table.lock().open.keys().copied().collect()
    }

    /// The segment with this start, made if it is missing. On an error nothing has changed; it may be tried again.
    pub fn create(&self, base: u64) -> io::Result<Arc<Segment>> {
        if let Some(segment) = self.get(base)? {
            return Ok(segment);
        }
        let path = self.dir.join(segment_name(base));
        let mut table = self.table.lock();
        if !table.open.contains_key(&base) {
            match table.recycled.pop() {
                Some(old) => self.disk.rename(&old, &path)?,
                None => self.allocate(&path)?,
            }
            self.disk.sync_dir(&self.dir)?;
        }
        let file = self.disk.open(&path, OpenMode::ReadWrite)?;
        let segment = Arc::new(Segment { base, file });
        table.open.insert(base, Some(segment.clone()));
        Ok(segment)
    }

    fn allocate(&self, path: &Path) -> io::Result<()> {
        let aside = self.dir.join(ALLOCATING);
        let made = self.disk.open(&aside, OpenMode::CreateReadWrite).and_then(|file| {
            file.allocate(self.segment_bytes)?;
            file.sync_all()
        });
        if let Err(error) = made {
            let _ = self.disk.remove(&aside);
            return Err(error);
        }
        self.disk.rename(&aside, path)
    }

    /// Removes the segments that `drop` names. With `recycle`, files that nobody reads are kept for re-use.
    pub fn remove(&self, mut drop: impl FnMut(u64) -> bool, recycle: bool) -> io::Result<()> {
        let mut table = self.table.lock();
        let bases: Vec<u64> = table.open.keys().copied().filter(|b| drop(*b)).collect();
        for base in &bases {
            let path = self.dir.join(segment_name(*base));
            let unread = match table.open.get(base) {
                Some(Some(segment)) => Arc::strong_count(segment) == 1,
                _ => true,
            };
            if recycle && unread && table.recycled.len() < self.recycled_max {
                let spare = self.dir.join(format!("{RECYCLED}{base:020}"));
                self.disk.rename(&path, &spare)?;
                table.recycled.push(spare);
            } else {
                self.disk.remove(&path)?;
            }
            table.open.remove(base);
        }
        if bases.is_empty() {
            return Ok(());
        }
        self.disk.sync_dir(&self.dir)
    }

    /// Reads up to `buf.len()` bytes of one segment; short only at its end or if the file is missing.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let base = self.base_of(offset);
        let Some(segment) = self.get(base)? else {
            return Ok(0);
        };
        let room = (base + self.segment_bytes - offset) as usize;
        let want = buf.len().min(room);
        let mut have = 0;
        while have < want {
            match segment
                .file
                .read_at(&mut buf[have..want], offset - base + have as u64)?
            {
                0 => break,
                n => have += n,
            }
        }
        Ok(have)
    }

    /// Fills `buf` from one segment if all of it is in memory; never waits for the disk.
    pub fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let base = self.base_of(offset);
        // The lock is held while a segment is made, which waits for the disk.
        let Some(table) = self.table.try_lock() else {
            return Ok(false);
        };
        let segment = table.open.get(&base).cloned().flatten();
        drop(table);
        match segment {
            Some(segment) => Ok(segment.file.read_cached_at(buf, offset - base)?.is_some()),
            None => Ok(false),
        }
    }

    /// Free bytes on the file system of the segments.
    pub fn free_space(&self) -> io::Result<u64> {
        Ok(self.disk.free_space(&self.dir)?.free)
    }
}

pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:020}")
}

pub(crate) fn parse_name(name: &str) -> Option<u64> {
    if name.len() != 20 || !name.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}
