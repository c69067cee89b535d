//! Batches: several messages of one topic in one request.

use bytes::BytesMut;
use mq_base::env::clock;
use mq_message::batch::Item;
use mq_message::{property, topic};

use super::ProducerShared;
use super::prepare::{Prepared, check_body, check_properties, check_topic};
use crate::message::{Message, MessageError};

impl ProducerShared {
    /// Checks the messages and lays them end to end.
    pub(crate) fn prepare_batch(&self, mut messages: Vec<Message>) -> Result<Prepared, MessageError> {
        let first = messages.first().ok_or(MessageError::Batch("the batch is empty"))?;
        let topic = first.topic.clone();
        check_topic(&topic)?;
        if topic::is_retry(&topic) {
            return Err(MessageError::Batch("retry topics take no batches"));
        }
        let now = clock::wall_ms();
        let mut bytes = 0;
        for message in &mut messages {
            check_member(message, &topic)?;
            if message.unique_key().is_none() {
                let key = self.keys.next(now);
                message.properties.push(property::UNIQ_KEY, &key);
            }
            bytes += item(message).encoded_len();
        }
        check_body(bytes, self.settings.message_bytes_max)?;
        let mut body = BytesMut::with_capacity(bytes);
        for message in &messages {
            check_properties(message.properties.as_str())?;
            let limit = self.settings.message_bytes_max;
            item(message)
                .encode_into(&mut body)
                .map_err(|_| MessageError::TooLarge { bytes, limit })?;
        }
        let msg_id = messages[0].unique_key().unwrap_or_default().to_owned();
        Ok(Prepared {
            topic,
            body: body.freeze(),
            sys_flag: 0,
            flag: 0,
            properties: String::new(),
            born_timestamp: now,
            msg_id,
            batch: true,
            reconsume_times: 0,
            max_reconsume_times: None,
        })
    }
}

fn check_member(message: &Message, topic: &str) -> Result<(), MessageError> {
    if let Some(mistake) = &message.mistake {
        return Err(mistake.clone());
    }
    if &*message.topic != topic {
        return Err(MessageError::Batch("a batch has one topic"));
    }
    if message.get(property::DELAY).is_some() {
        return Err(MessageError::Batch("delayed messages cannot go in a batch"));
    }
    if message.body.is_empty() {
        return Err(MessageError::Empty);
    }
    Ok(())
}

fn item(message: &Message) -> Item<'_> {
    Item {
        flag: message.flag,
        body: &message.body,
        properties: message.properties.as_str(),
    }
}
