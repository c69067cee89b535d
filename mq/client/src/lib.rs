//! Forebay's client: producers, consumers and administration of a RocketMQ-compatible cluster.
//!
//! It speaks RocketMQ's remoting protocol to any broker that does. Towards a Forebay group it also knows that every member
//! serves, so a lost leader costs a refused connection and not a route refresh.
//!
//! It is not a server, keeps no messages, and decides nothing about replication.
//!
//! Start reading at [`Producer`] or at `producer/deliver.rs` (what happens to a send that fails), then at [`ClientInstance`] (what producers and
//! consumers share).

mod admin;
mod atomic;
mod brokers;
mod config;
pub mod consumer;
mod error;
mod fault;
mod inbound;
mod instance;
mod message;
pub mod producer;
mod route;
mod transport;
mod wire;

pub use admin::TopicSpec;
pub use atomic::{AtomicBatch, AtomicProducer, AtomicResult, AtomicSendError};
pub use config::ClientConfig;
pub use consumer::{ConsumeFrom, ConsumeStatus, Filter, LitePullConsumer, MessageModel, OrderlyStatus, PushConsumer};
pub use error::{CallError, SendError};
pub use instance::ClientInstance;
pub use message::{DecodeError, Message, MessageError, MessageExt, MessageQueue};
pub use producer::{
    Producer, ProducerBuilder, SendResult, SendStatus, StartError, TransactionListener, TransactionProducer,
    TransactionResult, TransactionState,
};
