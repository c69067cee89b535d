//! A seeded simulation of a whole broker group: the shipped broker, Raft and store code, single-threaded, with a simulated network,
//! disk, clock and randomness behind `mq_base::env`.
//!
//! It is not a mock of any of them, and it is not a benchmark. Start reading at [`facts`] (what a run leaves behind), then
//! [`invariants`] (what must hold), then the program `mq-sim`, which prints the command that repeats a failure.

pub mod facts;
pub mod invariants;
