//! The name server's requests.

use super::header;
use crate::ByteStr;

header! {
    /// 103: a broker registers. The body is a [`crate::body::RegisterBrokerBody`].
    RegisterBroker {
        /// Name of the group.
        broker_name: ByteStr = "brokerName",
        /// `ip:port` for clients.
        broker_addr: ByteStr = "brokerAddr",
        /// Cluster.
        cluster_name: ByteStr = "clusterName",
        /// `ip:port` for replicas; not used here but asked for.
        ha_server_addr: ByteStr = "haServerAddr" | ByteStr::new(),
        /// 0 for the leader.
        broker_id: i64 = "brokerId",
        /// Expiry wished for.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Absent from old brokers.
        enable_acting_master: Option<bool> = "enableActingMaster",
        /// Whether the body is compressed (do not rely on it: 5.3 says false and compresses).
        compressed: bool = "compressed" | false,
        /// Masked CRC-32 of the body; 0: not checked.
        body_crc32: i64 = "bodyCrc32" | 0,
        /// Zone.
        zone_name: Option<ByteStr> = "__ZONE_NAME",
    }

    /// Answer to 103. The body is a [`crate::body::KvTable`].
    RegisterBrokerResponse {
        /// For a replica.
        ha_server_addr: Option<ByteStr> = "haServerAddr",
        /// For a replica.
        master_addr: Option<ByteStr> = "masterAddr",
    }

    /// 104, 322: a broker.
    UnregisterBroker {
        /// Name of the group.
        broker_name: ByteStr = "brokerName",
        /// `ip:port`.
        broker_addr: ByteStr = "brokerAddr",
        /// Cluster.
        cluster_name: ByteStr = "clusterName",
        /// Its id.
        broker_id: i64 = "brokerId",
    }

    /// Answer to 322.
    QueryDataVersionResponse {
        /// Whether the broker should register again.
        changed: bool = "changed",
    }

    /// 105: route of a topic.
    GetRouteInfo {
        /// Topic.
        topic: ByteStr = "topic",
        /// The client reads only standard JSON.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }

    /// 100: put a configuration value.
    PutKvConfig {
        /// Namespace.
        namespace: ByteStr = "namespace",
        /// Key.
        key: ByteStr = "key",
        /// Value.
        value: ByteStr = "value",
    }

    /// 101, 102: a configuration value.
    KvConfigKey {
        /// Namespace.
        namespace: ByteStr = "namespace",
        /// Key.
        key: ByteStr = "key",
    }

    /// Answer to 101.
    GetKvConfigResponse {
        /// The value.
        value: Option<ByteStr> = "value",
    }

    /// 219: all values of a namespace.
    GetKvListByNamespace {
        /// Namespace.
        namespace: ByteStr = "namespace",
    }

    /// 224: topics of a cluster.
    GetTopicsByCluster {
        /// Cluster.
        cluster: ByteStr = "cluster",
    }

    /// 205, 327: a broker group.
    BrokerNameHeader {
        /// Name of the group.
        broker_name: ByteStr = "brokerName",
    }

    /// Answer to 205.
    WipeWritePermResponse {
        /// Topics changed.
        wipe_topic_count: i32 = "wipeTopicCount",
    }

    /// Answer to 327.
    AddWritePermResponse {
        /// Topics changed.
        add_topic_count: i32 = "addTopicCount",
    }

    /// 216: delete a topic.
    DeleteTopicInNamesrv {
        /// Topic.
        topic: ByteStr = "topic",
        /// Only from this cluster's brokers.
        cluster_name: Option<ByteStr> = "clusterName",
    }

    /// 217: register a topic. The body is a [`crate::body::TopicRouteData`].
    RegisterTopicInNamesrv {
        /// Topic.
        topic: ByteStr = "topic",
    }

    /// 901: addresses of a broker group.
    GetBrokerMemberGroup {
        /// Cluster.
        cluster_name: ByteStr = "clusterName",
        /// Name of the group.
        broker_name: ByteStr = "brokerName",
    }

    /// 904: a broker is alive.
    BrokerHeartbeat {
        /// Cluster.
        cluster_name: ByteStr = "clusterName",
        /// `ip:port`.
        broker_addr: ByteStr = "brokerAddr",
        /// Name of the group.
        broker_name: ByteStr = "brokerName",
        /// Its id.
        broker_id: Option<i64> = "brokerId",
        /// Controller mode.
        epoch: Option<i32> = "epoch",
        /// Controller mode.
        max_offset: Option<i64> = "maxOffset",
        /// Controller mode.
        confirm_offset: Option<i64> = "confirmOffset",
        /// Expiry wished for (spelt so on the wire).
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMills",
        /// Controller mode.
        election_priority: Option<i32> = "electionPriority",
    }
}
