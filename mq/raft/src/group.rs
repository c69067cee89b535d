//! A running member of a broker group, as the broker sees it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mq_base::env::disk::Disk;
use mq_base::env::{clock, task};
use mq_base::stop::StopSource;
use mq_store::{Log, LogId, NodeId, Term, promise};
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::application::{Application, Decide};
use crate::bootstrap::Admission;
use crate::config::GroupConfig;
use crate::peer::channel::AskError;
use crate::peer::incoming::Incoming;
use crate::peer::message::Ask;
use crate::peer::network::Network;
use crate::proposer::Queue;
use crate::state_machine::{Shared, StateMachine};
use crate::types::{TypeConfig, from_raft};

/// openraft over our log and state machine.
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// A member of the group as its membership entries name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Random per data folder, never reused.
    pub id: NodeId,
    /// Its seat, such as `n0`.
    pub slot: String,
    /// `host:port` for the other members.
    pub peer_addr: String,
    /// `host:port` for clients.
    pub client_addr: String,
}

/// What this member does in its group at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Leads (perhaps not ready yet).
    Leader,
    /// Follows, or looks for a leader.
    #[default]
    Follower,
    /// Stands for election.
    Candidate,
    /// Receives the log without a vote.
    Learner,
}

/// Who leads, as far as this member knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Current term.
    pub term: Term,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// Its addresses.
    pub leader_member: Option<Member>,
    /// I lead, and the first entry of my term is applied: proposals are taken.
    pub ready: bool,
    /// My own part.
    pub role: Role,
}

/// Answers messages from other members that are not Raft's own (forwarded requests, relayed notices).
pub trait PeerService: Send + Sync + 'static {
    /// Handles one message; `None` sends no answer. For a [`Group::cast`] the answer is dropped.
    fn handle(&self, from: NodeId, message: Bytes) -> BoxFuture<'static, Option<Bytes>>;
}

/// Why a call to another member failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, so the message was certainly not handled.
    #[error("member {0:?} cannot be reached")]
    Unreachable(NodeId),
    /// It was sent; whether it was handled is not known.
    #[error("connection to member {0:?} was lost before it answered")]
    Lost(NodeId),
    /// It was sent; no answer in time.
    #[error("member {0:?} did not answer in time")]
    TimedOut(NodeId),
    /// Too many calls are waiting for that member; not sent.
    #[error("too many calls wait for member {0:?}")]
    Busy(NodeId),
}

/// The request queue is full or the group has stopped: the request comes back.
#[derive(Debug)]
pub struct Full<R>(pub R);

/// Why a member could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error("setting {name}: {reason}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The log is damaged, and nobody has what is missing.
    #[error("{0}")]
    Damaged(String),
    /// A file or socket failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Why a change of leadership or membership failed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader can do it.
    #[error("not the leader; the leader is {0:?}")]
    NotLeader(Option<Member>),
    /// Refused, with the reason.
    #[error("{0}")]
    Refused(String),
}

/// One member in [`Status`].
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Has a vote.
    pub voter: bool,
    /// Last entry known to be stored there (only the leader knows).
    pub matched: Option<LogId>,
    /// Entries it is behind (only the leader knows).
    pub lag: Option<u64>,
    /// Milliseconds since it was last heard of.
    pub heard_ms_ago: Option<u64>,
}

/// State of the group as this member sees it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Own node id.
    pub id: NodeId,
    /// Who leads.
    pub leadership: Leadership,
    /// Last entry in the own log.
    pub last: Option<LogId>,
    /// Last committed entry known.
    pub committed: Option<LogId>,
    /// Last applied entry.
    pub applied: Option<LogId>,
    /// The log begins after this entry.
    pub purged: Option<LogId>,
    /// Milliseconds since a majority was last heard (only the leader knows). Beyond the longest election time-out it may
    /// have been replaced without knowing.
    pub quorum_heard_ms_ago: Option<u64>,
    /// All members.
    pub members: Vec<MemberStatus>,
}

/// Handle of a running member; clones share it. It runs until [`Group::shutdown`].
pub struct Group<R> {
    parts: Arc<Parts<R>>,
}

/// What a running member consists of.
pub(crate) struct Parts<R> {
    pub raft: Raft,
    pub log: Log,
    pub id: NodeId,
    pub queue: Arc<Queue<R>>,
    pub leadership: watch::Receiver<Leadership>,
    pub failed: watch::Receiver<Option<String>>,
    pub network: Arc<Network>,
    pub incoming: Arc<Incoming>,
    pub machine: Arc<Shared>,
    pub admission: Arc<Admission>,
    pub planned: Arc<Planned>,
    /// Everything but the peer listener.
    pub stop: StopSource,
    /// The peer listener: the last thing a living member closes, because a refused connection proves its death.
    pub stop_listener: StopSource,
    pub proposer: Mutex<Option<task::TaskHandle>>,
    pub server: Mutex<Option<task::TaskHandle>>,
}

/// A leadership transfer that was asked for a moment ago: its candidate's vote may pass the lease.
#[derive(Debug, Default)]
pub(crate) struct Planned(Mutex<Option<(u64, clock::Instant)>>);

impl Planned {
    const VALID: Duration = Duration::from_secs(1);

    pub fn note(&self, to: u64) {
        *self.0.lock() = Some((to, clock::now()));
    }

    pub fn is(&self, candidate: u64) -> bool {
        self.0
            .lock()
            .is_some_and(|(to, at)| to == candidate && at.elapsed() < Self::VALID)
    }
}

impl<R> Clone for Group<R> {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.clone(),
        }
    }
}

impl<R> std::fmt::Debug for Group<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group(member {:x})", self.parts.id.0)
    }
}

impl<R: Send + 'static> Group<R> {
    /// Starts this member. Raft runs on the runtime that is current here: give it one of its own.
    pub async fn start<D: Decide<Request = R>>(
        config: GroupConfig,
        disk: Arc<dyn Disk>,
        application: impl Application,
        decide: D,
        service: Arc<dyn PeerService>,
    ) -> Result<Self, StartError> {
        let parts = crate::start::start(config, disk, Box::new(application), decide, service).await?;
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Own node id.
    pub fn id(&self) -> NodeId {
        self.parts.id
    }

    /// The log, for pulls: everything up to the applied position may be shown to clients.
    pub fn log(&self) -> &Log {
        &self.parts.log
    }

    /// Hands a request to the proposer; `bytes` is what it counts against the queue's bound. When this member is not the
    /// ready leader the request is refused through [`Decide::refuse`].
    pub fn propose(&self, request: R, bytes: usize) -> Result<(), Full<R>> {
        self.parts.queue.push(request, bytes)
    }

    /// As [`propose`](Self::propose), but waits for room; gives the request back only when the group has stopped.
    pub async fn propose_wait(&self, request: R, bytes: usize) -> Result<(), Full<R>> {
        self.parts.queue.push_wait(request, bytes).await
    }

    /// Runs `f` if this member takes proposals as the leader of `term`; what `f` proposes is decided under that leadership
    /// or refused. `None` if it does not lead in that term.
    pub fn during<T>(&self, term: Term, f: impl FnOnce() -> T) -> Option<T> {
        self.parts.queue.during(term, f)
    }

    /// Who leads, and whether proposals are taken here.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.parts.leadership.clone()
    }

    /// Last applied entry.
    pub fn applied(&self) -> watch::Receiver<Option<LogId>> {
        self.parts.machine.applied.subscribe()
    }

    /// Becomes `Some(reason)` when the log or Raft failed for good: the process must exit.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.parts.failed.clone()
    }

    fn member(&self, id: NodeId) -> Option<Member> {
        let metrics = self.parts.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&id.0).cloned()
    }

    /// Sends a message to another member and waits for its answer. Bounded and pipelined; messages to one member are
    /// handed to its [`PeerService`] in the order in which they were sent.
    pub async fn call(&self, to: NodeId, message: Bytes, timeout: Duration) -> Result<Bytes, CallError> {
        let member = self.member(to).ok_or(CallError::Unreachable(to))?;
        let peer = self.parts.network.peer(to, &member.peer_addr);
        peer.app
            .ask(Ask::App(message), timeout)
            .await
            .map_err(|error| match error {
                AskError::Unreachable(_) => CallError::Unreachable(to),
                AskError::Lost | AskError::Failed(_) => CallError::Lost(to),
                AskError::TimedOut => CallError::TimedOut(to),
                AskError::Busy => CallError::Busy(to),
            })
    }

    /// Sends a message to another member without waiting; dropped when it cannot be reached.
    pub fn cast(&self, to: NodeId, message: Bytes) -> Result<(), CallError> {
        let member = self.member(to).ok_or(CallError::Unreachable(to))?;
        let peer = self.parts.network.peer(to, &member.peer_addr);
        peer.app.tell(Ask::App(message)).map_err(|error| match error {
            AskError::Busy => CallError::Busy(to),
            _ => CallError::Lost(to),
        })
    }

    /// Terms, indexes and members.
    pub fn status(&self) -> Status {
        let parts = &self.parts;
        let metrics = parts.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let last = parts.log.tail().last;
        let voters: Vec<u64> = membership.voter_ids().collect();
        let member_status = |(id, member): (&u64, &Member)| {
            let me = *id == parts.id.0;
            let replicated = metrics.replication.as_ref().and_then(|all| all.get(id));
            let leads = metrics.replication.is_some();
            let matched = if me && leads {
                last
            } else {
                replicated.and_then(|id| id.as_ref()).map(from_raft)
            };
            let last_index = last.map_or(0, |last| last.index.0 + 1);
            let heartbeat = metrics
                .heartbeat
                .as_ref()
                .and_then(|all| all.get(id))
                .and_then(|at| at.as_ref());
            let heard = match heartbeat {
                _ if me => Some(0),
                Some(at) => Some(at.elapsed().as_millis() as u64),
                None => parts.incoming.silence_ms(member.id),
            };
            MemberStatus {
                member: member.clone(),
                voter: voters.contains(id),
                matched,
                lag: leads.then(|| last_index - matched.map_or(0, |m| m.index.0 + 1).min(last_index)),
                heard_ms_ago: heard,
            }
        };
        Status {
            id: parts.id,
            leadership: parts.leadership.borrow().clone(),
            last,
            committed: metrics.local_committed.as_ref().map(from_raft),
            applied: *parts.machine.applied.borrow(),
            purged: parts.log.base().last,
            quorum_heard_ms_ago: metrics.last_quorum_acked.map(|at| at.elapsed().as_millis() as u64),
            members: membership.nodes().map(member_status).collect(),
        }
    }

    /// Deletes the log up to `upto`: whole segments, the last one that ends there or before. Each member does it for
    /// itself, when the retention entry is applied.
    pub async fn purge(&self, upto: LogId) -> Result<(), ChangeError> {
        let machine = self.parts.machine.clone();
        let choose = task::spawn_blocking("choose anchor", move || machine.choose_anchor(upto.index));
        let newer = choose.await.map_err(refused)?.map_err(refused)?;
        if newer {
            self.parts.raft.trigger().snapshot().await.map_err(refused)?;
        }
        Ok(())
    }

    /// Hands leadership to another voter and returns when it leads, or fails when it does not within a second.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ChangeError> {
        self.must_lead()?;
        if to == self.id() {
            return Ok(());
        }
        let mut leadership = self.leadership();
        self.parts.planned.note(to.0);
        self.parts.raft.trigger().transfer_leader(to.0).await.map_err(refused)?;
        let handed = leadership.wait_for(|now| now.leader == Some(to));
        match clock::timeout(TRANSFER_WITHIN, handed).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ChangeError::Refused("the member did not take over in time".into())),
        }
    }

    /// Adds a member (first as learner, then, if `voter`, with a vote, replacing any older id of its slot). Returns when
    /// the change is committed. Only the leader can.
    pub async fn add_member(&self, member: Member, voter: bool) -> Result<(), ChangeError> {
        self.must_lead()?;
        self.parts.admission.admit(member, voter).await
    }

    /// Removes a member. Only the leader can.
    pub async fn remove_member(&self, id: NodeId) -> Result<(), ChangeError> {
        self.must_lead()?;
        self.parts.admission.remove(id).await
    }

    fn must_lead(&self) -> Result<(), ChangeError> {
        let now = self.parts.leadership.borrow();
        match now.leader {
            Some(leader) if leader == self.parts.id => Ok(()),
            _ => Err(ChangeError::NotLeader(now.leader_member.clone())),
        }
    }

    /// Stops this member: hands back what waits, ends Raft, takes a last checkpoint, flushes, marks the folder clean, and
    /// closes the peer listener last. A leader should [`transfer_leader`](Self::transfer_leader) before.
    pub async fn shutdown(&self) {
        let parts = &self.parts;
        parts.stop.stop();
        let proposer = parts.proposer.lock().take();
        if let Some(proposer) = proposer {
            let _ = clock::timeout(STOP_WITHIN, proposer).await;
        }
        let last = parts.raft.with_state_machine(|machine| {
            let job = machine.last_checkpoint();
            Box::pin(async move { job })
        });
        let last = last.await;
        let _ = clock::timeout(STOP_WITHIN, parts.raft.shutdown()).await;
        let (done, flushed) = promise();
        parts.log.flush(done);
        let flushed = flushed.await;
        if let (Ok(Ok(Some(job))), Ok(())) = (last, &flushed) {
            let written = task::spawn_blocking("last checkpoint", job).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "write the last checkpoint");
            }
        }
        let (done, closed) = promise();
        parts.log.close(done);
        if let Err(error) = closed.await {
            tracing::error!(%error, "close the log");
        }
        parts.stop_listener.stop();
        let server = parts.server.lock().take();
        if let Some(server) = server {
            let _ = clock::timeout(STOP_WITHIN, server).await;
        }
    }
}

const TRANSFER_WITHIN: Duration = Duration::from_secs(1);
const STOP_WITHIN: Duration = Duration::from_secs(5);

fn refused(error: impl std::fmt::Display) -> ChangeError {
    ChangeError::Refused(error.to_string())
}
