//! The replicated state machine: folds committed entries into the state and the derived files (ADR 004).
//!
//! Apply is a function of state and bytes and never refuses: the judge has checked everything. What does not fit is a
//! broken log or a broken program, and this member must not go on: it panics.

use crate::ask::QueueName;
use crate::keys::KeyIndex;
use crate::longpoll::LongPolls;
use crate::pull::Pull;
use crate::recent::Recent;
use crate::state::{Effect, Name, Placed, State, Stored, Within};
use crate::view::View;
use bytes::Bytes;
use mq_base::env::random::HashMap;
use mq_message::topic as names;
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordView, property};
use mq_raft::{Application, SyncDerived};
use mq_store::{Bounds, ConsumeQueues, CqEntry, Entry, ItemKind, LogId, QueueRef, QueueTableRow};
use std::io;
use std::sync::Arc;

/// The state machine. Lives on the apply task.
pub struct Machine {
    view: Arc<View>,
    queues: Queues,
    index: Option<KeyIndex>,
    polls: Arc<LongPolls<Pull>>,
    /// Queues that got messages in this run.
    touched: HashMap<(u64, QueueId), Name>,
    /// Queue offsets of the messages of the entry being applied.
    queue_offsets: Vec<QueueOffset>,
}

impl Machine {
    /// Writes to these.
    pub fn new(view: Arc<View>, queues: ConsumeQueues, index: Option<KeyIndex>, polls: Arc<LongPolls<Pull>>) -> Self {
        let queues = Queues {
            files: queues,
            handles: HashMap::default(),
        };
        Self {
            view,
            queues,
            index,
            polls,
            touched: HashMap::default(),
            queue_offsets: Vec::new(),
        }
    }

    fn message(&mut self, state: &mut State, recent: &mut Recent, body: &[u8], physical: CommitLogOffset) {
        let record = RecordView::parse(body).unwrap_or_else(|error| panic!("record at {physical}: {error}"));
        let (topic, queue) = (record.topic(), record.queue_id());
        let stored = Stored {
            physical,
            size: body.len() as u32,
        };
        let placed = state.place(topic, queue, stored);
        let placed = placed.unwrap_or_else(|| panic!("record at {physical}: no queue {queue} in topic {topic}"));
        assert_eq!(
            placed.offset,
            record.queue_offset(),
            "record at {physical} leaves a gap in {topic} queue {queue}"
        );
        let found = Found::in_properties(record.properties());
        let slot = CqEntry {
            offset: physical,
            size: stored.size,
            tags_code: tags_code(state, &record, &found),
        };
        self.queues.append(&placed, queue, slot);
        if let Some(key) = found.unique_key {
            recent.stored(topic, record.reconsume_times(), key, (queue, placed.offset, physical));
        }
        if let Some(index) = self
            .index
            .as_ref()
            .filter(|_| found.unique_key.is_some() || found.keys.is_some())
        {
            index.put(topic, found.keys(), physical, record.store_timestamp());
        }
        self.queue_offsets.push(placed.offset);
        self.touched.entry((placed.incarnation, queue)).or_insert(placed.topic);
    }

    fn effect(&mut self, state: &mut State, body: &[u8], entry: &Entry) {
        let effect = Effect::decode(body).unwrap_or_else(|error| panic!("effect in entry {}: {error}", entry.id()));
        match &effect {
            Effect::TopicGone(topic) => self.queues.topic_gone(state, topic),
            Effect::QueueMinimum { topic, queue, min } => self.queues.raise(state, topic, *queue, *min),
            _ => {}
        }
        state.apply(
            &effect,
            Within {
                base: entry.offset(),
                queue_offsets: &self.queue_offsets,
            },
        );
    }
}

impl Application for Machine {
    fn apply(&mut self, entry: &Entry) {
        let view = self.view.clone();
        let (mut state, mut recent) = (view.write(), view.recent());
        state.advance_time(entry.log_time_ms());
        self.queue_offsets.clear();
        for item in entry.items() {
            match item.kind {
                ItemKind::Message => self.message(&mut state, &mut recent, item.body, item.offset),
                ItemKind::Effect => self.effect(&mut state, item.body, entry),
                ItemKind::Opaque => {}
            }
        }
    }

    fn applied(&mut self, _last: LogId) {
        self.view.ran();
        for ((_, queue), topic) in self.touched.drain() {
            self.polls.arrived(&QueueName { topic, queue });
        }
    }

    fn prepare_checkpoint(&mut self) -> SyncDerived {
        let (files, index) = (self.queues.files.clone(), self.index.clone());
        Box::new(move || {
            files.sync_dirty()?;
            index.map_or(Ok(()), |index| index.sync())
        })
    }

    fn checkpoint(&mut self) -> Bytes {
        self.view.state().encode()
    }

    fn restore(&mut self, state: Option<&[u8]>, _base: CommitLogOffset, install: bool) -> io::Result<()> {
        let state = match state {
            Some(bytes) => State::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
            None => State::default(),
        };
        self.queues.restore(&state, install)?;
        if let Some(index) = &self.index {
            index.restore(install)?;
        }
        *self.view.write() = state;
        self.view.ran();
        self.view.recent().clear();
        self.polls.wake_all();
        Ok(())
    }

    fn recall(&mut self, entry: &Entry) {
        let view = self.view.clone();
        let mut recent = view.recent();
        for item in entry.items().filter(|item| item.kind == ItemKind::Message) {
            let Ok(record) = RecordView::parse(item.body) else {
                continue;
            };
            if let Some(key) = Found::in_properties(record.properties()).unique_key {
                let place = (record.queue_id(), record.queue_offset(), item.offset);
                recent.stored(record.topic(), record.reconsume_times(), key, place);
            }
        }
    }
}

/// A delayed message's queue entry carries its delivery time instead of a tags code.
fn tags_code(state: &State, record: &RecordView<'_>, found: &Found<'_>) -> i64 {
    if record.topic() == names::SCHEDULE {
        record.store_timestamp() + state.schedule.delay_ms(record.queue_id().get() + 1)
    } else {
        found.tags.map_or(0, mq_message::tags_code)
    }
}

/// What the derived files need of a property text, found in one pass. Of repeated names the last counts.
#[derive(Default)]
struct Found<'a> {
    tags: Option<&'a str>,
    unique_key: Option<&'a str>,
    keys: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn in_properties(text: &'a str) -> Self {
        let mut found = Self::default();
        for (name, value) in property::iter(text) {
            match name {
                property::TAGS => found.tags = Some(value),
                property::UNIQ_KEY => found.unique_key = Some(value),
                property::KEYS => found.keys = Some(value),
                _ => {}
            }
        }
        found
    }

    /// The keys a message is indexed by.
    fn keys(&self) -> impl Iterator<Item = &'a str> {
        let words = self.keys.unwrap_or_default().split(' ').filter(|key| !key.is_empty());
        self.unique_key.into_iter().chain(words)
    }
}

/// The consume queues, with handles by incarnation and queue so that an append looks nothing up by name.
struct Queues {
    files: ConsumeQueues,
    handles: HashMap<u64, Vec<Option<QueueRef>>>,
}

impl Queues {
    fn append(&mut self, placed: &Placed, queue: QueueId, slot: CqEntry) {
        let handles = self.handles.entry(placed.incarnation).or_default();
        let at = queue.get() as usize;
        if handles.len() <= at {
            handles.resize(at + 1, None);
        }
        if handles[at].is_none() {
            match self.files.queue(&placed.topic, placed.incarnation, queue) {
                Ok(handle) => handles[at] = Some(handle),
                // Names are checked before a topic is made; without its queue the messages cannot be read.
                Err(error) => panic!("consume queue {queue} of {}: {error}", placed.topic),
            }
        }
        if let Some(handle) = &handles[at] {
            self.files.append(handle, placed.offset, slot);
        }
    }

    /// Called before the state forgets the topic.
    fn topic_gone(&mut self, state: &State, topic: &str) {
        let Some(incarnation) = state.topics.get(topic).map(|topic| topic.incarnation) else {
            return;
        };
        self.handles.remove(&incarnation);
        if let Err(error) = self.files.remove(topic, incarnation) {
            // Nothing refers to them any more; a restart removes them.
            tracing::warn!(topic, %error, "remove the consume queues of a deleted topic");
        }
    }

    fn raise(&self, state: &State, topic: &str, queue: QueueId, min: QueueOffset) {
        let Some(incarnation) = state.topics.get(topic).map(|topic| topic.incarnation) else {
            return;
        };
        if let Some(handle) = self.files.find(topic, incarnation, queue) {
            self.files.set_min(&handle, min);
        }
    }

    fn restore(&mut self, state: &State, install: bool) -> io::Result<()> {
        self.handles.clear();
        let topics = state.topics.sorted();
        let rows = topics.iter().flat_map(|topic| {
            topic
                .queues
                .iter()
                .enumerate()
                .filter(|(_, queue)| queue.next > QueueOffset::ZERO)
                .map(|(id, queue)| QueueTableRow {
                    topic: &topic.config.name,
                    incarnation: topic.incarnation,
                    queue_id: QueueId(id as u32),
                    bounds: Bounds {
                        min: queue.min,
                        max: queue.next,
                    },
                })
        });
        self.files.restore(rows, install)
    }
}
