//! Heartbeats, leaving, and the list of a consumer group's clients (in RocketMQ: `ClientManageProcessor` and
//! `ConsumerManageProcessor`).

use crate::broker::Broker;
use crate::clients::Registration;
use crate::forward::Leave;
use crate::request::Request;
use mq_message::TagFilter;
use mq_remoting::body::{self, CheckClientConfigBody, ConsumerIds, HeartbeatData};
use mq_remoting::code::response;
use mq_remoting::header::{ConsumerGroupHeader, HeartbeatResponse, UnregisterClient};
use mq_remoting::{ByteStr, Command};
use std::sync::Arc;

/// HEART_BEAT (34). Consumers send it to every member; each answers at once.
pub fn heartbeat(broker: &Arc<Broker>, request: Request) {
    let command = &request.command;
    let data: HeartbeatData = match body::from_slice(&command.body) {
        Ok(data) => data,
        Err(error) => return refuse(broker, &request, &error.to_string()),
    };
    let number = request.caller.connection().number;
    let language = command.language.name();
    let said = Registration::from_heartbeat(data, number, request.caller.remote(), language, command.version);
    if let Err(reason) = said.check(broker.settings().registrations_max) {
        return refuse(broker, &request, &reason);
    }
    broker.registered(said);
    // Constants: a client that uses heartbeat V2 then always sends its subscriptions along.
    let header = HeartbeatResponse {
        is_support_heart_beat_v2: true,
        is_sub_change: true,
    };
    request.answer(Command::response(command, response::SUCCESS).with_header(&header));
}

fn refuse(broker: &Broker, request: &Request, reason: &str) {
    broker.metrics.bad_heartbeats.inc();
    request.answer(Command::error(&request.command, response::SYSTEM_ERROR, reason));
}

/// UNREGISTER_CLIENT (35). Sent to every member at shutdown; repeats succeed.
pub fn unregister(broker: &Arc<Broker>, request: Request) {
    let header: UnregisterClient = match request.command.header() {
        Ok(header) => header,
        Err(error) => return request.fail(response::SYSTEM_ERROR, error.to_string()),
    };
    let name = |text: ByteStr| (!text.is_empty()).then(|| (&*text).into());
    broker.unregistered(Leave {
        connection: request.caller.connection().number,
        client_id: (&*header.client_id).into(),
        producer: header.producer_group.and_then(name),
        consumer: header.consumer_group.and_then(name),
    });
    request.answer(Command::response(&request.command, response::SUCCESS));
}

/// CHECK_CLIENT_CONFIG (46): clients ask before they start whether their filter will do.
pub fn check_config(_broker: &Arc<Broker>, request: Request) {
    let asked: CheckClientConfigBody = match body::from_slice(&request.command.body) {
        Ok(asked) => asked,
        Err(error) => return request.fail(response::SYSTEM_ERROR, error.to_string()),
    };
    let subscription = &asked.subscription_data;
    if !subscription.is_tag() {
        let remark = format!(
            "The broker does not support consumer to filter message by {}",
            subscription.expression_type
        );
        return request.fail(response::SYSTEM_ERROR, remark);
    }
    match TagFilter::parse(&subscription.sub_string) {
        Ok(_) => request.answer(Command::response(&request.command, response::SUCCESS)),
        Err(error) => request.fail(response::SUBSCRIPTION_PARSE_FAILED, error.to_string()),
    }
}

/// GET_CONSUMER_LIST_BY_GROUP (38). Nobody there is an error, not an empty list: clients keep what they have then.
pub fn consumer_list(broker: &Arc<Broker>, request: Request) {
    let header: ConsumerGroupHeader = match request.command.header() {
        Ok(header) => header,
        Err(error) => return request.fail(response::SYSTEM_ERROR, error.to_string()),
    };
    let asked = broker.clone();
    broker.spawner.spawn("consumer list", async move {
        match asked.consumer_ids(&header.consumer_group).await {
            Some(ids) => {
                let list = ConsumerIds {
                    consumer_id_list: ids.iter().map(|id| id.to_string()).collect(),
                };
                let answer = Command::response(&request.command, response::SUCCESS);
                request.answer(answer.with_body(body::to_fastjson(&list)));
            }
            None => {
                let remark = format!("no consumer for this group, {}", header.consumer_group);
                request.fail(response::SYSTEM_ERROR, remark);
            }
        }
    });
}
