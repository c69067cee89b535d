//! mq-admin
