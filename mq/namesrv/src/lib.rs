//! The name server: brokers say where they are and which topics they hold, clients ask.
//!
//! Name servers know nothing of each other; each one is complete. It is not a store: everything but the values of `kvConfig.json`
//! comes from registrations and is gone after a restart, until the brokers register again. Start reading at [`routes`]
//! (the tables and their rules), then `service` (the table of request codes).

pub mod config;
pub mod kv;
pub mod routes;
mod run;
mod service;

pub use run::run;
pub use service::NameServer;
