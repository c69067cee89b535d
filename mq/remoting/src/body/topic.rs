//! Topics: configuration and statistics.

use std::collections::BTreeMap;

use mq_message::topic::perm;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{QueueMap, body};

/// Version of a table: who has the greater one is newer. `state_version` is the Raft term here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Changes counted.
    pub counter: i64,
    /// Greater wins at the name server.
    pub state_version: i64,
    /// When it last changed, ms.
    pub timestamp: i64,
}

/// Whether a topic's messages have one tag or several. Only the first is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    /// One tag.
    #[default]
    SingleTag,
    /// Several tags.
    MultiTag,
}

impl TopicFilterType {
    /// Name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SingleTag => "SINGLE_TAG",
            Self::MultiTag => "MULTI_TAG",
        }
    }
}

/// Configuration of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// `message.type`, `queue.type`, `cleanup.policy`, `reserve.time`.
    pub attributes: BTreeMap<String, String>,
    /// Order topic.
    pub order: bool,
    /// [`mq_message::topic::perm`] bits.
    pub perm: u32,
    /// Queues to read.
    pub read_queue_nums: u32,
    /// Filter type.
    pub topic_filter_type: TopicFilterType,
    /// Name.
    pub topic_name: String,
    /// Flag.
    pub topic_sys_flag: u32,
    /// Queues to write.
    pub write_queue_nums: u32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: perm::READ_WRITE,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// A topic with as many queues to read as to write.
    pub fn new(topic_name: impl Into<String>, queue_nums: u32, perm: u32) -> Self {
        Self {
            topic_name: topic_name.into(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm,
            ..Self::default()
        }
    }
}

body! {
    /// All topics of a broker: answer to 21, part of a registration.
    TopicConfigSerializeWrapper {
        /// Version of the table.
        data_version: DataVersion,
        /// Static topics.
        #[serde(skip_serializing_if = "Option::is_none")]
        mapping_data_version: Option<DataVersion>,
        /// Configurations by topic.
        topic_config_table: BTreeMap<String, TopicConfig>,
        /// Static topics.
        topic_queue_mapping_detail_map: BTreeMap<String, Value>,
        /// Static topics.
        topic_queue_mapping_info_map: BTreeMap<String, Value>,
    }

    /// Body of 18.
    TopicConfigList {
        /// Configurations.
        topic_config_list: Vec<TopicConfig>,
    }

    /// Bounds of one queue.
    TopicOffset {
        /// Store time of its last message, ms.
        last_update_timestamp: i64,
        /// Next offset to be written.
        max_offset: i64,
        /// First offset there is.
        min_offset: i64,
    }

    /// Answer to 202.
    TopicStatsTable {
        /// Bounds by queue.
        offset_table: QueueMap<TopicOffset>,
        /// Messages a second.
        topic_put_tps: f64,
    }

    /// One statistic over one time.
    BrokerStatsItem {
        /// Average milliseconds a time.
        avgpt: f64,
        /// Sum.
        sum: i64,
        /// A second.
        tps: f64,
    }

    /// Answer to 315.
    BrokerStatsData {
        /// Last day.
        stats_day: BrokerStatsItem,
        /// Last hour.
        stats_hour: BrokerStatsItem,
        /// Last minute.
        stats_minute: BrokerStatsItem,
    }
}
