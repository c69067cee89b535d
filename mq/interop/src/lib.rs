//! mq-interop
