//! What clients say of themselves, and what concerns single clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::{MessageQueue, QueueMap, body};

/// How a group consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConsumeType {
    /// Pull.
    #[serde(rename = "CONSUME_ACTIVELY")]
    Actively,
    /// Push.
    #[default]
    #[serde(rename = "CONSUME_PASSIVELY")]
    Passively,
    /// Pop.
    #[serde(rename = "CONSUME_POP")]
    Pop,
}

/// Who of a group gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageModel {
    /// All.
    Broadcasting,
    /// One.
    #[default]
    Clustering,
}

/// Where a group without offsets begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConsumeFromWhere {
    /// At the end.
    #[default]
    #[serde(
        rename = "CONSUME_FROM_LAST_OFFSET",
        alias = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        alias = "CONSUME_FROM_MAX_OFFSET"
    )]
    LastOffset,
    /// At the beginning.
    #[serde(rename = "CONSUME_FROM_FIRST_OFFSET", alias = "CONSUME_FROM_MIN_OFFSET")]
    FirstOffset,
    /// At a time.
    #[serde(rename = "CONSUME_FROM_TIMESTAMP")]
    Timestamp,
}

/// A group's subscription of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Obsolete.
    pub class_filter_mode: bool,
    /// Hashes of the tags.
    #[serde(deserialize_with = "numbers")]
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The expression.
    pub sub_string: String,
    /// Greater is newer.
    pub sub_version: i64,
    /// The tags.
    pub tags_set: Vec<String>,
    /// Topic.
    pub topic: String,
}

/// A list of numbers that may be written as texts, as the Go client writes hashes; fastjson reads both.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Bare(i32),
        Text(String),
    }
    let list = Option::<Vec<Number>>::deserialize(deserializer)?.unwrap_or_default();
    let number = |number| match number {
        Number::Bare(number) => Ok(number),
        Number::Text(text) => text.trim().parse().map_err(de::Error::custom),
    };
    list.into_iter().map(number).collect()
}

impl SubscriptionData {
    /// Expression type of tags.
    pub const TAG: &'static str = "TAG";
    /// Expression type of SQL filters.
    pub const SQL92: &'static str = "SQL92";
    /// The expression that everything matches.
    pub const ALL: &'static str = "*";

    /// Whether the expression is of tags.
    pub fn is_tag(&self) -> bool {
        self.expression_type.is_empty() || self.expression_type == Self::TAG
    }
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: Self::TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

body! {
    /// A client in a consumer group.
    ConsumerData {
        /// Where the group begins.
        consume_from_where: ConsumeFromWhere,
        /// Push, pull or pop.
        consume_type: ConsumeType,
        /// Group.
        group_name: String,
        /// Clustering or broadcasting.
        message_model: MessageModel,
        /// Subscriptions.
        subscription_data_set: Vec<SubscriptionData>,
        /// Unit deployments.
        unit_mode: bool,
    }

    /// A client in a producer group.
    ProducerData {
        /// Group.
        group_name: String,
    }

    /// Body of 34.
    HeartbeatData {
        /// Client id.
        #[serde(rename = "clientID")]
        client_id: String,
        /// Groups it consumes in.
        consumer_data_set: Vec<ConsumerData>,
        /// Second form of heartbeats.
        heartbeat_fingerprint: i32,
        /// Groups it produces in.
        producer_data_set: Vec<ProducerData>,
        /// Second form of heartbeats: subscriptions left out.
        without_sub: bool,
    }

    /// Answer to 38.
    ConsumerIds {
        /// Client ids.
        consumer_id_list: Vec<String>,
    }

    /// Body of 41 and 42.
    LockBatchBody {
        /// Client id.
        client_id: String,
        /// Group.
        consumer_group: String,
        /// Queues.
        mq_set: Vec<MessageQueue>,
        /// Not at the other members.
        only_this_broker: bool,
    }

    /// Answer to 41.
    LockBatchResponseBody {
        /// Queues locked.
        #[serde(rename = "lockOKMQSet")]
        lock_ok_mq_set: Vec<MessageQueue>,
    }

    /// Body of 46.
    CheckClientConfigBody {
        /// Client id.
        client_id: String,
        /// Group.
        group: String,
        /// Namespace.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Subscription to check.
        subscription_data: SubscriptionData,
    }

    /// Body of 400.
    QueryAssignmentRequestBody {
        /// Client id.
        client_id: String,
        /// Group.
        consumer_group: String,
        /// Clustering or broadcasting.
        message_model: MessageModel,
        /// How queues are shared out.
        strategy_name: String,
        /// Topic.
        topic: String,
    }

    /// A queue a client should consume.
    MessageQueueAssignment {
        /// Free attachments.
        #[serde(skip_serializing_if = "Option::is_none")]
        attachments: Option<BTreeMap<String, String>>,
        /// Queue.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_queue: Option<MessageQueue>,
        /// `PULL` or `POP`.
        mode: String,
    }

    /// Answer to 400.
    QueryAssignmentResponseBody {
        /// Absent when nothing is known: the client keeps what it has.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
    }

    /// Body of 401.
    SetMessageRequestModeBody {
        /// Group.
        consumer_group: String,
        /// `PULL` or `POP`.
        mode: String,
        /// Queues shared with other clients.
        pop_share_queue_num: i32,
        /// Topic.
        topic: String,
    }

    /// Answer to 307, made by clients; a broker passes it on unread.
    ConsumerRunningInfo {
        /// Stacks of threads.
        #[serde(skip_serializing_if = "Option::is_none")]
        jstack: Option<String>,
        /// POP queues.
        mq_pop_table: QueueMap<Value>,
        /// Queues being consumed.
        mq_table: QueueMap<Value>,
        /// `PROP_…`
        properties: BTreeMap<String, String>,
        /// Rates by topic.
        status_table: BTreeMap<String, Value>,
        /// Subscriptions.
        subscription_set: Vec<SubscriptionData>,
        /// Free.
        user_consumer_info: BTreeMap<String, String>,
    }

    /// Answer to 309, made by clients.
    ConsumeMessageDirectlyResult {
        /// Offsets are committed by themselves.
        auto_commit: bool,
        /// `CR_SUCCESS`, `CR_LATER`, `CR_ROLLBACK`, `CR_COMMIT`, `CR_THROW_EXCEPTION`, `CR_RETURN_NULL`.
        consume_result: String,
        /// Ordered consumption.
        order: bool,
        /// Text for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        remark: Option<String>,
        /// ms.
        spent_time_mills: i64,
    }
}
