//! How the state changes: by a stored message, or by an effect. Pure, and the same code for applied and in-flight state.

use super::{Effect, Half, Name, RememberedBatch, State};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, topic as names};
use std::sync::Arc;

/// What the state must know of a stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its commit log offset (the judge, who does not know it yet, says 0: it never looks at one).
    pub physical: CommitLogOffset,
    /// Its size in bytes.
    pub size: u32,
}

/// The place a message took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Topic (the state's own copy of the name).
    pub topic: Name,
    /// Incarnation of the topic.
    pub incarnation: u64,
    /// Offset in the queue.
    pub offset: QueueOffset,
}

/// Where in its entry an effect stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Within<'a> {
    /// Commit log offset of the entry (0 for the judge, who does not know it yet).
    pub base: CommitLogOffset,
    /// Queue offsets of the messages stored so far in the same entry.
    pub queue_offsets: &'a [QueueOffset],
}

impl State {
    /// Stores a message in a queue: it takes the next offset. `None` if there is no such queue.
    pub fn place(&mut self, topic: &str, queue: QueueId, stored: Stored) -> Option<Placed> {
        let topics = Arc::make_mut(&mut self.topics);
        let found = topics.get_mut(topic)?;
        let incarnation = found.incarnation;
        let slot = found.queues.get_mut(queue.get() as usize)?;
        let offset = slot.next;
        slot.next = QueueOffset::from(offset.get() + 1);
        let name = found.config.name.clone();
        if topic == names::TRANS_HALF {
            let half = Half {
                first_physical: stored.physical,
                physical: stored.physical,
                size: stored.size,
                stored_ms: self.log_time_ms,
                checks: 0,
                checked_ms: 0,
            };
            Arc::make_mut(&mut self.halves).add(offset, half);
        }
        Some(Placed {
            topic: name,
            incarnation,
            offset,
        })
    }

    /// Log time of the entry being applied; it never runs backwards.
    pub fn advance_time(&mut self, log_time_ms: i64) {
        self.log_time_ms = self.log_time_ms.max(log_time_ms);
    }

    /// Applies an effect.
    pub fn apply(&mut self, effect: &Effect, within: Within<'_>) {
        let now = self.log_time_ms;
        match effect {
            Effect::Nothing => {}
            Effect::TopicSet(config) => Arc::make_mut(&mut self.topics).set(config.clone(), now),
            Effect::TopicGone(topic) => {
                Arc::make_mut(&mut self.topics).remove(topic, now);
                Arc::make_mut(&mut self.offsets).forget_topic(topic);
                Arc::make_mut(&mut self.locks).forget_topic(topic);
            }
            Effect::GroupSet(config) => Arc::make_mut(&mut self.groups).set(config.clone(), now),
            Effect::GroupGone { group, clean_offsets } => {
                Arc::make_mut(&mut self.groups).remove(group, now);
                Arc::make_mut(&mut self.locks).forget_group(group);
                if *clean_offsets {
                    Arc::make_mut(&mut self.offsets).forget_group(group);
                }
            }
            Effect::Offset {
                group,
                topic,
                queue,
                offset,
            } => {
                Arc::make_mut(&mut self.offsets).set(group, topic, *queue, *offset);
            }
            Effect::OffsetReset {
                group,
                topic,
                queue,
                offset,
            } => {
                Arc::make_mut(&mut self.offsets).reset(group, topic, *queue, *offset);
            }
            Effect::ResetTaken { group, topic, queue } => {
                Arc::make_mut(&mut self.offsets).reset_taken(group, topic, *queue);
            }
            Effect::HalfDecided(half) => Arc::make_mut(&mut self.halves).decided(*half),
            Effect::HalfChecked(half) => Arc::make_mut(&mut self.halves).checked(*half, now),
            Effect::HalfMoved { identity, copy } => Arc::make_mut(&mut self.halves).moved(*identity, *copy),
            Effect::Delivered { level, to } => self.schedule.advance(*level, *to),
            Effect::DelaysSet(delays) => self.set_delays(delays),
            Effect::Locked {
                group,
                topic,
                queue,
                owner,
            } => {
                Arc::make_mut(&mut self.locks).set(group, topic, *queue, owner, now);
            }
            Effect::Unlocked { group, topic, queue } => Arc::make_mut(&mut self.locks).clear(group, topic, *queue),
            Effect::ProducerOpened { producer, epoch } => {
                Arc::make_mut(&mut self.producers).opened(producer, *epoch);
            }
            Effect::ProducerTook {
                producer,
                sequence,
                position,
                messages,
            } => {
                let offsets = within.queue_offsets;
                let first = offsets.len().saturating_sub(*messages as usize);
                let batch = RememberedBatch {
                    sequence: *sequence,
                    base: within.base,
                    queue_offsets: offsets[first..].to_vec(),
                };
                Arc::make_mut(&mut self.producers).took(producer, position.as_ref(), batch);
            }
            Effect::Retained(line) => self.retained = self.retained.max(*line),
            Effect::QueueMinimum { topic, queue, min } => {
                let topics = Arc::make_mut(&mut self.topics);
                let slot = topics
                    .get_mut(topic)
                    .and_then(|t| t.queues.get_mut(queue.get() as usize));
                if let Some(slot) = slot {
                    slot.min = (*min).max(slot.min).min(slot.next);
                }
            }
        }
    }

    fn set_delays(&mut self, delays: &[i64]) {
        self.schedule.set_delays(delays.to_vec());
        let topics = Arc::make_mut(&mut self.topics);
        if let Some(mut config) = topics.get(names::SCHEDULE).map(|t| t.config.clone()) {
            config.read_queues = self.schedule.progress().len() as u32;
            config.write_queues = config.read_queues;
            topics.set(config, self.log_time_ms);
        }
    }
}
