//! What waits for an entry to be applied, and what it is told then (ADR 005: the one place that acknowledges).

use crate::ask::{Appended, BatchResult, OpenedProducer, QueueName, Refusal, Reply};
use crate::state::Name;
use crate::view::View;
use mq_message::QueueOffset;
use mq_raft::{Answer, Outcome};
use std::sync::Arc;

/// One answer on its way.
pub enum Waiting {
    /// Records of one queue.
    Appended {
        /// Offset of the first.
        first: QueueOffset,
        /// Their store time.
        store_time_ms: i64,
        /// Who waits.
        reply: Reply<Appended>,
    },
    /// Anything without a result.
    Done(Reply<()>),
    /// Locks granted.
    Locked(Vec<QueueName>, Reply<Vec<QueueName>>),
    /// A producer session.
    Opened(OpenedProducer, Reply<OpenedProducer>),
    /// An atomic batch, with the queue offsets of its messages.
    Batch(Vec<QueueOffset>, Reply<BatchResult>),
    /// A repeat of an atomic batch: the first one's result, which is in the applied state by then.
    Repeat {
        /// Where to look.
        view: Arc<View>,
        /// Producer id.
        producer: Name,
        /// Sequence.
        sequence: u64,
        /// Who waits.
        reply: Reply<BatchResult>,
    },
}

impl Answer for Waiting {
    fn complete(self, outcome: Outcome<'_>) {
        let (entry, offsets) = match outcome {
            Outcome::Applied { entry, offsets } => (entry, offsets),
            Outcome::Refused => return self.refuse(&Refusal::NotLeader),
            Outcome::Unknown => return self.refuse(&Refusal::Unknown),
        };
        match self {
            Self::Appended {
                first,
                store_time_ms,
                reply,
            } => {
                let physical = offsets.iter().map(|offset| offset.0.into()).collect();
                reply.send(Ok(Appended {
                    first,
                    physical,
                    store_time_ms,
                }));
            }
            Self::Done(reply) => reply.send(Ok(())),
            Self::Locked(granted, reply) => reply.send(Ok(granted)),
            Self::Opened(opened, reply) => reply.send(Ok(opened)),
            Self::Batch(queue_offsets, reply) => {
                let base = entry.offset();
                reply.send(Ok(BatchResult {
                    duplicate: false,
                    base,
                    queue_offsets,
                }));
            }
            Self::Repeat {
                view,
                producer,
                sequence,
                reply,
            } => {
                reply.send(Ok(remembered(&view, &producer, sequence)));
            }
        }
    }
}

impl Waiting {
    fn refuse(self, why: &Refusal) {
        let why = why.clone();
        match self {
            Self::Appended { reply, .. } => reply.send(Err(why)),
            Self::Done(reply) => reply.send(Err(why)),
            Self::Locked(_, reply) => reply.send(Err(why)),
            Self::Opened(_, reply) => reply.send(Err(why)),
            Self::Batch(_, reply) | Self::Repeat { reply, .. } => reply.send(Err(why)),
        }
    }
}

fn remembered(view: &View, producer: &str, sequence: u64) -> BatchResult {
    let state = view.state();
    let found = state.producers.get(producer).and_then(|p| p.result(sequence));
    let (base, queue_offsets) = found
        .map(|batch| (batch.base, batch.queue_offsets.clone()))
        .unwrap_or_default();
    BatchResult {
        duplicate: true,
        base,
        queue_offsets,
    }
}
