//! Consumers that commit offsets and ask for them, and lockers of queues.

use std::time::Duration;

use mq_base::env::{clock, random};
use mq_remoting::Command;
use mq_remoting::body::{self, LockBatchBody, MessageQueue};
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{Empty, OffsetResponse, QueryConsumerOffset, UpdateConsumerOffset};

use super::{CONSUMER_GROUP, Client};
use crate::facts::{OffsetDeed, OffsetStep};
use crate::wire::Silence;

impl Client {
    /// Commits growing offsets of a queue of its own and asks for them in between.
    pub(super) async fn consumer(self, topic: &'static str, queue: u32) {
        let consumer = self.history.consumer();
        let group = CONSUMER_GROUP.to_owned();
        // After a crash of its host the next one goes on far above.
        let mut next = consumer as u64 * 10_000;
        while self.running() {
            let note = |deed, offset| {
                let step = OffsetStep {
                    group: group.clone(),
                    queue: (topic.to_owned(), queue),
                    deed,
                    offset,
                };
                self.history.offset(consumer, step);
            };
            if random::below(6) == 0 {
                // Nobody waits for this one; it may come late, and must not take anything back then.
                next += 1;
                let member = random::below(self.wire.members().len() as u64) as usize;
                let late = commit(&group, topic, queue, next).oneway();
                let sent = self
                    .wire
                    .ask_one(&self.wire.members()[member], late, Duration::from_millis(500))
                    .await;
                if !matches!(sent, Err(Silence::NotSent)) {
                    note(OffsetDeed::OneWay, next);
                }
            } else if random::below(2) == 0 {
                next += 1 + random::below(5);
                note(OffsetDeed::Open, next); // Before the answer: its host may crash first.
                let answer = self.wire.ask(commit(&group, topic, queue, next)).await;
                let done = answer.is_ok_and(|answer| answer.code == response::SUCCESS);
                self.history.operation(done);
                if done {
                    note(OffsetDeed::Committed, next);
                }
            } else {
                let found = self.wire.ask_for::<OffsetResponse>(query(&group, topic, queue)).await;
                self.history.operation(found.is_some());
                if let Some(found) = found {
                    note(OffsetDeed::Read, found.offset as u64);
                }
            }
            self.pause().await;
        }
    }

    /// Takes, renews and gives back the lock of a queue that another client wants too.
    pub(super) async fn locker(self) {
        let wanted = LockBatchBody {
            client_id: format!("client-{}", self.host),
            consumer_group: CONSUMER_GROUP.to_owned(),
            mq_set: vec![MessageQueue::new("ordered", "broker-a", 0)],
            only_this_broker: false,
        };
        let body = body::to_standard(&wanted);
        while self.running() {
            for code in [code::LOCK_BATCH_MQ, code::UNLOCK_BATCH_MQ] {
                let request = Command::request(code, &Empty).with_body(body.clone());
                let answer = self.wire.ask(request).await;
                self.history
                    .operation(answer.is_ok_and(|answer| answer.code == response::SUCCESS));
                clock::sleep(Duration::from_millis(100 + random::below(400))).await;
            }
        }
    }
}

fn commit(group: &str, topic: &str, queue: u32, offset: u64) -> Command {
    let header = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: Some(queue as i32),
        commit_offset: Some(offset as i64),
        broker_name: None,
    };
    Command::request(code::UPDATE_CONSUMER_OFFSET, &header)
}

fn query(group: &str, topic: &str, queue: u32) -> Command {
    let header = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: queue as i32,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    Command::request(code::QUERY_CONSUMER_OFFSET, &header)
}
