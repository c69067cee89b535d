//! Who is connected to us: as a leader (what the proof of a leader's death begins with), and for the broker's messages (which
//! of a member's connections is its latest).

use mq_base::env::bug::{self, Bug};
use mq_base::env::clock;
use mq_base::env::random::HashMap;
use mq_store::NodeId;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Something about a member's connections changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The last append connection of that process ended, and all its appends have returned.
    Gone {
        /// Which member.
        node: NodeId,
        /// Which of its processes.
        boot: u64,
    },
    /// The member said hello (on any connection).
    Heard {
        /// Which member.
        node: NodeId,
        /// Which of its processes.
        boot: u64,
    },
}

#[derive(Default)]
struct Members {
    /// Process heard last, and when.
    heard: HashMap<NodeId, (u64, clock::Instant)>,
    /// Append connections that are open, or whose appends have not all returned.
    open: HashMap<(NodeId, u64), usize>,
    /// The latest connection for the broker's messages.
    latest: HashMap<NodeId, Arc<Mutex<Number>>>,
}

/// A connection: process and number.
type Number = (u64, u64);

/// One connection for the broker's messages among those of its member.
///
/// A member opens a new one only after it has given the old one up, and sends again what was lost there. What the old one
/// still delivers is late then: it must not be served after its repeat, nor after what came behind that.
pub struct Line {
    own: Number,
    latest: Arc<Mutex<Number>>,
}

impl Line {
    /// Runs `f` unless this connection is outdated; no later one is served meanwhile.
    pub fn during<T>(&self, f: impl FnOnce() -> T) -> Option<T> {
        let latest = self.latest.lock();
        (*latest == self.own || bug::is_back(Bug::LateFrame)).then(f)
    }
}

/// Counts connections per member and process; see the module.
pub struct Incoming {
    members: Mutex<Members>,
    events: mpsc::Sender<Event>,
}

impl Incoming {
    /// Events that nobody takes are dropped: the election timer decides then.
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(256);
        (
            Self {
                members: Default::default(),
                events,
            },
            receiver,
        )
    }

    /// A member said hello.
    pub fn heard(&self, node: NodeId, boot: u64) {
        self.members.lock().heard.insert(node, (boot, clock::now()));
        let _ = self.events.try_send(Event::Heard { node, boot });
    }

    /// A connection for the broker's messages was opened.
    pub fn line(&self, node: NodeId, boot: u64, number: u64) -> Line {
        let latest = self.members.lock().latest.entry(node).or_default().clone();
        let own = (boot, number);
        {
            let mut latest = latest.lock();
            if latest.0 != boot || latest.1 < number {
                *latest = own;
            }
        }
        Line { own, latest }
    }

    /// An append frame came.
    pub fn beat(&self, node: NodeId) {
        if let Some((_, heard)) = self.members.lock().heard.get_mut(&node) {
            *heard = clock::now();
        }
    }

    /// An append connection was opened.
    pub fn opened(&self, node: NodeId, boot: u64) {
        *self.members.lock().open.entry((node, boot)).or_insert(0) += 1;
    }

    /// An append connection ended, and all its appends have returned.
    pub fn closed(&self, node: NodeId, boot: u64) {
        let last = {
            let mut members = self.members.lock();
            match members.open.get_mut(&(node, boot)) {
                Some(open) if *open > 1 => {
                    *open -= 1;
                    false
                }
                _ => members.open.remove(&(node, boot)).is_some(),
            }
        };
        if last {
            let _ = self.events.try_send(Event::Gone { node, boot });
        }
    }

    /// The process of `node` that was heard last.
    pub fn boot(&self, node: NodeId) -> Option<u64> {
        self.members.lock().heard.get(&node).map(|(boot, _)| *boot)
    }

    /// Whether appends of that process may still be coming or under way.
    pub fn appending(&self, node: NodeId, boot: u64) -> bool {
        self.members.lock().open.contains_key(&(node, boot))
    }

    /// Milliseconds since `node` was last heard.
    pub fn silence_ms(&self, node: NodeId) -> Option<u64> {
        self.members
            .lock()
            .heard
            .get(&node)
            .map(|(_, heard)| heard.elapsed().as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outdated_connection_of_a_member_is_not_served() {
        let (incoming, _events) = Incoming::new();
        let (n, boot) = (NodeId(1), 7);
        let served = |line: &Line| line.during(|| ()).is_some();
        let second = incoming.line(n, boot, 2);
        let first = incoming.line(n, boot, 1);
        assert!(served(&second) && !served(&first), "a hello may be late as well");
        let third = incoming.line(n, boot, 3);
        assert!(served(&third) && !served(&second));
        let other = incoming.line(NodeId(2), boot, 1);
        assert!(served(&third) && served(&other), "each member has its own");
        let restarted = incoming.line(n, 8, 1);
        assert!(served(&restarted) && !served(&third), "the process before is dead");
    }
}
