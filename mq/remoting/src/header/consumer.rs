//! Offsets of queues and groups, and messages looked up.

use super::header;
use crate::ByteStr;

header! {
    /// 14: a group's offset of a queue.
    QueryConsumerOffset {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// False: answer 22 rather than 0.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// Answer to 14, 29, 30, 31.
    OffsetResponse {
        /// The offset.
        offset: i64 = "offset",
    }

    /// 15: commit a group's offset of a queue. Java answers 29 if queue or offset are missing.
    UpdateConsumerOffset {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: Option<i32> = "queueId",
        /// Next offset the group wants.
        commit_offset: Option<i64> = "commitOffset",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 29: offset of a queue at a time.
    SearchOffset {
        /// Topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// ms.
        timestamp: i64 = "timestamp",
        /// `LOWER` (also if absent) or `UPPER`, in any case.
        boundary_type: Option<ByteStr> = "boundaryType",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 30: largest offset of a queue.
    GetMaxOffset {
        /// Topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Only committed messages.
        committed: Option<bool> = "committed",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 31 and 32: smallest offset of a queue, and its store time.
    GetMinOffset {
        /// Topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// Answer to 32.
    EarliestStoretimeResponse {
        /// ms; −1 for none.
        timestamp: i64 = "timestamp",
    }

    /// 38, 40, 203: a consumer group.
    ConsumerGroupHeader {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
    }

    /// 33: a message by its commit log offset.
    ViewMessage {
        /// Commit log offset.
        offset: i64 = "offset",
        /// Topic.
        topic: Option<ByteStr> = "topic",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 12: messages by key.
    QueryMessage {
        /// Topic.
        topic: ByteStr = "topic",
        /// Key.
        key: ByteStr = "key",
        /// Most messages wanted.
        max_num: i32 = "maxNum",
        /// ms.
        begin_timestamp: i64 = "beginTimestamp",
        /// ms; may be the largest number there is.
        end_timestamp: i64 = "endTimestamp",
        /// The key is a unique key.
        unique_key_query: Option<bool> = "_UNIQUE_KEY_QUERY",
    }

    /// Answer to 12.
    QueryMessageResponse {
        /// ms.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// Commit log offset.
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }
}
