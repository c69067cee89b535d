//! The stored record against bytes of a real broker, and against damage.

use bytes::BytesMut;
use mq_message::record::{MAGIC_V2, RecordError, records};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordSpec, RecordView, property, sys_flag};
use mq_message::{set_physical_offset, set_queue_offset, set_store_timestamp};
use proptest::prelude::*;

const HEAD: &[u8] = include_bytes!("golden/commitlog-head.bin");

/// One record of 137 bytes with every field known.
const VECTOR: &str = "00000089daa320a73610a68600000001000000000000000000000002000000000000000300000000\
    0000018bcfe568007f0000010000d4310000018bcfe568017f00000100002a9f0000000000000000000000000000000568656c6c6f\
    09546f7069635465737400 20554e49515f4b455901374630303030303130303031025441475301546167 4102";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn vector_spec() -> RecordSpec<'static> {
    RecordSpec {
        topic: "TopicTest",
        queue_id: QueueId(1),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: "127.0.0.1:54321".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        store_timestamp: 1_700_000_000_001,
        reconsume_times: 0,
        prepared_transaction_offset: CommitLogOffset(0),
        body: b"hello",
        properties: "UNIQ_KEY\u{1}7F0000010001\u{2}TAGS\u{1}TagA\u{2}",
        queue_offset: QueueOffset(2),
        physical_offset: CommitLogOffset(3),
    }
}

fn encode(spec: &RecordSpec<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    assert_eq!(spec.encode_into(&mut out).unwrap(), out.len());
    assert_eq!(spec.encoded_len(), out.len());
    out
}

#[test]
fn known_record_encodes_and_decodes() {
    let bytes = hex(VECTOR);
    assert_eq!(bytes.len(), 137);
    assert_eq!(&encode(&vector_spec())[..], &bytes[..]);
    let view = RecordView::parse(&bytes).unwrap();
    assert_eq!(view.to_spec(), vector_spec());
    assert_eq!(view.tags_code(), 2_598_919);
    assert!(view.body_is_intact());
}

#[test]
fn real_commit_log_decodes_and_encodes_to_the_same_bytes() {
    let mut topics = Vec::new();
    let mut at = 0;
    for record in records(HEAD) {
        let view = record.unwrap();
        assert_eq!(view.physical_offset(), CommitLogOffset(at), "records lie end to end");
        assert!(view.body_is_intact());
        assert_eq!(&encode(&view.to_spec())[..], view.bytes());
        assert!(!property::iter(view.properties()).collect::<Vec<_>>().is_empty());
        topics.push(view.topic().to_owned());
        at += view.size() as u64;
    }
    assert_eq!(at, HEAD.len() as u64);
    for topic in [
        "GoldNormal",
        "SCHEDULE_TOPIC_XXXX",
        "rmq_sys_wheel_timer",
        "RMQ_SYS_TRANS_HALF_TOPIC",
    ] {
        assert!(topics.iter().any(|t| t == topic), "{topic}");
    }
}

#[test]
fn real_first_record_has_the_fields_its_broker_reported() {
    let view = RecordView::parse(HEAD).unwrap();
    assert_eq!(
        (view.size(), view.topic(), view.body()),
        (281, "GoldNormal", &b"hello golden"[..])
    );
    assert_eq!(
        view.property("UNIQ_KEY"),
        Some("FD00000000000000000000000000000228975FFD2B27677A77C20000")
    );
    assert_eq!(view.property("KEYS"), Some("Key1"));
    assert_eq!(view.store_host(), "127.0.0.1:10911".parse().unwrap());
    assert_eq!(&HEAD[view.topic_range()], b"GoldNormal");
    assert_eq!(&HEAD[view.body_range()], b"hello golden");
    assert_eq!(&HEAD[view.properties_range()], view.properties().as_bytes());
    let second = records(HEAD).nth(1).unwrap().unwrap();
    assert_eq!(second.sys_flag(), sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB);
}

#[test]
fn patches_reach_their_fields_with_either_kind_of_host() {
    for host in ["10.1.2.3:4", "[2001:db8::1]:65535"] {
        let spec = RecordSpec {
            born_host: host.parse().unwrap(),
            ..vector_spec()
        };
        let mut bytes = encode(&spec);
        set_queue_offset(&mut bytes, QueueOffset(77));
        set_physical_offset(&mut bytes, CommitLogOffset(1 << 40));
        set_store_timestamp(&mut bytes, 1234);
        let view = RecordView::parse(&bytes).unwrap();
        let sys_flag = view.sys_flag();
        let expected = RecordSpec {
            queue_offset: QueueOffset(77),
            physical_offset: CommitLogOffset(1 << 40),
            store_timestamp: 1234,
            sys_flag,
            ..spec
        };
        assert_eq!(view.to_spec(), expected);
        assert_eq!(sys_flag & sys_flag::BORN_HOST_V6 != 0, spec.born_host.is_ipv6());
    }
}

#[test]
fn long_topics_take_the_second_layout() {
    for (length, v2) in [(127, false), (128, true), (255, true), (300, true)] {
        let topic = "t".repeat(length);
        let bytes = encode(&RecordSpec {
            topic: &topic,
            ..vector_spec()
        });
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!((view.topic(), view.is_v2()), (topic.as_str(), v2));
        assert_eq!(bytes[4..8] == MAGIC_V2.to_be_bytes(), v2);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_written() {
    let long = "p".repeat(32_768);
    let mut out = BytesMut::new();
    assert!(
        RecordSpec {
            properties: &long,
            ..vector_spec()
        }
        .encode_into(&mut out)
        .is_err()
    );
    assert!(
        RecordSpec {
            topic: &long,
            ..vector_spec()
        }
        .encode_into(&mut out)
        .is_err()
    );
    assert!(out.is_empty());
    assert!(
        RecordSpec {
            properties: &long[1..],
            ..vector_spec()
        }
        .encode_into(&mut out)
        .is_ok()
    );
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = hex(VECTOR);
    for n in 0..bytes.len() {
        assert!(
            matches!(RecordView::parse(&bytes[..n]), Err(RecordError::Truncated { .. })),
            "{n}"
        );
    }
}

#[test]
fn wrong_lengths_and_signs_are_errors() {
    let bytes = hex(VECTOR);
    let with = |at: usize, byte: u8| {
        let mut damaged = bytes.clone();
        damaged[at] = byte;
        RecordView::parse(&damaged).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(3, 0x88), RecordError::Length("properties"));
    assert_eq!(with(7, 0), RecordError::Magic(0xdaa3_2000));
    assert_eq!(with(12, 0x80), RecordError::Negative("queue id"));
    assert_eq!(with(20, 0xff), RecordError::Negative("queue offset"));
    assert_eq!(with(28, 0xff), RecordError::Negative("physical offset"));
    assert_eq!(with(84, 0xff), RecordError::Length("body"));
    assert_eq!(with(94, 0xff), RecordError::Utf8("topic"));
}

proptest! {
    #[test]
    fn any_record_comes_back(
        topic in "[%|a-zA-Z0-9_-]{1,200}",
        body in prop::collection::vec(any::<u8>(), 0..300),
        properties in "\\PC{0,100}",
        numbers in any::<(u32, i32, i64, i64, i32, u64, u64, u64)>(),
        v6 in any::<(bool, bool, u16)>(),
    ) {
        let host = |v6: bool, port: u16| if v6 { format!("[fd00::2]:{port}") } else { format!("10.0.0.7:{port}") };
        let mut spec = RecordSpec {
            topic: &topic,
            queue_id: QueueId(numbers.0 >> 1),
            flag: numbers.1,
            sys_flag: 0x700,
            born_timestamp: numbers.2,
            born_host: host(v6.0, v6.2).parse().unwrap(),
            store_host: host(v6.1, 10911).parse().unwrap(),
            store_timestamp: numbers.3,
            reconsume_times: numbers.4,
            prepared_transaction_offset: CommitLogOffset(numbers.5 >> 1),
            body: &body,
            properties: &properties,
            queue_offset: QueueOffset(numbers.6 >> 1),
            physical_offset: CommitLogOffset(numbers.7 >> 1),
        };
        let bytes = encode(&spec);
        let view = RecordView::parse(&bytes).unwrap();
        spec.sys_flag = view.sys_flag();
        prop_assert_eq!(view.to_spec(), spec);
        prop_assert!(view.body_is_intact());
    }

    #[test]
    fn damaged_records_never_panic(at in 0..HEAD.len(), byte in any::<u8>(), cut in 0..HEAD.len()) {
        let mut bytes = HEAD.to_vec();
        bytes[at] = byte;
        for view in records(&bytes[..cut]).flatten() {
            let _ = (view.to_spec(), view.tags_code(), view.body_is_intact(), format!("{view:?}"));
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), size in 0u32..400) {
        if bytes.len() >= 8 {
            bytes[..4].copy_from_slice(&size.to_be_bytes());
            bytes[4..8].copy_from_slice(&0xdaa3_20a7u32.to_be_bytes());
        }
        let _ = records(&bytes).count();
    }
}
