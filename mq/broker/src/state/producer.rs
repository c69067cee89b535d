//! Producers that write in sequence and are fenced by epochs (D9).

use super::Name;
use super::codec::{CodecError, Reader, Writer};
use bytes::Bytes;
use mq_message::{CommitLogOffset, QueueOffset};
use std::collections::{BTreeMap, VecDeque};

/// Results remembered per producer: a repeat older than this many batches is refused as out of sequence.
pub const PRODUCER_RESULTS_KEPT: usize = 16;

/// Where a message of a batch went.
pub type Place = (QueueOffset, CommitLogOffset);

/// Result of one batch, kept to answer a repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedBatch {
    /// Its sequence.
    pub sequence: u64,
    /// Where its messages went.
    pub places: Vec<Place>,
}

/// One producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    /// Epoch in force; lower ones are refused for good.
    pub epoch: u64,
    /// Last sequence taken.
    pub last_sequence: Option<u64>,
    /// Position that came with it.
    pub position: Bytes,
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

    pub(super) fn took(&mut self, id: &Name, sequence: u64, position: Bytes, places: Vec<Place>) {
        let producer = self.by_id.entry(id.clone()).or_default();
        producer.last_sequence = Some(sequence);
        producer.position = position;
        if producer.recent.len() == PRODUCER_RESULTS_KEPT {
            producer.recent.pop_front();
        }
        producer
            .recent
            .push_back(RememberedBatch { sequence, places });
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.varint(self.by_id.len() as u64);
        for (id, producer) in &self.by_id {
            w.text(id);
            w.varint(producer.epoch);
            w.option(producer.last_sequence);
            w.blob(&producer.position);
            w.varint(producer.recent.len() as u64);
            for batch in &producer.recent {
                w.varint(batch.sequence);
                w.varint(batch.places.len() as u64);
                for (queue, physical) in &batch.places {
                    w.varint(queue.get());
                    w.varint(physical.get());
                }
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
                position: Bytes::copy_from_slice(r.blob()?),
                recent: VecDeque::new(),
            };
            for _ in 0..r.count()? {
                let sequence = r.varint()?;
                let mut places = Vec::new();
                for _ in 0..r.count()? {
                    places.push((r.varint()?.into(), r.varint()?.into()));
                }
                producer
                    .recent
                    .push_back(RememberedBatch { sequence, places });
            }
            by_id.insert(id, producer);
        }
        Ok(Self { by_id })
    }
}
