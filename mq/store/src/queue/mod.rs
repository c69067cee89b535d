//! Consume queues: for each message queue a file of 20-byte entries that say where its messages are in the commit log.
//!
//! ```text
//! consumequeue/<topic>[~<incarnation>]/<queue id>/<20 digits: queue offset of the first entry x 20>
//! entry  0 u64 commit log offset of the record   8 u32 its length   12 i64 tags code        (big-endian, RocketMQ's layout)
//! ```
//!
//! The entry of queue offset `n` is at byte `20 n` of the queue; 300,000 entries make a file. Files are sparse and grow
//! as they are written. The queue's identity includes the incarnation of its topic, so that a topic that is deleted and
//! made again never sees old entries; incarnation 0 has no suffix.
//!
//! They are derived from the log and never on the way of a message: an append goes to memory, a background thread
//! writes in batches, [`ConsumeQueues::sync_dirty`] makes it durable before a checkpoint. After a crash the bounds come
//! from the checkpoint ([`ConsumeQueues::restore`]); what the files hold beyond is overwritten by re-applying the log.
//!
//! An idle queue costs its handle in memory: no open file, no buffer.

mod files;
mod key;
mod path;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mq_base::env;
use mq_base::env::disk::Disk;
use mq_base::env::random::{HashMap, HashSet};
use mq_message::{CommitLogOffset, QueueId, QueueOffset};
use parking_lot::{Mutex, RwLock};

use crate::mailbox::Mailbox;
use crate::position::{be_u32, be_u64};
use files::Files;
use key::{Key, TopicKey};

/// Length of an entry.
pub const ENTRY_LEN: usize = 20;

/// How consume queues are kept.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// Entries of a file.
    pub entries_per_file: u64,
    /// How long appended entries may wait in memory for their write.
    pub write_interval: Duration,
    /// Bytes of entries in memory that do not wait for the interval.
    pub pending_bytes_max: usize,
    /// Entries of a busy queue that stay in memory after they are written, for the consumers that keep up.
    pub recent_entries: usize,
    /// Bytes of all entries kept that way.
    pub recent_bytes_max: usize,
    /// Files held open.
    pub open_files_max: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        QueueOptions {
            entries_per_file: 300_000,
            write_interval: Duration::from_millis(200),
            pending_bytes_max: 1 << 20,
            recent_entries: 32 * 1024,
            recent_bytes_max: 16 << 20,
            open_files_max: 512,
        }
    }
}

/// Where one message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CqEntry {
    /// Physical offset of the record.
    pub offset: CommitLogOffset,
    /// Length of the record.
    pub size: u32,
    /// Hash of the message's tag, or what the topic uses instead.
    pub tags_code: i64,
}

impl CqEntry {
    fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        out[0..8].copy_from_slice(&self.offset.get().to_be_bytes());
        out[8..12].copy_from_slice(&self.size.to_be_bytes());
        out[12..20].copy_from_slice(&self.tags_code.to_be_bytes());
        out
    }

    /// `None` for a hole: no record has length 0.
    fn decode(bytes: &[u8]) -> Option<CqEntry> {
        let size = be_u32(bytes, 8);
        (size != 0).then(|| CqEntry {
            offset: CommitLogOffset::from(be_u64(bytes, 0)),
            size,
            tags_code: be_u64(bytes, 12) as i64,
        })
    }
}

/// First retained and next to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// First retained queue offset.
    pub min: QueueOffset,
    /// Queue offset of the next message.
    pub max: QueueOffset,
}

/// A queue as a checkpoint knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueTableRow<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Which topic of that name.
    pub incarnation: u64,
    /// Queue within the topic.
    pub queue_id: QueueId,
    /// Its bounds after the checkpoint's last entry.
    pub bounds: Bounds,
}

/// One queue. Cheap to clone; keep it where the topic is known, so that an append needs no look-up by name.
#[derive(Clone)]
pub struct QueueRef(Arc<Queue>);

struct Queue {
    topic: Arc<Topic>,
    id: u32,
    body: Mutex<Body>,
}

/// Order: `min` ≤ `max`, `recent_from` ≤ `written` ≤ `max`.
#[derive(Default)]
struct Body {
    min: u64,
    max: u64,
    /// Entries below are in the files.
    written: u64,
    /// Queue offset of the first entry in `recent`.
    recent_from: u64,
    /// Encoded entries up to `max`; those from `written` on are nowhere else.
    recent: Vec<u8>,
    /// In the list of queues to be written.
    listed: bool,
    /// First file number that may still exist.
    first_file: u64,
}

struct Topic {
    /// Folder name, see [`path`].
    folder: Arc<str>,
    removed: AtomicBool,
    queues: Mutex<Vec<QueueRef>>,
}

/// All consume queues of a broker; clones share them. When the last one is dropped the background thread ends; what
/// was not written by then is re-applied from the log.
#[derive(Clone)]
pub struct ConsumeQueues {
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
    options: QueueOptions,
    files: Files,
    topics: RwLock<HashMap<TopicKey, Arc<Topic>>>,
    /// Queues with entries that are not written, or with files below their minimum.
    listed: Mutex<Vec<QueueRef>>,
    pending_bytes: AtomicUsize,
    recent_bytes: AtomicUsize,
    /// One write pass at a time.
    pass: Mutex<()>,
    wakes: Mailbox<()>,
    failing: AtomicBool,
}

impl ConsumeQueues {
    /// The queues below `dir`, which gets a folder `consumequeue`, and their background thread (in the simulator: a
    /// task). No queue is known until [`ConsumeQueues::restore`] or [`ConsumeQueues::queue`] names it.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: QueueOptions) -> io::Result<ConsumeQueues> {
        let queues = ConsumeQueues::open_idle(disk, dir, options)?;
        start(&queues.shared);
        Ok(queues)
    }

    fn open_idle(disk: Arc<dyn Disk>, dir: &Path, options: QueueOptions) -> io::Result<ConsumeQueues> {
        let root = dir.join("consumequeue");
        disk.create_dir_all(&root)?;
        crate::container::sync_parent(&*disk, dir)?;
        disk.sync_dir(dir)?;
        let files = Files::new(disk, root, &options);
        let shared = Arc::new(Shared {
            options,
            files,
            topics: RwLock::new(HashMap::default()),
            listed: Mutex::new(Vec::new()),
            pending_bytes: AtomicUsize::new(0),
            recent_bytes: AtomicUsize::new(0),
            pass: Mutex::new(()),
            wakes: Mailbox::new(),
            failing: AtomicBool::new(false),
        });
        Ok(ConsumeQueues {
            _closer: Arc::new(Closer(shared.clone())),
            shared,
        })
    }

    /// The queue with this identity, made empty if it is not known. A topic name that is no RocketMQ name is refused.
    pub fn queue(&self, topic: &str, incarnation: u64, queue_id: QueueId) -> io::Result<QueueRef> {
        if let Some(queue) = self.find(topic, incarnation, queue_id) {
            return Ok(queue);
        }
        let folder = path::folder(topic, incarnation)?;
        let owner = self
            .shared
            .topics
            .write()
            .entry((topic.into(), incarnation))
            .or_insert_with(|| {
                Arc::new(Topic {
                    folder: folder.into(),
                    removed: AtomicBool::new(false),
                    queues: Mutex::new(Vec::new()),
                })
            })
            .clone();
        let mut queues = owner.queues.lock();
        match queues.binary_search_by_key(&queue_id.get(), |queue| queue.0.id) {
            Ok(at) => Ok(queues[at].clone()),
            Err(at) => {
                let queue = QueueRef(Arc::new(Queue {
                    topic: owner.clone(),
                    id: queue_id.get(),
                    body: Mutex::new(Body::default()),
                }));
                queues.insert(at, queue.clone());
                Ok(queue)
            }
        }
    }

    /// The queue with this identity, if it is known.
    pub fn find(&self, topic: &str, incarnation: u64, queue_id: QueueId) -> Option<QueueRef> {
        let owner = self
            .shared
            .topics
            .read()
            .get(&(topic, incarnation) as &dyn Key)?
            .clone();
        let queues = owner.queues.lock();
        let at = queues.binary_search_by_key(&queue_id.get(), |queue| queue.0.id).ok()?;
        Some(queues[at].clone())
    }

    /// Adds the entry of queue offset `at`. One that is there already (re-applied log) is left alone.
    pub fn append(&self, queue: &QueueRef, at: QueueOffset, entry: CqEntry) {
        let mut body = queue.0.body.lock();
        let at = at.get();
        if at < body.max {
            return;
        }
        if at > body.max {
            // Cannot happen while queue offsets are dense; a hole reads as damage, not as another message.
            tracing::error!(queue = ?queue, at, expected = body.max, "queue offset skips");
            if body.written == body.max {
                self.shared.forget_recent(&mut body);
                body.written = at;
                body.recent_from = at;
            } else {
                let hole = (at - body.max).min(self.shared.options.entries_per_file) as usize;
                let len = body.recent.len() + hole * ENTRY_LEN;
                body.recent.resize(len, 0);
                self.shared.count(hole * ENTRY_LEN);
            }
            body.max = at;
        }
        body.recent.extend_from_slice(&entry.encode());
        body.max += 1;
        let list = !std::mem::replace(&mut body.listed, true);
        drop(body);
        if list {
            self.shared.listed.lock().push(queue.clone());
        }
        if self.shared.count(ENTRY_LEN) >= self.shared.options.pending_bytes_max {
            self.shared.wakes.nudge();
        }
    }

    /// First retained and next queue offset.
    pub fn bounds(&self, queue: &QueueRef) -> Bounds {
        let body = queue.0.body.lock();
        Bounds {
            min: QueueOffset::from(body.min),
            max: QueueOffset::from(body.max),
        }
    }

    /// Up to `max` entries from queue offset `from`, or from the minimum if that is greater, if memory holds them.
    pub fn read_recent(&self, queue: &QueueRef, from: QueueOffset, max: usize) -> Option<Vec<CqEntry>> {
        let body = queue.0.body.lock();
        body.recent(from.get(), max)
    }

    /// The same, from the files if need be: may block.
    pub fn read(&self, queue: &QueueRef, from: QueueOffset, max: usize) -> io::Result<Vec<CqEntry>> {
        let (from, count) = {
            let body = queue.0.body.lock();
            if let Some(entries) = body.recent(from.get(), max) {
                return Ok(entries);
            }
            let from = from.get().max(body.min);
            let count = (body.recent_from.min(body.max) - from).min(max as u64);
            (from, count as usize)
        };
        let mut entries = Vec::with_capacity(count);
        self.shared.files.read(queue, from, count, &mut entries)?;
        Ok(entries)
    }

    /// The same, with the files read on another thread.
    pub async fn read_async(&self, queue: &QueueRef, from: QueueOffset, max: usize) -> io::Result<Vec<CqEntry>> {
        if let Some(entries) = self.read_recent(queue, from, max) {
            return Ok(entries);
        }
        let (this, queue) = (self.clone(), queue.clone());
        env::task::spawn_blocking("queue-read", move || this.read(&queue, from, max))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the read was aborted")))
    }

    /// The entry of one queue offset, `None` outside the bounds. May block.
    pub fn entry_at(&self, queue: &QueueRef, at: QueueOffset) -> io::Result<Option<CqEntry>> {
        if at < self.bounds(queue).min {
            return Ok(None);
        }
        Ok(self.read(queue, at, 1)?.first().copied())
    }

    /// Raises the minimum after retention; files wholly below are removed in the background. Never lowers it.
    pub fn set_min(&self, queue: &QueueRef, min: QueueOffset) {
        let mut body = queue.0.body.lock();
        let min = min.get().min(body.max);
        if min <= body.min {
            return;
        }
        body.min = min;
        let files_below = min / self.shared.options.entries_per_file > body.first_file;
        let list = files_below && !std::mem::replace(&mut body.listed, true);
        drop(body);
        if list {
            self.shared.listed.lock().push(queue.clone());
        }
    }

    /// Makes exactly these queues known, with these bounds: at start from the checkpoint, after which the log is
    /// re-applied. With `drop_files` (a snapshot came from elsewhere) what the files hold is dropped first.
    pub fn restore<'a>(&self, table: impl IntoIterator<Item = QueueTableRow<'a>>, drop_files: bool) -> io::Result<()> {
        let _pass = self.shared.pass.lock();
        for topic in self.shared.topics.write().drain() {
            topic.1.removed.store(true, Ordering::Release);
        }
        self.shared.listed.lock().clear();
        self.shared.pending_bytes.store(0, Ordering::Relaxed);
        self.shared.recent_bytes.store(0, Ordering::Relaxed);
        self.shared.files.forget_all();
        if drop_files {
            self.shared.files.remove_all()?;
        }
        for row in table {
            let queue = self.queue(row.topic, row.incarnation, row.queue_id)?;
            let mut body = queue.0.body.lock();
            let max = row.bounds.max.get();
            *body = Body {
                min: row.bounds.min.get().min(max),
                max,
                written: max,
                recent_from: max,
                first_file: 0,
                ..Body::default()
            };
        }
        let known: HashSet<String> = self
            .shared
            .topics
            .read()
            .values()
            .map(|topic| topic.folder.to_string())
            .collect();
        self.shared.files.remove_strays(&known)
    }

    /// Removes all queues of a deleted topic and their files. Handles that are still held read as empty.
    pub fn remove(&self, topic: &str, incarnation: u64) -> io::Result<()> {
        let found = self.shared.topics.write().remove(&(topic, incarnation) as &dyn Key);
        let Some(topic) = found else { return Ok(()) };
        let _pass = self.shared.pass.lock();
        topic.removed.store(true, Ordering::Release);
        for queue in topic.queues.lock().drain(..) {
            let mut body = queue.0.body.lock();
            self.shared.forget_recent(&mut body);
            body.min = body.max;
            body.written = body.max;
            body.recent_from = body.max;
        }
        self.shared.files.remove_topic(&topic.folder)
    }

    /// Writes what waits in memory. Blocks.
    pub fn write_pending(&self) -> io::Result<()> {
        self.shared.write_pass()
    }

    /// Writes what waits in memory and makes all of it durable: before a checkpoint that covers it. Blocks. What cannot be
    /// written stays in memory and is tried again; after a failed sync ([`SyncFailed`](crate::SyncFailed)) all fail.
    pub fn sync_dirty(&self) -> io::Result<()> {
        self.shared.write_pass()?;
        self.shared.files.sync()
    }

    /// Number of known queues.
    pub fn len(&self) -> usize {
        let topics = self.shared.topics.read();
        topics.values().map(|t| t.queues.lock().len()).sum()
    }

    /// Whether no queue is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Body {
    /// Entries from memory; `None` if some are only in the files.
    fn recent(&self, from: u64, max: usize) -> Option<Vec<CqEntry>> {
        let from = from.max(self.min);
        if from >= self.max || max == 0 {
            return Some(Vec::new());
        }
        let first = usize::try_from(from.checked_sub(self.recent_from)?).ok()?;
        let entries = self.recent[first * ENTRY_LEN..].chunks_exact(ENTRY_LEN);
        Some(entries.take(max).map_while(CqEntry::decode).collect())
    }
}

impl Shared {
    /// Counts bytes in memory; returns how many are not written.
    fn count(&self, bytes: usize) -> usize {
        self.recent_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    fn forget_recent(&self, body: &mut Body) {
        let unwritten = (body.max - body.written) as usize * ENTRY_LEN;
        sub(&self.pending_bytes, unwritten.min(body.recent.len()));
        sub(&self.recent_bytes, body.recent.len());
        body.recent = Vec::new();
    }

    /// Writes every listed queue. One that fails stays listed, its entries in memory.
    fn write_pass(&self) -> io::Result<()> {
        let _pass = self.pass.lock();
        let listed = std::mem::take(&mut *self.listed.lock());
        let mut outcome = Ok(());
        for queue in listed {
            if queue.0.topic.removed.load(Ordering::Acquire) {
                continue;
            }
            if outcome.is_ok() {
                outcome = self.write_queue(&queue);
            }
            if outcome.is_err() {
                self.listed.lock().push(queue);
            }
        }
        match &outcome {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "consume queues cannot be written; entries wait in memory");
            }
            Err(_) => {}
        }
        outcome
    }

    fn write_queue(&self, queue: &QueueRef) -> io::Result<()> {
        let (from, bytes, files_below) = {
            let body = queue.0.body.lock();
            let skip = (body.written - body.recent_from) as usize * ENTRY_LEN;
            let per_file = self.options.entries_per_file;
            let below = body.first_file..body.min / per_file;
            (body.written, body.recent[skip..].to_vec(), below)
        };
        self.files.write(queue, from, &bytes)?;
        if !files_below.is_empty() {
            self.files.remove_below(queue, files_below.end)?;
        }
        let mut body = queue.0.body.lock();
        body.first_file = body.first_file.max(files_below.end);
        body.written = from + (bytes.len() / ENTRY_LEN) as u64;
        sub(&self.pending_bytes, bytes.len());
        body.listed = body.written < body.max;
        if body.listed {
            drop(body);
            self.listed.lock().push(queue.clone());
            return Ok(());
        }
        self.trim(&mut body);
        Ok(())
    }

    /// Keeps what consumers that keep up will ask for next, within the bounds.
    fn trim(&self, body: &mut Body) {
        let crowded = self.recent_bytes.load(Ordering::Relaxed) > self.options.recent_bytes_max;
        let keep = if crowded { 0 } else { self.options.recent_entries };
        let have = body.recent.len() / ENTRY_LEN;
        if have <= keep {
            return;
        }
        let drop = have - keep;
        sub(&self.recent_bytes, drop * ENTRY_LEN);
        body.recent_from += drop as u64;
        if keep == 0 {
            body.recent = Vec::new();
        } else {
            body.recent.drain(..drop * ENTRY_LEN);
        }
    }
}

fn sub(counter: &AtomicUsize, bytes: usize) {
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
        Some(now.saturating_sub(bytes))
    });
}

/// Starts the background thread, or its task in the simulator.
fn start(shared: &Arc<Shared>) {
    let shared = shared.clone();
    let interval = shared.options.write_interval;
    if env::is_simulated() {
        env::task::spawn("queue-writer", async move {
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
    env::thread::spawn("queue-writer", move || {
        loop {
            let closed = shared.wakes.take(Some(interval)).closed;
            let _ = shared.write_pass(); // Noted there; tried again next time.
            if closed {
                return;
            }
        }
    });
}

impl fmt::Debug for QueueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.topic.folder, self.0.id)
    }
}

impl fmt::Debug for ConsumeQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumeQueues({} topics)", self.shared.topics.read().len())
    }
}
