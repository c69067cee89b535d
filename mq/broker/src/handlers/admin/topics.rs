//! Topics: create, change, delete, list, look at.

use super::{answer_json, answer_when_done, body, header, success};
use crate::ask::{Ask, Refusal, Reply, UpsertTopic};
use crate::broker::Broker;
use crate::data_path::DataPath;
use crate::register::wire_topic;
use crate::request::Request;
use crate::state::{FilterType, State, TopicConfig};
use crate::stats::Kind;
use mq_message::{QueueId, QueueOffset, topic};
use mq_remoting::body::{
    DataVersion, MessageQueue, TopicConfigList, TopicConfigSerializeWrapper, TopicFilterType, TopicOffset,
    TopicStatsTable,
};
use mq_remoting::code::response;
use mq_remoting::header::{CreateTopic, GetTopicConfig, TopicHeader};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most topics of one UPDATE_AND_CREATE_TOPIC_LIST.
const TOPICS_AT_ONCE_MAX: usize = 1_024;

/// UPDATE_AND_CREATE_TOPIC (17).
pub fn upsert(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<CreateTopic>(&request) else {
        return;
    };
    let config = (|| {
        let known = broker
            .view
            .state()
            .topics
            .get(&wanted.topic)
            .map(|topic| topic.config.clone());
        let number = |n: i32, name: &str| u32::try_from(n).map_err(|_| invalid(format!("{name} must not be {n}")));
        let mut config = TopicConfig::new(&*wanted.topic, 0);
        config.read_queues = number(wanted.read_queue_nums, "readQueueNums")?;
        config.write_queues = number(wanted.write_queue_nums, "writeQueueNums")?;
        config.perm = number(wanted.perm, "perm")?;
        config.filter_type = match &*wanted.topic_filter_type {
            "MULTI_TAG" => FilterType::MultiTag,
            _ => FilterType::SingleTag,
        };
        config.sys_flag = number(wanted.topic_sys_flag.unwrap_or(0), "topicSysFlag")?;
        config.order = wanted.order;
        let before = known.map(|known| known.attributes).unwrap_or_default();
        config.attributes = attributes(before, wanted.attributes.as_deref().unwrap_or_default())?;
        check(broker, &config)?;
        Ok(config)
    })();
    match config {
        Ok(config) => {
            let wanted = UpsertTopic {
                config,
                only_if_absent: false,
            };
            broker.ask(Ask::UpsertTopic(wanted, answer_when_done(request)));
        }
        Err(refusal) => request.refuse(&refusal),
    }
}

/// UPDATE_AND_CREATE_TOPIC_LIST (18): all are checked before the first is created.
pub fn upsert_list(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = body::<TopicConfigList>(&request) else {
        return;
    };
    if wanted.topic_config_list.len() > TOPICS_AT_ONCE_MAX {
        return request.fail(
            response::INVALID_PARAMETER,
            format!("at most {TOPICS_AT_ONCE_MAX} topics at once"),
        );
    }
    let mut configs = Vec::new();
    for wire in &wanted.topic_config_list {
        let mut config = TopicConfig::new(wire.topic_name.as_str(), 0);
        config.read_queues = wire.read_queue_nums;
        config.write_queues = wire.write_queue_nums;
        config.perm = wire.perm;
        config.sys_flag = wire.topic_sys_flag;
        config.order = wire.order;
        config.attributes = wire.attributes.clone();
        if wire.topic_filter_type == TopicFilterType::MultiTag {
            config.filter_type = FilterType::MultiTag;
        }
        if let Err(refusal) = check(broker, &config) {
            return request.refuse(&refusal);
        }
        configs.push(config);
    }
    // The judge takes asks in order: the last one's answer says that all are done.
    let Some(last) = configs.pop() else {
        return success(&request);
    };
    for config in configs {
        broker.ask(Ask::UpsertTopic(
            UpsertTopic {
                config,
                only_if_absent: false,
            },
            Reply::none(),
        ));
    }
    let wanted = UpsertTopic {
        config: last,
        only_if_absent: false,
    };
    broker.ask(Ask::UpsertTopic(wanted, answer_when_done(request)));
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::Invalid(text.into())
}

fn check(broker: &Broker, config: &TopicConfig) -> Result<(), Refusal> {
    topic::check(&config.name).map_err(|error| invalid(error.to_string()))?;
    let own = [&*broker.identity.cluster, &*broker.identity.broker];
    if topic::is_system(&config.name) && !own.contains(&&*config.name) {
        return Err(invalid(format!(
            "The topic[{}] is conflict with system topic.",
            config.name
        )));
    }
    if config.perm > topic::perm::READ_WRITE | topic::perm::INHERIT | topic::perm::PRIORITY {
        return Err(invalid(format!("perm {} is illegal", config.perm)));
    }
    let state = broker.view.state();
    if state.topics.get(&config.name).is_none() && state.topics.len() >= broker.settings().topics_max {
        return Err(invalid(format!(
            "there are {} topics already (maxTopics)",
            state.topics.len()
        )));
    }
    Ok(())
}

/// RocketMQ's way of changing attributes: `+name=value,-name`.
fn attributes(before: BTreeMap<String, String>, change: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let mut after = before;
    for item in change.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match item.split_at_checked(1) {
            Some(("+", pair)) => {
                let (name, value) = pair
                    .split_once('=')
                    .ok_or_else(|| invalid(format!("attribute '{item}': no value")))?;
                known_attribute(name.trim(), value.trim())?;
                after.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            Some(("-", name)) => drop(after.remove(name.trim())),
            _ => return Err(invalid(format!("attribute '{item}': expected +name=value or -name"))),
        }
    }
    Ok(after)
}

/// What this broker does not do must not be promised.
fn known_attribute(name: &str, value: &str) -> Result<(), Refusal> {
    match (name, value) {
        ("message.type", "UNSPECIFIED" | "NORMAL" | "FIFO" | "DELAY" | "TRANSACTION" | "MIXED")
        | ("queue.type", "SimpleCQ")
        | ("cleanup.policy", "DELETE") => Ok(()),
        ("reserve.time", number) if number.parse::<i64>().is_ok() => Ok(()),
        _ => Err(invalid(format!("attribute {name}={value} is not supported"))),
    }
}

/// DELETE_TOPIC_IN_BROKER (215): also of a topic that is not there. Tools send it to every member; each one forwards.
pub fn delete(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<TopicHeader>(&request) else {
        return;
    };
    if topic::is_system(&wanted.topic) {
        let remark = format!("The topic[{}] is conflict with system topic.", wanted.topic);
        return request.fail(response::INVALID_PARAMETER, remark);
    }
    broker.stats.forget(&wanted.topic);
    broker.ask(Ask::DeleteTopic((&*wanted.topic).into(), answer_when_done(request)));
}

/// GET_TOPIC_CONFIG (351).
pub fn get(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GetTopicConfig>(&request) else {
        return;
    };
    let config = broker
        .view
        .state()
        .topics
        .get(&wanted.topic)
        .map(|topic| wire_topic(&topic.config));
    match config {
        Some(config) => answer_json(&request, &config),
        None => request.fail(
            response::TOPIC_NOT_EXIST,
            format!("No topic in this broker. topic: {}", wanted.topic),
        ),
    }
}

/// GET_ALL_TOPIC_CONFIG (21): everything in one answer, whatever page was asked for.
pub fn get_all(broker: &Arc<Broker>, request: Request) {
    let term = broker.gate.standing.leadership().term;
    let state = broker.view.state();
    let version = state.topics.version();
    let all = state.topics.sorted().into_iter().map(|topic| wire_topic(&topic.config));
    let wrapper = TopicConfigSerializeWrapper {
        data_version: DataVersion {
            counter: version.counter as i64,
            state_version: term.0 as i64,
            timestamp: version.time_ms,
        },
        mapping_data_version: Some(DataVersion::default()),
        topic_config_table: all.map(|config| (config.topic_name.clone(), config)).collect(),
        ..TopicConfigSerializeWrapper::default()
    };
    drop(state);
    answer_json(&request, &wrapper);
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER (305).
pub fn system_list(broker: &Arc<Broker>, request: Request) {
    let state = broker.view.state();
    let own = [&*broker.identity.cluster, &*broker.identity.broker];
    let is_system = |name: &str| topic::is_system(name) || own.contains(&name);
    let names = state
        .topics
        .sorted()
        .into_iter()
        .map(|topic| topic.config.name.to_string());
    let list = serde_json::json!({ "topicList": names.filter(|name| is_system(name)).collect::<Vec<_>>() });
    drop(state);
    answer_json(&request, &list);
}

/// One queue as tools see it.
pub(super) struct QueueNow {
    pub id: QueueId,
    pub min: QueueOffset,
    pub next: QueueOffset,
}

/// The readable and writable queues of a topic.
pub(super) fn queues_of(state: &State, name: &str) -> Option<Vec<QueueNow>> {
    let topic = state.topics.get(name)?;
    let configured = topic.config.queues() as usize;
    let queues = topic.queues.iter().take(configured).enumerate();
    Some(
        queues
            .map(|(id, queue)| QueueNow {
                id: (id as u32).into(),
                min: queue.min,
                next: queue.next,
            })
            .collect(),
    )
}

/// Store time of the message at an offset; 0 if there is none.
pub(super) async fn stored_ms(data: &DataPath, topic: &str, queue: QueueId, at: QueueOffset) -> i64 {
    let found = data.reader.queue(&data.view.state(), topic, queue);
    let Some(queue) = found else { return 0 };
    data.reader.stored_ms(&queue, at).await.ok().flatten().unwrap_or(0)
}

/// Store time of the message before an offset; 0 if there is none.
pub(super) async fn stored_before_ms(data: &DataPath, topic: &str, queue: &QueueNow, end: QueueOffset) -> i64 {
    match end.get().checked_sub(1) {
        Some(at) if at >= queue.min.get() && at < queue.next.get() => stored_ms(data, topic, queue.id, at.into()).await,
        _ => 0,
    }
}

/// GET_TOPIC_STATS_INFO (202): every queue is listed, empty ones too, because clients take a topic to exist then.
pub fn stats(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<TopicHeader>(&request) else {
        return;
    };
    let queues = queues_of(&broker.view.state(), &wanted.topic);
    let (Some(queues), Some(data)) = (queues, broker.data.get().cloned()) else {
        return request.fail(response::TOPIC_NOT_EXIST, format!("topic[{}] not exist", wanted.topic));
    };
    let asked = broker.clone();
    drop(broker.spawner.spawn("topic stats", async move {
        let mut table = TopicStatsTable::default();
        for queue in queues {
            let offset = TopicOffset {
                last_update_timestamp: stored_before_ms(&data, &wanted.topic, &queue, queue.next).await,
                max_offset: queue.next.to_wire(),
                min_offset: queue.min.to_wire(),
            };
            let name = MessageQueue::new(&*wanted.topic, &*asked.identity.broker, queue.id.to_wire());
            table.offset_table.insert(name.into(), offset);
        }
        table.topic_put_tps = asked.stats.tps(Kind::TopicPutNums, &wanted.topic);
        answer_json(&request, &table);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_change_as_rocketmq_writes_them() {
        let before: BTreeMap<String, String> = [("reserve.time".to_owned(), "1".to_owned())].into();
        let after = attributes(before.clone(), "+message.type=FIFO,-reserve.time").unwrap();
        assert_eq!(
            after.into_iter().collect::<Vec<_>>(),
            [("message.type".to_owned(), "FIFO".to_owned())]
        );
        for wrong in [
            "message.type=FIFO",
            "+message.type",
            "+message.type=ODD",
            "+cleanup.policy=COMPACTION",
        ] {
            assert!(attributes(before.clone(), wrong).is_err(), "{wrong}");
        }
    }
}
