//! Consumer offsets and the bounds of queues: 14, 15, 29, 30, 31, 32, and the reset 222.

use crate::ask::{Ask, OffsetCommit, Refusal};
use crate::data_path::{DataPath, header, or_refuse};
use crate::request::Request;
use crate::state::{Name, Queue, State};
use mq_message::{QueueId, QueueOffset, topic as names};
use mq_remoting::Command;
use mq_remoting::body::{self, MessageQueue, ResetOffsetBody};
use mq_remoting::code::response;
use mq_remoting::header::{
    EarliestStoretimeResponse, GetMaxOffset, GetMinOffset, OffsetResponse, QueryConsumerOffset, ResetOffset,
    SearchOffset, UpdateConsumerOffset,
};
use std::sync::Arc;

impl DataPath {
    /// QUERY_CONSUMER_OFFSET (14). The offset is read only once this member is known to lead still, so a deposed leader
    /// cannot roll a consumer back.
    pub(crate) fn query_consumer_offset(self: &Arc<Self>, request: Request) {
        let asked: QueryConsumerOffset = or_refuse!(request, header(&request.command));
        self.offsets.flush(&*self.judge);
        self.confirmed(request, move |path, request| {
            match stored_offset(&path.view.state(), &asked) {
                Some(offset) => answer_offset(&request, offset),
                None => request.refuse(&Refusal::NotFound(
                    "Not found, maybe this group consumer boot first".into(),
                )),
            }
        });
    }

    /// UPDATE_CONSUMER_OFFSET (15).
    pub(crate) fn update_consumer_offset(self: &Arc<Self>, request: Request) {
        let asked: UpdateConsumerOffset = or_refuse!(request, header(&request.command));
        if self.view.state().groups.get(&asked.consumer_group).is_some() {
            return self.commit_offset(request, &asked);
        }
        // The pull before this commit may have founded the group, which is applied in a moment. A later commit may pass by
        // this one meanwhile.
        self.confirmed(request, move |path, mut request| {
            request.retried = true;
            path.commit_offset(request, &asked);
        });
    }

    fn commit_offset(self: &Arc<Self>, request: Request, asked: &UpdateConsumerOffset) {
        let (Some(queue), Some(offset)) = (
            asked.queue_id.and_then(QueueId::from_wire),
            asked.commit_offset.and_then(QueueOffset::from_wire),
        ) else {
            return request.refuse(&Refusal::Invalid("queueId and commitOffset are required".into()));
        };
        let (group, topic): (Name, Name) = ((&*asked.consumer_group).into(), (&*asked.topic).into());
        let swallowed = {
            let state = self.view.state();
            or_refuse!(request, check_commit(&state, &group, &topic));
            state.offsets.pending_reset(&group, &topic, queue).is_some()
        };
        if swallowed {
            let remark = "Offset has been previously reset";
            return request.answer(Command::response(&request.command, response::SUCCESS).with_remark(remark));
        }
        if request.command.is_oneway() {
            return self.commit_later(group, topic, queue, offset);
        }
        let commit = OffsetCommit {
            group,
            topic,
            queue,
            offset,
            // A repeat by a follower may have been overtaken.
            only_advance: request.retried,
        };
        self.offsets.flush(&*self.judge);
        self.judge
            .ask(Ask::CommitOffsets(vec![commit], Self::plain_reply(request)));
    }

    /// GET_MAX_OFFSET (30).
    pub(crate) fn max_offset(&self, request: &Request) {
        let asked: GetMaxOffset = or_refuse!(request, header(&request.command));
        let queue = or_refuse!(request, self.bounds(&asked.topic, asked.queue_id));
        answer_offset(request, queue.next);
    }

    /// GET_MIN_OFFSET (31).
    pub(crate) fn min_offset(&self, request: &Request) {
        let asked: GetMinOffset = or_refuse!(request, header(&request.command));
        let queue = or_refuse!(request, self.bounds(&asked.topic, asked.queue_id));
        answer_offset(request, queue.min);
    }

    /// Bounds of a queue; those of one that was never written are zero, as in RocketMQ.
    fn bounds(&self, topic: &str, queue: i32) -> Result<Queue, Refusal> {
        let queue =
            QueueId::from_wire(queue).ok_or_else(|| Refusal::Invalid(format!("queueId[{queue}] is illegal")))?;
        let state = self.view.state();
        Ok(state
            .topics
            .get(topic)
            .and_then(|topic| topic.queue(queue).copied())
            .unwrap_or_default())
    }

    /// GET_EARLIEST_MSG_STORETIME (32).
    pub(crate) fn earliest_stored(self: &Arc<Self>, request: Request) {
        let asked: GetMinOffset = or_refuse!(request, header(&request.command));
        let bounds = or_refuse!(request, self.bounds(&asked.topic, asked.queue_id));
        let path = self.clone();
        self.spawn("earliest message", async move {
            let queue = QueueId::from_wire(asked.queue_id).unwrap_or_default();
            let found = path.reader.queue(&path.view.state(), &asked.topic, queue);
            let stored = match found.filter(|_| bounds.min < bounds.next) {
                Some(files) => path.reader.stored_ms(&files, bounds.min).await,
                None => Ok(None),
            };
            let stored = or_refuse!(request, stored.map_err(unreadable));
            let header = EarliestStoretimeResponse {
                timestamp: stored.unwrap_or(-1),
            };
            request.answer(Command::response(&request.command, response::SUCCESS).with_header(&header));
        });
    }

    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    pub(crate) fn search_offset(self: &Arc<Self>, request: Request) {
        let asked: SearchOffset = or_refuse!(request, header(&request.command));
        let queue = or_refuse!(
            request,
            QueueId::from_wire(asked.queue_id).ok_or_else(|| Refusal::Invalid("queueId is illegal".into()))
        );
        let upper = asked
            .boundary_type
            .as_deref()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("UPPER"));
        let path = self.clone();
        self.spawn("offset by time", async move {
            let offset = or_refuse!(
                request,
                path.offset_at(&asked.topic, queue, asked.timestamp, upper).await
            );
            answer_offset(&request, offset);
        });
    }

    /// LOWER: the first message stored at or after a time, the end if there is none. UPPER: the last one stored at or
    /// before it, 0 if there is none.
    pub(crate) async fn offset_at(
        &self,
        topic: &str,
        queue: QueueId,
        time_ms: i64,
        upper: bool,
    ) -> Result<QueueOffset, Refusal> {
        let (bounds, files) = {
            let state = self.view.state();
            let bounds = state
                .topics
                .get(topic)
                .and_then(|topic| topic.queue(queue).copied())
                .unwrap_or_default();
            (bounds, self.reader.queue(&state, topic, queue))
        };
        let Some(files) = files.filter(|_| bounds.min < bounds.next) else {
            return Ok(bounds.next);
        };
        let after = |time| {
            self.reader
                .first_stored_at_or_after(&files, bounds.min, bounds.next, time)
        };
        if !upper {
            return after(time_ms).await.map_err(unreadable);
        }
        let beyond = after(time_ms.saturating_add(1)).await.map_err(unreadable)?;
        Ok(if beyond == bounds.min {
            QueueOffset::ZERO
        } else {
            QueueOffset(beyond.get() - 1)
        })
    }

    /// INVOKE_BROKER_TO_RESET_OFFSET (222), from the server's side.
    pub(crate) fn reset_offset(self: &Arc<Self>, request: Request) {
        let asked: ResetOffset = or_refuse!(request, header(&request.command));
        let queues = or_refuse!(request, self.queues_to_reset(&asked));
        let path = self.clone();
        self.spawn("reset offsets", async move {
            let resets = or_refuse!(request, path.reset_to(&asked, queues).await);
            let moved = resets.iter().map(|reset| {
                let queue = MessageQueue::new(&*reset.topic, path.site.broker_name.as_str(), reset.queue.to_wire());
                (queue.into(), reset.offset.to_wire())
            });
            let answer = body::to_fastjson(&ResetOffsetBody {
                offset_table: moved.collect(),
            });
            let reply = crate::ask::Reply::new(move |done| match done {
                Ok(()) => {
                    request.answer(Command::response(&request.command, response::SUCCESS).with_body(answer));
                }
                Err(refusal) => request.refuse(&refusal),
            });
            path.judge.ask(Ask::ResetOffsets(resets, reply));
        });
    }

    fn queues_to_reset(&self, asked: &ResetOffset) -> Result<Vec<QueueId>, Refusal> {
        let state = self.view.state();
        let topic = state
            .topics
            .get(&asked.topic)
            .ok_or_else(|| Refusal::TopicMissing((&*asked.topic).into()))?;
        if state.groups.get(&asked.group).is_none() {
            return Err(Refusal::GroupMissing((&*asked.group).into()));
        }
        match QueueId::from_wire(asked.queue_id) {
            None => Ok((0..topic.config.read_queues).map(QueueId).collect()),
            Some(queue) if topic.queue(queue).is_some() => Ok(vec![queue]),
            Some(queue) => Err(Refusal::Invalid(format!("queueId[{queue}] is illegal"))),
        }
    }

    async fn reset_to(&self, asked: &ResetOffset, queues: Vec<QueueId>) -> Result<Vec<OffsetCommit>, Refusal> {
        let explicit = asked.offset.filter(|offset| *offset != -1 && asked.queue_id >= 0);
        let mut resets = Vec::with_capacity(queues.len());
        for queue in queues {
            let bounds = self.bounds(&asked.topic, queue.to_wire())?;
            let offset = match explicit {
                Some(offset) => explicit_offset(offset, bounds)?,
                None if asked.timestamp < 0 => bounds.next,
                None => self.offset_at(&asked.topic, queue, asked.timestamp, false).await?,
            };
            let (group, topic) = ((&*asked.group).into(), (&*asked.topic).into());
            resets.push(OffsetCommit {
                group,
                topic,
                queue,
                offset,
                only_advance: false,
            });
        }
        Ok(resets)
    }
}

fn explicit_offset(offset: i64, bounds: Queue) -> Result<QueueOffset, Refusal> {
    let wanted = QueueOffset::from_wire(offset);
    wanted
        .filter(|offset| bounds.min <= *offset && *offset <= bounds.next.plus(1))
        .ok_or_else(|| {
            Refusal::Failed(format!(
                "Target offset {offset} not in consume queue range [{}, {}]",
                bounds.min, bounds.next
            ))
        })
}

/// The stored offset, or 0 for a new group of a young or empty queue: a message that arrives between this answer and the
/// consumer's first pull must not be missed.
fn stored_offset(state: &State, asked: &QueryConsumerOffset) -> Option<QueueOffset> {
    let queue = QueueId::from_wire(asked.queue_id)?;
    if let Some(offset) = state.offsets.get(&asked.consumer_group, &asked.topic, queue) {
        return Some(offset);
    }
    let bounds = state
        .topics
        .get(&asked.topic)
        .and_then(|topic| topic.queue(queue).copied())
        .unwrap_or_default();
    let young = bounds.min == QueueOffset::ZERO && bounds.next.get() <= YOUNG_MESSAGES;
    (young && asked.set_zero_if_not_found != Some(false)).then_some(QueueOffset::ZERO)
}

/// RocketMQ answers 0 while the message at offset 0 is "in memory", a rule of thumb of 40 % of RAM. A count of messages
/// is the same on every member.
const YOUNG_MESSAGES: u64 = 100_000;

fn check_commit(state: &State, group: &str, topic: &str) -> Result<(), Refusal> {
    if state.groups.get(group).is_none() && !names::is_system_group(group) {
        return Err(Refusal::GroupMissing(group.into()));
    }
    if state.topics.get(topic).is_none() {
        return Err(Refusal::TopicMissing(topic.into()));
    }
    Ok(())
}

fn answer_offset(request: &Request, offset: QueueOffset) {
    let header = OffsetResponse {
        offset: offset.to_wire(),
    };
    request.answer(Command::response(&request.command, response::SUCCESS).with_header(&header));
}

fn unreadable(error: std::io::Error) -> Refusal {
    Refusal::Failed(format!("read messages: {error}"))
}
