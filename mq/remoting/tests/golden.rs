//! Frames of real RocketMQ programs: all decode, encode to the same bytes, and fit our typed headers and bodies.

#![allow(clippy::disallowed_methods)] // A test or a bench, never simulated.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use mq_remoting::body::{self, lenient::to_strict_json};
use mq_remoting::code::request;
use mq_remoting::header::*;
use mq_remoting::{Command, Decoder, Ext, Header, HeaderFormat};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

struct Frame {
    name: String,
    response: bool,
    bytes: Vec<u8>,
}

fn frames(file: &str) -> Vec<Frame> {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    let frame = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let hex = line["hex"].as_str().unwrap();
        Frame {
            name: line["name"].as_str().unwrap().to_owned(),
            response: line["kind"] == "response",
            bytes: (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
                .collect(),
        }
    };
    let frames: Vec<_> = std::fs::read_to_string(path).unwrap().lines().map(frame).collect();
    assert!(frames.len() > 80);
    frames
}

fn all() -> Vec<(Frame, Command)> {
    ["frames-json.jsonl", "frames-rocketmq.jsonl"]
        .into_iter()
        .flat_map(frames)
        .map(|frame| {
            let mut bytes = BytesMut::from(&frame.bytes[..]);
            let command = Decoder::default().decode(&mut bytes).unwrap().expect("a whole frame");
            assert!(bytes.is_empty());
            (frame, command)
        })
        .collect()
}

#[test]
fn every_frame_decodes_and_encodes_to_the_same_bytes() {
    let mut binary = 0;
    for (frame, command) in all() {
        assert_eq!(command.is_response(), frame.response);
        if !frame.response {
            // POP codes do not fit the binary form and come cut to 16 bits.
            assert!(
                request::name(command.code) == frame.name || command.code == 3442,
                "{}",
                frame.name
            );
        }
        assert_eq!(command.frame().unwrap(), &frame.bytes);
        assert_eq!(command.encode(), frame.bytes, "{}", frame.name);
        binary += usize::from(command.format == HeaderFormat::Binary);
    }
    assert!(binary > 60, "both forms are there");
}

fn map(ext: &Ext) -> BTreeMap<String, String> {
    ext.iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect()
}

/// The typed header holds every field of the frame, and writes it again, in both forms.
fn fits<H: Header>(command: &Command) {
    let header: H = command.header().unwrap_or_else(|e| panic!("{}: {e}", command.code));
    for format in [HeaderFormat::Json, HeaderFormat::Binary] {
        let written = Command::bare_request(1).in_format(format).with_header(&header);
        assert_eq!(map(&written.ext), map(&command.ext), "{}", command.code);
        let read = mq_remoting::frame::decode_frame(written.encode()).unwrap();
        assert_eq!((read.format, map(&read.ext)), (format, map(&command.ext)));
    }
}

#[test]
fn typed_headers_hold_every_field() {
    for (frame, command) in all() {
        let ok = command.code == 0;
        match (frame.name.as_str(), frame.response) {
            ("SEND_MESSAGE_V2" | "SEND_BATCH_MESSAGE", false) => fits::<SendMessageV2>(&command),
            ("SEND_MESSAGE_V2" | "SEND_BATCH_MESSAGE", true) => fits::<SendMessageResponse>(&command),
            ("PULL_MESSAGE", false) => fits::<PullMessage>(&command),
            ("PULL_MESSAGE", true) => fits::<PullMessageResponse>(&command),
            ("POP_MESSAGE", false) => fits::<PopMessage>(&command),
            ("POP_MESSAGE", true) => fits::<PopMessageResponse>(&command),
            ("ACK_MESSAGE", false) => fits::<AckMessage>(&command),
            ("CHECK_TRANSACTION_STATE", false) => fits::<CheckTransactionState>(&command),
            ("CONSUMER_SEND_MSG_BACK", false) => fits::<ConsumerSendMsgBack>(&command),
            ("END_TRANSACTION", false) => fits::<EndTransaction>(&command),
            ("GET_CONSUMER_LIST_BY_GROUP" | "NOTIFY_CONSUMER_IDS_CHANGED", false) => {
                fits::<ConsumerGroupHeader>(&command);
            }
            ("GET_CONSUME_STATS", false) => fits::<GetConsumeStats>(&command),
            ("GET_MAX_OFFSET", false) => fits::<GetMaxOffset>(&command),
            ("GET_MIN_OFFSET", false) => fits::<GetMinOffset>(&command),
            ("SEARCH_OFFSET_BY_TIMESTAMP", false) => fits::<SearchOffset>(&command),
            ("QUERY_CONSUMER_OFFSET", false) => fits::<QueryConsumerOffset>(&command),
            ("GET_MAX_OFFSET" | "GET_MIN_OFFSET" | "SEARCH_OFFSET_BY_TIMESTAMP" | "QUERY_CONSUMER_OFFSET", true)
                if ok =>
            {
                fits::<OffsetResponse>(&command);
            }
            ("UPDATE_CONSUMER_OFFSET", false) => fits::<UpdateConsumerOffset>(&command),
            ("GET_ROUTEINFO_BY_TOPIC", false) => fits::<GetRouteInfo>(&command),
            ("GET_TOPIC_CONFIG", false) => fits::<GetTopicConfig>(&command),
            ("HEART_BEAT", true) => fits::<HeartbeatResponse>(&command),
            ("QUERY_MESSAGE", false) => fits::<QueryMessage>(&command),
            ("QUERY_MESSAGE", true) => fits::<QueryMessageResponse>(&command),
            ("REGISTER_BROKER", false) => fits::<RegisterBroker>(&command),
            ("REGISTER_BROKER", true) => fits::<RegisterBrokerResponse>(&command),
            ("UNREGISTER_BROKER", false) => fits::<UnregisterBroker>(&command),
            ("UNREGISTER_CLIENT", false) => fits::<UnregisterClient>(&command),
            ("UPDATE_AND_CREATE_TOPIC", false) => fits::<CreateTopic>(&command),
            // The rest carries no field.
            (name, _) => assert!(
                command.ext.is_empty() || !ok || name == "3442",
                "{name} {:?}",
                map(&command.ext)
            ),
        }
    }
}

/// The typed body holds everything the frame's body does, and is written again in a form that reads the same.
fn holds<T: Serialize + DeserializeOwned>(bytes: &Bytes) {
    let value = |bytes: &[u8]| -> Value { serde_json::from_slice(&to_strict_json(bytes).unwrap()).unwrap() };
    let typed: T = body::from_slice(bytes).unwrap();
    assert_eq!(value(&body::to_fastjson(&typed)), value(bytes));
}

#[test]
fn typed_bodies_hold_everything() {
    let mut seen = 0;
    for (frame, command) in all() {
        let body = &command.body;
        if body.is_empty() {
            continue;
        }
        match (frame.name.as_str(), frame.response) {
            ("REGISTER_BROKER", false) => holds::<body::RegisterBrokerBody>(body),
            ("UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", false) => holds::<body::SubscriptionGroupConfig>(body),
            ("GET_ROUTEINFO_BY_TOPIC", true) => holds::<body::TopicRouteData>(body),
            ("GET_BROKER_CLUSTER_INFO", true) => {
                holds::<body::ClusterInfo>(body);
                let typed: body::ClusterInfo = body::from_slice(body).unwrap();
                assert_eq!(body::to_fastjson(&typed), body, "number keys without quotes");
            }
            ("HEART_BEAT", false) => holds::<body::HeartbeatData>(body),
            ("GET_CONSUMER_LIST_BY_GROUP", true) => holds::<body::ConsumerIds>(body),
            ("LOCK_BATCH_MQ" | "UNLOCK_BATCH_MQ", false) => holds::<body::LockBatchBody>(body),
            ("LOCK_BATCH_MQ", true) => holds::<body::LockBatchResponseBody>(body),
            ("SET_MESSAGE_REQUEST_MODE", false) => holds::<body::SetMessageRequestModeBody>(body),
            ("QUERY_ASSIGNMENT", false) => holds::<body::QueryAssignmentRequestBody>(body),
            ("QUERY_ASSIGNMENT", true) => holds::<body::QueryAssignmentResponseBody>(body),
            ("GET_CONSUME_STATS", true) => holds::<body::ConsumeStats>(body),
            ("GET_TOPIC_CONFIG", true) => holds::<body::TopicConfig>(body),
            ("PULL_MESSAGE" | "POP_MESSAGE" | "QUERY_MESSAGE", true) | ("CHECK_TRANSACTION_STATE", false) => {
                assert!(mq_message::record::records(body).all(|record| record.unwrap().body_is_intact()));
            }
            ("SEND_BATCH_MESSAGE", false) => assert_eq!(mq_message::batch::count(body, 10), Ok(3)),
            ("SEND_MESSAGE_V2", false) => {}
            (name, response) => panic!("no type for the body of {name}, response {response}"),
        }
        seen += 1;
    }
    assert!(seen > 50, "{seen} bodies");
}

#[test]
fn route_answers_have_javas_bytes() {
    for (frame, command) in all() {
        if frame.name == "GET_ROUTEINFO_BY_TOPIC" && frame.response && command.code == 0 {
            let route: body::TopicRouteData = body::from_slice(&command.body).unwrap();
            assert_eq!(body::to_standard(&route), command.body);
        }
    }
}
