//! Readers: one task for each queue, from the beginning to the end, with long polls.

use std::time::Duration;

use mq_base::env::clock;
use mq_message::record;
use mq_remoting::Command;
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{PullMessage, PullMessageResponse, pull_flag};

use super::{CONSUMER_GROUP, Client, id_in};
use crate::facts::Read;
use crate::history::Phase;

impl Client {
    pub(super) async fn reader(self, topic: &'static str, queue: u32) {
        let place = (topic.to_owned(), queue);
        let reader = self.host as u32;
        while self.history.phase() != Phase::Over {
            let from = self.history.position(reader, &place);
            let answer = self.wire.ask(pull(topic, queue, from)).await;
            let found = answer.ok().and_then(|answer| {
                let header: PullMessageResponse = answer.header().ok()?;
                Some((answer.code, header, answer.body))
            });
            match found {
                Some((response::SUCCESS, header, body)) => {
                    let reads = reads(&place, &body);
                    self.history
                        .read(reader, &place, reads, header.next_begin_offset as u64);
                }
                // Retention has passed it. Only forwards: a member that lags behind sends it back.
                Some((response::PULL_OFFSET_MOVED, header, _)) if header.next_begin_offset as u64 > from => {
                    self.history
                        .read(reader, &place, Vec::new(), header.next_begin_offset as u64);
                }
                Some((response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY, _, _)) => {}
                _ => clock::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

fn reads(queue: &(String, u32), body: &[u8]) -> Vec<Read> {
    record::records(body)
        .filter_map(Result::ok)
        .filter_map(|record| {
            Some(Read {
                queue: queue.clone(),
                offset: record.queue_offset().get(),
                id: id_in(record.body())?,
                stored_ms: record.store_timestamp(),
            })
        })
        .collect()
}

fn pull(topic: &str, queue: u32, from: u64) -> Command {
    let header = PullMessage {
        consumer_group: CONSUMER_GROUP.into(),
        topic: topic.into(),
        queue_id: queue as i32,
        queue_offset: from as i64,
        max_msg_nums: 32,
        sys_flag: pull_flag::SUSPEND | pull_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 2_000,
        subscription: Some("*".into()),
        sub_version: 1,
        expression_type: Some("TAG".into()),
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
    };
    Command::request(code::PULL_MESSAGE, &header)
}
