//! mq-remoting
