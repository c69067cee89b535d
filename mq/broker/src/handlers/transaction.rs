//! END_TRANSACTION (37): commit or roll back a half message.

use crate::ask::{Ask, EndTransaction, Refusal};
use crate::data_path::{DataPath, header, or_refuse};
use crate::records::rebuild;
use crate::request::Request;
use crate::state::Half;
use mq_message::{CommitLogOffset, QueueOffset, RecordView, property, sys_flag};
use mq_remoting::Command;
use mq_remoting::code::response;
use mq_remoting::header::EndTransaction as Asked;
use std::sync::Arc;

impl DataPath {
    /// Ends a transaction. Usually one-way.
    pub(crate) fn end_transaction(self: &Arc<Self>, request: Request) {
        let asked: Asked = or_refuse!(request, header(&request.command));
        let commit = match asked.commit_or_rollback {
            sys_flag::TRANSACTION_COMMIT => true,
            sys_flag::TRANSACTION_ROLLBACK => false,
            // Not known yet: the check asks again.
            _ => return request.answer(Command::response(&request.command, response::SUCCESS)),
        };
        let Some(half_offset) = QueueOffset::from_wire(asked.tran_state_table_offset) else {
            return request.refuse(&mismatch("queue offset"));
        };
        let half = self.view.state().halves.get(half_offset).copied();
        let Some(half) = half else {
            // Decided before; a repeat is answered like the first. (One that is still in flight here cannot be: its
            // producer has not been answered yet.)
            return self.confirmed(request, |_, request| {
                request.answer(Command::response(&request.command, response::SUCCESS));
            });
        };
        if CommitLogOffset::from_wire(asked.commit_log_offset) != Some(half.first_physical) {
            return request.refuse(&mismatch("commit log offset"));
        }
        let path = self.clone();
        self.spawn("end transaction", async move {
            match path.ended(&asked, half_offset, half, commit).await {
                Ok(mut end) => {
                    end.reply = Self::plain_reply(request);
                    path.judge.ask(Ask::EndTransaction(end));
                }
                Err(refusal) => request.refuse(&refusal),
            }
        });
    }

    async fn ended(
        &self,
        asked: &Asked,
        offset: QueueOffset,
        half: Half,
        commit: bool,
    ) -> Result<EndTransaction, Refusal> {
        let bytes = self.reader.record(half.physical, half.size).await;
        let bytes = bytes.map_err(|error| Refusal::Failed(format!("read half message: {error}")))?;
        let bytes = bytes.ok_or_else(|| Refusal::Failed("Find prepared transaction message failed".into()))?;
        let record = RecordView::parse(&bytes).map_err(|error| Refusal::Failed(error.to_string()))?;
        if record.property(property::PGROUP) != Some(&*asked.producer_group) {
            return Err(mismatch("producer group"));
        }
        let commit = if commit {
            let schedule = self.view.state().schedule.clone();
            Some(rebuild::committed(&record, half.first_physical, &schedule)?)
        } else {
            None
        };
        Ok(EndTransaction {
            half: offset,
            commit,
            reply: crate::ask::Reply::none(),
        })
    }
}

fn mismatch(what: &str) -> Refusal {
    Refusal::Failed(format!("The {what} wrong: it is not that of the prepared message"))
}
