//! Load on a broker group, measured from outside: how fast, at what cost, and whether anything was lost when members died.
//!
//! It is a user of `mq-client` like any other, and not part of any server. Start reading at [`mq`] (load), [`drill::books`] (what must hold
//! after a drill) and [`body`] (what a load message carries).

// A tool, never simulated: it uses files and clocks directly.
#![allow(clippy::disallowed_methods)]

pub mod body;
pub mod drill;
pub mod mq;
pub mod relay;
pub mod servers;
