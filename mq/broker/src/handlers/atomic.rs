//! Forebay's own requests: open a producer (60001), append an atomic batch (60002). Bodies are in [`mq_message::atomic`].

use crate::ask::{
    Ask, AtomicBatch, BatchResult, OffsetCommit, OpenedProducer, Outgoing, ProducerSequence, Refusal, Reply,
};
use crate::data_path::{DataPath, or_refuse};
use crate::request::Request;
use bytes::{Bytes, BytesMut};
use mq_message::atomic::{self, AtomicError, BatchApplied, LastApplied, ProducerOpened};
use mq_message::{CommitLogOffset, QueueOffset, RecordSpec, topic as names};
use mq_remoting::Command;
use mq_remoting::code::response;
use std::sync::Arc;

impl DataPath {
    /// Raises a producer's epoch.
    pub(crate) fn open_producer(self: &Arc<Self>, request: Request) {
        let producer = atomic::OpenProducer::decode(&request.command.body).map(|open| open.producer_id.into());
        let producer = or_refuse!(request, producer.map_err(malformed));
        let reply = Reply::new(move |opened: Result<OpenedProducer, Refusal>| match opened {
            Ok(opened) => {
                let position = opened.position.map(|position| position.to_vec());
                let last = opened.last_sequence.map(|sequence| LastApplied { sequence, position });
                let body = ProducerOpened {
                    epoch: opened.epoch,
                    last,
                };
                answer(&request, |out| body.encode_into(out));
            }
            Err(refusal) => request.refuse(&refusal),
        });
        self.judge.ask(Ask::OpenProducer(producer, reply));
    }

    /// Appends messages, offsets and a position, all or nothing.
    pub(crate) fn atomic_batch(self: &Arc<Self>, request: Request) {
        let mut batch = or_refuse!(request, self.decode_batch(&request));
        batch.reply = Reply::new(move |applied: Result<BatchResult, Refusal>| match applied {
            Ok(BatchResult {
                duplicate,
                base,
                queue_offsets,
            }) => {
                let body = BatchApplied {
                    duplicate,
                    base,
                    queue_offsets,
                };
                answer(&request, |out| body.encode_into(out));
            }
            Err(refusal) => request.refuse(&refusal),
        });
        self.judge.ask(Ask::AtomicBatch(batch));
    }

    fn decode_batch(&self, request: &Request) -> Result<AtomicBatch, Refusal> {
        let asked = atomic::AtomicBatch::decode(&request.command.body).map_err(malformed)?;
        if !asked.messages.is_empty() {
            self.check_room()?;
        }
        let messages = asked
            .messages
            .iter()
            .map(|message| self.outgoing(request, message))
            .collect::<Result<_, _>>()?;
        let offsets = asked.offsets.iter().map(|commit| OffsetCommit {
            group: commit.group.into(),
            topic: commit.topic.into(),
            queue: commit.queue_id,
            offset: commit.offset,
            only_advance: false,
        });
        Ok(AtomicBatch {
            producer: Some(ProducerSequence {
                producer: asked.producer_id.into(),
                epoch: asked.epoch,
                sequence: asked.sequence,
            }),
            position: asked.position.map(Bytes::copy_from_slice),
            messages,
            offsets: offsets.collect(),
            create: Vec::new(),
            reply: Reply::none(),
        })
    }

    fn outgoing(&self, request: &Request, message: &atomic::Message<'_>) -> Result<Outgoing, Refusal> {
        names::check(message.topic).map_err(|error| Refusal::Invalid(error.to_string()))?;
        if !names::is_allowed_to_send(message.topic) {
            return Err(Refusal::NoPermission(format!(
                "Sending message to topic[{}] is forbidden.",
                message.topic
            )));
        }
        let max = self.message_bytes_max(&self.settings());
        if message.body.len() > max {
            return Err(Refusal::MessageIllegal(format!(
                "message body size over max value, MAX: {max} bytes"
            )));
        }
        let spec = RecordSpec {
            topic: message.topic,
            queue_id: message.queue_id,
            flag: message.flag,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: request.caller.remote(),
            store_host: self.site.store_host,
            store_timestamp: 0,
            reconsume_times: 0,
            prepared_transaction_offset: CommitLogOffset::ZERO,
            body: message.body,
            properties: message.properties,
            queue_offset: QueueOffset::ZERO,
            physical_offset: CommitLogOffset::ZERO,
        };
        let mut record = BytesMut::with_capacity(spec.encoded_len());
        spec.encode_into(&mut record)
            .map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
        Ok(Outgoing {
            topic: message.topic.into(),
            queue: message.queue_id,
            record,
        })
    }
}

fn malformed(error: AtomicError) -> Refusal {
    Refusal::Invalid(error.to_string())
}

fn answer(request: &Request, encode: impl FnOnce(&mut BytesMut) -> Result<(), AtomicError>) {
    let mut body = BytesMut::new();
    match encode(&mut body) {
        Ok(()) => request.answer(Command::response(&request.command, response::SUCCESS).with_body(body.freeze())),
        Err(error) => request.refuse(&Refusal::Failed(format!("encode answer: {error}"))),
    }
}
