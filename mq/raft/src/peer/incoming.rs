//! Who is connected to us as a leader: what the proof of a leader's death begins with.

use hashbrown::HashMap;
use mq_base::env::clock;
use mq_store::NodeId;
use parking_lot::Mutex;
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
