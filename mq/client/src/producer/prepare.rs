//! From a user's message to what is sent: checks, key, compression. Done once, however many tries follow.

use std::sync::Arc;

use bytes::Bytes;
use mq_base::env::clock;
use mq_message::record::PROPERTIES_BYTES_MAX;
use mq_message::{property, sys_flag, topic};

use super::ProducerShared;
use crate::message::{Message, MessageError, compress};

/// A message ready to be sent, as often as need be.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) topic: Arc<str>,
    pub(crate) body: Bytes,
    pub(crate) sys_flag: i32,
    pub(crate) flag: i32,
    pub(crate) properties: String,
    pub(crate) born_timestamp: i64,
    pub(crate) msg_id: String,
    pub(crate) batch: bool,
    pub(crate) reconsume_times: i32,
    pub(crate) max_reconsume_times: Option<i32>,
}

impl ProducerShared {
    /// Checks a message, gives it its key, compresses its body.
    pub(crate) fn prepare(&self, message: Message) -> Result<Prepared, MessageError> {
        check_topic(&message.topic)?;
        self.prepare_unchecked(message)
    }

    /// As [`Self::prepare`], for topics that users may not send to.
    pub(crate) fn prepare_unchecked(&self, mut message: Message) -> Result<Prepared, MessageError> {
        if let Some(mistake) = message.mistake {
            return Err(mistake);
        }
        check_body(message.body.len(), self.settings.message_bytes_max)?;
        let now = clock::wall_ms();
        let msg_id = match message.unique_key() {
            Some(key) => key.to_owned(),
            None => {
                let key = self.keys.next(now);
                message.properties.push(property::UNIQ_KEY, &key);
                key
            }
        };
        let mut flags = 0;
        let mut body = message.body;
        if body.len() >= self.settings.compress_over
            && let Some(small) = compress(&body)
        {
            body = small;
            flags |= sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB;
        }
        if message.properties.get(property::TRAN_MSG) == Some("true") {
            flags |= sys_flag::TRANSACTION_PREPARED;
        }
        let properties = message.properties.into_string();
        check_properties(&properties)?;
        Ok(Prepared {
            topic: message.topic,
            body,
            sys_flag: flags,
            flag: message.flag,
            properties,
            born_timestamp: now,
            msg_id,
            batch: false,
            reconsume_times: 0,
            max_reconsume_times: None,
        })
    }
}

pub(super) fn check_topic(name: &str) -> Result<(), MessageError> {
    topic::check(name).map_err(MessageError::Topic)?;
    if topic::is_allowed_to_send(name) {
        Ok(())
    } else {
        Err(MessageError::Forbidden(name.to_owned()))
    }
}

pub(super) fn check_body(bytes: usize, limit: usize) -> Result<(), MessageError> {
    match bytes {
        0 => Err(MessageError::Empty),
        _ if bytes > limit => Err(MessageError::TooLarge { bytes, limit }),
        _ => Ok(()),
    }
}

pub(super) fn check_properties(properties: &str) -> Result<(), MessageError> {
    if properties.len() > PROPERTIES_BYTES_MAX {
        Err(MessageError::Properties(properties.len()))
    } else {
        Ok(())
    }
}
