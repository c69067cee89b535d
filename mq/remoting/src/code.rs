//! Request and response codes.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub const $name: i32 = $code;)*

        /// Name of a code, for logs and metrics; `UNKNOWN` for others.
        pub const fn name(code: i32) -> &'static str {
            match code { $($code => stringify!($name),)* _ => "UNKNOWN" }
        }

        /// All codes known here.
        pub const ALL: &[i32] = &[$($code),*];
    };
}

/// What a request asks for. `(b→c)`: sent by the broker to a client.
pub mod request {
    codes! {
        /// Send a message; header with long field names.
        SEND_MESSAGE = 10;
        /// Pull messages of a queue.
        PULL_MESSAGE = 11;
        /// Query messages by key.
        QUERY_MESSAGE = 12;
        /// Legacy.
        QUERY_BROKER_OFFSET = 13;
        /// A group's offset of a queue.
        QUERY_CONSUMER_OFFSET = 14;
        /// Commit a group's offset of a queue.
        UPDATE_CONSUMER_OFFSET = 15;
        /// Create or change a topic.
        UPDATE_AND_CREATE_TOPIC = 17;
        /// Create or change several topics.
        UPDATE_AND_CREATE_TOPIC_LIST = 18;
        /// All topic configurations.
        GET_ALL_TOPIC_CONFIG = 21;
        /// Legacy.
        GET_TOPIC_CONFIG_LIST = 22;
        /// Legacy.
        GET_TOPIC_NAME_LIST = 23;
        /// Change broker settings.
        UPDATE_BROKER_CONFIG = 25;
        /// Read broker settings.
        GET_BROKER_CONFIG = 26;
        /// Delete expired files.
        TRIGGER_DELETE_FILES = 27;
        /// The broker's figures.
        GET_BROKER_RUNTIME_INFO = 28;
        /// Offset of a queue at a time.
        SEARCH_OFFSET_BY_TIMESTAMP = 29;
        /// Largest offset of a queue.
        GET_MAX_OFFSET = 30;
        /// Smallest offset of a queue.
        GET_MIN_OFFSET = 31;
        /// Store time of a queue's first message.
        GET_EARLIEST_MSG_STORETIME = 32;
        /// A message by its commit log offset.
        VIEW_MESSAGE_BY_ID = 33;
        /// A client's producers and consumers.
        HEART_BEAT = 34;
        /// A client leaves a group.
        UNREGISTER_CLIENT = 35;
        /// A consumer gives a message back to be tried again.
        CONSUMER_SEND_MSG_BACK = 36;
        /// Commit or roll back a half message.
        END_TRANSACTION = 37;
        /// Client ids of a group.
        GET_CONSUMER_LIST_BY_GROUP = 38;
        /// (b→c) What became of a transaction.
        CHECK_TRANSACTION_STATE = 39;
        /// (b→c) The members of a group changed.
        NOTIFY_CONSUMER_IDS_CHANGED = 40;
        /// Lock queues for ordered consumption.
        LOCK_BATCH_MQ = 41;
        /// Unlock queues.
        UNLOCK_BATCH_MQ = 42;
        /// The file of all consumer offsets.
        GET_ALL_CONSUMER_OFFSET = 43;
        /// The file of all delay offsets.
        GET_ALL_DELAY_OFFSET = 45;
        /// Check a subscription.
        CHECK_CLIENT_CONFIG = 46;
        /// Legacy.
        GET_CLIENT_CONFIG = 47;
        /// Timer check point.
        GET_TIMER_CHECK_POINT = 60;
        /// Timer metrics.
        GET_TIMER_METRICS = 61;
        /// Name server: put a configuration value.
        PUT_KV_CONFIG = 100;
        /// Name server: get a configuration value.
        GET_KV_CONFIG = 101;
        /// Name server: delete a configuration value.
        DELETE_KV_CONFIG = 102;
        /// Name server: a broker registers.
        REGISTER_BROKER = 103;
        /// Name server: a broker leaves.
        UNREGISTER_BROKER = 104;
        /// Name server: route of a topic.
        GET_ROUTEINFO_BY_TOPIC = 105;
        /// Name server: clusters and brokers.
        GET_BROKER_CLUSTER_INFO = 106;
        /// Create or change a group.
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200;
        /// All group configurations.
        GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201;
        /// Offsets of a topic's queues.
        GET_TOPIC_STATS_INFO = 202;
        /// Connections of a consumer group.
        GET_CONSUMER_CONNECTION_LIST = 203;
        /// Connections of a producer group.
        GET_PRODUCER_CONNECTION_LIST = 204;
        /// Name server: take away a broker's write permission.
        WIPE_WRITE_PERM_OF_BROKER = 205;
        /// Name server: all topics.
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206;
        /// Delete a group.
        DELETE_SUBSCRIPTIONGROUP = 207;
        /// How far a group is.
        GET_CONSUME_STATS = 208;
        /// Legacy.
        SUSPEND_CONSUMER = 209;
        /// Legacy.
        RESUME_CONSUMER = 210;
        /// Legacy.
        RESET_CONSUMER_OFFSET_IN_CONSUMER = 211;
        /// Legacy.
        RESET_CONSUMER_OFFSET_IN_BROKER = 212;
        /// Legacy.
        ADJUST_CONSUMER_THREAD_POOL = 213;
        /// Legacy.
        WHO_CONSUME_THE_MESSAGE = 214;
        /// Delete a topic on a broker.
        DELETE_TOPIC_IN_BROKER = 215;
        /// Name server: delete a topic.
        DELETE_TOPIC_IN_NAMESRV = 216;
        /// Name server: register a topic.
        REGISTER_TOPIC_IN_NAMESRV = 217;
        /// Name server: all values of a namespace.
        GET_KVLIST_BY_NAMESPACE = 219;
        /// (b→c) Move offsets.
        RESET_CONSUMER_CLIENT_OFFSET = 220;
        /// (b→c) A consumer's offsets.
        GET_CONSUMER_STATUS_FROM_CLIENT = 221;
        /// Reset a group's offsets.
        INVOKE_BROKER_TO_RESET_OFFSET = 222;
        /// Offsets as the group's clients have them.
        INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223;
        /// Name server: topics of a cluster.
        GET_TOPICS_BY_CLUSTER = 224;
        /// Create or change several groups.
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225;
        /// Groups that consume a topic.
        QUERY_TOPIC_CONSUME_BY_WHO = 300;
        /// Legacy.
        REGISTER_FILTER_SERVER = 301;
        /// Legacy.
        REGISTER_MESSAGE_FILTER_CLASS = 302;
        /// Times of a topic's messages and of a group's progress.
        QUERY_CONSUME_TIME_SPAN = 303;
        /// Name server: clusters and brokers as topics.
        GET_SYSTEM_TOPIC_LIST_FROM_NS = 304;
        /// System topics of a broker.
        GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305;
        /// Delete expired consume queue files.
        CLEAN_EXPIRED_CONSUMEQUEUE = 306;
        /// A consumer's state, asked through the broker.
        GET_CONSUMER_RUNNING_INFO = 307;
        /// Legacy.
        QUERY_CORRECTION_OFFSET = 308;
        /// Let a consumer consume one message now.
        CONSUME_MESSAGE_DIRECTLY = 309;
        /// Send a message; header with one-letter field names.
        SEND_MESSAGE_V2 = 310;
        /// Name server: unit topics.
        GET_UNIT_TOPIC_LIST = 311;
        /// Name server: topics with unit subscriptions.
        GET_HAS_UNIT_SUB_TOPIC_LIST = 312;
        /// Name server: topics with unit subscriptions that are no unit topics.
        GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313;
        /// Copy a group's offsets.
        CLONE_GROUP_OFFSET = 314;
        /// A statistic of the broker.
        VIEW_BROKER_STATS_DATA = 315;
        /// Delete queues of unused topics.
        CLEAN_UNUSED_TOPIC = 316;
        /// How far all groups are.
        GET_BROKER_CONSUME_STATS = 317;
        /// Name server: change settings.
        UPDATE_NAMESRV_CONFIG = 318;
        /// Name server: read settings.
        GET_NAMESRV_CONFIG = 319;
        /// Send a batch.
        SEND_BATCH_MESSAGE = 320;
        /// Entries of a consume queue.
        QUERY_CONSUME_QUEUE = 321;
        /// Name server: whether a broker's topics changed.
        QUERY_DATA_VERSION = 322;
        /// Check a half message again.
        RESUME_CHECK_HALF_MESSAGE = 323;
        /// Send a reply; long field names.
        SEND_REPLY_MESSAGE = 324;
        /// Send a reply; one-letter field names.
        SEND_REPLY_MESSAGE_V2 = 325;
        /// (b→c) A reply.
        PUSH_REPLY_MESSAGE_TO_CLIENT = 326;
        /// Name server: give back a broker's write permission.
        ADD_WRITE_PERM_OF_BROKER = 327;
        /// All producers of a broker.
        GET_ALL_PRODUCER_INFO = 328;
        /// Delete expired commit log files.
        DELETE_EXPIRED_COMMITLOG = 329;
        /// Topics a group consumes.
        QUERY_TOPICS_BY_CONSUMER = 343;
        /// A group's subscription of a topic.
        QUERY_SUBSCRIPTION_BY_CONSUMER = 345;
        /// A topic's configuration.
        GET_TOPIC_CONFIG = 351;
        /// A group's configuration.
        GET_SUBSCRIPTIONGROUP_CONFIG = 352;
        /// Forbid a group a topic.
        UPDATE_AND_GET_GROUP_FORBIDDEN = 353;
        /// RocksDB only.
        CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354;
        /// RocksDB only.
        EXPORT_ROCKSDB_CONFIG_TO_JSON = 355;
        /// Pull for clients that hold their own offsets.
        LITE_PULL_MESSAGE = 361;
        /// Take back a timer message.
        RECALL_MESSAGE = 370;
        /// Queues a client should consume.
        QUERY_ASSIGNMENT = 400;
        /// Pull or pop for a group's topic.
        SET_MESSAGE_REQUEST_MODE = 401;
        /// All modes set by 401.
        GET_ALL_MESSAGE_REQUEST_MODE = 402;
        /// Static topics.
        UPDATE_AND_CREATE_STATIC_TOPIC = 513;
        /// Name server: addresses of a broker group.
        GET_BROKER_MEMBER_GROUP = 901;
        /// HA.
        ADD_BROKER = 902;
        /// HA.
        REMOVE_BROKER = 903;
        /// Name server: a broker is alive.
        BROKER_HEARTBEAT = 904;
        /// HA.
        NOTIFY_MIN_BROKER_ID_CHANGE = 905;
        /// HA.
        EXCHANGE_BROKER_HA_INFO = 906;
        /// HA.
        GET_BROKER_HA_STATUS = 907;
        /// HA.
        RESET_MASTER_FLUSH_OFFSET = 908;
        /// ACL: create a user.
        AUTH_CREATE_USER = 3001;
        /// ACL: change a user.
        AUTH_UPDATE_USER = 3002;
        /// ACL: delete a user.
        AUTH_DELETE_USER = 3003;
        /// ACL: read a user.
        AUTH_GET_USER = 3004;
        /// ACL: all users.
        AUTH_LIST_USER = 3005;
        /// ACL: create rules.
        AUTH_CREATE_ACL = 3006;
        /// ACL: change rules.
        AUTH_UPDATE_ACL = 3007;
        /// ACL: delete rules.
        AUTH_DELETE_ACL = 3008;
        /// ACL: read rules.
        AUTH_GET_ACL = 3009;
        /// ACL: all rules.
        AUTH_LIST_ACL = 3010;
        /// Forebay's own: open a producer of atomic batches.
        OPEN_PRODUCER = 60001;
        /// Forebay's own: apply an atomic batch.
        ATOMIC_BATCH = 60002;
        /// Forebay's own: state of the Raft group.
        RAFT_STATUS = 60010;
        /// Forebay's own: hand leadership over.
        TRANSFER_LEADER = 60011;
        /// Forebay's own: add a member to the group.
        ADD_MEMBER = 60012;
        /// Forebay's own: remove a member from the group.
        REMOVE_MEMBER = 60013;
        /// Pop messages.
        POP_MESSAGE = 200_050;
        /// Acknowledge a popped message.
        ACK_MESSAGE = 200_051;
        /// Look at messages without popping.
        PEEK_MESSAGE = 200_052;
        /// Change a popped message's invisible time.
        CHANGE_MESSAGE_INVISIBLETIME = 200_053;
        /// Wait for messages.
        NOTIFICATION = 200_054;
        /// Waiting pops.
        POLLING_INFO = 200_055;
        /// Internal.
        POP_ROLLBACK = 200_056;
        /// Acknowledge popped messages.
        BATCH_ACK_MESSAGE = 200_151;
    }
}

/// What a response says.
pub mod response {
    codes! {
        /// Done.
        SUCCESS = 0;
        /// Any other failure; a group without consumers.
        SYSTEM_ERROR = 1;
        /// Refused for now; retried by producers.
        SYSTEM_BUSY = 2;
        /// Unknown request code.
        REQUEST_CODE_NOT_SUPPORTED = 3;
        /// Legacy.
        TRANSACTION_FAILED = 4;
        /// Stored, but not flushed in time.
        FLUSH_DISK_TIMEOUT = 10;
        /// Stored, but there is no replica.
        SLAVE_NOT_AVAILABLE = 11;
        /// Stored, but not replicated in time.
        FLUSH_SLAVE_TIMEOUT = 12;
        /// The message breaks a rule.
        MESSAGE_ILLEGAL = 13;
        /// The store does not take writes now; retried by producers.
        SERVICE_NOT_AVAILABLE = 14;
        /// Legacy.
        VERSION_NOT_SUPPORTED = 15;
        /// Not permitted.
        NO_PERMISSION = 16;
        /// No such topic; from a name server: no route.
        TOPIC_NOT_EXIST = 17;
        /// Legacy.
        TOPIC_EXIST_ALREADY = 18;
        /// No new message.
        PULL_NOT_FOUND = 19;
        /// Nothing matched: pull again at the next offset.
        PULL_RETRY_IMMEDIATELY = 20;
        /// The offset is outside the queue: the client corrects itself.
        PULL_OFFSET_MOVED = 21;
        /// Nothing found.
        QUERY_NOT_FOUND = 22;
        /// The filter expression cannot be read.
        SUBSCRIPTION_PARSE_FAILED = 23;
        /// No heartbeat has brought this subscription yet.
        SUBSCRIPTION_NOT_EXIST = 24;
        /// The subscription known is older than the client's.
        SUBSCRIPTION_NOT_LATEST = 25;
        /// No such group.
        SUBSCRIPTION_GROUP_NOT_EXIST = 26;
        /// No SQL filter.
        FILTER_DATA_NOT_EXIST = 27;
        /// The SQL filter is older than the client's.
        FILTER_DATA_NOT_LATEST = 28;
        /// A field has an illegal value.
        INVALID_PARAMETER = 29;
        /// Legacy.
        TRANSACTION_SHOULD_COMMIT = 200;
        /// Legacy.
        TRANSACTION_SHOULD_ROLLBACK = 201;
        /// Legacy.
        TRANSACTION_STATE_UNKNOW = 202;
        /// Legacy.
        TRANSACTION_STATE_GROUP_WRONG = 203;
        /// Unit deployments; retried by producers.
        NO_BUYER_ID = 204;
        /// Unit deployments; retried by producers.
        NOT_IN_CURRENT_UNIT = 205;
        /// The group has no consumer online.
        CONSUMER_NOT_ONLINE = 206;
        /// A client did not answer in time.
        CONSUME_MSG_TIMEOUT = 207;
        /// The offset is outside the queue (acknowledgements).
        NO_MESSAGE = 208;
        /// Too many waiting pops.
        POLLING_FULL = 209;
        /// A pop waited in vain.
        POLLING_TIMEOUT = 210;
        /// No such broker.
        BROKER_NOT_EXIST = 211;
        /// Dispatch is behind.
        BROKER_DISPATCH_NOT_COMPLETE = 212;
        /// A broadcasting group has no such figures.
        BROADCAST_CONSUMPTION = 213;
        /// Slow down.
        FLOW_CONTROL = 215;
        /// Static topics.
        NOT_LEADER_FOR_QUEUE = 501;
        /// Not allowed in this state.
        ILLEGAL_OPERATION = 604;
        /// Shutting down: reconnect and retry.
        GO_AWAY = 1500;
        /// ACL: no such user.
        USER_NOT_EXIST = 3001;
        /// ACL: no such rule.
        POLICY_NOT_EXIST = 3002;
        /// Forebay's own: the producer was opened again elsewhere; this epoch is refused for good.
        PRODUCER_FENCED = 60101;
        /// Forebay's own: the sequence neither follows nor repeats the last one.
        SEQUENCE_OUT_OF_ORDER = 60102;
        /// Forebay's own: no such producer; open it first.
        PRODUCER_UNKNOWN = 60103;
    }
}
