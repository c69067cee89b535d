//! mq-namesrv
