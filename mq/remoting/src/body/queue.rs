//! Message queues, and maps that have them as keys.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::fastjson::OBJECT_KEY;

/// A message queue: one of a topic's queues on one broker group. Sorted as clients sort them: topic, broker, queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// Name of the broker group.
    pub broker_name: String,
    /// Queue; −1 stands for all in assignments.
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

impl MessageQueue {
    /// A queue.
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        Self {
            broker_name: broker_name.into(),
            queue_id,
            topic: topic.into(),
        }
    }
}

impl Ord for MessageQueue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.topic
            .cmp(&other.topic)
            .then_with(|| self.broker_name.cmp(&other.broker_name))
            .then_with(|| self.queue_id.cmp(&other.queue_id))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A map by message queue. fastjson writes the queue's object itself as the key.
pub type QueueMap<V> = BTreeMap<QueueKey, V>;

/// A message queue as a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey(pub MessageQueue);

impl From<MessageQueue> for QueueKey {
    fn from(queue: MessageQueue) -> Self {
        Self(queue)
    }
}

impl Serialize for QueueKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = serde_json::to_string(&self.0).map_err(ser::Error::custom)?;
        serializer.collect_str(&format_args!("{OBJECT_KEY}{object}"))
    }
}

impl<'de> Deserialize<'de> for QueueKey {
    /// From the text the lenient reader makes of an object key.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(text.trim_start_matches(OBJECT_KEY))
            .map(Self)
            .map_err(de::Error::custom)
    }
}
