//! Administration of topics, groups and brokers.

use super::header;
use crate::ByteStr;

header! {
    /// 17: create or change a topic.
    CreateTopic {
        /// Topic.
        topic: ByteStr = "topic",
        /// Template.
        default_topic: ByteStr = "defaultTopic" | ByteStr::new(),
        /// Queues to read.
        read_queue_nums: i32 = "readQueueNums",
        /// Queues to write.
        write_queue_nums: i32 = "writeQueueNums",
        /// [`mq_message::topic::perm`] bits.
        perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: ByteStr = "topicFilterType" | ByteStr::from_static("SINGLE_TAG"),
        /// Flag.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Order topic.
        order: bool = "order" | false,
        /// `+message.type=NORMAL,+queue.type=…`
        attributes: Option<ByteStr> = "attributes",
        /// Static topics.
        force: Option<bool> = "force",
    }

    /// 215, 202, 300: a topic.
    TopicHeader {
        /// Topic.
        topic: ByteStr = "topic",
    }

    /// 351: a topic's configuration.
    GetTopicConfig {
        /// Topic.
        topic: ByteStr = "topic",
        /// Static topics.
        lo: Option<bool> = "lo",
    }

    /// 21: all topics. Every field may be absent.
    GetAllTopicConfig {
        /// Page.
        topic_seq: Option<i32> = "topicSeq",
        /// Version the client has, JSON.
        data_version: Option<ByteStr> = "dataVersion",
        /// Size of a page.
        max_topic_num: Option<i32> = "maxTopicNum",
    }

    /// Answer to 21.
    GetAllTopicConfigResponse {
        /// Topics in all.
        total_topic_num: Option<i32> = "totalTopicNum",
    }

    /// 201: all groups. Every field may be absent.
    GetAllSubscriptionGroup {
        /// Page.
        group_seq: Option<i32> = "groupSeq",
        /// Version the client has, JSON.
        data_version: Option<ByteStr> = "dataVersion",
        /// Size of a page.
        max_group_num: Option<i32> = "maxGroupNum",
    }

    /// Answer to 201.
    GetAllSubscriptionGroupResponse {
        /// Groups in all.
        total_group_num: Option<i32> = "totalGroupNum",
    }

    /// 352, 343: a group.
    GroupHeader {
        /// Group.
        group: ByteStr = "group",
    }

    /// 207: delete a group.
    DeleteSubscriptionGroup {
        /// Group.
        group_name: ByteStr = "groupName",
        /// With its offsets.
        clean_offset: bool = "cleanOffset" | false,
    }

    /// 208: how far a group is.
    GetConsumeStats {
        /// Group.
        consumer_group: ByteStr = "consumerGroup",
        /// Empty or absent for all its topics.
        topic: Option<ByteStr> = "topic",
        /// Several topics.
        topic_list: Option<ByteStr> = "topicList",
    }

    /// 204: a producer group.
    ProducerGroupHeader {
        /// Group.
        producer_group: ByteStr = "producerGroup",
    }

    /// 345, 303: a group's topic.
    GroupTopic {
        /// Group.
        group: ByteStr = "group",
        /// Topic.
        topic: ByteStr = "topic",
    }

    /// 353: forbid a group a topic, or ask.
    UpdateGroupForbidden {
        /// Group.
        group: ByteStr = "group",
        /// Topic.
        topic: ByteStr = "topic",
        /// Absent: only ask.
        readable: Option<bool> = "readable",
    }

    /// 317: how far all groups are.
    GetBrokerConsumeStats {
        /// Only order topics.
        is_order: bool = "isOrder" | false,
    }

    /// Answer to 26. The body is property text.
    GetBrokerConfigResponse {
        /// Data version as JSON.
        version: ByteStr = "version",
    }

    /// 315: a statistic.
    ViewBrokerStats {
        /// Which statistic.
        stats_name: ByteStr = "statsName",
        /// Of what.
        stats_key: ByteStr = "statsKey",
    }

    /// 321: entries of a consume queue.
    QueryConsumeQueue {
        /// Topic.
        topic: ByteStr = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// First entry.
        index: i64 = "index",
        /// Entries wanted.
        count: i32 = "count",
        /// Group whose filter is applied.
        consumer_group: Option<ByteStr> = "consumerGroup",
    }

    /// 314: copy a group's offsets.
    CloneGroupOffset {
        /// From.
        src_group: ByteStr = "srcGroup",
        /// To.
        dest_group: ByteStr = "destGroup",
        /// Topic; all if absent.
        topic: Option<ByteStr> = "topic",
        /// Also if offline.
        offline: bool = "offline" | false,
    }

    /// 323: check a half message again.
    ResumeCheckHalfMessage {
        /// Topic.
        topic: Option<ByteStr> = "topic",
        /// Offset message id.
        msg_id: Option<ByteStr> = "msgId",
    }
}
