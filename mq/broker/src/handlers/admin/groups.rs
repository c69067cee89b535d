//! Consumer groups: create, change, delete, list.

use super::{answer_json, answer_when_done, body, header, success};
use crate::ask::{Ask, Refusal, Reply, UpsertGroup};
use crate::broker::Broker;
use crate::request::Request;
use crate::state::{GroupConfig, TopicConfig};
use mq_message::topic;
use mq_remoting::body::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupWrapper};
use mq_remoting::code::response;
use mq_remoting::header::{CloneGroupOffset, DeleteSubscriptionGroup, GroupHeader};
use std::sync::Arc;

/// Most groups of one UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST.
const GROUPS_AT_ONCE_MAX: usize = 1_024;

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200).
pub fn upsert(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = body::<SubscriptionGroupConfig>(&request) else {
        return;
    };
    match checked(broker, &wanted) {
        Ok(wanted) => broker.ask(Ask::UpsertGroup(wanted, answer_when_done(request))),
        Err(refusal) => request.refuse(&refusal),
    }
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225): all are checked before the first is created.
pub fn upsert_list(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = body::<SubscriptionGroupList>(&request) else {
        return;
    };
    if wanted.group_config_list.len() > GROUPS_AT_ONCE_MAX {
        return request.fail(
            response::INVALID_PARAMETER,
            format!("at most {GROUPS_AT_ONCE_MAX} groups at once"),
        );
    }
    let checked: Result<Vec<_>, _> = wanted
        .group_config_list
        .iter()
        .map(|config| checked(broker, config))
        .collect();
    let mut all = match checked {
        Ok(all) => all,
        Err(refusal) => return request.refuse(&refusal),
    };
    let Some(last) = all.pop() else {
        return success(&request);
    };
    for wanted in all {
        broker.ask(Ask::UpsertGroup(wanted, Reply::none()));
    }
    broker.ask(Ask::UpsertGroup(last, answer_when_done(request)));
}

fn checked(broker: &Broker, wire: &SubscriptionGroupConfig) -> Result<UpsertGroup, Refusal> {
    topic::check_group(&wire.group_name).map_err(|error| Refusal::Invalid(error.to_string()))?;
    let number = |n: i64, name: &str| u32::try_from(n).map_err(|_| Refusal::Invalid(format!("{name} must not be {n}")));
    let state = broker.view.state();
    if state.groups.get(&wire.group_name).is_none() && state.groups.len() >= broker.settings().groups_max {
        return Err(Refusal::Invalid(format!(
            "there are {} groups already (maxGroups)",
            state.groups.len()
        )));
    }
    drop(state);
    let mut config = GroupConfig::new(wire.group_name.as_str());
    config.consume_enable = wire.consume_enable;
    config.consume_from_min_enable = wire.consume_from_min_enable;
    config.consume_broadcast_enable = wire.consume_broadcast_enable;
    config.consume_message_orderly = wire.consume_message_orderly;
    config.retry_queues = number(wire.retry_queue_nums.into(), "retryQueueNums")?;
    config.retry_max_times = wire.retry_max_times;
    config.broker_id = number(wire.broker_id, "brokerId")?.into();
    config.which_broker_when_consume_slowly =
        number(wire.which_broker_when_consume_slowly, "whichBrokerWhenConsumeSlowly")?.into();
    config.notify_consumer_ids_changed_enable = wire.notify_consumer_ids_changed_enable;
    config.group_sys_flag = wire.group_sys_flag;
    config.consume_timeout_minutes = wire.consume_timeout_minute;
    config.attributes = wire.attributes.clone();
    let retry = (config.retry_queues > 0)
        .then(|| Box::new(TopicConfig::new(topic::retry(&wire.group_name), config.retry_queues)));
    Ok(UpsertGroup {
        config,
        only_if_absent: false,
        retry_topic: retry,
    })
}

/// DELETE_SUBSCRIPTIONGROUP (207).
pub fn delete(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<DeleteSubscriptionGroup>(&request) else {
        return;
    };
    broker.stats.forget(&wanted.group_name);
    let group = (&*wanted.group_name).into();
    let clean_offsets = wanted.clean_offset;
    broker.ask(Ask::DeleteGroup {
        group,
        clean_offsets,
        reply: answer_when_done(request),
    });
}

/// GET_SUBSCRIPTIONGROUP_CONFIG (352).
pub fn get(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GroupHeader>(&request) else {
        return;
    };
    let config = broker.view.state().groups.get(&wanted.group).map(wire_group);
    match config {
        Some(config) => answer_json(&request, &config),
        None => {
            let remark = format!("No group in this broker. group: {}", wanted.group);
            request.fail(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark);
        }
    }
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201): everything in one answer; the dashboard asks without a header.
pub fn get_all(broker: &Arc<Broker>, request: Request) {
    let term = broker.gate.standing.leadership().term;
    let state = broker.view.state();
    let version = state.groups.version();
    let wrapper = SubscriptionGroupWrapper {
        data_version: DataVersion {
            counter: version.counter as i64,
            state_version: term.0 as i64,
            timestamp: version.time_ms,
        },
        forbidden_table: Default::default(),
        subscription_group_table: state
            .groups
            .iter()
            .map(|config| (config.name.to_string(), wire_group(config)))
            .collect(),
    };
    drop(state);
    answer_json(&request, &wrapper);
}

/// CLONE_GROUP_OFFSET (314).
pub fn clone_offsets(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<CloneGroupOffset>(&request) else {
        return;
    };
    broker.ask(Ask::CloneOffsets {
        from: (&*wanted.src_group).into(),
        to: (&*wanted.dest_group).into(),
        topic: wanted
            .topic
            .filter(|topic| !topic.is_empty())
            .map(|topic| (&*topic).into()),
        reply: answer_when_done(request),
    });
}

fn wire_group(config: &GroupConfig) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        attributes: config.attributes.clone(),
        broker_id: config.broker_id as i64,
        consume_broadcast_enable: config.consume_broadcast_enable,
        consume_enable: config.consume_enable,
        consume_from_min_enable: config.consume_from_min_enable,
        consume_message_orderly: config.consume_message_orderly,
        consume_timeout_minute: config.consume_timeout_minutes,
        group_name: config.name.to_string(),
        group_retry_policy: Some(Default::default()),
        group_sys_flag: config.group_sys_flag,
        notify_consumer_ids_changed_enable: config.notify_consumer_ids_changed_enable,
        retry_max_times: config.retry_max_times,
        retry_queue_nums: config.retry_queues as i32,
        subscription_data_set: None,
        which_broker_when_consume_slowly: config.which_broker_when_consume_slowly as i64,
    }
}
