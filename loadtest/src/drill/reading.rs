//! Reading every queue back, from its first record to its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use mq_client::consumer::LitePullConsumer;
use mq_client::{ClientConfig, MessageExt, MessageQueue, Producer};

use super::books::{Books, Found, Queue};
use crate::body::Body;

/// How long to wait for the last record of a queue.
const PATIENCE: Duration = Duration::from_secs(30);

/// Records of all queues by offset.
pub type Queues = BTreeMap<Queue, BTreeMap<u64, Found>>;

/// A lie to put into what was read, to see the drill fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Falsify {
    /// Forget one record.
    Drop,
    /// Show one record twice.
    Duplicate,
}

/// Name of a queue in the books.
pub fn name(queue: &MessageQueue) -> Queue {
    (
        queue.topic.to_string(),
        queue.broker_name.to_string(),
        queue.queue_id.into(),
    )
}

/// Reads the topics' queues until nothing more comes and everything that `books` expect of delayed messages and commits has had time.
pub async fn read_all(client: &ClientConfig, topics: &[&str], run: u32, books: &Books) -> Result<Queues> {
    let finder = Producer::builder("drill_reader").start(client.clone()).await?;
    let mut all = Vec::new();
    for topic in topics {
        all.extend(
            finder
                .queues(topic)
                .await
                .with_context(|| format!("find the queues of {topic}"))?,
        );
    }
    finder.shutdown().await;
    let group = format!("drill_reader_{}", std::process::id());
    let reader = LitePullConsumer::builder(&group)
        .auto_commit(None)
        .start(client.clone())
        .await?;
    reader.assign(&all).await.context("assign every queue to the reader")?;
    for queue in &all {
        reader
            .seek_to_begin(queue)
            .await
            .with_context(|| format!("go to the beginning of {queue}"))?;
    }
    let mut queues: Queues = all.iter().map(|queue| (name(queue), BTreeMap::new())).collect();
    let mut quiet_since = Instant::now();
    let quiet = Duration::from_secs(6);
    let began = Instant::now();
    loop {
        let messages = reader.poll(Duration::from_millis(200)).await;
        if !messages.is_empty() {
            quiet_since = Instant::now();
        }
        for message in messages {
            keep(&mut queues, run, &message)?;
        }
        let enough = queues.values().map(BTreeMap::len).sum::<usize>() >= books.acknowledged() / 2;
        if quiet_since.elapsed() > quiet && (enough || began.elapsed() > PATIENCE) {
            break;
        }
    }
    reader.shutdown().await;
    Ok(queues)
}

fn keep(queues: &mut Queues, run: u32, message: &MessageExt) -> Result<()> {
    let queue = name(message.queue());
    let records = queues.entry(queue.clone()).or_default();
    let Some(body) = Body::decode(message.body()) else {
        bail!("{queue:?} holds a message that is not the drill's")
    };
    let found = Found {
        id: (body.run == run).then(|| body.id()),
        stored_ms: message.store_timestamp(),
    };
    let offset = message.queue_offset().get();
    if let Some(before) = records.insert(offset, found)
        && before.id != found.id
    {
        bail!(
            "{queue:?} offset {offset} was message {:x?} and is now {:x?}",
            before.id,
            found.id
        );
    }
    Ok(())
}

/// Puts one lie into the queues.
pub fn falsify(queues: &mut Queues, how: Falsify) {
    let Some(records) = queues.values_mut().find(|records| records.len() > 2) else {
        return;
    };
    match how {
        Falsify::Drop => drop(records.pop_last()),
        Falsify::Duplicate => {
            if let (Some((_, first)), Some((last, _))) = (records.first_key_value(), records.last_key_value()) {
                let (first, next) = (*first, last + 1);
                records.insert(next, first);
            }
        }
    }
}
