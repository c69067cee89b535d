//! Reading: the window first, then the files, and from the files nothing that is not verified.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use mq_base::env::task;
use mq_message::CommitLogOffset;
use parking_lot::Mutex;

use super::{Damage, Depth, Found, Known, Log, Lookup, Scan, SegmentInfo, Shared, Tail, invalid};
use crate::entry::{Entry, HEADER_LEN, Header, ITEM_HEADER_LEN, ItemKind, header_hash};
use crate::position::{RaftIndex, be_u32};

/// Longest item that a cold read believes in; above it is damage. Entries are far shorter (`entry_bytes_max`).
const ITEM_LEN_MAX: usize = 256 << 20;
/// Most bytes of items that are read from the page cache with one call.
const CACHED_BYTES_MAX: u64 = 1 << 20;

impl Log {
    /// Entries of `range`, as many as fit in `max_bytes` but at least one if there is one. Blocks if they are not in
    /// the window. Entries that were purged are `NotFound`; a [`Damage`] is `InvalidData`.
    pub fn read(&self, range: Range<RaftIndex>, max_bytes: u64) -> io::Result<Vec<Entry>> {
        self.shared.notices.pass(self.shared.read(range, max_bytes))
    }

    /// The same if `range` starts in the window, else `None`. Never blocks.
    pub fn read_recent(&self, range: Range<RaftIndex>, max_bytes: u64) -> Option<Vec<Entry>> {
        let state = self.shared.state.read();
        if range.start < range.end && state.window.get(range.start).is_none() {
            return None;
        }
        let mut out = Vec::new();
        let mut left = max_bytes;
        let mut next = range.start;
        while next < range.end
            && let Some(entry) = state.window.get(next)
        {
            let length = entry.len() as u64;
            if !out.is_empty() && length > left {
                break;
            }
            left = left.saturating_sub(length);
            out.push(entry.clone());
            next = next.next();
        }
        Some(out)
    }

    /// The same as [`Log::read`] on a bounded number of blocking threads.
    pub async fn read_async(&self, range: Range<RaftIndex>, max_bytes: u64) -> io::Result<Vec<Entry>> {
        if let Some(entries) = self.read_recent(range.clone(), max_bytes) {
            return Ok(entries);
        }
        self.cold(move |shared| shared.notices.pass(shared.read(range, max_bytes)))
            .await
    }

    /// The body of an item, by what a consume queue says of it.
    pub fn bytes_at(&self, offset: CommitLogOffset, len: usize) -> Lookup {
        let state = self.shared.state.read();
        lookup(&state, offset, len)
    }

    /// The same for many items at once: one lock.
    pub fn bytes_at_each(
        &self,
        wanted: impl IntoIterator<Item = (CommitLogOffset, usize)>,
        mut take: impl FnMut(Lookup) -> bool,
    ) {
        let state = self.shared.state.read();
        for (offset, len) in wanted {
            if !take(lookup(&state, offset, len)) {
                return;
            }
        }
    }

    /// The bodies of the first of many items, verified, as far as the page cache holds them. Never waits for the disk.
    pub fn read_cached_each(&self, wanted: &[(CommitLogOffset, usize)]) -> Vec<Bytes> {
        self.shared.cached_items(wanted)
    }

    /// The body of an item from disk, its CRC verified, on a bounded number of blocking threads.
    pub async fn read_bytes_cold(&self, offset: CommitLogOffset, len: usize) -> io::Result<Bytes> {
        self.cold(move |shared| shared.notices.pass(shared.item(offset, Some(len)))?.ok_or_else(gone))
            .await
    }

    /// The same for many items with one hop to another thread; stops before the first that fails, unless it is the
    /// first of all.
    pub async fn read_bytes_cold_each(&self, wanted: Vec<(CommitLogOffset, usize)>) -> io::Result<Vec<Bytes>> {
        self.cold(move |shared| {
            let mut out = Vec::with_capacity(wanted.len());
            for (offset, len) in wanted {
                let item = shared.notices.pass(shared.item(offset, Some(len)));
                match item.and_then(|b| b.ok_or_else(gone)) {
                    Ok(bytes) => out.push(bytes),
                    Err(error) if out.is_empty() => return Err(error),
                    Err(_) => break,
                }
            }
            Ok(out)
        })
        .await
    }

    /// The stored record at an offset that a client named; `None` if there is none. Blocks.
    pub fn record_at(&self, offset: CommitLogOffset) -> io::Result<Option<Bytes>> {
        self.shared.item(offset, None)
    }

    /// Header of an entry; its items are not looked at. Blocks.
    pub fn header(&self, index: RaftIndex) -> io::Result<Header> {
        self.shared
            .notices
            .pass(self.shared.header(index))
            .map(|(header, _)| header)
    }

    /// Notes where an entry is: reads from it on need not walk there from the beginning of its segment. `None` unless the log
    /// holds exactly this entry. Blocks.
    pub fn note_entry(&self, known: &Known) -> Option<Header> {
        let id = known.tail.last?;
        let shared = &self.shared;
        let inside = |state: &super::State| {
            state.holds(id.index)
                && known.offset >= state.base.next_offset
                && known.tail.next_offset <= state.tail.next_offset
        };
        if !inside(&shared.state.read()) {
            return None;
        }
        // Damage is for who reads it.
        let (header, hash) = shared.header_at(known.offset.get(), Some(id.index)).ok()?;
        let mut state = shared.state.write();
        let same = header.id == id && after(&header, hash) == known.tail && inside(&state);
        same.then(|| {
            let size = shared.segments.segment_bytes;
            state.sparse.note(id.index.get(), known.offset.get(), size);
            header
        })
    }

    /// Whether this is a place of the log: then everything the log has before it is the same wherever that is so. Blocks.
    pub fn has_place(&self, place: &Tail) -> io::Result<bool> {
        let inside = {
            let state = self.shared.state.read();
            if state.base == *place || state.tail == *place {
                return Ok(true);
            }
            place.last.filter(|last| state.holds(last.index))
        };
        let Some(last) = inside else { return Ok(false) };
        let (header, hash) = self.shared.notices.pass(self.shared.header(last.index))?;
        Ok(after(&header, hash) == *place)
    }

    /// The segments that hold entries, oldest first. Blocks: reads one header of each.
    pub fn segments(&self) -> io::Result<Vec<SegmentInfo>> {
        let (base, tail) = {
            let state = self.shared.state.read();
            (state.base, state.tail)
        };
        let size = self.segment_bytes();
        let mut out = Vec::new();
        for start in self.shared.segments.bases() {
            if start + size <= base.next_offset.get() || start >= tail.next_offset.get() {
                continue;
            }
            let header = if start <= base.next_offset.get() {
                match Scan::new(&self.shared.segments, base).next(Depth::Headers)? {
                    Found::Entry(header, ..) => header,
                    Found::End(_) => continue,
                }
            } else if let Some(header) = self.shared.newest_at(start) {
                header
            } else {
                self.shared.notices.pass(self.shared.header_at(start, None))?.0
            };
            if header.offset.get() >= start + size {
                continue;
            }
            out.push(SegmentInfo {
                base: CommitLogOffset::from(start),
                first: header.id,
                offset: header.offset,
                log_time_ms: header.log_time_ms,
            });
        }
        Ok(out)
    }

    async fn cold<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let permit = self.shared.gate.enter().await;
        let shared = self.shared.clone();
        let task = task::spawn_blocking("log-read", move || {
            let _permit = permit;
            read(&shared)
        });
        task.await
            .unwrap_or_else(|_| Err(io::Error::other("the read was aborted")))
    }
}

fn lookup(state: &super::State, offset: CommitLogOffset, len: usize) -> Lookup {
    if let Some(bytes) = state.window.bytes_at(offset, len) {
        return Lookup::Ready(bytes);
    }
    let beyond = offset.get().saturating_add(len as u64) > state.tail.next_offset.get();
    if offset < state.base.next_offset || beyond {
        Lookup::Gone
    } else {
        Lookup::Cold
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "this part of the log is not retained")
}

impl Shared {
    fn read(&self, range: Range<RaftIndex>, max_bytes: u64) -> io::Result<Vec<Entry>> {
        let mut out: Vec<Entry> = Vec::new();
        let mut left = max_bytes;
        let mut next = range.start;
        loop {
            let stop = {
                let state = self.state.read();
                let Some(last) = state.tail.last else {
                    return Ok(out);
                };
                let end = range.end.min(last.index.next());
                if next >= end {
                    return Ok(out);
                }
                if next < state.first() {
                    return Err(gone());
                }
                while next < end
                    && let Some(entry) = state.window.get(next)
                {
                    let length = entry.len() as u64;
                    if !out.is_empty() && length > left {
                        return Ok(out);
                    }
                    left = left.saturating_sub(length);
                    out.push(entry.clone());
                    next = next.next();
                }
                if next >= end {
                    return Ok(out);
                }
                state.window.first().map_or(end, |first| first.min(end))
            };
            let full = self.read_files(next..stop, &mut left, &mut out)?;
            let Some(last) = out.last() else {
                return Ok(out);
            };
            if full {
                return Ok(out);
            }
            next = last.index().next();
        }
    }

    /// Reads entries from the files; whether `left` was used up.
    fn read_files(&self, range: Range<RaftIndex>, left: &mut u64, out: &mut Vec<Entry>) -> io::Result<bool> {
        let (first, hash) = self.header(range.start)?;
        let entry = self.entry_at(&first)?;
        let mut scan = Scan::new(&self.segments, after(&first, hash));
        let mut entry = Some(entry);
        let mut next = range.start;
        while next < range.end {
            let this = match entry.take() {
                Some(entry) => entry,
                None => match scan.next(Depth::Items)? {
                    Found::Entry(_, _, Some(entry)) => entry,
                    Found::Entry(header, _, None) => self.entry_at(&header)?,
                    Found::End(_) if self.is_cut_at(next) => return Ok(true),
                    Found::End(end) => {
                        return Err(Damage::new(end.offset.get(), Some(next), end.what).into());
                    }
                },
            };
            let length = this.len() as u64;
            if !out.is_empty() && length > *left {
                return Ok(true);
            }
            *left = left.saturating_sub(length);
            out.push(this);
            next = next.next();
        }
        Ok(false)
    }

    /// Whether the log was cut or purged at `index` while a read was under way.
    fn is_cut_at(&self, index: RaftIndex) -> bool {
        !self.state.read().holds(index)
    }

    /// Header of the entry at `offset` if the window has it: it may not be written yet.
    fn newest_at(&self, offset: u64) -> Option<Header> {
        let state = self.state.read();
        state
            .window
            .at(CommitLogOffset::from(offset))
            .map(|entry| *entry.header())
    }

    pub(super) fn entry_at(&self, header: &Header) -> io::Result<Entry> {
        let offset = header.offset.get();
        let index = header.id.index;
        let mut buf = vec![0; header.length as usize];
        let have = self.segments.read_at(&mut buf, offset)?;
        buf.truncate(have);
        Entry::parse(buf.into())
            .and_then(|entry| entry.verify_items().map(|()| entry))
            .map_err(|error| Damage::new(offset, Some(index), error).into())
    }

    /// Header and hash at a place where an entry must start.
    pub(super) fn header_at(&self, offset: u64, index: Option<RaftIndex>) -> io::Result<(Header, u64)> {
        let mut bytes = [0; HEADER_LEN];
        let have = self.segments.read_at(&mut bytes, offset)?;
        let header =
            Header::decode(&bytes[..have]).map_err(|error| io::Error::from(Damage::new(offset, index, error)))?;
        let named = header.offset.get() == offset && index.is_none_or(|i| i == header.id.index);
        if !named {
            return Err(Damage::new(offset, index, "another entry is here").into());
        }
        Ok((header, header_hash(&bytes)))
    }

    /// Header and hash of an entry of the log.
    pub(super) fn header(&self, index: RaftIndex) -> io::Result<(Header, u64)> {
        let (floor, base) = {
            let state = self.state.read();
            if let Some(entry) = state.window.get(index) {
                return Ok((*entry.header(), entry.hash()));
            }
            if !state.holds(index) {
                return Err(invalid("no such entry in the log"));
            }
            (state.sparse.floor(index.get()), state.base)
        };
        let mut passed = Vec::new();
        let mut scan = match floor {
            Some((at, offset)) => {
                let (header, hash) = self.header_at(offset, Some(RaftIndex(at)))?;
                if header.id.index == index {
                    return Ok((header, hash));
                }
                Scan::new(&self.segments, after(&header, hash))
            }
            None => Scan::new(&self.segments, base),
        };
        loop {
            match scan.next(Depth::Headers)? {
                Found::Entry(header, hash, _) => {
                    passed.push((header.id.index.get(), header.offset.get()));
                    if header.id.index >= index {
                        self.note(&passed, index);
                        return Ok((header, hash));
                    }
                }
                Found::End(end) => {
                    return Err(Damage::new(end.offset.get(), Some(index), end.what).into());
                }
            }
        }
    }

    /// Remembers where passed entries are, for the next cold read.
    fn note(&self, passed: &[(u64, u64)], upto: RaftIndex) {
        let mut state = self.state.write();
        let still = state.holds(upto)
            && passed
                .first()
                .is_some_and(|(first, _)| RaftIndex(*first) >= state.first());
        if still {
            for (index, offset) in passed {
                state.sparse.note(*index, *offset, self.segments.segment_bytes);
            }
        }
    }

    /// Header of the first entry of the log.
    pub(super) fn first_header(&self) -> io::Result<Header> {
        let base = {
            let state = self.state.read();
            if let Some(first) = state.window.first()
                && state.base.last.is_none_or(|b| b.index.next() == first)
                && let Some(entry) = state.window.get(first)
                && entry.header().previous == state.base.previous_hash
            {
                return Ok(*entry.header());
            }
            state.base
        };
        match Scan::new(&self.segments, base).next(Depth::Headers)? {
            Found::Entry(header, ..) => Ok(header),
            Found::End(end) => Err(Damage::new(end.offset.get(), None, end.what).into()),
        }
    }

    /// The body of the item at `offset`. With `len` it must be there and of that length; without, it may be missing.
    pub(super) fn item(&self, offset: CommitLogOffset, len: Option<usize>) -> io::Result<Option<Bytes>> {
        let at = offset.get();
        let tail = {
            let state = self.state.read();
            if at < state.base.next_offset.get() + ITEM_HEADER_LEN as u64 {
                return Ok(None);
            }
            if let Some(bytes) = len.and_then(|len| state.window.bytes_at(offset, len)) {
                return Ok(Some(bytes));
            }
            state.tail.next_offset.get()
        };
        let size = self.segments.segment_bytes;
        let start = at - ITEM_HEADER_LEN as u64;
        if at >= tail || start / size != at / size {
            return Ok(None);
        }
        let missing = |what: &str| match len {
            Some(_) => Err(Damage::new(at, None, what).into()),
            None => Ok(None),
        };
        let length = match len {
            Some(len) => len.saturating_add(ITEM_HEADER_LEN),
            None => match self.raw(start, ITEM_HEADER_LEN)? {
                Some(header) => be_u32(&header, 0) as usize,
                None => return missing("the file ends here"),
            },
        };
        let plausible = (ITEM_HEADER_LEN..=ITEM_LEN_MAX).contains(&length)
            && start + length as u64 <= tail
            && start % size + length as u64 <= size;
        if !plausible {
            return missing("no record of this length is here");
        }
        let Some(item) = self.raw(start, length)? else {
            return missing("the file ends here");
        };
        match check_item(&item) {
            Ok(()) => Ok(Some(item.slice(ITEM_HEADER_LEN..))),
            Err(what) => missing(what),
        }
    }

    /// The first items of those wanted, as far as the page cache holds them whole and sound. Items that lie one behind
    /// the other are read with one call.
    fn cached_items(&self, wanted: &[(CommitLogOffset, usize)]) -> Vec<Bytes> {
        let (first, tail) = {
            let state = self.state.read();
            (state.base.next_offset.get(), state.tail.next_offset.get())
        };
        let mut out = Vec::with_capacity(wanted.len());
        let mut rest = wanted;
        while let Some((start, end, count)) = self.run_of(rest) {
            if start < first || end > tail || end - start > ITEM_LEN_MAX as u64 {
                break;
            }
            let mut buf = vec![0; (end - start) as usize];
            if !matches!(self.segments.read_cached_at(&mut buf, start), Ok(true)) {
                break;
            }
            let (run, others) = rest.split_at(count);
            let mut bytes = Bytes::from(buf);
            for (_, len) in run {
                let item = bytes.split_to(len + ITEM_HEADER_LEN);
                if check_item(&item).is_err() {
                    return out;
                }
                out.push(item.slice(ITEM_HEADER_LEN..));
            }
            rest = others;
        }
        out
    }

    /// Start and end of the first items that lie one behind the other in one segment, and how many they are.
    fn run_of(&self, wanted: &[(CommitLogOffset, usize)]) -> Option<(u64, u64, usize)> {
        // A damaged queue entry may name any offset and length.
        let mut extents = wanted.iter().map_while(|(offset, len)| {
            let start = offset.get().checked_sub(ITEM_HEADER_LEN as u64)?;
            Some((start, offset.get().checked_add(*len as u64)?))
        });
        let (start, mut end) = extents.next()?;
        let segment_end = self.segments.base_of(start).saturating_add(self.segments.segment_bytes);
        let bound = start.saturating_add(CACHED_BYTES_MAX).min(segment_end);
        if end > bound {
            return None; // A large record, or none at all.
        }
        let mut count = 1;
        for (next, after) in extents {
            if next != end || after > bound {
                break;
            }
            end = after;
            count += 1;
        }
        Some((start, end, count))
    }

    /// Bytes of one segment or of the window; what is not written yet is only in the window.
    fn raw(&self, offset: u64, len: usize) -> io::Result<Option<Bytes>> {
        let place = CommitLogOffset::from(offset);
        if let Some(bytes) = self.state.read().window.bytes_at(place, len) {
            return Ok(Some(bytes));
        }
        let mut buf = vec![0; len];
        let have = self.segments.read_at(&mut buf, offset)?;
        Ok((have == len).then(|| buf.into()))
    }
}

/// That bytes are one whole message item.
fn check_item(item: &[u8]) -> Result<(), &'static str> {
    if be_u32(item, 0) as usize != item.len() || item[8] != ItemKind::Message as u8 {
        return Err("no record of this length is here");
    }
    if crc32c::crc32c(&item[8..]) != be_u32(item, 4) {
        return Err("the record's CRC does not match");
    }
    Ok(())
}

pub(super) fn after(header: &Header, hash: u64) -> Tail {
    Tail {
        last: Some(header.id),
        next_offset: header.end(),
        previous_hash: hash,
    }
}

/// Lets a bounded number of cold reads in; the others wait.
#[derive(Debug)]
pub(super) struct Gate(Arc<Mutex<Places>>);

#[derive(Debug)]
struct Places {
    free: usize,
    waiting: VecDeque<Waker>,
}

impl Gate {
    pub fn new(places: usize) -> Gate {
        Gate(Arc::new(Mutex::new(Places {
            free: places.max(1),
            waiting: VecDeque::new(),
        })))
    }

    pub async fn enter(&self) -> Permit {
        poll_fn(|cx| {
            let mut places = self.0.lock();
            if places.free == 0 {
                places.waiting.push_back(cx.waker().clone());
                return Poll::Pending;
            }
            places.free -= 1;
            Poll::Ready(Permit(self.0.clone()))
        })
        .await
    }
}

/// A place in the gate.
#[derive(Debug)]
pub(super) struct Permit(Arc<Mutex<Places>>);

impl Drop for Permit {
    fn drop(&mut self) {
        let mut places = self.0.lock();
        places.free += 1;
        // All of them: one that was cancelled while it waited would swallow the only wake-up.
        let waiting = std::mem::take(&mut places.waiting);
        drop(places);
        for waker in waiting {
            waker.wake();
        }
    }
}
