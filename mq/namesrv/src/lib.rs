//! mq-namesrv

pub mod routes;
