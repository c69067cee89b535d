//! Routes and clusters, as name servers tell them.

use std::collections::BTreeMap;

use super::body;

body! {
    /// A broker group and where its members are.
    BrokerData {
        /// `ip:port` by broker id; 0 is the leader.
        broker_addrs: BTreeMap<i64, String>,
        /// Name of the group.
        broker_name: String,
        /// Cluster.
        cluster: String,
        /// Not used here.
        enable_acting_master: bool,
        /// Zone.
        #[serde(skip_serializing_if = "Option::is_none")]
        zone_name: Option<String>,
    }

    /// A topic's queues on one broker group.
    QueueData {
        /// Name of the group.
        broker_name: String,
        /// [`mq_message::topic::perm`] bits.
        perm: u32,
        /// Queues to read.
        read_queue_nums: u32,
        /// Flag.
        topic_sys_flag: u32,
        /// Queues to write.
        write_queue_nums: u32,
    }

    /// Route of a topic: answer to 105, body of 217. Written by [`super::to_standard`] or [`super::to_fastjson`]
    /// depending on the client's version.
    TopicRouteData {
        /// Groups that hold the topic.
        broker_datas: Vec<BrokerData>,
        /// Obsolete; always empty.
        filter_server_table: BTreeMap<String, Vec<String>>,
        /// `brokerA:4;brokerB:4`
        #[serde(skip_serializing_if = "Option::is_none")]
        order_topic_conf: Option<String>,
        /// Queues by group.
        queue_datas: Vec<QueueData>,
        /// Static topics.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic_queue_mapping_by_broker: Option<serde_json::Value>,
    }

    /// Clusters and brokers: answer to 106.
    ClusterInfo {
        /// Groups by name.
        broker_addr_table: BTreeMap<String, BrokerData>,
        /// Names of a cluster's groups.
        cluster_addr_table: BTreeMap<String, Vec<String>>,
    }

    /// Addresses of a broker group.
    BrokerMemberGroup {
        /// `ip:port` by broker id.
        broker_addrs: BTreeMap<i64, String>,
        /// Name of the group.
        broker_name: String,
        /// Cluster.
        cluster: String,
    }

    /// Answer to 901.
    BrokerMemberGroupBody {
        /// The group.
        #[serde(skip_serializing_if = "Option::is_none")]
        broker_member_group: Option<BrokerMemberGroup>,
    }

    /// Names and values: answers to 103, 219, 28.
    KvTable {
        /// Values by name.
        table: BTreeMap<String, String>,
    }

    /// Topics: answers to 206, 224, 304, 305, 343.
    TopicList {
        /// One broker's address (304).
        #[serde(skip_serializing_if = "Option::is_none")]
        broker_addr: Option<String>,
        /// Names.
        topic_list: Vec<String>,
    }
}
