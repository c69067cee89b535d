//! What this member does with messages of other members.

use super::{PeerMessage, Remote, Serve, Served};
use crate::broker::Broker;
use crate::dispatch;
use crate::request::Request;
use bytes::Bytes;
use mq_base::env::bug::{self, Bug};
use mq_base::env::clock;
use mq_raft::PeerService;
use mq_remoting::frame::decode_frame;
use mq_store::NodeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Longest a member may make another wait for a client's answer.
const PUSH_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Serves messages of other members.
pub struct Peers(Weak<Broker>);

impl Peers {
    /// For this broker.
    pub fn new(broker: &Arc<Broker>) -> Peers {
        Peers(Arc::downgrade(broker))
    }
}

type Answer = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

fn at_once(answer: Option<Bytes>) -> Answer {
    Box::pin(std::future::ready(answer))
}

impl PeerService for Peers {
    fn handle(&self, from: NodeId, message: Bytes) -> Answer {
        let Some(broker) = self.0.upgrade() else {
            return at_once(None);
        };
        let message = match PeerMessage::decode(&message) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(member = from.0, %error, "message of another member");
                return at_once(None);
            }
        };
        match message {
            PeerMessage::Serve(wanted) => serve(&broker, from, wanted),
            PeerMessage::Push {
                connection,
                timeout_ms,
                frame,
            } => {
                let Ok(request) = decode_frame(frame) else {
                    return at_once(None);
                };
                let timeout = Duration::from_millis(timeout_ms).min(PUSH_TIMEOUT_MAX);
                Box::pin(async move { Some(broker.push(connection, timeout, request).await.encode()) })
            }
            PeerMessage::Leaving => {
                broker.leaving.lock().insert(from, clock::now());
                at_once(None)
            }
            // Only a leader takes a report; the empty answer says that it did.
            PeerMessage::Report(_) if !broker.leads() => at_once(Some(Served::NotLeader.encode())),
            PeerMessage::Report(report) => at_once(Some(broker.reported(from, report))),
            told => {
                broker.told(from, told);
                at_once(Some(Bytes::new()))
            }
        }
    }
}

/// Serves a request that another member forwarded, as if its client were connected here. Only under the leadership that it
/// was meant for: a copy that comes later may have been repeated elsewhere, and overtaken.
fn serve(broker: &Arc<Broker>, from: NodeId, wanted: Serve) -> Answer {
    let Some(group) = broker.group().filter(|_| broker.leads()) else {
        return at_once(Some(Served::NotLeader.encode()));
    };
    let term = match bug::is_back(Bug::LateFrame) {
        true => broker.gate.standing.leadership().term,
        false => wanted.term,
    };
    let served = group.during(term, || serve_now(broker, from, wanted));
    served.unwrap_or_else(|| at_once(Some(Served::NotLeader.encode())))
}

fn serve_now(broker: &Arc<Broker>, from: NodeId, wanted: Serve) -> Answer {
    let Ok(command) = decode_frame(wanted.frame) else {
        return at_once(None);
    };
    let oneway = command.is_oneway();
    let (caller, answer) = Remote::new(from, wanted.connection, wanted.address);
    let mut request = Request::new(command, Arc::new(caller));
    request.retried = wanted.retried;
    dispatch::serve_here(broker, request);
    if oneway {
        return at_once(Some(Served::Taken.encode()));
    }
    // A handler that dropped the request without an answer may or may not have done its work.
    Box::pin(async move { Some(answer.await.unwrap_or(Served::Unknown).encode()) })
}
