//! An entry in the making: items first, position and checksums last.

use std::fmt;

use bytes::{BufMut, BytesMut};
use mq_message::CommitLogOffset;

use super::{Entry, EntryKind, HEADER_LEN, Header, ITEM_HEADER_LEN, ItemKind};
use crate::position::{LogId, be_u32};

/// Most items of one entry: their count is 16 bits wide.
pub const ITEMS_MAX: usize = u16::MAX as usize;

/// Position of the physical offset in a stored record.
const PHYSICAL_OFFSET_AT: usize = 28;

/// Collects items. The position in the log, the chain and the checksums are set by [`EntryBuilder::finish`], when the
/// order of entries is final.
pub struct EntryBuilder {
    buf: BytesMut,
    items: usize,
}

impl EntryBuilder {
    /// Room for `capacity` bytes of items before the buffer grows.
    pub fn new(capacity: usize) -> EntryBuilder {
        EntryBuilder::within(BytesMut::with_capacity(HEADER_LEN + capacity))
    }

    /// The same in an empty buffer.
    pub fn within(mut buf: BytesMut) -> EntryBuilder {
        debug_assert!(buf.is_empty());
        buf.put_bytes(0, HEADER_LEN);
        EntryBuilder { buf, items: 0 }
    }

    /// Adds a stored record; its physical offset is set by [`EntryBuilder::finish`]. Returns the item's number.
    ///
    /// # Panics
    /// If the record is shorter than the fixed part that holds its offset, or the entry [is full](Self::is_full).
    pub fn push_message(&mut self, record: &[u8]) -> usize {
        assert!(
            record.len() >= PHYSICAL_OFFSET_AT + 8,
            "a stored record is at least 36 bytes long"
        );
        self.push(ItemKind::Message, record)
    }

    /// Adds a change of the replicated state. Returns the item's number.
    ///
    /// # Panics
    /// If the entry [is full](Self::is_full).
    pub fn push_effect(&mut self, effect: &[u8]) -> usize {
        self.push(ItemKind::Effect, effect)
    }

    /// Adds bytes of the Raft layer. Returns the item's number.
    ///
    /// # Panics
    /// If the entry [is full](Self::is_full).
    pub fn push_opaque(&mut self, bytes: &[u8]) -> usize {
        self.push(ItemKind::Opaque, bytes)
    }

    fn push(&mut self, kind: ItemKind, body: &[u8]) -> usize {
        let length = ITEM_HEADER_LEN + body.len();
        assert!(!self.is_full(), "the entry is full");
        assert!(
            self.buf.len() + length <= u32::MAX as usize,
            "an entry is shorter than 4 GiB"
        );
        self.buf.put_u32(length as u32);
        self.buf.put_u32(0);
        self.buf.put_u8(kind as u8);
        self.buf.put_u8(0);
        self.buf.put_u16(0);
        self.buf.put_slice(body);
        self.items += 1;
        self.items - 1
    }

    /// Bytes of the entry so far, header included.
    #[allow(clippy::len_without_is_empty)] // See `item_count`.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Items so far.
    pub fn item_count(&self) -> usize {
        self.items
    }

    /// Whether no further item fits: [`ITEMS_MAX`].
    pub fn is_full(&self) -> bool {
        self.items == ITEMS_MAX
    }

    /// Drops the items from number `items` on; `bytes` is the [`EntryBuilder::len`] of that moment.
    pub fn rewind(&mut self, bytes: usize, items: usize) {
        debug_assert!(bytes >= HEADER_LEN && items <= self.items);
        self.buf.truncate(bytes);
        self.items = items;
    }

    /// Sets the physical offset of each message, the checksums and the header.
    pub fn finish(
        mut self,
        id: LogId,
        offset: CommitLogOffset,
        previous: u64,
        log_time_ms: i64,
        kind: EntryKind,
    ) -> Entry {
        let mut at = HEADER_LEN;
        while at < self.buf.len() {
            let length = be_u32(&self.buf, at) as usize;
            let item = &mut self.buf[at..at + length];
            if item[8] == ItemKind::Message as u8 {
                let physical = offset.get() + (at + ITEM_HEADER_LEN) as u64;
                let field = ITEM_HEADER_LEN + PHYSICAL_OFFSET_AT;
                item[field..field + 8].copy_from_slice(&physical.to_be_bytes());
            }
            let crc = crc32c::crc32c(&item[8..]);
            item[4..8].copy_from_slice(&crc.to_be_bytes());
            at += length;
        }
        let header = Header {
            length: self.buf.len() as u32,
            offset,
            id,
            previous,
            log_time_ms,
            kind,
            flags: 0,
            items: self.items as u16,
        };
        self.buf[..HEADER_LEN].copy_from_slice(&header.encode());
        Entry {
            bytes: self.buf.freeze(),
            header,
        }
    }
}

impl fmt::Debug for EntryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryBuilder({} items, {} bytes)", self.items, self.buf.len())
    }
}
