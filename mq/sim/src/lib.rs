//! A seeded simulation of a whole broker group: the shipped broker, Raft and store code, single-threaded, with a simulated network,
//! disk, clock and randomness behind `mq_base::env`.
//!
//! It is not a mock of any of them, and it is not a benchmark. Start reading at [`plan`] (what a seed decides), then
//! [`run`] (one run from the founding of the group to the last reading), [`facts`] (what a run leaves behind) and
//! [`invariants`] (what must hold). The program `mq-sim` prints the command that repeats a failure.

pub mod bugs;
mod cluster;
pub mod facts;
mod history;
mod inspect;
pub mod invariants;
mod machine;
mod network;
pub mod plan;
pub mod run;
mod wire;
mod workload;
