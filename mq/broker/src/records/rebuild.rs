//! The next record of a message that waited (delay, transaction) or comes back (retry, dead letter).

use crate::ask::{Outgoing, Refusal};
use crate::state::{Name, Schedule};
use bytes::BytesMut;
use mq_message::property::Properties;
use mq_message::topic as names;
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordSpec, RecordView, msg_id, property, sys_flag};
use std::net::SocketAddr;

/// A waiting message without a destination: the store is damaged, or it was made by something else.
fn no_destination(record: &RecordView<'_>) -> Refusal {
    Refusal::Failed(format!(
        "the message at {} has no {}",
        record.physical_offset(),
        property::REAL_TOPIC
    ))
}

/// Real topic and queue of a delayed or half message.
pub fn destination<'a>(record: &RecordView<'a>) -> Result<(&'a str, QueueId), Refusal> {
    let topic = record
        .property(property::REAL_TOPIC)
        .ok_or_else(|| no_destination(record))?;
    let queue = record
        .property(property::REAL_QID)
        .and_then(|text| text.parse().ok())
        .map(QueueId);
    Ok((topic, queue.ok_or_else(|| no_destination(record))?))
}

/// A due message under its real topic. As in RocketMQ its property text still says `DELAY` and `REAL_TOPIC`: whether a
/// message waits is known from where it lies, never from these.
pub fn delivered(record: &RecordView<'_>) -> Result<Outgoing, Refusal> {
    let (topic, queue) = destination(record)?;
    outgoing(RecordSpec {
        topic,
        queue_id: queue,
        ..fresh(record)
    })
}

/// A committed half message: under its real topic, or into the schedule topic if it carries a delay level.
pub fn committed(record: &RecordView<'_>, identity: CommitLogOffset, schedule: &Schedule) -> Result<Outgoing, Refusal> {
    let (topic, queue) = destination(record)?;
    let level = record
        .property(property::DELAY)
        .and_then(|text| text.trim().parse::<u32>().ok())
        .unwrap_or(0);
    let mut spec = fresh(record);
    spec.prepared_transaction_offset = identity;
    if level > 0 {
        // It waits once more, now for its time; REAL_TOPIC and REAL_QID already name its destination.
        spec.topic = names::SCHEDULE;
        spec.queue_id = QueueId(level.min(schedule.levels()) - 1);
        spec.sys_flag = sys_flag::with_transaction(spec.sys_flag, 0);
    } else {
        spec.topic = topic;
        spec.queue_id = queue;
        spec.sys_flag = sys_flag::with_transaction(spec.sys_flag, sys_flag::TRANSACTION_COMMIT);
    }
    outgoing(spec)
}

/// A half message as a producer is shown it when it is asked: under its real topic and queue.
pub fn shown_to_producer(record: &RecordView<'_>, checks: u32) -> Result<BytesMut, Refusal> {
    let (topic, queue) = destination(record)?;
    let mut text = Properties::from_text(record.properties());
    text.set(property::TRANSACTION_CHECK_TIMES, &checks.to_string());
    let spec = RecordSpec {
        topic,
        queue_id: queue,
        properties: text.as_str(),
        ..record.to_spec()
    };
    outgoing(spec).map(|out| out.record)
}

/// A half message that was checked too often, for `TRANS_CHECK_MAX_TIME_TOPIC`.
pub fn given_up(record: &RecordView<'_>) -> Result<Outgoing, Refusal> {
    outgoing(RecordSpec {
        topic: names::TRANS_CHECK_MAX_TIME,
        queue_id: QueueId(0),
        ..fresh(record)
    })
}

/// The same record once more in its own queue (retention is about to pass the old one).
pub fn again(record: &RecordView<'_>) -> Result<BytesMut, Refusal> {
    outgoing(fresh(record)).map(|out| out.record)
}

/// Where a sent-back message goes.
pub struct SentBack<'a> {
    /// Retry or dead-letter topic.
    pub topic: &'a str,
    /// Queue in it.
    pub queue: QueueId,
    /// Delay level; `None` for dead letters.
    pub level: Option<u32>,
    /// Address of this broker.
    pub store_host: SocketAddr,
}

/// A message a consumer could not handle, one try older.
pub fn sent_back(record: &RecordView<'_>, to: &SentBack<'_>) -> Result<Outgoing, Refusal> {
    let mut text = Properties::from_text(record.properties());
    if text.get(property::RETRY_TOPIC).is_none() {
        text.push(property::RETRY_TOPIC, record.topic());
    }
    if text.get(property::ORIGIN_MESSAGE_ID).is_none() {
        let id = msg_id::offset_id(record.store_host(), record.physical_offset());
        text.push(property::ORIGIN_MESSAGE_ID, &id);
    }
    text.set(property::WAIT, "false");
    for gone in [
        property::CONSUME_START_TIME,
        property::DELAY,
        property::REAL_TOPIC,
        property::REAL_QID,
    ] {
        text.remove(gone);
    }
    let mut spec = RecordSpec {
        topic: to.topic,
        queue_id: to.queue,
        store_host: to.store_host,
        reconsume_times: record.reconsume_times().saturating_add(1),
        prepared_transaction_offset: CommitLogOffset::ZERO,
        ..fresh(record)
    };
    if let Some(level) = to.level {
        text.push(property::DELAY, &level.to_string());
        text.push(property::REAL_TOPIC, to.topic);
        text.push(property::REAL_QID, &to.queue.to_string());
        spec.topic = names::SCHEDULE;
        spec.queue_id = QueueId(level - 1);
    }
    spec.properties = text.as_str();
    outgoing(spec)
}

/// The same message, not stored yet.
fn fresh<'a>(record: &RecordView<'a>) -> RecordSpec<'a> {
    RecordSpec {
        store_timestamp: 0,
        queue_offset: QueueOffset::ZERO,
        physical_offset: CommitLogOffset::ZERO,
        ..record.to_spec()
    }
}

fn outgoing(spec: RecordSpec<'_>) -> Result<Outgoing, Refusal> {
    let mut record = BytesMut::with_capacity(spec.encoded_len());
    spec.encode_into(&mut record)
        .map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
    Ok(Outgoing {
        topic: Name::from(spec.topic),
        queue: spec.queue_id,
        record,
    })
}
