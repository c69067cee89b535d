//! The words and layouts that store, broker and client share: the stored record, properties, tags, message ids, topic
//! rules, delay levels, the batch body and the atomic batch.
//!
//! Everything here is a pure function of its arguments: no I/O, no clock, no randomness, no runtime. It knows nothing of
//! frames and request codes (that is `mq-remoting`) and nothing of files (that is `mq-store`).
//!
//! Start reading at [`record`]: the layout drawn there is what producers' messages become, what the commit log holds and
//! what consumers receive, byte for byte.

pub mod atomic;
pub mod batch;
pub mod delay;
pub mod msg_id;
mod position;
pub mod property;
pub mod record;
pub mod sys_flag;
mod tag;
pub mod topic;

pub use position::{CommitLogOffset, QueueId, QueueOffset};
pub use record::{RecordSpec, RecordView, set_physical_offset, set_queue_offset, set_store_timestamp};
pub use tag::{EmptyTagExpression, TagFilter, java_hash, tags_code};

/// RocketMQ's body checksum: CRC-32/IEEE with the sign bit cleared, so that Java can keep it in an `int`.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7fff_ffff
}
