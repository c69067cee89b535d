//! mq-store
