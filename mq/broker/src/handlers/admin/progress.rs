//! How far consumer groups are.

use super::topics::{QueueNow, queues_of, stored_before_ms, stored_ms};
use super::{answer_json, header};
use crate::broker::Broker;
use crate::data_path::DataPath;
use crate::request::Request;
use crate::state::State;
use crate::stats::Kind;
use mq_base::env::clock;
use mq_remoting::body::{
    ConsumeStats, ConsumeStatsList, ConsumerOffsetTable, DelayOffsetTable, GroupList, MessageQueue, OffsetWrapper,
    QueryConsumeTimeSpanBody, QueueTimeSpan,
};
use mq_remoting::code::response;
use mq_remoting::header::{GetBrokerConsumeStats, GetConsumeStats, GroupHeader, GroupTopic, TopicHeader};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// GET_CONSUME_STATS (208): one topic, a list of topics, or all the group has offsets in.
pub fn consume_stats(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GetConsumeStats>(&request) else {
        return;
    };
    let Some(data) = broker.data.get().cloned() else {
        return request.fail(response::SYSTEM_ERROR, "starting");
    };
    let one = wanted
        .topic
        .as_deref()
        .filter(|topic| !topic.is_empty())
        .map(|topic| vec![topic.to_owned()]);
    let several = wanted.topic_list.as_deref().filter(|list| !list.is_empty());
    let topics = one.or_else(|| several.map(|list| list.split(';').map(str::to_owned).collect()));
    let topics = topics.unwrap_or_else(|| topics_of(&broker.view.state(), &wanted.consumer_group));
    let asked = broker.clone();
    drop(broker.spawner.spawn("consume stats", async move {
        answer_json(
            &request,
            &stats_of(&asked, &data, &wanted.consumer_group, &topics).await,
        );
    }));
}

fn topics_of(state: &State, group: &str) -> Vec<String> {
    state.offsets.topics_of(group).map(|topic| topic.to_string()).collect()
}

async fn stats_of(broker: &Broker, data: &DataPath, group: &str, topics: &[String]) -> ConsumeStats {
    let mut stats = ConsumeStats::default();
    for topic in topics.iter().filter(|topic| is_consumed(broker, group, topic)) {
        let queues = queues_with_offset(&broker.view.state(), group, topic);
        for (queue, consumed) in queues {
            let offset = OffsetWrapper {
                broker_offset: queue.next.to_wire(),
                consumer_offset: consumed,
                last_timestamp: stored_before_ms(data, topic, &queue, (consumed as u64).into()).await,
                pull_offset: consumed,
            };
            let name = MessageQueue::new(topic.as_str(), &*broker.identity.broker, queue.id.to_wire());
            stats.offset_table.insert(name.into(), offset);
        }
        stats.consume_tps += broker.stats.tps(Kind::GroupGetNums, &format!("{topic}@{group}"));
    }
    stats
}

/// A group whose clients are there but do not subscribe to a topic (any more) is not asked about it.
fn is_consumed(broker: &Broker, group: &str, topic: &str) -> bool {
    broker.clients.with(|registry| {
        registry
            .consumers(group)
            .is_none_or(|g| g.subscriptions.is_empty() || g.subscriptions.contains_key(topic))
    })
}

/// Queues of a topic with the group's offset; 0 where it has none.
fn queues_with_offset(state: &State, group: &str, topic: &str) -> Vec<(QueueNow, i64)> {
    let queues = queues_of(state, topic).unwrap_or_default();
    let offset = |queue: &QueueNow| {
        state
            .offsets
            .get(group, topic, queue.id)
            .map_or(0, |offset| offset.to_wire())
    };
    queues
        .into_iter()
        .map(|queue| {
            let offset = offset(&queue);
            (queue, offset)
        })
        .collect()
}

/// GET_BROKER_CONSUME_STATS (317): all groups of this broker.
pub fn all_consume_stats(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GetBrokerConsumeStats>(&request) else {
        return;
    };
    let Some(data) = broker.data.get().cloned() else {
        return request.fail(response::SYSTEM_ERROR, "starting");
    };
    let asked = broker.clone();
    drop(broker.spawner.spawn("consume stats", async move {
        let state = asked.view.snapshot();
        let groups: Vec<String> = state.groups.iter().map(|group| group.name.to_string()).collect();
        let mut list = ConsumeStatsList {
            broker_addr: asked.identity.client_addr.clone(),
            ..Default::default()
        };
        for group in groups {
            let mut of_group = Vec::new();
            for topic in topics_of(&state, &group) {
                if state
                    .topics
                    .get(&topic)
                    .is_none_or(|t| wanted.is_order && !t.config.order)
                {
                    continue;
                }
                let stats = stats_of(&asked, &data, &group, std::slice::from_ref(&topic)).await;
                list.total_diff += stats
                    .offset_table
                    .values()
                    .map(|o| o.broker_offset - o.consumer_offset)
                    .sum::<i64>();
                of_group.push(stats);
            }
            if !of_group.is_empty() {
                list.consume_stats_list.push(BTreeMap::from([(group, of_group)]));
            }
        }
        answer_json(&request, &list);
    }));
}

/// QUERY_TOPIC_CONSUME_BY_WHO (300): groups that subscribe to the topic now or have an offset in it.
pub fn groups_of_topic(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<TopicHeader>(&request) else {
        return;
    };
    let stored = broker
        .view
        .state()
        .offsets
        .groups_of(&wanted.topic)
        .map(|group| group.to_string())
        .collect::<Vec<_>>();
    let mut groups: BTreeSet<String> = broker.clients.with(|registry| {
        let subscribed = registry
            .all_consumers()
            .filter(|(_, group)| group.subscriptions.contains_key(&*wanted.topic));
        subscribed.map(|(name, _)| name.to_string()).collect()
    });
    groups.extend(stored);
    answer_json(
        &request,
        &GroupList {
            group_list: groups.into_iter().collect(),
        },
    );
}

/// QUERY_TOPICS_BY_CONSUMER (343).
pub fn topics_of_group(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GroupHeader>(&request) else {
        return;
    };
    let topics = topics_of(&broker.view.state(), &wanted.group);
    answer_json(&request, &serde_json::json!({ "topicList": topics }));
}

/// QUERY_CONSUME_TIME_SPAN (303).
pub fn time_span(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GroupTopic>(&request) else {
        return;
    };
    let Some(data) = broker.data.get().cloned() else {
        return request.fail(response::SYSTEM_ERROR, "starting");
    };
    if broker.view.state().topics.get(&wanted.topic).is_none() {
        return request.fail(response::TOPIC_NOT_EXIST, format!("topic[{}] not exist", wanted.topic));
    }
    let asked = broker.clone();
    drop(broker.spawner.spawn("time span", async move {
        let mut spans = Vec::new();
        let queues = queues_with_offset(&asked.view.state(), &wanted.group, &wanted.topic);
        for (queue, consumed) in queues {
            spans.push(span_of(&asked, &data, &wanted.topic, &queue, consumed as u64).await);
        }
        answer_json(
            &request,
            &QueryConsumeTimeSpanBody {
                consume_time_span_set: spans,
            },
        );
    }));
}

async fn span_of(broker: &Broker, data: &DataPath, topic: &str, queue: &QueueNow, consumed: u64) -> QueueTimeSpan {
    let has_messages = queue.min < queue.next;
    let min = if has_messages {
        stored_ms(data, topic, queue.id, queue.min).await
    } else {
        0
    };
    let next_ms = if consumed < queue.next.get() {
        stored_ms(data, topic, queue.id, consumed.into()).await
    } else {
        0
    };
    QueueTimeSpan {
        consume_time_stamp: match stored_before_ms(data, topic, queue, consumed.into()).await {
            0 => min,
            consumed => consumed,
        },
        delay_time: if next_ms > 0 {
            (clock::wall_ms() - next_ms).max(0)
        } else {
            0
        },
        max_time_stamp: stored_before_ms(data, topic, queue, queue.next).await,
        message_queue: MessageQueue::new(topic, &*broker.identity.broker, queue.id.to_wire()),
        min_time_stamp: min,
    }
}

/// GET_ALL_CONSUMER_OFFSET (43): the text RocketMQ keeps in `consumerOffset.json`.
pub fn all_offsets(broker: &Arc<Broker>, request: Request) {
    let mut table = ConsumerOffsetTable::default();
    for (key, queue, offset) in broker.view.state().offsets.iter() {
        let key = format!("{}@{}", key.topic, key.group);
        table
            .offset_table
            .entry(key)
            .or_default()
            .insert(queue.to_wire(), offset.to_wire());
    }
    answer_json(&request, &table);
}

/// GET_ALL_DELAY_OFFSET (45): the text RocketMQ keeps in `delayOffset.json`.
pub fn all_delay_offsets(broker: &Arc<Broker>, request: Request) {
    let state = broker.view.state();
    let progress = state.schedule.progress().iter().enumerate();
    let offset_table = progress
        .map(|(index, offset)| (index as i32 + 1, offset.to_wire()))
        .collect();
    drop(state);
    answer_json(
        &request,
        &DelayOffsetTable {
            data_version: None,
            offset_table,
        },
    );
}
