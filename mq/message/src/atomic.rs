//! Wire layout of the atomic batch: messages for many queues of one group, consumer offsets and an opaque position,
//! applied whole or not at all, under a producer's epoch and sequence.
//!
//! These are bodies of requests of our own (RocketMQ has none). All integers big-endian; the first byte is the version.
//!
//! ```text
//! open request   u8 version | str producer id
//! open answer    u8 version | u64 epoch | u8 has_last [u64 last sequence | opt position]
//! batch request  u8 version | str producer id | u64 epoch | u64 sequence | opt position
//!                | u16 n, messages: str topic | u32 queue id | i32 flag | i32 sysFlag | i64 born ms | str properties | blob body
//!                | u16 n, offsets:  str group | str topic | u32 queue id | u64 offset
//! batch answer   u8 version | u8 duplicate | u64 base commit log offset | u16 n, queue offsets: u64
//! str = u16 length, UTF-8     blob = u32 length, bytes     opt = u8 0, or u8 1 and a blob
//! ```

use bytes::{BufMut, BytesMut};

use crate::{CommitLogOffset, QueueId, QueueOffset};

/// Version of these layouts.
pub const VERSION: u8 = 1;
/// Longest producer id, bytes.
pub const PRODUCER_ID_BYTES_MAX: usize = 255;
/// Longest opaque position, bytes.
pub const POSITION_BYTES_MAX: usize = 64 * 1024;
/// Most messages, and most offsets, in one batch.
pub const ITEMS_MAX: usize = u16::MAX as usize;

/// Why such a body cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AtomicError {
    /// The body ends before this field does.
    #[error("atomic batch is cut short at its {0}")]
    Truncated(&'static str),
    /// Bytes follow the last field.
    #[error("atomic batch has trailing bytes")]
    Trailing,
    /// Written by another version.
    #[error("atomic batch has unknown version {0}")]
    Version(u8),
    /// A text is not UTF-8, or a flag byte is neither 0 nor 1.
    #[error("atomic batch has a malformed {0}")]
    Malformed(&'static str),
    /// A part exceeds its limit.
    #[error("atomic batch has a too long {0}")]
    TooLong(&'static str),
}

/// Opens a producer: raises its epoch, so that an older holder of the id is refused from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenProducer<'a> {
    /// Name of the producer, chosen by its user.
    pub producer_id: &'a str,
}

/// Answer to [`OpenProducer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerOpened {
    /// Epoch to send with.
    pub epoch: u64,
    /// What was applied last under this id.
    pub last: Option<LastApplied>,
}

/// Where a producer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastApplied {
    /// Sequence of the last applied batch.
    pub sequence: u64,
    /// Position it carried; the last one that a batch did carry.
    pub position: Option<Vec<u8>>,
}

/// One message of an atomic batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Topic; must exist on the group.
    pub topic: &'a str,
    /// Queue of the topic.
    pub queue_id: QueueId,
    /// The user's own flag.
    pub flag: i32,
    /// [`crate::sys_flag`] bits.
    pub sys_flag: i32,
    /// When it was made, ms.
    pub born_timestamp: i64,
    /// Property text.
    pub properties: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// One consumer offset that moves with the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset<'a> {
    /// Consumer group.
    pub group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: QueueId,
    /// Next offset the group wants.
    pub offset: QueueOffset,
}

/// The batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtomicBatch<'a> {
    /// Name of the producer.
    pub producer_id: &'a str,
    /// Epoch the producer was opened with.
    pub epoch: u64,
    /// One more than that of the batch before.
    pub sequence: u64,
    /// Kept for the producer and given back when it opens again; not looked into.
    pub position: Option<&'a [u8]>,
    /// Messages, in order.
    pub messages: Vec<Message<'a>>,
    /// Consumer offsets.
    pub offsets: Vec<Offset<'a>>,
}

/// Answer to [`AtomicBatch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchApplied {
    /// This batch was applied before; the rest is the first answer.
    pub duplicate: bool,
    /// Commit log offset of the entry that holds the batch.
    pub base: CommitLogOffset,
    /// Queue offset of each message, in order. May be empty for an old duplicate.
    pub queue_offsets: Vec<QueueOffset>,
}

impl<'a> OpenProducer<'a> {
    /// Appends the body.
    pub fn encode_into(&self, out: &mut BytesMut) -> Result<(), AtomicError> {
        out.put_u8(VERSION);
        put_producer_id(out, self.producer_id)
    }

    /// Reads a body.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, AtomicError> {
        let mut reader = Reader::new(bytes)?;
        let request = Self {
            producer_id: reader.producer_id()?,
        };
        reader.end()?;
        Ok(request)
    }
}

impl ProducerOpened {
    /// Appends the body.
    pub fn encode_into(&self, out: &mut BytesMut) -> Result<(), AtomicError> {
        out.put_u8(VERSION);
        out.put_u64(self.epoch);
        out.put_u8(self.last.is_some().into());
        if let Some(last) = &self.last {
            out.put_u64(last.sequence);
            put_position(out, last.position.as_deref())?;
        }
        Ok(())
    }

    /// Reads a body.
    pub fn decode(bytes: &[u8]) -> Result<Self, AtomicError> {
        let mut reader = Reader::new(bytes)?;
        let epoch = reader.u64("epoch")?;
        let last = if reader.flag("last flag")? {
            let sequence = reader.u64("sequence")?;
            Some(LastApplied {
                sequence,
                position: reader.position()?.map(<[u8]>::to_vec),
            })
        } else {
            None
        };
        reader.end()?;
        Ok(Self { epoch, last })
    }
}

impl<'a> AtomicBatch<'a> {
    /// Appends the body.
    pub fn encode_into(&self, out: &mut BytesMut) -> Result<(), AtomicError> {
        out.reserve(
            self.messages
                .iter()
                .map(|m| 64 + m.topic.len() + m.properties.len() + m.body.len())
                .sum(),
        );
        out.put_u8(VERSION);
        put_producer_id(out, self.producer_id)?;
        out.put_u64(self.epoch);
        out.put_u64(self.sequence);
        put_position(out, self.position)?;
        put_count(out, self.messages.len(), "messages")?;
        for message in &self.messages {
            put_str(out, message.topic, "topic")?;
            out.put_u32(message.queue_id.get());
            out.put_i32(message.flag);
            out.put_i32(message.sys_flag);
            out.put_i64(message.born_timestamp);
            put_str(out, message.properties, "properties")?;
            put_blob(out, message.body, "body")?;
        }
        put_count(out, self.offsets.len(), "offsets")?;
        for offset in &self.offsets {
            put_str(out, offset.group, "group")?;
            put_str(out, offset.topic, "topic")?;
            out.put_u32(offset.queue_id.get());
            out.put_u64(offset.offset.get());
        }
        Ok(())
    }

    /// Reads a body.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, AtomicError> {
        let mut reader = Reader::new(bytes)?;
        let batch = Self {
            producer_id: reader.producer_id()?,
            epoch: reader.u64("epoch")?,
            sequence: reader.u64("sequence")?,
            position: reader.position()?,
            messages: reader.list("messages", Self::MESSAGE_BYTES_MIN, Reader::message)?,
            offsets: reader.list("offsets", Self::OFFSET_BYTES_MIN, Reader::offset)?,
        };
        reader.end()?;
        Ok(batch)
    }

    const MESSAGE_BYTES_MIN: usize = 2 + 4 + 4 + 4 + 8 + 2 + 4;
    const OFFSET_BYTES_MIN: usize = 2 + 2 + 4 + 8;
}

impl BatchApplied {
    /// Appends the body.
    pub fn encode_into(&self, out: &mut BytesMut) -> Result<(), AtomicError> {
        out.put_u8(VERSION);
        out.put_u8(self.duplicate.into());
        out.put_u64(self.base.get());
        put_count(out, self.queue_offsets.len(), "queue offsets")?;
        for offset in &self.queue_offsets {
            out.put_u64(offset.get());
        }
        Ok(())
    }

    /// Reads a body.
    pub fn decode(bytes: &[u8]) -> Result<Self, AtomicError> {
        let mut reader = Reader::new(bytes)?;
        let answer = Self {
            duplicate: reader.flag("duplicate flag")?,
            base: CommitLogOffset(reader.u64("base offset")?),
            queue_offsets: reader.list("queue offsets", 8, |r| Ok(QueueOffset(r.u64("queue offset")?)))?,
        };
        reader.end()?;
        Ok(answer)
    }
}

fn put_count(out: &mut BytesMut, n: usize, what: &'static str) -> Result<(), AtomicError> {
    out.put_u16(u16::try_from(n).map_err(|_| AtomicError::TooLong(what))?);
    Ok(())
}

fn put_str(out: &mut BytesMut, text: &str, what: &'static str) -> Result<(), AtomicError> {
    put_count(out, text.len(), what)?;
    out.put_slice(text.as_bytes());
    Ok(())
}

fn put_blob(out: &mut BytesMut, bytes: &[u8], what: &'static str) -> Result<(), AtomicError> {
    out.put_u32(u32::try_from(bytes.len()).map_err(|_| AtomicError::TooLong(what))?);
    out.put_slice(bytes);
    Ok(())
}

fn put_producer_id(out: &mut BytesMut, id: &str) -> Result<(), AtomicError> {
    if id.len() > PRODUCER_ID_BYTES_MAX {
        return Err(AtomicError::TooLong("producer id"));
    }
    put_str(out, id, "producer id")
}

fn put_position(out: &mut BytesMut, position: Option<&[u8]>) -> Result<(), AtomicError> {
    out.put_u8(position.is_some().into());
    match position {
        None => Ok(()),
        Some(position) if position.len() > POSITION_BYTES_MAX => Err(AtomicError::TooLong("position")),
        Some(position) => put_blob(out, position, "position"),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, AtomicError> {
        let mut reader = Self { rest: bytes };
        match reader.take(1, "version")?[0] {
            VERSION => Ok(reader),
            other => Err(AtomicError::Version(other)),
        }
    }

    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], AtomicError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(AtomicError::Truncated(what))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], AtomicError> {
        self.take(N, what)?.try_into().map_err(|_| AtomicError::Truncated(what))
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, AtomicError> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, AtomicError> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, AtomicError> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, AtomicError> {
        match self.take(1, what)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(AtomicError::Malformed(what)),
        }
    }

    fn str(&mut self, what: &'static str) -> Result<&'a str, AtomicError> {
        let n = self.u16(what)?;
        std::str::from_utf8(self.take(n.into(), what)?).map_err(|_| AtomicError::Malformed(what))
    }

    fn blob(&mut self, what: &'static str) -> Result<&'a [u8], AtomicError> {
        let n = self.u32(what)?;
        self.take(n as usize, what)
    }

    fn producer_id(&mut self) -> Result<&'a str, AtomicError> {
        let id = self.str("producer id")?;
        if id.len() > PRODUCER_ID_BYTES_MAX {
            Err(AtomicError::TooLong("producer id"))
        } else {
            Ok(id)
        }
    }

    fn position(&mut self) -> Result<Option<&'a [u8]>, AtomicError> {
        if !self.flag("position flag")? {
            return Ok(None);
        }
        let position = self.blob("position")?;
        if position.len() > POSITION_BYTES_MAX {
            Err(AtomicError::TooLong("position"))
        } else {
            Ok(Some(position))
        }
    }

    /// A counted list. Memory is set aside only for as many items as the remaining bytes can hold.
    fn list<T>(
        &mut self,
        what: &'static str,
        item_bytes_min: usize,
        item: impl Fn(&mut Self) -> Result<T, AtomicError>,
    ) -> Result<Vec<T>, AtomicError> {
        let n = usize::from(self.u16(what)?);
        if n * item_bytes_min > self.rest.len() {
            return Err(AtomicError::Truncated(what));
        }
        (0..n).map(|_| item(self)).collect()
    }

    fn message(&mut self) -> Result<Message<'a>, AtomicError> {
        Ok(Message {
            topic: self.str("topic")?,
            queue_id: QueueId(self.u32("queue id")?),
            flag: self.u32("flag")? as i32,
            sys_flag: self.u32("sysFlag")? as i32,
            born_timestamp: self.u64("born timestamp")? as i64,
            properties: self.str("properties")?,
            body: self.blob("body")?,
        })
    }

    fn offset(&mut self) -> Result<Offset<'a>, AtomicError> {
        Ok(Offset {
            group: self.str("group")?,
            topic: self.str("topic")?,
            queue_id: QueueId(self.u32("queue id")?),
            offset: QueueOffset(self.u64("offset")?),
        })
    }

    fn end(&self) -> Result<(), AtomicError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(AtomicError::Trailing)
        }
    }
}
