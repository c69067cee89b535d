//! mq-broker: a broker of RocketMQ's remoting protocol on top of one Raft group.
//!
//! It is not the log (mq-store), not the consensus (mq-raft) and not the wire (mq-remoting, mq-net). Start reading at
//! [`ask`] (what the leader can be asked) and [`state`] (what is replicated), then follow a send through
//! `handlers::send`, `decide` and `machine`.

mod found;

pub mod ask;
pub mod broker;
pub mod clients;
pub mod config;
pub mod data_path;
pub mod decide;
pub mod dispatch;
pub mod drivers;
pub mod forward;
pub mod handlers;
pub mod keys;
pub mod longpoll;
pub mod machine;
pub mod metrics;
pub mod outcome;
pub mod pull;
pub mod pulse;
pub mod reader;
pub mod recent;
pub mod records;
pub mod register;
pub mod request;
pub mod run;
pub mod seams;
pub mod state;
pub mod stats;
pub mod supervise;
pub mod view;

#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;
