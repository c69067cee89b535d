//! mq-cluster
