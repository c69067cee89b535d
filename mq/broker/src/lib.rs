//! mq-broker: a broker of RocketMQ's remoting protocol on top of one Raft group.
//!
//! It is not the log (mq-store), not the consensus (mq-raft) and not the wire (mq-remoting, mq-net). Start reading at
//! [`ask`] (what the leader can be asked) and [`state`] (what is replicated), then follow a send through
//! `handlers::send`, `decide` and `machine`.

pub mod ask;
pub mod broker;
pub mod clients;
pub mod config;
pub mod decide;
pub mod dispatch;
pub mod forward;
mod found;
pub mod handlers;
pub mod metrics;
pub mod outcome;
pub mod records;
pub mod register;
pub mod request;
pub mod run;
pub mod state;
pub mod stats;
pub mod view;
