//! The replicated state of a broker group: everything that must be equal on every member (ADR 004).
//!
//! [`State`] changes in two ways only, both pure functions of state and log bytes: [`State::place`] for a stored message
//! and [`State::apply`] for an [`Effect`]. The apply task owns the true one (behind [`crate::view::View`]); the judge
//! owns a copy that runs ahead of it by what is in flight. Copying is cheap: each part is shared until first written.
//!
//! Start with `topic.rs`, then `effect.rs` (what can happen) and `checkpoint.rs` (how the whole is written down).

mod apply;
pub mod checkpoint;
pub mod codec;
mod effect;
mod group;
mod half;
mod lock;
mod offset;
mod producer;
mod schedule;
mod topic;

pub use apply::{Placed, Stored, Within};
pub use effect::Effect;
pub use group::{GroupConfig, Groups};
pub use half::{Half, Halves};
pub use lock::{LOCK_TTL_MS, Lock, Locks};
pub use offset::{GroupTopic, Offsets};
pub use producer::{PRODUCER_RESULTS_KEPT, Producer, Producers, RememberedBatch};
pub use schedule::{DEFAULT_DELAYS_MS, LEVELS_MAX, Schedule};
pub use topic::{DataVersion, FilterType, QUEUES_MAX, Queue, Topic, TopicConfig, Topics};

use mq_message::CommitLogOffset;
use std::sync::Arc;

/// A topic, group or client name; cloned by counting.
pub type Name = Arc<str>;

/// The replicated state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Topics and their queues.
    pub topics: Arc<Topics>,
    /// Consumer groups.
    pub groups: Arc<Groups>,
    /// Consumer offsets and pending resets.
    pub offsets: Arc<Offsets>,
    /// Undecided half messages.
    pub halves: Arc<Halves>,
    /// Delay levels and their progress.
    pub schedule: Schedule,
    /// Queue locks of orderly consumers.
    pub locks: Arc<Locks>,
    /// Producers with epochs and sequences (ADR 009).
    pub producers: Arc<Producers>,
    /// Log time: the greatest time of an applied entry, Unix milliseconds. Never decreases.
    pub log_time_ms: i64,
    /// First commit log offset that is kept; what lies below may be gone.
    pub retained: CommitLogOffset,
}

impl Default for State {
    /// The state before the first entry. It is part of the format: every member starts from the same one.
    fn default() -> Self {
        Self {
            topics: Arc::new(Topics::genesis()),
            groups: Arc::default(),
            offsets: Arc::default(),
            halves: Arc::default(),
            schedule: Schedule::default(),
            locks: Arc::default(),
            producers: Arc::default(),
            log_time_ms: 0,
            retained: CommitLogOffset::default(),
        }
    }
}
