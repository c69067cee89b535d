//! mq-raft: one broker group is one Raft group, and its commit log is the Raft log.
//!
//! It is the only crate that knows openraft. It carries entries between members ([`Group`]), turns requests into entries
//! on the leader ([`Decide`]), and feeds committed entries to every member's state ([`Application`]). It knows nothing of
//! topics or queues.
//!
//! Start reading at [`application`], then [`group`].

pub mod application;
mod batch;
mod bootstrap;
mod caution;
mod checkpoint;
mod codec;
mod config;
mod control;
mod election;
mod election_driver;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod group;
mod leadership;
mod log_adapter;
mod log_clock;
mod peer;
mod proposer;
mod recall;
mod repair;
mod runtime;
mod start;
mod state_machine;
pub mod stored;
mod types;

pub use application::{Answer, Application, Decide, ItemSpan, Outcome, Session, SyncDerived};
pub use batch::Batch;
pub use config::{GroupConfig, JoinAs, Peer};
pub use group::{
    CallError, ChangeError, Full, Group, Leadership, Member, MemberStatus, PeerService, Role, StartError, Status,
};
