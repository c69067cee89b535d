//! The one table of settings: name, type, default, range, whether a running broker may take a new value, and what it is for.
//!
//! Names and defaults are RocketMQ's where RocketMQ has the setting (`broker.conf`); the others are Forebay's own. The
//! table makes the typed [`Settings`], reads them, checks them, prints them and documents them; nothing else lists them.

use super::value::{BrokerRole, FlushDiskType, Peers, TlsMode, Value};

/// Whether a setting of a running broker may be changed over the wire (code 25, if `allowConfigUpdate` is on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only numbers and switches; never a path, an address, a name or a command.
    Live,
    /// Read once at start.
    AtStart,
}

/// One row of the table.
pub struct Row {
    /// Name in `broker.conf`, in `--set`, and (as `FOREBAY_UPPER_SNAKE`) in the environment.
    pub name: &'static str,
    /// Default, as it would be written in the file.
    pub default: &'static str,
    /// Smallest and largest value of a number.
    pub range: Option<(i64, i64)>,
    /// Whether it may change while the broker runs.
    pub change: Change,
    /// Shown by `-m` (RocketMQ calls these important).
    pub important: bool,
    /// What it is for.
    pub doc: &'static str,
    /// Kind of value, for documents.
    pub kind: &'static str,
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $change:ident $important:ident $field:ident: $type:ty = $default:literal $(in $lo:literal ..= $hi:literal)?, $name:literal; )+) => {
        /// All settings, typed and checked. Units are part of the name.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        /// The rows, in the order in which they are printed.
        pub const ROWS: &[Row] = &[ $( Row {
            name: $name,
            default: $default,
            range: settings!(@range $($lo, $hi)?),
            change: Change::$change,
            important: settings!(@important $important),
            doc: concat!($($doc),+),
            kind: <$type as Value>::KIND,
        }, )+ ];

        impl Settings {
            /// Reads every setting through `text` (name to written value); collects all errors, not only the first.
            pub fn read<'a>(text: impl Fn(&str) -> &'a str) -> Result<Settings, Vec<(&'static str, String)>> {
                let mut errors = Vec::new();
                $( let $field = match <$type as Value>::parse(text($name)) {
                    Ok(value) => Some(value),
                    Err(reason) => { errors.push(($name, reason)); None }
                }; )+
                match ($($field,)+) {
                    ($(Some($field),)+) => Ok(Settings { $($field,)+ }),
                    _ => Err(errors),
                }
            }

            /// The value of one setting as it would be written in the file.
            pub fn show(&self, name: &str) -> Option<String> {
                match name { $( $name => Some(Value::show(&self.$field)), )+ _ => None }
            }
        }
    };
    (@range) => { None };
    (@range $lo:literal, $hi:literal) => { Some(($lo, $hi)) };
    (@important major) => { true };
    (@important minor) => { false };
}

settings! {
    /// Cluster that the name servers list this broker under.
    AtStart major broker_cluster_name: String = "DefaultCluster", "brokerClusterName";
    /// Name of the broker group, equal on all members; empty takes the host name.
    AtStart major broker_name: String = "", "brokerName";
    /// 0 founds a group; a greater number is the slot of a SLAVE.
    AtStart major broker_id: u64 = "0" in 0..=1_000, "brokerId";
    /// Port of the clients; port - 2 serves the same.
    AtStart major listen_port: u16 = "10911" in 0..=65_535, "listenPort";
    /// Address the listening sockets are bound to.
    AtStart minor bind_address: String = "0.0.0.0", "bindAddress";
    /// Address told to clients; empty takes the address of the default route.
    AtStart major broker_ip1: String = "", "brokerIP1";
    /// Name servers, host:port;host:port.
    AtStart major namesrv_addr: String = "", "namesrvAddr";

    /// ASYNC_MASTER, SYNC_MASTER (treated as ASYNC_MASTER with a warning) or SLAVE (a learner of the group's master).
    AtStart major broker_role: BrokerRole = "ASYNC_MASTER", "brokerRole";
    /// Replicate through a Raft group of the members in dLegerPeers; off is a group of one.
    AtStart major enable_dleger_commit_log: bool = "false", "enableDLegerCommitLog";
    /// Name of the Raft group; empty takes brokerName.
    AtStart minor dleger_group: String = "", "dLegerGroup";
    /// Founding members, n0-host:port;n1-host:port;n2-host:port (ports between members).
    AtStart major dleger_peers: Peers = "", "dLegerPeers";
    /// Which of dLegerPeers this member is.
    AtStart major dleger_self_id: String = "n0", "dLegerSelfId";
    /// Port between members of a group without dLegerPeers; 0 takes listenPort + 1.
    AtStart minor ha_listen_port: u16 = "0" in 0..=65_535, "haListenPort";
    /// Raft heartbeat, milliseconds.
    AtStart minor raft_heartbeat_ms: u64 = "50" in 5..=10_000, "raftHeartbeatMillis";
    /// Shortest election timeout, milliseconds; the longest is twice as long.
    AtStart minor raft_election_ms: u64 = "150" in 20..=60_000, "raftElectionMillis";
    /// How long sends wait for a leader during an election, milliseconds.
    Live minor election_hold_ms: u64 = "2500" in 0..=60_000, "electionHoldMillis";
    /// How many bytes of requests may wait for a leader or for its answer.
    AtStart minor forward_bytes_max: usize = "67108864" in 65_536..=4_294_967_296, "forwardBytesMax";
    /// How long a member that is told to stop goes on forwarding, seconds, so that clients refresh their routes.
    Live minor drain_seconds: u64 = "35" in 0..=3_600, "drainSeconds";

    /// Root of everything stored; empty is ~/store.
    AtStart major store_path_root_dir: String = "", "storePathRootDir";
    /// Commit log folder; empty is storePathRootDir/commitlog.
    AtStart major store_path_commit_log: String = "", "storePathCommitLog";
    /// Bytes of one commit log segment; fixed when a group is founded.
    AtStart minor segment_bytes: u64 = "1073741824" in 65_536..=4_294_967_296, "mappedFileSizeCommitLog";
    /// SYNC_FLUSH: a majority has synced its disk before the answer; ASYNC_FLUSH: a majority has it in the page cache.
    AtStart major flush_disk_type: FlushDiskType = "ASYNC_FLUSH", "flushDiskType";
    /// Bytes of the log's tail kept in memory for readers.
    AtStart minor log_window_bytes: usize = "67108864" in 1_048_576..=68_719_476_736, "logWindowBytes";
    /// Bytes of the log's tail that may stay in the page cache; consumers further behind read the disk. 0 leaves it to the kernel.
    AtStart minor log_cache_bytes: u64 = "268435456" in 0..=1_099_511_627_776, "logCacheBytes";
    /// Hours after which a commit log segment may be deleted.
    Live minor file_reserved_hours: u64 = "72" in 1..=876_000, "fileReservedTime";
    /// Hour of the day at which old segments are deleted, two digits; several separated by ';'.
    AtStart minor delete_when: String = "04", "deleteWhen";
    /// Disk use, per cent, above which expired segments are deleted at once.
    Live minor disk_max_used_percent: u64 = "75" in 10..=99, "diskMaxUsedSpaceRatio";
    /// Disk use, per cent, above which the oldest segments are deleted even before they expire.
    Live minor disk_clean_forcibly_percent: u64 = "85" in 10..=99, "diskSpaceCleanForciblyRatio";
    /// Delete segments before they expire when the disk is nearly full. Off: sends are refused instead.
    Live minor clean_forcibly_enable: bool = "true", "cleanFileForciblyEnable";
    /// Disk use, per cent, above which sends are refused.
    Live minor disk_warning_percent: u64 = "90" in 10..=100, "diskSpaceWarningLevelRatio";
    /// Write the index that queries by key use.
    AtStart minor message_index_enable: bool = "true", "messageIndexEnable";

    /// Permission bits ANDed to every topic's when it is registered (4 read, 2 write).
    Live minor broker_permission: u32 = "6" in 0..=6, "brokerPermission";
    /// Queues of a topic that is created by its first send.
    Live minor default_topic_queue_nums: u32 = "8" in 1..=1_024, "defaultTopicQueueNums";
    /// Create a missing topic when a producer sends to it.
    Live major auto_create_topic_enable: bool = "true", "autoCreateTopicEnable";
    /// Create a missing consumer group when a consumer appears.
    Live major auto_create_subscription_group: bool = "true", "autoCreateSubscriptionGroup";
    /// Let the topic named like the cluster serve as a template for new topics.
    AtStart minor cluster_topic_enable: bool = "true", "clusterTopicEnable";
    /// Let the topic named like the broker serve as a template for new topics.
    AtStart minor broker_topic_enable: bool = "true", "brokerTopicEnable";
    /// Create the topic of message traces at the founding.
    AtStart minor trace_topic_enable: bool = "false", "traceTopicEnable";
    /// Name of the topic of message traces.
    AtStart minor msg_trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC", "msgTraceTopicName";
    /// How many topics there may be.
    Live minor topics_max: usize = "20000" in 1..=10_000_000, "maxTopics";
    /// How many consumer groups there may be.
    Live minor groups_max: usize = "20000" in 1..=10_000_000, "maxGroups";

    /// Largest message body, bytes.
    Live major max_message_size: usize = "4194304" in 1_024..=12_582_912, "maxMessageSize";
    /// Refuse transactional messages.
    Live minor reject_transaction_message: bool = "false", "rejectTransactionMessage";
    /// First check of a half message, milliseconds after it was stored.
    Live major transaction_time_out_ms: u64 = "6000" in 100..=86_400_000, "transactionTimeOut";
    /// Checks after which a half message is given up.
    Live major transaction_check_max: u32 = "15" in 1..=10_000, "transactionCheckMax";
    /// Time between two checks, milliseconds.
    Live major transaction_check_interval_ms: u64 = "30000" in 100..=86_400_000, "transactionCheckInterval";
    /// Delay levels, level 1 first, with the units s m h d.
    AtStart minor message_delay_level: String = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h", "messageDelayLevel";
    /// Region written into messages.
    AtStart minor region_id: String = "DefaultRegion", "regionId";
    /// Tell producers that message traces are wanted.
    Live minor trace_on: bool = "true", "traceOn";
    /// Sends are refused before this time, Unix milliseconds.
    Live minor start_accept_send_ms: i64 = "0" in 0..=9_007_199_254_740_991, "startAcceptSendRequestTimeStamp";
    /// Bytes of proposed entries that may be in flight.
    AtStart minor proposal_bytes_max: usize = "67108864" in 1_048_576..=4_294_967_296, "proposalBytesMax";

    /// Hold a pull that finds nothing until something arrives.
    Live minor long_polling_enable: bool = "true", "longPollingEnable";
    /// Longest hold when longPollingEnable is off, milliseconds.
    Live minor short_polling_ms: u64 = "1000" in 1..=60_000, "shortPollingTimeMills";
    /// How many pulls may be held.
    Live minor parked_pulls_max: usize = "200000" in 1..=100_000_000, "maxParkedPulls";
    /// Messages of one pull answer that is read from memory.
    Live minor pull_count_memory: u32 = "1024" in 1..=10_000, "maxTransferCountOnMessageInMemory";
    /// Bytes of one pull answer that is read from memory.
    Live minor pull_bytes_memory: usize = "262144" in 1_024..=16_000_000, "maxTransferBytesOnMessageInMemory";
    /// Messages of one pull answer that is read from disk.
    Live minor pull_count_disk: u32 = "128" in 1..=10_000, "maxTransferCountOnMessageInDisk";
    /// Bytes of one pull answer that is read from disk.
    Live minor pull_bytes_disk: usize = "262144" in 1_024..=16_000_000, "maxTransferBytesOnMessageInDisk";
    /// Bytes of consume queue entries that one pull with a filter may scan.
    Live minor filter_scan_bytes: usize = "16000" in 20..=16_000_000, "maxFilterMessageSize";
    /// Followers serve pulls.
    Live minor slave_read_enable: bool = "false", "slaveReadEnable";
    /// Serve LITE_PULL_MESSAGE.
    Live minor lite_pull_enable: bool = "true", "litePullMessageEnable";
    /// Serve SQL92 filters (not there yet: stays refused).
    Live minor enable_property_filter: bool = "false", "enablePropertyFilter";
    /// Most messages of a query by unique key.
    Live minor query_count_max: u32 = "32" in 1..=64, "defaultQueryMaxNum";
    /// Reset consumer offsets in the broker instead of asking the clients to.
    Live minor use_server_side_reset_offset: bool = "true", "useServerSideResetOffset";

    /// Tell consumers at once when their group changes.
    Live minor notify_consumer_ids_changed: bool = "true", "notifyConsumerIdsChangedEnable";
    /// A client silent for so long is forgotten, milliseconds.
    Live minor channel_expired_ms: u64 = "120000" in 1_000..=86_400_000, "channelExpiredTimeout";
    /// An idle connection is closed after so many seconds.
    AtStart minor connection_idle_seconds: u64 = "120" in 1..=86_400, "serverChannelMaxIdleTimeSeconds";
    /// How many client connections there may be.
    AtStart minor connections_max: usize = "20000" in 1..=10_000_000, "maxConnections";
    /// Bytes of requests being served for one connection; above it the connection is not read from.
    AtStart minor connection_inflight_bytes: usize = "67108864" in 65_536..=4_294_967_296, "maxInflightBytesPerConnection";
    /// Bytes of answers waiting to be written to one connection; above it the connection is closed.
    AtStart minor connection_outbound_bytes: usize = "134217728" in 65_536..=4_294_967_296, "maxOutboundBytesPerConnection";
    /// Largest frame accepted, bytes.
    AtStart minor frame_bytes_max: usize = "16777216" in 65_536..=1_073_741_824, "maxFrameBytes";
    /// How many registrations of producers and consumers one connection may hold.
    AtStart minor registrations_max: usize = "1024" in 1..=1_000_000, "maxRegistrationsPerConnection";

    /// Time between two registrations with the name servers, milliseconds.
    AtStart minor register_period_ms: u64 = "30000" in 10_000..=60_000, "registerNameServerPeriod";
    /// How long a name server may take to answer a registration, milliseconds.
    AtStart minor register_timeout_ms: u64 = "24000" in 100..=120_000, "registerBrokerTimeoutMills";

    /// Worker threads of the client side; 0 chooses by the number of processors.
    AtStart minor client_threads: usize = "0" in 0..=1_024, "sendMessageThreadPoolNums";
    /// Port of the Prometheus metrics; 0 is off.
    AtStart minor metrics_port: u16 = "0" in 0..=65_535, "metricsPort";
    /// Address the metrics port is bound to.
    AtStart minor metrics_bind_address: String = "127.0.0.1", "metricsBindAddress";
    /// Accept UPDATE_BROKER_CONFIG (25) for the settings that may change in a running broker.
    AtStart minor allow_config_update: bool = "false", "allowConfigUpdate";
    /// disabled, permissive (TLS and plain text on one port) or enforcing.
    AtStart minor tls_mode: TlsMode = "permissive", "tlsServerMode";
    /// Certificate chain, PEM; empty makes a test certificate at start.
    AtStart minor tls_cert_path: String = "", "tlsServerCertPath";
    /// Private key, PEM.
    AtStart minor tls_key_path: String = "", "tlsServerKeyPath";
}
