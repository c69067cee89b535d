//! CONSUMER_SEND_MSG_BACK (36): a consumer could not handle a message; it comes again later or becomes a dead letter.

use crate::ask::{Append, Ask, Refusal, Reply};
use crate::data_path::{DataPath, header, or_refuse};
use crate::records::rebuild::{SentBack, sent_back};
use crate::request::Request;
use crate::state::{State, TopicConfig};
use bytes::Bytes;
use mq_base::env::random;
use mq_message::topic::{self as names, perm};
use mq_message::{CommitLogOffset, QueueId, RecordView};
use mq_remoting::Command;
use mq_remoting::code::response;
use mq_remoting::header::ConsumerSendMsgBack;
use std::sync::Arc;

/// Clients of this version and later send their own `maxReconsumeTimes` (V3_4_9).
const VERSION_WITH_MAX_RECONSUME_TIMES: i32 = 121;
/// The first redelivery waits this level (10 s); each further one a level more.
const FIRST_LEVEL: i32 = 3;

impl DataPath {
    /// Takes a message back.
    pub(crate) fn send_back(self: &Arc<Self>, request: Request) {
        let asked: ConsumerSendMsgBack = or_refuse!(request, header(&request.command));
        let path = self.clone();
        self.spawn("send back", async move {
            let Some(offset) = CommitLogOffset::from_wire(asked.offset) else {
                return request.refuse(&lost(asked.offset));
            };
            match path.reader.record_at(offset).await {
                Ok(Some(record)) => path.store_again(request, &asked, &record),
                Ok(None) => request.refuse(&lost(asked.offset)),
                Err(error) => request.refuse(&Refusal::Failed(format!("read message: {error}"))),
            }
        });
    }

    fn store_again(&self, request: Request, asked: &ConsumerSendMsgBack, record: &Bytes) {
        let append = self.again(&request, asked, record);
        match or_refuse!(request, append) {
            None => request.answer(Command::response(&request.command, response::SUCCESS)), // retryQueueNums is 0
            Some(mut append) => {
                append.reply = Reply::new(move |stored| match stored {
                    Ok(_) => request.answer(Command::response(&request.command, response::SUCCESS)),
                    Err(refusal) => request.refuse(&refusal),
                });
                self.judge.ask(Ask::Append(append));
            }
        }
    }

    fn again(&self, request: &Request, asked: &ConsumerSendMsgBack, record: &Bytes) -> Result<Option<Append>, Refusal> {
        let record = RecordView::parse(record).map_err(|error| Refusal::Failed(error.to_string()))?;
        self.check_room()?;
        let settings = self.settings();
        let state = self.view.state();
        let group = &*asked.group;
        let config = state
            .groups
            .get(group)
            .ok_or_else(|| Refusal::GroupMissing(group.into()))?;
        if !perm::is_writable(settings.broker_permission) {
            let text = format!("the broker[{}] sending message is forbidden", self.site.broker_name);
            return Err(Refusal::NoPermission(text));
        }
        if config.retry_queues == 0 {
            return Ok(None);
        }
        let max = match asked.max_reconsume_times {
            Some(max) if request.command.version >= VERSION_WITH_MAX_RECONSUME_TIMES => max,
            _ => config.retry_max_times,
        };
        let tries = record.reconsume_times();
        let level = if tries >= max || asked.delay_level < 0 {
            None
        } else {
            let level = if asked.delay_level > 0 {
                asked.delay_level
            } else {
                FIRST_LEVEL.saturating_add(tries)
            };
            Some(level.unsigned_abs().clamp(1, state.schedule.levels()))
        };
        let (topic, queues) = match level {
            Some(_) => (names::retry(group), config.retry_queues),
            None => (names::dlq(group), 1),
        };
        let (queues, create) = topic_for(&state, &topic, queues)?;
        drop(state);
        let queue = QueueId((random::u64() % u64::from(queues.max(1))) as u32);
        let to = SentBack {
            topic: &topic,
            queue,
            level,
            store_host: self.site.store_host,
        };
        let out = sent_back(&record, &to)?;
        Ok(Some(Append {
            topic: out.topic,
            queue: out.queue,
            records: out.record,
            create,
            reply: Reply::none(),
        }))
    }
}

/// Write queues of a retry or dead-letter topic, and its configuration if it must be created.
fn topic_for(state: &State, name: &str, queues: u32) -> Result<(u32, Option<Box<TopicConfig>>), Refusal> {
    match state.topics.get(name) {
        None => Ok((queues, Some(Box::new(TopicConfig::new(name, queues))))),
        Some(topic) if perm::is_writable(topic.config.perm) => Ok((topic.config.write_queues, None)),
        Some(_) => Err(Refusal::NoPermission(format!(
            "the topic[{name}] sending message is forbidden"
        ))),
    }
}

fn lost(offset: i64) -> Refusal {
    Refusal::Failed(format!("look message by offset failed, {offset}"))
}
