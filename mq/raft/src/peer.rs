//! The protocol between members.

pub mod frame;
pub mod message;
