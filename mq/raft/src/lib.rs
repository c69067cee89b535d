//! mq-raft
