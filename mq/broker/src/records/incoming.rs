//! A send becomes stored records: the checks of RocketMQ's broker in its order, then the records themselves.

use super::properties::Scan;
use crate::ask::Refusal;
use crate::config::Settings;
use crate::state::{GroupConfig, Name, State, Topic, TopicConfig};
use bytes::BytesMut;
use mq_message::msg_id::UniqueKeys;
use mq_message::topic::{self as names, perm};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordSpec, batch, property, sys_flag};
use std::net::SocketAddr;

/// Most messages of one batch send.
const BATCH_MESSAGES_MAX: usize = 16_384;
/// Clients of this version and later send their own `maxReconsumeTimes` (V3_4_9).
const VERSION_WITH_MAX_RECONSUME_TIMES: i32 = 121;

/// What this broker writes into messages.
pub struct Site {
    /// Cluster name.
    pub cluster: String,
    /// Name of the broker group.
    pub broker_name: String,
    /// Address told to clients; part of every offset message id.
    pub store_host: SocketAddr,
    /// Makes unique keys for clients that send none.
    pub unique_keys: UniqueKeys,
}

/// A send as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Template for auto-creation.
    pub default_topic: &'a str,
    /// Queues the client wishes for then.
    pub default_queues: i32,
    /// Queue; negative lets the broker choose.
    pub queue: i32,
    /// System flag.
    pub sys_flag: i32,
    /// Client's time, milliseconds.
    pub born_ms: i64,
    /// User's flag.
    pub flag: i32,
    /// Property text.
    pub properties: &'a str,
    /// Redeliveries so far (sends to retry topics).
    pub reconsume_times: i32,
    /// Redeliveries allowed (sends to retry topics).
    pub max_reconsume_times: Option<i32>,
    /// Unit mode.
    pub unit_mode: bool,
    /// The body is a batch.
    pub batch: bool,
    /// Body.
    pub body: &'a [u8],
    /// Client's address.
    pub born_host: SocketAddr,
    /// Client's version.
    pub version: i32,
}

/// Records ready for the judge.
#[derive(Debug)]
pub struct Ready {
    /// Topic they are stored under.
    pub topic: Name,
    /// Queue they are stored in.
    pub queue: QueueId,
    /// Queue the client is told: its own, even if the message waits in another topic.
    pub shown_queue: QueueId,
    /// The records.
    pub records: BytesMut,
    /// Topic to create first.
    pub create: Option<Box<TopicConfig>>,
    /// Unique keys of the messages: the first is the transaction id, and a resend is recognised by them.
    pub unique_keys: Vec<String>,
}

/// Where a send will be stored. Made under the lock of the state; the records are built without it.
pub struct Plan {
    target: Target,
    queue: QueueId,
    levels: u32,
}

/// Surroundings of a send.
pub struct Surroundings<'a> {
    /// Settings in force.
    pub settings: &'a Settings,
    /// Longest body, bytes.
    pub body_bytes_max: usize,
    /// This broker.
    pub site: &'a Site,
    /// Wall clock, Unix milliseconds.
    pub now_ms: i64,
    /// A random number, for the choice of a queue.
    pub random: u64,
}

impl Surroundings<'_> {
    /// Checks a send against the state.
    pub fn plan(&self, state: &State, sent: &Incoming<'_>) -> Result<Plan, Refusal> {
        if self.now_ms < self.settings.start_accept_send_ms {
            let text = format!("broker unable to service, until {}", self.settings.start_accept_send_ms);
            return Err(Refusal::Failed(text));
        }
        self.check_topic_name(sent.topic)?;
        let mut target = self.target(state, sent)?;
        if names::is_retry(sent.topic)
            && let Some(dead) = self.dead_letter(state, sent)?
        {
            target = dead;
        }
        let queue = self.choose_queue(&target, sent.queue)?;
        Ok(Plan {
            target,
            queue,
            levels: state.schedule.levels(),
        })
    }

    /// Builds the records of a send.
    pub fn build(&self, plan: Plan, sent: &Incoming<'_>) -> Result<Ready, Refusal> {
        let max = self.body_bytes_max;
        if sent.body.len() > max {
            return Err(Refusal::MessageIllegal(format!(
                "message body size over max value, MAX: {max} bytes"
            )));
        }
        if sent.batch {
            self.batch(sent, plan)
        } else {
            self.single(sent, plan)
        }
    }

    fn check_topic_name(&self, topic: &str) -> Result<(), Refusal> {
        names::check(topic).map_err(|error| Refusal::Invalid(error.to_string()))?;
        if !names::is_allowed_to_send(topic) {
            return Err(Refusal::NoPermission(format!(
                "Sending message to topic[{topic}] is forbidden."
            )));
        }
        Ok(())
    }

    /// The topic of a send, or the configuration it will be created with.
    fn target(&self, state: &State, sent: &Incoming<'_>) -> Result<Target, Refusal> {
        if let Some(topic) = state.topics.get(sent.topic) {
            if topic.config.order && !perm::is_writable(self.settings.broker_permission) {
                let text = format!("the broker[{}] sending message is forbidden", self.site.broker_name);
                return Err(Refusal::NoPermission(text));
            }
            return Ok(Target::existing(topic));
        }
        if names::is_retry(sent.topic) {
            let group = names::group_of(sent.topic).unwrap_or_default();
            let queues = state.groups.get(group).map_or(1, |group| group.retry_queues.max(1));
            return Ok(Target::created(TopicConfig::new(sent.topic, queues)));
        }
        let missing = || Refusal::TopicMissing(sent.topic.into());
        self.created_by_template(state, sent)
            .map(Target::created)
            .ok_or_else(missing)
    }

    /// Auto-creation: the template must exist and carry the inherit bit.
    fn created_by_template(&self, state: &State, sent: &Incoming<'_>) -> Option<TopicConfig> {
        let template = &state.topics.get(sent.default_topic)?.config;
        let switched_off = sent.default_topic == names::AUTO_CREATE && !self.settings.auto_create_topic_enable;
        if switched_off || !perm::is_inherited(template.perm) || state.topics.len() >= self.settings.topics_max {
            return None;
        }
        let queues = u32::try_from(sent.default_queues)
            .unwrap_or(0)
            .min(template.write_queues);
        let mut config = TopicConfig::new(sent.topic, queues);
        config.perm = template.perm & !perm::INHERIT;
        config.filter_type = template.filter_type;
        config.sys_flag = if sent.unit_mode { names::topic_flag::UNIT } else { 0 };
        Some(config)
    }

    /// A retry beyond its limit, or of an orderly consumer (it sends one only when it gives up), is a dead letter.
    fn dead_letter(&self, state: &State, sent: &Incoming<'_>) -> Result<Option<Target>, Refusal> {
        let group = names::group_of(sent.topic).unwrap_or_default();
        let config: &GroupConfig = state
            .groups
            .get(group)
            .ok_or_else(|| Refusal::GroupMissing(group.into()))?;
        let max = match sent.max_reconsume_times {
            Some(max) if sent.version >= VERSION_WITH_MAX_RECONSUME_TIMES => max,
            _ => config.retry_max_times,
        };
        let orderly = state.locks.any_stands(group, self.now_ms.max(state.log_time_ms));
        if sent.reconsume_times <= max && !orderly {
            return Ok(None);
        }
        let dlq = names::dlq(group);
        let mut target = match state.topics.get(&dlq) {
            Some(topic) => Target::existing(topic),
            None => Target::created(TopicConfig::new(dlq, 1)),
        };
        target.dead_letter = true;
        Ok(Some(target))
    }

    fn choose_queue(&self, target: &Target, wanted: i32) -> Result<QueueId, Refusal> {
        let any = || QueueId((self.random % u64::from(target.write_queues.max(1))) as u32);
        match QueueId::from_wire(wanted).filter(|_| !target.dead_letter) {
            None => Ok(any()),
            Some(queue) if queue.get() < target.queues => Ok(queue),
            Some(queue) => Err(Refusal::QueueIllegal {
                topic: target.name.clone(),
                queue: queue.get(),
                queues: target.queues,
            }),
        }
    }

    fn single(&self, sent: &Incoming<'_>, plan: Plan) -> Result<Ready, Refusal> {
        let Plan { target, queue, levels } = plan;
        let scan = Scan::of(sent.properties);
        let unique_key = self.unique_key(&scan);
        let mut spec = self.spec(sent, &target, queue);
        let mut text = self.stored_properties(sent.properties, &scan, &unique_key);
        // An old client's fallback for sending back: a retry with a delay level is no half message, whatever it says.
        let half = scan.half && !(sent.reconsume_times > 0 && scan.delay_level.is_some());
        let waits = if half {
            self.check_half()?;
            spec.sys_flag = sys_flag::with_transaction(spec.sys_flag, 0);
            Some((names::TRANS_HALF, QueueId(0)))
        } else if target.dead_letter {
            text.set(property::DELAY, "-1");
            None
        } else {
            waits(&scan, levels)?
        };
        if let Some((waiting_topic, waiting_queue)) = waits {
            text.push(property::REAL_TOPIC, &target.name);
            text.push(property::REAL_QID, &queue.to_string());
            spec.topic = waiting_topic;
            spec.queue_id = waiting_queue;
        }
        spec.properties = text.as_str();
        spec.body = sent.body;
        let mut records = BytesMut::with_capacity(spec.encoded_len());
        encode(&spec, &mut records)?;
        Ok(Ready {
            topic: waits.map_or_else(|| target.name.clone(), |(topic, _)| topic.into()),
            queue: waits.map_or(queue, |(_, queue)| queue),
            shown_queue: queue,
            records,
            create: target.create,
            unique_keys: vec![unique_key],
        })
    }

    fn check_half(&self) -> Result<(), Refusal> {
        if self.settings.reject_transaction_message {
            let text = format!(
                "the broker[{}] sending transaction message is forbidden",
                self.site.broker_name
            );
            return Err(Refusal::NoPermission(text));
        }
        Ok(())
    }

    fn batch(&self, sent: &Incoming<'_>, plan: Plan) -> Result<Ready, Refusal> {
        let Plan { target, queue, .. } = plan;
        if names::is_retry(sent.topic) || target.dead_letter {
            return Err(Refusal::MessageIllegal(
                "batch message is not allowed for retry topics".into(),
            ));
        }
        let count = batch::count(sent.body, BATCH_MESSAGES_MAX);
        let count = count.map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
        let mut records = BytesMut::with_capacity(sent.body.len() + count * 256);
        let mut unique_keys = Vec::with_capacity(count);
        for item in batch::items(sent.body) {
            let item = item.map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
            let scan = Scan::of(item.properties);
            if scan.delay_level.is_some() || scan.timer || scan.half {
                let text = "batch message with delay or transaction properties is not allowed";
                return Err(Refusal::MessageIllegal(text.into()));
            }
            let unique_key = self.unique_key(&scan);
            let text = self.stored_properties(item.properties, &scan, &unique_key);
            let mut spec = self.spec(sent, &target, queue);
            spec.flag = item.flag;
            spec.body = item.body;
            spec.properties = text.as_str();
            encode(&spec, &mut records)?;
            unique_keys.push(unique_key);
        }
        Ok(Ready {
            topic: target.name.clone(),
            queue,
            shown_queue: queue,
            records,
            create: target.create,
            unique_keys,
        })
    }

    fn unique_key(&self, scan: &Scan<'_>) -> String {
        scan.unique_key
            .map_or_else(|| self.site.unique_keys.next(self.now_ms), str::to_owned)
    }

    fn stored_properties(&self, text: &str, scan: &Scan<'_>, unique_key: &str) -> property::Properties {
        let mut kept = scan.kept(text);
        if scan.unique_key.is_none() {
            kept.push(property::UNIQ_KEY, unique_key);
        }
        kept.push(property::MSG_REGION, &self.settings.region_id);
        kept.push(
            property::TRACE_ON,
            if self.settings.trace_on { "true" } else { "false" },
        );
        kept.push(property::CLUSTER, &self.site.cluster);
        kept
    }

    fn spec<'b>(&'b self, sent: &Incoming<'b>, target: &'b Target, queue: QueueId) -> RecordSpec<'b> {
        RecordSpec {
            topic: &target.name,
            queue_id: queue,
            flag: sent.flag,
            sys_flag: sent.sys_flag,
            born_timestamp: sent.born_ms,
            born_host: sent.born_host,
            store_host: self.site.store_host,
            store_timestamp: 0,
            reconsume_times: sent.reconsume_times,
            prepared_transaction_offset: CommitLogOffset::ZERO,
            body: &[],
            properties: "",
            queue_offset: QueueOffset::ZERO,
            physical_offset: CommitLogOffset::ZERO,
        }
    }
}

/// Where a message with a delay level waits.
fn waits(scan: &Scan<'_>, levels: u32) -> Result<Option<(&'static str, QueueId)>, Refusal> {
    if let Some(level) = scan.delay_level {
        return Ok(Some((names::SCHEDULE, QueueId(level.min(levels) - 1))));
    }
    if scan.timer {
        let text = "accurate timer message is not enabled, timerWheelEnable is false";
        return Err(Refusal::Failed(text.into()));
    }
    Ok(None)
}

fn encode(spec: &RecordSpec<'_>, out: &mut BytesMut) -> Result<(), Refusal> {
    spec.encode_into(out)
        .map(drop)
        .map_err(|error| Refusal::MessageIllegal(error.to_string()))
}

/// A topic as far as a send is concerned.
struct Target {
    name: Name,
    queues: u32,
    write_queues: u32,
    create: Option<Box<TopicConfig>>,
    dead_letter: bool,
}

impl Target {
    fn existing(topic: &Topic) -> Self {
        Self {
            name: topic.config.name.clone(),
            queues: topic.config.queues(),
            write_queues: topic.config.write_queues,
            create: None,
            dead_letter: false,
        }
    }

    fn created(config: TopicConfig) -> Self {
        Self {
            name: config.name.clone(),
            queues: config.queues(),
            write_queues: config.write_queues,
            create: Some(Box::new(config)),
            dead_letter: false,
        }
    }
}
