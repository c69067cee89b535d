//! Connections that carry RocketMQ commands: the server that brokers and name servers listen with, and [`Remoting`], the
//! client side, which keeps one connection per address.
//!
//! One task owns a connection: it reads, decodes every complete frame in its buffer, calls the [`Service`] for each,
//! and writes what was answered meanwhile, so that a request that is answered at once costs no wake-up at all. Answers
//! from elsewhere are encoded into the connection's outbound buffer and wake that task once per batch.
//!
//! Nothing here knows what a request means. Start with [`Server`] and [`Service`], then `driver.rs`, the loop.

mod connection;
mod counters;
mod driver;
mod options;
mod outbox;
mod pending;
mod remoting;
mod server;
mod tls;

pub use connection::{CloseReason, Connection, Cork};
pub use counters::{Counters, Counts};
pub use options::{ClientOptions, ClientTls, Limits, ServerOptions, ServerTls, TlsMode};
pub use pending::InvokeError;
pub use remoting::{Inbound, Remoting};
pub use server::{Server, Service};
pub use tls::TlsError;
