//! One entry of the Raft log, on disk and between members: a header of 64 bytes and a payload of items.
//!
//! All integers are big-endian. Checksums are CRC-32C (Castagnoli); `previous` is XXH3 (64 bit, seed 0) of the 64
//! header bytes of the entry before, 0 for the first entry of a log.
//!
//! ```text
//! header   0 u32 magic 0x46424531 "FBE1"     4 u32 length of header and payload
//!          8 u64 commit log offset of byte 0 of this header
//!         16 u64 index   24 u64 term   32 u64 node (the leader that made it)
//!         40 u64 previous   48 i64 log time, unix ms
//!         56 u8 kind (0 blank, 1 membership, 2 batch, 3 void)   57 u8 flags   58 u16 number of items
//!         60 u32 CRC-32C of bytes 0..60
//! payload items, one after the other:
//!          0 u32 length (12 + body)   4 u32 CRC-32C of bytes 8..length
//!          8 u8 kind (1 message, 2 effect, 3 opaque)   9 u8 flags   10 u16 reserved (0)   12 body
//! ```
//!
//! The body of a message item is a RocketMQ stored record; its physical offset is the offset of the entry plus the
//! position of the body in the entry. The header is covered by its own CRC and by the chain, every item by its CRC, so
//! a reader of one record checks 12 bytes more than the record and nothing else.
//!
//! Where an entry starts is a function of the log alone: where the one before ends, or at the start of the next
//! segment when it does not fit ([`place`]).

mod builder;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use mq_message::CommitLogOffset;

use crate::position::{LogId, NodeId, RaftIndex, Term, be_u16, be_u32, be_u64};

pub use builder::{EntryBuilder, ITEMS_MAX};

/// Length of an entry's header.
pub const HEADER_LEN: usize = 64;
/// Length of an item's header.
pub const ITEM_HEADER_LEN: usize = 12;
/// First four bytes of an entry, "FBE1".
pub const MAGIC: u32 = 0x4642_4531;

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// The first entry of a term.
    Blank = 0,
    /// A change of the group's members; one opaque item.
    Membership = 1,
    /// Messages and effects.
    Batch = 2,
    /// A batch that was refused at append because it did not follow its predecessor; no items.
    Void = 3,
}

impl EntryKind {
    fn decode(byte: u8) -> Option<EntryKind> {
        Some(match byte {
            0 => EntryKind::Blank,
            1 => EntryKind::Membership,
            2 => EntryKind::Batch,
            3 => EntryKind::Void,
            _ => return None,
        })
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ItemKind {
    /// A RocketMQ stored record.
    Message = 1,
    /// A change of the replicated state.
    Effect = 2,
    /// Bytes that only the Raft layer understands.
    Opaque = 3,
}

impl ItemKind {
    fn decode(byte: u8) -> Option<ItemKind> {
        Some(match byte {
            1 => ItemKind::Message,
            2 => ItemKind::Effect,
            3 => ItemKind::Opaque,
            _ => return None,
        })
    }
}

/// Why bytes are not an entry. Nothing was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Fewer bytes than the header or its length say.
    #[error("entry is cut: {have} of {need} bytes")]
    Cut {
        /// Bytes given.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// Not the magic number of an entry.
    #[error("no entry here: magic {0:#010x}")]
    Magic(u32),
    /// The header's CRC does not match.
    #[error("entry header is damaged: CRC mismatch")]
    HeaderCrc,
    /// A length, kind or count that no writer writes.
    #[error("entry is malformed: {0}")]
    Malformed(&'static str),
    /// An item's CRC does not match.
    #[error("item {item} is damaged: CRC mismatch")]
    ItemCrc {
        /// Number of the item within the entry.
        item: usize,
    },
}

/// The decoded header of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of header and payload.
    pub length: u32,
    /// Commit log offset of the header.
    pub offset: CommitLogOffset,
    /// Name of the entry.
    pub id: LogId,
    /// Hash of the header before, 0 for the first.
    pub previous: u64,
    /// The entry's clock, unix milliseconds; never decreases along the log.
    pub log_time_ms: i64,
    /// What the entry is for.
    pub kind: EntryKind,
    /// Reserved for the Raft layer; 0 today.
    pub flags: u8,
    /// Number of items in the payload.
    pub items: u16,
}

impl Header {
    /// First byte after the entry.
    pub fn end(&self) -> CommitLogOffset {
        CommitLogOffset::from(self.offset.get().saturating_add(u64::from(self.length)))
    }

    /// Writes the header with its CRC.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        out[4..8].copy_from_slice(&self.length.to_be_bytes());
        out[8..16].copy_from_slice(&self.offset.get().to_be_bytes());
        out[16..40].copy_from_slice(&self.id.encode());
        out[40..48].copy_from_slice(&self.previous.to_be_bytes());
        out[48..56].copy_from_slice(&self.log_time_ms.to_be_bytes());
        out[56] = self.kind as u8;
        out[57] = self.flags;
        out[58..60].copy_from_slice(&self.items.to_be_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads and checks a header; more bytes may follow.
    pub fn decode(bytes: &[u8]) -> Result<Header, EntryError> {
        if bytes.len() < HEADER_LEN {
            return Err(EntryError::Cut {
                have: bytes.len(),
                need: HEADER_LEN,
            });
        }
        let magic = be_u32(bytes, 0);
        if magic != MAGIC {
            return Err(EntryError::Magic(magic));
        }
        if crc32c::crc32c(&bytes[..60]) != be_u32(bytes, 60) {
            return Err(EntryError::HeaderCrc);
        }
        let length = be_u32(bytes, 4);
        if (length as usize) < HEADER_LEN {
            return Err(EntryError::Malformed("length below the header's"));
        }
        let offset = be_u64(bytes, 8);
        if offset.checked_add(u64::from(length)).is_none() {
            return Err(EntryError::Malformed("offset beyond the address space"));
        }
        Ok(Header {
            length,
            offset: CommitLogOffset::from(offset),
            id: LogId {
                index: RaftIndex(be_u64(bytes, 16)),
                term: Term(be_u64(bytes, 24)),
                node: NodeId(be_u64(bytes, 32)),
            },
            previous: be_u64(bytes, 40),
            log_time_ms: be_u64(bytes, 48) as i64,
            kind: EntryKind::decode(bytes[56]).ok_or(EntryError::Malformed("unknown kind"))?,
            flags: bytes[57],
            items: be_u16(bytes, 58),
        })
    }

    /// The value of `previous` in the entry after this one.
    pub fn hash(&self) -> u64 {
        header_hash(&self.encode())
    }
}

/// The value of `previous` in the entry after the one with these header bytes.
pub fn header_hash(header: &[u8; HEADER_LEN]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(header)
}

/// Where an entry of `length` bytes starts when the log ends at `next`: there, or at the next segment if it does not fit.
pub fn place(next: CommitLogOffset, length: u64, segment_bytes: u64) -> CommitLogOffset {
    let next = next.get();
    let room = segment_bytes - next % segment_bytes;
    CommitLogOffset::from(if length <= room { next } else { next + room })
}

/// An entry: its stored bytes, shared and never copied, and their decoded header.
#[derive(Clone)]
pub struct Entry {
    bytes: Bytes,
    header: Header,
}

impl Entry {
    /// Takes exactly one entry. Checks the header with its CRC and all lengths; item CRCs by [`Entry::verify_items`].
    pub fn parse(bytes: Bytes) -> Result<Entry, EntryError> {
        let header = Header::decode(&bytes)?;
        let need = header.length as usize;
        if bytes.len() < need {
            return Err(EntryError::Cut {
                have: bytes.len(),
                need,
            });
        }
        if bytes.len() > need {
            return Err(EntryError::Malformed("bytes after the entry"));
        }
        check_items(&bytes[HEADER_LEN..], header.items)?;
        Ok(Entry { bytes, header })
    }

    /// Takes the first entry of a run; `None` if `bytes` is empty. The rest stays in `bytes`.
    pub fn split_from(bytes: &mut Bytes) -> Result<Option<Entry>, EntryError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let need = Header::decode(bytes)?.length as usize;
        if bytes.len() < need {
            return Err(EntryError::Cut {
                have: bytes.len(),
                need,
            });
        }
        let entry = Entry::parse(bytes.slice(..need))?;
        *bytes = bytes.slice(need..);
        Ok(Some(entry))
    }

    /// Checks the CRC of every item.
    pub fn verify_items(&self) -> Result<(), EntryError> {
        let mut rest = &self.bytes[HEADER_LEN..];
        for item in 0..usize::from(self.header.items) {
            let (this, next) = rest.split_at(be_u32(rest, 0) as usize);
            if crc32c::crc32c(&this[8..]) != be_u32(this, 4) {
                return Err(EntryError::ItemCrc { item });
            }
            rest = next;
        }
        Ok(())
    }

    /// The stored bytes, header first.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The stored bytes alone.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The decoded header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Name of the entry.
    pub fn id(&self) -> LogId {
        self.header.id
    }

    /// Position in the log.
    pub fn index(&self) -> RaftIndex {
        self.header.id.index
    }

    /// Commit log offset of the header.
    pub fn offset(&self) -> CommitLogOffset {
        self.header.offset
    }

    /// First byte after the entry.
    pub fn end(&self) -> CommitLogOffset {
        self.header.end()
    }

    /// What the entry is for.
    pub fn kind(&self) -> EntryKind {
        self.header.kind
    }

    /// The entry's clock, unix milliseconds.
    pub fn log_time_ms(&self) -> i64 {
        self.header.log_time_ms
    }

    /// Bytes of header and payload; at least [`HEADER_LEN`].
    #[allow(clippy::len_without_is_empty)] // An entry is never empty.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Number of items.
    pub fn item_count(&self) -> usize {
        usize::from(self.header.items)
    }

    /// The value of `previous` in the entry after this one.
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.bytes[..HEADER_LEN])
    }

    /// The items in order. CRCs are not checked here.
    pub fn items(&self) -> Items<'_> {
        Items {
            entry: self,
            at: HEADER_LEN,
        }
    }

    /// Shares the body of one of this entry's items.
    pub fn body(&self, item: &Item<'_>) -> Bytes {
        self.bytes.slice_ref(item.body)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{}+{} {:?} items={}",
            self.id(),
            self.offset(),
            self.len(),
            self.kind(),
            self.item_count()
        )
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Entry {}

fn check_items(mut rest: &[u8], count: u16) -> Result<(), EntryError> {
    for _ in 0..count {
        if rest.len() < ITEM_HEADER_LEN {
            return Err(EntryError::Malformed("items end before their count"));
        }
        let length = be_u32(rest, 0) as usize;
        if length < ITEM_HEADER_LEN || length > rest.len() {
            return Err(EntryError::Malformed("item length"));
        }
        if ItemKind::decode(rest[8]).is_none() {
            return Err(EntryError::Malformed("unknown item kind"));
        }
        rest = &rest[length..];
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(EntryError::Malformed("bytes after the last item"))
    }
}

/// One item of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What it is.
    pub kind: ItemKind,
    /// Free for the layer that wrote the item; 0 today.
    pub flags: u8,
    /// Commit log offset of the body; of a message, its physical offset.
    pub offset: CommitLogOffset,
    /// The body.
    pub body: &'a [u8],
}

/// Iterator over the items of an entry.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    entry: &'a Entry,
    at: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let rest = self.entry.bytes.get(self.at..).filter(|r| !r.is_empty())?;
        let length = be_u32(rest, 0) as usize;
        let body_at = self.at + ITEM_HEADER_LEN;
        self.at += length;
        Some(Item {
            kind: ItemKind::decode(rest[8])?,
            flags: rest[9],
            offset: CommitLogOffset::from(self.entry.header.offset.get() + body_at as u64),
            body: &rest[ITEM_HEADER_LEN..length],
        })
    }
}
