//! Clients as administrators see them: connections, subscriptions, and questions passed on to one client.

use super::{answer_json, header};
use crate::broker::Broker;
use crate::clients::{Client, ConnectionId, PushError};
use crate::request::Request;
use mq_message::msg_id;
use mq_remoting::body::{
    self, Connection, ConsumerConnection, GetConsumerStatusBody, ProducerConnection, ProducerInfo, ProducerTableInfo,
    QuerySubscriptionResponseBody, SubscriptionData,
};
use mq_remoting::code::{request as code, response};
use mq_remoting::header::{
    ConsumeMessageDirectly, ConsumerGroupHeader, GetConsumerRunningInfo, GetConsumerStatus, GroupTopic,
    ProducerGroupHeader, ResetOffsetPush,
};
use mq_remoting::{Command, version};
use std::sync::Arc;
use std::time::Duration;

/// How long a client may take to answer a question that is passed on to it.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

fn connection(client: &Client) -> Connection {
    Connection {
        client_addr: client.address.to_string(),
        client_id: client.id.to_string(),
        language: client.language.to_string(),
        version: client.version,
    }
}

/// GET_CONSUMER_CONNECTION_LIST (203).
pub fn consumer_connections(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<ConsumerGroupHeader>(&request) else {
        return;
    };
    let clients = broker.clients.consumers(&wanted.consumer_group);
    let found = broker.clients.with(|registry| {
        registry
            .consumers(&wanted.consumer_group)
            .map(|group| ConsumerConnection {
                connection_set: clients.iter().map(|(_, client)| connection(client)).collect(),
                consume_from_where: group.consume_from_where,
                consume_type: group.consume_type,
                message_model: group.message_model,
                subscription_table: group
                    .subscriptions
                    .iter()
                    .map(|(topic, known)| (topic.to_string(), SubscriptionData::from(&**known)))
                    .collect(),
            })
    });
    match found {
        Some(found) => answer_json(&request, &found),
        None => {
            let remark = format!("the consumer group[{}] not online", wanted.consumer_group);
            request.fail(response::CONSUMER_NOT_ONLINE, remark);
        }
    }
}

/// GET_PRODUCER_CONNECTION_LIST (204).
pub fn producer_connections(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<ProducerGroupHeader>(&request) else {
        return;
    };
    let found = broker.clients.with(|registry| {
        let clients = registry.producers(&wanted.producer_group)?;
        Some(ProducerConnection {
            connection_set: clients.values().map(connection).collect(),
        })
    });
    match found {
        Some(found) => answer_json(&request, &found),
        None => {
            let remark = format!("the producer group[{}] not exist", wanted.producer_group);
            request.fail(response::SYSTEM_ERROR, remark);
        }
    }
}

/// GET_ALL_PRODUCER_INFO (328).
pub fn all_producers(broker: &Arc<Broker>, request: Request) {
    let info = |client: &Client| ProducerInfo {
        client_id: client.id.to_string(),
        language: client.language.to_string(),
        last_update_timestamp: client.heard_ms,
        remote_ip: client.address.to_string(),
        version: client.version,
    };
    let data = broker.clients.with(|registry| {
        registry
            .all_producers()
            .map(|(group, all)| (group.to_string(), all.values().map(info).collect()))
            .collect()
    });
    answer_json(&request, &ProducerTableInfo { data });
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
pub fn subscription(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GroupTopic>(&request) else {
        return;
    };
    let found = broker.clients.with(|registry| {
        let group = registry.consumers(&wanted.group)?;
        group
            .subscriptions
            .get(&*wanted.topic)
            .map(|known| SubscriptionData::from(&**known))
    });
    let answer = QuerySubscriptionResponseBody {
        group: wanted.group.to_string(),
        subscription_data: found,
        topic: wanted.topic.to_string(),
    };
    answer_json(&request, &answer);
}

/// GET_CONSUMER_RUNNING_INFO (307): passed on to the client.
pub fn running_info(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GetConsumerRunningInfo>(&request) else {
        return;
    };
    let body = request.command.body.clone();
    pass_on(broker, request, &wanted.consumer_group, &wanted.client_id, body);
}

/// CONSUME_MESSAGE_DIRECTLY (309): passed on to the client with the message as body.
pub fn consume_directly(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<ConsumeMessageDirectly>(&request) else {
        return;
    };
    let client_id = wanted.client_id.clone().unwrap_or_default();
    let place = wanted.msg_id.as_deref().and_then(|id| msg_id::parse_offset_id(id).ok());
    let (Some((_, offset)), Some(data)) = (place, broker.data.get().cloned()) else {
        return request.fail(response::SYSTEM_ERROR, "msgId is not an offset message id");
    };
    let asked = broker.clone();
    drop(broker.spawner.spawn("consume directly", async move {
        match data.reader.record_at(offset).await {
            Ok(Some(record)) => pass_on(&asked, request, &wanted.consumer_group, &client_id, record),
            Ok(None) => {
                request.fail(
                    response::SYSTEM_ERROR,
                    format!("can not find message by the offset, {offset}"),
                );
            }
            Err(error) => request.fail(response::SYSTEM_ERROR, error.to_string()),
        }
    }));
}

fn pass_on(broker: &Arc<Broker>, request: Request, group: &str, client_id: &str, body: bytes::Bytes) {
    let clients = broker.clients.consumers(group);
    let Some((to, client)) = clients.into_iter().find(|(_, client)| &*client.id == client_id) else {
        let remark = format!("The Consumer <{group}> <{client_id}> not online");
        return request.fail(response::SYSTEM_ERROR, remark);
    };
    let mut question = Command::bare_request(request.command.code).with_body(body);
    question.ext = request.command.ext.clone();
    question.format = request.command.format;
    let question = question.with_field("brokerName", &broker.identity.broker);
    let asked = broker.clone();
    drop(broker.spawner.spawn("ask a client", async move {
        match asked.ask_client(to, question, CLIENT_TIMEOUT).await {
            Ok(answer) => {
                let mut passed = Command::response(&request.command, answer.code).with_body(answer.body);
                passed.remark = answer.remark;
                request.answer(passed);
            }
            Err(PushError::TimedOut) => {
                let remark = format!("consumer <{}> Timeout: {}ms", client.id, CLIENT_TIMEOUT.as_millis());
                request.fail(response::CONSUME_MSG_TIMEOUT, remark);
            }
            Err(PushError::Gone) => {
                request.fail(response::SYSTEM_ERROR, format!("The Consumer <{}> is gone", client.id));
            }
        }
    }));
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): every client's own view of its offsets.
pub fn consumer_status(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<GetConsumerStatus>(&request) else {
        return;
    };
    let only = wanted
        .client_addr
        .as_deref()
        .filter(|addr| !addr.is_empty())
        .map(str::to_owned);
    let mut clients: Vec<(ConnectionId, Client)> = broker.clients.consumers(&wanted.group);
    clients.retain(|(_, client)| {
        only.as_deref()
            .is_none_or(|only| client.address.to_string() == only || *client.id == *only)
    });
    if clients.is_empty() {
        let remark = format!(
            "Consumer not online, so can not get the status, Group: {}",
            wanted.group
        );
        return request.fail(response::CONSUMER_NOT_ONLINE, remark);
    }
    let question = ResetOffsetPush {
        topic: wanted.topic,
        group: wanted.group,
        timestamp: 0,
        is_force: false,
    };
    let asked = broker.clone();
    drop(broker.spawner.spawn("ask clients", async move {
        let mut found = GetConsumerStatusBody::default();
        for (to, client) in clients {
            if client.version < version::V3_0_7_SNAPSHOT {
                continue;
            }
            let question = Command::request(code::GET_CONSUMER_STATUS_FROM_CLIENT, &question);
            // A client that does not answer is left out, as in RocketMQ.
            let Ok(answer) = asked.ask_client(to, question, CLIENT_TIMEOUT).await else {
                continue;
            };
            if let Ok(status) = body::from_slice::<GetConsumerStatusBody>(&answer.body) {
                found
                    .consumer_table
                    .insert(client.id.to_string(), status.message_queue_table);
            }
        }
        answer_json(&request, &found);
    }));
}
