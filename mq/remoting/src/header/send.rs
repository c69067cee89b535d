//! Sending: requests 10, 310, 320, 324, 325, 326, 36, 37, 39, 370 and their responses.

use super::{FieldValue, header};
use crate::{ByteStr, Ext, ExtWriter, Header, HeaderError, Value, code};

/// Header of a send in either spelling: long names (requests 10, 324) or one letter each (310, 320, 325).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessageHeader {
    /// `a`
    pub producer_group: ByteStr,
    /// `b`
    pub topic: ByteStr,
    /// `c`: template for a topic created on first use.
    pub default_topic: ByteStr,
    /// `d`: queues wished for such a topic.
    pub default_topic_queue_nums: i32,
    /// `e`: negative lets the broker choose.
    pub queue_id: i32,
    /// `f`
    pub sys_flag: i32,
    /// `g`: ms.
    pub born_timestamp: i64,
    /// `h`
    pub flag: i32,
    /// `i`: property text.
    pub properties: Option<ByteStr>,
    /// `j`: only on retry topics.
    pub reconsume_times: Option<i32>,
    /// `k`
    pub unit_mode: Option<bool>,
    /// `l`: only on retry topics.
    pub max_reconsume_times: Option<i32>,
    /// `m`: the body is a batch.
    pub batch: Option<bool>,
    /// `n`: broker name.
    pub broker_name: Option<ByteStr>,
}

impl SendMessageHeader {
    /// Reads the header in the spelling that belongs to the request code.
    pub fn decode_for(code: i32, ext: &Ext) -> Result<Self, HeaderError> {
        use code::request::{SEND_BATCH_MESSAGE, SEND_MESSAGE_V2, SEND_REPLY_MESSAGE_V2};
        match code {
            SEND_MESSAGE_V2 | SEND_BATCH_MESSAGE | SEND_REPLY_MESSAGE_V2 => Self::decode_v2(ext),
            _ => Self::decode_v1(ext),
        }
    }

    /// Reads the one-letter spelling.
    pub fn decode_v2(ext: &Ext) -> Result<Self, HeaderError> {
        SendMessageV2::decode(ext).map(|header| header.0)
    }

    /// Reads the long spelling.
    pub fn decode_v1(ext: &Ext) -> Result<Self, HeaderError> {
        SendMessageV1::decode(ext).map(|header| header.0)
    }
}

/// [`SendMessageHeader`] spelt with long names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessageV1(pub SendMessageHeader);

/// [`SendMessageHeader`] spelt with one letter each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessageV2(pub SendMessageHeader);

/// Both spellings from one list of fields. Keys are byte strings; of one letter they are found by one jump.
macro_rules! spelling {
    ($name:ident { $($field:ident = $wire:literal $(| $default:expr)?,)* }) => {
        impl Header for $name {
            fn decode(ext: &Ext) -> Result<Self, HeaderError> {
                $(let mut $field = None;)*
                for (key, value) in ext.fields() {
                    match key.raw() {
                        $($wire => $field = Some(read(const { name($wire) }, value)?),)*
                        _ => {}
                    }
                }
                Ok(Self(SendMessageHeader {
                    $($field: $field
                        $(.or(Some($default)))?
                        .or_else(FieldValue::absent)
                        .ok_or(HeaderError::Missing(const { name($wire) }))?,)*
                }))
            }

            fn encode(&self, out: &mut ExtWriter) {
                $(FieldValue::write(&self.0.$field, const { name($wire) }, out);)*
            }
        }
    };
}

const fn name(wire: &'static [u8]) -> &'static str {
    match std::str::from_utf8(wire) {
        Ok(name) => name,
        Err(_) => panic!("field names are ASCII"),
    }
}

#[inline]
fn read<T: FieldValue>(field: &'static str, value: Value<'_>) -> Result<T, HeaderError> {
    T::read(value).ok_or_else(|| HeaderError::illegal(field, value))
}

spelling! { SendMessageV2 {
    producer_group = b"a",
    topic = b"b",
    default_topic = b"c",
    default_topic_queue_nums = b"d",
    queue_id = b"e",
    sys_flag = b"f",
    born_timestamp = b"g",
    flag = b"h",
    properties = b"i",
    reconsume_times = b"j",
    unit_mode = b"k",
    max_reconsume_times = b"l",
    batch = b"m",
    broker_name = b"n",
} }

spelling! { SendMessageV1 {
    producer_group = b"producerGroup",
    topic = b"topic",
    default_topic = b"defaultTopic",
    default_topic_queue_nums = b"defaultTopicQueueNums",
    queue_id = b"queueId",
    sys_flag = b"sysFlag",
    born_timestamp = b"bornTimestamp",
    flag = b"flag",
    properties = b"properties",
    reconsume_times = b"reconsumeTimes",
    unit_mode = b"unitMode",
    max_reconsume_times = b"maxReconsumeTimes",
    batch = b"batch",
    broker_name = b"bname",
} }

header! {
    /// Answer to a send. Clients read `extFields` without looking whether it is there: send it always, with
    /// [`ResponseExtras`].
    SendMessageResponse {
        /// Offset message id; of a batch all of them, joined by commas.
        msg_id: ByteStr = "msgId",
        /// Queue the message is in.
        queue_id: i32 = "queueId",
        /// Its number there; of a batch the first one's.
        queue_offset: i64 = "queueOffset",
        /// The client's unique key.
        transaction_id: Option<ByteStr> = "transactionId",
        /// Unique key of an inner batch.
        batch_uniq_id: Option<ByteStr> = "batchUniqId",
        /// Handle to take a timer message back with.
        recall_handle: Option<ByteStr> = "recallHandle",
        /// Region of the broker.
        msg_region: Option<ByteStr> = "MSG_REGION",
        /// Whether trace is on.
        trace_on: Option<ByteStr> = "TRACE_ON",
    }

    /// The fields of a send response that do not belong to its header, for error responses.
    ResponseExtras {
        /// Region of the broker.
        msg_region: ByteStr = "MSG_REGION",
        /// Whether trace is on.
        trace_on: ByteStr = "TRACE_ON",
    }

    /// 37: commit or roll back a half message.
    EndTransaction {
        /// Topic; absent from older clients.
        topic: Option<ByteStr> = "topic",
        /// Group of the producer.
        producer_group: ByteStr = "producerGroup",
        /// Queue offset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Commit log offset of the half message.
        commit_log_offset: i64 = "commitLogOffset",
        /// 8 commit, 12 roll back, 0 not known ([`mq_message::sys_flag`]).
        commit_or_rollback: i32 = "commitOrRollback",
        /// Whether this answers a check.
        from_transaction_check: bool = "fromTransactionCheck" | false,
        /// Unique key.
        msg_id: ByteStr = "msgId" | ByteStr::new(),
        /// Transaction id.
        transaction_id: Option<ByteStr> = "transactionId",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 39 (broker to client): what became of a transaction. The body is the half message.
    CheckTransactionState {
        /// Half topic.
        topic: Option<ByteStr> = "topic",
        /// Queue offset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Commit log offset of the half message.
        commit_log_offset: i64 = "commitLogOffset",
        /// Unique key.
        msg_id: Option<ByteStr> = "msgId",
        /// Unique key again.
        transaction_id: Option<ByteStr> = "transactionId",
        /// Offset message id of the half message.
        offset_msg_id: Option<ByteStr> = "offsetMsgId",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 36: a consumer gives a message back.
    ConsumerSendMsgBack {
        /// Commit log offset of the message.
        offset: i64 = "offset",
        /// Consumer group.
        group: ByteStr = "group",
        /// 0: the broker decides; negative: straight to the dead letters.
        delay_level: i32 = "delayLevel",
        /// Unique key.
        origin_msg_id: Option<ByteStr> = "originMsgId",
        /// Topic it came from.
        origin_topic: Option<ByteStr> = "originTopic",
        /// Unit deployments.
        unit_mode: Option<bool> = "unitMode",
        /// Retries allowed; overrides the group's.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// 326 (broker to client): a reply. The body is the reply's.
    PushReplyMessage {
        /// Group of the replier.
        producer_group: ByteStr = "producerGroup",
        /// Reply topic.
        topic: ByteStr = "topic",
        /// As sent.
        default_topic: ByteStr = "defaultTopic",
        /// As sent.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        /// As sent.
        queue_id: i32 = "queueId",
        /// As sent.
        sys_flag: i32 = "sysFlag",
        /// As sent.
        born_timestamp: i64 = "bornTimestamp",
        /// As sent.
        flag: i32 = "flag",
        /// Property text.
        properties: Option<ByteStr> = "properties",
        /// As sent.
        reconsume_times: Option<i32> = "reconsumeTimes",
        /// As sent.
        unit_mode: Option<bool> = "unitMode",
        /// Address of the replier, `ip:port`.
        born_host: ByteStr = "bornHost",
        /// Address of the broker, `ip:port`.
        store_host: ByteStr = "storeHost",
        /// ms.
        store_timestamp: i64 = "storeTimestamp",
    }

    /// 370: take back a timer message.
    RecallMessage {
        /// Group of the producer.
        producer_group: Option<ByteStr> = "producerGroup",
        /// Topic of the message.
        topic: ByteStr = "topic",
        /// Handle from the send response.
        recall_handle: ByteStr = "recallHandle",
        /// Broker name.
        broker_name: Option<ByteStr> = "bname",
    }

    /// Answer to 370.
    RecallMessageResponse {
        /// Unique key of the message taken back.
        msg_id: ByteStr = "msgId",
    }
}
