//! The table of requests: code, where it is served, handler. One row each.

use crate::broker::Broker;
use crate::forward::Forwarding;
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

use Place::{Here, Leader};

/// All requests this broker serves. Any other code is answered with 3.
pub static TABLE: &[Row] = &[
    row(code::HEART_BEAT, Here, client::heartbeat),
    row(code::UNREGISTER_CLIENT, Here, client::unregister),
    row(code::CHECK_CLIENT_CONFIG, Here, client::check_config),
    row(code::GET_CONSUMER_LIST_BY_GROUP, Leader, client::consumer_list),
];

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
