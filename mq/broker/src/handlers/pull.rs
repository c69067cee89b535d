//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361), with long polling.

use crate::ask::{Ask, OffsetCommit, QueueName, Refusal, Reply, UpsertGroup};
use crate::data_path::{DataPath, header, or_refuse};
use crate::longpoll::Woken;
use crate::pull::{Place, Pull, Status, place};
use crate::reader::{Records, Scan, ScanLimits, Slot};
use crate::request::Request;
use crate::seams::Subscribed;
use crate::state::{GroupConfig, Queue, State, TopicConfig};
use bytes::Bytes;
use mq_base::env::clock;
use mq_message::topic::{self as names, perm};
use mq_message::{QueueId, QueueOffset, TagFilter};
use mq_remoting::Command;
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{PullMessage, PullMessageResponse, pull_flag};
use mq_store::QueueRef;
use std::sync::Arc;
use std::time::Duration;

/// Longest a pull may wait, whatever the client says: it must not outlive its client by much.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// Broker id of the leader.
const LEADER: i64 = 0;
/// Size of a consume queue entry, for the bound on scanning.
const ENTRY_BYTES: usize = 20;

/// How often, and why, a pull has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Just arrived.
    First,
    /// Something arrived in its queue.
    Arrived,
    /// It must be answered now.
    Over,
    /// As `Over`, and this member has just proven that it leads: what it sees is not stale.
    Confirmed,
}

/// What a look at the queue came to.
struct Look {
    status: Status,
    next: QueueOffset,
    bounds: Queue,
    found: Vec<(QueueOffset, Slot)>,
}

/// What a group may do.
#[derive(Clone, Copy)]
struct Allowed {
    consume: bool,
    broadcast: bool,
}

impl Allowed {
    fn by(config: &GroupConfig) -> Self {
        Self {
            consume: config.consume_enable,
            broadcast: config.consume_broadcast_enable,
        }
    }
}

impl Look {
    fn nothing(status: Status, next: QueueOffset, bounds: Queue) -> Self {
        Self {
            status,
            next,
            bounds,
            found: Vec::new(),
        }
    }

    fn of(scan: Scan, from: QueueOffset, bounds: Queue) -> Self {
        let status = match (scan.found.is_empty(), scan.next == from) {
            (false, _) => Status::Found,
            // Nothing could be looked at: an answer must not move on, and must not say that nothing matched.
            (true, true) => Status::OffsetOverflowOne,
            (true, false) => Status::NoMatchedMessage,
        };
        Self {
            status,
            next: scan.next,
            bounds,
            found: scan.found,
        }
    }
}

/// A look that does not wait.
enum Glance {
    /// This is there.
    Seen(Look),
    /// The entries lie on disk only.
    Cold(Cold),
    /// The topic was deleted.
    TopicGone,
}

struct Cold {
    queue: QueueRef,
    from: QueueOffset,
    bounds: Queue,
}

impl DataPath {
    /// Serves a pull.
    pub(crate) fn pull(self: &Arc<Self>, request: Request) {
        let asked: PullMessage = or_refuse!(request, header(&request.command));
        let (pull, commit) = match self.admit(request, &asked) {
            Ok(pull) => {
                let commit = asked.sys_flag & pull_flag::COMMIT_OFFSET != 0;
                (pull, QueueOffset::from_wire(asked.commit_offset).filter(|_| commit))
            }
            Err((request, refusal)) => return request.refuse(&refusal),
        };
        if let Some(offset) = commit.filter(|_| self.judge.leads()) {
            self.commit_later(pull.group.clone(), pull.topic.clone(), pull.queue, offset);
        }
        self.look_and_answer(pull, Pass::First);
    }

    /// Looks again at a pull that waited.
    pub fn woken(self: &Arc<Self>, pull: Pull, why: Woken) {
        if !pull.request.caller.is_open() {
            return;
        }
        self.look_and_answer(
            pull,
            if why == Woken::Arrived {
                Pass::Arrived
            } else {
                Pass::Over
            },
        );
    }

    fn admit(&self, request: Request, asked: &PullMessage) -> Result<Pull, (Request, Refusal)> {
        match self.check_pull(request.command.code, asked) {
            Err(refusal) => Err((request, refusal)),
            Ok(filter) => {
                let offset = QueueOffset::from_wire(asked.queue_offset).unwrap_or(QueueOffset::ZERO);
                Ok(Pull {
                    request,
                    group: (&*asked.consumer_group).into(),
                    topic: (&*asked.topic).into(),
                    queue: QueueId::from_wire(asked.queue_id).unwrap_or(QueueId::ZERO),
                    offset,
                    scanned: offset,
                    count: u32::try_from(asked.max_msg_nums).unwrap_or(0).max(1),
                    filter,
                    deadline: self.hold(asked).map(|hold| clock::now() + hold),
                })
            }
        }
    }

    fn hold(&self, asked: &PullMessage) -> Option<Duration> {
        if asked.sys_flag & pull_flag::SUSPEND == 0 || asked.suspend_timeout_millis <= 0 {
            return None;
        }
        let settings = self.settings();
        let wanted = Duration::from_millis(asked.suspend_timeout_millis.unsigned_abs()).min(HOLD_MAX);
        let short = Duration::from_millis(settings.short_polling_ms);
        Some(if settings.long_polling_enable { wanted } else { short })
    }

    /// The checks of RocketMQ's broker, in its order.
    fn check_pull(&self, request_code: i32, asked: &PullMessage) -> Result<TagFilter, Refusal> {
        let settings = self.settings();
        let denied = |text: String| Err(Refusal::NoPermission(text));
        if !perm::is_readable(settings.broker_permission) {
            return denied(format!(
                "the broker[{}] pulling message is forbidden",
                self.site.broker_name
            ));
        }
        if request_code == code::LITE_PULL_MESSAGE && !settings.lite_pull_enable {
            return denied(format!(
                "the broker[{}] for lite pull consumer is forbidden",
                self.site.broker_name
            ));
        }
        {
            let state = self.view.state();
            let group = self.allowed(&state, &asked.consumer_group)?;
            if !group.consume {
                return denied(format!("subscription group no permission, {}", asked.consumer_group));
            }
            check_topic(&state, asked)?;
            if asked.sys_flag & pull_flag::SUBSCRIPTION == 0 {
                let broadcast = group.broadcast;
                drop(state);
                return self.registered_filter(asked, broadcast);
            }
        }
        let expression = asked.subscription.as_deref().unwrap_or_default();
        parse_filter(asked.expression_type.as_deref(), expression)
    }

    /// What a group may do; a missing one is created on the side where that is allowed.
    fn allowed(&self, state: &State, group: &str) -> Result<Allowed, Refusal> {
        if let Some(config) = state.groups.get(group) {
            return Ok(Allowed::by(config));
        }
        let missing = || Refusal::GroupMissing(group.into());
        let settings = self.settings();
        if names::is_system_group(group) {
            return Ok(Allowed::by(&GroupConfig::new(group)));
        }
        if !settings.auto_create_subscription_group || state.groups.len() >= settings.groups_max {
            return Err(missing());
        }
        names::check_group(group).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let config = GroupConfig::new(group);
        let (allowed, retry_queues) = (Allowed::by(&config), config.retry_queues);
        let wanted = UpsertGroup {
            config,
            only_if_absent: true,
            retry_topic: Some(Box::new(TopicConfig::new(names::retry(group), retry_queues))),
        };
        self.judge.ask(Ask::UpsertGroup(wanted, Reply::none()));
        Ok(allowed)
    }

    /// The filter the group's consumers registered by heartbeat.
    fn registered_filter(&self, asked: &PullMessage, broadcast_enabled: bool) -> Result<TagFilter, Refusal> {
        let (group, topic) = (&asked.consumer_group, &asked.topic);
        match self.subscriptions.find(group, topic) {
            Subscribed::NoConsumer => Err(Refusal::SubscriptionMissing(
                "the consumer's group info not exist".into(),
            )),
            Subscribed::NoSubscription => Err(Refusal::SubscriptionMissing(format!(
                "the consumer's subscription not exist, {group} {topic}"
            ))),
            Subscribed::To { broadcast: true, .. } if !broadcast_enabled => Err(Refusal::NoPermission(format!(
                "the consumer group[{group}] can not consume by broadcast way"
            ))),
            Subscribed::To { subscription, .. } if subscription.version < asked.sub_version => Err(
                Refusal::SubscriptionOld("the consumer's subscription not latest".into()),
            ),
            Subscribed::To { subscription, .. } => {
                parse_filter(Some(&subscription.expression_type), &subscription.expression)
            }
        }
    }

    fn look_and_answer(self: &Arc<Self>, pull: Pull, pass: Pass) {
        match self.look(&pull) {
            Glance::Seen(look) => self.park_or_answer(pull, look, pass),
            Glance::TopicGone => pull.request.refuse(&Refusal::TopicMissing(pull.topic.clone())),
            Glance::Cold(cold) => {
                let path = self.clone();
                self.spawn("cold look", async move {
                    let limits = path.limits(&pull);
                    match path
                        .reader
                        .cold_scan(&cold.queue, cold.from, cold.bounds.next, &pull.filter, limits)
                        .await
                    {
                        Ok(scan) => path.park_or_answer(pull, Look::of(scan, cold.from, cold.bounds), pass),
                        Err(error) => refuse_damaged(&pull, &error),
                    }
                });
            }
        }
    }

    fn park_or_answer(self: &Arc<Self>, mut pull: Pull, look: Look, pass: Pass) {
        let waits = match pass {
            Pass::First => look.status.code(pull.offset) == response::PULL_NOT_FOUND,
            // What arrived does not match: it goes on waiting, and will not look at that again.
            Pass::Arrived => matches!(
                look.status.code(pull.offset),
                response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY
            ),
            Pass::Over | Pass::Confirmed => false,
        };
        if waits && self.judge.leads() {
            let from = pull.scanned.max(pull.offset);
            pull.scanned = look.next;
            // A look that got nowhere is not repeated before something else arrives.
            let seen = if look.next > from { look.next } else { look.bounds.next };
            match self.park(pull, seen) {
                Ok(()) => return,
                Err(back) => pull = back,
            }
        }
        self.answer_look(pull, look, pass);
    }

    /// Parks a pull that has seen its queue up to `seen`, if it may wait and there is room.
    fn park(&self, pull: Pull, seen: QueueOffset) -> Result<(), Pull> {
        let Some(deadline) = pull.deadline else {
            return Err(pull);
        };
        let queue = QueueName {
            topic: pull.topic.clone(),
            queue: pull.queue,
        };
        self.polls.park(queue.clone(), deadline, pull)?;
        // A message that was applied between the look and the parking has woken nobody.
        let grown = {
            let state = self.view.state();
            let found = state
                .topics
                .get(&queue.topic)
                .and_then(|topic| topic.queue(queue.queue));
            found.is_none_or(|queue| queue.next > seen)
        };
        if grown {
            self.polls.arrived(&queue);
        }
        Ok(())
    }

    fn look(&self, pull: &Pull) -> Glance {
        let (bounds, queue, reset) = {
            let state = self.view.state();
            let Some(topic) = state.topics.get(&pull.topic) else {
                return Glance::TopicGone;
            };
            let bounds = topic.queue(pull.queue).copied().unwrap_or_default();
            let reset = state.offsets.pending_reset(&pull.group, &pull.topic, pull.queue);
            (bounds, self.reader.queue(&state, &pull.topic, pull.queue), reset)
        };
        if let Some(offset) = reset {
            return Glance::Seen(Look::nothing(Status::OffsetReset, offset, bounds));
        }
        // A pull that has waited goes on where it stopped looking, unless the beginning of the queue has passed it.
        let from = pull.scanned.max(pull.offset);
        match (place(from, bounds), queue) {
            (Place::Outside(Status::OffsetOverflowOne, next), _) if from > pull.offset => {
                Glance::Seen(Look::nothing(Status::NoMatchedMessage, next, bounds))
            }
            (Place::Outside(status, next), _) => Glance::Seen(Look::nothing(status, next, bounds)),
            (Place::Inside, None) => Glance::Seen(Look::nothing(Status::OffsetOverflowOne, from, bounds)),
            (Place::Inside, Some(queue)) => {
                match self
                    .reader
                    .scan(&queue, from, bounds.next, &pull.filter, self.limits(pull))
                {
                    Some(scan) => Glance::Seen(Look::of(scan, from, bounds)),
                    None => Glance::Cold(Cold { queue, from, bounds }),
                }
            }
        }
    }

    fn limits(&self, pull: &Pull) -> ScanLimits {
        let settings = self.settings();
        let count = pull.count.min(settings.pull_count_memory) as usize;
        let scan_bytes = settings.filter_scan_bytes.max(pull.count as usize * ENTRY_BYTES);
        ScanLimits {
            count,
            bytes: settings.pull_bytes_memory,
            scanned: scan_bytes / ENTRY_BYTES,
        }
    }

    fn answer_look(self: &Arc<Self>, pull: Pull, look: Look, pass: Pass) {
        let leads = self.judge.leads();
        if !leads && !self.settings().slave_read_enable {
            return pull.request.refuse(&Refusal::NotLeader);
        }
        if look.status == Status::Found {
            return self.answer_found(pull, look);
        }
        if !leads {
            // Followers may lag: the client asks the leader, at the same place.
            return answer(
                &pull,
                look.status,
                response::PULL_RETRY_IMMEDIATELY,
                pull.offset,
                look.bounds,
            );
        }
        let code = look.status.code(pull.offset);
        if code == response::PULL_OFFSET_MOVED && pass != Pass::Confirmed {
            // The client will throw its position away: be sure that what we see is not that of a deposed leader.
            return self.confirm_illegal(pull);
        }
        if look.status == Status::OffsetReset {
            // A commit that came with this pull must be swallowed by the reset, not undo it once it is taken.
            self.offsets.flush(&*self.judge);
            self.judge.ask(Ask::ResetTaken(OffsetCommit {
                group: pull.group.clone(),
                topic: pull.topic.clone(),
                queue: pull.queue,
                offset: look.next,
                only_advance: false,
            }));
        }
        answer(&pull, look.status, code, look.next, look.bounds);
    }

    fn confirm_illegal(self: &Arc<Self>, pull: Pull) {
        let path = self.clone();
        self.judge
            .ask(Ask::Barrier(Reply::new(move |confirmed| match confirmed {
                Ok(()) => path.look_and_answer(pull, Pass::Confirmed),
                Err(refusal) => pull.request.refuse(&refusal),
            })));
    }

    fn answer_found(self: &Arc<Self>, pull: Pull, look: Look) {
        match self.reader.records(&look.found) {
            Ok(Records::Ready(records)) => {
                self.count(&pull, &records);
                answer_records(&pull, &look, records, look.next, LEADER);
            }
            Ok(Records::Cold) => match self.reader.cached_records(&look.found) {
                Ok(records) if records.is_empty() => {
                    let path = self.clone();
                    self.spawn("cold pull", async move { path.answer_cold(pull, look).await });
                }
                Ok(records) => self.answer_first(&pull, look, records, LEADER),
                Err(error) => refuse_damaged(&pull, &error),
            },
            Err(error) => refuse_damaged(&pull, &error),
        }
    }

    /// Answers with the first records of those found.
    fn answer_first(&self, pull: &Pull, mut look: Look, records: Vec<Bytes>, reader: i64) {
        // Up to the last one delivered; entries without a match behind it are looked at again.
        let next = match records.len() {
            0 => look.found.first().map_or(look.next, |(offset, _)| offset.plus(1)),
            n if n == look.found.len() => look.next,
            n => look.found[n - 1].0.plus(1),
        };
        look.found.truncate(records.len());
        self.count(pull, &records);
        answer_records(pull, &look, records, next, reader);
    }

    fn count(&self, pull: &Pull, records: &[Bytes]) {
        let bytes = records.iter().map(Bytes::len).sum::<usize>();
        let messages = records.len() as u64;
        self.stats.handed_out(&pull.topic, &pull.group, messages, bytes as u64);
    }

    /// Broker id a consumer that reads old messages should turn to: a follower that keeps up, where followers serve reads,
    /// so that the leader's disk is left to the writers.
    fn reader_of_old(&self) -> i64 {
        if self.settings().slave_read_enable {
            self.reader.reader_of_old()
        } else {
            LEADER
        }
    }

    async fn answer_cold(&self, pull: Pull, look: Look) {
        let settings = self.settings();
        let mut bytes = 0usize;
        let fits = look
            .found
            .iter()
            .take(settings.pull_count_disk as usize)
            .take_while(|(_, slot)| {
                bytes += slot.size as usize;
                bytes == slot.size as usize || bytes <= settings.pull_bytes_disk
            });
        let wanted: Vec<_> = fits.copied().collect();
        match self.reader.cold_records(&wanted).await {
            Ok(records) => self.answer_first(&pull, look, records, self.reader_of_old()),
            Err(error) => refuse_damaged(&pull, &error),
        }
    }
}

fn check_topic(state: &State, asked: &PullMessage) -> Result<(), Refusal> {
    let missing = || Refusal::TopicMissing((&*asked.topic).into());
    let topic = state.topics.get(&asked.topic).ok_or_else(missing)?;
    if !perm::is_readable(topic.config.perm) {
        return Err(Refusal::NoPermission(format!(
            "the topic[{}] pulling message is forbidden",
            asked.topic
        )));
    }
    let queues = topic.config.read_queues;
    if !u32::try_from(asked.queue_id).is_ok_and(|queue| queue < queues) {
        let text = format!(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{queues}]",
            asked.queue_id, asked.topic
        );
        return Err(Refusal::Invalid(text));
    }
    Ok(())
}

fn parse_filter(kind: Option<&str>, expression: &str) -> Result<TagFilter, Refusal> {
    match kind {
        None | Some("" | "TAG") => TagFilter::parse(expression)
            .map_err(|_| Refusal::SubscriptionUnparsable("parse the consumer's subscription failed".into())),
        Some(other) => {
            let text = format!("The broker does not support consumer to filter message by {other}");
            Err(Refusal::Failed(text))
        }
    }
}

fn answer_records(pull: &Pull, look: &Look, records: Vec<Bytes>, next: QueueOffset, suggested: i64) {
    let status = if records.is_empty() {
        Status::MessageWasRemoving
    } else {
        Status::Found
    };
    answer_with(
        pull,
        status,
        status.code(pull.offset),
        next,
        look.bounds,
        records,
        suggested,
    );
}

/// The bytes are not what the queue entry says: a person must look. The client tries again; another member may be whole.
fn refuse_damaged(pull: &Pull, error: &std::io::Error) {
    tracing::error!(topic = &*pull.topic, queue = pull.queue.get(), offset = pull.offset.get(), %error, "read messages");
    pull.request.refuse(&Refusal::Failed(format!("read messages: {error}")));
}

/// The answer to a pull that nobody can serve at the moment: nothing matched up to where it stands. Clients ask again at
/// once; after an error they would pause for one to three seconds.
pub(crate) fn ask_again(request: &Request) -> Command {
    let asked = request.command.header::<PullMessage>();
    let offset = asked.map_or(0, |asked| asked.queue_offset.max(0));
    let here = QueueOffset::from_wire(offset).unwrap_or(QueueOffset::ZERO);
    let bounds = Queue {
        min: QueueOffset::ZERO,
        next: here,
    };
    let status = Status::NoMatchedMessage;
    head(&request.command, status, status.code(here), here, bounds, LEADER)
}

fn answer(pull: &Pull, status: Status, code: i32, next: QueueOffset, bounds: Queue) {
    answer_with(pull, status, code, next, bounds, Vec::new(), LEADER);
}

fn answer_with(
    pull: &Pull,
    status: Status,
    code: i32,
    next: QueueOffset,
    bounds: Queue,
    body: Vec<Bytes>,
    suggested: i64,
) {
    let head = head(&pull.request.command, status, code, next, bounds, suggested);
    if body.is_empty() {
        pull.request.answer(head)
    } else {
        pull.request.answer_parts(head, body)
    }
}

fn head(command: &Command, status: Status, code: i32, next: QueueOffset, bounds: Queue, suggested: i64) -> Command {
    let header = PullMessageResponse {
        suggest_which_broker_id: suggested,
        next_begin_offset: next.to_wire(),
        min_offset: bounds.min.to_wire(),
        max_offset: bounds.next.to_wire(),
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type: None,
    };
    Command::response(command, code)
        .with_header(&header)
        .with_remark(status.name())
}
