//! Load on a broker group, measured from outside: how fast, at what cost, and whether anything was lost when members died.
//!
//! It is a user of `mq-client` like any other, and not part of any server. Start reading at [`drill::books`] (what must hold after a
//! drill) and [`body`] (what a load message carries).

pub mod body;
pub mod drill;
pub mod servers;
