//! The fold over entries that recovery, cold reads, repair and the inspector share.
//!
//! From a known place in the chain the next entry is either right there or at the start of the next segment; it
//! belongs to the log only if its header names its own position, carries the next index and the hash of the header
//! before it. The first place where that fails is the end.

use std::fmt;
use std::io;

use bytes::Bytes;
use mq_base::env::bug::{self, Bug};
use mq_message::CommitLogOffset;

use super::Tail;
use super::segment::Segments;
use crate::entry::{Entry, EntryError, HEADER_LEN, Header, place};

/// How much of an entry is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Headers,
    /// Item CRCs too.
    Items,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Found {
    /// With [`Depth::Items`] the entry, verified.
    Entry(Header, u64, Option<Entry>),
    End(Break),
}

/// Why the chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    /// Where the next entry was looked for first.
    pub offset: CommitLogOffset,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Zeros, old bytes of another place, or no file: what follows a tail.
    Nothing,
    /// The next header of the chain, but not its items.
    Torn(EntryError),
    /// A header that names this place but does not follow.
    OtherChain,
    /// Almost a header.
    Garbage(EntryError),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Nothing => f.write_str("no entry"),
            What::Torn(error) | What::Garbage(error) => error.fmt(f),
            What::OtherChain => f.write_str("an entry that does not follow the one before"),
        }
    }
}

/// Reads on from a place in the chain.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    segments: &'a Segments,
    /// What was read so far ends here.
    pub at: Tail,
    block: Block,
}

impl<'a> Scan<'a> {
    pub fn new(segments: &'a Segments, at: Tail) -> Scan<'a> {
        Scan {
            segments,
            at,
            block: Block::default(),
        }
    }

    /// Moves over the next entry.
    pub fn next(&mut self, depth: Depth) -> io::Result<Found> {
        let here = self.at.next_offset.get();
        let size = self.segments.segment_bytes;
        let room = size - here % size;
        let mut ends = What::Nothing;
        let candidates = [(room >= HEADER_LEN as u64).then_some(here), Some(here + room)];
        for (nth, candidate) in candidates.into_iter().enumerate() {
            let Some(offset) = candidate else { continue };
            if nth == 1 && room == size {
                break; // The log ends at a segment start: the next segment start is one too far.
            }
            match self.try_at(offset, depth)? {
                Ok((header, hash, entry)) => {
                    self.at = Tail {
                        last: Some(header.id),
                        next_offset: CommitLogOffset(offset + u64::from(header.length)),
                        previous_hash: hash,
                    };
                    return Ok(Found::Entry(header, hash, entry));
                }
                Err(what) if ends == What::Nothing => ends = what,
                Err(_) => {}
            }
        }
        Ok(Found::End(Break {
            offset: self.at.next_offset,
            what: ends,
        }))
    }

    #[allow(clippy::type_complexity)]
    fn try_at(&mut self, offset: u64, depth: Depth) -> io::Result<Result<(Header, u64, Option<Entry>), What>> {
        let Some(bytes) = self.block.read(self.segments, offset, HEADER_LEN)? else {
            return Ok(Err(What::Nothing));
        };
        if bytes.iter().all(|b| *b == 0) {
            return Ok(Err(What::Nothing));
        }
        let header = match Header::decode(&bytes) {
            Ok(header) => header,
            // Any old bytes: a recycled segment is full of them.
            Err(EntryError::Magic(_)) => return Ok(Err(What::Nothing)),
            Err(error) => return Ok(Err(What::Garbage(error))),
        };
        let stale_is_fine = bug::is_back(Bug::StaleTail);
        if header.offset.get() != offset && !stale_is_fine {
            return Ok(Err(What::Nothing));
        }
        if !self.follows(&header) && !stale_is_fine {
            return Ok(Err(What::OtherChain));
        }
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
        if depth == Depth::Headers {
            return Ok(Ok((header, hash, None)));
        }
        let whole = self.block.read(self.segments, offset, header.length as usize)?;
        let Some(whole) = whole else {
            return Ok(Err(What::Nothing));
        };
        let verified = Entry::parse(whole).and_then(|e| e.verify_items().map(|()| e));
        Ok(match verified {
            Ok(entry) => Ok((header, hash, Some(entry))),
            Err(error) => Err(What::Torn(error)),
        })
    }

    fn follows(&self, header: &Header) -> bool {
        let index_follows = self.at.last.is_none_or(|last| last.index.next() == header.id.index);
        let size = self.segments.segment_bytes;
        index_follows
            && header.previous == self.at.previous_hash
            && u64::from(header.length) <= size
            && place(self.at.next_offset, u64::from(header.length), size) == header.offset
    }
}

/// Reads ahead when entries are small, so that a scan costs one call per block and not one per entry.
#[derive(Debug, Default)]
struct Block {
    offset: u64,
    bytes: Bytes,
}

const BLOCK_LEN: usize = 64 * 1024;

impl Block {
    /// `len` bytes at `offset`, which lie in one segment; `None` if the file ends before.
    fn read(&mut self, segments: &Segments, offset: u64, len: usize) -> io::Result<Option<Bytes>> {
        if let Some(bytes) = self.cached(offset, len) {
            return Ok(Some(bytes));
        }
        // A jump far over the block means large entries: reading ahead would be wasted on their payload.
        let near = offset < self.offset.saturating_add(2 * BLOCK_LEN as u64);
        let want = if near { len.max(BLOCK_LEN) } else { len };
        let mut buf = vec![0; want];
        let have = segments.read_at(&mut buf, offset)?;
        buf.truncate(have);
        self.offset = offset;
        self.bytes = buf.into();
        Ok(self.cached(offset, len))
    }

    fn cached(&self, offset: u64, len: usize) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}
