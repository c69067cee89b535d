//! LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42): queue locks of orderly consumers.

use crate::ask::{Ask, LockQueues, QueueName, Refusal, Reply};
use crate::data_path::{DataPath, or_refuse};
use crate::request::Request;
use mq_message::QueueId;
use mq_remoting::Command;
use mq_remoting::body::{self, LockBatchBody, LockBatchResponseBody, MessageQueue};
use mq_remoting::code::response;
use std::sync::Arc;

/// Most queues of one request.
const QUEUES_MAX: usize = 16_384;

impl DataPath {
    /// Locks queues, or renews their locks; answers those that the client holds now.
    pub(crate) fn lock(self: &Arc<Self>, request: Request) {
        let wanted = or_refuse!(request, decode(&request.command));
        let broker_name = self.site.broker_name.clone();
        let reply = Reply::new(move |granted: Result<Vec<QueueName>, Refusal>| match granted {
            Ok(granted) => {
                let held = granted
                    .iter()
                    .map(|q| MessageQueue::new(&*q.topic, broker_name.as_str(), q.queue.to_wire()));
                let body = body::to_fastjson(&LockBatchResponseBody {
                    lock_ok_mq_set: held.collect(),
                });
                request.answer(Command::response(&request.command, response::SUCCESS).with_body(body));
            }
            Err(refusal) => request.refuse(&refusal),
        });
        self.judge.ask(Ask::Lock(wanted, reply));
    }

    /// Gives locks back.
    pub(crate) fn unlock(self: &Arc<Self>, request: Request) {
        let held = or_refuse!(request, decode(&request.command));
        self.judge.ask(Ask::Unlock(held, Self::plain_reply(request)));
    }
}

fn decode(command: &Command) -> Result<LockQueues, Refusal> {
    let body: LockBatchBody =
        body::from_slice(&command.body).map_err(|error| Refusal::Failed(format!("decode body: {error}")))?;
    if body.mq_set.len() > QUEUES_MAX {
        return Err(Refusal::Invalid(format!(
            "at most {QUEUES_MAX} queues can be locked at once"
        )));
    }
    let queues = body.mq_set.iter().filter_map(|queue| {
        let id = QueueId::from_wire(queue.queue_id)?;
        Some(QueueName {
            topic: queue.topic.as_str().into(),
            queue: id,
        })
    });
    Ok(LockQueues {
        group: body.consumer_group.as_str().into(),
        owner: body.client_id.as_str().into(),
        queues: queues.collect(),
    })
}
