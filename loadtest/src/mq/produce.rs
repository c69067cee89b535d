//! Producers: a fixed number of requests in flight, or a schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use hdrhistogram::Histogram;
use mq_client::{Message, Producer, SendError, SendResult};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::MqArgs;
use crate::body::Body;

/// Longest latency that is told apart, µs.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What was measured between two points in time.
pub struct Produced {
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Requests that failed.
    pub failed: u64,
    /// How long it was measured.
    pub took: Duration,
    /// From the intended send time to the answer, µs, one value a request.
    pub latency: Histogram<u64>,
    /// The last error, for the report.
    pub error: Option<String>,
}

/// Which messages were acknowledged, by producer: message numbers as bits.
#[derive(Default)]
pub struct Acknowledged {
    by_producer: Vec<Vec<u64>>,
}

impl Acknowledged {
    /// Calls `f(producer, number)` for each.
    pub fn for_each(&self, mut f: impl FnMut(u32, u64)) {
        for (producer, words) in self.by_producer.iter().enumerate() {
            for (at, word) in words.iter().enumerate() {
                (0..64)
                    .filter(|bit| word >> bit & 1 == 1)
                    .for_each(|bit| f(producer as u32, at as u64 * 64 + bit));
            }
        }
    }
}

/// Running producers.
pub struct Producers {
    all: Vec<Arc<One>>,
    tasks: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

struct One {
    producer: Producer,
    number: u32,
    run: u32,
    in_flight: usize,
    permits: Arc<Semaphore>,
    began: Instant,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    books: Mutex<Books>,
}

struct Books {
    latency: Histogram<u64>,
    acknowledged: Vec<u64>,
    error: Option<String>,
}

/// Starts them; they run until [`Producers::stop`].
pub async fn start(args: &MqArgs, run: u32, began: Instant) -> Result<Producers> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut all, mut tasks) = (Vec::new(), Vec::new());
    for number in 0..args.producers {
        let producer = Producer::builder("loadtest").start(args.client()).await?;
        producer
            .send(Message::new(args.topic.as_str(), "warm"))
            .await
            .context("send the first message")?;
        let in_flight = args.in_flight / args.producers;
        let one = Arc::new(One {
            producer,
            number: number as u32,
            run,
            in_flight,
            permits: Arc::new(Semaphore::new(in_flight)),
            began,
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            books: Mutex::new(Books {
                latency: histogram(),
                acknowledged: Vec::new(),
                error: None,
            }),
        });
        tasks.push(tokio::spawn(one.clone().produce(args.clone(), stop.clone())));
        all.push(one);
    }
    Ok(Producers { all, tasks, stop })
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_MAX_US, 3).expect("the bounds are constants that fit")
}

impl One {
    async fn produce(self: Arc<Self>, args: MqArgs, stop: Arc<AtomicBool>) {
        let gap = args
            .rate
            .map(|rate| Duration::from_secs_f64((args.producers * args.batch) as f64 / rate as f64));
        let mut due = Instant::now();
        let mut next = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            if let Some(gap) = gap {
                if let Some(wait) = due.checked_duration_since(Instant::now()) {
                    tokio::time::sleep(wait).await;
                }
                due += gap;
            }
            let Ok(permit) = self.permits.clone().acquire_owned().await else {
                return;
            };
            let intended = gap.map_or_else(Instant::now, |gap| due - gap);
            let first = next;
            next += args.batch as u64;
            let one = self.clone();
            let done = move |answer: Result<SendResult, SendError>| {
                one.answered(intended, first, next - first, answer);
                drop(permit);
            };
            if args.batch == 1 {
                self.producer.send_async(self.message(&args, first, intended), done);
            } else {
                let messages = (first..next)
                    .map(|number| self.message(&args, number, intended))
                    .collect();
                self.producer.send_batch_async(messages, done);
            }
        }
    }

    fn message(&self, args: &MqArgs, number: u64, intended: Instant) -> Message {
        let intended_us = (intended - self.began).as_micros() as u64;
        let body = Body {
            run: self.run,
            producer: self.number,
            number,
            intended_us,
        };
        Message::new(args.topic.as_str(), Bytes::from(body.encode(args.size)))
    }

    fn answered(&self, intended: Instant, first: u64, count: u64, answer: Result<SendResult, SendError>) {
        let mut books = self.books.lock();
        match answer {
            Ok(_) => {
                self.acknowledged.fetch_add(count, Ordering::Relaxed);
                let latency = (intended.elapsed().as_micros() as u64).min(LATENCY_MAX_US);
                books.latency.saturating_record(latency);
                for number in first..first + count {
                    let word = (number / 64) as usize;
                    if books.acknowledged.len() <= word {
                        books.acknowledged.resize(word + 1, 0);
                    }
                    books.acknowledged[word] |= 1 << (number % 64);
                }
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                books.error = Some(error.to_string());
            }
        }
    }
}

impl Producers {
    /// Lets them run for `duration` and says what happened in it.
    pub async fn measure(&self, duration: Duration) -> Produced {
        for one in &self.all {
            one.books.lock().latency.reset();
        }
        let before = self.counts();
        let began = Instant::now();
        tokio::time::sleep(duration).await;
        let took = began.elapsed();
        let after = self.counts();
        let mut latency = histogram();
        let mut error = None;
        for one in &self.all {
            let books = one.books.lock();
            latency.add(&books.latency).expect("histograms of one kind");
            error = error.or_else(|| books.error.clone());
        }
        Produced {
            acknowledged: after.0 - before.0,
            failed: after.1 - before.1,
            took,
            latency,
            error,
        }
    }

    fn counts(&self) -> (u64, u64) {
        self.all.iter().fold((0, 0), |(acknowledged, failed), one| {
            (
                acknowledged + one.acknowledged.load(Ordering::Relaxed),
                failed + one.failed.load(Ordering::Relaxed),
            )
        })
    }

    /// Stops, waits for the answers that are still to come, and says what was acknowledged in the whole round.
    pub async fn stop(self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            // The task ends by itself; a panic in it is a bug that the missing messages will show.
            task.await.unwrap_or_default();
        }
        let mut all = Acknowledged::default();
        for one in self.all {
            let every = one.in_flight as u32;
            drop(one.permits.acquire_many(every).await);
            all.by_producer.push(std::mem::take(&mut one.books.lock().acknowledged));
            one.producer.clone().shutdown().await;
        }
        all
    }
}
