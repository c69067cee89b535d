//! The traffic of a drill: plain, batched, ordered, delayed and transactional messages, offset commits, orderly consumers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use mq_client::consumer::{LitePullConsumer, OrderlyStatus, PushConsumer};
use mq_client::{
    ClientConfig, ClientInstance, ConsumeFrom, Message, MessageExt, MessageQueue, Producer, SendError, SendResult,
    TransactionListener, TransactionState,
};
use mq_message::QueueOffset;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::books::{Books, Decision, Kind, Sent};
use super::reading::name;
use crate::body::Body;

/// One topic a kind of traffic.
pub const TOPICS: [&str; 5] = [
    "DrillPlain",
    "DrillBatch",
    "DrillOrdered",
    "DrillDelayed",
    "DrillTransaction",
];
const BODY_BYTES: usize = 256;
const BATCH: u64 = 8;
/// Delay level 1 is one second.
const DELAY_MS: i64 = 1_000;
const GROUP: &str = "drill_offsets";

/// Running traffic.
pub struct Traffic {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    orderly: PushConsumer,
}

/// What it leaves.
pub struct Done {
    /// What was asked and answered.
    pub books: Books,
    /// When each send was accepted.
    pub accepted: Vec<Instant>,
    /// When each offset commit was.
    pub commits: Vec<Instant>,
    /// Number of the run.
    pub run: u32,
    /// Sends that failed for good.
    pub failed: u64,
    /// How the first of them failed.
    pub failures: Vec<String>,
    /// Messages given to orderly consumers.
    pub consumed_orderly: u64,
    /// Of these, how many came before an earlier one of their sender.
    pub consumed_out_of_order: u64,
}

struct Shared {
    run: u32,
    stop: AtomicBool,
    senders: AtomicU32,
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
    consumed: AtomicU64,
    out_of_order: AtomicU64,
    highest: Mutex<HashMap<MessageQueue, u64>>,
    books: Mutex<(Books, Vec<Instant>)>,
    commits: Mutex<Vec<Instant>>,
}

impl Shared {
    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn body(&self, producer: u32, number: u64) -> (u64, Bytes) {
        let body = Body {
            run: self.run,
            producer,
            number,
            intended_us: 0,
        };
        (body.id(), Bytes::from(body.encode(BODY_BYTES)))
    }

    /// Keeps the first few different failures for the report.
    fn note(&self, failure: String) {
        let mut failures = self.failures.lock();
        if failures.len() < 5 && !failures.contains(&failure) {
            failures.push(failure);
        }
    }

    /// Writes down what came of a send of messages that stand one behind the other.
    fn write(&self, ids: &[u64], blank: &Sent, answer: &Result<SendResult, SendError>) {
        let mut guard = self.books.lock();
        let (books, accepted) = &mut *guard;
        match answer {
            Ok(_) => accepted.push(Instant::now()),
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.note(error.to_string());
            }
        }
        for (n, id) in ids.iter().enumerate() {
            let place = answer
                .as_ref()
                .ok()
                .map(|sent| (name(&sent.queue), sent.queue_offset.get() + n as u64));
            books.sent(*id, Sent { place, ..blank.clone() });
            (1..tries(answer)).for_each(|_| books.resent(*id));
        }
    }
}

/// How often the client sent it. Each try may have been stored, whatever came of the last one.
fn tries(answer: &Result<SendResult, SendError>) -> u32 {
    match answer {
        Ok(sent) => sent.tries,
        Err(SendError::Call { tries, .. }) => *tries,
        Err(SendError::Message(_)) => 0,
    }
}

fn blank(kind: Kind) -> Sent {
    Sent {
        kind,
        place: None,
        due_ms: None,
        decision: None,
    }
}

fn now_ms() -> i64 {
    mq_base::env::clock::wall_ms()
}

/// Starts everything; `rate` messages a second are divided among the kinds.
pub async fn start(client: &ClientConfig, rate: u64, seed: u64) -> Result<Traffic> {
    let shared = Arc::new(Shared {
        run: (now_ms() as u32).wrapping_add(seed as u32),
        stop: AtomicBool::new(false),
        senders: AtomicU32::new(0),
        failed: AtomicU64::new(0),
        failures: Mutex::default(),
        consumed: AtomicU64::new(0),
        out_of_order: AtomicU64::new(0),
        highest: Mutex::default(),
        books: Mutex::default(),
        commits: Mutex::default(),
    });
    let instance = ClientInstance::start(client.clone())?;
    let producer = Producer::builder("drill").start_on(&instance).await?;
    let every = |share: f64, each: u64| Duration::from_secs_f64(each as f64 / (rate as f64 * share));
    let mut tasks = Vec::new();
    // Shares: plain 40 %, batches 30 %, ordered 15 %, delayed 5 %, transactions 10 %; several senders each, so that a slow answer does
    // not silence a kind.
    for (kind, share, senders) in [
        (Kind::Plain, 0.4, 8),
        (Kind::Batch, 0.3, 4),
        (Kind::Ordered, 0.15, 4),
        (Kind::Delayed, 0.05, 2),
        (Kind::Transaction, 0.1, 4),
    ] {
        let each = if kind == Kind::Batch { BATCH } else { 1 };
        let gap = every(share / f64::from(senders), each);
        for _ in 0..senders {
            let number = shared.senders.fetch_add(1, Ordering::Relaxed);
            let shared = shared.clone();
            if kind == Kind::Transaction {
                let listener = Decider { shared: shared.clone() };
                // Check-backs go to one producer of a group and instance, so each has an instance of its own.
                let own = ClientInstance::start(client.clone())?;
                let producer = Producer::builder("drill_transactions")
                    .start_transactional_on(&own, listener)
                    .await?;
                tasks.push(tokio::spawn(transactions(shared, producer, number, gap)));
            } else {
                tasks.push(tokio::spawn(sends(shared, producer.clone(), kind, number, gap)));
            }
        }
    }
    tasks.push(tokio::spawn(commits(shared.clone(), client.clone())));
    let orderly = orderly(&shared, client).await?;
    Ok(Traffic { shared, tasks, orderly })
}

impl Traffic {
    /// Stops the senders, lets delayed messages and check-backs arrive, stops the consumers.
    pub async fn stop(self) -> Done {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap_or_default();
        }
        tokio::time::sleep(Duration::from_millis(DELAY_MS as u64 * 3)).await;
        self.orderly.shutdown().await;
        let (books, accepted) = std::mem::take(&mut *self.shared.books.lock());
        Done {
            books,
            accepted,
            commits: std::mem::take(&mut *self.shared.commits.lock()),
            run: self.shared.run,
            failed: self.shared.failed.load(Ordering::Relaxed),
            failures: std::mem::take(&mut *self.shared.failures.lock()),
            consumed_orderly: self.shared.consumed.load(Ordering::Relaxed),
            consumed_out_of_order: self.shared.out_of_order.load(Ordering::Relaxed),
        }
    }
}

/// One sender of a kind: it waits for each answer, so its messages have an order.
async fn sends(shared: Arc<Shared>, producer: Producer, kind: Kind, sender: u32, gap: Duration) {
    let mut due = Instant::now();
    let mut number = 0;
    while shared.runs() {
        due = pace(due, gap).await;
        let count = if kind == Kind::Batch { BATCH } else { 1 };
        let (ids, mut bodies): (Vec<u64>, Vec<Bytes>) =
            (number..number + count).map(|n| shared.body(sender, n)).unzip();
        number += count;
        let mut sent = blank(kind);
        let answer = match kind {
            Kind::Batch => {
                producer
                    .send_batch(bodies.into_iter().map(|b| Message::new(TOPICS[1], b)).collect())
                    .await
            }
            Kind::Ordered => {
                shared.books.lock().0.ordered(sender, ids[0]);
                let message = Message::new(TOPICS[2], bodies.remove(0));
                producer.send_by(message, |_| sender as usize).await
            }
            Kind::Delayed => {
                // Log time may lag behind this clock by what is in flight; the check is on the broker's own stamp.
                sent.due_ms = Some(now_ms() + DELAY_MS - 50);
                producer
                    .send(Message::new(TOPICS[3], bodies.remove(0)).delay_level(1))
                    .await
            }
            Kind::Plain | Kind::Transaction => producer.send(Message::new(TOPICS[0], bodies.remove(0))).await,
        };
        shared.write(&ids, &sent, &answer);
    }
}

/// Waits until the next send is due; a sender that fell behind by more than a second does not catch up.
async fn pace(due: Instant, gap: Duration) -> Instant {
    let now = Instant::now();
    match due.checked_duration_since(now) {
        Some(wait) => tokio::time::sleep(wait).await,
        None if now - due > Duration::from_secs(1) => return now + gap,
        None => {}
    }
    due + gap
}

/// Decides by the message's number: most are committed, some rolled back, some only when the broker asks.
struct Decider {
    shared: Arc<Shared>,
}

fn decision(number: u64) -> (Decision, bool) {
    let decision = if number % 4 == 3 {
        Decision::Rollback
    } else {
        Decision::Commit
    };
    (decision, number % 10 == 9)
}

fn state(decision: Decision) -> TransactionState {
    match decision {
        Decision::Commit => TransactionState::Commit,
        Decision::Rollback => TransactionState::Rollback,
    }
}

impl TransactionListener for Decider {
    async fn execute(&self, message: &Message, _: &str) -> TransactionState {
        let Some(body) = Body::decode(message.body()) else {
            return TransactionState::Rollback;
        };
        let (decision, only_when_asked) = decision(body.number);
        if only_when_asked {
            TransactionState::Unknown
        } else {
            state(decision)
        }
    }

    async fn check(&self, message: &MessageExt) -> TransactionState {
        match Body::decode(message.body()) {
            Some(body) if body.run == self.shared.run => state(decision(body.number).0),
            _ => TransactionState::Rollback,
        }
    }
}

async fn transactions(
    shared: Arc<Shared>,
    producer: mq_client::TransactionProducer<Decider>,
    sender: u32,
    gap: Duration,
) {
    let mut due = Instant::now();
    for number in 0.. {
        if !shared.runs() {
            break;
        }
        due = pace(due, gap).await;
        let (id, body) = shared.body(sender, number);
        let answer = producer.send_in_transaction(Message::new(TOPICS[4], body)).await;
        let (decision, _) = decision(number);
        // A half message whose answer was lost may be decided by a check-back: it may be visible or not.
        let ended = answer
            .as_ref()
            .is_ok_and(|sent| sent.ended && sent.state != TransactionState::Unknown);
        let sent = Sent {
            decision: Some(decision),
            ..blank(Kind::Transaction)
        };
        let place = answer.map(|sent| sent.send);
        let mut guard = shared.books.lock();
        if place.is_ok() {
            guard.1.push(Instant::now());
        }
        (1..tries(&place)).for_each(|_| guard.0.resent(id));
        // Only an acknowledged decision must be visible at once; the others are settled by check-backs that may come after the reading.
        let place = place
            .ok()
            .filter(|_| ended)
            .map(|sent| (name(&sent.queue), sent.queue_offset.get()));
        guard.0.sent(id, Sent { place, ..sent });
    }
    // Left running: the broker may still ask.
    tokio::time::sleep(Duration::from_millis(DELAY_MS as u64 * 3)).await;
    producer.shutdown().await;
}

/// Commits rising offsets for a group of its own and asks for them again, whoever leads.
async fn commits(shared: Arc<Shared>, client: ClientConfig) {
    let Ok(consumer) = LitePullConsumer::builder(GROUP)
        .auto_commit(None)
        .start(client.clone())
        .await
    else {
        return;
    };
    let Ok(producer) = Producer::builder("drill_queues").start(client).await else {
        return;
    };
    let mut next: HashMap<MessageQueue, u64> = HashMap::new();
    while shared.runs() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Ok(queues) = producer.queues(TOPICS[0]).await else {
            continue;
        };
        for queue in queues {
            let offset = next.entry(queue.clone()).or_insert(0);
            let committed = consumer.commit_offset(&queue, QueueOffset(*offset + 1)).await;
            if let Err(error) = &committed {
                shared.note(format!("offset commit: {error}"));
            }
            if committed.is_ok() {
                *offset += 1;
                shared.commits.lock().push(Instant::now());
                shared.books.lock().0.committed(GROUP, &name(&queue), *offset);
            }
            if let Ok(found) = consumer.committed(&queue).await {
                shared
                    .books
                    .lock()
                    .0
                    .queried(GROUP, &name(&queue), found.map(|offset| offset.get()));
            }
        }
    }
    consumer.shutdown().await;
    producer.shutdown().await;
}

/// An orderly consumer that watches offsets rise one by one within each queue.
async fn orderly(shared: &Arc<Shared>, client: &ClientConfig) -> Result<PushConsumer> {
    let shared = shared.clone();
    let consumer = PushConsumer::builder("drill_orderly")
        .subscribe(TOPICS[2], "*")
        .consume_from(ConsumeFrom::First);
    let started = consumer.start_orderly(client.clone(), move |messages: Vec<MessageExt>| {
        let shared = shared.clone();
        async move {
            let mut highest_given = shared.highest.lock();
            for message in &messages {
                if Body::decode(message.body()).is_none_or(|body| body.run != shared.run) {
                    continue;
                }
                shared.consumed.fetch_add(1, Ordering::Relaxed);
                let offset = message.queue_offset().get();
                let highest = highest_given.entry(message.queue().clone()).or_insert(offset);
                // Again is allowed (at least once); ahead of one that was never given is not.
                if offset > *highest + 1 {
                    shared.out_of_order.fetch_add(1, Ordering::Relaxed);
                }
                *highest = offset.max(*highest);
            }
            OrderlyStatus::Success
        }
    });
    Ok(started.await?)
}
