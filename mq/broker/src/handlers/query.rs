//! Messages looked up: by commit log offset (33), by key (12).

use crate::ask::Refusal;
use crate::data_path::{DataPath, header, or_refuse};
use crate::request::Request;
use bytes::Bytes;
use mq_message::{CommitLogOffset, RecordView, property};
use mq_remoting::Command;
use mq_remoting::code::response;
use mq_remoting::header::{QueryMessage, QueryMessageResponse, ViewMessage};
use std::io;
use std::sync::Arc;

/// Most messages of one answer, as in RocketMQ (`maxMsgsNumBatch`).
const QUERY_MAX: usize = 64;
/// Most index entries looked at: some belong to other keys of the same hash.
const CANDIDATES_MAX: usize = 256;

impl DataPath {
    /// VIEW_MESSAGE_BY_ID (33). Any member can answer it.
    pub(crate) fn view_message(self: &Arc<Self>, request: Request) {
        let asked: ViewMessage = or_refuse!(request, header(&request.command));
        let path = self.clone();
        self.spawn("view message", async move {
            let found = match CommitLogOffset::from_wire(asked.offset) {
                Some(offset) => path.reader.record_at(offset).await,
                None => Ok(None),
            };
            match found {
                Ok(Some(record)) => {
                    let head = Command::response(&request.command, response::SUCCESS);
                    request.answer_parts(head, vec![record]);
                }
                Ok(None) => {
                    let text = format!("can not find message by the offset, {}", asked.offset);
                    request.refuse(&Refusal::Failed(text));
                }
                Err(error) => request.refuse(&Refusal::Failed(format!("read message: {error}"))),
            }
        });
    }

    /// QUERY_MESSAGE (12): the newest messages with a key, in the order they were stored.
    pub(crate) fn query_message(self: &Arc<Self>, request: Request) {
        let asked: QueryMessage = or_refuse!(request, header(&request.command));
        let path = self.clone();
        self.spawn("query messages", async move {
            let found = path.messages_with_key(&asked).await;
            let found = or_refuse!(
                request,
                found.map_err(|error| Refusal::Failed(format!("query messages: {error}")))
            );
            if found.is_empty() {
                let text = "can not find message, maybe time range not correct";
                return request.refuse(&Refusal::NotFound(text.into()));
            }
            let header = QueryMessageResponse {
                index_last_update_timestamp: path.view.state().log_time_ms,
                index_last_update_phyoffset: path.reader.end().to_wire(),
            };
            let head = Command::response(&request.command, response::SUCCESS).with_header(&header);
            request.answer_parts(head, found);
        });
    }

    async fn messages_with_key(&self, asked: &QueryMessage) -> io::Result<Vec<Bytes>> {
        let unique = asked.unique_key_query.unwrap_or(false);
        let wanted = if unique {
            self.settings().query_count_max
        } else {
            asked.max_num.unsigned_abs()
        };
        let wanted = (wanted as usize).clamp(1, QUERY_MAX);
        let (begin, end) = (asked.begin_timestamp, asked.end_timestamp);
        let offsets = self
            .reader
            .offsets_with_key(&asked.topic, &asked.key, begin, end, CANDIDATES_MAX)
            .await?;
        let mut found = Vec::new();
        for offset in offsets {
            if found.len() == wanted {
                break;
            }
            // The index knows hashes only, and outlives topics and segments.
            if let Some(bytes) = self.reader.record_at(offset).await?
                && RecordView::parse(&bytes).is_ok_and(|record| has_key(&record, &asked.topic, &asked.key, unique))
            {
                found.push(bytes);
            }
        }
        found.reverse();
        Ok(found)
    }
}

fn has_key(record: &RecordView<'_>, topic: &str, key: &str, unique: bool) -> bool {
    let unique_key = record.property(property::UNIQ_KEY) == Some(key);
    record.topic() == topic && (unique_key || !unique && property::keys(record.properties()).any(|word| word == key))
}
