//! Consumers. Start with [`PushConsumer`] (a listener is called) or [`LitePullConsumer`] (the user asks).

mod allocate;
mod concurrent;
mod feed;
mod give_back;
mod info;
mod lite_pull;
mod local_offsets;
mod offsets;
mod orderly;
mod process_queue;
mod pull;
mod push;
mod rebalance;
mod share;
mod subscription;

pub use allocate::AllocateStrategy;
pub use lite_pull::{LitePullConsumer, LitePullConsumerBuilder, PollError};
pub use offsets::ConsumeFrom;
pub(crate) use offsets::{bound as queue_bound, search as offset_at};
pub use push::{ConsumeStatus, MessageModel, OrderlyStatus, PushConsumer, PushConsumerBuilder};
pub use subscription::Filter;
