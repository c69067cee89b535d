//! Frames, headers and commands: known vectors, what real peers do differently, and damage.

use bytes::{Bytes, BytesMut};
use mq_remoting::code::{request, response};
use mq_remoting::frame::decode_frame;
use mq_remoting::header::*;
use mq_remoting::{ByteStr, Command, Decoder, Ext, FrameError, Header, HeaderError, HeaderFormat, Language, version};
use proptest::prelude::*;

const JSON: &str = r#"{"code":105,"extFields":{"topic":"TopicTest"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":479}"#;
const BINARY: &str = "0000002d 01000029 0069 00 01df 00000007 00000000 00000000 00000014 0005 746f706963 \
                      00000009 546f70696354657374";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn frame(header: &str, body: &[u8]) -> Bytes {
    let mut out = Vec::new();
    out.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
    out.extend_from_slice(&(header.len() as u32).to_be_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(body);
    out.into()
}

fn decode(header: &str) -> Command {
    decode_frame(frame(header, b"")).unwrap()
}

fn route_request(format: HeaderFormat) -> Command {
    let header = GetRouteInfo {
        topic: "TopicTest".into(),
        accept_standard_json_only: None,
    };
    let mut command = Command::bare_request(request::GET_ROUTEINFO_BY_TOPIC)
        .in_format(format)
        .with_header(&header);
    command.opaque = 7;
    command
}

#[test]
fn known_frames() {
    let bytes = route_request(HeaderFormat::Json).encode();
    assert_eq!(bytes, frame(JSON, b""));
    assert_eq!(bytes[..10], hex("00000087 00000083 7b22"));
    assert_eq!(route_request(HeaderFormat::Binary).encode(), hex(BINARY));
    for bytes in [bytes, hex(BINARY).into()] {
        let command = decode_frame(bytes).unwrap();
        assert_eq!((command.code, command.opaque, command.version), (105, 7, 479));
        assert_eq!(command.header::<GetRouteInfo>().unwrap().topic, "TopicTest");
    }
}

#[test]
fn peers_may_write_headers_otherwise() {
    // Blanks, another order, unknown fields of every kind, numbers and booleans as values, nulls, repeats.
    let command = decode(
        r#" { "version" : "317" , "x" : [1,{"y":"]}"},null] , "extFields" : { "queueId" : 3 , "topic":"old",
        "consumerGroup":"g\u4e2d\ud83d\ude00\"\\\/\n","setZeroIfNotFound" : true, "n":null,"topic":"T","z":{"a":[1]} },
        "language":"GO","opaque":-2,"flag":1,"code":14,"remark":null,"serializeTypeCurrentRPC":"JSON" } "#,
    );
    assert_eq!((command.version, command.opaque, command.flag), (317, -2, 1));
    assert_eq!((command.language, command.remark), (Language::Go, None));
    let header = QueryConsumerOffset::decode(&command.ext).unwrap();
    assert_eq!((header.queue_id, header.topic.as_ref()), (3, "T"));
    assert_eq!(header.consumer_group, "g中😀\"\\/\n");
    assert_eq!(header.set_zero_if_not_found, Some(true));
    assert_eq!(command.ext.get("z").unwrap(), r#"{"a":[1]}"#);
    assert_eq!(command.ext.get("n"), None);
    // Languages we do not know, and numbers for them.
    assert_eq!(decode(r#"{"code":1,"language":"BASIC"}"#).language, Language::Other);
    assert_eq!(decode(r#"{"code":1,"language":9}"#).language, Language::Go);
    assert_eq!(decode(r#"{"language":"RUST"}"#).language, Language::Rust);
}

#[test]
fn absent_and_empty_fields_differ() {
    for (header, absent) in [
        (r#"{"code":1}"#, true),
        (r#"{"extFields":null}"#, true),
        (r#"{"extFields":{}}"#, false),
    ] {
        let command = decode(header);
        assert!(command.ext.is_empty());
        assert_eq!(command.ext.is_absent(), absent, "{header}");
    }
    let request = decode(r#"{"code":1,"opaque":4}"#);
    let text = |command: &Command| String::from_utf8(command.encode()[8..].to_vec()).unwrap();
    let bare = r#"{"code":0,"flag":1,"language":"JAVA","opaque":4,"serializeTypeCurrentRPC":"JSON","version":479}"#;
    assert_eq!(text(&Command::response(&request, 0)), bare);
    let empty = text(&Command::response(&request, 0).with_header(&Empty));
    assert_eq!(empty, bare.replace(r#""flag""#, r#""extFields":{},"flag""#));
}

#[test]
fn strings_are_escaped_as_fastjson_does() {
    let value = "a\u{1}b\u{2}\"\\/\u{8}\t\n\u{c}\r\u{1f}中😀\u{7f}";
    let command = Command::bare_request(1)
        .with_field("k\"", value)
        .with_remark(value.to_owned());
    let bytes = command.encode();
    let escaped = r#"a\u0001b\u0002\"\\/\b\t\n\f\r\u001F中😀"#;
    let text = std::str::from_utf8(&bytes[8..]).unwrap();
    assert!(text.contains(&format!(r#"{{"k\"":"{escaped}"#)), "{text}");
    let read = decode_frame(bytes).unwrap();
    assert_eq!(read.ext.get("k\"").unwrap(), value);
    assert_eq!(read.remark.unwrap(), value);
}

#[test]
fn malformed_headers_are_errors() {
    for header in [
        "",
        " ",
        "{",
        "}",
        "[]",
        "{}x",
        r#"{"code":}"#,
        r#"{"code":1,}"#,
        r#"{"code":1 "flag":2}"#,
        r#"{"code":"x"}"#,
        r#"{"code":2147483648}"#,
        r#"{"code":1.5}"#,
        r#"{"code":true}"#,
        r#"{code:1}"#,
        r#"{"extFields":[]}"#,
        r#"{"extFields":{"a":"b"}"#,
        r#"{"extFields":{"a"}}"#,
        r#"{"extFields":{"a":"b",}}"#,
        r#"{"extFields":"x"}"#,
        r#"{"remark":"\x"#,
        r#"{"remark":"\u12"}"#,
        r#"{"x":[[}"#,
        r#"{"remark":"a\"#,
    ] {
        let result = decode_frame(frame(header, b""));
        assert_eq!(result.err(), Some(FrameError::Header(HeaderFormat::Json)), "{header}");
    }
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(65), "]".repeat(65));
    assert!(decode_frame(frame(&deep, b"")).is_err());
    assert_eq!(decode(&deep.replacen('[', "", 1).replacen(']', "", 1)).code, 0);
    // A lone surrogate is replaced, as Java does when it writes UTF-8.
    assert_eq!(decode(r#"{"remark":"\ud800x"}"#).remark.unwrap(), "\u{fffd}x");
}

#[test]
fn typed_errors_name_the_field() {
    let ext: Ext = [("consumerGroup", "g"), ("queueId", "one")].into_iter().collect();
    let illegal = HeaderError::Illegal {
        field: "queueId",
        value: "one".to_owned(),
    };
    assert_eq!(QueryConsumerOffset::decode(&ext), Err(illegal));
    let ext: Ext = [("consumerGroup", "g"), ("queueId", "1")].into_iter().collect();
    let missing = QueryConsumerOffset::decode(&ext).unwrap_err();
    assert_eq!(missing, HeaderError::Missing("topic"));
    assert_eq!(missing.to_string(), "the custom field <topic> is null");
    assert!(QueryConsumerOffset::decode(&Ext::ABSENT).is_err());
    // Numbers as Java reads them, and beyond.
    for (text, number) in [
        ("+5", Some(5)),
        ("-2147483648", Some(i32::MIN)),
        ("2147483648", None),
        ("", None),
        ("-", None),
        (" 1", None),
    ] {
        let ext: Ext = [("topic", "t"), ("queueId", text)].into_iter().collect();
        assert_eq!(GetMinOffset::decode(&ext).ok().map(|h| h.queue_id), number, "{text:?}");
    }
    for (text, number) in [
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("99999999999999999999", None),
    ] {
        let ext: Ext = [("offset", text)].into_iter().collect();
        assert_eq!(OffsetResponse::decode(&ext).ok().map(|h| h.offset), number, "{text}");
    }
}

#[test]
fn sends_are_read_in_either_spelling() {
    let header = SendMessageHeader {
        producer_group: "g".into(),
        topic: "t".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: -1,
        sys_flag: 4,
        born_timestamp: 1_700_000_000_000,
        flag: 9,
        properties: Some("a\u{1}b\u{2}".into()),
        reconsume_times: Some(1),
        unit_mode: Some(false),
        max_reconsume_times: Some(16),
        batch: None,
        broker_name: Some("b".into()),
    };
    let v1 = Command::request(request::SEND_MESSAGE, &SendMessageV1(header.clone()));
    let v2 = Command::request(request::SEND_MESSAGE_V2, &SendMessageV2(header.clone()));
    for command in [v1, v2] {
        for format in [HeaderFormat::Json, HeaderFormat::Binary] {
            let read = decode_frame(command.clone().in_format(format).encode()).unwrap();
            assert_eq!(read.format, format);
            assert_eq!(SendMessageHeader::decode_for(read.code, &read.ext), Ok(header.clone()));
        }
    }
}

#[test]
fn texts_of_a_header_are_slices_of_its_frame() {
    let bytes = route_request(HeaderFormat::Json).encode();
    let within = |part: &[u8]| bytes.as_ptr_range().contains(&part.as_ptr());
    let command = decode_frame(bytes.clone()).unwrap();
    let topic: ByteStr = command.header::<GetRouteInfo>().unwrap().topic;
    assert!(within(topic.as_bytes()));
    let with_body = decode_frame(frame(JSON, b"body")).unwrap();
    assert_eq!(with_body.body, "body");
}

#[test]
fn responses_take_the_form_of_the_request_unless_the_code_is_too_large() {
    let request = decode_frame(hex(BINARY).into()).unwrap();
    for (code, format) in [
        (response::SUCCESS, HeaderFormat::Binary),
        (32_767, HeaderFormat::Binary),
        (32_768, HeaderFormat::Json),
        (response::PRODUCER_FENCED, HeaderFormat::Json),
    ] {
        let answer = Command::response(&request, code)
            .with_field("k", "v\u{1}")
            .with_body(&b"x"[..]);
        let read = decode_frame(answer.encode()).unwrap();
        assert_eq!((read.code, read.format, read.opaque), (code, format, 7));
        assert!(read.is_response());
        assert_eq!(
            (read.ext.get("k").unwrap().as_ref(), &read.body[..]),
            ("v\u{1}", &b"x"[..])
        );
    }
}

#[test]
fn heads_may_be_written_apart_from_bodies() {
    let command = route_request(HeaderFormat::Json).with_body(&b"hello"[..]);
    let mut head = BytesMut::from(&b"before"[..]);
    command.encode_head(5, &mut head);
    head.extend_from_slice(b"hello");
    assert_eq!(head[6..], command.encode()[..]);
}

#[test]
fn headers_no_frame_can_carry_are_replaced() {
    let request = Command::bare_request(1);
    let answer = Command::response(&request, 0)
        .with_field("k", &"x".repeat(1 << 24))
        .with_body(&b"b"[..]);
    let read = decode_frame(answer.encode()).unwrap();
    assert_eq!(
        (read.code, read.remark.unwrap().as_ref()),
        (response::SYSTEM_ERROR, "header too long")
    );
    assert_eq!(read.body, "b");
}

#[test]
fn decoder_waits_for_whole_frames() {
    let (first, second) = (frame(JSON, b"one"), hex(BINARY));
    let both = [&first[..], &second].concat();
    let decoder = Decoder::default();
    let mut bytes = BytesMut::new();
    let mut bodies = Vec::new();
    for &byte in &both {
        bytes.extend_from_slice(&[byte]);
        while let Some(command) = decoder.decode(&mut bytes).unwrap() {
            bodies.push(command.body);
        }
    }
    assert_eq!(bodies, [&b"one"[..], b""]);
    assert!(bytes.is_empty());
}

#[test]
fn decoder_refuses_what_cannot_be_a_frame() {
    let limit = 1000;
    let refuse = |bytes: &[u8]| Decoder::new(limit).decode(&mut BytesMut::from(bytes)).unwrap_err();
    assert_eq!(refuse(&hex("000003e5")), FrameError::TooLong { bytes: 1001, limit });
    assert_eq!(
        refuse(&hex("ffffffff")),
        FrameError::TooLong {
            bytes: 0x1_0000_0003,
            limit
        }
    );
    assert!(matches!(refuse(&hex("00000003")), FrameError::HeaderLength { .. }));
    assert!(matches!(
        refuse(&hex("00000005 00000002")),
        FrameError::HeaderLength { header: 2, total: 5 }
    ));
    assert_eq!(refuse(&hex("00000004 02000000")), FrameError::Form(2));
    assert_eq!(
        refuse(&hex("00000004 01000000")),
        FrameError::Header(HeaderFormat::Binary)
    );
    assert_eq!(
        Decoder::new(limit)
            .decode(&mut BytesMut::from(&hex("000003e4")[..]))
            .unwrap()
            .map(|_| ()),
        None
    );
    for wrong in ["", "00", "00000000", "00000009 00000000"] {
        assert!(decode_frame(hex(wrong).into()).is_err(), "{wrong}");
    }
}

#[test]
fn codes_have_names() {
    assert_eq!(request::name(310), "SEND_MESSAGE_V2");
    assert_eq!(request::name(60002), "ATOMIC_BATCH");
    assert_eq!(response::name(21), "PULL_OFFSET_MOVED");
    assert_eq!(request::name(-1), "UNKNOWN");
}

#[test]
fn versions_have_names() {
    for (ordinal, name) in [
        (479, "V5_3_3"),
        (213, "V4_0_0"),
        (232, "V4_1_0_SNAPSHOT"),
        (355, "V4_7_1"),
        (399, "V4_9_3"),
        (413, "V5_0_0"),
        (611, "V5_9_9"),
        (612, "HIGHER_VERSION"),
        (121, "V_121"),
        (i32::MIN, "V_-2147483648"),
    ] {
        assert_eq!(version::name(ordinal), name);
    }
}

/// Fields of any kind, in either form, come back.
fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[a-zA-Z_\"\\\\\u{1}]{1,12}", ".{0,40}"), 0..10)
}

proptest! {
    #[test]
    fn commands_come_back(
        numbers in any::<(i32, i32, i32)>(),
        fields in fields(),
        remark in prop::option::of("(?s).{0,30}"),
        body in prop::collection::vec(any::<u8>(), 0..50),
        binary in any::<bool>(),
    ) {
        let mut command = Command::bare_request(numbers.0).with_header(&Empty).with_body(body.clone());
        command.opaque = numbers.1;
        command.flag = numbers.2;
        command.remark = remark.clone().map(ByteStr::from);
        command.format = if binary { HeaderFormat::Binary } else { HeaderFormat::Json };
        for (key, value) in &fields {
            command = command.with_field(key, value);
        }
        let read = decode_frame(command.encode()).unwrap();
        prop_assert_eq!((read.code, read.opaque, read.flag), numbers);
        prop_assert_eq!(read.body.to_vec(), body);
        let remark = remark.filter(|r| read.format == HeaderFormat::Json || !r.is_empty());
        prop_assert_eq!(read.remark.map(|r| r.to_string()), remark);
        let got: Vec<_> = read.ext.iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        prop_assert_eq!(got, fields);
    }

    #[test]
    fn mutated_frames_never_panic(
        binary in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = if binary { hex(BINARY) } else { frame(JSON, b"body").to_vec() };
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(Some(command)) = Decoder::new(4096).decode(&mut BytesMut::from(&bytes[..])) {
            let _ = (command.header::<GetRouteInfo>(), command.ext.iter().count(), command.encode());
        }
    }

    #[test]
    fn random_headers_never_panic(header in "[{}\\[\\]\",:\\\\a-f0-9unl]{0,60}", binary in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(command) = decode_frame(frame(&header, b"")) {
            let _ = (command.ext.iter().count(), command.encode());
        }
        let mut bytes = ((4 + binary.len()) as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&(1 << 24 | binary.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&binary);
        if let Ok(command) = decode_frame(bytes.into()) {
            let _ = (command.header::<PullMessage>(), command.encode());
        }
    }
}
