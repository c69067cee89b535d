//! What the clients of a run asked for and were told. It outlives them: a client that crashes leaves what it knew.

use std::collections::BTreeMap;

use mq_broker::broker::Broker;
use mq_message::QueueOffset;
use parking_lot::Mutex;

use crate::facts::{OffsetStep, Outcome, Purpose, Queue, Read, Send};
use crate::workload::TOPICS;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clients send and read while things break.
    Running,
    /// Nothing new is begun; what was begun is ended, readers read to the end.
    Draining,
    /// Everybody stops.
    Over,
}

/// The record of all clients.
#[derive(Debug)]
pub struct History(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    phase: Phase,
    sends: Vec<Send>,
    reads: Vec<Read>,
    offsets: Vec<Vec<OffsetStep>>,
    operations: u64,
    acknowledged: u64,
    producers: u32,
    /// Where readers go on after a restart: (reader, queue).
    positions: BTreeMap<(u32, Queue), u64>,
    /// Transactions whose decision is not acknowledged yet.
    undecided: u32,
    healed_at: Option<u64>,
    accepted_at: Option<u64>,
}

/// What is left of it at the end.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Every send.
    pub sends: Vec<Send>,
    /// Every record given to a reader.
    pub reads: Vec<Read>,
    /// Offset steps by consumer.
    pub offsets: Vec<Vec<OffsetStep>>,
}

impl History {
    /// An empty one.
    pub fn new() -> History {
        History(Mutex::new(Inner {
            phase: Phase::Running,
            sends: Vec::new(),
            reads: Vec::new(),
            offsets: Vec::new(),
            operations: 0,
            acknowledged: 0,
            producers: 0,
            positions: BTreeMap::new(),
            undecided: 0,
            healed_at: None,
            accepted_at: None,
        }))
    }

    /// How far the run is.
    pub fn phase(&self) -> Phase {
        self.0.lock().phase
    }

    /// Goes on to `phase`.
    pub fn enter(&self, phase: Phase) {
        self.0.lock().phase = phase;
    }

    /// A number for a new producer.
    pub fn producer(&self) -> u32 {
        let mut inner = self.0.lock();
        inner.producers += 1;
        inner.producers
    }

    /// Room for the steps of a new consumer.
    pub fn consumer(&self) -> usize {
        let mut inner = self.0.lock();
        inner.offsets.push(Vec::new());
        inner.offsets.len() - 1
    }

    /// Begins a send: its outcome is unknown until it is told. Returns its id.
    pub fn begin(&self, producer: u32, topic: &str, purpose: Purpose) -> u64 {
        let mut inner = self.0.lock();
        inner.operations += 1;
        let id = inner.sends.len() as u64;
        inner.sends.push(Send {
            id,
            producer,
            topic: topic.to_owned(),
            purpose,
            outcome: Outcome::Unknown,
        });
        id
    }

    /// Tells the outcome of a send.
    pub fn end(&self, id: u64, outcome: Outcome) {
        let mut inner = self.0.lock();
        inner.acknowledged += u64::from(matches!(outcome, Outcome::Acked { .. }));
        inner.sends[id as usize].outcome = outcome;
    }

    /// Notes what a transaction's producer has decided; from now on the decision may have been applied.
    pub fn decided(&self, id: u64, commit: bool) {
        self.0.lock().sends[id as usize].purpose = Purpose::Transaction { commit: Some(commit) };
    }

    /// A decision is on its way (+1) or was acknowledged (-1).
    pub fn undecided(&self, change: i32) {
        let mut inner = self.0.lock();
        inner.undecided = inner.undecided.saturating_add_signed(change);
    }

    /// Whether decisions are on their way.
    pub fn is_undecided(&self) -> bool {
        self.0.lock().undecided > 0
    }

    /// Notes that a plain send begun at `begun_ms` was accepted at `now_ms` (simulated time).
    pub fn accepted(&self, begun_ms: u64, now_ms: u64) {
        let mut inner = self.0.lock();
        if inner.accepted_at.is_none() && inner.healed_at.is_some_and(|healed| begun_ms >= healed) {
            inner.accepted_at = Some(now_ms);
        }
    }

    /// The last fault was healed.
    pub fn healed(&self, now_ms: u64) {
        self.0.lock().healed_at = Some(now_ms);
    }

    /// From the last heal to the first send accepted after it.
    pub fn accepted_after_ms(&self) -> Option<u64> {
        let inner = self.0.lock();
        Some(inner.accepted_at? - inner.healed_at?)
    }

    /// Counts an operation that leaves nothing else behind (a lock, an opened producer).
    pub fn operation(&self, acknowledged: bool) {
        let mut inner = self.0.lock();
        inner.operations += 1;
        inner.acknowledged += u64::from(acknowledged);
    }

    /// Notes an acknowledged commit or an answered query.
    pub fn offset(&self, consumer: usize, step: OffsetStep) {
        self.0.lock().offsets[consumer].push(step);
    }

    /// A reader was given these; it goes on at `next`.
    pub fn read(&self, reader: u32, queue: &Queue, records: Vec<Read>, next: u64) {
        let mut inner = self.0.lock();
        inner.operations += 1;
        inner.reads.extend(records);
        inner.positions.insert((reader, queue.clone()), next);
    }

    /// Where a reader goes on.
    pub fn position(&self, reader: u32, queue: &Queue) -> u64 {
        self.0
            .lock()
            .positions
            .get(&(reader, queue.clone()))
            .copied()
            .unwrap_or(0)
    }

    /// Whether of each queue one reader was given all that this member has applied.
    pub fn read_to_the_end(&self, member: &Broker) -> bool {
        let state = member.view.state();
        let mut topics = TOPICS.iter().filter_map(|(topic, _)| state.topics.get(topic));
        topics.all(|topic| {
            topic.queues.iter().zip(0u32..).all(|(queue, id)| {
                let place = (topic.config.name.to_string(), id);
                (0..2).any(|reader| QueueOffset(self.position(reader, &place)) >= queue.next)
            })
        })
    }

    /// Operations begun, and those acknowledged (pulls count as operations only).
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.0.lock();
        (inner.operations, inner.acknowledged)
    }

    /// Takes everything out.
    pub fn take(&self) -> Recorded {
        let mut inner = self.0.lock();
        Recorded {
            sends: std::mem::take(&mut inner.sends),
            reads: std::mem::take(&mut inner.reads),
            offsets: std::mem::take(&mut inner.offsets),
        }
    }
}
