//! Properties, tags, ids, topics, delay levels, batches and atomic batches.

use bytes::BytesMut;
use mq_message::atomic::{
    AtomicBatch, AtomicError, BatchApplied, LastApplied, Message, Offset, OpenProducer, ProducerOpened,
};
use mq_message::batch::{self, BatchError, Item};
use mq_message::delay::{DelayError, Levels};
use mq_message::msg_id::{UniqueKeys, month_start_ms, offset_id, parse_offset_id};
use mq_message::property::{self, Properties, PropertyError};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, TagFilter, body_crc, java_hash, tags_code, topic};
use proptest::prelude::*;

#[test]
fn hashes_and_checksums_are_javas() {
    for (text, hash) in [("TagA", 2_598_919), ("TagB", 2_598_920), ("中文", 646_394), ("", 0)] {
        assert_eq!(java_hash(text), hash, "{text}");
    }
    assert_eq!(java_hash("TopicTest#KEY1"), -1_656_969_516);
    assert_eq!(java_hash("😀"), 1_772_899);
    assert_eq!(tags_code("TopicTest#KEY1"), -1_656_969_516);
    assert_eq!(body_crc(b"hello"), 907_060_870);
}

#[test]
fn property_reading_follows_java() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("", &[]),
        ("a\u{1}b\u{2}c\u{1}d\u{2}", &[("a", "b"), ("c", "d")]),
        ("a\u{1}b\u{2}c\u{1}d", &[("a", "b"), ("c", "d")]),
        ("a\u{2}\u{1}b\u{2}c\u{1}\u{2}d\u{1}e", &[("d", "e")]),
        ("a\u{1}b\u{1}c\u{2}", &[("a", "b\u{1}c")]),
    ];
    for (text, pairs) in cases {
        assert_eq!(&property::iter(text).collect::<Vec<_>>(), pairs, "{text:?}");
    }
}

#[test]
fn the_last_of_equal_properties_counts() {
    let text = "K\u{1}1\u{2}KEY\u{1}x\u{2}K\u{1}2\u{2}K\u{1}\u{2}";
    assert_eq!(property::get(text, "K"), Some("2"));
    assert_eq!(property::get(text, "KE"), None);
    assert_eq!(property::get("K\u{1}v", "K"), Some("v"));
    assert_eq!(
        property::keys("KEYS\u{1}a  b c\u{2}").collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
}

#[test]
fn built_properties_keep_order() {
    let mut properties = Properties::from_text("a\u{1}1\u{2}b\u{1}2\u{2}a\u{1}3");
    properties.set("c", "4").set("b", "5");
    assert_eq!(properties.as_str(), "a\u{1}1\u{2}a\u{1}3\u{2}c\u{1}4\u{2}b\u{1}5\u{2}");
    assert!(properties.remove("a"));
    assert!(!properties.remove("a"));
    assert_eq!(properties.into_string(), "c\u{1}4\u{2}b\u{1}5\u{2}");
    assert_eq!(property::check("a\u{2}", "b"), Err(PropertyError::Control));
    assert_eq!(property::check("a", "b\u{1}"), Err(PropertyError::Control));
    assert_eq!(property::check("a", ""), Err(PropertyError::Empty));
    assert!(Properties::new().try_set("a", "\u{1}").is_err());
}

#[test]
fn tag_filters() {
    for everything in ["", "*"] {
        let filter = TagFilter::parse(everything).unwrap();
        assert!(filter.matches(0) && filter.matches(17) && filter.matches_tag(None));
    }
    let filter = TagFilter::parse(" TagA || TagB||").unwrap();
    assert_eq!(filter.codes(), [2_598_919, 2_598_920]);
    assert!(filter.matches(tags_code("TagB")) && !filter.matches(0));
    assert!(filter.matches_tag(Some("TagA")) && !filter.matches_tag(Some("tagA")) && !filter.matches_tag(None));
    // Only the lower 32 bits count: the schedule topic keeps times there.
    assert!(filter.matches(2_598_919 | 5 << 32));
    assert!(TagFilter::parse("||").is_err());
}

#[test]
fn delay_levels() {
    let levels = Levels::default();
    assert_eq!(levels.max(), 18);
    assert_eq!(
        [1, 5, 18, 99].map(|n| levels.delay_ms(n)),
        [1000, 60_000, 7_200_000, 7_200_000]
    );
    assert_eq!([-1, 0, 1, 19].map(|n| levels.clamp(n)), [None, None, Some(1), Some(18)]);
    assert_eq!(
        Levels::parse(" 1d  2h ").unwrap().iter().collect::<Vec<_>>(),
        [86_400_000, 7_200_000]
    );
    for wrong in ["1", "s", "-1s", "1x", "5秒", "9999999999s"] {
        assert!(matches!(Levels::parse(wrong), Err(DelayError::Item(_))), "{wrong}");
    }
    assert_eq!(Levels::parse(""), Err(DelayError::Count(0)));
    assert_eq!(Levels::parse(&"1s ".repeat(65)), Err(DelayError::Count(65)));
    assert!(matches!(Levels::parse("367d"), Err(DelayError::TooLong(_))));
}

#[test]
fn topic_rules() {
    assert!(topic::check("%a|B_9-").is_ok());
    for wrong in ["", "  ", "a b", "a.b", "主题"] {
        assert!(topic::check(wrong).is_err(), "{wrong:?}");
    }
    let long = "x".repeat(128);
    assert!(topic::check(&long[1..]).is_ok() && topic::check(&long).is_err());
    assert!(topic::check(&topic::retry(&long)).is_ok());
    assert!(topic::check(&topic::dlq(&"x".repeat(251))).is_err());
    assert!(topic::check_group(&long[8..]).is_ok() && topic::check_group(&long[7..]).is_err());
    assert_eq!(topic::group_of("%DLQ%g"), Some("g"));
    assert!(topic::is_system("rmq_sys_x") && topic::is_system("TBW102") && !topic::is_system("T"));
    assert!(!topic::is_allowed_to_send("SCHEDULE_TOPIC_XXXX") && topic::is_allowed_to_send("TBW102"));
}

#[test]
fn offset_ids() {
    let id = "7F00000100002A9F000000000012D687";
    let host = "127.0.0.1:10911".parse().unwrap();
    assert_eq!(offset_id(host, CommitLogOffset(1_234_567)), id);
    assert_eq!(
        parse_offset_id(&id.to_lowercase()),
        Ok((host, CommitLogOffset(1_234_567)))
    );
    let v6 = "[2001:db8::5]:9".parse().unwrap();
    let id = offset_id(v6, CommitLogOffset(u64::MAX));
    assert_eq!(
        (id.len(), parse_offset_id(&id)),
        (56, Ok((v6, CommitLogOffset(u64::MAX))))
    );
    // 128 hex digits in other alphabets, wrong lengths, ports beyond 65535.
    for wrong in [
        "",
        "7F",
        "7G00000100002A9F000000000012D687",
        "7F00000100012A9F000000000012D687",
        &"é".repeat(16),
    ] {
        assert!(parse_offset_id(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn unique_keys() {
    let day = 86_400_000;
    for (now, month) in [(0, 0), (31 * day - 1, 0), (31 * day, 31 * day), (-1, -31 * day)] {
        assert_eq!(month_start_ms(now), month, "{now}");
    }
    // 2024-03-01 begins the month that follows a leap day.
    assert_eq!(month_start_ms(1_709_251_199_999), 1_706_745_600_000);
    assert_eq!(month_start_ms(1_709_251_200_000), 1_709_251_200_000);
    let keys = UniqueKeys::new("10.0.0.1".parse().unwrap(), 0x1234, 0xdead_beef);
    let now = 1_709_251_200_000 + 0x1_0203;
    assert_eq!(keys.next(now), "0A0000011234DEADBEEF000102030000");
    assert_eq!(keys.next(now), "0A0000011234DEADBEEF000102030001");
    assert_eq!(UniqueKeys::new("::1".parse().unwrap(), 1, 2).next(now).len(), 56);
}

fn batch_body(items: &[Item<'_>]) -> BytesMut {
    let mut out = BytesMut::new();
    items.iter().for_each(|item| item.encode_into(&mut out).unwrap());
    out
}

#[test]
fn batches() {
    let items = [
        Item {
            flag: 7,
            body: b"one",
            properties: "a\u{1}b\u{2}",
        },
        Item {
            flag: -1,
            body: b"",
            properties: "",
        },
    ];
    let body = batch_body(&items);
    assert_eq!(batch::items(&body).collect::<Result<Vec<_>, _>>().unwrap(), items);
    assert_eq!(batch::count(&body, 2), Ok(2));
    assert_eq!(batch::count(&body, 1), Err(BatchError::TooMany(1)));
    assert_eq!(batch::count(&[], 9), Err(BatchError::Empty));
    for n in 1..body.len() {
        if n != items[0].encoded_len() {
            assert!(batch::count(&body[..n], 9).is_err(), "{n}");
        }
    }
    // A total that is larger than its parts, and one of zero.
    let mut wrong = body.clone();
    wrong[3] += 1;
    assert_eq!(batch::count(&wrong, 9), Err(BatchError::Length(0)));
    assert_eq!(batch::count(&[0; 64], 9), Err(BatchError::Length(0)));
}

fn sample<'a>(position: Option<&'a [u8]>, messages: &'a [(String, Vec<u8>)]) -> AtomicBatch<'a> {
    let message = |(i, (text, body)): (usize, &'a (String, Vec<u8>))| Message {
        topic: text,
        queue_id: QueueId(i as u32),
        flag: -(i as i32),
        sys_flag: 3,
        born_timestamp: i64::MIN + i as i64,
        properties: text,
        body,
    };
    let offset = |(i, (text, _)): (usize, &'a (String, Vec<u8>))| Offset {
        group: text,
        topic: "t",
        queue_id: QueueId(u32::MAX),
        offset: QueueOffset(i as u64),
    };
    AtomicBatch {
        producer_id: "relay-1",
        epoch: 3,
        sequence: u64::MAX,
        position,
        messages: messages.iter().enumerate().map(message).collect(),
        offsets: messages.iter().enumerate().map(offset).collect(),
    }
}

fn bytes(encode: impl FnOnce(&mut BytesMut) -> Result<(), AtomicError>) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out).unwrap();
    out
}

#[test]
fn atomic_open_and_answers_come_back() {
    let open = OpenProducer { producer_id: "relay" };
    assert_eq!(OpenProducer::decode(&bytes(|out| open.encode_into(out))), Ok(open));
    let last = |position| Some(LastApplied { sequence: 9, position });
    for last in [None, last(None), last(Some(vec![])), last(Some(b"gtid".to_vec()))] {
        let opened = ProducerOpened { epoch: 1 << 40, last };
        assert_eq!(
            ProducerOpened::decode(&bytes(|out| opened.encode_into(out))),
            Ok(opened)
        );
    }
    for duplicate in [false, true] {
        let queue_offsets = vec![QueueOffset(1), QueueOffset(u64::MAX)];
        let answer = BatchApplied {
            duplicate,
            base: CommitLogOffset(5),
            queue_offsets,
        };
        assert_eq!(BatchApplied::decode(&bytes(|out| answer.encode_into(out))), Ok(answer));
    }
}

#[test]
fn atomic_limits_hold() {
    let mut out = BytesMut::new();
    let long = "x".repeat(256);
    let wrong = OpenProducer { producer_id: &long }.encode_into(&mut out);
    assert_eq!(wrong, Err(AtomicError::TooLong("producer id")));
    let position = vec![0; 64 * 1024 + 1];
    let wrong = sample(Some(&position), &[]).encode_into(&mut out);
    assert_eq!(wrong, Err(AtomicError::TooLong("position")));
    assert_eq!(OpenProducer::decode(&[2, 0, 0]), Err(AtomicError::Version(2)));
    assert_eq!(OpenProducer::decode(&[1, 0, 1, b'a', 0]), Err(AtomicError::Trailing));
    assert_eq!(
        OpenProducer::decode(&[1, 0, 1, 0xff]),
        Err(AtomicError::Malformed("producer id"))
    );
}

proptest! {
    #[test]
    fn atomic_batches_come_back(
        position in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        messages in prop::collection::vec(("\\PC{0,20}", prop::collection::vec(any::<u8>(), 0..50)), 0..8),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let batch = sample(position.as_deref(), &messages);
        let mut encoded = bytes(|out| batch.encode_into(out));
        prop_assert_eq!(AtomicBatch::decode(&encoded), Ok(batch));
        let at = at.index(encoded.len());
        prop_assert!(AtomicBatch::decode(&encoded[..at]).is_err(), "every truncation is noticed");
        encoded[at] = byte;
        let _ = AtomicBatch::decode(&encoded);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC*") {
        let _ = AtomicBatch::decode(&bytes);
        let _ = BatchApplied::decode(&bytes);
        let _ = ProducerOpened::decode(&bytes);
        let _ = batch::items(&bytes).count();
        let _ = Levels::parse(&text);
        let _ = parse_offset_id(&text);
        let _ = TagFilter::parse(&text);
        let _ = topic::check(&text);
    }
}
