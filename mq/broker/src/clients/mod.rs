//! Clients: who is connected to the group, subscribed to what, and how to reach them (ADR 008).
//!
//! Connections belong to members, the list of a group to its leader. Each member keeps a [`Registry`] of its own clients
//! and tells the leader of every change; the leader's registry covers all members, and it alone answers consumer lists.
//! `registry.rs` is the pure table, `orphans.rs` the part of it that outlives its members; `relay.rs` is what members tell each other; `push.rs` is the way to a client.

mod orphans;
mod push;
mod registration;
mod registry;
pub mod relay;

pub use orphans::{KEEP_MS, Known, LOST};
pub use push::{Channels, PushError};
pub use registration::{CLIENT_ID_BYTES_MAX, ConnectionId, Consumer, Registration, SUBSCRIPTIONS_MAX, Subscription};
pub use registry::{Changes, Client, ConsumerGroup, Registry};

use crate::seams::{Subscribed, Subscriptions};
use crate::state::Name;
use mq_base::env::clock::{self, Instant};
use mq_base::env::random::{HashMap, HashSet};
use mq_net::Connection;
use mq_store::{NodeId, Term};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// The member that holds a connection is this one.
pub const HERE: NodeId = NodeId(0);

/// The tables of this member.
pub struct Clients {
    /// A lock: heartbeats, pulls and answers to tools touch it for a moment; nobody holds it across an await.
    registry: Mutex<Registry>,
    /// Client connections of this member by number.
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
    reports: Mutex<Reports>,
    /// True while this member leads and knows the clients of all members that live.
    complete: watch::Sender<bool>,
    turn: AtomicUsize,
    born: Instant,
}

/// Which members have told a new leader of their clients.
#[derive(Default)]
struct Reports {
    term: Option<Term>,
    from: HashSet<NodeId>,
    /// Groups that changed meanwhile: told once, at the end.
    changed: HashSet<Name>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            registry: Mutex::default(),
            connections: Mutex::default(),
            reports: Mutex::default(),
            complete: watch::channel(false).0,
            turn: AtomicUsize::new(0),
            born: clock::now(),
        }
    }
}

impl Subscriptions for Clients {
    fn find(&self, group: &str, topic: &str) -> Subscribed {
        let registry = self.registry.lock();
        let Some(group) = registry.consumers(group) else {
            return Subscribed::NoConsumer;
        };
        match group.subscriptions.get(topic) {
            Some(subscription) => Subscribed::To {
                subscription: subscription.clone(),
                broadcast: group.is_broadcast(),
            },
            None => Subscribed::NoSubscription,
        }
    }
}

impl Clients {
    /// Looks at the tables. The closure must be short.
    pub fn with<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.registry.lock())
    }

    /// A connection to ask about transactions of a producer group: each time another one, one held here if there is any.
    pub fn producer(&self, group: &str) -> Option<ConnectionId> {
        let registry = self.registry.lock();
        let clients = registry.producers(group)?;
        let here: Vec<&ConnectionId> = clients.keys().filter(|id| id.member == HERE).collect();
        let turn = self.turn.fetch_add(1, Relaxed);
        match here.len() {
            0 => clients.keys().nth(turn % clients.len()).copied(),
            n => Some(*here[turn % n]),
        }
    }

    /// The connections of a consumer group's clients: one for each client id (the same process may be connected to several
    /// members).
    pub fn consumers(&self, group: &str) -> Vec<(ConnectionId, Client)> {
        let registry = self.registry.lock();
        let mut seen = HashSet::default();
        let mut found = Vec::new();
        let clients = || {
            registry
                .consumers(group)
                .into_iter()
                .flat_map(|group| group.clients.iter())
                .filter(|(id, _)| id.member != LOST)
        };
        for member_is_here in [true, false] {
            for (id, client) in clients().filter(|(id, _)| (id.member == HERE) == member_is_here) {
                if seen.insert(client.id.clone()) {
                    found.push((*id, client.clone()));
                }
            }
        }
        found
    }

    /// Whether clients may live that this member has not heard since it was started.
    fn is_young(&self) -> bool {
        (self.born.elapsed().as_millis() as i64) < KEEP_MS
    }

    pub(crate) fn opened(&self, connection: &Arc<Connection>) {
        self.connections
            .lock()
            .insert(connection.id(), Arc::downgrade(connection));
    }

    fn connection(&self, number: u64) -> Option<Arc<Connection>> {
        self.connections.lock().get(&number)?.upgrade()
    }
}
