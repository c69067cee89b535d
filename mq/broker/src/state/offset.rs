//! Consumer offsets, and server-side resets that wait for the consumer's next pull.

use super::Name;
use super::codec::{CodecError, Reader, Writer};
use mq_message::{QueueId, QueueOffset};
use std::collections::BTreeMap;

/// A group's view of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupTopic {
    /// Consumer group.
    pub group: Name,
    /// Topic.
    pub topic: Name,
}

/// Offset of one queue: next message the group wants, and whether a reset to it has yet to reach the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    offset: QueueOffset,
    /// Until the consumer has been told (code 21), its commits are swallowed.
    reset_pending: bool,
}

/// All consumer offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    by_group: BTreeMap<Name, BTreeMap<Name, BTreeMap<u32, Position>>>,
}

impl Offsets {
    fn position(&self, group: &str, topic: &str, queue: QueueId) -> Option<Position> {
        self.by_group.get(group)?.get(topic)?.get(&queue.get()).copied()
    }

    /// Stored offset.
    pub fn get(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.position(group, topic, queue).map(|p| p.offset)
    }

    /// Offset of a reset the consumer has not been told yet.
    pub fn pending_reset(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.position(group, topic, queue)
            .filter(|p| p.reset_pending)
            .map(|p| p.offset)
    }

    /// Offsets of a group in a topic, by queue.
    pub fn of(&self, group: &str, topic: &str) -> impl Iterator<Item = (QueueId, QueueOffset)> + '_ {
        let queues = self.by_group.get(group).and_then(|topics| topics.get(topic));
        queues
            .into_iter()
            .flatten()
            .map(|(queue, p)| (QueueId::from(*queue), p.offset))
    }

    /// Topics a group has offsets in.
    pub fn topics_of(&self, group: &str) -> impl Iterator<Item = &Name> + '_ {
        self.by_group.get(group).into_iter().flat_map(|topics| topics.keys())
    }

    /// Groups that have offsets in a topic.
    pub fn groups_of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Name> + 'a {
        self.by_group
            .iter()
            .filter(move |(_, topics)| topics.contains_key(topic))
            .map(|(group, _)| group)
    }

    /// Everything, ordered.
    pub fn iter(&self) -> impl Iterator<Item = (GroupTopic, QueueId, QueueOffset)> + '_ {
        self.by_group.iter().flat_map(|(group, topics)| {
            topics.iter().flat_map(move |(topic, queues)| {
                queues.iter().map(move |(queue, p)| {
                    (
                        GroupTopic {
                            group: group.clone(),
                            topic: topic.clone(),
                        },
                        QueueId::from(*queue),
                        p.offset,
                    )
                })
            })
        })
    }

    fn entry(&mut self, group: &Name, topic: &Name, queue: QueueId) -> &mut Position {
        self.by_group
            .entry(group.clone())
            .or_default()
            .entry(topic.clone())
            .or_default()
            .entry(queue.get())
            .or_insert(Position {
                offset: QueueOffset::default(),
                reset_pending: false,
            })
    }

    pub(super) fn set(&mut self, group: &Name, topic: &Name, queue: QueueId, offset: QueueOffset) {
        self.entry(group, topic, queue).offset = offset;
    }

    pub(super) fn reset(&mut self, group: &Name, topic: &Name, queue: QueueId, offset: QueueOffset) {
        *self.entry(group, topic, queue) = Position {
            offset,
            reset_pending: true,
        };
    }

    pub(super) fn reset_taken(&mut self, group: &str, topic: &str, queue: QueueId) {
        let topics = self.by_group.get_mut(group);
        if let Some(position) = topics
            .and_then(|t| t.get_mut(topic))
            .and_then(|q| q.get_mut(&queue.get()))
        {
            position.reset_pending = false;
        }
    }

    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.by_group.retain(|_, topics| {
            topics.remove(topic);
            !topics.is_empty()
        });
    }

    pub(super) fn forget_group(&mut self, group: &str) {
        self.by_group.remove(group);
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.varint(self.by_group.len() as u64);
        for (group, topics) in &self.by_group {
            w.text(group);
            w.varint(topics.len() as u64);
            for (topic, queues) in topics {
                w.text(topic);
                w.varint(queues.len() as u64);
                for (queue, position) in queues {
                    w.varint(u64::from(*queue));
                    w.varint(position.offset.get());
                    w.flag(position.reset_pending);
                }
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut by_group = BTreeMap::new();
        for _ in 0..r.count()? {
            let group: Name = r.text()?.into();
            let mut topics = BTreeMap::new();
            for _ in 0..r.count()? {
                let topic: Name = r.text()?.into();
                let mut queues = BTreeMap::new();
                for _ in 0..r.count()? {
                    let queue = r.u32()?;
                    queues.insert(
                        queue,
                        Position {
                            offset: r.varint()?.into(),
                            reset_pending: r.flag()?,
                        },
                    );
                }
                topics.insert(topic, queues);
            }
            by_group.insert(group, topics);
        }
        Ok(Self { by_group })
    }
}
