//! How far a group has come: kept here, written to the broker (or, broadcasting, to a file) from time to time.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mq_base::env::task;
use mq_message::{QueueOffset, topic};
use mq_remoting::code::{request, response};
use parking_lot::Mutex;

use super::local_offsets::LocalOffsets;
use crate::error::CallError;
use crate::instance::{Shared, succeed};
use crate::message::MessageQueue;
use crate::wire;

/// As RocketMQ's client waits.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Unchanged offsets are written again after so many rounds, in case a broker has lost them.
const REPEAT_ROUNDS: u32 = 12;

/// Where a group begins in a queue it has no offset for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsumeFrom {
    /// At the end. RocketMQ's default: a new group sees only what comes from now on. (A queue that still has its first message in
    /// memory is read from there, by the broker's choice.)
    #[default]
    Last,
    /// At the first message there is.
    First,
    /// At the first message stored at or after this time, unix ms.
    Timestamp(i64),
}

/// The offsets of a consumer.
pub(crate) struct Offsets {
    group: Arc<str>,
    shared: Arc<Shared>,
    local: Option<Arc<LocalOffsets>>,
    // A lock and not a task: touched for an instant by whoever has consumed something.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    queues: BTreeMap<MessageQueue, Entry>,
    rounds: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: QueueOffset,
    /// What the broker has acknowledged.
    stored: Option<QueueOffset>,
}

impl Offsets {
    /// Kept by the brokers.
    pub(crate) fn remote(group: &Arc<str>, shared: &Arc<Shared>) -> Self {
        Self {
            group: group.clone(),
            shared: shared.clone(),
            local: None,
            table: Mutex::default(),
        }
    }

    /// Kept in a file of this machine.
    pub(crate) async fn local(group: &Arc<str>, shared: &Arc<Shared>) -> io::Result<Self> {
        let dir = shared.config.offset_dir.clone();
        let dir = dir.join(&shared.client_id).join(&**group);
        let local = Arc::new(LocalOffsets::new(&dir));
        let load = local.clone();
        let saved = task::spawn_blocking("load offsets", move || load.load());
        let saved = saved.join().await.map_err(io::Error::other)??;
        let entry = |(queue, offset)| {
            let stored = Some(offset);
            (queue, Entry { offset, stored })
        };
        let queues = saved.into_iter().map(entry).collect();
        Ok(Self {
            local: Some(local),
            table: Mutex::new(Table { queues, rounds: 0 }),
            ..Self::remote(group, shared)
        })
    }

    /// The group has come this far. Never moves back.
    pub(crate) fn advance(&self, queue: &MessageQueue, offset: QueueOffset) {
        let mut table = self.table.lock();
        match table.queues.get_mut(queue) {
            Some(entry) => entry.offset = entry.offset.max(offset),
            None => {
                let stored = None;
                table.queues.insert(queue.clone(), Entry { offset, stored });
            }
        }
    }

    /// The group shall go on here, also if that is back.
    pub(crate) fn reset(&self, queue: &MessageQueue, offset: QueueOffset) {
        let stored = None;
        let entry = Entry { offset, stored };
        self.table.lock().queues.insert(queue.clone(), entry);
    }

    /// What is known here.
    pub(crate) fn get(&self, queue: &MessageQueue) -> Option<QueueOffset> {
        self.table.lock().queues.get(queue).map(|e| e.offset)
    }

    /// All that is known here.
    pub(crate) fn all(&self) -> Vec<(MessageQueue, QueueOffset)> {
        let table = self.table.lock();
        let pair = |(queue, entry): (&MessageQueue, &Entry)| (queue.clone(), entry.offset);
        table.queues.iter().map(pair).collect()
    }

    /// The queue belongs to another consumer now.
    pub(crate) fn forget(&self, queue: &MessageQueue) {
        if self.local.is_none() {
            self.table.lock().queues.remove(queue);
        }
    }

    /// The group's offset as the broker (or the file) has it.
    pub(crate) async fn stored(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, CallError> {
        if self.local.is_some() {
            return Ok(self.get(queue));
        }
        let make = || wire::query_consumer_offset(&self.group, queue);
        let broker = &queue.broker_name;
        self.shared.know_owner(queue).await?;
        let answer = self.shared.call_group(broker, QUERY_TIMEOUT, make).await?;
        if answer.code == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        let answer = succeed(answer, broker)?;
        // Some brokers say −1 for none.
        let offset = wire::integer(&answer.ext, "offset").map_err(|what| CallError::Malformed {
            addr: broker.clone(),
            what,
        })?;
        Ok(QueueOffset::from_wire(offset))
    }

    /// Where to begin: the stored offset, else by `from`.
    pub(crate) async fn start(&self, queue: &MessageQueue, from: ConsumeFrom) -> Result<QueueOffset, CallError> {
        if let Some(offset) = self.stored(queue).await? {
            return Ok(offset);
        }
        let retry = topic::is_retry(&queue.topic);
        match from {
            ConsumeFrom::Last if retry => Ok(QueueOffset::ZERO),
            ConsumeFrom::Timestamp(at) if !retry => search(&self.shared, queue, at).await,
            ConsumeFrom::First => bound(&self.shared, queue, request::GET_MIN_OFFSET).await,
            _ => bound(&self.shared, queue, request::GET_MAX_OFFSET).await,
        }
    }

    /// Writes what has changed. A failed write is made up for by the next.
    pub(crate) async fn persist(&self) {
        if let Some(local) = &self.local {
            return self.save(local).await;
        }
        let timeout = self.shared.config.api_timeout;
        let mut writes = Vec::new();
        for (queue, offset) in self.due() {
            let group = self.shared.brokers.get(&queue.broker_name);
            if let Some(addr) = group.and_then(|group| group.target()) {
                let command = wire::update_consumer_offset(&self.group, &queue, offset);
                let write = self.shared.transport.start(&addr, command, timeout);
                writes.push((queue, offset, addr, write));
            }
        }
        for (queue, offset, addr, write) in writes {
            match write.await {
                Ok(answer) if answer.code == response::SUCCESS => self.wrote(&queue, offset),
                Ok(answer) => {
                    tracing::warn!(%queue, code = answer.code, remark = answer.remark.as_deref(), "offset refused");
                }
                Err(error) => {
                    tracing::debug!(%queue, %error, "write offset");
                    if error.is_transport() {
                        self.shared.connection_failed(&addr);
                    }
                }
            }
        }
    }

    /// Writes one queue's offset and waits for it, asking other members if need be.
    pub(crate) async fn persist_one(&self, queue: &MessageQueue) -> Result<(), CallError> {
        let Some(offset) = self.get(queue) else {
            return Ok(());
        };
        if let Some(local) = &self.local {
            self.save(local).await;
            return Ok(());
        }
        let make = || wire::update_consumer_offset(&self.group, queue, offset);
        let timeout = self.shared.config.api_timeout;
        self.shared.ask_owner(queue, timeout, make).await?;
        self.wrote(queue, offset);
        Ok(())
    }

    fn due(&self) -> Vec<(MessageQueue, QueueOffset)> {
        let mut table = self.table.lock();
        table.rounds += 1;
        let repeat = table.rounds.is_multiple_of(REPEAT_ROUNDS);
        let due = table
            .queues
            .iter()
            .filter(|(_, entry)| repeat || entry.stored != Some(entry.offset));
        due.map(|(queue, entry)| (queue.clone(), entry.offset)).collect()
    }

    fn wrote(&self, queue: &MessageQueue, offset: QueueOffset) {
        if let Some(entry) = self.table.lock().queues.get_mut(queue) {
            entry.stored = Some(offset);
        }
    }

    async fn save(&self, local: &Arc<LocalOffsets>) {
        let due = self.due();
        if due.is_empty() {
            return;
        }
        let (local, all) = (local.clone(), self.all());
        let save = task::spawn_blocking("save offsets", move || local.save(&all));
        match save.join().await {
            Ok(Ok(())) => due.iter().for_each(|(queue, offset)| self.wrote(queue, *offset)),
            Ok(Err(error)) => tracing::error!(%error, group = %self.group, "save offsets"),
            Err(_) => {}
        }
    }
}

/// An end of a queue, as its broker says.
pub(crate) async fn bound(shared: &Shared, queue: &MessageQueue, code: i32) -> Result<QueueOffset, CallError> {
    ask_offset(shared, queue, || wire::queue_bound(code, queue)).await
}

/// The first offset stored at or after a time.
pub(crate) async fn search(shared: &Shared, queue: &MessageQueue, timestamp_ms: i64) -> Result<QueueOffset, CallError> {
    ask_offset(shared, queue, || wire::search_offset(queue, timestamp_ms)).await
}

async fn ask_offset(
    shared: &Shared,
    queue: &MessageQueue,
    make: impl Fn() -> mq_remoting::Command,
) -> Result<QueueOffset, CallError> {
    let broker = &queue.broker_name;
    let answer = shared.ask_owner(queue, QUERY_TIMEOUT, make).await?;
    let offset = wire::integer(&answer.ext, "offset").map_err(|what| CallError::Malformed {
        addr: broker.clone(),
        what,
    })?;
    // An empty queue of some kinds has the minimum −1.
    Ok(QueueOffset::from_wire(offset).unwrap_or_default())
}
