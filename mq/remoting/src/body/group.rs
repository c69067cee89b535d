//! Consumer groups: configuration, progress and members.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ConsumeFromWhere, ConsumeType, DataVersion, MessageModel, MessageQueue, QueueMap, SubscriptionData, body};

/// Configuration of a consumer group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Free attributes.
    pub attributes: BTreeMap<String, String>,
    /// Member to read from.
    pub broker_id: i64,
    /// May broadcast.
    pub consume_broadcast_enable: bool,
    /// May consume.
    pub consume_enable: bool,
    /// May begin at the oldest message.
    pub consume_from_min_enable: bool,
    /// Ordered (POP).
    pub consume_message_orderly: bool,
    /// Minutes.
    pub consume_timeout_minute: i32,
    /// Name.
    pub group_name: String,
    /// Waiting times of retries (POP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_retry_policy: Option<GroupRetryPolicy>,
    /// Flag.
    pub group_sys_flag: i32,
    /// Tell members of changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// Retries before the dead letters.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Fixed subscriptions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<Value>>,
    /// Member to read from when far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: None,
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// A group with RocketMQ's defaults.
    pub fn new(group_name: impl Into<String>) -> Self {
        Self {
            group_name: group_name.into(),
            ..Self::default()
        }
    }
}

/// Waiting times of retries (POP).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRetryPolicy {
    /// Explicit times: `{"next":[ms]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<Value>,
    /// `{"initial":5000,"max":7200000,"multiplier":2}`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<Value>,
    /// `CUSTOMIZED` or `EXPONENTIAL`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Default for GroupRetryPolicy {
    fn default() -> Self {
        Self {
            customized_retry_policy: None,
            exponential_retry_policy: None,
            kind: "CUSTOMIZED".to_owned(),
        }
    }
}

body! {
    /// All groups of a broker: answer to 201.
    SubscriptionGroupWrapper {
        /// Version of the table.
        data_version: DataVersion,
        /// Topics forbidden, by group.
        forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
        /// Configurations by group.
        subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
    }

    /// Body of 225.
    SubscriptionGroupList {
        /// Configurations.
        group_config_list: Vec<SubscriptionGroupConfig>,
    }

    /// Answer to 353.
    GroupForbidden {
        /// Group.
        group: String,
        /// Whether the group may read the topic.
        readable: bool,
        /// Topic.
        topic: String,
    }

    /// Answer to 300.
    GroupList {
        /// Names.
        group_list: Vec<String>,
    }

    /// A group's progress in one queue.
    OffsetWrapper {
        /// Next offset to be written.
        broker_offset: i64,
        /// Next offset the group wants.
        consumer_offset: i64,
        /// Store time of the last consumed message, ms.
        last_timestamp: i64,
        /// Next offset the group pulls.
        pull_offset: i64,
    }

    /// Answer to 208.
    ConsumeStats {
        /// Messages a second.
        consume_tps: f64,
        /// Progress by queue.
        offset_table: QueueMap<OffsetWrapper>,
    }

    /// Answer to 317.
    ConsumeStatsList {
        /// Address of the broker.
        broker_addr: String,
        /// Progress by group, one map a group.
        consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
        /// Messages behind, in all.
        total_diff: i64,
        /// Messages pulled but not consumed, in all.
        total_inflight_diff: i64,
    }

    /// A client's connection.
    Connection {
        /// `ip:port`.
        client_addr: String,
        /// Client id.
        client_id: String,
        /// Name of its language.
        language: String,
        /// Its version.
        version: i32,
    }

    /// Answer to 203.
    ConsumerConnection {
        /// Connections.
        connection_set: Vec<Connection>,
        /// Where a new group begins.
        consume_from_where: ConsumeFromWhere,
        /// Push, pull or pop.
        consume_type: ConsumeType,
        /// Clustering or broadcasting.
        message_model: MessageModel,
        /// Subscriptions by topic.
        subscription_table: BTreeMap<String, SubscriptionData>,
    }

    /// Answer to 204.
    ProducerConnection {
        /// Connections.
        connection_set: Vec<Connection>,
    }

    /// A producer.
    ProducerInfo {
        /// Client id.
        client_id: String,
        /// Name of its language.
        language: String,
        /// Last heartbeat, ms.
        last_update_timestamp: i64,
        /// `ip:port`.
        #[serde(rename = "remoteIP")]
        remote_ip: String,
        /// Its version.
        version: i32,
    }

    /// Answer to 328.
    ProducerTableInfo {
        /// Producers by group.
        data: BTreeMap<String, Vec<ProducerInfo>>,
    }

    /// Answer to 345.
    QuerySubscriptionResponseBody {
        /// Group.
        group: String,
        /// Its subscription.
        #[serde(skip_serializing_if = "Option::is_none")]
        subscription_data: Option<SubscriptionData>,
        /// Topic.
        topic: String,
    }

    /// Times of one queue.
    QueueTimeSpan {
        /// Store time of the last consumed message, ms.
        consume_time_stamp: i64,
        /// How far behind, ms.
        delay_time: i64,
        /// Store time of the newest message, ms.
        max_time_stamp: i64,
        /// Queue.
        message_queue: MessageQueue,
        /// Store time of the oldest message, ms.
        min_time_stamp: i64,
    }

    /// Answer to 303.
    QueryConsumeTimeSpanBody {
        /// By queue.
        consume_time_span_set: Vec<QueueTimeSpan>,
    }

    /// Body of 220; answer to 222.
    ResetOffsetBody {
        /// New offsets by queue.
        offset_table: QueueMap<i64>,
    }

    /// One item of [`ResetOffsetBodyForC`].
    QueueForC {
        /// Broker group.
        broker_name: String,
        /// New offset.
        offset: i64,
        /// Queue.
        queue_id: i32,
        /// Topic.
        topic: String,
    }

    /// Body of 220 when a C++ tool asks.
    ResetOffsetBodyForC {
        /// New offsets.
        offset_table: Vec<QueueForC>,
    }

    /// Answers to 221 and 223.
    GetConsumerStatusBody {
        /// Offsets by client and queue (223).
        consumer_table: BTreeMap<String, QueueMap<i64>>,
        /// Offsets by queue (221).
        message_queue_table: QueueMap<i64>,
    }

    /// Answer to 43: the file of consumer offsets.
    ConsumerOffsetTable {
        /// Version of the table.
        #[serde(skip_serializing_if = "Option::is_none")]
        data_version: Option<DataVersion>,
        /// `topic@group`, then queue.
        offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    }

    /// Answer to 45: the file of delay offsets.
    DelayOffsetTable {
        /// Version of the table.
        #[serde(skip_serializing_if = "Option::is_none")]
        data_version: Option<DataVersion>,
        /// By level.
        offset_table: BTreeMap<i32, i64>,
    }
}
