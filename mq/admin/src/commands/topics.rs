//! Topics: list, route, bounds, create, delete.

use crate::Admin;
use crate::cluster::leader_addr;
use crate::text;
use anyhow::{Context, Result, ensure};
use clap::Args;
use mq_remoting::body::{GroupList, QueueData, TopicList as Topics, TopicStatsTable};
use mq_remoting::code::request;
use mq_remoting::header::{CreateTopic, DeleteTopicInNamesrv, TopicHeader};
use mq_remoting::{ByteStr, Command};
use std::fmt::Write;

/// Flags.
#[derive(Args)]
pub struct TopicList {
    /// With clusters and consumer groups
    #[arg(short = 'c', long = "clusterModel")]
    with_groups: bool,
}

pub async fn list(admin: &Admin, flags: &TopicList) -> Result<String> {
    let answer = admin
        .ask_namesrv(|| Command::bare_request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER))
        .await?;
    let mut topics: Topics = mq_remoting::body::from_slice(&answer.body)?;
    topics.topic_list.sort();
    let mut text = String::new();
    if !flags.with_groups {
        topics
            .topic_list
            .iter()
            .for_each(|topic| text.push_str(&format!("{topic}\n")));
        return Ok(text);
    }
    let _ = writeln!(
        text,
        "{:<20}  {:<48}  {:<48}",
        "#Cluster Name", "#Topic", "#Consumer Group"
    );
    for topic in &topics.topic_list {
        if topic.starts_with("%RETRY%") || topic.starts_with("%DLQ%") {
            continue;
        }
        let Some(route) = admin.find_route(topic).await? else {
            continue;
        };
        let cluster = route
            .broker_datas
            .first()
            .map(|data| data.cluster.clone())
            .unwrap_or_default();
        let groups = match route.broker_datas.iter().find_map(leader_addr) {
            Some(addr) => {
                let header = TopicHeader {
                    topic: ByteStr::from(topic.as_str()),
                };
                let asked = admin
                    .read::<GroupList>(&addr, request::QUERY_TOPIC_CONSUME_BY_WHO, &header)
                    .await;
                asked.map(|answer| answer.group_list).unwrap_or_default()
            }
            None => Vec::new(),
        };
        let none = String::new();
        for group in if groups.is_empty() {
            std::slice::from_ref(&none)
        } else {
            &groups[..]
        } {
            let _ = writeln!(text, "{cluster:<20}  {topic:<48}  {group:<48}");
        }
    }
    Ok(text)
}

/// Flags.
#[derive(Args)]
pub struct TopicRoute {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// As a table
    #[arg(short = 'l', long = "list")]
    list: bool,
}

pub async fn route(admin: &Admin, flags: &TopicRoute) -> Result<String> {
    let route = admin.route(&flags.topic).await?;
    if !flags.list {
        let mut json = serde_json::to_string_pretty(&route)?;
        json.push('\n');
        return Ok(json.replace("  ", "\t"));
    }
    let mut text = format!(
        "{:<45} {:<32} {:<50} {:<10} {:<11} {:<5}\n",
        "#ClusterName", "#BrokerName", "#BrokerAddrs", "#ReadQueue", "#WriteQueue", "#Perm"
    );
    for queues in &route.queue_datas {
        let data = route
            .broker_datas
            .iter()
            .find(|data| data.broker_name == queues.broker_name);
        let (cluster, addrs) = data
            .map(|data| (data.cluster.clone(), data.broker_addrs.clone()))
            .unwrap_or_default();
        let addrs: Vec<String> = addrs.into_iter().map(|(id, addr)| format!("{id}={addr}")).collect();
        let _ = writeln!(
            text,
            "{cluster:<45} {:<32} {:<50} {:<10} {:<11} {:<5}",
            queues.broker_name,
            format!("{{{}}}", addrs.join(", ")),
            queues.read_queue_nums,
            queues.write_queue_nums,
            queues.perm
        );
    }
    let total = |queues: fn(&QueueData) -> u32| route.queue_datas.iter().map(queues).sum::<u32>();
    let _ = writeln!(text, "{}", "-".repeat(158));
    let _ = writeln!(
        text,
        "{:<45} {:<32} {:<50} {:<10} {:<11} {:<5}",
        "Total:",
        route.queue_datas.len(),
        "",
        total(|queues| queues.read_queue_nums),
        total(|queues| queues.write_queue_nums),
        ""
    );
    Ok(text)
}

/// Flags.
#[derive(Args)]
pub struct TopicStatus {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
}

pub async fn status(admin: &Admin, flags: &TopicStatus) -> Result<String> {
    let header = TopicHeader {
        topic: ByteStr::from(flags.topic.as_str()),
    };
    let mut text = format!(
        "{:<32}  {:<4}  {:<20}  {:<20}    {}\n",
        "#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated"
    );
    let mut rate = 0.0;
    for (_, addr) in admin.leaders_of(&flags.topic).await? {
        let table: TopicStatsTable = admin.read(&addr, request::GET_TOPIC_STATS_INFO, &header).await?;
        rate += table.topic_put_tps;
        for (queue, offsets) in &table.offset_table {
            let _ = writeln!(
                text,
                "{:<32}  {:<4}  {:<20}  {:<20}    {}",
                queue.0.broker_name,
                queue.0.queue_id,
                offsets.min_offset,
                offsets.max_offset,
                text::time_ms(offsets.last_update_timestamp)
            );
        }
    }
    let _ = writeln!(text, "\nTopic Put TPS: {rate:.1}");
    Ok(text)
}

/// Flags.
#[derive(Args)]
pub struct UpdateTopic {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Address of one broker
    #[arg(short = 'b', long = "brokerAddr", conflicts_with = "cluster")]
    broker: Option<String>,
    /// All broker groups of this cluster
    #[arg(short = 'c', long = "clusterName", required_unless_present = "broker")]
    cluster: Option<String>,
    /// Queues to read
    #[arg(short = 'r', long = "readQueueNums", default_value_t = 8)]
    read_queues: u16,
    /// Queues to write
    #[arg(short = 'w', long = "writeQueueNums", default_value_t = 8)]
    write_queues: u16,
    /// 2 write, 4 read, 6 both
    #[arg(short = 'p', long = "perm", default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=7))]
    perm: u8,
    /// Order topic
    #[arg(short = 'o', long = "order", default_value_t = false, action = clap::ArgAction::Set)]
    order: bool,
    /// Attributes: +a=b,+c=d,-e
    #[arg(short = 'a', long = "attributes")]
    attributes: Option<String>,
}

pub async fn update(admin: &Admin, flags: &UpdateTopic) -> Result<String> {
    let header = CreateTopic {
        topic: ByteStr::from(flags.topic.as_str()),
        default_topic: ByteStr::from("TBW102"),
        read_queue_nums: i32::from(flags.read_queues),
        write_queue_nums: i32::from(flags.write_queues),
        perm: i32::from(flags.perm),
        topic_filter_type: ByteStr::from("SINGLE_TAG"),
        topic_sys_flag: Some(0),
        order: flags.order,
        attributes: flags.attributes.as_deref().map(ByteStr::from),
        force: None,
    };
    let mut text = String::new();
    for addr in admin.chosen(flags.broker.as_deref(), flags.cluster.as_deref()).await? {
        admin
            .call(&addr, Command::request(request::UPDATE_AND_CREATE_TOPIC, &header))
            .await?;
        let _ = writeln!(text, "create topic to {addr} success.");
    }
    let _ = writeln!(
        text,
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType=SINGLE_TAG, \
         topicSysFlag=0, order={}, attributes={{{}}}]",
        flags.topic,
        flags.read_queues,
        flags.write_queues,
        text::perm(u32::from(flags.perm)),
        flags.order,
        flags.attributes.as_deref().unwrap_or_default()
    );
    Ok(text)
}

/// Flags.
#[derive(Args)]
pub struct DeleteTopic {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: String,
}

pub async fn delete(admin: &Admin, flags: &DeleteTopic) -> Result<String> {
    let topic = || ByteStr::from(flags.topic.as_str());
    for group in admin.groups_of(&flags.cluster).await? {
        ensure!(!group.broker_addrs.is_empty(), "{} has no address", group.broker_name);
        for addr in group.broker_addrs.values() {
            let command = Command::request(request::DELETE_TOPIC_IN_BROKER, &TopicHeader { topic: topic() });
            admin
                .call(addr, command)
                .await
                .with_context(|| format!("delete {} from {addr}", flags.topic))?;
        }
    }
    for addr in admin.namesrvs() {
        let header = DeleteTopicInNamesrv {
            topic: topic(),
            cluster_name: Some(ByteStr::from(flags.cluster.as_str())),
        };
        admin
            .call(addr, Command::request(request::DELETE_TOPIC_IN_NAMESRV, &header))
            .await?;
    }
    Ok(format!(
        "delete topic [{0}] from cluster [{1}] success.\ndelete topic [{0}] from NameServer success.\n",
        flags.topic, flags.cluster
    ))
}
