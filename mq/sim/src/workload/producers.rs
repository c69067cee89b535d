//! Producers that wait for each answer before they go on.

use bytes::BytesMut;
use mq_base::env::{clock, random};
use mq_message::{batch, property};
use mq_remoting::code::response;
use mq_remoting::header::SendMessageResponse;

use super::{Client, body_of, properties_of};
use crate::facts::{Outcome, Purpose};
use crate::wire::{Sending, Silence};

/// Delay levels used: 1 s and 5 s by RocketMQ's table.
const DELAY_LEVELS: [&str; 2] = ["1", "2"];

impl Client {
    pub(super) async fn plain_producer(self) {
        let producer = self.history.producer();
        while self.running() {
            self.send_plain(producer, "plain", 4, -1).await;
            self.pause().await;
        }
    }

    /// Sends to one queue, so that order can be judged.
    pub(super) async fn ordered_producer(self) {
        let producer = self.history.producer();
        let queue = (producer % 4) as i32;
        while self.running() {
            self.send_plain(producer, "ordered", 4, queue).await;
            self.pause().await;
        }
    }

    /// One plain message; its outcome is noted.
    pub(super) async fn send_plain(&self, producer: u32, topic: &str, queues: i32, queue: i32) {
        let id = self.history.begin(producer, topic, Purpose::Plain);
        let begun_ms = now_ms();
        let outcome = self.send(id, topic, queues, queue, &[], 0).await;
        if matches!(outcome, Sent::Stored(_)) {
            self.history.accepted(begun_ms, now_ms());
        }
        self.history.end(id, outcome.into());
    }

    pub(super) async fn batch_producer(self) {
        let producer = self.history.producer();
        while self.running() {
            let ids: Vec<u64> = (0..2 + random::below(4))
                .map(|_| self.history.begin(producer, "plain", Purpose::Plain))
                .collect();
            let outcome = self.send_batch(&ids).await;
            for (nth, id) in ids.iter().enumerate() {
                self.history.end(*id, outcome.nth(nth as i64));
            }
            self.pause().await;
        }
    }

    async fn send_batch(&self, ids: &[u64]) -> Sent {
        let mut bodies = BytesMut::new();
        for id in ids {
            let (body, properties) = (body_of(*id), properties_of(*id, &[]));
            let item = batch::Item {
                flag: 0,
                body: &body,
                properties: &properties,
            };
            item.encode_into(&mut bodies).expect("a small item");
        }
        let sending = Sending {
            group: "producers",
            topic: "plain",
            queue: -1,
            queues: 4,
            properties: "",
            born_ms: clock::wall_ms(),
            sys_flag: 0,
        };
        Sent::of(self.wire.ask(sending.request(bodies.freeze(), true)).await)
    }

    pub(super) async fn delayed_producer(self) {
        let producer = self.history.producer();
        while self.running() {
            // The judge learns the true time from the parked record.
            let id = self.history.begin(producer, "delayed", Purpose::Delayed { due_ms: 0 });
            let level = DELAY_LEVELS[random::below(2) as usize];
            let outcome = self.send(id, "delayed", 2, -1, &[(property::DELAY, level)], 0).await;
            self.history.end(id, outcome.into());
            self.pause().await;
        }
    }

    pub(super) async fn send(
        &self,
        id: u64,
        topic: &str,
        queues: i32,
        queue: i32,
        more: &[(&str, &str)],
        sys_flag: i32,
    ) -> Sent {
        let properties = properties_of(id, more);
        let sending = Sending {
            group: super::TRANSACTION_GROUP,
            topic,
            queue,
            queues,
            properties: &properties,
            born_ms: clock::wall_ms(),
            sys_flag,
        };
        Sent::of(self.wire.ask(sending.request(body_of(id).into(), false)).await)
    }
}

/// Simulated ms since the start of the run.
pub(super) fn now_ms() -> u64 {
    turmoil::sim_elapsed().unwrap_or_default().as_millis() as u64
}

/// What became of a send.
#[allow(clippy::large_enum_variant)] // A handful a run.
pub(super) enum Sent {
    Stored(SendMessageResponse),
    Unknown,
    Refused,
}

impl Sent {
    fn of(answer: Result<mq_remoting::Command, Silence>) -> Sent {
        match answer {
            Ok(answer) if answer.code == response::SUCCESS => answer.header().map_or(Sent::Unknown, Sent::Stored),
            // Not every code says that nothing was stored; none is taken for it.
            Ok(_) | Err(Silence::Unknown) => Sent::Unknown,
            Err(Silence::NotSent) => Sent::Refused,
        }
    }

    /// The outcome of the `nth` message of a batch.
    fn nth(&self, nth: i64) -> Outcome {
        match self {
            Sent::Stored(answer) => Outcome::Acked {
                queue: answer.queue_id as u32,
                offset: (answer.queue_offset + nth) as u64,
            },
            Sent::Unknown => Outcome::Unknown,
            Sent::Refused => Outcome::Refused,
        }
    }
}

impl From<Sent> for Outcome {
    fn from(sent: Sent) -> Outcome {
        sent.nth(0)
    }
}
