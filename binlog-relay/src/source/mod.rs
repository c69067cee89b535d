//! The source: what must hold on the server, and the stream of its events.

pub mod checks;
mod stream;
pub mod watch;

pub use stream::{EventStream, RawEvent};

use mysql_async::Error as MysqlError;

/// Why reading the source ended.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The connection is gone: try again.
    #[error("connection to the source lost: {0}")]
    Lost(String),
    /// Only a person can help. Nothing was skipped.
    #[error("{what}. {remedy}")]
    Stop {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
}

impl SourceError {
    /// A stop with a remedy.
    pub fn stop(what: impl Into<String>, remedy: impl Into<String>) -> SourceError {
        SourceError::Stop {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// What an error of the server means.
impl From<MysqlError> for SourceError {
    fn from(error: MysqlError) -> SourceError {
        let MysqlError::Server(server) = &error else {
            return SourceError::Lost(error.to_string());
        };
        let what = format!("the source says: {} (error {})", server.message, server.code);
        let remedy = match server.code {
            // Another replica has our id: the newer one wins, and if that is not a relay of our name it will go on winning.
            1236 if server.message.contains("same server_uuid/server_id") => return SourceError::Lost(what),
            1236 if server.message.contains("purged") => PURGED,
            1236 => {
                "The binlog cannot be read from our position. If it is damaged or gone, copy the tables again: binlog-relay run --copy-again"
            }
            1045 | 1044 | 1142 | 1227 | 1698 | 3118 | 3955 => {
                "The account lacks a grant, or its password has changed: binlog-relay init prints what is missing"
            }
            // Shutting down, killed, too many connections, still starting.
            1053 | 1077 | 1079 | 1040 | 1205 | 1213 | 1317 | 1927 | 3032 | 4031 => return SourceError::Lost(what),
            _ => return SourceError::Lost(what),
        };
        SourceError::stop(what, remedy)
    }
}

/// What to do when the binlog no longer holds what we need.
pub(crate) const PURGED: &str = "The changes in between are lost to the relay, and it will not jump over them. Copy the tables again: \
    binlog-relay run --copy-again (and keep binlogs longer: binlog_expire_logs_seconds)";
