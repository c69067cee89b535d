//! mq-message
