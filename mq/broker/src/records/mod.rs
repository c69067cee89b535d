//! Stored records from what clients send, and from other stored records: pure functions.
//!
//! * `properties` – one pass over a client's property text.
//! * `incoming` – a send becomes records for the judge.
//! * `rebuild` – delayed, half and sent-back messages become their next record.

pub mod incoming;
mod properties;
pub mod rebuild;

pub use incoming::{Incoming, Ready, Site};
