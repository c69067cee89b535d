//! Stored messages and queue entries, as handlers and drivers read them. The only file here that reads from mq-store.

use crate::ask::Minimum;
use crate::config::SEGMENT_MESSAGES_MIN;
use crate::keys::KeyIndex;
use crate::state::State;
use bytes::Bytes;
use mq_base::env::disk::Disk;
use mq_base::env::{clock, task};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordView, TagFilter};
use mq_store::{ConsumeQueues, CqEntry, Damage, Log, LogId, Lookup, QueueRef, RaftIndex, Room, SegmentInfo};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// A queue entry: where a record lies and how large it is.
pub type Slot = CqEntry;

/// Reads consume queues and the log of this member.
#[derive(Clone)]
pub struct Reader {
    queues: ConsumeQueues,
    log: Log,
    index: Option<KeyIndex>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The disk is fuller than the settings allow.
    full: Arc<AtomicBool>,
    /// Broker id that consumers of old messages are sent to; 0 is the leader.
    reader_of_old: Arc<AtomicI64>,
}

/// What a look into a queue found.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where it began.
    begin: QueueOffset,
    bytes: usize,
    /// A limit was reached.
    full: bool,
    /// Entries that match, in order, with their queue offsets.
    pub found: Vec<(QueueOffset, Slot)>,
    /// First offset not looked at.
    pub next: QueueOffset,
}

/// Bounds of one scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    /// Most messages; at least 1.
    pub count: usize,
    /// Most bytes; the first match is taken whatever its size.
    pub bytes: usize,
    /// Most entries looked at.
    pub scanned: usize,
}

/// Records of the slots asked for, or why there are none.
pub enum Records {
    /// All of them, straight from memory.
    Ready(Vec<Bytes>),
    /// At least one lies on disk only: read them in a task that may wait.
    Cold,
}

/// A record that is damaged is looked at so often while another member repairs it, ...
const DAMAGE_LOOKS: u32 = 20;
/// ... with this pause. Then the client is told to try again.
const DAMAGE_PAUSE: Duration = Duration::from_millis(100);

/// Entries read at a time.
const ENTRIES_PER_READ: usize = 64;

impl ScanLimits {
    fn stop(&self, from: QueueOffset, end: QueueOffset) -> QueueOffset {
        end.min(from.plus(self.scanned as u64))
    }

    fn chunk(&self, scan: &Scan, stop: QueueOffset) -> usize {
        stop.since(scan.next).min(ENTRIES_PER_READ as u64) as usize
    }
}

impl Scan {
    fn from(begin: QueueOffset) -> Self {
        Self {
            begin,
            bytes: 0,
            full: false,
            found: Vec::new(),
            next: begin,
        }
    }

    fn take(&mut self, entries: Vec<Slot>, filter: &TagFilter, limits: ScanLimits) {
        for entry in entries {
            if filter.matches(entry.tags_code) {
                self.bytes += entry.size as usize;
                if !self.found.is_empty() && self.bytes > limits.bytes {
                    self.full = true;
                    return;
                }
                self.found.push((self.next, entry));
            }
            self.next = self.next.plus(1);
            if self.found.len() >= limits.count {
                self.full = true;
                return;
            }
        }
    }
}

impl Reader {
    /// Reads from these; `dir` is the folder whose disk must not fill up.
    pub fn new(queues: ConsumeQueues, log: Log, index: Option<KeyIndex>, disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self {
            queues,
            log,
            index,
            disk,
            dir,
            full: Arc::default(),
            reader_of_old: Arc::default(),
        }
    }

    /// The queue files of a queue of the applied state.
    pub fn queue(&self, state: &State, topic: &str, queue: QueueId) -> Option<QueueRef> {
        let incarnation = state.topics.get(topic)?.incarnation;
        self.queues.find(topic, incarnation, queue)
    }

    /// Looks for matching entries in `from..end`, as far as memory holds them; `None` if already the first lies on disk
    /// only.
    pub fn scan(
        &self,
        queue: &QueueRef,
        from: QueueOffset,
        end: QueueOffset,
        filter: &TagFilter,
        limits: ScanLimits,
    ) -> Option<Scan> {
        let mut scan = Scan::from(from);
        let stop = limits.stop(from, end);
        while scan.next < stop && !scan.full {
            match self.queues.read_recent(queue, scan.next, limits.chunk(&scan, stop)) {
                Some(entries) if entries.is_empty() => break,
                Some(entries) => scan.take(entries, filter, limits),
                None if scan.next == from => return None,
                None => break,
            }
        }
        self.still_there(queue, scan)
    }

    /// As [`scan`](Self::scan), from disk where needed.
    pub async fn cold_scan(
        &self,
        queue: &QueueRef,
        from: QueueOffset,
        end: QueueOffset,
        filter: &TagFilter,
        limits: ScanLimits,
    ) -> io::Result<Scan> {
        let mut scan = Scan::from(from);
        let stop = limits.stop(from, end);
        while scan.next < stop && !scan.full {
            let entries = self
                .queues
                .read_async(queue, scan.next, limits.chunk(&scan, stop))
                .await?;
            if entries.is_empty() {
                break;
            }
            scan.take(entries, filter, limits);
        }
        Ok(self.still_there(queue, scan).unwrap_or_else(|| Scan::from(from)))
    }

    /// The store reads from the minimum where that has passed the offset asked for, so what was found is void then.
    fn still_there(&self, queue: &QueueRef, scan: Scan) -> Option<Scan> {
        (self.queues.bounds(queue).min <= scan.begin).then_some(scan)
    }

    /// One entry.
    pub async fn slot(&self, queue: &QueueRef, at: QueueOffset) -> io::Result<Option<Slot>> {
        let entries = self.queues.read_async(queue, at, 1).await?;
        Ok(entries.first().copied().filter(|_| self.queues.bounds(queue).min <= at))
    }

    /// Entries from `from` on, at most `max`.
    pub async fn slots(&self, queue: &QueueRef, from: QueueOffset, max: usize) -> io::Result<Vec<Slot>> {
        self.queues.read_async(queue, from, max).await
    }

    /// The records of slots, if all are in memory. What retention has deleted meanwhile is left out.
    pub fn records(&self, slots: &[(QueueOffset, Slot)]) -> io::Result<Records> {
        let mut records = Vec::with_capacity(slots.len());
        let mut cold = false;
        let mut damaged = None;
        let mut rest = slots.iter();
        let wanted = slots.iter().map(|(_, slot)| (slot.offset, slot.size as usize));
        self.log.bytes_at_each(wanted, |lookup| {
            let Some((offset, slot)) = rest.next() else {
                return false;
            };
            match lookup {
                Lookup::Ready(bytes) => match checked(bytes, *offset, slot) {
                    Ok(bytes) => records.push(bytes),
                    Err(error) => damaged = Some(error),
                },
                Lookup::Cold => cold = true,
                Lookup::Gone => {}
            }
            !cold && damaged.is_none()
        });
        match damaged {
            Some(error) => Err(error),
            None if cold => Ok(Records::Cold),
            None => Ok(Records::Ready(records)),
        }
    }

    /// The first records of slots, as far as the page cache holds them.
    pub fn cached_records(&self, slots: &[(QueueOffset, Slot)]) -> io::Result<Vec<Bytes>> {
        let wanted: Vec<_> = slots
            .iter()
            .map(|(_, slot)| (slot.offset, slot.size as usize))
            .collect();
        self.log
            .read_cached_each(&wanted)
            .into_iter()
            .zip(slots)
            .map(|(bytes, (offset, slot))| checked(bytes, *offset, slot))
            .collect()
    }

    /// The first records of slots, from disk where needed; at least one unless retention has deleted the first.
    pub async fn cold_records(&self, slots: &[(QueueOffset, Slot)]) -> io::Result<Vec<Bytes>> {
        let wanted: Vec<_> = slots
            .iter()
            .map(|(_, slot)| (slot.offset, slot.size as usize))
            .collect();
        let read = match patiently(|| self.log.read_bytes_cold_each(wanted.clone())).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        read.into_iter()
            .zip(slots)
            .map(|(bytes, (offset, slot))| checked(bytes, *offset, slot))
            .collect()
    }

    /// A record known to lie at `at`; `None` if it is not there any more.
    pub async fn record(&self, at: CommitLogOffset, size: u32) -> io::Result<Option<Bytes>> {
        match self.log.bytes_at(at, size as usize) {
            Lookup::Ready(bytes) => Ok(Some(bytes)),
            Lookup::Gone => Ok(None),
            Lookup::Cold => match patiently(|| self.log.read_bytes_cold(at, size as usize)).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                read => read.map(Some),
            },
        }
    }

    /// The record that starts at a commit log offset a client named, if one starts there.
    pub async fn record_at(&self, at: CommitLogOffset) -> io::Result<Option<Bytes>> {
        let log = self.log.clone();
        let read = task::spawn_blocking("read record", move || log.record_at(at))
            .join()
            .await;
        let Some(bytes) = read.map_err(io::Error::other)?? else {
            return Ok(None);
        };
        let fits = RecordView::parse(&bytes).is_ok_and(|record| record.physical_offset() == at);
        Ok(fits.then_some(bytes))
    }

    /// Commit log offsets of records that may have a key, newest first.
    pub async fn offsets_with_key(
        &self,
        topic: &str,
        key: &str,
        begin_ms: i64,
        end_ms: i64,
        max: usize,
    ) -> io::Result<Vec<CommitLogOffset>> {
        let Some(index) = self.index.clone() else {
            return Ok(Vec::new());
        };
        let (topic, key) = (topic.to_owned(), key.to_owned());
        blocking("query index", move || index.query(&topic, &key, begin_ms, end_ms, max)).await
    }

    /// Removes index files that point below the line only.
    pub async fn purge_index(&self, line: CommitLogOffset) -> io::Result<()> {
        let Some(index) = self.index.clone() else { return Ok(()) };
        blocking("purge index", move || index.purge(line)).await
    }

    /// Where the log ends.
    pub fn end(&self) -> CommitLogOffset {
        self.log.tail().next_offset
    }

    /// Segments of the log, oldest first.
    pub async fn segments(&self) -> io::Result<Vec<SegmentInfo>> {
        let log = self.log.clone();
        blocking("list segments", move || log.segments()).await
    }

    /// The entry before `first`, if the log still has it.
    pub async fn entry_before(&self, first: LogId) -> io::Result<Option<LogId>> {
        let Some(before) = first.index.0.checked_sub(1).map(RaftIndex) else {
            return Ok(None);
        };
        if before < self.log.first() {
            return Ok(None);
        }
        let entries = self.log.read_async(before..first.index, 1).await?;
        Ok(entries.first().map(|entry| entry.id()))
    }

    /// How full the disk of the log is, per cent.
    pub async fn disk_used_percent(&self) -> io::Result<u64> {
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let space = blocking("measure disk", move || disk.free_space(&dir)).await?;
        Ok(100
            - (space.free.min(space.total) * 100)
                .checked_div(space.total)
                .unwrap_or(100))
    }

    /// Whether messages may be stored: the disk has room, and was not found too full lately.
    pub fn has_room(&self) -> bool {
        !self.full.load(Ordering::Relaxed) && matches!(self.log.room(), Room::Plenty)
    }

    /// Notes whether the disk is too full.
    pub fn note_full(&self, full: bool) {
        if self.full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, "the disk of the log");
        }
    }

    /// Broker id that consumers of old messages are sent to.
    pub fn reader_of_old(&self) -> i64 {
        self.reader_of_old.load(Ordering::Relaxed)
    }

    /// Sends consumers of old messages there.
    pub fn set_reader_of_old(&self, broker_id: i64) {
        self.reader_of_old.store(broker_id, Ordering::Relaxed);
    }

    /// Longest message the log can hold, well below a segment: an entry lies in one segment.
    pub fn message_bytes_max(&self) -> usize {
        usize::try_from(self.log.segment_bytes() / SEGMENT_MESSAGES_MIN).unwrap_or(usize::MAX)
    }

    /// For each queue, given with its minimum and end, the first offset whose message lies at or above a commit log offset; queues whose minimum is that
    /// already are left out.
    pub async fn first_at_or_above(
        &self,
        queues: Vec<(QueueRef, Minimum, QueueOffset)>,
        line: CommitLogOffset,
    ) -> io::Result<Vec<Minimum>> {
        let files = self.queues.clone();
        blocking("find minimum offsets", move || {
            let mut raised = Vec::new();
            for (queue, least, next) in queues {
                let (mut low, mut high) = (least.min.get(), next.get());
                while low < high {
                    let middle = low + (high - low) / 2;
                    match files.entry_at(&queue, QueueOffset(middle))? {
                        Some(entry) if entry.offset >= line => high = middle,
                        _ => low = middle + 1,
                    }
                }
                if low > least.min.get() {
                    raised.push(Minimum {
                        min: QueueOffset(low),
                        ..least
                    });
                }
            }
            Ok(raised)
        })
        .await
    }

    /// First offset in `from..end` whose record was stored at or after `time_ms`; `end` if none.
    pub async fn first_stored_at_or_after(
        &self,
        queue: &QueueRef,
        from: QueueOffset,
        end: QueueOffset,
        time_ms: i64,
    ) -> io::Result<QueueOffset> {
        let (mut low, mut high) = (from.get(), end.get());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.stored_ms(queue, QueueOffset(middle)).await? {
                Some(stored) if stored >= time_ms => high = middle,
                _ => low = middle + 1,
            }
        }
        Ok(QueueOffset(low))
    }

    /// Store time of the message at a queue offset.
    pub async fn stored_ms(&self, queue: &QueueRef, at: QueueOffset) -> io::Result<Option<i64>> {
        let Some(slot) = self.slot(queue, at).await? else {
            return Ok(None);
        };
        let records = self.cold_records(&[(at, slot)]).await?;
        Ok(records
            .first()
            .and_then(|bytes| RecordView::parse(bytes).ok())
            .map(|record| record.store_timestamp()))
    }
}

/// Reads again while what is damaged is being repaired in the background: damaged bytes are never served.
async fn patiently<T, F: Future<Output = io::Result<T>>>(read: impl Fn() -> F) -> io::Result<T> {
    for _ in 1..DAMAGE_LOOKS {
        match read().await {
            Err(error) if Damage::of(&error).is_some() => clock::sleep(DAMAGE_PAUSE).await,
            done => return done,
        }
    }
    read().await
}

/// That the bytes are the record the entry means: its size, its place in the queue and in the log.
fn checked(bytes: Bytes, offset: QueueOffset, slot: &Slot) -> io::Result<Bytes> {
    let number = |at: usize| {
        bytes
            .get(at..at + 8)
            .map(|b| u64::from_be_bytes(b.try_into().unwrap_or_default()))
    };
    let size = bytes
        .get(..4)
        .map(|b| u32::from_be_bytes(b.try_into().unwrap_or_default()));
    if size == Some(slot.size) && number(20) == Some(offset.get()) && number(28) == Some(slot.offset.get()) {
        return Ok(bytes);
    }
    let text = format!(
        "no record of queue offset {offset} at commit log offset {}",
        slot.offset
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

async fn blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    task::spawn_blocking(name, work)
        .join()
        .await
        .map_err(|_| io::Error::other("the read was aborted"))?
}
