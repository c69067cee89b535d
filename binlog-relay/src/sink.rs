//! The queue: topics, and atomic batches in order.

use crate::status::Status;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use mq_base::env::clock;
use mq_client::{AtomicBatch, AtomicProducer, AtomicSendError, CallError, ClientInstance, Message, TopicSpec};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc;

/// What is appended as one.
pub struct Batch {
    /// Messages and their queues; the progress message is the last.
    pub messages: Vec<(Message, u32)>,
    /// The position behind them.
    pub position: Bytes,
    /// Transactions that end in it.
    pub transactions: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their bodies.
    pub bytes: usize,
    /// Text of the complete transactions, for the status.
    pub gtids: String,
    /// Commit time of the newest row, ms; 0 if there is none.
    pub es: i64,
}

/// The topics of one broker group.
pub struct Topics {
    instance: ClientInstance,
    group: String,
    known: HashMap<String, u32>,
}

impl Topics {
    /// Nothing is known yet.
    pub fn new(instance: ClientInstance, group: &str) -> Topics {
        Topics {
            instance,
            group: group.to_owned(),
            known: HashMap::new(),
        }
    }

    /// How many queues a topic has on our group; makes it with `queues` if there is none.
    ///
    /// # Errors
    /// The broker refuses, or does not answer within half a minute.
    pub async fn ensure(&mut self, topic: &str, queues: u32) -> Result<u32> {
        if let Some(count) = self.known.get(topic) {
            return Ok(*count);
        }
        let deadline = clock::now() + Duration::from_secs(30);
        loop {
            match self.find_or_make(topic, queues).await {
                Ok(count) => {
                    self.known.insert(topic.to_owned(), count);
                    return Ok(count);
                }
                Err(error) if clock::now() >= deadline => {
                    return Err(error).with_context(|| format!("make the topic {topic} on {}", self.group));
                }
                Err(error) => {
                    tracing::warn!(topic, %error, "no topic yet, trying again");
                    clock::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn find_or_make(&self, topic: &str, queues: u32) -> Result<u32, CallError> {
        match self.count(topic).await {
            Ok(count) if count > 0 => {
                if count != queues {
                    tracing::warn!(
                        topic,
                        count,
                        wanted = queues,
                        "the topic has another number of queues than the rule says; it is kept"
                    );
                }
                return Ok(count);
            }
            Ok(_) | Err(CallError::NoRoute(_)) => {}
            Err(error) => return Err(error),
        }
        self.instance
            .create_topic(&self.group, &TopicSpec::new(topic, queues))
            .await?;
        self.count(topic).await
    }

    async fn count(&self, topic: &str) -> Result<u32, CallError> {
        let queues = self.instance.subscribe_queues(topic).await?;
        Ok(queues.iter().filter(|queue| *queue.broker_name == *self.group).count() as u32)
    }
}

/// Why appending ended.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Another relay of this name has taken over. Nothing of ours can be appended any more.
    #[error("another relay has taken over ({0})")]
    Fenced(String),
    /// The broker refuses the batch for good.
    #[error("the queue refuses a batch: {0}")]
    Refused(String),
}

/// Appends batches in order, each until its outcome is known, until the sender of `batches` is dropped.
///
/// # Errors
/// See [`SinkError`]. A broker that does not answer is no error: it is asked until it does.
pub async fn append(
    mut producer: AtomicProducer,
    mut batches: mpsc::Receiver<Batch>,
    status: Arc<Status>,
) -> Result<(), SinkError> {
    while let Some(batch) = batches.recv().await {
        let atomic = AtomicBatch {
            messages: batch
                .messages
                .into_iter()
                .map(|(message, queue)| (message, queue.into()))
                .collect(),
            offsets: Vec::new(),
            position: Some(batch.position),
        };
        let mut outcome = producer.send(atomic).await.map(Some);
        loop {
            match outcome {
                Ok(_) => break,
                Err(AtomicSendError::Fenced(why)) => return Err(SinkError::Fenced(why)),
                Err(AtomicSendError::Unknown(why)) => {
                    tracing::warn!(%why, "the queue has not answered; asking again");
                    outcome = producer.settle().await;
                }
                Err(error) => return Err(SinkError::Refused(error.to_string())),
            }
        }
        status.rows.fetch_add(batch.rows, Relaxed);
        status.bytes.fetch_add(batch.bytes as u64, Relaxed);
        status.batches.fetch_add(1, Relaxed);
        status.appended(batch.gtids, batch.es);
    }
    Ok(())
}

/// Opens the producer of a relay, which fences every older one.
///
/// # Errors
/// The group is unknown or does not answer within a minute.
pub async fn open(instance: &ClientInstance, group: &str, relay: &str) -> Result<AtomicProducer> {
    let deadline = clock::now() + Duration::from_secs(60);
    loop {
        match AtomicProducer::open(instance, group, &format!("relay-{relay}")).await {
            Ok(producer) => return Ok(producer),
            Err(error) if clock::now() >= deadline => bail!("open the producer of relay {relay} on {group}: {error}"),
            Err(error) => {
                tracing::warn!(%error, "the queue does not answer yet");
                clock::sleep(Duration::from_millis(300)).await;
            }
        }
    }
}
