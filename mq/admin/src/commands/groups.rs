//! Consumer groups: create, progress, set offsets back.

use crate::Admin;
use crate::text;
use anyhow::{Result, bail, ensure};
use clap::{ArgAction, Args};
use mq_base::env::clock;
use mq_remoting::body::{
    ConsumeStats, ConsumerConnection, MessageQueue, QueueMap, ResetOffsetBody, SubscriptionGroupConfig, TopicList,
    from_slice, to_standard,
};
use mq_remoting::code::{request, response};
use mq_remoting::header::{
    ConsumerGroupHeader, GetConsumeStats, OffsetResponse, ResetOffset, SearchOffset, UpdateConsumerOffset,
};
use mq_remoting::{ByteStr, Command, version};
use std::fmt::Write;

/// Flags.
#[derive(Args)]
pub struct UpdateSubGroup {
    /// Consumer group
    #[arg(short = 'g', long = "groupName")]
    group: String,
    /// Address of one broker
    #[arg(short = 'b', long = "brokerAddr", conflicts_with = "cluster")]
    broker: Option<String>,
    /// All broker groups of this cluster
    #[arg(short = 'c', long = "clusterName", required_unless_present = "broker")]
    cluster: Option<String>,
    /// May consume
    #[arg(short = 's', long = "consumeEnable", default_value_t = true, action = ArgAction::Set)]
    consume: bool,
    /// A new group may begin at the first message
    #[arg(short = 'm', long = "consumeFromMinEnable", default_value_t = true, action = ArgAction::Set)]
    from_min: bool,
    /// May consume by broadcasting
    #[arg(short = 'd', long = "consumeBroadcastEnable", default_value_t = true, action = ArgAction::Set)]
    broadcast: bool,
    /// Consumes orderly
    #[arg(short = 'o', long = "consumeMessageOrderly", default_value_t = false, action = ArgAction::Set)]
    orderly: bool,
    /// Queues of the retry topic
    #[arg(short = 'q', long = "retryQueueNums", default_value_t = 1)]
    retry_queues: i32,
    /// Deliveries after which a message becomes a dead letter
    #[arg(short = 'r', long = "retryMaxTimes", default_value_t = 16)]
    retries: i32,
    /// Broker id to read from
    #[arg(short = 'i', long = "brokerId", default_value_t = 0)]
    broker_id: i64,
    /// Broker id to read from when consumption is slow
    #[arg(short = 'w', long = "whichBrokerWhenConsumeSlowly", default_value_t = 1)]
    slow_broker_id: i64,
    /// Tell consumers at once when the group changes
    #[arg(short = 'a', long = "notifyConsumerIdsChanged", default_value_t = true, action = ArgAction::Set)]
    notify: bool,
}

pub async fn update(admin: &Admin, flags: &UpdateSubGroup) -> Result<String> {
    let config = SubscriptionGroupConfig {
        consume_enable: flags.consume,
        consume_from_min_enable: flags.from_min,
        consume_broadcast_enable: flags.broadcast,
        consume_message_orderly: flags.orderly,
        retry_queue_nums: flags.retry_queues,
        retry_max_times: flags.retries,
        broker_id: flags.broker_id,
        which_broker_when_consume_slowly: flags.slow_broker_id,
        notify_consumer_ids_changed_enable: flags.notify,
        ..SubscriptionGroupConfig::new(flags.group.as_str())
    };
    let mut text = String::new();
    for addr in admin.chosen(flags.broker.as_deref(), flags.cluster.as_deref()).await? {
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        admin
            .call(&addr, Command::bare_request(code).with_body(to_standard(&config)))
            .await?;
        let _ = writeln!(text, "create subscription group to {addr} success.");
    }
    let _ = writeln!(text, "{}", serde_json::to_string(&config)?);
    Ok(text)
}

/// Flags.
#[derive(Args)]
pub struct ConsumerProgress {
    /// One group, queue by queue; without it all groups
    #[arg(short = 'g', long = "groupName")]
    group: Option<String>,
    /// Only this topic
    #[arg(short = 't', long = "topicName", requires = "group")]
    topic: Option<String>,
}

pub async fn progress(admin: &Admin, flags: &ConsumerProgress) -> Result<String> {
    match &flags.group {
        Some(group) => progress_of(admin, group, flags.topic.as_deref()).await,
        None => progress_of_all(admin).await,
    }
}

/// Statistics of a group from every broker that holds its retry topic.
async fn statistics(admin: &Admin, group: &str, topic: Option<&str>) -> Result<ConsumeStats> {
    let mut all = ConsumeStats::default();
    for (_, addr) in admin.leaders_of(&format!("%RETRY%{group}")).await? {
        let header = GetConsumeStats {
            consumer_group: ByteStr::from(group),
            topic: topic.map(ByteStr::from),
            topic_list: None,
        };
        let part: ConsumeStats = admin.read(&addr, request::GET_CONSUME_STATS, &header).await?;
        all.consume_tps += part.consume_tps;
        all.offset_table.extend(part.offset_table);
    }
    Ok(all)
}

async fn progress_of(admin: &Admin, group: &str, topic: Option<&str>) -> Result<String> {
    let statistics = statistics(admin, group, topic).await?;
    ensure!(
        !statistics.offset_table.is_empty(),
        "group {group} has not consumed anything yet"
    );
    let mut text = format!(
        "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {:<20} {:<20}{}\n",
        "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Diff", "#Inflight", "#LastTime"
    );
    let (mut behind, mut in_flight) = (0, 0);
    for (queue, offsets) in &statistics.offset_table {
        let diff = offsets.broker_offset - offsets.consumer_offset;
        let pulled = offsets.pull_offset - offsets.consumer_offset;
        behind += diff;
        in_flight += pulled;
        let _ = writeln!(
            text,
            "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {diff:<20} {pulled:<20} {}",
            queue.0.topic,
            queue.0.broker_name,
            queue.0.queue_id,
            offsets.broker_offset,
            offsets.consumer_offset,
            text::time_s(offsets.last_timestamp)
        );
    }
    let _ = writeln!(text, "\nConsume TPS: {:.2}", statistics.consume_tps);
    let _ = writeln!(
        text,
        "Consume Diff Total: {behind}\nConsume Inflight Total: {in_flight}"
    );
    Ok(text)
}

async fn progress_of_all(admin: &Admin) -> Result<String> {
    let answer = admin
        .ask_namesrv(|| Command::bare_request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER))
        .await?;
    let topics: TopicList = from_slice(&answer.body)?;
    let mut groups: Vec<&str> = topics
        .topic_list
        .iter()
        .filter_map(|topic| topic.strip_prefix("%RETRY%"))
        .collect();
    groups.sort_unstable();
    let mut text = format!(
        "{:<64}  {:<6}  {:<24} {:<5}  {:<14}  {:<7}  {}\n",
        "#Group", "#Count", "#Version", "#Type", "#Model", "#TPS", "#Diff Total"
    );
    for group in groups {
        // A group that cannot be read (its broker is away) does not hide the others.
        let statistics = statistics(admin, group, None).await.unwrap_or_default();
        let behind: i64 = statistics
            .offset_table
            .values()
            .map(|o| o.broker_offset - o.consumer_offset)
            .sum();
        let (count, version, kind, model) = match connections(admin, group).await {
            Some(c) => {
                let lowest = c
                    .connection_set
                    .iter()
                    .map(|connection| connection.version)
                    .min()
                    .unwrap_or_default();
                let kind = match c.consume_type {
                    mq_remoting::body::ConsumeType::Actively => "PULL",
                    mq_remoting::body::ConsumeType::Passively => "PUSH",
                    mq_remoting::body::ConsumeType::Pop => "POP",
                };
                let model = format!("{:?}", c.message_model).to_uppercase();
                (c.connection_set.len(), version::name(lowest), kind, model)
            }
            None => (0, "OFFLINE".to_owned(), "", String::new()),
        };
        let _ = writeln!(
            text,
            "{group:<64}  {count:<6}  {version:<24} {kind:<5}  {model:<14}  {:<7}  {behind}",
            format!("{:.0}", statistics.consume_tps)
        );
    }
    Ok(text)
}

/// Connected consumers of a group, from the first broker that has any.
async fn connections(admin: &Admin, group: &str) -> Option<ConsumerConnection> {
    for (_, addr) in admin.leaders_of(&format!("%RETRY%{group}")).await.ok()? {
        let header = ConsumerGroupHeader {
            consumer_group: ByteStr::from(group),
        };
        if let Ok(found) = admin.read(&addr, request::GET_CONSUMER_CONNECTION_LIST, &header).await {
            return Some(found);
        }
    }
    None
}

/// Flags.
#[derive(Args)]
pub struct ResetOffsetByTime {
    /// Consumer group
    #[arg(short = 'g', long = "group")]
    group: String,
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// now, milliseconds, or yyyy-MM-dd#HH:mm:ss:SSS (UTC); -1 is the end
    #[arg(short = 's', long = "timestamp", allow_hyphen_values = true)]
    time: String,
    /// Accepted as in RocketMQ; offsets go forth and back either way
    #[arg(short = 'f', long = "force", default_value_t = true, action = ArgAction::Set)]
    force: bool,
    /// Only this queue
    #[arg(short = 'q', long = "queue", requires = "offset")]
    queue: Option<i32>,
    /// This offset instead of a time's
    #[arg(short = 'o', long = "offset", requires = "queue")]
    offset: Option<i64>,
}

pub async fn reset_offset(admin: &Admin, flags: &ResetOffsetByTime) -> Result<String> {
    let timestamp = text::parse_time(&flags.time, clock::wall_ms())?;
    let mut text = format!(
        "start reset consumer offset by specified, group[{}], topic[{}], force[{}], timestamp(string)[{}], \
         timestamp(long)[{timestamp}]\n",
        flags.group, flags.topic, flags.force, flags.time
    );
    let mut moved = QueueMap::new();
    for (broker, addr) in admin.leaders_of(&flags.topic).await? {
        moved.extend(reset_on(admin, flags, &broker, &addr, timestamp).await?);
    }
    let _ = writeln!(text, "{:<40}  {:<40}  {:<40}", "#brokerName", "#queueId", "#offset");
    for (queue, offset) in &moved {
        let _ = writeln!(
            text,
            "{:<40}  {:<40}  {offset:<40}",
            queue.0.broker_name, queue.0.queue_id
        );
    }
    Ok(text)
}

async fn reset_on(
    admin: &Admin,
    flags: &ResetOffsetByTime,
    broker: &str,
    addr: &str,
    timestamp: i64,
) -> Result<QueueMap<i64>> {
    let header = ResetOffset {
        topic: ByteStr::from(flags.topic.as_str()),
        group: ByteStr::from(flags.group.as_str()),
        queue_id: flags.queue.unwrap_or(-1),
        offset: flags.offset,
        timestamp,
        is_force: flags.force,
    };
    let answer = admin
        .ask(addr, Command::request(request::INVOKE_BROKER_TO_RESET_OFFSET, &header))
        .await?;
    match answer.code {
        response::SUCCESS if answer.body.is_empty() => Ok(QueueMap::new()),
        response::SUCCESS => Ok(from_slice::<ResetOffsetBody>(&answer.body)?.offset_table),
        // Nobody of the group is connected: its stored offsets are changed directly.
        response::CONSUMER_NOT_ONLINE => reset_stored(admin, flags, broker, addr, timestamp).await,
        code => bail!(
            "{addr} refused with code {code}: {}",
            answer.remark.as_deref().unwrap_or_default()
        ),
    }
}

async fn reset_stored(
    admin: &Admin,
    flags: &ResetOffsetByTime,
    broker: &str,
    addr: &str,
    timestamp: i64,
) -> Result<QueueMap<i64>> {
    let (group, topic) = (ByteStr::from(flags.group.as_str()), ByteStr::from(flags.topic.as_str()));
    let header = GetConsumeStats {
        consumer_group: group.clone(),
        topic: Some(topic.clone()),
        topic_list: None,
    };
    let statistics: ConsumeStats = admin.read(addr, request::GET_CONSUME_STATS, &header).await?;
    let mut moved = QueueMap::new();
    for (queue, offsets) in &statistics.offset_table {
        let queue_id = queue.0.queue_id;
        if flags.queue.is_some_and(|only| only != queue_id) {
            continue;
        }
        let offset = match (flags.offset, timestamp) {
            (Some(offset), _) => offset,
            (None, -1) => offsets.broker_offset,
            (None, _) => {
                let header = SearchOffset {
                    topic: topic.clone(),
                    queue_id,
                    timestamp,
                    boundary_type: None,
                    broker_name: None,
                };
                let command = Command::request(request::SEARCH_OFFSET_BY_TIMESTAMP, &header);
                admin.call(addr, command).await?.header::<OffsetResponse>()?.offset
            }
        };
        let header = UpdateConsumerOffset {
            consumer_group: group.clone(),
            topic: topic.clone(),
            queue_id: Some(queue_id),
            commit_offset: Some(offset),
            broker_name: None,
        };
        admin
            .call(addr, Command::request(request::UPDATE_CONSUMER_OFFSET, &header))
            .await?;
        moved.insert(MessageQueue::new(flags.topic.as_str(), broker, queue_id).into(), offset);
    }
    Ok(moved)
}
