//! Atomic batches (D9) of one producer id with two owners, each fencing the other off.

use bytes::BytesMut;
use mq_base::env::{clock, random};
use mq_message::atomic::{AtomicBatch, BatchApplied, Message, Offset, OpenProducer, ProducerOpened};
use mq_message::{QueueId, QueueOffset};
use mq_remoting::Command;
use mq_remoting::code::{request as code, response};
use mq_remoting::header::Empty;

use super::{ATOMIC, CONSUMER_GROUP, Client, body_of, properties_of};
use crate::facts::{Outcome, Purpose};

const PRODUCER: &str = "relay";
/// An owner lets go after at most this many batches.
const BATCHES_MAX: u64 = 40;

/// What a batch was answered.
enum Answered {
    Applied(BatchApplied),
    /// Somebody else owns the producer now, or it was never valid.
    Refused,
    Nothing,
}

impl Client {
    pub(super) async fn atomic_owner(self) {
        let producer = self.history.producer();
        while self.running() {
            // The topic must exist before the first batch.
            self.send_plain(producer, ATOMIC, 2, 0).await;
            if let Some(opened) = self.open_atomic().await {
                self.own(producer, opened).await;
            }
            self.pause().await;
        }
    }

    async fn open_atomic(&self) -> Option<ProducerOpened> {
        let mut body = BytesMut::new();
        OpenProducer { producer_id: PRODUCER }
            .encode_into(&mut body)
            .expect("a short id");
        let request = Command::request(code::OPEN_PRODUCER, &Empty).with_body(body.freeze());
        let answer = self.wire.ask(request).await.ok();
        let answer = answer.filter(|answer| answer.code == response::SUCCESS);
        self.history.operation(answer.is_some());
        ProducerOpened::decode(&answer?.body).ok()
    }

    /// Sends batches in sequence until fenced off, or bored.
    async fn own(&self, producer: u32, opened: ProducerOpened) {
        let first = opened.last.map_or(0, |last| last.sequence) + 1;
        for sequence in first..=first + random::below(BATCHES_MAX) {
            if !self.running() || !self.atomic_batch(producer, opened.epoch, sequence).await {
                return;
            }
            self.pause().await;
        }
    }

    /// One batch, repeated until its outcome is known. False if this owner must stop.
    async fn atomic_batch(&self, producer: u32, epoch: u64, sequence: u64) -> bool {
        let ids = [0, 1].map(|_| self.history.begin(producer, ATOMIC, Purpose::Plain));
        let body = encode(&ids, epoch, sequence);
        for _ in 0..50 {
            let request = Command::request(code::ATOMIC_BATCH, &Empty).with_body(body.clone());
            let answered = match self.wire.ask(request).await {
                Ok(answer) if answer.code == response::SUCCESS => match BatchApplied::decode(&answer.body) {
                    Ok(applied) => Answered::Applied(applied),
                    Err(_) => Answered::Nothing,
                },
                Ok(answer) if matches!(answer.code, response::PRODUCER_FENCED | response::SEQUENCE_OUT_OF_ORDER) => {
                    Answered::Refused
                }
                _ => Answered::Nothing,
            };
            match answered {
                Answered::Applied(applied) => {
                    for (nth, (id, offset)) in ids.iter().zip(&applied.queue_offsets).enumerate() {
                        let outcome = Outcome::Acked {
                            queue: nth as u32,
                            offset: offset.get(),
                        };
                        self.history.end(*id, outcome);
                    }
                    return true;
                }
                // An earlier attempt may have been applied.
                Answered::Refused => return false,
                Answered::Nothing => self.pause().await,
            }
        }
        false
    }
}

/// A message for each of both queues, and a consumer offset.
fn encode(ids: &[u64; 2], epoch: u64, sequence: u64) -> bytes::Bytes {
    let texts = ids.map(|id| properties_of(id, &[]));
    let bodies = ids.map(body_of);
    let message = |nth: usize| Message {
        topic: ATOMIC,
        queue_id: QueueId(nth as u32),
        flag: 0,
        sys_flag: 0,
        born_timestamp: clock::wall_ms(),
        properties: &texts[nth],
        body: &bodies[nth],
    };
    let position = sequence.to_be_bytes();
    let batch = AtomicBatch {
        producer_id: PRODUCER,
        epoch,
        sequence,
        position: Some(&position),
        messages: vec![message(0), message(1)],
        offsets: vec![Offset {
            group: CONSUMER_GROUP,
            topic: ATOMIC,
            queue_id: QueueId(0),
            offset: QueueOffset(sequence),
        }],
    };
    let mut body = BytesMut::new();
    batch.encode_into(&mut body).expect("a small batch");
    body.freeze()
}
