//! The whole state as bytes: what a checkpoint holds and a new member receives.
//!
//! `u32` magic, one byte version, then each part in the order below. The container around it (checksum, log id) is
//! mq-raft's and mq-store's.

use super::codec::{CodecError, Reader, Writer};
use super::{Groups, Halves, Locks, Offsets, Producers, Schedule, State, Topics};
use bytes::Bytes;
use std::sync::Arc;

/// "FBST".
const MAGIC: [u8; 4] = *b"FBST";
/// Version written. Older ones stay readable.
const VERSION: u8 = 1;

impl State {
    /// Writes the state down.
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        MAGIC.into_iter().for_each(|byte| w.byte(byte));
        w.byte(VERSION);
        w.signed(self.log_time_ms);
        w.varint(self.retained.get());
        self.topics.encode(&mut w);
        self.groups.encode(&mut w);
        self.offsets.encode(&mut w);
        self.halves.encode(&mut w);
        self.schedule.encode(&mut w);
        self.locks.encode(&mut w);
        self.producers.encode(&mut w);
        w.into_bytes().into()
    }

    /// Reads a state that fills `bytes` exactly.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let rest = bytes
            .strip_prefix(&MAGIC)
            .ok_or(CodecError::Malformed("state: magic"))?;
        let r = &mut Reader::new(rest);
        let version = r.byte()?;
        if version != VERSION {
            return Err(CodecError::Unknown {
                what: "version of the state",
                value: version.into(),
            });
        }
        let state = Self {
            log_time_ms: r.signed()?,
            retained: r.varint()?.into(),
            topics: Arc::new(Topics::decode(r)?),
            groups: Arc::new(Groups::decode(r)?),
            offsets: Arc::new(Offsets::decode(r)?),
            halves: Arc::new(Halves::decode(r)?),
            schedule: Schedule::decode(r)?,
            locks: Arc::new(Locks::decode(r)?),
            producers: Arc::new(Producers::decode(r)?),
        };
        if r.is_empty() {
            Ok(state)
        } else {
            Err(CodecError::Malformed("state: bytes left over"))
        }
    }
}
