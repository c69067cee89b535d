//! Consumers that read everything as it comes, and remember what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use mq_client::consumer::LitePullConsumer;
use mq_client::{MessageExt, MessageQueue, Producer};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::MqArgs;
use super::produce::{Acknowledged, histogram};
use crate::body::Body;

/// Messages asked for at a time; the broker's own bounds apply.
const PULL_BATCH: u32 = 1_024;
/// How long the drain waits for a message that does not come.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was consumed in a round.
pub struct Consumed {
    /// From the intended send time to the consumer, µs.
    pub latency: Histogram<u64>,
    /// Messages a second, from the first to the last.
    pub rate: f64,
    /// Acknowledged and not consumed.
    pub lost: u64,
    /// Consumed again.
    pub duplicated: u64,
}

/// Running consumers; none is fine.
pub struct Consumers {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

struct Seen {
    run: u32,
    began: Instant,
    by_producer: Vec<Vec<u64>>,
    count: u64,
    duplicated: u64,
    latency: Histogram<u64>,
    first_and_last: Option<(Instant, Instant)>,
}

/// Starts them at the end of each queue, so that they see the round and nothing before it.
pub async fn start(args: &MqArgs, run: u32, began: Instant) -> Result<Consumers> {
    let seen = Arc::new(Mutex::new(Seen {
        run,
        began,
        by_producer: vec![Vec::new(); args.producers],
        count: 0,
        duplicated: 0,
        latency: histogram(),
        first_and_last: None,
    }));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    let queues = if args.consumers == 0 {
        Vec::new()
    } else {
        queues(args).await?
    };
    for number in 0..args.consumers {
        let group = format!("loadtest_{run}_{number}");
        let consumer = LitePullConsumer::builder(&group)
            .auto_commit(None)
            .pull_batch(PULL_BATCH)
            .pull_threshold(PULL_BATCH as usize * 4)
            .start(args.client())
            .await?;
        let mine: Vec<MessageQueue> = queues.iter().skip(number).step_by(args.consumers).cloned().collect();
        let began = Instant::now();
        while let Err(error) = consumer.assign(&mine).await {
            // Name servers hear of a topic that was just made a little later.
            if began.elapsed() > PATIENCE {
                return Err(error).context("assign queues to a consumer");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for queue in &mine {
            consumer
                .seek_to_end(queue)
                .await
                .with_context(|| format!("find the end of {queue}"))?;
        }
        tasks.push(tokio::spawn(consume(consumer, seen.clone(), stop.clone())));
    }
    Ok(Consumers { seen, stop, tasks })
}

/// The topic's queues; the topic is made first by a message to it.
async fn queues(args: &MqArgs) -> Result<Vec<MessageQueue>> {
    let producer = Producer::builder("loadtest").start(args.client()).await?;
    let message = mq_client::Message::new(args.topic.as_str(), "first");
    producer.send(message).await.context("send the first message")?;
    let queues = producer.queues(&args.topic).await?;
    producer.shutdown().await;
    Ok(queues)
}

async fn consume(consumer: LitePullConsumer, seen: Arc<Mutex<Seen>>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let messages = consumer.poll(Duration::from_millis(100)).await;
        if !messages.is_empty() {
            seen.lock().take(&messages);
        }
    }
    consumer.shutdown().await;
}

impl Seen {
    fn take(&mut self, messages: &[MessageExt]) {
        let now = Instant::now();
        let since = (now - self.began).as_micros() as u64;
        for body in messages.iter().filter_map(|message| Body::decode(message.body())) {
            if body.run != self.run {
                continue;
            }
            let Some(words) = self.by_producer.get_mut(body.producer as usize) else {
                continue;
            };
            let (word, bit) = ((body.number / 64) as usize, 1 << (body.number % 64));
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            self.duplicated += u64::from(words[word] & bit != 0);
            words[word] |= bit;
            self.count += 1;
            self.latency.saturating_record(since.saturating_sub(body.intended_us));
            let first = self.first_and_last.map_or(now, |(first, _)| first);
            self.first_and_last = Some((first, now));
        }
    }

    fn lost(&self, acknowledged: &Acknowledged) -> u64 {
        let mut lost = 0;
        acknowledged.for_each(|producer, number| {
            let word = self.by_producer[producer as usize]
                .get((number / 64) as usize)
                .copied()
                .unwrap_or(0);
            lost += u64::from(word >> (number % 64) & 1 == 0);
        });
        lost
    }
}

impl Consumers {
    /// Waits until everything acknowledged was consumed, or nothing came for a while; `None` without consumers.
    pub async fn drain(self, acknowledged: &Acknowledged) -> Option<Consumed> {
        if self.tasks.is_empty() {
            return None;
        }
        let (mut count, mut since) = (0, Instant::now());
        while since.elapsed() < PATIENCE && self.seen.lock().lost(acknowledged) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.seen.lock().count;
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap_or_default();
        }
        let seen = self.seen.lock();
        let seconds = seen
            .first_and_last
            .map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        Some(Consumed {
            latency: seen.latency.clone(),
            rate: seen.count as f64 / seconds.max(1e-3),
            lost: seen.lost(acknowledged),
            duplicated: seen.duplicated,
        })
    }
}
