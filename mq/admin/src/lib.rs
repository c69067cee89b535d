//! mq-admin: `mqadmin`, the administrator's command line, with RocketMQ's commands, flags and columns.
//!
//! It asks name servers and brokers over the remoting protocol like RocketMQ's own tool, so either works with either
//! broker. It keeps no state and configures nothing by itself. Each command is a function that answers the text to print;
//! start reading in [`Command`], then one file of `commands`.

mod cluster;
mod commands;
mod text;

pub use cluster::Admin;
pub use commands::{Command, run};
