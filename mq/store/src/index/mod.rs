//! The index by key: RocketMQ's hash index files, for queries by message key, unique key and message id.
//!
//! ```text
//! index/<17 digits: yyyyMMddHHmmssSSS of the first record, UTC>
//!    0 u64 store time of the first record, ms     8 u64 of the last
//!   16 u64 commit log offset of the first record  24 u64 of the last
//!   32 u32 slots    36 u32 entries + 1
//!   40 slots x u32: number of the newest entry with this hash, 0 for none
//!      entries x 20 bytes, the first is number 1:
//!        u32 hash   u64 commit log offset   i32 seconds since byte 0   u32 the older entry of the same slot
//! ```
//!
//! Big-endian. The key of a message is `topic#key`, its hash Java's `|hashCode|`, its slot `hash % slots`.
//!
//! Entries are written in one piece by the background thread. The slot table follows from the entries; it is kept in
//! memory for the file in use and written rarely, because its pages are hit at random and would be half of what the
//! disk writes. After a start it is completed from the entries that are newer than what was written of it.
//!
//! A hash is not a key: the caller reads each record it is pointed to and checks topic, key and time.
//!
//! Crash: the checkpoint holds the name and the entry count of the newest file ([`Index::sync`]); [`Index::restore`]
//! cuts back to it, and re-applying the log puts the rest again.

mod file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mq_base::env;
use mq_base::env::disk::Disk;
use mq_message::{CommitLogOffset, java_hash};
use parking_lot::Mutex;

use crate::mailbox::Mailbox;
use crate::sync_once::SyncOnce;
use file::{IndexFile, Row};

/// How index files are kept.
#[derive(Clone, Debug)]
pub struct IndexOptions {
    /// Slots of a file.
    pub slots: u32,
    /// Entries of a file.
    pub entries: u32,
    /// Entries after which the slot table is written to the file.
    pub slots_written_every: u32,
    /// How long entries may wait in memory for their write.
    pub write_interval: Duration,
    /// Entries in memory that do not wait for the interval.
    pub pending_max: usize,
    /// Entries in memory at which the writer of new ones has to write them itself.
    pub pending_bound: usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        IndexOptions {
            slots: 5_000_000,
            entries: 20_000_000,
            slots_written_every: 1_000_000,
            write_interval: Duration::from_millis(500),
            pending_max: 64 * 1024,
            pending_bound: 1024 * 1024,
        }
    }
}

/// What a checkpoint must remember of the index: the newest file and how many of its entries are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexMark {
    /// Name of the newest file; empty if there is none.
    pub file: String,
    /// Its durable entries.
    pub entries: u32,
}

impl IndexMark {
    /// u32 entries, then the name.
    pub fn encode(&self) -> Vec<u8> {
        [&self.entries.to_be_bytes(), self.file.as_bytes()].concat()
    }

    /// `None` if `bytes` is not an encoding.
    pub fn decode(bytes: &[u8]) -> Option<IndexMark> {
        let (entries, file) = bytes.split_first_chunk::<4>()?;
        let file = std::str::from_utf8(file).ok()?;
        let named = file.is_empty() || file::is_name(file);
        named.then(|| IndexMark {
            file: file.to_owned(),
            entries: u32::from_be_bytes(*entries),
        })
    }
}

/// The index of a broker; clones share it.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.wakes.close();
    }
}

struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: IndexOptions,
    /// Rows that no file has yet, oldest first.
    pending: Mutex<Vec<Row>>,
    /// Oldest first; only the last takes entries. Taken before `pending`.
    files: Mutex<Vec<IndexFile>>,
    wakes: Mailbox<()>,
    failing: AtomicBool,
    syncs: SyncOnce,
}

/// Java's hash of `topic#key` as RocketMQ uses it: never negative.
fn key_hash(topic: &str, key: &str) -> u32 {
    let mut text = String::with_capacity(topic.len() + 1 + key.len());
    text.push_str(topic);
    text.push('#');
    text.push_str(key);
    // Java's Math.abs leaves MIN_VALUE negative; RocketMQ then takes 0.
    java_hash(&text).checked_abs().unwrap_or(0) as u32
}

impl Index {
    /// The index below `dir`, which gets a folder `index`, and its background thread (in the simulator: a task). Call
    /// [`Index::restore`] before anything else.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: IndexOptions) -> io::Result<Index> {
        let index = Index::open_idle(disk, dir, options)?;
        start(&index.shared);
        Ok(index)
    }

    fn open_idle(disk: Arc<dyn Disk>, dir: &Path, options: IndexOptions) -> io::Result<Index> {
        let folder = dir.join("index");
        disk.create_dir_all(&folder)?;
        crate::container::sync_parent(&*disk, dir)?;
        disk.sync_dir(dir)?;
        let mut names: Vec<String> = disk
            .list(&folder)?
            .iter()
            .filter_map(|(name, _)| name.to_str().filter(|name| file::is_name(name)))
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            if let Some(file) = IndexFile::open(&*disk, &folder, &name, &options)? {
                files.push(file);
            }
        }
        let shared = Arc::new(Shared {
            disk,
            dir: folder,
            options,
            pending: Mutex::new(Vec::new()),
            files: Mutex::new(files),
            wakes: Mailbox::new(),
            failing: AtomicBool::new(false),
            syncs: SyncOnce::default(),
        });
        Ok(Index {
            _closer: Arc::new(Closer(shared.clone())),
            shared,
        })
    }

    /// Cuts back to a checkpoint; `None` drops everything. The log is then re-applied from there.
    pub fn restore(&self, mark: Option<&IndexMark>) -> io::Result<()> {
        let shared = &self.shared;
        let mut files = shared.files.lock();
        shared.pending.lock().clear();
        let name = mark.map_or("", |mark| mark.file.as_str());
        for file in files.extract_if(.., |file| *file.name > *name) {
            shared.disk.remove(&shared.dir.join(&*file.name))?;
        }
        shared.disk.sync_dir(&shared.dir)?;
        if let (Some(mark), Some(last)) = (mark, files.last_mut())
            && *last.name == *mark.file
        {
            last.cut(mark.entries)?;
        }
        Ok(())
    }

    /// Adds the keys of a message. Goes to memory; only if the background thread is far behind does it write itself.
    pub fn put<'a>(
        &self,
        topic: &str,
        keys: impl IntoIterator<Item = &'a str>,
        offset: CommitLogOffset,
        store_time_ms: i64,
    ) {
        let mut pending = self.shared.pending.lock();
        for key in keys.into_iter().filter(|key| !key.is_empty()) {
            pending.push(Row {
                hash: key_hash(topic, key),
                offset: offset.get(),
                store_time_ms,
            });
        }
        let waiting = pending.len();
        drop(pending);
        if waiting >= self.shared.options.pending_bound {
            let _ = self.shared.write_pass();
            let mut pending = self.shared.pending.lock();
            if pending.len() >= self.shared.options.pending_bound {
                // A disk that has refused a million keys: the index forgets, the messages do not.
                pending.clear();
            }
        } else if waiting >= self.shared.options.pending_max {
            self.shared.wakes.nudge();
        }
    }

    /// Offsets of records that may have this key and a store time in `begin_ms..=end_ms`, newest first. The caller
    /// checks each record. May block.
    pub fn query(
        &self,
        topic: &str,
        key: &str,
        begin_ms: i64,
        end_ms: i64,
        max: usize,
    ) -> io::Result<Vec<CommitLogOffset>> {
        let hash = key_hash(topic, key);
        let mut out = Vec::new();
        let mut files = self.shared.files.lock();
        let pending = self.shared.pending.lock();
        for row in pending.iter().rev() {
            if out.len() == max {
                return Ok(out);
            }
            if row.hash == hash && (begin_ms..=end_ms).contains(&row.store_time_ms) {
                out.push(CommitLogOffset::from(row.offset));
            }
        }
        drop(pending);
        for file in files.iter_mut().rev() {
            if out.len() >= max {
                break;
            }
            file.query(hash, begin_ms, end_ms, max, &mut out)?;
        }
        Ok(out)
    }

    /// Removes files whose newest record is below `min`: after retention.
    pub fn purge(&self, min: CommitLogOffset) -> io::Result<()> {
        let shared = &self.shared;
        let mut files = shared.files.lock();
        let last = files.last().map(|file| file.name.clone());
        let old: Vec<IndexFile> = files
            .extract_if(.., |file| {
                file.end_offset() < min.get() && Some(&file.name) != last.as_ref()
            })
            .collect();
        for file in &old {
            shared.disk.remove(&shared.dir.join(&*file.name))?;
        }
        if old.is_empty() {
            return Ok(());
        }
        shared.disk.sync_dir(&shared.dir)
    }

    /// Writes and syncs what was put so far: the mark for a checkpoint that covers it. Blocks. After a failed sync
    /// ([`SyncFailed`](crate::SyncFailed)) all fail.
    pub fn sync(&self) -> io::Result<IndexMark> {
        self.shared.write_pass()?;
        let mut files = self.shared.files.lock();
        self.shared.syncs.sync(|| {
            let mut named = false;
            for file in files.iter_mut() {
                named |= file.sync()?;
            }
            if named {
                self.shared.disk.sync_dir(&self.shared.dir)?;
            }
            Ok(())
        })?;
        Ok(files.last().map_or_else(IndexMark::default, |file| IndexMark {
            file: file.name.to_string(),
            entries: file.entries(),
        }))
    }
}

impl Shared {
    /// Writes what waits. What cannot be written goes on waiting.
    fn write_pass(&self) -> io::Result<()> {
        let mut files = self.files.lock();
        let mut rows = std::mem::take(&mut *self.pending.lock());
        let outcome = self.write_rows(&mut files, &mut rows);
        if !rows.is_empty() {
            let mut pending = self.pending.lock();
            rows.append(&mut pending);
            *pending = rows;
        }
        match &outcome {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "the index cannot be written; keys wait in memory");
            }
            Err(_) => {}
        }
        outcome
    }

    fn write_rows(&self, files: &mut Vec<IndexFile>, rows: &mut Vec<Row>) -> io::Result<()> {
        while let Some(first) = rows.first() {
            if files.last().is_none_or(IndexFile::is_full) {
                if let Some(full) = files.last_mut() {
                    full.finish()?;
                }
                let newest = files.last().map(|file| &*file.name);
                let name = file::name_after(newest, first.store_time_ms);
                files.push(IndexFile::create(&*self.disk, &self.dir, &name, &self.options)?);
            }
            if let Some(file) = files.last_mut() {
                let taken = file.append(rows)?;
                rows.drain(..taken);
            }
        }
        Ok(())
    }
}

/// Starts the background thread, or its task in the simulator.
fn start(shared: &Arc<Shared>) {
    let shared = shared.clone();
    let interval = shared.options.write_interval;
    if env::is_simulated() {
        env::task::spawn("index-writer", async move {
            loop {
                let closed = shared.wakes.take_async(Some(interval)).await.closed;
                let _ = shared.write_pass(); // Noted there; tried again next time.
                if closed {
                    return;
                }
            }
        });
        return;
    }
    env::thread::spawn("index-writer", move || {
        loop {
            let closed = shared.wakes.take(Some(interval)).closed;
            let _ = shared.write_pass(); // Noted there; tried again next time.
            if closed {
                return;
            }
        }
    });
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({})", self.shared.dir.display())
    }
}
