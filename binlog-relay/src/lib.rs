//! binlog-relay: streams the row changes of a MySQL server into topics, exactly once, and proves that a copy made from them is equal.
//!
//! What it writes is described in `docs/binlog-topics.md`. It is not a replica (it stores nothing of its own: the position lives in the queue with
//! the rows), and it does not decode rows itself: that is the crate below, `binlog-relay-event`.
//!
//! Start reading at [`relay`] (one loop that brings all together), then [`translate`] (what an event means), [`message`] (what is written), [`snapshot`]
//! (copies without locks); [`mirror`] and [`verify`] are the readers' side.

pub mod commands;
pub mod ddl;
pub mod gtid;
pub mod http;
pub mod lease;
pub mod message;
pub mod mirror;
pub mod mysql;
pub mod position;
pub mod relay;
pub mod route;
pub mod settings;
pub mod shape;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod translate;
pub mod verify;
