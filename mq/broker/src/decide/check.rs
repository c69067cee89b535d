//! What must hold of an ask before anything of it is pushed.
//!
//! Apply never refuses, so a record that does not parse or a name that cannot be stored would stop every member of the
//! group, again and again. Handlers check what clients send; this is the last look.

use super::draft::Draft;
use crate::ask::{Outgoing, Refusal};
use crate::state::{GroupConfig, QUEUES_MAX, TopicConfig};
use mq_message::{QueueId, RecordView};
use std::collections::BTreeMap;

/// Longest topic, group or producer name, bytes.
const NAME_BYTES_MAX: usize = 255;
/// Longest client id, bytes.
const CLIENT_ID_BYTES_MAX: usize = 1_024;
/// Longest key or value of an attribute, bytes; and how many there may be.
const ATTRIBUTE_BYTES_MAX: usize = 4_096;
const ATTRIBUTES_MAX: usize = 256;

/// That `bytes` is at least one whole record of this queue and nothing else.
pub(super) fn records(bytes: &[u8], topic: &str, queue: QueueId) -> Result<(), Refusal> {
    let mut rest = bytes;
    loop {
        let record = RecordView::parse(rest).map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
        if record.topic() != topic || record.queue_id() != queue {
            return Err(Refusal::MessageIllegal(format!(
                "the record is not of topic[{topic}] queueId[{queue}]"
            )));
        }
        rest = &rest[record.size()..];
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// That a message with its destination is one record, and that the queue exists.
pub(super) fn outgoing(draft: &Draft<'_>, out: &Outgoing) -> Result<(), Refusal> {
    record(out)?;
    draft.check_queue(&out.topic, out.queue)
}

/// That a message with its destination is one record of it.
pub(super) fn record(out: &Outgoing) -> Result<(), Refusal> {
    records(&out.record, &out.topic, out.queue)
}

/// That a name can be stored.
pub(super) fn name(what: &str, text: &str) -> Result<(), Refusal> {
    bounded(what, text, NAME_BYTES_MAX)
}

/// That a client id can be stored.
pub(super) fn client_id(text: &str) -> Result<(), Refusal> {
    bounded("client id", text, CLIENT_ID_BYTES_MAX)
}

fn bounded(what: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > max {
        return Err(Refusal::Invalid(format!("a {what} has 1 to {max} bytes")));
    }
    Ok(())
}

/// That a topic can be created. A full stop is let through for the topics named like a broker or cluster; they take no
/// messages (see [`Draft::check_queue`]).
pub(super) fn topic(config: &TopicConfig) -> Result<(), Refusal> {
    name("topic", &config.name)?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-' | b'.');
    if !config.name.bytes().all(legal) {
        return Err(Refusal::Invalid(
            "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$".into(),
        ));
    }
    if config.queues() > QUEUES_MAX {
        let text = format!(
            "topic[{}] wants {} queues, at most {QUEUES_MAX} are allowed",
            config.name,
            config.queues()
        );
        return Err(Refusal::Invalid(text));
    }
    attributes(&config.attributes)
}

/// That a topic can be created, and will have the queue.
pub(super) fn created(config: &TopicConfig, queue: QueueId) -> Result<(), Refusal> {
    topic(config)?;
    if queue.get() >= config.queues() {
        let (topic, queue, queues) = (config.name.clone(), queue.get(), config.queues());
        return Err(Refusal::QueueIllegal { topic, queue, queues });
    }
    Ok(())
}

/// That a group can be created.
pub(super) fn group(config: &GroupConfig) -> Result<(), Refusal> {
    name("group", &config.name)?;
    attributes(&config.attributes)
}

fn attributes(all: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let long = |text: &String| text.len() > ATTRIBUTE_BYTES_MAX;
    if all.len() > ATTRIBUTES_MAX || all.iter().any(|(key, value)| long(key) || long(value)) {
        let text = format!("at most {ATTRIBUTES_MAX} attributes of {ATTRIBUTE_BYTES_MAX} bytes are allowed");
        return Err(Refusal::Invalid(text));
    }
    Ok(())
}
