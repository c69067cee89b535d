//! The requests a client makes and what it reads from their answers: the only file that knows their fields.
//!
//! Headers are written field by field from borrowed texts: the typed headers of `mq-remoting` own theirs, which costs a
//! send four allocations.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mq_message::{CommitLogOffset, QueueId, QueueOffset};
use mq_remoting::body::{
    self, ConsumerData, ConsumerIds, HeartbeatData, LockBatchBody, LockBatchResponseBody, ProducerData, ResetOffsetBody,
};
use mq_remoting::code::request as code;
use mq_remoting::{Command, Ext, ExtWriter, HeaderFormat};
use serde_json::Value;

use crate::message::MessageQueue;

/// A request with the fields that `write` adds. The binary form costs a third of JSON; every RocketMQ server reads both.
pub(crate) fn request(code: i32, write: impl FnOnce(&mut ExtWriter)) -> Command {
    let mut command = Command::bare_request(code).in_format(HeaderFormat::Binary);
    command.ext.write(HeaderFormat::Binary, write);
    command
}

/// Offset on the wire.
fn wire(offset: QueueOffset) -> i64 {
    offset.to_wire()
}

/// A number of an answer's header.
pub(crate) fn integer(ext: &Ext, key: &str) -> Result<i64, String> {
    ext.value(key)
        .and_then(|value| value.integer())
        .ok_or_else(|| format!("no number {key}"))
}

/// A queue offset of an answer's header.
pub(crate) fn offset(ext: &Ext, key: &str) -> Result<QueueOffset, String> {
    QueueOffset::from_wire(integer(ext, key)?).ok_or_else(|| format!("negative {key}"))
}

// ---- name server

/// Asks for the route of a topic, in standard JSON.
pub(crate) fn route(topic: &str) -> Command {
    request(code::GET_ROUTEINFO_BY_TOPIC, |out| {
        out.text("topic", topic);
        out.boolean("acceptStandardJsonOnly", true);
    })
}

/// Where a topic lives, as name servers tell it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RouteData {
    /// Broker name → member id → address.
    pub(crate) brokers: BTreeMap<String, BTreeMap<u64, Arc<str>>>,
    /// Queues by broker name.
    pub(crate) queues: Vec<QueueData>,
}

/// A topic's queues on one broker group.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueData {
    pub(crate) broker_name: String,
    pub(crate) read: u32,
    pub(crate) write: u32,
    pub(crate) perm: u32,
}

/// Queues of one topic on one broker: more than this is a mistake or an attack.
const QUEUES_MAX: u64 = 65_536;

/// Reads a route answer. Missing parts are taken as empty.
pub(crate) fn read_route(body: &[u8]) -> Result<RouteData, String> {
    let json: Value = serde_json::from_slice(body).map_err(|e| format!("route: {e}"))?;
    let list = |name: &str| json[name].as_array().map_or(&[][..], Vec::as_slice);
    let mut route = RouteData::default();
    for broker in list("brokerDatas") {
        let name = broker["brokerName"].as_str().ok_or("route: brokerName")?;
        let addrs = broker["brokerAddrs"].as_object();
        let addrs = addrs.ok_or("route: brokerAddrs")?.iter();
        let member = |(id, addr): (&String, &Value)| Some((id.parse().ok()?, addr.as_str()?.into()));
        let members = addrs.filter_map(member).collect();
        route.brokers.insert(name.to_owned(), members);
    }
    for queue in list("queueDatas") {
        let number = |name: &str| queue[name].as_u64().unwrap_or(0).min(QUEUES_MAX) as u32;
        route.queues.push(QueueData {
            broker_name: queue["brokerName"].as_str().unwrap_or_default().to_owned(),
            read: number("readQueueNums"),
            write: number("writeQueueNums"),
            perm: number("perm"),
        });
    }
    route.queues.sort();
    Ok(route)
}

// ---- producer

/// What a send says besides the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendHeader<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: QueueId,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp: i64,
    pub(crate) flag: i32,
    pub(crate) properties: &'a str,
    pub(crate) reconsume_times: i32,
    pub(crate) max_reconsume_times: Option<i32>,
    pub(crate) batch: bool,
}

/// Queues wished for a topic that the broker creates on first use.
pub(crate) const DEFAULT_TOPIC_QUEUES: u32 = 4;

/// A send, in the short-named form (310), or a batch (320).
pub(crate) fn send(header: &SendHeader<'_>, body: Bytes) -> Command {
    let code = if header.batch {
        code::SEND_BATCH_MESSAGE
    } else {
        code::SEND_MESSAGE_V2
    };
    request(code, |out| {
        out.text("a", header.group);
        out.text("b", header.topic);
        out.text("c", mq_message::topic::AUTO_CREATE);
        out.integer("d", i64::from(DEFAULT_TOPIC_QUEUES));
        out.integer("e", header.queue_id.to_wire().into());
        out.integer("f", header.sys_flag.into());
        out.integer("g", header.born_timestamp);
        out.integer("h", header.flag.into());
        out.text("i", header.properties);
        out.integer("j", header.reconsume_times.into());
        out.boolean("k", false);
        if let Some(max) = header.max_reconsume_times {
            out.integer("l", max.into());
        }
        out.boolean("m", header.batch);
    })
    .with_body(body)
}

/// What a send's answer says.
#[derive(Debug)]
pub(crate) struct SendAnswer {
    pub(crate) msg_id: String,
    pub(crate) queue_id: QueueId,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) transaction_id: Option<String>,
}

/// Reads a send's answer in one pass.
pub(crate) fn read_send(ext: &Ext) -> Result<SendAnswer, String> {
    let (mut msg_id, mut queue_id, mut queue_offset, mut transaction_id) = (None, None, None, None);
    for (key, value) in ext.fields() {
        match key.raw() {
            b"msgId" => msg_id = value.text(),
            b"queueId" => queue_id = value.integer(),
            b"queueOffset" => queue_offset = value.integer(),
            b"transactionId" => transaction_id = value.text(),
            _ => {}
        }
    }
    let queue_id = queue_id.and_then(|id| i32::try_from(id).ok());
    Ok(SendAnswer {
        msg_id: msg_id.ok_or("no msgId")?.into_owned(),
        queue_id: queue_id.and_then(QueueId::from_wire).ok_or("no queueId")?,
        queue_offset: queue_offset.and_then(QueueOffset::from_wire).ok_or("no queueOffset")?,
        transaction_id: transaction_id.map(|id| id.into_owned()),
    })
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum TransactionEnd {
    Unknown = 0,
    Commit = 8,
    Rollback = 12,
}

/// Which half message a transaction's end is about.
#[derive(Debug, Clone)]
pub(crate) struct HalfMessage {
    pub(crate) topic: String,
    pub(crate) msg_id: String,
    pub(crate) transaction_id: String,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) commit_log_offset: CommitLogOffset,
}

/// Ends a transaction.
pub(crate) fn end_transaction(group: &str, half: &HalfMessage, end: TransactionEnd, from_check: bool) -> Command {
    request(code::END_TRANSACTION, |out| {
        out.text("topic", &half.topic);
        out.text("producerGroup", group);
        out.integer("tranStateTableOffset", wire(half.queue_offset));
        out.integer("commitLogOffset", half.commit_log_offset.to_wire());
        out.integer("commitOrRollback", end as i64);
        out.boolean("fromTransactionCheck", from_check);
        out.text("msgId", &half.msg_id);
        out.text("transactionId", &half.transaction_id);
    })
}

// ---- consumer

/// Bits of a pull's `sysFlag`.
pub(crate) mod pull_flag {
    /// The broker may hold the request until a message comes.
    pub(crate) const SUSPEND: i32 = 2;
    /// The subscription is in the request.
    pub(crate) const SUBSCRIPTION: i32 = 4;
    /// Lite pull.
    pub(crate) const LITE: i32 = 16;
}

/// A pull.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PullHeader<'a> {
    pub(crate) group: &'a str,
    pub(crate) queue: &'a MessageQueue,
    pub(crate) from: QueueOffset,
    pub(crate) max: u32,
    pub(crate) max_bytes: u32,
    pub(crate) sys_flag: i32,
    pub(crate) suspend_ms: u64,
    pub(crate) expression: Option<(&'a str, &'a str)>,
    pub(crate) sub_version: i64,
}

/// Asks for messages.
pub(crate) fn pull(header: &PullHeader<'_>) -> Command {
    let lite = header.sys_flag & pull_flag::LITE != 0;
    let code = if lite {
        code::LITE_PULL_MESSAGE
    } else {
        code::PULL_MESSAGE
    };
    request(code, |out| {
        out.text("consumerGroup", header.group);
        out.text("topic", &header.queue.topic);
        out.integer("queueId", header.queue.queue_id.to_wire().into());
        out.integer("queueOffset", wire(header.from));
        out.integer("maxMsgNums", header.max.into());
        out.integer("sysFlag", header.sys_flag.into());
        out.integer("commitOffset", 0);
        out.integer("suspendTimeoutMillis", header.suspend_ms as i64);
        if let Some((kind, expression)) = header.expression {
            out.text("subscription", expression);
            out.text("expressionType", kind);
        }
        out.integer("subVersion", header.sub_version);
        out.integer("maxMsgBytes", header.max_bytes.into());
    })
}

/// What the header of a pull's answer says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PullAnswer {
    pub(crate) suggested_broker: u64,
    pub(crate) next: QueueOffset,
}

/// Reads a pull's answer in one pass.
pub(crate) fn read_pull(ext: &Ext) -> Result<PullAnswer, String> {
    let (mut suggested, mut next) = (None, None);
    for (key, value) in ext.fields() {
        match key.raw() {
            b"suggestWhichBrokerId" => suggested = value.integer(),
            b"nextBeginOffset" => next = value.integer(),
            _ => {}
        }
    }
    Ok(PullAnswer {
        suggested_broker: suggested.and_then(|id| id.try_into().ok()).unwrap_or(0),
        next: next.and_then(QueueOffset::from_wire).ok_or("no nextBeginOffset")?,
    })
}

fn queue_fields(out: &mut ExtWriter, queue: &MessageQueue) {
    out.text("topic", &queue.topic);
    out.integer("queueId", queue.queue_id.to_wire().into());
}

/// Asks how far a group has come in a queue.
pub(crate) fn query_consumer_offset(group: &str, queue: &MessageQueue) -> Command {
    request(code::QUERY_CONSUMER_OFFSET, |out| {
        out.text("consumerGroup", group);
        queue_fields(out, queue);
    })
}

/// Says how far a group has come in a queue.
pub(crate) fn update_consumer_offset(group: &str, queue: &MessageQueue, offset: QueueOffset) -> Command {
    request(code::UPDATE_CONSUMER_OFFSET, |out| {
        out.text("consumerGroup", group);
        queue_fields(out, queue);
        out.integer("commitOffset", wire(offset));
    })
}

/// Asks for an end of a queue; `code` is GET_MAX_OFFSET or GET_MIN_OFFSET.
pub(crate) fn queue_bound(code: i32, queue: &MessageQueue) -> Command {
    request(code, |out| queue_fields(out, queue))
}

/// Asks for the first offset stored at or after a time.
pub(crate) fn search_offset(queue: &MessageQueue, timestamp_ms: i64) -> Command {
    request(code::SEARCH_OFFSET_BY_TIMESTAMP, |out| {
        queue_fields(out, queue);
        out.integer("timestamp", timestamp_ms);
    })
}

/// Asks who consumes in a group.
pub(crate) fn consumer_list(group: &str) -> Command {
    request(code::GET_CONSUMER_LIST_BY_GROUP, |out| out.text("consumerGroup", group))
}

/// Reads the client ids of a consumer list.
pub(crate) fn read_consumer_list(body: &[u8]) -> Result<Vec<String>, String> {
    let ids = body::from_slice::<ConsumerIds>(body).map_err(|e| e.to_string())?;
    Ok(ids.consumer_id_list)
}

/// Locks or unlocks queues; `code` is LOCK_BATCH_MQ or UNLOCK_BATCH_MQ.
pub(crate) fn lock_batch(code: i32, group: &str, client_id: &str, queues: &[MessageQueue]) -> Command {
    let body = LockBatchBody {
        client_id: client_id.to_owned(),
        consumer_group: group.to_owned(),
        mq_set: queues.iter().map(write_queue).collect(),
        only_this_broker: false,
    };
    request(code, |_| ()).with_body(body::to_standard(&body))
}

/// Reads which queues were locked.
pub(crate) fn read_locked(body: &[u8]) -> Result<Vec<MessageQueue>, String> {
    let locked = body::from_slice::<LockBatchResponseBody>(body).map_err(|e| e.to_string())?;
    Ok(locked.lock_ok_mq_set.iter().filter_map(read_queue).collect())
}

/// A queue as bodies have it.
pub(crate) fn write_queue(queue: &MessageQueue) -> body::MessageQueue {
    let id = queue.queue_id.to_wire();
    body::MessageQueue::new(&*queue.topic, &*queue.broker_name, id)
}

/// A queue of a body; `None` for one that stands for several.
pub(crate) fn read_queue(queue: &body::MessageQueue) -> Option<MessageQueue> {
    let id = QueueId::from_wire(queue.queue_id)?;
    Some(MessageQueue::new(
        queue.topic.as_str(),
        queue.broker_name.as_str(),
        id.get(),
    ))
}

/// Reads the offsets a broker wants a consumer to go to.
pub(crate) fn read_reset(body: &[u8]) -> Option<Vec<(MessageQueue, QueueOffset)>> {
    let reset: ResetOffsetBody = body::from_slice(body).ok()?;
    let table = reset.offset_table.iter();
    let offsets = table.filter_map(|(queue, offset)| Some((read_queue(&queue.0)?, QueueOffset::from_wire(*offset)?)));
    Some(offsets.collect())
}

/// What a send-back asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendBack<'a> {
    pub(crate) group: &'a str,
    pub(crate) offset: CommitLogOffset,
    /// 0: the broker decides; below 0: straight to the dead letters.
    pub(crate) delay_level: i32,
    pub(crate) origin_msg_id: &'a str,
    pub(crate) origin_topic: &'a str,
    pub(crate) max_reconsume_times: i32,
}

/// Gives a message back for a later try.
pub(crate) fn send_back(back: &SendBack<'_>) -> Command {
    request(code::CONSUMER_SEND_MSG_BACK, |out| {
        out.integer("offset", back.offset.to_wire());
        out.text("group", back.group);
        out.integer("delayLevel", back.delay_level.into());
        out.text("originMsgId", back.origin_msg_id);
        out.text("originTopic", back.origin_topic);
        out.boolean("unitMode", false);
        out.integer("maxReconsumeTimes", back.max_reconsume_times.into());
    })
}

// ---- administration

/// Creates or changes a topic.
pub(crate) fn create_topic(topic: &str, queues: u32, perm: u32) -> Command {
    request(code::UPDATE_AND_CREATE_TOPIC, |out| {
        out.text("topic", topic);
        out.text("defaultTopic", mq_message::topic::AUTO_CREATE);
        out.integer("readQueueNums", queues.into());
        out.integer("writeQueueNums", queues.into());
        out.integer("perm", perm.into());
        out.text("topicFilterType", "SINGLE_TAG");
        out.integer("topicSysFlag", 0);
        out.boolean("order", false);
    })
}

/// Asks for the message at a place of the commit log.
pub(crate) fn view_message(offset: CommitLogOffset) -> Command {
    request(code::VIEW_MESSAGE_BY_ID, |out| out.integer("offset", offset.to_wire()))
}

// ---- client

/// Says that a client is alive, what it produces and what it consumes.
pub(crate) fn heartbeat(client_id: &str, producers: Vec<ProducerData>, consumers: Vec<ConsumerData>) -> Command {
    let body = HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: consumers,
        producer_data_set: producers,
        ..HeartbeatData::default()
    };
    request(code::HEART_BEAT, |_| ()).with_body(body::to_standard(&body))
}

/// Says that a client leaves.
pub(crate) fn unregister(client_id: &str, producer: Option<&str>, consumer: Option<&str>) -> Command {
    request(code::UNREGISTER_CLIENT, |out| {
        out.text("clientID", client_id);
        if let Some(group) = producer {
            out.text("producerGroup", group);
        }
        if let Some(group) = consumer {
            out.text("consumerGroup", group);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_and_a_strange_one_refused() {
        let body = br#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"g1","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"g1","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
        let route = read_route(body).unwrap();
        assert_eq!(&*route.brokers["g1"][&0], "10.0.0.1:10911");
        assert_eq!(&*route.brokers["g1"][&1], "10.0.0.2:10911");
        let queue = &route.queues[0];
        assert_eq!((queue.read, queue.write, queue.perm), (4, 4, 6));
        assert_eq!(read_route(b"{}").unwrap(), RouteData::default());
        for strange in [&b"["[..], br#"{"brokerDatas":[{}]}"#] {
            assert!(read_route(strange).is_err());
        }
    }

    #[test]
    fn a_send_answer_needs_its_fields() {
        let full = [("msgId", "7F"), ("queueId", "3"), ("queueOffset", "12")];
        let answer = read_send(&full.into_iter().collect()).unwrap();
        assert_eq!((answer.msg_id.as_str(), answer.queue_id.get()), ("7F", 3));
        assert_eq!(answer.queue_offset.get(), 12);
        for left_out in 0..full.len() {
            let mut fields = full.to_vec();
            fields.remove(left_out);
            assert!(read_send(&fields.into_iter().collect()).is_err());
        }
    }
}
