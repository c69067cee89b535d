//! Compact bytes for effects and checkpoints: varints, flags, texts and blobs, each with a bound.
//!
//! Integers are LEB128 varints (signed ones zig-zag), texts and blobs carry their length first. A reader never panics and
//! never allocates more than the bytes it was given can fill.

/// Longest text: names, keys and values.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest blob: a producer's position.
pub const BLOB_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end too early.
    #[error("the bytes end too early")]
    Short,
    /// A field has an impossible value.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A kind or version this program does not know: written by a newer one.
    #[error("unknown {what} {value}")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// The value found.
        value: u64,
    },
}

/// Appends values.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What was written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// One byte.
    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// A truth value.
    pub fn flag(&mut self, value: bool) {
        self.byte(value.into());
    }

    /// An unsigned number.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// A signed number.
    pub fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A number that may be missing.
    pub fn option(&mut self, value: Option<u64>) {
        self.flag(value.is_some());
        if let Some(value) = value {
            self.varint(value);
        }
    }

    /// A text of at most [`TEXT_BYTES_MAX`].
    pub fn text(&mut self, value: &str) {
        debug_assert!(value.len() <= TEXT_BYTES_MAX);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// Bytes that may be missing.
    pub fn optional_blob(&mut self, value: Option<&[u8]>) {
        self.flag(value.is_some());
        if let Some(value) = value {
            self.blob(value);
        }
    }

    /// Bytes, at most [`BLOB_BYTES_MAX`].
    pub fn blob(&mut self, value: &[u8]) {
        debug_assert!(value.len() <= BLOB_BYTES_MAX);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }
}

/// Takes values off a slice.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes have not been taken.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(CodecError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.take(1)?[0])
    }

    /// A truth value.
    pub fn flag(&mut self) -> Result<bool, CodecError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Malformed("flag")),
        }
    }

    /// An unsigned number.
    pub fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(CodecError::Malformed("number"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CodecError::Malformed("number"))
    }

    /// An unsigned number of 32 bits.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.varint()?).map_err(|_| CodecError::Malformed("32-bit number"))
    }

    /// A signed number.
    pub fn signed(&mut self) -> Result<i64, CodecError> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A signed number of 32 bits.
    pub fn i32(&mut self) -> Result<i32, CodecError> {
        i32::try_from(self.signed()?).map_err(|_| CodecError::Malformed("32-bit number"))
    }

    /// A number that may be missing.
    pub fn option(&mut self) -> Result<Option<u64>, CodecError> {
        if self.flag()? {
            self.varint().map(Some)
        } else {
            Ok(None)
        }
    }

    /// How many things follow. Each takes at least one byte, so a lie is found before anything is allocated.
    pub fn count(&mut self) -> Result<usize, CodecError> {
        let count = self.varint()?;
        if count > self.rest.len() as u64 {
            return Err(CodecError::Short);
        }
        Ok(count as usize)
    }

    /// A text.
    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        let len = self.length(TEXT_BYTES_MAX)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| CodecError::Malformed("text"))
    }

    /// Bytes.
    pub fn blob(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.length(BLOB_BYTES_MAX)?;
        self.take(len)
    }

    /// Bytes that may be missing.
    pub fn optional_blob(&mut self) -> Result<Option<&'a [u8]>, CodecError> {
        if self.flag()? { self.blob().map(Some) } else { Ok(None) }
    }

    fn length(&mut self, max: usize) -> Result<usize, CodecError> {
        let len = self.varint()?;
        if len > max as u64 {
            return Err(CodecError::Malformed("length"));
        }
        Ok(len as usize)
    }
}
