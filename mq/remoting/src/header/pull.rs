//! Pulling: requests 11 and 361, and POP.

use super::header;
use crate::ByteStr;

/// Bits of [`PullMessage::sys_flag`].
pub mod pull_flag {
    /// Take `commitOffset` as the group's offset.
    pub const COMMIT_OFFSET: i32 = 1;
    /// Wait for messages.
    pub const SUSPEND: i32 = 2;
    /// The filter is in `subscription`.
    pub const SUBSCRIPTION: i32 = 4;
    /// Obsolete.
    pub const CLASS_FILTER: i32 = 8;
    /// Lite pull.
    pub const LITE_PULL: i32 = 16;
}

header! {
    /// 11 and 361: pull messages of a queue.
    PullMessage {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Next offset wanted.
        queue_offset: i64 = "queueOffset",
        /// Most messages wanted.
        max_msg_nums: i32 = "maxMsgNums",
        /// [`pull_flag`] bits.
        sys_flag: i32 = "sysFlag",
        /// Offset to commit on the way.
        commit_offset: i64 = "commitOffset",
        /// How long to wait for messages.
        suspend_timeout_millis: i64 = "suspendTimeoutMillis",
        /// Filter expression.
        subscription: Option<ByteStr> = "subscription",
        /// Version of the subscription.
        sub_version: i64 = "subVersion",
        /// `TAG` (also if absent) or `SQL92`.
        expression_type: Option<ByteStr> = "expressionType",
        /// Most bytes wanted.
        max_msg_bytes: Option<i32> = "maxMsgBytes",
        /// Who asks, in proxies.
        request_source: Option<i32> = "requestSource",
        /// Client behind a proxy (spelt so on the wire).
        proxy_forward_client_id: Option<ByteStr> = "proxyFrowardClientId",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// Answer to a pull. Clients need the four mandatory fields with codes 0, 19, 20, 21.
    PullMessageResponse {
        /// Id of the member to pull from next.
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        /// Where to go on.
        next_begin_offset: i64 = "nextBeginOffset",
        /// Smallest offset of the queue.
        min_offset: i64 = "minOffset",
        /// Largest offset of the queue.
        max_offset: i64 = "maxOffset",
        /// Static topics.
        offset_delta: Option<i64> = "offsetDelta",
        /// Topic's flag.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Group's flag.
        group_sys_flag: Option<i32> = "groupSysFlag",
        /// Why a pull is forbidden (code 16): 1 broker, 2 group, 3 topic, 4 broadcast, 5 subscription.
        forbidden_type: Option<i32> = "forbiddenType",
    }

    /// 200050: pop messages.
    PopMessage {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Topic.
        topic: ByteStr = "topic",
        /// Queue; −1 for all.
        queue_id: i32 = "queueId",
        /// Most messages wanted.
        max_msg_nums: i32 = "maxMsgNums",
        /// How long popped messages stay invisible, ms.
        invisible_time: i64 = "invisibleTime",
        /// How long to wait for messages, ms.
        poll_time: i64 = "pollTime",
        /// The client's clock, ms.
        born_time: i64 = "bornTime",
        /// Where a new group begins: 0 oldest, 1 newest.
        init_mode: i32 = "initMode",
        /// `TAG` or `SQL92`.
        exp_type: Option<ByteStr> = "expType",
        /// Filter expression.
        exp: Option<ByteStr> = "exp",
        /// Ordered consumption.
        order: Option<bool> = "order",
        /// Identifies a repeated attempt.
        attempt_id: Option<ByteStr> = "attemptId",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// Answer to 200050.
    PopMessageResponse {
        /// When they were popped, ms.
        pop_time: i64 = "popTime",
        /// How long they stay invisible, ms.
        invisible_time: i64 = "invisibleTime",
        /// Revive queue.
        revive_qid: i32 = "reviveQid",
        /// Messages left.
        rest_num: i64 = "restNum",
        /// `<retry> <queue> <start offset>` joined by `;`.
        start_offset_info: Option<ByteStr> = "startOffsetInfo",
        /// `<retry> <queue> <offset>,<offset>,…` joined by `;`.
        msg_offset_info: Option<ByteStr> = "msgOffsetInfo",
        /// Delivery counts of ordered consumption.
        order_count_info: Option<ByteStr> = "orderCountInfo",
    }

    /// 200051: acknowledge a popped message.
    AckMessage {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Topic or retry topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// The message's handle (`POP_CK`).
        extra_info: ByteStr = "extraInfo",
        /// Queue offset.
        offset: i64 = "offset",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 200053: change a popped message's invisible time.
    ChangeInvisibleTime {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Topic or retry topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// The message's handle (`POP_CK`).
        extra_info: ByteStr = "extraInfo",
        /// Queue offset.
        offset: i64 = "offset",
        /// New time, ms.
        invisible_time: i64 = "invisibleTime",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// Answer to 200053.
    ChangeInvisibleTimeResponse {
        /// ms.
        pop_time: i64 = "popTime",
        /// ms.
        invisible_time: i64 = "invisibleTime",
        /// Revive queue.
        revive_qid: i32 = "reviveQid",
    }
}
