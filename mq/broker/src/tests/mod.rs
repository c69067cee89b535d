//! The data path through its handlers, on a simulated machine with virtual time.

mod atomic;
mod model;
mod offsets;
mod pulling;
mod restart;
mod retention;
mod sending;
mod waiting;

use crate::testbed::Testbed;
use mq_message::{RecordView, property};
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{PullMessage, PullMessageResponse, SendMessageHeader, SendMessageResponse, SendMessageV2};
use mq_remoting::{ByteStr, Command, Header};

/// A send of a Java producer.
pub(super) fn send_header(topic: &str) -> SendMessageHeader {
    SendMessageHeader {
        producer_group: "P".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: None,
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: Some("b".into()),
    }
}

pub(super) fn send_command(header: SendMessageHeader, body: &[u8]) -> Command {
    Command::request(code::SEND_MESSAGE_V2, &SendMessageV2(header)).with_body(body.to_vec())
}

/// `name=value` pairs as a property text.
pub(super) fn properties(pairs: &[(&str, &str)]) -> Option<ByteStr> {
    let mut text = property::Properties::new();
    for (name, value) in pairs {
        text.push(name, value);
    }
    Some(text.into_string().into())
}

pub(super) fn ok<H: Header>(answer: &Command) -> H {
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    answer.header().unwrap()
}

/// Sends `body` to queue 0 of a topic with properties; it must succeed.
pub(super) async fn send(bed: &Testbed, topic: &str, pairs: &[(&str, &str)], body: &[u8]) -> SendMessageResponse {
    let header = SendMessageHeader {
        properties: properties(pairs),
        ..send_header(topic)
    };
    ok(&bed.call(send_command(header, body)).await)
}

/// A pull that brings its own subscription and does not wait.
pub(super) fn pull_header(topic: &str, queue: i32, offset: i64) -> PullMessage {
    PullMessage {
        consumer_group: "TOOLS_CONSUMER".into(),
        topic: topic.into(),
        queue_id: queue,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: 4,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
    }
}

pub(super) fn pull_command(header: &PullMessage) -> Command {
    Command::request(code::PULL_MESSAGE, header)
}

/// A message as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub topic: String,
    pub queue_offset: u64,
    pub physical: u64,
    pub body: Vec<u8>,
    pub properties: String,
    pub tries: i32,
    pub sys_flag: i32,
    pub stored_ms: i64,
}

pub(super) fn seen(body: &[u8]) -> Vec<Seen> {
    let records = mq_message::record::records(body);
    records
        .map(|record| {
            let record: RecordView<'_> = record.unwrap();
            Seen {
                topic: record.topic().into(),
                queue_offset: record.queue_offset().get(),
                physical: record.physical_offset().get(),
                body: record.body().to_vec(),
                properties: record.properties().into(),
                tries: record.reconsume_times(),
                sys_flag: record.sys_flag(),
                stored_ms: record.store_timestamp(),
            }
        })
        .collect()
}

/// Everything in a queue from an offset on (one pull).
pub(super) async fn pull(bed: &Testbed, topic: &str, queue: i32, offset: i64) -> (i32, PullMessageResponse, Vec<Seen>) {
    let answer = bed.call(pull_command(&pull_header(topic, queue, offset))).await;
    let header = answer
        .header()
        .unwrap_or_else(|error| panic!("{error}: {:?}", answer.remark));
    (answer.code, header, seen(&answer.body))
}

/// Everything in a queue from an offset on, in as many pulls as that takes (old messages come in small portions).
pub(super) async fn pull_all(bed: &Testbed, topic: &str, queue: i32, mut offset: i64) -> Vec<Seen> {
    let mut all = Vec::new();
    loop {
        let (code, header, found) = pull(bed, topic, queue, offset).await;
        if code != response::SUCCESS {
            return all;
        }
        all.extend(found);
        offset = header.next_begin_offset;
    }
}

/// Creates a topic or a group in the state.
pub(super) async fn topic(bed: &Testbed, name: &str, queues: u32) {
    use crate::ask::{Ask, Reply, UpsertTopic};
    use crate::seams::Judged;
    let (reply, answer) = Reply::channel();
    let config = crate::state::TopicConfig::new(name, queues);
    bed.solo.ask(Ask::UpsertTopic(
        UpsertTopic {
            config,
            only_if_absent: false,
        },
        reply,
    ));
    answer.await.unwrap().unwrap();
}

pub(super) async fn group(bed: &Testbed, name: &str) {
    use crate::ask::{Ask, Reply, UpsertGroup};
    use crate::seams::Judged;
    let (reply, answer) = Reply::channel();
    let wanted = UpsertGroup {
        config: crate::state::GroupConfig::new(name),
        only_if_absent: false,
        retry_topic: Some(Box::new(crate::state::TopicConfig::new(
            mq_message::topic::retry(name),
            1,
        ))),
    };
    bed.solo.ask(Ask::UpsertGroup(wanted, reply));
    answer.await.unwrap().unwrap();
}
