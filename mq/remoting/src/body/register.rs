//! Body of a broker's registration (103), in its plain and its compressed form.
//!
//! Compressed it is zlib over, each text behind a `u32` length:
//! dataVersion JSON | u32 topics, each `name readQ writeQ perm filterType [attributes JSON]` | filterServerList JSON
//! | (from 5.0 on) u32 mappings, each TopicQueueMappingInfo JSON

use std::io::{Read, Write};

use bytes::{Buf, BufMut, Bytes};
use serde::Serialize;

use super::{BodyError, TopicConfig, TopicConfigSerializeWrapper, TopicFilterType, body, from_slice, to_fastjson};
use crate::version;

/// Largest registration after inflation: some 400,000 topics.
pub const REGISTRATION_BYTES_MAX: usize = 64 * 1024 * 1024;

body! {
    /// Body of 103.
    RegisterBrokerBody {
        /// Obsolete; always empty.
        filter_server_list: Vec<String>,
        /// The broker's topics.
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
    }
}

impl RegisterBrokerBody {
    /// Reads either form. Which one it is shows in the first byte: the header's `compressed` is not to be trusted
    /// (5.3 compresses and says it does not). `sender_version` decides whether mappings follow.
    pub fn decode(body: &[u8], sender_version: i32) -> Result<Self, BodyError> {
        match body.first() {
            Some(0x78) => Self::decode_compressed(body, sender_version),
            _ => from_slice(body),
        }
    }

    /// The plain form.
    pub fn encode(&self) -> Bytes {
        to_fastjson(self)
    }

    /// The compressed form, as 5.x brokers write it.
    pub fn encode_compressed(&self) -> Bytes {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        put_json(&mut plain, &wrapper.data_version);
        plain.put_u32(wrapper.topic_config_table.len() as u32);
        for topic in wrapper.topic_config_table.values() {
            put_text(&mut plain, &topic_text(topic));
        }
        put_json(&mut plain, &self.filter_server_list);
        plain.put_u32(wrapper.topic_queue_mapping_info_map.len() as u32);
        for mapping in wrapper.topic_queue_mapping_info_map.values() {
            put_json(&mut plain, mapping);
        }
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder
            .write_all(&plain)
            .and_then(|()| encoder.finish())
            .expect("writing to memory cannot fail")
            .into()
    }

    fn decode_compressed(body: &[u8], sender_version: i32) -> Result<Self, BodyError> {
        let mut plain = Vec::new();
        let mut inflater = flate2::read::ZlibDecoder::new(body).take(REGISTRATION_BYTES_MAX as u64 + 1);
        inflater
            .read_to_end(&mut plain)
            .map_err(|_| BodyError::Registration("not zlib"))?;
        if plain.len() > REGISTRATION_BYTES_MAX {
            return Err(BodyError::Registration("too large"));
        }
        let mut rest = &plain[..];
        let mut registration = Self::default();
        let wrapper = &mut registration.topic_config_serialize_wrapper;
        wrapper.data_version = from_slice(take(&mut rest)?)?;
        for _ in 0..count(&mut rest)? {
            let topic = topic_from(take(&mut rest)?)?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        registration.filter_server_list = from_slice(take(&mut rest)?)?;
        if sender_version >= version::V5_0_0 {
            for _ in 0..count(&mut rest)? {
                let mapping: serde_json::Value = from_slice(take(&mut rest)?)?;
                let topic = mapping
                    .get("topic")
                    .and_then(|t| t.as_str())
                    .unwrap_or_default()
                    .to_owned();
                wrapper.topic_queue_mapping_info_map.insert(topic, mapping);
            }
        }
        Ok(registration)
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.put_u32(text.len() as u32);
    out.put_slice(text);
}

fn put_json<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    put_text(out, &to_fastjson(value));
}

fn topic_text(topic: &TopicConfig) -> Vec<u8> {
    let mut text = format!(
        "{} {} {} {} {}",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        topic.perm,
        topic.topic_filter_type.name()
    )
    .into_bytes();
    if !topic.attributes.is_empty() {
        text.push(b' ');
        text.extend_from_slice(&to_fastjson(&topic.attributes));
    }
    text
}

fn topic_from(text: &[u8]) -> Result<TopicConfig, BodyError> {
    let wrong = || BodyError::Registration("topic");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let mut words = text.splitn(6, ' ');
    let mut word = || words.next().ok_or_else(wrong);
    let number = |word: &str| word.parse::<u32>().map_err(|_| wrong());
    let mut topic = TopicConfig {
        topic_name: word()?.to_owned(),
        ..TopicConfig::default()
    };
    topic.read_queue_nums = number(word()?)?;
    topic.write_queue_nums = number(word()?)?;
    topic.perm = number(word()?)?;
    topic.topic_filter_type = match word()? {
        "MULTI_TAG" => TopicFilterType::MultiTag,
        _ => TopicFilterType::SingleTag,
    };
    if let Some(attributes) = words.next().filter(|text| !text.trim().is_empty()) {
        topic.attributes = from_slice(attributes.as_bytes())?;
    }
    Ok(topic)
}

fn count(rest: &mut &[u8]) -> Result<u32, BodyError> {
    rest.try_get_u32().map_err(|_| BodyError::Registration("cut short"))
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BodyError> {
    let length = count(rest)? as usize;
    let (text, after) = rest
        .split_at_checked(length)
        .ok_or(BodyError::Registration("cut short"))?;
    *rest = after;
    Ok(text)
}
