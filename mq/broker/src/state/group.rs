//! Consumer groups ("subscription groups"): configuration, as RocketMQ's tools know it.

use super::codec::{CodecError, Reader, Writer};
use super::{DataVersion, Name};
use std::collections::BTreeMap;

/// Configuration of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Name.
    pub name: Name,
    /// May consume at all.
    pub consume_enable: bool,
    /// A new group starts at the minimum offset (informational).
    pub consume_from_min_enable: bool,
    /// May consume in broadcasting mode.
    pub consume_broadcast_enable: bool,
    /// Orderly (informational; used by POP).
    pub consume_message_orderly: bool,
    /// Queues of its retry topic; 0 means that sent-back messages are dropped.
    pub retry_queues: u32,
    /// Redeliveries before a message goes to the dead-letter queue.
    pub retry_max_times: i32,
    /// Broker id to read from.
    pub broker_id: u64,
    /// Broker id to read from when it lags.
    pub which_broker_when_consume_slowly: u64,
    /// Tell its members when the membership changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// System flags.
    pub group_sys_flag: i32,
    /// Minutes a client may take for a message (informational).
    pub consume_timeout_minutes: i32,
    /// Attributes, kept as given.
    pub attributes: BTreeMap<String, String>,
}

impl GroupConfig {
    /// A group with RocketMQ's defaults.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queues: 1,
            retry_max_times: 16,
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minutes: 15,
            attributes: BTreeMap::new(),
        }
    }

    pub(crate) fn encode(&self, w: &mut Writer) {
        w.text(&self.name);
        w.flag(self.consume_enable);
        w.flag(self.consume_from_min_enable);
        w.flag(self.consume_broadcast_enable);
        w.flag(self.consume_message_orderly);
        w.varint(self.retry_queues.into());
        w.signed(self.retry_max_times.into());
        w.varint(self.broker_id);
        w.varint(self.which_broker_when_consume_slowly);
        w.flag(self.notify_consumer_ids_changed_enable);
        w.signed(self.group_sys_flag.into());
        w.signed(self.consume_timeout_minutes.into());
        w.varint(self.attributes.len() as u64);
        for (key, value) in &self.attributes {
            w.text(key);
            w.text(value);
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            name: r.text()?.into(),
            consume_enable: r.flag()?,
            consume_from_min_enable: r.flag()?,
            consume_broadcast_enable: r.flag()?,
            consume_message_orderly: r.flag()?,
            retry_queues: r.u32()?,
            retry_max_times: r.i32()?,
            broker_id: r.varint()?,
            which_broker_when_consume_slowly: r.varint()?,
            notify_consumer_ids_changed_enable: r.flag()?,
            group_sys_flag: r.i32()?,
            consume_timeout_minutes: r.i32()?,
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

/// All consumer groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    by_name: BTreeMap<Name, GroupConfig>,
    version: DataVersion,
}

impl Groups {
    /// A group by name.
    pub fn get(&self, name: &str) -> Option<&GroupConfig> {
        self.by_name.get(name)
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = &GroupConfig> {
        self.by_name.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Version of the whole table.
    pub fn version(&self) -> DataVersion {
        self.version
    }

    pub(super) fn set(&mut self, config: GroupConfig, time_ms: i64) {
        self.version.bump(time_ms);
        self.by_name.insert(config.name.clone(), config);
    }

    pub(super) fn remove(&mut self, name: &str, time_ms: i64) {
        if self.by_name.remove(name).is_some() {
            self.version.bump(time_ms);
        }
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        self.version.encode(w);
        w.varint(self.by_name.len() as u64);
        for group in self.by_name.values() {
            group.encode(w);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let version = DataVersion::decode(r)?;
        let mut by_name = BTreeMap::new();
        for _ in 0..r.count()? {
            let group = GroupConfig::decode(r)?;
            by_name.insert(group.name.clone(), group);
        }
        Ok(Self { by_name, version })
    }
}
