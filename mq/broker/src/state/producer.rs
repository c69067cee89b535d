//! Producers that write in sequence and are fenced by epochs (ADR 009).

use super::Name;
use super::codec::{CodecError, Reader, Writer};
use bytes::Bytes;
use mq_message::{CommitLogOffset, QueueOffset};
use std::collections::{BTreeMap, VecDeque};

/// Results remembered per producer; an older repeat is still known as one, but answered without offsets.
pub const PRODUCER_RESULTS_KEPT: usize = 8;

/// Result of one batch, kept to answer a repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedBatch {
    /// Its sequence.
    pub sequence: u64,
    /// Commit log offset of its entry.
    pub base: CommitLogOffset,
    /// Queue offsets of its messages.
    pub queue_offsets: Vec<QueueOffset>,
}

/// One producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    /// Epoch in force; lower ones are refused for good.
    pub epoch: u64,
    /// Last sequence taken.
    pub last_sequence: Option<u64>,
    /// The last position a batch came with.
    pub position: Option<Bytes>,
    /// The last results, oldest first.
    pub recent: VecDeque<RememberedBatch>,
}

impl Producer {
    /// The remembered result of a sequence.
    pub fn result(&self, sequence: u64) -> Option<&RememberedBatch> {
        self.recent.iter().find(|batch| batch.sequence == sequence)
    }
}

/// All producers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<Name, Producer>,
}

impl Producers {
    /// A producer by id.
    pub fn get(&self, id: &str) -> Option<&Producer> {
        self.by_id.get(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Producer)> {
        self.by_id.iter()
    }

    pub(super) fn opened(&mut self, id: &Name, epoch: u64) {
        self.by_id.entry(id.clone()).or_default().epoch = epoch;
    }

    pub(super) fn took(&mut self, id: &Name, position: Option<&Bytes>, batch: RememberedBatch) {
        let producer = self.by_id.entry(id.clone()).or_default();
        producer.last_sequence = Some(batch.sequence);
        if position.is_some() {
            producer.position = position.cloned();
        }
        if producer.recent.len() == PRODUCER_RESULTS_KEPT {
            producer.recent.pop_front();
        }
        producer.recent.push_back(batch);
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.varint(self.by_id.len() as u64);
        for (id, producer) in &self.by_id {
            w.text(id);
            w.varint(producer.epoch);
            w.option(producer.last_sequence);
            w.optional_blob(producer.position.as_deref());
            w.varint(producer.recent.len() as u64);
            for batch in &producer.recent {
                w.varint(batch.sequence);
                w.varint(batch.base.get());
                w.varint(batch.queue_offsets.len() as u64);
                batch.queue_offsets.iter().for_each(|offset| w.varint(offset.get()));
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut by_id = BTreeMap::new();
        for _ in 0..r.count()? {
            let id: Name = r.text()?.into();
            let mut producer = Producer {
                epoch: r.varint()?,
                last_sequence: r.option()?,
                position: r.optional_blob()?.map(Bytes::copy_from_slice),
                recent: VecDeque::new(),
            };
            for _ in 0..r.count()? {
                producer.recent.push_back(RememberedBatch {
                    sequence: r.varint()?,
                    base: r.varint()?.into(),
                    queue_offsets: (0..r.count()?)
                        .map(|_| Ok(r.varint()?.into()))
                        .collect::<Result<_, CodecError>>()?,
                });
            }
            by_id.insert(id, producer);
        }
        Ok(Self { by_id })
    }
}
