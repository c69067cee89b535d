//! mq-base
