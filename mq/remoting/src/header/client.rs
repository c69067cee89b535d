//! Heartbeats, and what passes through the broker to clients.

use super::header;
use crate::ByteStr;

header! {
    /// Answer to 34.
    HeartbeatResponse {
        /// Always true here.
        is_support_heart_beat_v2: bool = "IS_SUPPORT_HEART_BEAT_V2" | false,
        /// Always true here.
        is_sub_change: bool = "IS_SUB_CHANGE" | false,
    }

    /// 35: a client leaves.
    UnregisterClient {
        /// Client id (capital D on the wire).
        client_id: ByteStr = "clientID",
        /// Group it produced in.
        producer_group: Option<ByteStr> = "producerGroup",
        /// Group it consumed in.
        consumer_group: Option<ByteStr> = "consumerGroup",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 307: a consumer's state.
    GetConsumerRunningInfo {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Client.
        client_id: ByteStr = "clientId",
        /// With stacks of its threads.
        jstack_enable: bool = "jstackEnable" | false,
    }

    /// 309: let a consumer consume one message now.
    ConsumeMessageDirectly {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Client; any if absent.
        client_id: Option<ByteStr> = "clientId",
        /// Offset message id.
        msg_id: Option<ByteStr> = "msgId",
        /// Broker name.
        consume_broker_name: Option<ByteStr> = "brokerName",
        /// Topic.
        topic: Option<ByteStr> = "topic",
        /// Topic's flag.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Group's flag.
        group_sys_flag: Option<i32> = "groupSysFlag",
    }

    /// 222 (to the broker): reset a group's offsets. Also 220 (to a client), without queue and offset.
    ResetOffset {
        /// Topic.
        topic: ByteStr = "topic",
        /// Group.
        group: ByteStr = "group",
        /// −1 for all.
        queue_id: i32 = "queueId" | -1,
        /// Explicit offset.
        offset: Option<i64> = "offset",
        /// ms; −1 for the end.
        timestamp: i64 = "timestamp",
        /// Also move forward (old way).
        is_force: bool = "isForce" | false,
    }

    /// 220 (broker to client): move offsets. The body is a [`crate::body::ResetOffsetBody`].
    ResetOffsetPush {
        /// Topic.
        topic: ByteStr = "topic",
        /// Group.
        group: ByteStr = "group",
        /// ms.
        timestamp: i64 = "timestamp",
        /// As asked.
        is_force: bool = "isForce" | false,
    }

    /// 221 (broker to client) and 223 (to the broker): a consumer's offsets.
    GetConsumerStatus {
        /// Topic.
        topic: ByteStr = "topic",
        /// Group.
        group: ByteStr = "group",
        /// One client's only.
        client_addr: Option<ByteStr> = "clientAddr",
    }
}
