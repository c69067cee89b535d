//! Settings of a group.

use std::path::PathBuf;
use std::time::Duration;

/// One configured voter (`dLegerPeers` style): slot and peer address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Stable name of the seat in the group, such as `n0`.
    pub slot: String,
    /// `host:port` of its peer listener.
    pub peer_addr: String,
}

/// Whether this member votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinAs {
    /// One of the configured peers.
    Voter,
    /// A slave: asks the leader to be added as learner; never votes.
    Learner,
}

/// How a group member is started.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Name of the cluster; members of different clusters refuse each other.
    pub cluster: String,
    /// Name of the group (`brokerName`).
    pub group: String,
    /// This member's own slot.
    pub slot: String,
    /// All voters of the group, this one included if it votes.
    pub peers: Vec<Peer>,
    /// `host:port` at which clients reach this member.
    pub client_addr: String,
    /// `host:port` at which the other members reach this one. The peer listener is opened there; on all addresses if the
    /// host is a name, or an address that this machine does not have (behind a translation).
    pub peer_addr: String,
    /// Voter or slave.
    pub join_as: JoinAs,
    /// Folder of the log (segments, vote, checkpoints).
    pub dir: PathBuf,
    /// Size of a segment; equal on all members.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory.
    pub window_bytes: usize,
    /// Bytes of the log's tail that may stay in the page cache; 0 leaves it to the kernel.
    pub cached_bytes: u64,
    /// `SYNC_FLUSH`: an entry counts after fdatasync on a majority.
    pub sync: bool,
    /// Bytes of requests that may wait for the proposer.
    pub queue_bytes_max: usize,
    /// Interval of heartbeats.
    pub heartbeat: Duration,
    /// Shortest election time-out; the longest is twice as long.
    pub election: Duration,
    /// A checkpoint is due after this many applied bytes ...
    pub checkpoint_bytes: u64,
    /// ... or this long after the last one when something was applied.
    pub checkpoint_every: Duration,
}

impl GroupConfig {
    /// The defaults: a group of one that flushes before it answers. Heartbeat 50 ms and election 150..300 ms suit a
    /// local network; overloaded or distant hosts double them.
    pub fn new(cluster: impl Into<String>, group: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            cluster: cluster.into(),
            group: group.into(),
            slot: "n0".into(),
            peers: Vec::new(),
            client_addr: String::new(),
            peer_addr: "127.0.0.1:0".into(),
            join_as: JoinAs::Voter,
            dir: dir.into(),
            segment_bytes: 1 << 30,
            window_bytes: 64 << 20,
            cached_bytes: 256 << 20,
            sync: true,
            queue_bytes_max: 64 << 20,
            heartbeat: Duration::from_millis(50),
            election: Duration::from_millis(150),
            checkpoint_bytes: 64 << 20,
            checkpoint_every: Duration::from_secs(5),
        }
    }
}
