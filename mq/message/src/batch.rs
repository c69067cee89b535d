//! The body of a batch send (request 320): items laid end to end. All integers big-endian.
//!
//! `u32 total (counts itself) | u32 magic 0 | u32 body CRC 0 | i32 flag | u32 n, body | u16 n, properties`

use bytes::{BufMut, BytesMut};

/// Bytes of an item without body and properties.
pub const ITEM_BYTES_MIN: usize = 22;

/// One message of a batch. Topic, queue, born time and sysFlag are those of the request header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// The user's own flag.
    pub flag: i32,
    /// The body; never compressed in a batch.
    pub body: &'a [u8],
    /// Property text.
    pub properties: &'a str,
}

/// Why a batch body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Item `0` (counted from 0) does not lie within the body, or its lengths do not add up.
    #[error("batch item {0} has inconsistent lengths")]
    Length(usize),
    /// The properties of an item are not UTF-8.
    #[error("properties of batch item {0} are not UTF-8")]
    Utf8(usize),
    /// No item at all.
    #[error("empty batch")]
    Empty,
    /// More items than allowed.
    #[error("more than {0} messages in a batch")]
    TooMany(usize),
}

impl Item<'_> {
    /// Size of the encoded item in bytes.
    pub fn encoded_len(&self) -> usize {
        ITEM_BYTES_MIN + self.body.len() + self.properties.len()
    }

    /// Appends the item.
    ///
    /// # Errors
    /// Properties longer than 32767 bytes or a body beyond a Java `int`.
    pub fn encode_into(&self, out: &mut BytesMut) -> Result<(), crate::record::EncodeError> {
        use crate::record::{EncodeError, PROPERTIES_BYTES_MAX};
        if self.properties.len() > PROPERTIES_BYTES_MAX {
            return Err(EncodeError::Properties(self.properties.len()));
        }
        let total = self.encoded_len();
        if total > i32::MAX as usize {
            return Err(EncodeError::Body(self.body.len()));
        }
        out.reserve(total);
        out.put_u32(total as u32);
        out.put_u64(0);
        out.put_i32(self.flag);
        out.put_u32(self.body.len() as u32);
        out.put_slice(self.body);
        out.put_u16(self.properties.len() as u16);
        out.put_slice(self.properties.as_bytes());
        Ok(())
    }
}

/// Reads a batch body item by item; ends after the first error.
pub fn items(body: &[u8]) -> Items<'_> {
    Items { rest: body, index: 0 }
}

/// Counts the items of a batch body after checking all of it.
pub fn count(body: &[u8], items_max: usize) -> Result<usize, BatchError> {
    let mut count = 0;
    for item in items(body) {
        item?;
        count += 1;
        if count > items_max {
            return Err(BatchError::TooMany(items_max));
        }
    }
    if count == 0 { Err(BatchError::Empty) } else { Ok(count) }
}

/// Iterator of [`items`].
#[derive(Debug, Clone)]
pub struct Items<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> Items<'a> {
    fn read(&self) -> Result<(Item<'a>, usize), BatchError> {
        let wrong = BatchError::Length(self.index);
        let head = self.rest.get(..20).ok_or(wrong)?;
        let int = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let total = int(0) as usize;
        let body_len = int(16) as usize;
        let item = self.rest.get(..total).ok_or(wrong)?;
        let body_end = 20usize.checked_add(body_len).ok_or(wrong)?;
        let body = item.get(20..body_end).ok_or(wrong)?;
        let length = item.get(body_end..body_end + 2).ok_or(wrong)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let properties = &item[body_end + 2..];
        if properties.len() != length {
            return Err(wrong);
        }
        let properties = std::str::from_utf8(properties).map_err(|_| BatchError::Utf8(self.index))?;
        Ok((
            Item {
                flag: int(12) as i32,
                body,
                properties,
            },
            total,
        ))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        self.rest = read.as_ref().map_or(&[], |(_, total)| &self.rest[*total..]);
        self.index += 1;
        Some(read.map(|(item, _)| item))
    }
}
