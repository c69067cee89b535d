//! Messages: what a producer sends, what a consumer receives, and the queue that holds them.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use mq_message::property::{self, Properties, PropertyError};
use mq_message::record::{RecordError, RecordView};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, msg_id, sys_flag, topic};

/// Largest body that a compressed message may unfold to. RocketMQ's own limit of a message is 4 MiB before compression.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One message queue: the place that keeps its messages in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageQueue {
    /// Topic.
    pub topic: Arc<str>,
    /// Name of the broker group that holds it.
    pub broker_name: Arc<str>,
    /// Number within topic and group.
    pub queue_id: QueueId,
}

impl MessageQueue {
    /// A queue by its three names.
    pub fn new(topic: impl Into<Arc<str>>, broker_name: impl Into<Arc<str>>, queue_id: u32) -> Self {
        Self {
            topic: topic.into(),
            broker_name: broker_name.into(),
            queue_id: QueueId(queue_id),
        }
    }
}

impl fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.topic, self.broker_name, self.queue_id)
    }
}

/// Why a message cannot be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A property is malformed.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// RocketMQ keeps this property name for itself.
    #[error("property name {0:?} is reserved")]
    Reserved(String),
    /// The topic's name is illegal.
    #[error("illegal topic: {0}")]
    Topic(topic::NameError),
    /// Nobody may send to this topic.
    #[error("sending to the topic {0:?} is not allowed")]
    Forbidden(String),
    /// No body.
    #[error("the body is empty")]
    Empty,
    /// The body, or the bodies of a batch, exceed the limit.
    #[error("body of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit in force.
        limit: usize,
    },
    /// Property text beyond 32767 bytes.
    #[error("properties of {0} bytes are too long (at most 32767)")]
    Properties(usize),
    /// A batch holds messages that cannot go together.
    #[error("{0}")]
    Batch(&'static str),
}

/// A message to send. A mistake in a property is kept and reported by the send.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) body: Bytes,
    pub(crate) flag: i32,
    pub(crate) properties: Properties,
    pub(crate) mistake: Option<MessageError>,
}

impl Message {
    /// A message for a topic.
    pub fn new(topic: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            flag: 0,
            properties: Properties::new(),
            mistake: None,
        }
    }

    /// Its tag: what consumers filter by.
    #[must_use]
    pub fn tag(self, tag: &str) -> Self {
        self.set(property::TAGS, tag)
    }

    /// Its keys, by which the broker finds it. A key must not hold a blank.
    #[must_use]
    pub fn keys(self, keys: &[&str]) -> Self {
        self.set(property::KEYS, &keys.join(" "))
    }

    /// A property of the user's own. Names that RocketMQ keeps for itself are refused.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        if property::is_reserved(name) {
            self.mistake
                .get_or_insert_with(|| MessageError::Reserved(name.to_owned()));
            return self;
        }
        self.set(name, value)
    }

    /// Delay level: 1 to 18 in the default table (1 s to 2 h); 3 is 10 s.
    #[must_use]
    pub fn delay_level(self, level: u32) -> Self {
        self.set(property::DELAY, &level.to_string())
    }

    /// The key that decided the queue, kept with the message (see [`crate::Producer::send_by_key`]).
    #[must_use]
    pub fn sharding_key(self, key: &str) -> Self {
        self.set(property::SHARDING_KEY, key)
    }

    /// `false`: the broker need not wait for disk or replicas.
    #[must_use]
    pub fn wait_store_ok(self, wait: bool) -> Self {
        self.set(property::WAIT, if wait { "true" } else { "false" })
    }

    /// The user's own flag, stored as it is.
    #[must_use]
    pub fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Seconds a half message is left alone before the broker asks about it.
    #[must_use]
    pub fn check_immunity_seconds(self, seconds: u32) -> Self {
        self.set(property::CHECK_IMMUNITY_TIME_IN_SECONDS, &seconds.to_string())
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name)
    }

    /// The id a producer gave it (`UNIQ_KEY`); none before it is sent.
    pub fn unique_key(&self) -> Option<&str> {
        self.get(property::UNIQ_KEY)
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        match property::check(name, value) {
            // The common case, a fresh message, must not search the text for an older value.
            Ok(()) if self.properties.is_empty() => {
                self.properties.push(name, value);
            }
            Ok(()) => {
                self.properties.set(name, value);
            }
            Err(mistake) => {
                self.mistake.get_or_insert(mistake.into());
            }
        }
        self
    }
}

/// Why a received message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The body does not unfold.
    #[error("compressed body of the message at queue offset {0} is damaged or too large")]
    Compression(QueueOffset),
}

/// A message received. Cheap to clone: body and properties are slices of the answer they came in.
#[derive(Debug, Clone)]
pub struct MessageExt {
    queue: MessageQueue,
    topic: Arc<str>,
    queue_offset: QueueOffset,
    physical_offset: CommitLogOffset,
    flag: i32,
    sys_flag: i32,
    born_timestamp: i64,
    store_timestamp: i64,
    born_host: SocketAddr,
    store_host: SocketAddr,
    reconsume_times: i32,
    prepared_transaction_offset: CommitLogOffset,
    body: Bytes,
    properties: Bytes,
}

impl MessageExt {
    /// Reads all records of a pull answer. `queue` is where they were pulled from.
    ///
    /// # Errors
    /// A damaged record; nothing is returned then, because what follows it cannot be trusted.
    pub fn decode_all(body: &Bytes, queue: &MessageQueue) -> Result<Vec<Self>, DecodeError> {
        let mut messages = Vec::with_capacity(32);
        let mut at = 0;
        while at < body.len() {
            let view = RecordView::parse(&body[at..])?;
            let next = at + view.size();
            messages.push(Self::from_view(&view, body, at, queue)?);
            at = next;
        }
        Ok(messages)
    }

    /// Reads one record of a broker group, such as the answer to a look-up by id.
    pub fn decode_one(record: &Bytes, broker_name: &Arc<str>) -> Result<Self, DecodeError> {
        let view = RecordView::parse(record)?;
        let queue = MessageQueue {
            topic: view.topic().into(),
            broker_name: broker_name.clone(),
            queue_id: view.queue_id(),
        };
        Self::from_view(&view, record, 0, &queue)
    }

    fn from_view(view: &RecordView<'_>, bytes: &Bytes, at: usize, queue: &MessageQueue) -> Result<Self, DecodeError> {
        let body = view.body_range();
        let properties = view.properties_range();
        let mut body = bytes.slice(at + body.start..at + body.end);
        if view.sys_flag() & sys_flag::COMPRESSED != 0 {
            body = decompress(&body, view.sys_flag()).ok_or(DecodeError::Compression(view.queue_offset()))?;
        }
        let stored_topic = view.topic();
        let topic = match view.property(property::RETRY_TOPIC) {
            Some(real) if topic::is_retry(stored_topic) => real.into(),
            _ if stored_topic == &*queue.topic => queue.topic.clone(),
            _ => stored_topic.into(),
        };
        Ok(Self {
            queue: queue.clone(),
            topic,
            queue_offset: view.queue_offset(),
            physical_offset: view.physical_offset(),
            flag: view.flag(),
            sys_flag: view.sys_flag(),
            born_timestamp: view.born_timestamp(),
            store_timestamp: view.store_timestamp(),
            born_host: view.born_host(),
            store_host: view.store_host(),
            reconsume_times: view.reconsume_times(),
            prepared_transaction_offset: view.prepared_transaction_offset(),
            body,
            properties: bytes.slice(at + properties.start..at + properties.end),
        })
    }

    /// The topic the producer sent it to, also when it comes from a retry topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The queue it was read from.
    pub fn queue(&self) -> &MessageQueue {
        &self.queue
    }

    /// Its number in that queue.
    pub fn queue_offset(&self) -> QueueOffset {
        self.queue_offset
    }

    /// Its position in the group's commit log.
    pub fn physical_offset(&self) -> CommitLogOffset {
        self.physical_offset
    }

    /// The body, unfolded if it was compressed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The user's own flag.
    pub fn flag(&self) -> i32 {
        self.flag
    }

    /// [`mq_message::sys_flag`] bits.
    pub fn sys_flag(&self) -> i32 {
        self.sys_flag
    }

    /// When the producer made it, unix ms by its clock.
    pub fn born_timestamp(&self) -> i64 {
        self.born_timestamp
    }

    /// When the broker stored it, unix ms.
    pub fn store_timestamp(&self) -> i64 {
        self.store_timestamp
    }

    /// The producer's address.
    pub fn born_host(&self) -> SocketAddr {
        self.born_host
    }

    /// The address of the broker that stored it.
    pub fn store_host(&self) -> SocketAddr {
        self.store_host
    }

    /// How often consumption failed before.
    pub fn reconsume_times(&self) -> i32 {
        self.reconsume_times
    }

    /// For a committed transaction, where its half message was.
    pub fn prepared_transaction_offset(&self) -> CommitLogOffset {
        self.prepared_transaction_offset
    }

    /// Value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        property::get(self.properties(), name)
    }

    /// The property text.
    pub fn properties(&self) -> &str {
        // Checked when the record was read, so this cannot fail.
        std::str::from_utf8(&self.properties).unwrap_or_default()
    }

    /// Its tag.
    pub fn tag(&self) -> Option<&str> {
        self.get(property::TAGS)
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        property::keys(self.properties())
    }

    /// The id its producer gave it, else the broker's id.
    pub fn msg_id(&self) -> String {
        self.get(property::UNIQ_KEY)
            .map_or_else(|| self.offset_msg_id(), str::to_owned)
    }

    /// The broker's id: store host and commit log offset.
    pub fn offset_msg_id(&self) -> String {
        msg_id::offset_id(self.store_host, self.physical_offset)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.body.len() + self.properties.len()
    }

    /// For an orderly consumer that keeps a message for another try.
    pub(crate) fn count_reconsume(&mut self) {
        self.reconsume_times = self.reconsume_times.saturating_add(1);
    }
}

/// Compresses a body as RocketMQ's producers do by default: zlib, level 5.
pub(crate) fn compress(body: &[u8]) -> Option<Bytes> {
    use std::io::Write;
    let out = Vec::with_capacity(body.len() / 2);
    let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::new(5));
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn decompress(body: &[u8], flag: i32) -> Option<Bytes> {
    match flag & sys_flag::COMPRESSION_TYPE {
        0 | sys_flag::COMPRESSION_ZLIB => {
            let mut out = Vec::with_capacity(body.len() * 3);
            flate2::read::ZlibDecoder::new(body)
                .take(DECOMPRESSED_BYTES_MAX as u64 + 1)
                .read_to_end(&mut out)
                .ok()?;
            (out.len() <= DECOMPRESSED_BYTES_MAX).then(|| out.into())
        }
        // LZ4 and Zstandard: only producers that were told to use them send these. The body is passed on as it is, and
        // the flag says so.
        _ => Some(Bytes::copy_from_slice(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_round_trips_and_is_bounded() {
        let body = vec![7u8; 100_000];
        let small = compress(&body).unwrap();
        assert!(small.len() < 1000);
        assert_eq!(decompress(&small, sys_flag::COMPRESSION_ZLIB).unwrap(), body);
        let bomb = compress(&vec![0u8; DECOMPRESSED_BYTES_MAX + 1]).unwrap();
        assert_eq!(decompress(&bomb, 0), None);
        assert_eq!(decompress(b"not zlib", 0), None);
    }

    #[test]
    fn a_mistake_in_a_property_is_kept() {
        assert!(Message::new("T", "x").tag("A").mistake.is_none());
        assert!(Message::new("T", "x").tag("").mistake.is_some());
        assert!(Message::new("T", "x").property("a\u{1}", "b").mistake.is_some());
        assert!(Message::new("T", "x").property("KEYS", "b").mistake.is_some());
    }
}
