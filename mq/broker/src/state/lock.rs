//! Queue locks of orderly consumers. They expire in log time, so every member agrees on who holds what.

use super::Name;
use super::codec::{CodecError, Reader, Writer};
use mq_message::QueueId;
use std::collections::BTreeMap;

/// A lock that is not renewed for this long may be taken by another client (RocketMQ: `rebalance.lockMaxLiveTime`).
pub const LOCK_TTL_MS: i64 = 60_000;

/// Who holds a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Client id.
    pub owner: Name,
    /// Log time of the last renewal, Unix milliseconds.
    pub renewed_ms: i64,
}

impl Lock {
    /// Whether the lock still stands at `now_ms` (log time).
    pub fn stands(&self, now_ms: i64) -> bool {
        now_ms - self.renewed_ms <= LOCK_TTL_MS
    }
}

/// All locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locks {
    by_group: BTreeMap<Name, BTreeMap<(Name, u32), Lock>>,
}

impl Locks {
    /// The lock on a queue, expired or not.
    pub fn get(&self, group: &str, topic: &Name, queue: QueueId) -> Option<&Lock> {
        self.by_group.get(group)?.get(&(topic.clone(), queue.get()))
    }

    /// Whether a group holds any lock at `now_ms`: it is an orderly consumer then.
    pub fn any_stands(&self, group: &str, now_ms: i64) -> bool {
        self.by_group
            .get(group)
            .is_some_and(|locks| locks.values().any(|lock| lock.stands(now_ms)))
    }

    /// Number of locks, expired ones included.
    pub fn len(&self) -> usize {
        self.by_group.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_group.is_empty()
    }

    pub(super) fn set(&mut self, group: &Name, topic: &Name, queue: QueueId, owner: &Name, time_ms: i64) {
        let lock = Lock {
            owner: owner.clone(),
            renewed_ms: time_ms,
        };
        self.by_group
            .entry(group.clone())
            .or_default()
            .insert((topic.clone(), queue.get()), lock);
    }

    pub(super) fn clear(&mut self, group: &str, topic: &Name, queue: QueueId) {
        if let Some(locks) = self.by_group.get_mut(group) {
            locks.remove(&(topic.clone(), queue.get()));
            if locks.is_empty() {
                self.by_group.remove(group);
            }
        }
    }

    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.by_group.retain(|_, locks| {
            locks.retain(|(name, _), _| &**name != topic);
            !locks.is_empty()
        });
    }

    pub(super) fn forget_group(&mut self, group: &str) {
        self.by_group.remove(group);
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.varint(self.by_group.len() as u64);
        for (group, locks) in &self.by_group {
            w.text(group);
            w.varint(locks.len() as u64);
            for ((topic, queue), lock) in locks {
                w.text(topic);
                w.varint(u64::from(*queue));
                w.text(&lock.owner);
                w.signed(lock.renewed_ms);
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut by_group = BTreeMap::new();
        for _ in 0..r.count()? {
            let group: Name = r.text()?.into();
            let mut locks = BTreeMap::new();
            for _ in 0..r.count()? {
                let key = (Name::from(r.text()?), r.u32()?);
                locks.insert(
                    key,
                    Lock {
                        owner: r.text()?.into(),
                        renewed_ms: r.signed()?,
                    },
                );
            }
            by_group.insert(group, locks);
        }
        Ok(Self { by_group })
    }
}
