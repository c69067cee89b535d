//! The auditor: reads every queue from its first message, and compares what is there with the journal.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mq_client::consumer::LitePullConsumer;
use mq_client::{ClientConfig, ClientInstance, MessageExt};
use mysql_async::prelude::Queryable;
use serde::Deserialize;

use super::writer::{SCHEMA, TABLES};

/// What was found to be true.
#[derive(Debug, Default)]
pub struct Audit {
    /// Messages of rows and barriers.
    pub messages: u64,
    /// Rows in them.
    pub rows: u64,
    /// Keys.
    pub keys: usize,
    /// Changes in the journal.
    pub journal: usize,
    /// Progress messages.
    pub batches: u64,
    /// Different owners.
    pub epochs: u64,
}

#[derive(Deserialize)]
struct Flat {
    id: u64,
    table: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Option<Vec<HashMap<String, Option<String>>>>,
}

#[derive(Deserialize)]
struct Progress {
    batch: u64,
    epoch: u64,
    next: u64,
    messages: Vec<(String, u32, u64)>,
}

/// One change of a key.
type Change = (char, i64);

/// Reads everything.
///
/// # Errors
/// The queue does not answer.
pub async fn read_topic(instance: &ClientInstance, topic: &str) -> Result<Vec<MessageExt>> {
    let queues = instance.subscribe_queues(topic).await?;
    let group = format!("auditor_{}_{topic}", std::process::id());
    let reader = LitePullConsumer::builder(&group)
        .auto_commit(None)
        .start_on(instance)
        .await?;
    reader.assign(&queues).await?;
    let mut left = 0;
    for queue in &queues {
        reader.seek_to_begin(queue).await?;
        left += instance.max_offset(queue).await?.get() - instance.min_offset(queue).await?.get();
    }
    let mut found = Vec::with_capacity(left as usize);
    let mut quiet = Instant::now();
    while (found.len() as u64) < left {
        let messages = reader.poll(Duration::from_millis(500)).await;
        if !messages.is_empty() {
            quiet = Instant::now();
        }
        found.extend(messages);
        ensure!(
            quiet.elapsed() < Duration::from_secs(60),
            "{topic}: {} of {left} messages could be read",
            found.len()
        );
    }
    reader.shutdown().await;
    found.sort_by_key(|message| (message.queue().queue_id, message.queue_offset()));
    Ok(found)
}

/// Compares queues and journal.
///
/// # Errors
/// Says the first breach: a gap, a repeat, an inversion, or a wrong row.
pub async fn audit(client: &ClientConfig, mysql: &str, relay: &str) -> Result<Audit> {
    let instance = ClientInstance::start(client.clone())?;
    let mut audit = Audit::default();
    let mut ids: Vec<u64> = Vec::new();
    let mut found: BTreeMap<(usize, String), Vec<Change>> = BTreeMap::new();
    for (number, table) in TABLES.iter().enumerate() {
        let topic = format!("{SCHEMA}_{table}");
        let mut queue_of: HashMap<String, u32> = HashMap::new();
        for message in read_topic(&instance, &topic).await? {
            let queue = message.queue().queue_id.get();
            let flat: Flat = serde_json::from_slice(message.body())
                .with_context(|| format!("read message {} of {}", message.queue_offset(), message.queue()))?;
            ensure!(flat.table == *table, "{topic} holds a message of {}", flat.table);
            ids.push(flat.id);
            audit.messages += 1;
            for row in flat.data.into_iter().flatten() {
                audit.rows += 1;
                let value = |column: &str| {
                    row.get(column)
                        .cloned()
                        .flatten()
                        .with_context(|| format!("no {column} in a row of {topic}"))
                };
                let key = match number {
                    0 => value("id")?,
                    _ => format!("{}/{}", value("shop")?, value("number")?),
                };
                let before = queue_of.entry(key.clone()).or_insert(queue);
                ensure!(
                    *before == queue,
                    "key {key} of {topic} is in queues {before} and {queue}"
                );
                let op = flat.kind.chars().next().unwrap_or('?');
                let mark = value("mark")?.parse().context("read a mark")?;
                found.entry((number, key)).or_default().push((op, mark));
            }
        }
    }
    audit.keys = found.len();
    gapless(&mut ids)?;
    progress(&instance, relay, &mut audit).await?;
    let journal = journal(mysql).await?;
    audit.journal = journal.values().map(Vec::len).sum();
    for (key, changes) in &journal {
        let Some(read) = found.get(key) else {
            bail!("key {key:?}: {} changes, none of them in the queue", changes.len());
        };
        let same = changes
            .iter()
            .zip(read)
            .take_while(|(wanted, got)| wanted == got)
            .count();
        ensure!(
            same == changes.len() && same == read.len(),
            "key {key:?} differs after {same} changes: the source says {:?}, the queue {:?} ({} and {} in all)",
            changes.get(same),
            read.get(same),
            changes.len(),
            read.len()
        );
    }
    if let Some(extra) = found.keys().find(|key| !journal.contains_key(*key)) {
        bail!("key {extra:?} is in the queue and was never changed at the source");
    }
    ensure!(audit.journal > 0, "nothing was examined");
    Ok(audit)
}

/// Message numbers are 1, 2, 3 … over all topics.
fn gapless(ids: &mut [u64]) -> Result<()> {
    ids.sort_unstable();
    for (index, id) in ids.iter().enumerate() {
        let wanted = index as u64 + 1;
        ensure!(*id >= wanted, "message {id} is in the queue twice");
        ensure!(*id == wanted, "message {wanted} is missing");
    }
    Ok(())
}

/// Batches follow each other without a gap, owners too, and say how many messages there are.
async fn progress(instance: &ClientInstance, relay: &str, audit: &mut Audit) -> Result<()> {
    let (mut batch, mut epoch, mut messages, mut next) = (0, 0, 0, 1);
    for message in read_topic(instance, &format!("{relay}-progress")).await? {
        let progress: Progress = serde_json::from_slice(message.body()).context("read a progress message")?;
        ensure!(
            progress.batch == batch + 1,
            "batch {} follows batch {batch}",
            progress.batch
        );
        ensure!(
            progress.epoch >= epoch,
            "epoch {} wrote after epoch {epoch}",
            progress.epoch
        );
        audit.epochs += u64::from(progress.epoch != epoch);
        batch = progress.batch;
        epoch = progress.epoch;
        let added: u64 = progress.messages.iter().map(|(_, _, count)| count).sum();
        ensure!(
            progress.next == next + added,
            "batch {batch} adds {added} messages to {next} and comes to {}",
            progress.next
        );
        next = progress.next;
        messages += added;
    }
    audit.batches = batch;
    ensure!(
        messages == audit.messages,
        "the batches say {messages} messages, the queues have {}",
        audit.messages
    );
    Ok(())
}

async fn journal(url: &str) -> Result<BTreeMap<(usize, String), Vec<Change>>> {
    let mut conn = binlog_relay::mysql::connect(url).await?;
    let rows: Vec<(usize, String, String, i64)> = conn
        .query("SELECT tab, k, op, mark FROM audit.journal ORDER BY seq")
        .await?;
    let mut journal: BTreeMap<_, Vec<Change>> = BTreeMap::new();
    for (table, key, op, mark) in rows {
        let op = op.chars().next().unwrap_or('?');
        journal.entry((table, key)).or_default().push((op, mark));
    }
    Ok(journal)
}
