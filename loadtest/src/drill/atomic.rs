//! `loadtest drill atomic`: two owners of one producer id take it from each other again and again while members die.
//!
//! Both carry rows 0, 1, 2 … from the same imaginary source into one broker group. The row to go on from lies in the position of
//! the batch before, so every row must be there exactly once, in order, whoever wrote it: a gap, a repeat or a row of an
//! owner that had been fenced shows in the sequence of rows alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use mq_client::{
    AtomicBatch, AtomicProducer, AtomicResult, AtomicSendError, ClientConfig, ClientInstance, ConsumeFrom,
    LitePullConsumer, Message, MessageQueue, TopicSpec,
};
use mq_cluster::Cluster;
use mq_message::{QueueId, QueueOffset};
use parking_lot::Mutex;
use serde::Serialize;

use super::DrillArgs;
use super::faults::{self, Dice};
use super::reading::Falsify;

const TOPIC: &str = "DrillAtomic";
const GROUP: &str = "drill_atomic";
const PRODUCER: &str = "drill";
const QUEUES: u32 = 8;
const ROWS_OF_A_BATCH_MAX: u64 = 6;
const MAGIC: u32 = 0x4642_4154;

/// How the drill goes.
#[derive(Args, Clone, Debug)]
pub struct AtomicArgs {
    #[command(flatten)]
    drill: DrillArgs,
    /// How long an owner keeps the producer before the other takes it, at most.
    #[arg(long, default_value_t = 0.6, value_name = "SECONDS")]
    tenure: f64,
}

/// One row as it lies in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    epoch: u64,
    sequence: u64,
    row: u64,
    /// Rows of its batch.
    of: u32,
}

impl Row {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&MAGIC.to_be_bytes());
        for number in [self.epoch, self.sequence, self.row] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.of.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        (word(0)? == MAGIC).then_some(())?;
        Some(Self {
            epoch: long(4)?,
            sequence: long(12)?,
            row: long(20)?,
            of: word(28)?,
        })
    }
}

/// An acknowledged batch: where its rows are.
#[derive(Clone, Debug)]
struct Ack {
    sequence: u64,
    first_row: u64,
    places: Vec<(u32, u64)>,
}

/// What the owners have written down.
#[derive(Default)]
struct Notes {
    acks: Mutex<Vec<Ack>>,
    takeovers: AtomicU64,
    fenced: AtomicU64,
    repeated: AtomicU64,
    stop: AtomicBool,
}

/// What the drill found. Everything from `missing` on must be zero.
#[derive(Debug, Default, Serialize, PartialEq)]
struct Verdict {
    faults: usize,
    takeovers: u64,
    fenced: u64,
    acknowledged: usize,
    /// Acknowledgements that came for a batch sent again after a lost answer.
    repeats_recognised: u64,
    rows: u64,
    missing: u64,
    repeated: u64,
    of_older_epoch: u64,
    torn_batches: u64,
    out_of_order: u64,
    misplaced: u64,
    offset_wrong: u64,
    unexpected: u64,
    examples: Vec<String>,
}

impl Verdict {
    fn holds(&self) -> bool {
        let broken = self.missing
            + self.repeated
            + self.of_older_epoch
            + self.torn_batches
            + self.out_of_order
            + self.misplaced
            + self.offset_wrong
            + self.unexpected;
        broken == 0 && self.rows > 0 && self.acknowledged > 0 && self.takeovers > 1
    }

    fn example(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < 20 {
            self.examples.push(what());
        }
    }
}

/// Runs the drill; an error when something was lost, repeated or written by a fenced owner.
pub async fn run(args: AtomicArgs) -> Result<()> {
    let cluster = Cluster::open(&args.drill.dir)?;
    let config = ClientConfig::new(&cluster.namesrv_addr());
    let instance = ClientInstance::start(config.clone())?;
    let groups = cluster.layout().groups();
    let broker = (*groups.first().context("the cluster has no broker group")?).to_owned();
    let topic = TopicSpec::new(TOPIC, QUEUES);
    let create = instance.create_topic(&broker, &topic).await;
    create.with_context(|| format!("create {TOPIC}"))?;
    let begin = ends(&instance, &broker).await?;
    // Earlier runs may have used the producer: their rows are not ours.
    let first = opened_at(&instance, &broker).await?;

    let notes = Arc::new(Notes::default());
    let owners: Vec<_> = (0..2)
        .map(|number| {
            let owner = Owner {
                config: config.clone(),
                broker: broker.clone(),
                dice: Dice::new(args.drill.seed * 2 + number),
                tenure: args.tenure,
                notes: notes.clone(),
            };
            tokio::spawn(owner.run())
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bar = super::progress(&args.drill);
    let faults = faults::inject(&args.drill, &cluster, &bar).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    notes.stop.store(true, Ordering::SeqCst);
    for owner in owners {
        owner.await.context("an owner panicked")??;
    }
    bar.set_message("reading everything back");
    let last = opened_at(&instance, &broker).await?;
    let mut rows = read(&config, &begin, &ends(&instance, &broker).await?, &bar).await?;
    if let Some(how) = args.drill.falsify {
        falsify(&mut rows, how);
    }
    bar.finish_and_clear();

    let acks = std::mem::take(&mut *notes.acks.lock());
    let mut verdict = judge(&rows, &acks, first.row..last.row);
    verdict.faults = faults.len();
    verdict.takeovers = notes.takeovers.load(Ordering::SeqCst);
    verdict.fenced = notes.fenced.load(Ordering::SeqCst);
    verdict.repeats_recognised = notes.repeated.load(Ordering::SeqCst);
    let queue = MessageQueue::new(TOPIC, broker.as_str(), 0);
    let offset = instance.consumer_offset(GROUP, &queue).await?;
    if offset != Some(QueueOffset(last.sequence)) {
        verdict.offset_wrong = 1;
        verdict.example(|| {
            format!(
                "the last batch was {}, the offset committed with it is {offset:?}",
                last.sequence
            )
        });
    }
    report(&verdict, args.drill.json);
    ensure!(verdict.holds(), "the books do not balance (seed {})", args.drill.seed);
    Ok(())
}

/// Where the producer stands: sequence of the last batch, and the next row.
struct Standing {
    sequence: u64,
    row: u64,
}

fn standing(producer: &AtomicProducer) -> Result<Standing> {
    let Some(last) = producer.last() else {
        return Ok(Standing { sequence: 0, row: 0 });
    };
    let position = last.position.as_deref().unwrap_or_default();
    let row = position.try_into().map(u64::from_be_bytes);
    Ok(Standing {
        sequence: last.sequence,
        row: row.context("the position is not a row")?,
    })
}

async fn opened_at(instance: &ClientInstance, broker: &str) -> Result<Standing> {
    let producer = AtomicProducer::open(instance, broker, PRODUCER).await;
    standing(&producer.context("open the producer")?)
}

struct Owner {
    config: ClientConfig,
    broker: String,
    dice: Dice,
    tenure: f64,
    notes: Arc<Notes>,
}

impl Owner {
    /// Takes the producer, writes until the other takes it away, waits a little, takes it back.
    async fn run(mut self) -> Result<()> {
        let instance = ClientInstance::start(self.config.clone())?;
        while !self.notes.stop.load(Ordering::SeqCst) {
            let producer = AtomicProducer::open(&instance, &self.broker, PRODUCER).await?;
            self.notes.takeovers.fetch_add(1, Ordering::SeqCst);
            self.write(producer).await?;
            let pause = self.tenure * self.dice.roll(1_000) as f64 / 1_000.0;
            tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        }
        Ok(())
    }

    async fn write(&mut self, mut producer: AtomicProducer) -> Result<()> {
        let mut row = standing(&producer)?.row;
        while !self.notes.stop.load(Ordering::SeqCst) {
            let rows = 1 + self.dice.roll(ROWS_OF_A_BATCH_MAX);
            let (batch, queues) = batch(&self.broker, &producer, row, rows);
            let mut sent = producer.send(batch).await;
            while let Err(AtomicSendError::Unknown(_)) = sent {
                sent = match producer.settle().await {
                    Ok(result) => Ok(result.context("nothing to settle")?),
                    Err(error) => Err(error),
                };
            }
            match sent {
                Ok(result) => self.note(row, &queues, &result),
                Err(AtomicSendError::Fenced(_)) => {
                    self.notes.fenced.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                Err(error) => bail!("batch {}: {error}", producer.next_sequence()),
            }
            row += rows;
        }
        Ok(())
    }

    fn note(&self, first_row: u64, queues: &[u32], result: &AtomicResult) {
        self.notes
            .repeated
            .fetch_add(u64::from(result.repeated), Ordering::SeqCst);
        let places = queues.iter().zip(&result.queue_offsets);
        self.notes.acks.lock().push(Ack {
            sequence: result.sequence,
            first_row,
            places: places.map(|(queue, offset)| (*queue, offset.get())).collect(),
        });
    }
}

fn batch(broker: &str, producer: &AtomicProducer, row: u64, rows: u64) -> (AtomicBatch, Vec<u32>) {
    let sequence = producer.next_sequence();
    let queues: Vec<u32> = (row..row + rows).map(|row| (row % u64::from(QUEUES)) as u32).collect();
    let message = |(row, queue): (u64, &u32)| {
        let body = Row {
            epoch: producer.epoch(),
            sequence,
            row,
            of: rows as u32,
        };
        (Message::new(TOPIC, body.encode()), QueueId(*queue))
    };
    let batch = AtomicBatch {
        messages: (row..row + rows).zip(&queues).map(message).collect(),
        offsets: vec![(
            GROUP.to_owned(),
            MessageQueue::new(TOPIC, broker, 0),
            QueueOffset(sequence),
        )],
        position: Some((row + rows).to_be_bytes().to_vec().into()),
    };
    (batch, queues)
}

/// Ends of all queues by number.
async fn ends(instance: &ClientInstance, broker: &str) -> Result<BTreeMap<MessageQueue, QueueOffset>> {
    let mut ends = BTreeMap::new();
    for id in 0..QUEUES {
        let queue = MessageQueue::new(TOPIC, broker, id);
        let end = instance.max_offset(&queue).await?;
        ends.insert(queue, end);
    }
    Ok(ends)
}

type Rows = BTreeMap<(u32, u64), Row>;

/// All rows between two sets of offsets, by queue and offset.
async fn read(
    config: &ClientConfig,
    begin: &BTreeMap<MessageQueue, QueueOffset>,
    end: &BTreeMap<MessageQueue, QueueOffset>,
    bar: &ProgressBar,
) -> Result<Rows> {
    let reader = LitePullConsumer::builder(&format!("drill_reader_{}", std::process::id()))
        .consume_from(ConsumeFrom::First)
        .auto_commit(None);
    let reader = reader.start(config.clone()).await?;
    reader.assign(&begin.keys().cloned().collect::<Vec<_>>()).await?;
    for (queue, offset) in begin {
        reader.seek(queue, *offset)?;
    }
    let expected: u64 = end.iter().map(|(queue, end)| end.since(begin[queue])).sum();
    let mut rows = Rows::new();
    while (rows.len() as u64) < expected {
        let messages = reader.poll(Duration::from_secs(10)).await;
        ensure!(
            !messages.is_empty(),
            "only {} of {expected} rows can be read",
            rows.len()
        );
        for message in messages {
            let place = (message.queue().queue_id.get(), message.queue_offset().get());
            let row = Row::decode(message.body()).context("a message that is not the drill's")?;
            if message.queue_offset() < end[message.queue()] {
                rows.insert(place, row);
            }
        }
        bar.set_message(format!("read {} rows", rows.len()));
    }
    reader.shutdown().await;
    Ok(rows)
}

fn falsify(rows: &mut Rows, how: Falsify) {
    let Some((&(queue, offset), &row)) = rows.iter().nth(rows.len() / 2) else {
        return;
    };
    let _ = match how {
        Falsify::Drop => rows.remove(&(queue, offset)),
        Falsify::Duplicate => rows.insert((queue, u64::MAX), row),
    };
}

/// Compares what lies in the queues with what must: the rows `expected`, each once.
fn judge(rows: &Rows, acks: &[Ack], expected: std::ops::Range<u64>) -> Verdict {
    let mut verdict = Verdict {
        rows: expected.end - expected.start,
        acknowledged: acks.len(),
        ..Verdict::default()
    };
    let mut by_row: BTreeMap<u64, Vec<((u32, u64), Row)>> = BTreeMap::new();
    for (place, row) in rows {
        by_row.entry(row.row).or_default().push((*place, *row));
    }
    for row in expected.clone() {
        match by_row.get(&row).map(Vec::as_slice) {
            None => {
                verdict.missing += 1;
                verdict.example(|| format!("row {row} is missing"));
            }
            Some([_]) => {}
            Some(copies) => {
                verdict.repeated += copies.len() as u64 - 1;
                verdict.example(|| format!("row {row} stands at {copies:?}"));
            }
        }
    }
    for (row, copies) in by_row.iter().filter(|(row, _)| !expected.contains(row)) {
        verdict.unexpected += copies.len() as u64;
        verdict.example(|| format!("row {row} was never applied, and stands at {copies:?}"));
    }
    judge_owners(&by_row, &mut verdict);
    judge_queues(rows, &mut verdict);
    judge_acks(rows, acks, &mut verdict);
    verdict
}

/// Rows in order were written by ever newer owners, in whole batches of consecutive numbers.
fn judge_owners(by_row: &BTreeMap<u64, Vec<((u32, u64), Row)>>, verdict: &mut Verdict) {
    let mut batches: BTreeMap<u64, (u64, u32, u32)> = BTreeMap::new();
    let mut newest = 0;
    for row in by_row.values().filter_map(|copies| copies.first()).map(|(_, row)| row) {
        if row.epoch < newest {
            verdict.of_older_epoch += 1;
            verdict.example(|| format!("{row:?} follows rows of epoch {newest}"));
        }
        newest = newest.max(row.epoch);
        let batch = batches.entry(row.sequence).or_insert((row.epoch, row.of, 0));
        batch.2 += 1;
    }
    let mut before = None;
    for (sequence, (epoch, of, found)) in batches {
        if of != found || before.is_some_and(|before: u64| before + 1 != sequence) {
            verdict.torn_batches += 1;
            verdict.example(|| format!("batch {sequence} of epoch {epoch} has {found} of {of} rows, after {before:?}"));
        }
        before = Some(sequence);
    }
}

/// Within a queue rows rise with the offset.
fn judge_queues(rows: &Rows, verdict: &mut Verdict) {
    let mut last: Option<((u32, u64), u64)> = None;
    for (place, row) in rows {
        if let Some((before, before_row)) = last
            && before.0 == place.0
            && before_row >= row.row
        {
            verdict.out_of_order += 1;
            verdict.example(|| format!("row {} at {place:?} follows row {before_row} at {before:?}", row.row));
        }
        last = Some((*place, row.row));
    }
}

/// Every acknowledged row is where its answer said.
fn judge_acks(rows: &Rows, acks: &[Ack], verdict: &mut Verdict) {
    for ack in acks {
        for (row, place) in (ack.first_row..).zip(&ack.places) {
            let found = rows.get(place);
            if found.is_none_or(|found| found.row != row || found.sequence != ack.sequence) {
                verdict.misplaced += 1;
                verdict.example(|| {
                    format!(
                        "row {row} of batch {} was acknowledged at {place:?}, found {found:?}",
                        ack.sequence
                    )
                });
            }
        }
    }
}

fn report(verdict: &Verdict, json: bool) {
    if json {
        println!("{}", serde_json::to_string(verdict).expect("numbers and texts"));
        return;
    }
    let v = verdict;
    println!(
        "{} faults, {} takeovers, {} times an owner found itself fenced",
        v.faults, v.takeovers, v.fenced
    );
    println!(
        "{} batches acknowledged ({} recognised as sent before), {} rows",
        v.acknowledged, v.repeats_recognised, v.rows
    );
    println!(
        "missing {}  repeated {}  of an older epoch {}  torn batches {}  out of order {}  misplaced {}  offset wrong {}  unexpected {}",
        v.missing,
        v.repeated,
        v.of_older_epoch,
        v.torn_batches,
        v.out_of_order,
        v.misplaced,
        v.offset_wrong,
        v.unexpected
    );
    v.examples.iter().for_each(|example| println!("  {example}"));
    println!(
        "{}",
        if v.holds() {
            "the books balance"
        } else {
            "THE BOOKS DO NOT BALANCE"
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three batches of two rows by two owners, in two queues.
    fn good() -> (Rows, Vec<Ack>) {
        let mut rows = Rows::new();
        let mut acks = Vec::new();
        for sequence in 1..=3u64 {
            let epoch = if sequence < 3 { 4 } else { 5 };
            let first = (sequence - 1) * 2;
            for row in first..first + 2 {
                let of = 2;
                let place = ((row % 2) as u32, row / 2);
                rows.insert(
                    place,
                    Row {
                        epoch,
                        sequence,
                        row,
                        of,
                    },
                );
            }
            acks.push(Ack {
                sequence,
                first_row: first,
                places: vec![(0, first / 2), (1, first / 2)],
            });
        }
        (rows, acks)
    }

    #[test]
    fn good_books_balance_and_each_lie_is_seen() {
        let (rows, acks) = good();
        let verdict = judge(&rows, &acks, 0..6);
        assert_eq!(
            verdict,
            Verdict {
                rows: 6,
                acknowledged: 3,
                ..Verdict::default()
            }
        );
        let broken = |change: &dyn Fn(&mut Rows)| {
            let mut rows = rows.clone();
            change(&mut rows);
            judge(&rows, &acks, 0..6)
        };
        assert_eq!(broken(&|r| falsify(r, Falsify::Drop)).missing, 1);
        assert_eq!(broken(&|r| falsify(r, Falsify::Duplicate)).repeated, 1);
        assert!(broken(&|r| r.get_mut(&(0, 2)).unwrap().epoch = 3).of_older_epoch > 0);
        assert!(broken(&|r| r.get_mut(&(0, 1)).unwrap().sequence = 9).torn_batches > 0);
        let swapped = broken(&|r| {
            let (a, b) = (r[&(0, 0)], r[&(0, 2)]);
            r.insert((0, 0), b);
            r.insert((0, 2), a);
        });
        assert!(swapped.out_of_order > 0 && swapped.misplaced > 0);
        let late = Row {
            epoch: 4,
            sequence: 4,
            row: 6,
            of: 1,
        };
        let extra = broken(&|r| {
            r.insert((0, 3), late);
        });
        assert_eq!(extra.unexpected, 1);
    }

    #[test]
    fn rows_are_read_as_written() {
        let row = Row {
            epoch: 1,
            sequence: 2,
            row: 3,
            of: 4,
        };
        assert_eq!(Row::decode(&row.encode()), Some(row));
        assert_eq!(Row::decode(&row.encode()[..31]), None);
    }
}
