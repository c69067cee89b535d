//! Clients: who is connected to the group and how to reach them (D8).

mod registration;
mod registry;

pub use registration::{CLIENT_ID_BYTES_MAX, ConnectionId, Consumer, Registration, SUBSCRIPTIONS_MAX, Subscription};
pub use registry::{Changes, Client, ConsumerGroup, Registry};
