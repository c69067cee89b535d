//! What can happen to the state besides stored messages: one effect per item of a log entry.
//!
//! An effect is a fact, not a question: the judge has decided already, apply never refuses (ADR 003). The first byte is the
//! kind; kinds are never reused and their fields never change: a new version of a fact gets a new kind, and the old one
//! stays readable for as long as it may lie in a log.

use super::codec::{CodecError, Reader, Writer};
use super::{GroupConfig, Name, TopicConfig};
use bytes::Bytes;
use mq_message::{CommitLogOffset, QueueId, QueueOffset};

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but the passing of log time.
    Nothing,
    /// A topic was created, or its configuration changed.
    TopicSet(TopicConfig),
    /// A topic is gone, with its queues, offsets and locks.
    TopicGone(Name),
    /// A consumer group was created or changed.
    GroupSet(GroupConfig),
    /// A consumer group is gone.
    GroupGone {
        /// Which.
        group: Name,
        /// Its offsets too.
        clean_offsets: bool,
    },
    /// A consumer offset is now this.
    Offset {
        /// Group.
        group: Name,
        /// Topic.
        topic: Name,
        /// Queue.
        queue: QueueId,
        /// Next offset wanted.
        offset: QueueOffset,
    },
    /// A consumer offset was reset; the consumer has yet to be told.
    OffsetReset {
        /// Group.
        group: Name,
        /// Topic.
        topic: Name,
        /// Queue.
        queue: QueueId,
        /// Where it must continue.
        offset: QueueOffset,
    },
    /// The consumer has been told.
    ResetTaken {
        /// Group.
        group: Name,
        /// Topic.
        topic: Name,
        /// Queue.
        queue: QueueId,
    },
    /// A half message was committed or rolled back (or given up).
    HalfDecided(QueueOffset),
    /// Producers of a half message were asked.
    HalfChecked(QueueOffset),
    /// The record of a half message was re-appended: the copy just stored takes its place.
    HalfMoved {
        /// Identity: its first queue offset.
        identity: QueueOffset,
        /// Queue offset of the copy.
        copy: QueueOffset,
    },
    /// A delay level has been delivered up to here.
    Delivered {
        /// Level, 1-based.
        level: u32,
        /// Next offset to deliver.
        to: QueueOffset,
    },
    /// The delay table is now this.
    DelaysSet(Vec<i64>),
    /// A queue is locked, or the lock renewed.
    Locked {
        /// Group.
        group: Name,
        /// Topic.
        topic: Name,
        /// Queue.
        queue: QueueId,
        /// Client id.
        owner: Name,
    },
    /// A lock was given back.
    Unlocked {
        /// Group.
        group: Name,
        /// Topic.
        topic: Name,
        /// Queue.
        queue: QueueId,
    },
    /// A producer was opened under a new epoch.
    ProducerOpened {
        /// Producer id.
        producer: Name,
        /// Its epoch.
        epoch: u64,
    },
    /// A batch of a producer: its messages are the `messages` ones stored just before in the same entry.
    ProducerTook {
        /// Producer id.
        producer: Name,
        /// Sequence.
        sequence: u64,
        /// Position, if it came with one.
        position: Option<Bytes>,
        /// How many messages.
        messages: u32,
    },
    /// Everything below this commit log offset may be deleted.
    Retained(CommitLogOffset),
    /// A queue's minimum offset rose.
    QueueMinimum {
        /// Topic.
        topic: Name,
        /// Queue.
        queue: QueueId,
        /// First offset kept.
        min: QueueOffset,
    },
}

mod kind {
    pub const NOTHING: u8 = 0;
    pub const TOPIC_SET: u8 = 1;
    pub const TOPIC_GONE: u8 = 2;
    pub const GROUP_SET: u8 = 3;
    pub const GROUP_GONE: u8 = 4;
    pub const OFFSET: u8 = 5;
    pub const OFFSET_RESET: u8 = 6;
    pub const RESET_TAKEN: u8 = 7;
    pub const HALF_DECIDED: u8 = 8;
    pub const HALF_CHECKED: u8 = 9;
    pub const HALF_MOVED: u8 = 10;
    pub const DELIVERED: u8 = 11;
    pub const DELAYS_SET: u8 = 12;
    pub const LOCKED: u8 = 13;
    pub const UNLOCKED: u8 = 14;
    pub const PRODUCER_OPENED: u8 = 15;
    pub const PRODUCER_TOOK: u8 = 16;
    pub const RETAINED: u8 = 17;
    pub const QUEUE_MINIMUM: u8 = 18;
}

impl Effect {
    /// Appends the effect to `w`.
    pub fn encode(&self, w: &mut Writer) {
        match self {
            Self::Nothing => w.byte(kind::NOTHING),
            Self::TopicSet(config) => {
                w.byte(kind::TOPIC_SET);
                config.encode(w);
            }
            Self::TopicGone(topic) => {
                w.byte(kind::TOPIC_GONE);
                w.text(topic);
            }
            Self::GroupSet(config) => {
                w.byte(kind::GROUP_SET);
                config.encode(w);
            }
            Self::GroupGone { group, clean_offsets } => {
                w.byte(kind::GROUP_GONE);
                w.text(group);
                w.flag(*clean_offsets);
            }
            Self::Offset {
                group,
                topic,
                queue,
                offset,
            } => {
                group_queue(w, kind::OFFSET, group, topic, *queue);
                w.varint(offset.get());
            }
            Self::OffsetReset {
                group,
                topic,
                queue,
                offset,
            } => {
                group_queue(w, kind::OFFSET_RESET, group, topic, *queue);
                w.varint(offset.get());
            }
            Self::ResetTaken { group, topic, queue } => group_queue(w, kind::RESET_TAKEN, group, topic, *queue),
            Self::HalfDecided(half) => {
                w.byte(kind::HALF_DECIDED);
                w.varint(half.get());
            }
            Self::HalfChecked(half) => {
                w.byte(kind::HALF_CHECKED);
                w.varint(half.get());
            }
            Self::HalfMoved { identity, copy } => {
                w.byte(kind::HALF_MOVED);
                w.varint(identity.get());
                w.varint(copy.get());
            }
            Self::Delivered { level, to } => {
                w.byte(kind::DELIVERED);
                w.varint((*level).into());
                w.varint(to.get());
            }
            Self::DelaysSet(delays) => {
                w.byte(kind::DELAYS_SET);
                w.varint(delays.len() as u64);
                delays.iter().for_each(|delay| w.signed(*delay));
            }
            Self::Locked {
                group,
                topic,
                queue,
                owner,
            } => {
                group_queue(w, kind::LOCKED, group, topic, *queue);
                w.text(owner);
            }
            Self::Unlocked { group, topic, queue } => group_queue(w, kind::UNLOCKED, group, topic, *queue),
            Self::ProducerOpened { producer, epoch } => {
                w.byte(kind::PRODUCER_OPENED);
                w.text(producer);
                w.varint(*epoch);
            }
            Self::ProducerTook {
                producer,
                sequence,
                position,
                messages,
            } => {
                w.byte(kind::PRODUCER_TOOK);
                w.text(producer);
                w.varint(*sequence);
                w.optional_blob(position.as_deref());
                w.varint((*messages).into());
            }
            Self::Retained(line) => {
                w.byte(kind::RETAINED);
                w.varint(line.get());
            }
            Self::QueueMinimum { topic, queue, min } => {
                w.byte(kind::QUEUE_MINIMUM);
                w.text(topic);
                w.varint(queue.get().into());
                w.varint(min.get());
            }
        }
    }

    /// Reads one effect that fills `bytes` exactly.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let r = &mut Reader::new(bytes);
        let effect = Self::take(r)?;
        if r.is_empty() {
            Ok(effect)
        } else {
            Err(CodecError::Malformed("effect: bytes left over"))
        }
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match r.byte()? {
            kind::NOTHING => Self::Nothing,
            kind::TOPIC_SET => Self::TopicSet(TopicConfig::decode(r)?),
            kind::TOPIC_GONE => Self::TopicGone(r.text()?.into()),
            kind::GROUP_SET => Self::GroupSet(GroupConfig::decode(r)?),
            kind::GROUP_GONE => Self::GroupGone {
                group: r.text()?.into(),
                clean_offsets: r.flag()?,
            },
            kind::OFFSET => Self::Offset {
                group: r.text()?.into(),
                topic: r.text()?.into(),
                queue: r.u32()?.into(),
                offset: r.varint()?.into(),
            },
            kind::OFFSET_RESET => Self::OffsetReset {
                group: r.text()?.into(),
                topic: r.text()?.into(),
                queue: r.u32()?.into(),
                offset: r.varint()?.into(),
            },
            kind::RESET_TAKEN => Self::ResetTaken {
                group: r.text()?.into(),
                topic: r.text()?.into(),
                queue: r.u32()?.into(),
            },
            kind::HALF_DECIDED => Self::HalfDecided(r.varint()?.into()),
            kind::HALF_CHECKED => Self::HalfChecked(r.varint()?.into()),
            kind::HALF_MOVED => Self::HalfMoved {
                identity: r.varint()?.into(),
                copy: r.varint()?.into(),
            },
            kind::DELIVERED => Self::Delivered {
                level: r.u32()?,
                to: r.varint()?.into(),
            },
            kind::DELAYS_SET => Self::DelaysSet((0..r.count()?).map(|_| r.signed()).collect::<Result<_, _>>()?),
            kind::LOCKED => Self::Locked {
                group: r.text()?.into(),
                topic: r.text()?.into(),
                queue: r.u32()?.into(),
                owner: r.text()?.into(),
            },
            kind::UNLOCKED => Self::Unlocked {
                group: r.text()?.into(),
                topic: r.text()?.into(),
                queue: r.u32()?.into(),
            },
            kind::PRODUCER_OPENED => Self::ProducerOpened {
                producer: r.text()?.into(),
                epoch: r.varint()?,
            },
            kind::PRODUCER_TOOK => Self::ProducerTook {
                producer: r.text()?.into(),
                sequence: r.varint()?,
                position: r.optional_blob()?.map(Bytes::copy_from_slice),
                messages: r.u32()?,
            },
            kind::RETAINED => Self::Retained(r.varint()?.into()),
            kind::QUEUE_MINIMUM => Self::QueueMinimum {
                topic: r.text()?.into(),
                queue: r.u32()?.into(),
                min: r.varint()?.into(),
            },
            other => {
                return Err(CodecError::Unknown {
                    what: "effect",
                    value: other.into(),
                });
            }
        })
    }
}

fn group_queue(w: &mut Writer, kind: u8, group: &str, topic: &str, queue: QueueId) {
    w.byte(kind);
    w.text(group);
    w.text(topic);
    w.varint(queue.get().into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::codec::TEXT_BYTES_MAX;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Name> {
        "[%a-zA-Z_-]{0,20}".prop_map(|text: String| text.into())
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0..300u64]
    }

    fn effect() -> impl Strategy<Value = Effect> {
        let queue = any::<u32>().prop_map(QueueId);
        let place = || (name(), name(), any::<u32>().prop_map(QueueId));
        prop_oneof![
            Just(Effect::Nothing),
            (name(), any::<(u32, u32, u32, bool)>()).prop_map(|(name, (read, write, flags, order))| {
                let mut config = TopicConfig::new(name, read);
                (config.write_queues, config.sys_flag, config.order) = (write, flags, order);
                config.attributes.insert("queue.type".into(), "SimpleCQ".into());
                Effect::TopicSet(config)
            }),
            name().prop_map(Effect::TopicGone),
            (name(), any::<(i32, bool, u64)>()).prop_map(|(name, (times, enable, id))| {
                let mut config = GroupConfig::new(name);
                (config.retry_max_times, config.consume_enable, config.broker_id) = (times, enable, id);
                Effect::GroupSet(config)
            }),
            (name(), any::<bool>()).prop_map(|(group, clean_offsets)| Effect::GroupGone { group, clean_offsets }),
            (place(), number()).prop_map(|((group, topic, queue), offset)| {
                Effect::Offset {
                    group,
                    topic,
                    queue,
                    offset: offset.into(),
                }
            }),
            (place(), number()).prop_map(|((group, topic, queue), offset)| {
                Effect::OffsetReset {
                    group,
                    topic,
                    queue,
                    offset: offset.into(),
                }
            }),
            place().prop_map(|(group, topic, queue)| Effect::ResetTaken { group, topic, queue }),
            number().prop_map(|at| Effect::HalfDecided(at.into())),
            number().prop_map(|at| Effect::HalfChecked(at.into())),
            (number(), number()).prop_map(|(a, b)| Effect::HalfMoved {
                identity: a.into(),
                copy: b.into()
            }),
            (any::<u32>(), number()).prop_map(|(level, to)| Effect::Delivered { level, to: to.into() }),
            prop::collection::vec(any::<i64>(), 0..20).prop_map(Effect::DelaysSet),
            (place(), name()).prop_map(|((group, topic, queue), owner)| Effect::Locked {
                group,
                topic,
                queue,
                owner
            }),
            place().prop_map(|(group, topic, queue)| Effect::Unlocked { group, topic, queue }),
            (name(), number()).prop_map(|(producer, epoch)| Effect::ProducerOpened { producer, epoch }),
            (
                name(),
                number(),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
                any::<u32>()
            )
                .prop_map(|(producer, sequence, position, messages)| {
                    let position = position.map(Bytes::from);
                    Effect::ProducerTook {
                        producer,
                        sequence,
                        position,
                        messages,
                    }
                }),
            number().prop_map(|line| Effect::Retained(line.into())),
            (name(), queue, number()).prop_map(|(topic, queue, min)| {
                Effect::QueueMinimum {
                    topic,
                    queue,
                    min: min.into(),
                }
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_back(effect in effect()) {
            let mut w = Writer::new();
            effect.encode(&mut w);
            prop_assert_eq!(Effect::decode(w.bytes()), Ok(effect));
            for cut in 0..w.bytes().len() {
                prop_assert!(Effect::decode(&w.bytes()[..cut]).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Effect::decode(&bytes);
            let _ = crate::state::State::decode(&bytes);
        }
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let mut w = Writer::new();
        w.byte(kind::TOPIC_GONE);
        w.varint(TEXT_BYTES_MAX as u64 + 1);
        assert!(Effect::decode(w.bytes()).is_err());
        let mut w = Writer::new();
        w.byte(kind::DELAYS_SET);
        w.varint(u64::MAX);
        assert!(Effect::decode(w.bytes()).is_err());
    }
}
