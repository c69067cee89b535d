//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).

use crate::ask::{Append, Appended, Ask, Refusal, Reply};
use crate::data_path::{DataPath, or_refuse};
use crate::records::{Incoming, Ready, incoming::Surroundings};
use crate::request::Request;
use mq_base::env::random;
use mq_message::{CommitLogOffset, QueueId, msg_id};
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{SendMessageHeader, SendMessageResponse};
use mq_remoting::{ByteStr, Command};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl DataPath {
    /// Stores one message or a batch.
    pub(crate) fn send(self: &Arc<Self>, request: Request) {
        let ready = or_refuse!(request, self.prepare_send(&request));
        if request.retried {
            // What may already be stored is found only after everything before is applied.
            return self.confirmed(request, move |path, request| {
                match path.stored_before(&request, &ready) {
                    Some((queue, appended)) => {
                        let mut told = Told::of(&ready);
                        if ready.queue == ready.shown_queue {
                            told.queue = queue.to_wire(); // the earlier try may have chosen another one
                        }
                        path.answer_send(&request, &told, &appended);
                    }
                    None => path.propose_send(request, ready),
                }
            });
        }
        self.propose_send(request, ready);
    }

    /// Where all messages of a resend were stored by an earlier attempt.
    fn stored_before(&self, request: &Request, ready: &Ready) -> Option<(QueueId, Appended)> {
        let header = SendMessageHeader::decode_for(request.command.code, &request.command.ext).ok()?;
        let tries = header.reconsume_times.unwrap_or(0);
        let recent = self.view.recent();
        // One message object may have been sent to several queues: where the client names the queue, only that one counts.
        let named = QueueId::from_wire(header.queue_id) == Some(ready.shown_queue);
        let found = |key: &String| {
            let place = recent.find(&ready.topic, tries, key)?;
            (!named || place.0 == ready.queue).then_some(place)
        };
        let places: Vec<_> = ready.unique_keys.iter().map(found).collect::<Option<_>>()?;
        let (queue, first, _) = *places.first()?;
        let appended = Appended {
            first,
            physical: places.into_iter().map(|(_, _, at)| at).collect(),
            store_time_ms: 0,
        };
        Some((queue, appended))
    }

    fn prepare_send(&self, request: &Request) -> Result<Ready, Refusal> {
        let command = &request.command;
        let header = SendMessageHeader::decode_for(command.code, &command.ext);
        let header = header.map_err(|error| Refusal::Failed(format!("decode command header: {error}")))?;
        let sent = Incoming {
            topic: &header.topic,
            default_topic: &header.default_topic,
            default_queues: header.default_topic_queue_nums,
            queue: header.queue_id,
            sys_flag: header.sys_flag,
            born_ms: header.born_timestamp,
            flag: header.flag,
            properties: header.properties.as_deref().unwrap_or_default(),
            reconsume_times: header.reconsume_times.unwrap_or(0),
            max_reconsume_times: header.max_reconsume_times,
            unit_mode: header.unit_mode.unwrap_or(false),
            batch: command.code == code::SEND_BATCH_MESSAGE || header.batch.unwrap_or(false),
            body: &command.body,
            born_host: request.caller.remote(),
            version: command.version,
        };
        self.check_room()?;
        let settings = self.settings();
        let body_bytes_max = self.message_bytes_max(&settings);
        let (plan, around) = {
            let state = self.view.state();
            let now_ms = self.now_ms(&state);
            let around = Surroundings {
                settings: &settings,
                body_bytes_max,
                site: &self.site,
                now_ms,
                random: random::u64(),
            };
            (around.plan(&state, &sent)?, around)
        };
        around.build(plan, &sent)
    }

    fn propose_send(self: &Arc<Self>, request: Request, ready: Ready) {
        let told = Told::of(&ready);
        let path = self.clone();
        let (stored_topic, bytes) = (ready.topic.clone(), ready.records.len() as u64);
        let reply = Reply::new(move |appended: Result<Appended, Refusal>| match appended {
            Ok(appended) => {
                path.stats.stored(&stored_topic, appended.physical.len() as u64, bytes);
                path.answer_send(&request, &told, &appended);
            }
            Err(refusal) => {
                path.stats.put_failed.fetch_add(1, Ordering::Relaxed);
                request.refuse(&refusal);
            }
        });
        let Ready {
            topic,
            queue,
            records,
            create,
            ..
        } = ready;
        self.judge.ask(Ask::Append(Append {
            topic,
            queue,
            records,
            create,
            reply,
        }));
    }

    fn answer_send(&self, request: &Request, told: &Told, appended: &Appended) {
        if request.command.is_oneway() {
            return;
        }
        let settings = self.settings();
        let header = SendMessageResponse {
            msg_id: message_ids(self.site.store_host, &appended.physical),
            queue_id: told.queue,
            queue_offset: appended.first.to_wire(),
            transaction_id: Some(told.unique_key.as_str().into()),
            batch_uniq_id: None,
            recall_handle: None,
            msg_region: Some(settings.region_id.as_str().into()),
            trace_on: Some(ByteStr::from_static(if settings.trace_on { "true" } else { "false" })),
        };
        request.answer(Command::response(&request.command, response::SUCCESS).with_header(&header));
    }
}

/// What the client is told besides where its message went.
struct Told {
    queue: i32,
    unique_key: String,
}

impl Told {
    fn of(ready: &Ready) -> Self {
        Self {
            queue: ready.shown_queue.to_wire(),
            unique_key: ready.unique_keys.first().cloned().unwrap_or_default(),
        }
    }
}

/// Offset message ids, joined by commas.
fn message_ids(store_host: SocketAddr, physical: &[CommitLogOffset]) -> ByteStr {
    let mut ids = String::with_capacity(physical.len() * 33);
    for (n, offset) in physical.iter().enumerate() {
        if n > 0 {
            ids.push(',');
        }
        msg_id::push_offset_id(&mut ids, store_host, *offset);
    }
    ids.into()
}
