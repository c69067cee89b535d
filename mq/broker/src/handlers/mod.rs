//! Handlers: one function per request code. A handler decodes, calls one thing, encodes; `dispatch.rs` is the table.

pub mod client;
