//! Carries out what [`Election`] decides: probes, the exchange with other members, the two calls into Raft.

use std::sync::Arc;
use std::time::Duration;

use mq_base::env::{clock, task};
use mq_base::stop::Stop;
use mq_store::{Log, LogId, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use tokio::sync::{mpsc, oneshot};

use crate::caution::Caution;
use crate::election::{Command, Election, Event, Probed};
use crate::group::{Member, Raft};
use crate::peer::dial::{DialError, Local, dial};
use crate::peer::incoming::{self, Incoming};
use crate::peer::message::{Ask, Lost, Purpose, decode_lost_answer};
use crate::peer::network::Network;
use crate::types::{Vote, to_raft};

/// Members that have not agreed within this time leave it to the timers.
const AGREE_WITHIN: Duration = Duration::from_millis(50);
/// A probe on a local network takes a millisecond; one that takes longer proves nothing.
const PROBE_WITHIN: Duration = Duration::from_millis(100);
/// Longest wait for appends of a dead leader to return from Raft (and, with `sync`, from the disk).
const DRAIN_WITHIN: Duration = Duration::from_millis(150);

/// Another member's proof, and where the answer goes: do we agree, and how far is our log?
pub type Told = (NodeId, Lost, oneshot::Sender<(bool, Option<LogId>)>);

/// What the driver works with.
pub struct Driver {
    /// Own identity.
    pub local: Arc<Local>,
    /// The Raft instance.
    pub raft: Raft,
    /// Own log.
    pub log: Log,
    /// Entries count only when flushed.
    pub sync: bool,
    /// Channels to the others.
    pub network: Arc<Network>,
    /// Leaders' connections.
    pub incoming: Arc<Incoming>,
    /// Whether this member may stand.
    pub caution: Arc<Caution>,
}

impl Driver {
    /// Runs until stopped.
    pub async fn run(
        self,
        mut connections: mpsc::Receiver<incoming::Event>,
        mut told: mpsc::Receiver<Told>,
        stop: Stop,
    ) {
        let driver = Arc::new(self);
        let mut election = Election::new(driver.local.member.id);
        let (feed, mut fed) = mpsc::channel::<Event>(256);
        let mut server = driver.raft.server_metrics();
        loop {
            let (vote, voters) = {
                let metrics = server.borrow_watched();
                (
                    metrics.vote,
                    metrics.membership_config.membership().get_joint_config().clone(),
                )
            };
            let boot = driver.incoming.boot(NodeId(vote.leader_id.node_id));
            let mut commands = election.on(Event::Voters(voters));
            commands.extend(election.on(Event::Vote(vote, boot)));
            tokio::select! {
                biased;
                () = stop.wait() => return,
                changed = server.changed() => if changed.is_err() { return },
                Some(event) = connections.recv() => commands.extend(election.on(match event {
                    incoming::Event::Gone { node, boot } => Event::Gone(node, boot),
                    incoming::Event::Heard { node, boot } => Event::Heard(node, boot),
                })),
                Some(event) = fed.recv() => commands.extend(election.on(event)),
                Some((node, lost, answer)) = told.recv() => {
                    let mine = election.agrees(lost.vote);
                    let _ = answer.send((mine.is_some(), mine.unwrap_or(driver.log.tail().last)));
                    commands.extend(election.on(Event::Lost(node, lost)));
                }
            }
            for command in commands {
                let (driver, feed) = (driver.clone(), feed.clone());
                tracing::debug!(?command, "election");
                task::spawn("election", async move { driver.carry_out(command, feed).await });
            }
        }
    }

    async fn carry_out(&self, command: Command, feed: mpsc::Sender<Event>) {
        match command {
            Command::Probe(vote, pause_us) => {
                if pause_us > 0 {
                    clock::sleep(Duration::from_micros(pause_us)).await;
                }
                let found = self.probe(vote).await;
                let _ = feed.send(Event::Probed(vote, found)).await;
            }
            Command::Drain(vote, boot) => {
                if let Some(last) = self.drain(vote, boot).await {
                    let _ = feed.send(Event::Drained(vote, last)).await;
                }
            }
            Command::DropLease(vote) => {
                // A transfer to another member only drops the lease here.
                let dead = vote.leader_id.node_id;
                let _ = self
                    .raft
                    .handle_transfer_leader(TransferLeaderRequest::new(vote, dead, None))
                    .await;
            }
            Command::Tell(lost, others) => self.tell(lost, others, feed).await,
            Command::Elect(lost) => {
                if !self.caution.may_vote_for(lost.last) {
                    return;
                }
                let me = self.local.member.id.0;
                tracing::info!(vote = %lost.vote, "a majority has lost the leader: standing for election at once");
                let request = TransferLeaderRequest::new(lost.vote, me, lost.last.map(to_raft));
                if let Ok(Err(error)) = self.raft.handle_transfer_leader(request).await {
                    tracing::info!(%error, "not elected at once; the election timer decides");
                }
            }
        }
    }

    fn address(&self, node: u64) -> Option<String> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        metrics
            .membership_config
            .membership()
            .get_node(&node)
            .map(|member: &Member| member.peer_addr.clone())
    }

    async fn probe(&self, vote: Vote) -> Probed {
        let Some(addr) = self.address(vote.leader_id.node_id) else {
            return Probed::Nothing;
        };
        match dial(&self.local, &addr, Purpose::Probe, NodeId(0), PROBE_WITHIN).await {
            Ok(there) if there.peer.member.id.0 == vote.leader_id.node_id => Probed::Boot(there.peer.boot),
            // Another data folder at the leader's address, of the same group and slot: its process is gone.
            Ok(there) if self.same_seat(vote, &there.peer.member) => Probed::Boot(there.peer.boot),
            Ok(_) | Err(DialError::Unwelcome(_) | DialError::TimedOut | DialError::Lately | DialError::Io(_)) => {
                Probed::Nothing
            }
            Err(DialError::Refused) => Probed::Refused,
            Err(DialError::Cut) => Probed::Cut,
        }
    }

    fn same_seat(&self, vote: Vote, there: &Member) -> bool {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let leader = metrics
            .membership_config
            .membership()
            .get_node(&vote.leader_id.node_id)
            .cloned();
        leader.is_some_and(|leader| leader.slot == there.slot)
    }

    /// Waits for the dead leader's appends, then reads the end of the own log behind them.
    async fn drain(&self, vote: Vote, boot: u64) -> Option<Option<LogId>> {
        let deadline = clock::now() + DRAIN_WITHIN;
        while self.incoming.appending(NodeId(vote.leader_id.node_id), boot) {
            if clock::now() >= deadline {
                return None;
            }
            clock::sleep(Duration::from_micros(500)).await;
        }
        // What was given to Raft before has been handled when this returns.
        let current = self.raft.with_raft_state(|state| *state.vote_ref()).await.ok()?;
        if current != vote {
            return None;
        }
        let last = self.log.tail().last;
        while self.sync && self.log.flushed().last < last {
            if clock::now() >= deadline {
                return Some(self.log.flushed().last);
            }
            clock::sleep(Duration::from_micros(500)).await;
        }
        Some(last)
    }

    async fn tell(&self, lost: Lost, others: Vec<NodeId>, feed: mpsc::Sender<Event>) {
        let mut asked = Vec::new();
        for node in others {
            let Some(addr) = self.address(node.0) else { continue };
            let peer = self.network.peer(node, &addr);
            let feed = feed.clone();
            asked.push(task::spawn("election tell", async move {
                let Ok(answer) = peer.control.ask(Ask::Lost(lost), AGREE_WITHIN).await else {
                    return;
                };
                if let Ok((true, last)) = decode_lost_answer(&answer) {
                    let _ = feed.send(Event::Lost(node, Lost { vote: lost.vote, last })).await;
                }
            }));
        }
        clock::sleep(AGREE_WITHIN).await;
        let _ = feed.send(Event::Deadline(lost.vote)).await;
    }
}
