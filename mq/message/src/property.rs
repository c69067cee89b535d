//! Message properties: one text of `name 0x01 value 0x02` items, in the order they were added.
//!
//! Reading follows the Java parser: items are divided by 0x02 (the last one may lack it), an item without 0x01, without a
//! name or without a value is skipped, and of items with the same name the last one counts.

/// Divides name and value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Ends an item.
pub const PROPERTY_SEPARATOR: char = '\u{2}';

macro_rules! names {
    ($($(#[$doc:meta])* $const:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $const: &str = $name;)*

        /// All names RocketMQ keeps for itself; clients refuse them as user property names.
        pub const RESERVED: &[&str] = &[$($name),*];
    };
}

names! {
    /// Keys for queries, divided by blanks.
    KEYS = "KEYS";
    /// The tag.
    TAGS = "TAGS";
    /// `false`: the producer does not wait for disk or replicas.
    WAIT = "WAIT";
    /// Delay level.
    DELAY = "DELAY";
    /// Original topic of a retried or dead message.
    RETRY_TOPIC = "RETRY_TOPIC";
    /// Topic a delayed, timer or half message is for.
    REAL_TOPIC = "REAL_TOPIC";
    /// Queue a delayed, timer or half message is for.
    REAL_QID = "REAL_QID";
    /// `true` on half messages.
    TRAN_MSG = "TRAN_MSG";
    /// Producer group of a transaction.
    PGROUP = "PGROUP";
    /// Smallest offset of the queue; added by consumers.
    MIN_OFFSET = "MIN_OFFSET";
    /// Largest offset of the queue; added by consumers.
    MAX_OFFSET = "MAX_OFFSET";
    /// Buyer id (unit deployments).
    BUYER_ID = "BUYER_ID";
    /// Offset message id of the first copy of a retried message.
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
    /// Transfer flag (unit deployments).
    TRANSFER_FLAG = "TRANSFER_FLAG";
    /// Correction flag (unit deployments).
    CORRECTION_FLAG = "CORRECTION_FLAG";
    /// Legacy flag.
    MQ2_FLAG = "MQ2_FLAG";
    /// Times reconsumed, in a client's own resend.
    RECONSUME_TIME = "RECONSUME_TIME";
    /// Region of the broker.
    MSG_REGION = "MSG_REGION";
    /// Whether trace is on.
    TRACE_ON = "TRACE_ON";
    /// The client's message id.
    UNIQ_KEY = "UNIQ_KEY";
    /// Extended unique key information.
    EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO";
    /// Retries allowed, in a client's own resend.
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
    /// When consumption started; added by consumers.
    CONSUME_START_TIME = "CONSUME_START_TIME";
    /// Messages in an inner batch.
    INNER_NUM = "INNER_NUM";
    /// First offset of an inner batch.
    INNER_BASE = "INNER_BASE";
    /// Duplicate information.
    DUP_INFO = "DUP_INFO";
    /// Seconds a half message is not checked.
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Original queue offset of a half message that was put again.
    TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
    /// Transaction id.
    TRANSACTION_ID = "__transactionId__";
    /// Times a half message was checked.
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
    /// Namespace.
    INSTANCE_ID = "INSTANCE_ID";
    /// Joins request and reply.
    CORRELATION_ID = "CORRELATION_ID";
    /// Client id a reply goes to.
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
    /// Timeout of a request, ms.
    TTL = "TTL";
    /// When a reply arrived.
    ARRIVE_TIME = "ARRIVE_TIME";
    /// When a reply was pushed.
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
    /// Cluster name.
    CLUSTER = "CLUSTER";
    /// `reply` on replies.
    MSG_TYPE = "MSG_TYPE";
    /// Handle of a popped message.
    POP_CK = "POP_CK";
    /// Offset of a popped message's check point.
    POP_CK_OFFSET = "POP_CK_OFFSET";
    /// First time a message was popped.
    FIRST_POP_TIME = "1ST_POP_TIME";
    /// Key that decides the queue.
    SHARDING_KEY = "__SHARDINGKEY";
    /// Queue to forward to.
    PROPERTY_FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID";
    /// Redirected.
    REDIRECT = "REDIRECT";
    /// Queues of a multi dispatch.
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
    /// Offsets of a multi dispatch.
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET";
    /// Trace context.
    TRACE_CONTEXT = "TRACE_CONTEXT";
    /// Timer: delay in seconds.
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
    /// Timer: delay in ms.
    TIMER_DELAY_MS = "TIMER_DELAY_MS";
    /// Timer: delivery time, ms.
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
    /// Timer: when enqueued.
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
    /// Timer: when dequeued.
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
    /// Timer: times rolled.
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
    /// Timer: due time after rounding; also marks a message that has passed the wheel.
    TIMER_OUT_MS = "TIMER_OUT_MS";
    /// Timer: unique keys to delete.
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
    /// Timer: delay level.
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL";
    /// Born host, for messages put by a proxy.
    BORN_HOST = "__BORNHOST";
    /// Born time, for messages put by a proxy.
    BORN_TIMESTAMP = "BORN_TIMESTAMP";
    /// Original topic of a dead letter (read by proxies).
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
    /// Original id of a dead letter (read by proxies).
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
    /// Property checksum.
    CRC32 = "__CRC32#";
}

/// Names with this prefix are dropped before storing.
pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";

/// Why a property is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// Name or value holds 0x01 or 0x02.
    #[error("property holds a control character 0x01 or 0x02")]
    Control,
    /// Name or value is empty.
    #[error("property name or value is empty")]
    Empty,
}

/// The pairs of a property text, in order, duplicates included.
pub fn iter(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(PROPERTY_SEPARATOR).filter_map(pair)
}

fn pair(item: &str) -> Option<(&str, &str)> {
    item.split_once(NAME_VALUE_SEPARATOR)
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

/// Value of a property. The last item of that name counts.
pub fn get<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    // A batch stored by a Java broker holds UNIQ_KEY twice; its reader keeps the later one.
    text.rsplit(PROPERTY_SEPARATOR).find_map(|item| {
        let value = item.strip_prefix(name)?.strip_prefix(NAME_VALUE_SEPARATOR)?;
        (!value.is_empty()).then_some(value)
    })
}

/// Checks a property that a user gave: neither part may be empty or hold a separator.
pub fn check(name: &str, value: &str) -> Result<(), PropertyError> {
    if name.is_empty() || value.is_empty() {
        return Err(PropertyError::Empty);
    }
    if [name, value].iter().any(|part| part.bytes().any(|b| b == 1 || b == 2)) {
        return Err(PropertyError::Control);
    }
    Ok(())
}

/// Whether RocketMQ keeps this name for itself.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The keys of a message for its index: the blank-separated words of `KEYS`.
pub fn keys(text: &str) -> impl Iterator<Item = &str> {
    get(text, KEYS).unwrap_or("").split(' ').filter(|key| !key.is_empty())
}

/// A property text under construction. Order is kept; a value set again moves to the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    text: String,
}

impl Properties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts from a received text, as it is except for a missing final separator.
    pub fn from_text(text: &str) -> Self {
        let mut properties = Self {
            text: String::with_capacity(text.len() + 128),
        };
        properties.text.push_str(text);
        if !text.is_empty() && !text.ends_with(PROPERTY_SEPARATOR) {
            properties.text.push(PROPERTY_SEPARATOR);
        }
        properties
    }

    /// Appends without looking for an older value: for names known to be absent. A pair that [`check`] refuses would
    /// damage the text; debug builds assert it.
    pub fn push(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(check(name, value).is_ok(), "property {name:?} = {value:?}");
        self.text.reserve(name.len() + value.len() + 2);
        self.text.push_str(name);
        self.text.push(NAME_VALUE_SEPARATOR);
        self.text.push_str(value);
        self.text.push(PROPERTY_SEPARATOR);
        self
    }

    /// Sets a value we made ourselves, replacing older ones.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.remove(name);
        self.push(name, value)
    }

    /// Sets a value a user gave, replacing older ones.
    pub fn try_set(&mut self, name: &str, value: &str) -> Result<&mut Self, PropertyError> {
        check(name, value)?;
        Ok(self.set(name, value))
    }

    /// Removes all items of that name; says whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        let is_it = |item: &str| {
            item.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(NAME_VALUE_SEPARATOR))
        };
        if !self.text.split(PROPERTY_SEPARATOR).any(is_it) {
            return false;
        }
        let mut kept = String::with_capacity(self.text.capacity());
        for item in self
            .text
            .split_inclusive(PROPERTY_SEPARATOR)
            .filter(|item| !is_it(item))
        {
            kept.push_str(item);
        }
        self.text = kept;
        true
    }

    /// Value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        get(&self.text, name)
    }

    /// The pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        iter(&self.text)
    }

    /// The text as it is stored.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text as it is stored.
    pub fn into_string(self) -> String {
        self.text
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl std::fmt::Display for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
