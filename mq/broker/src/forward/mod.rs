//! Forwarding between members (ADR 008): a client that reaches a follower is served.
//!
//! A leader-only request that arrives at a member that does not lead is sent to the leader with the client's frame
//! untouched, and the leader's answer goes back the same way. During an election the request waits, for as long as its
//! client will bear it and as far as there is room. A request that was certainly not served is simply tried again; one that
//! *may* have been applied is tried again only with the new leader, marked `retried`, so that sends are deduplicated.
//!
//! Start with [`Forwarding::forward`]; what travels is in `envelope.rs`, who answers in `caller.rs`.

mod caller;
mod envelope;
mod peers;

pub use caller::{Local, Remote};
pub use envelope::{Leave, PeerMessage, Pushed, Report, Serve, Served};
pub use peers::Peers;

use crate::ask::Refusal;
use crate::broker::{Broker, Leader, leader_in};
use crate::handlers::ask_again;
use crate::request::Request;
use crate::{dispatch, outcome};
use bytes::Bytes;
use mq_base::env::clock::{self, Instant};
use mq_raft::CallError;
use mq_remoting::Command;
use mq_remoting::code::{request as code, response};
use mq_store::{NodeId, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::unconstrained;

/// What a waiting request costs besides its frame: its task and its place in tables.
const REQUEST_BYTES: usize = 1_024;
/// Pause before asking again a member that others call the leader but that is not ready.
const NOT_READY_PAUSE: Duration = Duration::from_millis(5);
/// How long a leader that stays leader may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for pulls, which the leader may hold for up to 30 s.
const PULL_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Lock requests wait for a leader so long: their clients give up after 1 s.
const LOCK_HOLD: Duration = Duration::from_millis(800);
/// Other requests wait so long: most clients give up after 3 s.
const OTHER_HOLD: Duration = Duration::from_secs(2);

/// Requests on their way to the leader.
#[derive(Default)]
pub struct Forwarding {
    bytes: AtomicUsize,
    /// Requests forwarded since the start.
    pub forwarded: AtomicU64,
    /// Requests that had to wait for a leader.
    pub held: AtomicU64,
    /// Requests tried again after their outcome was unknown.
    pub retried: AtomicU64,
    /// Requests refused because no leader appeared in time.
    pub expired: AtomicU64,
    /// Requests refused because too many bytes were waiting.
    pub overloaded: AtomicU64,
    /// This member is about to stop: pulls that the leader holds are given back to their clients.
    ending: watch::Sender<bool>,
}

/// Bytes of a waiting request. Given back however its task ends.
struct Waiting {
    broker: Arc<Broker>,
    bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.broker.forwarding.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// How one attempt at the leader ended.
enum Attempt {
    Answered(Command),
    Taken,
    /// Certainly not served.
    NotServed,
    /// May have been applied.
    Lost,
}

impl Forwarding {
    /// Gives pulls that the leader holds back to their clients, now and from now on.
    pub(crate) fn end_pulls(&self) {
        self.ending.send_replace(true);
    }

    /// Bytes waiting now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Serves a leader-only request that arrived while this member does not lead: waits for the leader, asks it, answers.
    pub fn forward(broker: &Arc<Broker>, mut request: Request) {
        let settings = broker.settings();
        let frame = frame_of(&request.command);
        let size = frame.len() + REQUEST_BYTES;
        let before = broker.forwarding.bytes.fetch_add(size, Relaxed);
        let waiting = Waiting {
            broker: broker.clone(),
            bytes: size,
        };
        if before + size > settings.forward_bytes_max {
            broker.forwarding.overloaded.fetch_add(1, Relaxed);
            let remark = "[OVERLOAD]system busy, start flow control for a while";
            return request.answer(Command::error(&request.command, response::SYSTEM_BUSY, remark));
        }
        request.retried |= broker.pulse.was_frozen();
        let again = request.until.is_some();
        let now = clock::now();
        let deadline = request
            .until
            .unwrap_or(now + hold(request.command.code, settings.election_hold_ms));
        request.until = Some(deadline);
        // Not cut short by the budget of the task it is first polled in, see below.
        let mut work = Box::pin(unconstrained(async move {
            if again && now < deadline {
                // Leadership is in doubt here: give the news a moment to arrive.
                pause(&waiting.broker).await;
            }
            serve(&waiting.broker, request, frame, deadline).await;
        }));
        // The first step is taken here and now, which hands the request to the connection between the members: requests of
        // one client reach the leader in the order in which they came.
        let first = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if first.is_pending() {
            drop(broker.spawner.spawn("forward", work));
        }
    }
}

async fn serve(broker: &Arc<Broker>, mut request: Request, frame: Bytes, deadline: Instant) {
    let mut waited = false;
    loop {
        if clock::now() >= deadline {
            return expire(broker, &request);
        }
        let leader = match broker.gate.standing.leader(broker.own_id()) {
            Leader::Unknown => {
                if !std::mem::replace(&mut waited, true) {
                    broker.forwarding.held.fetch_add(1, Relaxed);
                }
                match wait_for_leader(broker, deadline).await {
                    Some(leader) => leader,
                    None => return expire(broker, &request),
                }
            }
            known => known,
        };
        let Leader::There { node, term } = leader else {
            return dispatch::serve_here(broker, request);
        };
        broker.forwarding.forwarded.fetch_add(1, Relaxed);
        let mut ending = broker.forwarding.ending.subscribe();
        let attempt = tokio::select! { biased;
            attempt = attempt(broker, node, term, &request, &frame) => attempt,
            _ = ending.wait_for(|ending| *ending), if is_pull(&request) => return request.answer(ask_again(&request)),
        };
        match attempt {
            Attempt::Answered(answer) => return request.answer(answer),
            Attempt::Taken => return,
            Attempt::NotServed => {}
            Attempt::Lost => {
                broker.forwarding.retried.fetch_add(1, Relaxed);
                request.retried = true;
            }
        }
        pause(broker).await; // the member asked is not (yet, or any more) the leader
    }
}

/// A short pause that a change of leadership ends early.
async fn pause(broker: &Broker) {
    let mut changes = broker.gate.standing.watch();
    let _ = clock::timeout(NOT_READY_PAUSE, changes.changed()).await;
}

async fn wait_for_leader(broker: &Broker, deadline: Instant) -> Option<Leader> {
    let mut watch = broker.gate.standing.watch();
    let own = || broker.own_id();
    let known = watch.wait_for(|leadership| leader_in(leadership, own()) != Leader::Unknown);
    let left = deadline.saturating_duration_since(clock::now());
    let leadership = clock::timeout(left, known).await.ok()?.ok()?;
    Some(leader_in(&leadership, own()))
}

/// Asks one member once. Gives up on it as soon as another term begins, because then its answer may never come.
async fn attempt(broker: &Broker, node: NodeId, term: Term, request: &Request, frame: &Bytes) -> Attempt {
    let Some(group) = broker.group() else {
        return Attempt::NotServed;
    };
    let message = PeerMessage::Serve(Serve {
        term,
        connection: request.caller.connection().number,
        address: request.caller.remote(),
        retried: request.retried,
        frame: frame.clone(),
    });
    let timeout = if is_pull(request) {
        PULL_ANSWER_TIMEOUT
    } else {
        ANSWER_TIMEOUT
    };
    let mut watch = broker.gate.standing.watch();
    let deposed = watch.wait_for(|leadership| leadership.term != term || leadership.leader != Some(node));
    let answer = tokio::select! { biased;
        answer = group.call(node, message.encode(), timeout) => answer,
        _ = deposed => Err(CallError::Lost(node)),
    };
    match answer.as_ref().map(Served::decode) {
        Ok(Ok(Served::Answer(answer))) => match mq_remoting::frame::decode_frame(answer) {
            Ok(mut answer) => {
                answer.opaque = request.command.opaque;
                Attempt::Answered(answer)
            }
            Err(_) => Attempt::Lost,
        },
        Ok(Ok(Served::Taken)) => Attempt::Taken,
        Ok(Ok(Served::NotLeader)) => Attempt::NotServed,
        Ok(Ok(Served::Unknown)) | Ok(Err(_)) => Attempt::Lost,
        Err(CallError::Unreachable(_) | CallError::Busy(_)) => Attempt::NotServed,
        Err(CallError::Lost(_) | CallError::TimedOut(_)) => Attempt::Lost,
    }
}

/// No leader in time. A code that clients try again; never 21, never part of an answer.
fn expire(broker: &Broker, request: &Request) {
    broker.forwarding.expired.fetch_add(1, Relaxed);
    if is_pull(request) {
        return request.answer(ask_again(request));
    }
    let remark = "the broker group has no leader at the moment";
    request.answer(Command::error(
        &request.command,
        no_leader_code(request.command.code),
        remark,
    ));
}

fn is_pull(request: &Request) -> bool {
    matches!(request.command.code, code::PULL_MESSAGE | code::LITE_PULL_MESSAGE)
}

fn no_leader_code(request: i32) -> i32 {
    match request {
        code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE | code::CONSUMER_SEND_MSG_BACK => {
            outcome::code(&Refusal::NotLeader)
        }
        _ => response::SYSTEM_BUSY,
    }
}

/// How long a request waits for a leader.
fn hold(request: i32, send_ms: u64) -> Duration {
    match request {
        code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => Duration::from_millis(send_ms),
        code::LOCK_BATCH_MQ | code::UNLOCK_BATCH_MQ => LOCK_HOLD,
        _ => OTHER_HOLD,
    }
}

fn frame_of(command: &Command) -> Bytes {
    command.frame().cloned().unwrap_or_else(|| command.encode())
}
