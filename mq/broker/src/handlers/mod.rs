//! Handlers: one function per request code. A handler decodes, calls one thing, encodes; `dispatch.rs` is the table.

pub mod admin;
mod atomic;
pub mod client;
mod lock;
mod offset;
mod pull;
mod query;
mod send;
mod sendback;
mod transaction;

pub(crate) use pull::ask_again;
