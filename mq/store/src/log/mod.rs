//! The Raft log, which is the commit log: segments on disk, a window of recent entries in memory, the vote.
//!
//! One folder:
//!
//! ```text
//! identity      whose data this is, random node id, segment size, how the last use ended   (`identity`)
//! vote          two slots; opaque to the store                                             (`slots`)
//! flushed       two slots; the flush mark: the log up to here was synced                   (`slots`)
//! base          two slots; what the log begins after: purged or replaced by a snapshot     (`slots`)
//! commitlog/    segments and recycled segments                                             (`segment`)
//! checkpoint*   see `checkpoint`
//! ```
//!
//! *Written* by one thread, the writer, in the order of the calls: append, vote, truncate, reset. An entry is visible
//! to readers before it is written. What needs not be in order (background sync, flush mark, allocation of the next
//! segment, purge) is done by a second one, the flusher. In the simulator both are tasks.
//!
//! *Read* from the window without touching the disk, else from the files, verified. A reader never sees bytes that
//! fail their checksum: it gets a [`Damage`] that says where.
//!
//! *Errors.* A failed write or sync is final: the log is poisoned, every later call fails, [`Log::poisoned`] fires and
//! the process must end, because nobody can know what a disk holds after a failed sync. A full disk is not an error of
//! an append: the next segment is allocated ahead of need, [`Log::room`] says when that failed, and an append that
//! needs it waits until there is space again.

mod flusher;
mod identity;
mod job;
mod notice;
mod open;
mod outcome;
mod promise;
mod read;
mod repair;
mod scan;
mod segment;
mod sparse;
mod tail;
#[cfg(test)]
mod tests;
mod window;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mq_base::env::disk::Disk;
use mq_base::stop::{Stop, StopSource};
use mq_message::CommitLogOffset;
use parking_lot::{Mutex, RwLock};

use crate::buffers::Buffers;
use crate::entry::{self, Entry};
use crate::mailbox::Mailbox;
use crate::position::{LogId, NodeId, RaftIndex};
use crate::slots::SlotFile;
pub(crate) use identity::Identity;
pub use job::Done;
use job::{Chore, Job};
use notice::Notices;
pub use outcome::{Cut, Damage, Gap, Lookup, OpenError, Proof, Recovered, Room, SegmentInfo};
pub use promise::{Promise, promise};
pub(crate) use scan::{Depth, Found, Scan};
pub(crate) use segment::{Segments, parse_name};
use sparse::SparseIndex;
pub use tail::{Known, Tail};
use window::Window;

pub(crate) const COMMIT_LOG: &str = "commitlog";
pub(crate) const VOTE: (&str, u32) = ("vote", 0x4642_564F);
pub(crate) const MARK: (&str, u32) = ("flushed", 0x4642_464C);
pub(crate) const BASE: (&str, u32) = ("base", 0x4642_4241);

/// Largest [`LogOptions::page_bytes`].
const PAGE_BYTES_MAX: u64 = 4096;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Name of the cluster; a folder of another one is refused.
    pub cluster: String,
    /// Name of the group; a folder of another one is refused.
    pub group: String,
    /// Length of a segment. Group state: an existing folder keeps the one it was made with.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory.
    pub window_bytes: usize,
    /// Bytes of the log's tail that may stay in the page cache. The kernel would keep all it has room for, and pay for
    /// each page it takes for the first time what writing to a used one costs ten times over; 0 lets it.
    pub cached_bytes: u64,
    /// A write is filled up with zeros to a multiple of this. If it ended inside a page that holds old bytes of a recycled
    /// segment, the kernel would read that page from the disk first.
    pub page_bytes: u64,
    /// `SYNC_FLUSH`: an append is done after fdatasync, else after the write.
    pub sync: bool,
    /// Purged segments kept for re-use.
    pub recycled_max: usize,
    /// How long written bytes may wait for their sync without `sync`, and the flush mark for its write.
    pub flush_interval: Duration,
    /// Cold reads at the same time.
    pub cold_reads_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            cluster: String::new(),
            group: String::new(),
            segment_bytes: 1 << 30,
            window_bytes: 64 << 20,
            cached_bytes: 256 << 20,
            page_bytes: PAGE_BYTES_MAX,
            sync: true,
            recycled_max: 2,
            flush_interval: Duration::from_millis(500),
            cold_reads_max: 8,
        }
    }
}

/// Handle of the log; clones share it. When the last one is dropped the log's threads end after what was asked of them.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

/// Ends the threads with the last handle.
#[derive(Debug)]
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.jobs.close();
    }
}

pub(crate) struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: LogOptions,
    segments: Segments,
    /// Short sections only: readers copy `Bytes` handles out, appends push them in.
    state: RwLock<State>,
    buffers: Arc<Buffers>,
    /// How far the disk is behind. Never held during I/O.
    durable: Mutex<Durable>,
    /// The slot files; held during their I/O. Taken before `durable`.
    small: Mutex<Small>,
    vote: Mutex<Option<Bytes>>,
    node: NodeId,
    jobs: Mailbox<Job>,
    chores: Mailbox<Chore>,
    /// The flusher knows that there is something to sync or to mark.
    dirty: AtomicBool,
    no_room: AtomicBool,
    poison: Mutex<Option<(io::ErrorKind, String)>>,
    poisoned: StopSource,
    gate: read::Gate,
    /// Held over a whole background sync. Taken before `durable`.
    syncing: Mutex<()>,
    notices: Notices,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Order: `base` ≤ first of the window ≤ `tail`.
#[derive(Debug)]
struct State {
    base: Tail,
    tail: Tail,
    /// Index of the group's very first entry, which Raft chooses; `None` while the log never had one.
    origin: Option<RaftIndex>,
    window: Window,
    sparse: SparseIndex,
    damage: Option<Damage>,
}

/// Order: `marked` ≤ `flushed` ≤ `written` ≤ tail.
#[derive(Debug)]
struct Durable {
    written: Tail,
    flushed: Tail,
    marked: Tail,
    /// Starts of segments with unsynced bytes.
    unsynced: Vec<u64>,
    /// Raised when the log is cut, so that a sync that began before does not move `flushed` past the cut.
    generation: u64,
}

#[derive(Debug)]
struct Small {
    vote: SlotFile,
    mark: SlotFile,
    base: SlotFile,
    base_saved: Tail,
}

impl Log {
    /// Opens or makes the log in `dir` and starts its threads (in the simulator: tasks of the current world).
    ///
    /// `from` is where the newest checkpoint stands; what is before it is not read.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        from: Option<Known>,
    ) -> Result<(Log, Recovered), OpenError> {
        let (log, recovered) = Log::open_idle(disk, dir, options, from)?;
        writer::start(&log.shared);
        flusher::start(&log.shared);
        Ok((log, recovered))
    }

    /// Opens without threads: nothing is written until a test steps the writer.
    pub(crate) fn open_idle(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        from: Option<Known>,
    ) -> Result<(Log, Recovered), OpenError> {
        let (shared, recovered) = open::open(disk, dir, options, from)?;
        let closer = Arc::new(Closer(shared.clone()));
        Ok((
            Log {
                shared,
                _closer: closer,
            },
            recovered,
        ))
    }

    /// Where the next entry goes.
    pub fn tail(&self) -> Tail {
        self.shared.state.read().tail
    }

    /// What the log begins after.
    pub fn base(&self) -> Tail {
        self.shared.state.read().base
    }

    /// Index of the first entry; the next one to come if the log is empty.
    pub fn first(&self) -> RaftIndex {
        self.shared.state.read().first()
    }

    /// Commit log offset of an entry of `length` bytes if it were appended now.
    pub fn place(&self, length: u64) -> CommitLogOffset {
        entry::place(self.tail().next_offset, length, self.segment_bytes())
    }

    /// Where the memory of entries comes from.
    pub fn buffers(&self) -> &Arc<Buffers> {
        &self.shared.buffers
    }

    /// Length of a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.shared.segments.segment_bytes
    }

    /// Random identity of this folder.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Written to the files, if not synced yet.
    pub fn written(&self) -> Tail {
        self.shared.durable.lock().written
    }

    /// Synced.
    pub fn flushed(&self) -> Tail {
        self.shared.durable.lock().flushed
    }

    /// Fires when a write or sync has failed: the process must end.
    pub fn poisoned(&self) -> Stop {
        self.shared.poisoned.listener()
    }

    /// Damage that keeps the log from being appended to.
    pub fn damage(&self) -> Option<Damage> {
        self.shared.state.read().damage.clone()
    }

    /// What may be appended with regard to the free space of the disk.
    pub fn room(&self) -> Room {
        if !self.shared.no_room.load(Ordering::Relaxed) {
            return Room::Plenty;
        }
        let size = self.segment_bytes();
        let left = size - self.tail().next_offset.get() % size;
        Room::StateOnly { left }
    }

    /// Adds entries. They are visible to readers when this returns; `done` is called once they are written, with
    /// `sync` once they are synced; calls complete in order.
    ///
    /// An entry that does not continue the log (offset, index, chain) fails this call, without poison, and the ones
    /// after it; those before it are in.
    pub fn append(&self, entries: Vec<Entry>, done: Done) {
        let mut state = self.shared.state.write();
        let mut failed = None;
        let mut taken = 0;
        for entry in &entries {
            if let Err(error) = state.admit(entry, self.segment_bytes()) {
                failed = Some(error);
                break;
            }
            taken += 1;
        }
        let mut entries = entries;
        entries.truncate(taken);
        // Under the lock, so that the writer sees entries in the order of the log.
        match failed {
            None => self.shared.jobs.push(Job::Append(entries, done)),
            Some(error) => {
                if taken > 0 {
                    self.shared.jobs.push(Job::Append(entries, Box::new(drop)));
                }
                self.shared.jobs.push(Job::Fail(error, done));
            }
        }
    }

    /// Makes `vote` the durable vote, after everything appended before.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.shared.jobs.push(Job::Vote(vote.to_vec(), done));
    }

    /// The last vote that was saved.
    pub fn vote(&self) -> Option<Bytes> {
        self.shared.vote.lock().clone()
    }

    /// Drops the entries after `last` (`None`: all since the base). Readers see it at once; `done` says that it is
    /// durable and that no write of a dropped entry is still under way. Only entries that are not committed may go.
    pub fn truncate_after(&self, last: Option<LogId>, done: Done) {
        let found = self.cut_point(last);
        match found {
            Ok(None) => self.shared.jobs.push(Job::Flush(done)),
            Ok(Some((tail, cut))) => {
                let mut state = self.shared.state.write();
                let next = tail.last.map_or(RaftIndex(0), |last| last.index.next());
                state.tail = tail;
                state.window.truncate(next);
                state.sparse.truncate(next.get());
                self.shared.jobs.push(Job::Truncate { tail, cut, done });
            }
            Err(error) => self.shared.jobs.push(Job::Fail(error, done)),
        }
    }

    /// The new tail, and where the first dropped entry is; `None` if there is nothing to drop.
    fn cut_point(&self, last: Option<LogId>) -> io::Result<Option<(Tail, u64)>> {
        let (base, tail) = {
            let state = self.shared.state.read();
            if let Some(damage) = &state.damage {
                return Err(damage.clone().into());
            }
            (state.base, state.tail)
        };
        let last = last.or(base.last);
        if last == tail.last {
            return Ok(None);
        }
        let kept = if last == base.last {
            base
        } else {
            let last = last.ok_or_else(|| invalid("no entry to keep"))?;
            let (header, hash) = self.shared.header(last.index)?;
            if header.id != last {
                return Err(invalid("truncate after an entry that is not in the log"));
            }
            Tail {
                last: Some(last),
                next_offset: header.end(),
                previous_hash: hash,
            }
        };
        let first_dropped = match kept.last {
            Some(last) => self.shared.header(last.index.next())?.0,
            None => self.shared.first_header()?,
        };
        Ok(Some((kept, first_dropped.offset.get())))
    }

    /// Lets the log begin after `upto`. Segments that lie wholly below are recycled or unlinked in the background.
    pub fn purge(&self, upto: LogId, done: Done) {
        let result = (|| {
            if self.base().last.is_some_and(|base| base.index >= upto.index) {
                return Ok(self.base());
            }
            let (header, hash) = self.shared.header(upto.index)?;
            if header.id != upto {
                return Err(invalid("purge up to an entry that is not in the log"));
            }
            let base = Tail {
                last: Some(upto),
                next_offset: header.end(),
                previous_hash: hash,
            };
            let mut state = self.shared.state.write();
            state.base = base;
            state.window.purge(upto.index.next());
            state.sparse.purge(upto.index.next().get());
            Ok(base)
        })();
        match result {
            Ok(base) => self.shared.chores.push(Chore::Purge(base, done)),
            Err(error) => done(Err(error)),
        }
    }

    /// Forgets everything: the log begins and ends after `base`, which a snapshot stands for.
    pub fn reset(&self, base: Tail, done: Done) {
        let mut state = self.shared.state.write();
        state.base = base;
        state.tail = base;
        state.window.truncate(RaftIndex(0));
        state.sparse.clear();
        state.damage = None;
        self.shared.jobs.push(Job::Reset(base, done));
    }

    /// Syncs what is written so far, and the flush mark.
    pub fn flush(&self, done: Done) {
        self.shared.jobs.push(Job::Flush(done));
    }

    /// Ends cleanly: everything written, synced and marked. Calls after it fail.
    pub fn close(&self, done: Done) {
        self.shared.jobs.push(Job::Close(done));
    }
}

impl State {
    /// Index of the first entry, or of the next one to come.
    fn first(&self) -> RaftIndex {
        match self.base.last {
            Some(last) => last.index.next(),
            None => self.origin.unwrap_or_default(),
        }
    }

    fn holds(&self, index: RaftIndex) -> bool {
        index >= self.first() && self.tail.last.is_some_and(|last| index <= last.index)
    }

    /// Checks that `entry` continues the log and makes it visible.
    fn admit(&mut self, entry: &Entry, segment_bytes: u64) -> io::Result<()> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone().into());
        }
        let length = entry.len() as u64;
        if length > segment_bytes {
            return Err(invalid("an entry is longer than a segment"));
        }
        if entry.offset() != entry::place(self.tail.next_offset, length, segment_bytes) {
            return Err(invalid("an entry is not at its place in the log"));
        }
        if entry.header().previous != self.tail.previous_hash {
            return Err(invalid("an entry does not continue the chain"));
        }
        if let Some(last) = self.tail.last
            && last.index.next() != entry.index()
        {
            return Err(invalid("an entry skips an index"));
        }
        if self.tail.last.is_none() {
            self.origin = Some(entry.index());
        }
        self.tail = Tail::after(entry);
        self.sparse
            .note(entry.index().get(), entry.offset().get(), segment_bytes);
        self.window.push(entry.clone());
        Ok(())
    }
}

impl Shared {
    /// Ends all writing for good. The first error is the one that counts.
    fn poison(&self, what: &str, error: &io::Error) {
        let mut poison = self.poison.lock();
        if poison.is_none() {
            tracing::error!(dir = %self.dir.display(), %error, "{what} failed: the log takes nothing any more");
            *poison = Some((error.kind(), format!("{what}: {error}")));
        }
        drop(poison);
        self.poisoned.stop();
    }

    /// Fails if the log is poisoned.
    fn check(&self) -> io::Result<()> {
        match &*self.poison.lock() {
            None => Ok(()),
            Some((kind, what)) => Err(io::Error::new(*kind, what.clone())),
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
