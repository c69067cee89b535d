//! Tries of a send.
//!
//! * A connection that cannot be made, or is lost before the request was written: nothing was sent. Another member of
//!   the group, or another group, is tried at once; this is not counted as a try.
//! * A connection lost later, or no answer in time: the message may be stored. It is sent again under the same key,
//!   preferably to the same queue, where the broker can recognise it.
//! * A refusal with a passing cause: another group is tried, or the same after a short pause.
//! * Any other refusal is final.

use std::sync::Arc;

use mq_base::env::clock::{self, Instant};
use mq_message::QueueId;
use mq_remoting::{Command, code};

use super::prepare::Prepared;
use super::{ProducerShared, SendResult, SendStatus};
use crate::brokers::BrokerGroup;
use crate::error::{CallError, SendError, is_retryable};
use crate::instance::{Pause, refused};
use crate::message::MessageQueue;
use crate::route::{PublishQueue, TopicRoute};
use crate::wire::{self, SendHeader};

/// Outcome of [`super::Producer::send_async`].
pub(super) type Done = Box<dyn FnOnce(Result<SendResult, SendError>) + Send>;

/// Where a message shall go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    /// The next queue in turn.
    Turn,
    /// This queue.
    Exact(&'a MessageQueue),
}

/// What has been tried so far.
struct Tries {
    deadline: Instant,
    count: u32,
    /// Tries left that may store the message.
    left: u32,
    unsent: bool,
    /// The queue to try again, because the message may be in it: the broker looks for its key there.
    same: Option<MessageQueue>,
    /// The broker to avoid.
    avoid: Option<Arc<str>>,
    pause: Pause,
}

impl Tries {
    fn new(producer: &ProducerShared) -> Self {
        Self {
            deadline: clock::now() + producer.settings.send_timeout,
            count: 0,
            left: producer.settings.retries + 1,
            unsent: true,
            same: None,
            avoid: None,
            pause: Pause::default(),
        }
    }

    fn error(&self, source: CallError) -> SendError {
        SendError::Call {
            source,
            tries: self.count,
            unsent: self.unsent,
        }
    }
}

impl ProducerShared {
    /// Sends until it is stored, refused for good, or the time is up.
    pub(crate) async fn deliver(&self, message: &Prepared, target: Target<'_>) -> Result<SendResult, SendError> {
        self.try_until_done(message, target, Tries::new(self)).await
    }

    async fn try_until_done(
        &self,
        message: &Prepared,
        target: Target<'_>,
        mut tries: Tries,
    ) -> Result<SendResult, SendError> {
        loop {
            let shared = &self.instance.shared;
            let route = shared.route(&message.topic).await;
            let route = route.map_err(|e| tries.error(e))?;
            let (queue, group) = self
                .choose(&route, target, &tries)
                .ok_or_else(|| tries.error(CallError::NoRoute(message.topic.clone())))?;
            let answer = self.try_once(message, queue.queue_id, &group, &mut tries).await;
            match self.judge(message, &queue, &group, answer, &mut tries) {
                Judgement::Stored(result) => {
                    if route.is_template {
                        shared.want_routes();
                    }
                    return Ok(result);
                }
                Judgement::Failed(error) => return Err(error),
                Judgement::Again { pause } => {
                    if pause {
                        tries.pause.wait().await;
                    }
                }
            }
        }
    }

    async fn try_once(
        &self,
        message: &Prepared,
        queue_id: QueueId,
        group: &Arc<BrokerGroup>,
        tries: &mut Tries,
    ) -> (Option<Arc<str>>, Result<Command, CallError>, Instant) {
        let started = clock::now();
        let Some(addr) = group.target() else {
            return (None, Err(CallError::NoBroker(group.name.clone())), started);
        };
        tries.count += 1;
        let left = tries.deadline.saturating_duration_since(started);
        let timeout = left.min(self.settings.try_timeout);
        let mut command = self.command(message, queue_id);
        if tries.same.is_some() {
            command = command.resent();
        }
        let transport = &self.instance.shared.transport;
        let _waiting = group.wait();
        let answer = transport.call(&addr, command, timeout).await;
        (Some(addr), answer, started)
    }

    fn command(&self, message: &Prepared, queue_id: QueueId) -> Command {
        let header = SendHeader {
            group: &self.settings.group,
            topic: &message.topic,
            queue_id,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            flag: message.flag,
            properties: &message.properties,
            reconsume_times: message.reconsume_times,
            max_reconsume_times: message.max_reconsume_times,
            batch: message.batch,
        };
        wire::send(&header, message.body.clone())
    }

    /// The queue of the next try.
    fn choose(
        &self,
        route: &TopicRoute,
        target: Target<'_>,
        tries: &Tries,
    ) -> Option<(MessageQueue, Arc<BrokerGroup>)> {
        let found = |p: &PublishQueue| (p.queue.clone(), p.group.clone());
        if let Target::Exact(queue) = target {
            let known = route.find(queue).map(found);
            // A queue that the route does not show now may still exist: its group decides.
            let brokers = &self.instance.shared.brokers;
            return known.or_else(|| Some((queue.clone(), brokers.get(&queue.broker_name)?)));
        }
        if let Some(p) = tries.same.as_ref().and_then(|queue| route.find(queue)) {
            return Some(found(p));
        }
        let faults = &self.instance.shared.faults;
        let now = clock::now();
        let avoided = |p: &PublishQueue| tries.avoid.as_ref() == Some(&p.group.name);
        let healthy = |p: &PublishQueue| !self.settings.latency_fault || faults.is_available(&p.group.name, now);
        route
            .next_queue(|p| !avoided(p) && healthy(p))
            .or_else(|| route.next_queue(|p| !avoided(p)))
            .or_else(|| route.next_queue(|_| true))
            .map(found)
    }

    /// What to do about the outcome of one try.
    fn judge(
        &self,
        message: &Prepared,
        queue: &MessageQueue,
        group: &Arc<BrokerGroup>,
        (addr, answer, started): (Option<Arc<str>>, Result<Command, CallError>, Instant),
        tries: &mut Tries,
    ) -> Judgement {
        let addr = addr.unwrap_or_else(|| group.name.clone());
        self.book(group, &answer, started);
        match answer {
            Ok(answer) => match read_result(&answer, message, queue, &addr, tries.count) {
                Ok(result) if result.status != SendStatus::Ok && self.settings.retry_not_ok => {
                    tries.left -= 1;
                    if tries.left == 0 {
                        return Judgement::Stored(result);
                    }
                    tries.unsent = false;
                    tries.avoid = Some(group.name.clone());
                    Judgement::Again { pause: false }
                }
                Ok(result) => Judgement::Stored(result),
                Err(error) => self.judge_refusal(error, queue, group, tries),
            },
            Err(error) => self.judge_failure(error, queue, group, &addr, tries),
        }
    }

    fn judge_refusal(
        &self,
        error: CallError,
        queue: &MessageQueue,
        group: &Arc<BrokerGroup>,
        tries: &mut Tries,
    ) -> Judgement {
        tries.left -= 1;
        // These two codes are also what a leader answers whose entry may yet be committed.
        let code = error.refusal();
        if code.is_none_or(|c| c == code::response::SYSTEM_ERROR || c == code::response::SERVICE_NOT_AVAILABLE) {
            tries.unsent = false;
        }
        let again = code.is_some_and(is_retryable) && tries.left > 0;
        if !again || clock::now() >= tries.deadline {
            return Judgement::Failed(tries.error(error));
        }
        let alone = self.is_only_group(queue);
        // With another group at hand the message goes there, as RocketMQ's clients do, though it may be stored here.
        tries.same = (alone && !tries.unsent).then(|| queue.clone());
        tries.avoid = Some(group.name.clone());
        self.instance.shared.want_routes();
        Judgement::Again { pause: alone }
    }

    fn judge_failure(
        &self,
        error: CallError,
        queue: &MessageQueue,
        group: &Arc<BrokerGroup>,
        addr: &str,
        tries: &mut Tries,
    ) -> Judgement {
        let shared = &self.instance.shared;
        if !error.is_transport() {
            return Judgement::Failed(tries.error(error));
        }
        let other_member = group.failed(addr, clock::now());
        shared.want_routes();
        if !error.is_unsent() {
            tries.unsent = false;
            tries.left -= 1;
            tries.same = Some(queue.clone());
        } else if !other_member && !self.is_only_group(queue) {
            // Nobody of the group answers: better stored twice than not at all.
            tries.same = None;
        }
        tries.avoid = Some(group.name.clone());
        if tries.left == 0 || clock::now() >= tries.deadline {
            return Judgement::Failed(tries.error(error));
        }
        Judgement::Again { pause: !other_member }
    }

    fn is_only_group(&self, queue: &MessageQueue) -> bool {
        let route = self.instance.shared.routes.get(&queue.topic);
        route.is_none_or(|route| route.groups.len() < 2)
    }

    fn book(&self, group: &Arc<BrokerGroup>, answer: &Result<Command, CallError>, started: Instant) {
        if !self.settings.latency_fault {
            return;
        }
        let now = clock::now();
        let faults = &self.instance.shared.faults;
        match answer {
            Ok(_) => faults.answered(&group.name, now.saturating_duration_since(started), now),
            Err(_) => faults.failed(&group.name, now),
        }
    }

    /// The first try without a task of its own; a task only if more are needed.
    pub(super) fn deliver_async(self: Arc<Self>, message: Prepared, done: Done) {
        let shared = &self.instance.shared;
        let tries = Tries::new(&self);
        let first = shared.routes.get(&message.topic).and_then(|route| {
            let (queue, group) = self.choose(&route, Target::Turn, &tries)?;
            Some((queue, group.target()?, group, route.is_template))
        });
        // Before the route is known, and while a topic is about to be created, take the long way.
        let Some((queue, addr, group, false)) = first else {
            return self.deliver_in_task(message, tries, done);
        };
        let mut tries = tries;
        tries.count = 1;
        let command = self.command(&message, queue.queue_id);
        let timeout = self.settings.try_timeout.min(self.settings.send_timeout);
        let started = clock::now();
        let producer = self.clone();
        let transport = &self.instance.shared.transport;
        let waiting = group.wait();
        transport.call_back(&addr, command, timeout, move |addr, answer| {
            drop(waiting);
            let outcome = (Some(addr), answer, started);
            match producer.judge(&message, &queue, &group, outcome, &mut tries) {
                Judgement::Stored(result) => done(Ok(result)),
                Judgement::Failed(error) => done(Err(error)),
                Judgement::Again { .. } => producer.deliver_in_task(message, tries, done),
            }
        });
    }

    fn deliver_in_task(self: Arc<Self>, message: Prepared, tries: Tries, done: Done) {
        let spawner = self.instance.shared.spawner.clone();
        spawner.spawn("send again", async move {
            done(self.try_until_done(&message, Target::Turn, tries).await);
        });
    }

    /// Sends without an answer.
    pub(super) async fn deliver_oneway(&self, message: &Prepared) -> Result<(), SendError> {
        let shared = &self.instance.shared;
        let tries = Tries::new(self);
        let route = shared.route(&message.topic).await;
        let route = route.map_err(|e| tries.error(e))?;
        let (queue, group) = self
            .choose(&route, Target::Turn, &tries)
            .ok_or_else(|| tries.error(CallError::NoRoute(message.topic.clone())))?;
        let command = self.command(message, queue.queue_id).oneway();
        if route.is_template {
            shared.want_routes();
        }
        let sent = shared.oneway(&group, command).await;
        sent.map_err(|e| tries.error(e))
    }
}

enum Judgement {
    Stored(SendResult),
    Failed(SendError),
    Again { pause: bool },
}

fn read_result(
    answer: &Command,
    message: &Prepared,
    queue: &MessageQueue,
    addr: &Arc<str>,
    tries: u32,
) -> Result<SendResult, CallError> {
    let status = match answer.code {
        code::response::SUCCESS => SendStatus::Ok,
        code::response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        code::response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        code::response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        _ => return Err(refused(answer, addr)),
    };
    let read = wire::read_send(&answer.ext).map_err(|what| CallError::Malformed {
        addr: addr.clone(),
        what,
    })?;
    Ok(SendResult {
        status,
        msg_id: message.msg_id.clone(),
        offset_msg_id: read.msg_id,
        queue: MessageQueue {
            queue_id: read.queue_id,
            ..queue.clone()
        },
        queue_offset: read.queue_offset,
        transaction_id: read.transaction_id,
        tries,
    })
}
