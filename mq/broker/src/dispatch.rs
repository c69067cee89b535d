//! The table of requests: code, where it is served, handler. One row each.

use crate::ask::Refusal;
use crate::broker::Broker;
use crate::forward::Forwarding;
use crate::handlers::admin::{broker as own, consumers, groups, progress, raft, topics};
use crate::handlers::client;
use crate::request::Request;
use mq_remoting::Command;
use mq_remoting::code::{request as code, response};
use std::sync::{Arc, LazyLock};

/// A handler decodes, calls one thing, encodes. It answers when it likes, and exactly once unless the request is one-way.
pub type Handler = fn(&Arc<Broker>, Request);

/// Which member serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The member that received it, whatever its role.
    Here,
    /// The leader; others forward it.
    Leader,
    /// The leader, or a follower that may serve reads (`slaveReadEnable`).
    Reader,
}

/// One kind of request.
pub struct Row {
    /// Request code.
    pub code: i32,
    /// Where it is served.
    pub place: Place,
    /// By what.
    pub handler: Handler,
}

const fn row(code: i32, place: Place, handler: Handler) -> Row {
    Row { code, place, handler }
}

use Place::{Here, Leader, Reader};

/// All requests this broker serves. Any other code is answered with 3.
pub static TABLE: &[Row] = &[
    row(code::SEND_MESSAGE, Leader, data),
    row(code::SEND_MESSAGE_V2, Leader, data),
    row(code::SEND_BATCH_MESSAGE, Leader, data),
    row(code::PULL_MESSAGE, Reader, data),
    row(code::LITE_PULL_MESSAGE, Reader, data),
    row(code::QUERY_CONSUMER_OFFSET, Leader, data),
    row(code::UPDATE_CONSUMER_OFFSET, Leader, data),
    row(code::SEARCH_OFFSET_BY_TIMESTAMP, Leader, data),
    row(code::GET_MAX_OFFSET, Leader, data),
    row(code::GET_MIN_OFFSET, Leader, data),
    row(code::GET_EARLIEST_MSG_STORETIME, Leader, data),
    row(code::END_TRANSACTION, Leader, data),
    row(code::CONSUMER_SEND_MSG_BACK, Leader, data),
    row(code::LOCK_BATCH_MQ, Leader, data),
    row(code::UNLOCK_BATCH_MQ, Leader, data),
    row(code::VIEW_MESSAGE_BY_ID, Leader, data),
    row(code::QUERY_MESSAGE, Leader, data),
    row(code::OPEN_PRODUCER, Leader, data),
    row(code::ATOMIC_BATCH, Leader, data),
    row(code::HEART_BEAT, Here, client::heartbeat),
    row(code::UNREGISTER_CLIENT, Here, client::unregister),
    row(code::CHECK_CLIENT_CONFIG, Here, client::check_config),
    row(code::GET_CONSUMER_LIST_BY_GROUP, Leader, client::consumer_list),
    row(code::UPDATE_AND_CREATE_TOPIC, Leader, topics::upsert),
    row(code::UPDATE_AND_CREATE_TOPIC_LIST, Leader, topics::upsert_list),
    row(code::DELETE_TOPIC_IN_BROKER, Leader, topics::delete),
    row(code::GET_TOPIC_CONFIG, Leader, topics::get),
    row(code::GET_ALL_TOPIC_CONFIG, Leader, topics::get_all),
    row(code::GET_TOPIC_STATS_INFO, Leader, topics::stats),
    row(code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, Here, topics::system_list),
    row(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, Leader, groups::upsert),
    row(
        code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
        Leader,
        groups::upsert_list,
    ),
    row(code::DELETE_SUBSCRIPTIONGROUP, Leader, groups::delete),
    row(code::GET_SUBSCRIPTIONGROUP_CONFIG, Leader, groups::get),
    row(code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, Leader, groups::get_all),
    row(code::CLONE_GROUP_OFFSET, Leader, groups::clone_offsets),
    row(
        code::GET_CONSUMER_CONNECTION_LIST,
        Leader,
        consumers::consumer_connections,
    ),
    row(
        code::GET_PRODUCER_CONNECTION_LIST,
        Leader,
        consumers::producer_connections,
    ),
    row(code::GET_ALL_PRODUCER_INFO, Leader, consumers::all_producers),
    row(code::QUERY_SUBSCRIPTION_BY_CONSUMER, Leader, consumers::subscription),
    row(code::GET_CONSUMER_RUNNING_INFO, Leader, consumers::running_info),
    row(code::CONSUME_MESSAGE_DIRECTLY, Leader, consumers::consume_directly),
    row(
        code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
        Leader,
        consumers::consumer_status,
    ),
    row(code::INVOKE_BROKER_TO_RESET_OFFSET, Leader, data),
    row(code::GET_CONSUME_STATS, Leader, progress::consume_stats),
    row(code::GET_BROKER_CONSUME_STATS, Leader, progress::all_consume_stats),
    row(code::QUERY_TOPIC_CONSUME_BY_WHO, Leader, progress::groups_of_topic),
    row(code::QUERY_TOPICS_BY_CONSUMER, Leader, progress::topics_of_group),
    row(code::QUERY_CONSUME_TIME_SPAN, Leader, progress::time_span),
    row(code::GET_ALL_CONSUMER_OFFSET, Leader, progress::all_offsets),
    row(code::GET_ALL_DELAY_OFFSET, Leader, progress::all_delay_offsets),
    row(code::GET_BROKER_RUNTIME_INFO, Here, own::runtime_info),
    row(code::GET_BROKER_CONFIG, Here, own::config),
    row(code::UPDATE_BROKER_CONFIG, Here, own::update_config),
    row(code::VIEW_BROKER_STATS_DATA, Here, own::view_stats),
    row(code::CLEAN_EXPIRED_CONSUMEQUEUE, Here, own::cleaned),
    row(code::CLEAN_UNUSED_TOPIC, Here, own::cleaned),
    row(code::DELETE_EXPIRED_COMMITLOG, Here, own::cleaned),
    row(code::RAFT_STATUS, Here, raft::status),
    row(code::TRANSFER_LEADER, Leader, raft::transfer_leader),
    row(code::ADD_MEMBER, Leader, raft::add_member),
    row(code::REMOVE_MEMBER, Leader, raft::remove_member),
];

/// Requests that store, read or move messages and offsets.
fn data(broker: &Arc<Broker>, request: Request) {
    match broker.data.get() {
        Some(data) => {
            if let Err(request) = data.serve(request) {
                unknown(broker, &request);
            }
        }
        None => request.refuse(&Refusal::NotLeader),
    }
}

/// Codes below this are found by index.
const DIRECT: usize = 1_024;

static INDEX: LazyLock<Box<[Option<&'static Row>]>> = LazyLock::new(|| {
    let mut index = vec![None; DIRECT];
    for row in TABLE {
        if let Some(slot) = usize::try_from(row.code).ok().and_then(|code| index.get_mut(code)) {
            *slot = Some(row);
        }
    }
    index.into_boxed_slice()
});

/// The row of a code.
pub fn find(code: i32) -> Option<&'static Row> {
    match usize::try_from(code) {
        Ok(small) if small < DIRECT => INDEX[small],
        _ => TABLE.iter().find(|row| row.code == code),
    }
}

/// Serves a request that arrived on a connection of this member.
pub fn dispatch(broker: &Arc<Broker>, request: Request) {
    let Some(row) = find(request.command.code) else {
        return unknown(broker, &request);
    };
    broker.metrics.requests.count(row.code);
    let here = match row.place {
        Place::Here => true,
        Place::Leader => broker.leads(),
        Place::Reader => broker.leads() || broker.reads_here(),
    };
    if here {
        (row.handler)(broker, request);
    } else {
        Forwarding::forward(broker, request);
    }
}

/// Serves a request on this member, which leads or at least was told so: one that was forwarded, or waited.
pub fn serve_here(broker: &Arc<Broker>, request: Request) {
    match find(request.command.code) {
        Some(row) => (row.handler)(broker, request),
        None => unknown(broker, &request),
    }
}

fn unknown(broker: &Broker, request: &Request) {
    broker.metrics.unknown_codes.inc();
    let remark = format!(" request type {} not supported", request.command.code);
    request.answer(Command::error(
        &request.command,
        response::REQUEST_CODE_NOT_SUPPORTED,
        remark,
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_row() {
        for (n, row) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..n].iter().all(|other| other.code != row.code),
                "{} is there twice",
                row.code
            );
            assert!(std::ptr::eq(find(row.code).unwrap(), row));
        }
        assert!(find(-1).is_none() && find(99_999).is_none());
    }
}
