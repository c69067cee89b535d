//! Consumers.

mod allocate;
mod local_offsets;
mod process_queue;

pub use allocate::AllocateStrategy;
