//! The broker as its handlers see it: one value that everything hangs on. How it is put together and run is `run.rs`.

use crate::ask::{Ask, Refusal};
use crate::clients::Clients;
use crate::config::{Live, Settings};
use crate::data_path::DataPath;
use crate::forward::Forwarding;
use crate::metrics::Metrics;
use crate::pulse::Pulse;
use crate::seams::Judged;
use crate::state::Name;
use crate::stats::Stats;
use crate::view::View;
use mq_base::env::clock::{self, Instant};
use mq_base::env::random::HashMap;
use mq_base::env::task::Spawner;
use mq_raft::{Full, Group, Leadership};
use mq_store::{NodeId, Term};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// Who this member is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Cluster.
    pub cluster: Name,
    /// Broker group, `brokerName`.
    pub broker: Name,
    /// Slot number within the group: 2 of `n2`.
    pub slot: u64,
    /// Address told to clients, `host:port`.
    pub client_addr: String,
    /// The same, resolved: written into records as their store host.
    pub store_host: SocketAddr,
    /// Address for the other members, `host:port`.
    pub peer_addr: String,
    /// When the process started, Unix milliseconds.
    pub boot_ms: i64,
}

/// A member that is about to stop repeats it as long as it drains; after this silence it has been started again.
const LEAVING_VALID: Duration = Duration::from_secs(3);

/// A running broker.
pub struct Broker {
    /// Who this member is.
    pub identity: Identity,
    /// Settings; take a snapshot per request.
    pub settings: Live,
    /// Replicated state as applied here.
    pub view: Arc<View>,
    /// Producers and consumers.
    pub clients: Arc<Clients>,
    /// Statistics for RocketMQ's tools.
    pub stats: Arc<Stats>,
    /// Counters for Prometheus.
    pub metrics: Metrics,
    /// Requests on their way to the leader.
    pub forwarding: Forwarding,
    /// Whether this process was frozen a moment ago.
    pub(crate) pulse: Pulse,
    /// The way to the Raft group, and who leads it.
    pub gate: Arc<Gate>,
    /// The data path; set once the group has started.
    pub(crate) data: OnceLock<Arc<DataPath>>,
    /// Starts tasks on the runtime of the clients.
    pub spawner: Spawner,
    /// Changes of the topic table, for the registration with name servers.
    pub(crate) topics: watch::Sender<u64>,
    /// Members that are about to stop, and when they last said so.
    pub(crate) leaving: Mutex<HashMap<NodeId, Instant>>,
}

/// The way to the Raft group. There before the group has started, so that clients can be accepted meanwhile.
pub struct Gate {
    /// Who leads.
    pub standing: Standing,
    group: OnceLock<Group<Ask>>,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate {
            standing: Standing::new(),
            group: OnceLock::new(),
        }
    }

    /// The group has started.
    pub(crate) fn open(&self, group: Group<Ask>) {
        if self.group.set(group).is_err() {
            tracing::error!("the Raft group was started twice");
        }
    }

    /// This member of the Raft group, once it has started.
    pub fn group(&self) -> Option<&Group<Ask>> {
        self.group.get()
    }
}

impl Judged for Gate {
    fn ask(&self, ask: Ask) {
        let weight = ask.weight();
        match self.group.get() {
            Some(group) => {
                if let Err(Full(ask)) = group.propose(ask, weight) {
                    ask.refuse(Refusal::Busy);
                }
            }
            None => ask.refuse(Refusal::NotLeader),
        }
    }

    fn leads(&self) -> bool {
        self.standing.leads()
    }
}

/// What this member knows of the leadership of its group. Before the group has started: nothing.
pub struct Standing {
    leads: AtomicBool,
    known: watch::Sender<Leadership>,
}

/// Where a leader-only request must go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This member leads and takes requests.
    Here,
    /// Another member.
    There {
        /// Who.
        node: NodeId,
        /// Since which term.
        term: Term,
    },
    /// An election is under way, or this member has not caught up with one.
    Unknown,
}

impl Standing {
    pub(crate) fn new() -> Standing {
        Standing {
            leads: AtomicBool::new(false),
            known: watch::channel(Leadership::default()).0,
        }
    }

    /// Whether this member leads and takes requests. One atomic load.
    pub fn leads(&self) -> bool {
        self.leads.load(Relaxed)
    }

    /// What is known now.
    pub fn leadership(&self) -> Leadership {
        self.known.borrow().clone()
    }

    /// Follows changes.
    pub fn watch(&self) -> watch::Receiver<Leadership> {
        self.known.subscribe()
    }

    pub(crate) fn set(&self, leadership: Leadership) {
        self.leads.store(leadership.ready, Relaxed);
        self.known.send_replace(leadership);
    }

    /// Where a leader-only request must go now; `own` is this member.
    pub(crate) fn leader(&self, own: Option<NodeId>) -> Leader {
        leader_in(&self.known.borrow(), own)
    }
}

pub(crate) fn leader_in(leadership: &Leadership, own: Option<NodeId>) -> Leader {
    match leadership.leader {
        _ if leadership.ready => Leader::Here,
        Some(node) if Some(node) != own => Leader::There {
            node,
            term: leadership.term,
        },
        _ => Leader::Unknown,
    }
}

impl Broker {
    /// Settings in force now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    /// Hands an ask to the judge of this member; it is answered [`Refusal::NotLeader`] where this member does not lead
    /// and [`Refusal::Busy`] when too many bytes are in flight.
    pub fn ask(&self, ask: Ask) {
        self.gate.ask(ask);
    }

    /// Whether this member leads and takes requests.
    pub fn leads(&self) -> bool {
        self.gate.standing.leads()
    }

    /// End of the log as known here, a commit log offset.
    pub fn log_end(&self) -> u64 {
        self.group().map_or(0, |group| group.log().tail().next_offset.get())
    }

    /// Whether a member has said within the last seconds that it is about to stop.
    pub(crate) fn is_leaving(&self, member: NodeId) -> bool {
        self.leaving
            .lock()
            .get(&member)
            .is_some_and(|said| clock::now() - *said < LEAVING_VALID)
    }

    /// Whether this member, a follower, may serve reads.
    pub fn reads_here(&self) -> bool {
        self.settings.get().slave_read_enable
    }

    /// This member of the Raft group, once it has started.
    pub fn group(&self) -> Option<&Group<Ask>> {
        self.gate.group()
    }

    /// The data path, once the group has started.
    pub fn data_path(&self) -> Option<&Arc<DataPath>> {
        self.data.get()
    }

    /// Own node id, once the group has started.
    pub fn own_id(&self) -> Option<NodeId> {
        self.group().map(Group::id)
    }
}
