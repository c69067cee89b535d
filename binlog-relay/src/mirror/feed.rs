//! Messages of queues, read ahead by a lite pull consumer and handed out by count.

use super::Lost;
use super::position::{Position, Queue};
use anyhow::{Context, Result, ensure};
use mq_base::env::clock;
use mq_base::stop::Stop;
use mq_client::{ClientInstance, ConsumeFrom, LitePullConsumer, MessageExt, MessageQueue};
use mq_message::QueueOffset;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Messages of a queue that the consumer reads ahead.
const READ_AHEAD: usize = 128;
/// Messages of a pull, if they are small; a pull brings 1 MiB at most.
const PULL_MESSAGES: u32 = 128;
/// A queue with so many bytes waiting is not read further until they are wanted.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// How long messages that a batch names may take to arrive: longer than a fail-over.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a wait looks for the stop signal.
const TICK: Duration = Duration::from_millis(100);

/// Queues, read.
pub(super) struct Feed {
    consumer: LitePullConsumer,
    broker: Arc<str>,
    progress: Queue,
    queues: BTreeMap<Queue, Waiting>,
    stop: Stop,
}

/// What has been read of a queue and not handed out.
struct Waiting {
    messages: VecDeque<MessageExt>,
    bytes: usize,
    /// Offset of the next message to arrive.
    next: u64,
    paused: bool,
}

impl Feed {
    /// Reads on at a position.
    ///
    /// # Errors
    /// The topics are not there, or the brokers do not answer.
    pub(super) async fn start(
        instance: &ClientInstance,
        group: &str,
        relay: &str,
        position: &Position,
        stop: &Stop,
    ) -> Result<Feed> {
        let topic = format!("{relay}-progress");
        let queues = instance.subscribe_queues(&topic).await.map_err(Lost::new)?;
        let [queue] = queues.as_slice() else {
            anyhow::bail!("the topic {topic} has {} queues, that of a relay has one", queues.len());
        };
        let consumer = LitePullConsumer::builder(group)
            .consume_from(ConsumeFrom::First)
            .pull_batch(PULL_MESSAGES)
            .pull_threshold(READ_AHEAD)
            .auto_commit(None)
            .start_on(instance)
            .await
            .map_err(Lost::new)?;
        let mut feed = Feed {
            consumer,
            broker: queue.broker_name.clone(),
            progress: (topic, queue.queue_id.0),
            queues: BTreeMap::new(),
            stop: stop.clone(),
        };
        let mut all: Vec<(Queue, u64)> = position.queues().map(|(queue, next)| (queue.clone(), next)).collect();
        all.push((feed.progress.clone(), position.progress_offset));
        feed.read(all).await?;
        Ok(feed)
    }

    /// The next progress message, waiting for it at most so long.
    ///
    /// # Errors
    /// It is gone from the topic, or the broker does not answer.
    pub(super) async fn progress(&mut self, wait: Duration) -> Result<Option<MessageExt>> {
        let queue = self.progress.clone();
        self.until(&queue, 1, wait).await?;
        Ok(self.hand_out(&queue, 1).pop())
    }

    /// Whether there is one already.
    pub(super) fn has_progress(&self) -> bool {
        self.queues
            .get(&self.progress)
            .is_some_and(|waiting| !waiting.messages.is_empty())
    }

    /// The next so many messages of a queue, whose next offset is `from`.
    ///
    /// # Errors
    /// They are gone, or do not arrive in time.
    pub(super) async fn take(&mut self, queue: &Queue, from: u64, count: u64) -> Result<Vec<MessageExt>> {
        if !self.queues.contains_key(queue) {
            self.read(vec![(queue.clone(), from)]).await?;
        }
        let count = usize::try_from(count).context("read the number of messages of a batch")?;
        if self.until(queue, count, PATIENCE).await? {
            return Ok(self.hand_out(queue, count));
        }
        let had = self.queues.get(queue).map_or(0, |waiting| waiting.messages.len());
        Err(Lost::new(format!(
            "{had} of {count} messages have come from queue {} of {}",
            queue.1, queue.0
        ))
        .into())
    }

    /// Waits until a queue has so many messages; says whether it has.
    async fn until(&mut self, queue: &Queue, count: usize, wait: Duration) -> Result<bool> {
        let deadline = clock::now() + wait;
        loop {
            let waiting = self.queues.get_mut(queue).context("a queue that is not read")?;
            if waiting.messages.len() >= count {
                return Ok(true);
            }
            if waiting.paused {
                waiting.paused = false;
                self.consumer.pause(&message_queue(&self.broker, queue), false)?;
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() || self.stop.is_stopped() {
                return Ok(false);
            }
            let arrived = self.consumer.poll(left.min(TICK)).await;
            self.sort(arrived, queue)?;
        }
    }

    fn sort(&mut self, arrived: Vec<MessageExt>, wanted: &Queue) -> Result<()> {
        for message in arrived {
            let from = message.queue();
            let queue = (from.topic.to_string(), from.queue_id.0);
            let Some(waiting) = self.queues.get_mut(&queue) else {
                continue;
            };
            let offset = message.queue_offset().0;
            if offset < waiting.next {
                continue;
            }
            ensure!(
                offset == waiting.next,
                "messages {} to {offset} of queue {} of {} are gone (deleted by age?): the copy cannot be continued; make a new one, from new snapshots",
                waiting.next,
                queue.1,
                queue.0
            );
            waiting.next += 1;
            waiting.bytes += message.body().len();
            waiting.messages.push_back(message);
            if waiting.bytes > WAITING_BYTES_MAX && !waiting.paused && queue != *wanted {
                waiting.paused = true;
                self.consumer.pause(&message_queue(&self.broker, &queue), true)?;
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, queue: &Queue, count: usize) -> Vec<MessageExt> {
        let Some(waiting) = self.queues.get_mut(queue) else {
            return Vec::new();
        };
        let messages: Vec<_> = waiting.messages.drain(..count.min(waiting.messages.len())).collect();
        waiting.bytes -= messages.iter().map(|message| message.body().len()).sum::<usize>();
        messages
    }

    /// Reads more queues, each from an offset on.
    async fn read(&mut self, more: Vec<(Queue, u64)>) -> Result<()> {
        for (queue, next) in &more {
            let waiting = Waiting {
                messages: VecDeque::new(),
                bytes: 0,
                next: *next,
                paused: false,
            };
            self.queues.insert(queue.clone(), waiting);
        }
        let all: Vec<MessageQueue> = self
            .queues
            .keys()
            .map(|queue| message_queue(&self.broker, queue))
            .collect();
        self.consumer.assign(&all).await.map_err(Lost::new)?;
        for (queue, next) in more {
            self.consumer
                .seek(&message_queue(&self.broker, &queue), QueueOffset(next))
                .map_err(Lost::new)?;
        }
        Ok(())
    }

    /// Stops reading.
    pub(super) async fn shutdown(self) {
        self.consumer.shutdown().await;
    }
}

fn message_queue(broker: &Arc<str>, queue: &Queue) -> MessageQueue {
    MessageQueue::new(queue.0.as_str(), broker.clone(), queue.1)
}
