//! Names of topics and groups: what is legal, which are RocketMQ's own, and the permission bits of a topic.

/// Template for topics created on first use.
pub const AUTO_CREATE: &str = "TBW102";
/// Holds messages with a delay level, one queue a level.
pub const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";
/// Holds timer messages.
pub const TIMER: &str = "rmq_sys_wheel_timer";
/// Holds half messages.
pub const TRANS_HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Marks half messages as resolved.
pub const TRANS_OP_HALF: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages checked too often.
pub const TRANS_CHECK_MAX_TIME: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Message traces.
pub const TRACE: &str = "RMQ_SYS_TRACE_TOPIC";
/// Self test.
pub const SELF_TEST: &str = "SELF_TEST_TOPIC";
/// Benchmarks.
pub const BENCHMARK: &str = "BenchmarkTest";
/// Legacy.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Legacy.
pub const CHECKPOINT: &str = "CHECKPOINT_TOPIC";
/// Prefix of system topics.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
/// Prefix of retry topics.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of dead-letter topics.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Suffix of a cluster's reply topic.
pub const REPLY_SUFFIX: &str = "_REPLY_TOPIC";
/// Longest ordinary topic name in bytes.
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest retry or dead-letter topic name in bytes.
pub const RETRY_TOPIC_BYTES_MAX: usize = 255;
/// Longest group name in bytes.
pub const GROUP_BYTES_MAX: usize = 120;
/// Prefix of system groups.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// System topics whose names do not depend on cluster or broker.
pub const SYSTEM: &[&str] = &[
    AUTO_CREATE,
    SCHEDULE,
    TIMER,
    TRANS_HALF,
    TRANS_OP_HALF,
    TRANS_CHECK_MAX_TIME,
    TRACE,
    SELF_TEST,
    BENCHMARK,
    OFFSET_MOVED_EVENT,
    CHECKPOINT,
];

/// Topics producers may not send to.
pub const NOT_ALLOWED_TO_SEND: &[&str] = &[
    SCHEDULE,
    TRANS_HALF,
    TRANS_OP_HALF,
    TRANS_CHECK_MAX_TIME,
    SELF_TEST,
    OFFSET_MOVED_EVENT,
];

/// Groups that exist on every broker.
pub const SYSTEM_GROUPS: &[&str] = &[
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Permission bits of a topic or broker.
pub mod perm {
    /// Other topics may be created after this one's model.
    pub const INHERIT: u32 = 1;
    /// May be written.
    pub const WRITE: u32 = 2;
    /// May be read.
    pub const READ: u32 = 4;
    /// Unused by RocketMQ.
    pub const PRIORITY: u32 = 8;
    /// Read and write.
    pub const READ_WRITE: u32 = READ | WRITE;

    /// Whether `perm` allows reading.
    pub const fn is_readable(perm: u32) -> bool {
        perm & READ != 0
    }

    /// Whether `perm` allows writing.
    pub const fn is_writable(perm: u32) -> bool {
        perm & WRITE != 0
    }

    /// Whether topics may be created after this one's model.
    pub const fn is_inherited(perm: u32) -> bool {
        perm & INHERIT != 0
    }
}

/// Bits of a topic's `topicSysFlag`.
pub mod topic_flag {
    /// Unit topic.
    pub const UNIT: u32 = 1;
    /// Has a unit subscription.
    pub const UNIT_SUB: u32 = 2;
}

/// Why a name is refused. The texts follow RocketMQ's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but blanks.
    #[error("The specified {0} is blank.")]
    Blank(&'static str),
    /// A character outside `%|a-zA-Z0-9_-`.
    #[error("The specified {0} contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    Illegal(&'static str),
    /// Longer than allowed.
    #[error("The specified {what} is longer than {limit_bytes} bytes.")]
    TooLong {
        /// Topic or group.
        what: &'static str,
        /// The limit.
        limit_bytes: usize,
    },
}

/// Checks a topic name: allowed characters, and 127 bytes at most (255 for retry and dead-letter topics).
pub fn check(topic: &str) -> Result<(), NameError> {
    let long = is_retry(topic) || is_dlq(topic);
    check_name(
        "topic",
        topic,
        if long { RETRY_TOPIC_BYTES_MAX } else { TOPIC_BYTES_MAX },
    )
}

/// Checks a group name: allowed characters, and 120 bytes at most.
pub fn check_group(group: &str) -> Result<(), NameError> {
    check_name("group", group, GROUP_BYTES_MAX)
}

fn check_name(what: &'static str, name: &str, limit_bytes: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank(what));
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-'))
    {
        return Err(NameError::Illegal(what));
    }
    if name.len() > limit_bytes {
        return Err(NameError::TooLong { what, limit_bytes });
    }
    Ok(())
}

/// Whether the topic is one of RocketMQ's own. A broker adds its cluster's and its own name and its cluster's reply topic.
pub fn is_system(topic: &str) -> bool {
    SYSTEM.contains(&topic) || topic.starts_with(SYSTEM_PREFIX)
}

/// Whether producers may send to the topic.
pub fn is_allowed_to_send(topic: &str) -> bool {
    !NOT_ALLOWED_TO_SEND.contains(&topic)
}

/// The topic that holds messages a group will try again.
pub fn retry(group: &str) -> String {
    [RETRY_PREFIX, group].concat()
}

/// The topic that holds messages a group gave up.
pub fn dlq(group: &str) -> String {
    [DLQ_PREFIX, group].concat()
}

/// The topic that replies of request-reply are stored in.
pub fn reply(cluster: &str) -> String {
    [cluster, REPLY_SUFFIX].concat()
}

/// The topic of a cluster's POP revive log.
pub fn revive_log(cluster: &str) -> String {
    [SYSTEM_PREFIX, "REVIVE_LOG_", cluster].concat()
}

/// Whether the name is a retry topic's.
pub fn is_retry(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

/// Whether the name is a dead-letter topic's.
pub fn is_dlq(topic: &str) -> bool {
    topic.starts_with(DLQ_PREFIX)
}

/// The group a retry or dead-letter topic belongs to.
pub fn group_of(topic: &str) -> Option<&str> {
    topic
        .strip_prefix(RETRY_PREFIX)
        .or_else(|| topic.strip_prefix(DLQ_PREFIX))
}

/// Whether the group is one of RocketMQ's own.
pub fn is_system_group(group: &str) -> bool {
    SYSTEM_GROUPS.contains(&group) || group.starts_with(SYSTEM_GROUP_PREFIX)
}
