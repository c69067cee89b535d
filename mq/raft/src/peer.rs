//! The protocol between members: one connection per peer and purpose, opened by the one who asks.
//!
//! * `frame` and `message` are the bytes; `dial` opens a connection and exchanges hellos.
//! * `append` is the leader's side of replication, `channel` carries questions and answers.
//! * `network` hands both to openraft; `server` is the other end of them all.

pub mod append;
pub mod channel;
pub mod dial;
pub mod frame;
pub mod incoming;
pub mod message;
pub mod network;
pub mod server;
