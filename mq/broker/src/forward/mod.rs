//! Forwarding between members (D8).

mod envelope;

pub use envelope::{Leave, PeerMessage, Pushed, Serve, Served};
