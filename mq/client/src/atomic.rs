//! Atomic batches (ADR 009): messages for many queues of one broker group, consumer offsets and a position of the user's own,
//! applied whole or not at all, exactly once, by one owner at a time. Only Forebay's brokers know them.
//!
//! An owner opens a producer id, which fences all owners before it, and learns what was applied last under that id. Then it sends
//! batches in sequence. A batch whose answer was lost is sent again under the same number until it is answered: the broker
//! recognises a repeat.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mq_base::env::clock;
use mq_message::atomic::{self, AtomicError as LayoutError, BatchApplied, LastApplied, OpenProducer, ProducerOpened};
use mq_message::msg_id::UniqueKeys;
use mq_message::{CommitLogOffset, QueueId, QueueOffset, property};
use mq_remoting::code::{request, response};

use crate::error::CallError;
use crate::instance::{ClientInstance, Pause, refused};
use crate::message::{Message, MessageError, MessageQueue};
use crate::wire;

/// How long one try waits: longer than a broker holds a request during an election.
const TRY_TIMEOUT: Duration = Duration::from_secs(4);

/// What is applied as one.
#[derive(Debug, Clone, Default)]
pub struct AtomicBatch {
    /// Messages, each with its queue. The topics must exist on the group.
    pub messages: Vec<(Message, QueueId)>,
    /// Consumer offsets: group, queue, next offset wanted.
    pub offsets: Vec<(String, MessageQueue, QueueOffset)>,
    /// Kept for the producer id and given back when it is opened again. At most 64 KiB.
    pub position: Option<Bytes>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtomicResult {
    /// Its number.
    pub sequence: u64,
    /// Whether an earlier try had been applied, whose answer was lost.
    pub repeated: bool,
    /// Where the batch lies in the commit log.
    pub base: CommitLogOffset,
    /// Queue offset of each message, in order. Empty if the broker has forgotten it.
    pub queue_offsets: Vec<QueueOffset>,
}

/// Why a batch was not applied, or what is unknown about it.
#[derive(Debug, thiserror::Error)]
pub enum AtomicSendError {
    /// Another owner has opened the producer. Final: nothing can be sent under this epoch any more.
    #[error("fenced: {0}")]
    Fenced(String),
    /// No answer within the time limit: the batch may have been applied. Nothing else is sent before [`AtomicProducer::settle`] has
    /// found out.
    #[error("outcome unknown: {0}")]
    Unknown(CallError),
    /// The outcome of an earlier batch is unknown still: call [`AtomicProducer::settle`].
    #[error("the outcome of batch {0} is unknown; settle it first")]
    Unsettled(u64),
    /// The broker refused the batch for good. It was not applied, and its number is free.
    #[error(transparent)]
    Refused(CallError),
    /// A message is illegal. Nothing was sent.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The batch exceeds a limit of its layout. Nothing was sent.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The owner of a producer id.
pub struct AtomicProducer {
    instance: ClientInstance,
    broker_name: String,
    producer_id: String,
    epoch: u64,
    next: u64,
    last: Option<LastApplied>,
    /// The batch whose answer is awaited.
    pending: Option<Bytes>,
    fenced: Option<String>,
    keys: UniqueKeys,
    timeout: Duration,
}

impl AtomicProducer {
    /// Opens a producer id on a broker group and fences its owners before.
    ///
    /// # Errors
    /// The group is unknown, does not answer within 30 s, or refuses. The older owner may be fenced all the same.
    pub async fn open(
        instance: &ClientInstance,
        broker_name: &str,
        producer_id: &str,
    ) -> Result<Self, AtomicSendError> {
        let mut body = BytesMut::new();
        OpenProducer { producer_id }.encode_into(&mut body)?;
        find_group(instance, broker_name)
            .await
            .map_err(AtomicSendError::Refused)?;
        let config = instance.config();
        let hash = mq_base::env::random::u64() as u32;
        let mut producer = Self {
            instance: instance.clone(),
            broker_name: broker_name.to_owned(),
            producer_id: producer_id.to_owned(),
            epoch: 0,
            next: 1,
            last: None,
            pending: None,
            fenced: None,
            keys: UniqueKeys::new(config.client_ip, std::process::id() as u16, hash),
            timeout: Duration::from_secs(30),
        };
        // Opening twice is harmless: the later epoch counts.
        let answer = producer.ask(request::OPEN_PRODUCER, &body.freeze()).await?;
        let opened = ProducerOpened::decode(&answer).map_err(|e| producer.malformed(&e))?;
        producer.epoch = opened.epoch;
        producer.next = opened.last.as_ref().map_or(1, |last| last.sequence + 1);
        producer.last = opened.last;
        Ok(producer)
    }

    /// Time after which a batch without an answer is reported as unknown; 30 s.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// What had been applied under this id when it was opened: the place to go on from.
    pub fn last(&self) -> Option<&LastApplied> {
        self.last.as_ref()
    }

    /// Our epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number the next batch will have.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Sends a batch and waits until it is applied, through fail-overs if need be. Dropping the future leaves the outcome
    /// unknown: see [`Self::settle`].
    ///
    /// # Errors
    /// See [`AtomicSendError`].
    pub async fn send(&mut self, batch: AtomicBatch) -> Result<AtomicResult, AtomicSendError> {
        if self.pending.is_some() {
            return Err(AtomicSendError::Unsettled(self.next));
        }
        if let Some(why) = &self.fenced {
            return Err(AtomicSendError::Fenced(why.clone()));
        }
        self.pending = Some(self.encode(batch)?);
        self.settle_pending().await
    }

    /// Finds out about a batch whose outcome is unknown, by sending it again. `None` if there is no such batch.
    ///
    /// # Errors
    /// See [`AtomicSendError`].
    pub async fn settle(&mut self) -> Result<Option<AtomicResult>, AtomicSendError> {
        match &self.pending {
            None => Ok(None),
            Some(_) => self.settle_pending().await.map(Some),
        }
    }

    async fn settle_pending(&mut self) -> Result<AtomicResult, AtomicSendError> {
        let body = self.pending.clone().unwrap_or_default();
        let answer = match self.ask(request::ATOMIC_BATCH, &body).await {
            Ok(answer) => answer,
            Err(error) => {
                match &error {
                    AtomicSendError::Fenced(why) => {
                        self.fenced = Some(why.clone());
                        self.pending = None;
                    }
                    AtomicSendError::Refused(_) => self.pending = None,
                    _ => {}
                }
                return Err(error);
            }
        };
        let applied = BatchApplied::decode(&answer).map_err(|e| self.malformed(&e))?;
        let sequence = self.next;
        self.next += 1;
        self.pending = None;
        Ok(AtomicResult {
            sequence,
            repeated: applied.duplicate,
            base: applied.base,
            queue_offsets: applied.queue_offsets,
        })
    }

    fn encode(&self, mut batch: AtomicBatch) -> Result<Bytes, AtomicSendError> {
        let now = clock::wall_ms();
        for (message, _) in &mut batch.messages {
            if let Some(mistake) = &message.mistake {
                return Err(mistake.clone().into());
            }
            if message.unique_key().is_none() {
                message.properties.push(property::UNIQ_KEY, &self.keys.next(now));
            }
        }
        let messages = batch.messages.iter().map(|(m, queue_id)| atomic::Message {
            topic: &m.topic,
            queue_id: *queue_id,
            flag: m.flag,
            sys_flag: 0,
            born_timestamp: now,
            properties: m.properties.as_str(),
            body: &m.body,
        });
        let offsets = batch.offsets.iter().map(|(group, queue, offset)| atomic::Offset {
            group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            offset: *offset,
        });
        let layout = atomic::AtomicBatch {
            producer_id: &self.producer_id,
            epoch: self.epoch,
            sequence: self.next,
            position: batch.position.as_deref(),
            messages: messages.collect(),
            offsets: offsets.collect(),
        };
        let mut body = BytesMut::new();
        layout.encode_into(&mut body)?;
        Ok(body.freeze())
    }

    /// Asks until there is an answer that means something, or the time is up.
    async fn ask(&self, code: i32, body: &Bytes) -> Result<Bytes, AtomicSendError> {
        let shared = &self.instance.shared;
        let deadline = clock::now() + self.timeout;
        let mut pause = Pause::default();
        loop {
            let make = || wire::request(code, |_| ()).with_body(body.clone());
            let left = deadline.saturating_duration_since(clock::now());
            let asked = shared.call_group(&self.broker_name, left.min(TRY_TIMEOUT), make);
            let error = match asked.await {
                Ok(answer) if answer.code == response::SUCCESS => return Ok(answer.body),
                Ok(answer) => {
                    let error = refused(&answer, &self.broker_name);
                    match answer.code {
                        response::PRODUCER_FENCED => {
                            return Err(AtomicSendError::Fenced(error.to_string()));
                        }
                        response::SERVICE_NOT_AVAILABLE | response::SYSTEM_BUSY => error,
                        _ => return Err(AtomicSendError::Refused(error)),
                    }
                }
                Err(error) => error,
            };
            if clock::now() >= deadline {
                return Err(AtomicSendError::Unknown(error));
            }
            shared.want_routes();
            pause.wait().await;
        }
    }

    fn malformed(&self, error: &LayoutError) -> AtomicSendError {
        AtomicSendError::Unknown(CallError::Malformed {
            addr: self.broker_name.as_str().into(),
            what: error.to_string(),
        })
    }
}

/// Makes the group's addresses known: each broker group has a topic of its own name.
async fn find_group(instance: &ClientInstance, broker_name: &str) -> Result<(), CallError> {
    let shared = &instance.shared;
    if shared.brokers.get(broker_name).is_none() {
        shared.fetch_route(broker_name, false).await?;
    }
    match shared.brokers.get(broker_name) {
        Some(_) => Ok(()),
        None => Err(CallError::NoBroker(broker_name.into())),
    }
}
