//! Topics: configuration, incarnation and the bounds of their queues.

use super::Name;
use super::codec::{CodecError, Reader, Writer};
use mq_base::env::random::HashMap;
use mq_message::{QueueId, QueueOffset, topic as names};
use std::collections::BTreeMap;

/// How many tags a message of a topic may carry (informational, passed through).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterType {
    /// One tag, `SINGLE_TAG`.
    #[default]
    SingleTag,
    /// Several, `MULTI_TAG`.
    MultiTag,
}

/// Configuration of a topic, as RocketMQ's tools know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Name.
    pub name: Name,
    /// Queues consumers read.
    pub read_queues: u32,
    /// Queues producers write.
    pub write_queues: u32,
    /// Permission bits, see [`mq_message::topic::perm`].
    pub perm: u32,
    /// Filter type.
    pub filter_type: FilterType,
    /// System flags (1 unit, 2 unit subscription).
    pub sys_flag: u32,
    /// Order topic: clients take its queue list from the name server's configuration.
    pub order: bool,
    /// Attributes (`queue.type`, `message.type`, …), kept as given.
    pub attributes: BTreeMap<String, String>,
}

impl TopicConfig {
    /// A readable and writable topic with `queues` queues.
    pub fn new(name: impl Into<Name>, queues: u32) -> Self {
        Self {
            name: name.into(),
            read_queues: queues,
            write_queues: queues,
            perm: names::perm::READ_WRITE,
            filter_type: FilterType::SingleTag,
            sys_flag: 0,
            order: false,
            attributes: BTreeMap::new(),
        }
    }

    /// How many queues exist: a send may name any of them, whichever side they were made for.
    pub fn queues(&self) -> u32 {
        self.read_queues.max(self.write_queues)
    }

    pub(crate) fn encode(&self, w: &mut Writer) {
        w.text(&self.name);
        w.varint(self.read_queues.into());
        w.varint(self.write_queues.into());
        w.varint(self.perm.into());
        w.byte(match self.filter_type {
            FilterType::SingleTag => 0,
            FilterType::MultiTag => 1,
        });
        w.varint(self.sys_flag.into());
        w.flag(self.order);
        w.varint(self.attributes.len() as u64);
        for (key, value) in &self.attributes {
            w.text(key);
            w.text(value);
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            name: r.text()?.into(),
            read_queues: r.u32()?,
            write_queues: r.u32()?,
            perm: r.u32()?,
            filter_type: match r.byte()? {
                0 => FilterType::SingleTag,
                1 => FilterType::MultiTag,
                _ => return Err(CodecError::Malformed("filter type")),
            },
            sys_flag: r.u32()?,
            order: r.flag()?,
            attributes: {
                let mut attributes = BTreeMap::new();
                for _ in 0..r.count()? {
                    attributes.insert(r.text()?.to_owned(), r.text()?.to_owned());
                }
                attributes
            },
        })
    }
}

/// Bounds of a queue: `min ≤ next`; the messages are `min..next`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Offset of the oldest message still kept.
    pub min: QueueOffset,
    /// Offset the next message gets (RocketMQ's "max offset").
    pub next: QueueOffset,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Configuration.
    pub config: TopicConfig,
    /// Distinguishes a topic from an earlier one of the same name: their consume queues have nothing in common.
    pub incarnation: u64,
    /// Queues by id. Never shrinks while the topic lives: a queue taken out of the configuration keeps its messages.
    pub queues: Vec<Queue>,
}

impl Topic {
    /// A queue that exists.
    pub fn queue(&self, id: QueueId) -> Option<&Queue> {
        self.queues.get(id.get() as usize)
    }

    fn resize(&mut self) {
        let wanted = self.config.queues() as usize;
        if self.queues.len() < wanted {
            self.queues.resize(wanted, Queue::default());
        }
    }
}

/// RocketMQ's version of a set of configurations; tools and the name server compare it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataVersion {
    /// Number of changes.
    pub counter: u64,
    /// Log time of the last one, Unix milliseconds.
    pub time_ms: i64,
}

impl DataVersion {
    pub(crate) fn bump(&mut self, time_ms: i64) {
        self.counter += 1;
        self.time_ms = time_ms;
    }

    pub(crate) fn encode(&self, w: &mut Writer) {
        w.varint(self.counter);
        w.signed(self.time_ms);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            counter: r.varint()?,
            time_ms: r.signed()?,
        })
    }
}

/// All topics of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    by_name: HashMap<Name, Topic>,
    next_incarnation: u64,
    version: DataVersion,
}

/// Most queues a topic may have: bounds what one request can make every member allocate.
pub const QUEUES_MAX: u32 = 16_384;

impl Topics {
    /// The topics a group is born with: those the broker itself writes to.
    pub(super) fn genesis() -> Self {
        let mut topics = Self {
            by_name: HashMap::default(),
            next_incarnation: 1,
            version: DataVersion::default(),
        };
        let levels = super::schedule::DEFAULT_DELAYS_MS.len() as u32;
        for (name, queues) in [
            (names::SCHEDULE, levels),
            (names::TRANS_HALF, 1),
            (names::TRANS_CHECK_MAX_TIME, 1),
        ] {
            topics.set(TopicConfig::new(name, queues), 0);
        }
        topics
    }

    /// A topic by name.
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    /// All topics, by name.
    pub fn sorted(&self) -> Vec<&Topic> {
        let mut all: Vec<&Topic> = self.by_name.values().collect();
        all.sort_unstable_by(|a, b| a.config.name.cmp(&b.config.name));
        all
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none (never: a group is born with some).
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Version of the whole table.
    pub fn version(&self) -> DataVersion {
        self.version
    }

    pub(super) fn set(&mut self, config: TopicConfig, time_ms: i64) {
        self.version.bump(time_ms);
        if let Some(topic) = self.by_name.get_mut(&config.name) {
            topic.config = config;
            topic.resize();
            return;
        }
        let name = config.name.clone();
        let mut topic = Topic {
            config,
            incarnation: self.next_incarnation,
            queues: Vec::new(),
        };
        self.next_incarnation += 1;
        topic.resize();
        self.by_name.insert(name, topic);
    }

    pub(super) fn remove(&mut self, name: &str, time_ms: i64) {
        if self.by_name.remove(name).is_some() {
            self.version.bump(time_ms);
        }
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.varint(self.next_incarnation);
        self.version.encode(w);
        w.varint(self.by_name.len() as u64);
        for topic in self.sorted() {
            topic.config.encode(w);
            w.varint(topic.incarnation);
            w.varint(topic.queues.len() as u64);
            for queue in &topic.queues {
                w.varint(queue.min.get());
                w.varint(queue.next.get());
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let next_incarnation = r.varint()?;
        let version = DataVersion::decode(r)?;
        let mut by_name = HashMap::default();
        for _ in 0..r.count()? {
            let config = TopicConfig::decode(r)?;
            let incarnation = r.varint()?;
            let mut queues = Vec::new();
            for _ in 0..r.count()? {
                queues.push(Queue {
                    min: r.varint()?.into(),
                    next: r.varint()?.into(),
                });
            }
            by_name.insert(
                config.name.clone(),
                Topic {
                    config,
                    incarnation,
                    queues,
                },
            );
        }
        Ok(Self {
            by_name,
            next_incarnation,
            version,
        })
    }
}
