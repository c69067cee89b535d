//! The stored record: one message as it lies in the commit log and travels to consumers. All integers big-endian.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | size of the whole record |
//! | 4 | 4 | magic: [`MAGIC_V1`] or [`MAGIC_V2`] |
//! | 8 | 4 | CRC-32/IEEE of the body, sign bit cleared |
//! | 12 | 4 | queue id |
//! | 16 | 4 | user flag |
//! | 20 | 8 | queue offset |
//! | 28 | 8 | physical offset (commit log offset) |
//! | 36 | 4 | sysFlag ([`crate::sys_flag`]) |
//! | 40 | 8 | born timestamp, ms |
//! | 48 | 4 or 16, + 4 | born host: address, port |
//! | … | 8 | store timestamp, ms |
//! | … | 4 or 16, + 4 | store host: address, port |
//! | … | 4 | times reconsumed |
//! | … | 8 | prepared transaction offset (committed message: physical offset of its half message) |
//! | … | 4 + n | body |
//! | … | 1 + n (V1), 2 + n (V2) | topic, UTF-8 |
//! | … | 2 + n | properties, UTF-8 ([`crate::property`]) |
//!
//! V2 is used only for topics longer than 127 bytes. Several records in one body are simply concatenated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use bytes::{BufMut, BytesMut};

use crate::{CommitLogOffset, QueueId, QueueOffset, body_crc, sys_flag};

/// Magic of a record whose topic length is one byte.
pub const MAGIC_V1: u32 = 0xdaa3_20a7;
/// Magic of a record whose topic length is two bytes.
pub const MAGIC_V2: u32 = 0xdaa3_20ab;
/// Magic of the blank that ends a Java commit log file.
pub const MAGIC_BLANK: u32 = 0xcbd4_3194;
/// Topics longer than this many bytes need [`MAGIC_V2`].
pub const TOPIC_BYTES_MAX_V1: usize = 127;
/// Longest property text: its length is a Java `short`.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;
/// Size of a record with IPv4 hosts, V1, and empty body, topic and properties: the smallest one.
pub const RECORD_BYTES_MIN: usize = 91;

const QUEUE_OFFSET_AT: usize = 20;
const PHYSICAL_OFFSET_AT: usize = 28;
const SYS_FLAG_AT: usize = 36;
const BORN_HOST_AT: usize = 48;

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("record is cut short: {have} bytes of {need}")]
    Truncated {
        /// Bytes there are.
        have: usize,
        /// Bytes the record says or needs.
        need: usize,
    },
    /// Neither V1 nor V2.
    #[error("unknown record magic {0:#010x}")]
    Magic(u32),
    /// A length inside the record points outside it, or the parts do not add up to its size.
    #[error("record length of its {0} is inconsistent")]
    Length(&'static str),
    /// Topic or properties are not UTF-8.
    #[error("record {0} is not UTF-8")]
    Utf8(&'static str),
    /// A position is negative.
    #[error("record {0} is negative")]
    Negative(&'static str),
}

/// Why a record cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Topic longer than a Java `short` can say.
    #[error("topic of {0} bytes is too long")]
    Topic(usize),
    /// Property text longer than [`PROPERTIES_BYTES_MAX`].
    #[error("properties of {0} bytes are too long (at most 32767)")]
    Properties(usize),
    /// The record would exceed a Java `int`.
    #[error("body of {0} bytes is too long")]
    Body(usize),
}

/// What a record is made of. The IPv6 bits of `sys_flag` are set from the hosts; the body checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSpec<'a> {
    /// Topic it is stored under.
    pub topic: &'a str,
    /// Queue it is stored in.
    pub queue_id: QueueId,
    /// The user's own flag.
    pub flag: i32,
    /// [`crate::sys_flag`] bits.
    pub sys_flag: i32,
    /// When the producer made it, ms, by its own clock.
    pub born_timestamp: i64,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// The broker's client address.
    pub store_host: SocketAddr,
    /// When the broker stored it, ms.
    pub store_timestamp: i64,
    /// How often consumption was tried before.
    pub reconsume_times: i32,
    /// Physical offset of the half message of a committed transaction; else 0.
    pub prepared_transaction_offset: CommitLogOffset,
    /// The body as the producer sent it (maybe compressed).
    pub body: &'a [u8],
    /// Property text.
    pub properties: &'a str,
    /// Number in its queue.
    pub queue_offset: QueueOffset,
    /// Position in the commit log; usually patched later by [`set_physical_offset`].
    pub physical_offset: CommitLogOffset,
}

impl RecordSpec<'_> {
    /// Size of the encoded record in bytes.
    pub fn encoded_len(&self) -> usize {
        let v6 = |host: SocketAddr| if host.is_ipv6() { 12 } else { 0 };
        let v2 = usize::from(self.topic.len() > TOPIC_BYTES_MAX_V1);
        RECORD_BYTES_MIN
            + v6(self.born_host)
            + v6(self.store_host)
            + v2
            + self.body.len()
            + self.topic.len()
            + self.properties.len()
    }

    /// Appends the record to `out` and returns its size. Nothing is written on an error.
    pub fn encode_into(&self, out: &mut BytesMut) -> Result<usize, EncodeError> {
        let size = self.encoded_len();
        if self.topic.len() > i16::MAX as usize {
            return Err(EncodeError::Topic(self.topic.len()));
        }
        if self.properties.len() > PROPERTIES_BYTES_MAX {
            return Err(EncodeError::Properties(self.properties.len()));
        }
        if size > i32::MAX as usize {
            return Err(EncodeError::Body(self.body.len()));
        }
        let v2 = self.topic.len() > TOPIC_BYTES_MAX_V1;
        out.reserve(size);
        out.put_u32(size as u32);
        out.put_u32(if v2 { MAGIC_V2 } else { MAGIC_V1 });
        out.put_u32(body_crc(self.body));
        out.put_u32(self.queue_id.get());
        out.put_i32(self.flag);
        out.put_u64(self.queue_offset.get());
        out.put_u64(self.physical_offset.get());
        out.put_i32(self.sys_flag_with_hosts());
        out.put_i64(self.born_timestamp);
        put_host(out, self.born_host);
        out.put_i64(self.store_timestamp);
        put_host(out, self.store_host);
        out.put_i32(self.reconsume_times);
        out.put_u64(self.prepared_transaction_offset.get());
        out.put_u32(self.body.len() as u32);
        out.put_slice(self.body);
        if v2 {
            out.put_u16(self.topic.len() as u16);
        } else {
            out.put_u8(self.topic.len() as u8);
        }
        out.put_slice(self.topic.as_bytes());
        out.put_u16(self.properties.len() as u16);
        out.put_slice(self.properties.as_bytes());
        Ok(size)
    }

    fn sys_flag_with_hosts(&self) -> i32 {
        let bit = |host: SocketAddr, bit| if host.is_ipv6() { bit } else { 0 };
        (self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6))
            | bit(self.born_host, sys_flag::BORN_HOST_V6)
            | bit(self.store_host, sys_flag::STORE_HOST_V6)
    }
}

fn put_host(out: &mut BytesMut, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.put_slice(&ip.octets()),
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out.put_u32(u32::from(host.port()));
}

/// A stored record read in place. [`RecordView::parse`] has checked every length, so the accessors cannot fail.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    topic: &'a str,
    properties: &'a str,
    /// Positions within `bytes`.
    store_timestamp_at: u32,
    body_at: u32,
    body_len: u32,
    topic_at: u32,
}

impl<'a> RecordView<'a> {
    /// Reads the record that `bytes` begins with. Bytes after it are ignored.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let size = record_size(bytes)?;
        let bytes = &bytes[..size];
        let v2 = match u32_at(bytes, 4) {
            MAGIC_V1 => false,
            MAGIC_V2 => true,
            other => return Err(RecordError::Magic(other)),
        };
        let flag = u32_at(bytes, SYS_FLAG_AT) as i32;
        let host = |bit| if flag & bit == 0 { 8 } else { 20 };
        let store_timestamp_at = BORN_HOST_AT + host(sys_flag::BORN_HOST_V6);
        let reconsume_at = store_timestamp_at + 8 + host(sys_flag::STORE_HOST_V6);
        let mut rest = Rest {
            bytes,
            at: reconsume_at + 12,
        };
        let (body_at, body) = rest.part(4, "body")?;
        let (topic_at, topic) = rest.part(if v2 { 2 } else { 1 }, "topic")?;
        let (_, properties) = rest.part(2, "properties")?;
        if rest.at != size {
            return Err(RecordError::Length("end"));
        }
        let text = |bytes, what| std::str::from_utf8(bytes).map_err(|_| RecordError::Utf8(what));
        let view = RecordView {
            bytes,
            topic: text(topic, "topic")?,
            properties: text(properties, "properties")?,
            store_timestamp_at: store_timestamp_at as u32,
            body_at: body_at as u32,
            body_len: body.len() as u32,
            topic_at: topic_at as u32,
        };
        view.check_signs(reconsume_at + 4)?;
        Ok(view)
    }

    fn check_signs(&self, prepared_at: usize) -> Result<(), RecordError> {
        let negative = |at: usize| self.bytes[at] & 0x80 != 0;
        for (at, what) in [
            (12, "queue id"),
            (QUEUE_OFFSET_AT, "queue offset"),
            (PHYSICAL_OFFSET_AT, "physical offset"),
            (prepared_at, "prepared transaction offset"),
        ] {
            if negative(at) {
                return Err(RecordError::Negative(what));
            }
        }
        Ok(())
    }

    /// The whole record.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Size of the record in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has the V2 layout.
    pub fn is_v2(&self) -> bool {
        u32_at(self.bytes, 4) == MAGIC_V2
    }

    /// Checksum of the body as the record states it.
    pub fn body_crc(&self) -> u32 {
        u32_at(self.bytes, 8)
    }

    /// Whether the body has the stated checksum.
    pub fn body_is_intact(&self) -> bool {
        body_crc(self.body()) == self.body_crc()
    }

    /// Queue it is stored in.
    pub fn queue_id(&self) -> QueueId {
        QueueId(u32_at(self.bytes, 12))
    }

    /// The user's own flag.
    pub fn flag(&self) -> i32 {
        u32_at(self.bytes, 16) as i32
    }

    /// Number in its queue.
    pub fn queue_offset(&self) -> QueueOffset {
        QueueOffset(u64_at(self.bytes, QUEUE_OFFSET_AT))
    }

    /// Position in the commit log.
    pub fn physical_offset(&self) -> CommitLogOffset {
        CommitLogOffset(u64_at(self.bytes, PHYSICAL_OFFSET_AT))
    }

    /// [`crate::sys_flag`] bits.
    pub fn sys_flag(&self) -> i32 {
        u32_at(self.bytes, SYS_FLAG_AT) as i32
    }

    /// When the producer made it, ms.
    pub fn born_timestamp(&self) -> i64 {
        u64_at(self.bytes, 40) as i64
    }

    /// The producer's address.
    pub fn born_host(&self) -> SocketAddr {
        host_at(self.bytes, BORN_HOST_AT, self.store_timestamp_at as usize)
    }

    /// When the broker stored it, ms.
    pub fn store_timestamp(&self) -> i64 {
        u64_at(self.bytes, self.store_timestamp_at as usize) as i64
    }

    /// The address of the broker that stored it.
    pub fn store_host(&self) -> SocketAddr {
        host_at(self.bytes, self.store_timestamp_at as usize + 8, self.reconsume_at())
    }

    /// How often consumption was tried before.
    pub fn reconsume_times(&self) -> i32 {
        u32_at(self.bytes, self.reconsume_at()) as i32
    }

    /// Physical offset of the half message of a committed transaction; else 0.
    pub fn prepared_transaction_offset(&self) -> CommitLogOffset {
        CommitLogOffset(u64_at(self.bytes, self.reconsume_at() + 4))
    }

    /// The body as the producer sent it.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body_range()]
    }

    /// Where the body lies in [`Self::bytes`].
    pub fn body_range(&self) -> Range<usize> {
        let at = self.body_at as usize;
        at..at + self.body_len as usize
    }

    /// Topic it is stored under.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Where the topic lies in [`Self::bytes`].
    pub fn topic_range(&self) -> Range<usize> {
        let at = self.topic_at as usize;
        at..at + self.topic.len()
    }

    /// Property text.
    pub fn properties(&self) -> &'a str {
        self.properties
    }

    /// Where the property text lies in [`Self::bytes`].
    pub fn properties_range(&self) -> Range<usize> {
        self.bytes.len() - self.properties.len()..self.bytes.len()
    }

    /// Value of one property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        crate::property::get(self.properties, name)
    }

    /// The hash of its tag as the consume queue keeps it; 0 without a tag.
    pub fn tags_code(&self) -> i64 {
        self.property(crate::property::TAGS).map_or(0, crate::tags_code)
    }

    /// The same message as a specification, to store it again with changes.
    pub fn to_spec(&self) -> RecordSpec<'a> {
        RecordSpec {
            topic: self.topic(),
            queue_id: self.queue_id(),
            flag: self.flag(),
            sys_flag: self.sys_flag(),
            born_timestamp: self.born_timestamp(),
            born_host: self.born_host(),
            store_host: self.store_host(),
            store_timestamp: self.store_timestamp(),
            reconsume_times: self.reconsume_times(),
            prepared_transaction_offset: self.prepared_transaction_offset(),
            body: self.body(),
            properties: self.properties(),
            queue_offset: self.queue_offset(),
            physical_offset: self.physical_offset(),
        }
    }

    fn reconsume_at(&self) -> usize {
        self.body_at as usize - 4 - 12
    }
}

impl std::fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_spec().fmt(f)
    }
}

/// Size of the record that `bytes` begins with, after checking that all of it is there.
pub fn record_size(bytes: &[u8]) -> Result<usize, RecordError> {
    if bytes.len() < RECORD_BYTES_MIN {
        return Err(RecordError::Truncated {
            have: bytes.len(),
            need: RECORD_BYTES_MIN,
        });
    }
    let size = u32_at(bytes, 0) as usize;
    if !(RECORD_BYTES_MIN..=i32::MAX as usize).contains(&size) {
        return Err(RecordError::Length("whole"));
    }
    if size > bytes.len() {
        return Err(RecordError::Truncated {
            have: bytes.len(),
            need: size,
        });
    }
    Ok(size)
}

/// Walks concatenated records. After an error it ends.
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

/// Iterator of [`records`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = RecordView::parse(self.rest);
        self.rest = record.as_ref().map_or(&[], |r| &self.rest[r.size()..]);
        Some(record)
    }
}

/// Writes the queue offset into a record in place.
///
/// # Panics
/// If `record` is shorter than a record's head; it must be one that was parsed or encoded here.
pub fn set_queue_offset(record: &mut [u8], offset: QueueOffset) {
    record[QUEUE_OFFSET_AT..QUEUE_OFFSET_AT + 8].copy_from_slice(&offset.get().to_be_bytes());
}

/// Writes the physical offset into a record in place.
///
/// # Panics
/// If `record` is shorter than a record's head; it must be one that was parsed or encoded here.
pub fn set_physical_offset(record: &mut [u8], offset: CommitLogOffset) {
    record[PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8].copy_from_slice(&offset.get().to_be_bytes());
}

/// Writes the store timestamp (ms) into a record in place.
///
/// # Panics
/// If `record` is shorter than a record's head; it must be one that was parsed or encoded here.
pub fn set_store_timestamp(record: &mut [u8], ms: i64) {
    let v6 = u32_at(record, SYS_FLAG_AT) as i32 & sys_flag::BORN_HOST_V6 != 0;
    let at = BORN_HOST_AT + if v6 { 20 } else { 8 };
    record[at..at + 8].copy_from_slice(&ms.to_be_bytes());
}

/// The parts of variable length at the end of a record.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    /// A part behind a length of `width` bytes: its position and bytes.
    fn part(&mut self, width: usize, what: &'static str) -> Result<(usize, &'a [u8]), RecordError> {
        let start = self.at + width;
        let length = self.bytes.get(self.at..start).ok_or(RecordError::Length(what))?;
        // Java's lengths are signed.
        if length[0] & 0x80 != 0 {
            return Err(RecordError::Length(what));
        }
        let length = length.iter().fold(0usize, |n, &b| n << 8 | usize::from(b));
        let end = start.checked_add(length).ok_or(RecordError::Length(what))?;
        let part = self.bytes.get(start..end).ok_or(RecordError::Length(what))?;
        self.at = end;
        Ok((start, part))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn host_at(bytes: &[u8], at: usize, end: usize) -> SocketAddr {
    let port = u32_at(bytes, end - 4) as u16;
    let ip = match <[u8; 16]>::try_from(&bytes[at..end - 4]) {
        Ok(v6) => IpAddr::V6(Ipv6Addr::from(v6)),
        Err(_) => IpAddr::V4(Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])),
    };
    SocketAddr::new(ip, port)
}
