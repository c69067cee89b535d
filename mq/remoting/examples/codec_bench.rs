//! How long one command takes through the codec, in nanoseconds. `cargo run --release -p mq-remoting --example codec_bench`
//!
//! Decode is from a received frame to the typed header; answer is from a typed header to the bytes of a frame.

#![allow(clippy::disallowed_methods)] // A test or a bench, never simulated.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mq_message::RecordView;
use mq_remoting::frame::decode_frame;
use mq_remoting::header::{PullMessage, PullMessageResponse, SendMessageHeader, SendMessageResponse, SendMessageV2};
use mq_remoting::{ByteStr, Command, HeaderFormat, code};

fn main() {
    for format in [HeaderFormat::Json, HeaderFormat::Binary] {
        let send = send_request(format);
        let pull = pull_request(format);
        let frames = [("send", send.encode()), ("pull", pull.encode())];
        println!(
            "{format:?}: send frame {} bytes, pull frame {} bytes",
            frames[0].1.len(),
            frames[1].1.len()
        );
        for (name, frame) in &frames {
            measure(&format!("{name}: frame -> command"), || {
                decode_frame(frame.clone()).expect("a frame")
            });
        }
        measure("send: frame -> typed header", || decode_send(&frames[0].1));
        measure("pull: frame -> typed header", || {
            decode_frame(frames[1].1.clone())
                .expect("a frame")
                .header::<PullMessage>()
                .expect("a pull")
        });
        let mut out = BytesMut::with_capacity(1 << 20);
        let (send, pull) = (
            decode_frame(frames[0].1.clone()).unwrap(),
            decode_frame(frames[1].1.clone()).unwrap(),
        );
        measure("send: answer -> bytes", || encode(&mut out, &send_answer(&send)));
        measure("pull: answer -> bytes", || encode(&mut out, &pull_answer(&pull)));
        measure("send: decode + answer", || {
            let header = decode_send(&frames[0].1);
            encode(&mut out, &send_answer(&send));
            header
        });
    }
    record();
}

fn record() {
    let body = vec![7u8; 1024];
    let spec = mq_message::RecordSpec {
        topic: "TopicTest",
        queue_id: 3.into(),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: "127.0.0.1:54321".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        store_timestamp: 1_700_000_000_001,
        reconsume_times: 0,
        prepared_transaction_offset: 0.into(),
        body: &body,
        properties: PROPERTIES,
        queue_offset: 9.into(),
        physical_offset: 0.into(),
    };
    let mut out = BytesMut::with_capacity(4096);
    measure("record of 1 KiB: encode", || {
        out.clear();
        spec.encode_into(&mut out).expect("it fits")
    });
    measure("record of 1 KiB: parse", || {
        RecordView::parse(&out).expect("a record").queue_offset()
    });
    measure("record: tags code", || {
        RecordView::parse(&out).expect("a record").tags_code()
    });
}

const PROPERTIES: &str = "KEYS\u{1}order-12345\u{2}UNIQ_KEY\u{1}7F00000100002A9F0000000000000000\u{2}WAIT\u{1}true\u{2}\
                          TAGS\u{1}TagA\u{2}color\u{1}red\u{2}";

fn decode_send(frame: &Bytes) -> SendMessageHeader {
    let command = decode_frame(frame.clone()).expect("a frame");
    SendMessageHeader::decode_for(command.code, &command.ext).expect("a send")
}

fn encode(out: &mut BytesMut, command: &Command) {
    out.clear();
    command.encode_into(out);
}

fn send_request(format: HeaderFormat) -> Command {
    let header = SendMessageHeader {
        producer_group: "GoldProducer".into(),
        topic: "TopicTest".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp: 1_795_227_279_298,
        flag: 0,
        properties: Some(PROPERTIES.into()),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: Some("broker-a".into()),
    };
    Command::bare_request(code::request::SEND_MESSAGE_V2)
        .in_format(format)
        .with_header(&SendMessageV2(header))
        .with_body(vec![7u8; 1024])
}

fn send_answer(request: &Command) -> Command {
    Command::response(request, 0).with_header(&SendMessageResponse {
        msg_id: "7F00000100002A9F0000000000000000".into(),
        queue_id: 3,
        queue_offset: 123_456,
        transaction_id: Some("FD00000000000000000000000000000228975FFD2B27677A77C20000".into()),
        batch_uniq_id: None,
        recall_handle: None,
        msg_region: Some(ByteStr::from_static("DefaultRegion")),
        trace_on: Some(ByteStr::from_static("true")),
    })
}

fn pull_request(format: HeaderFormat) -> Command {
    let header = PullMessage {
        consumer_group: "GoldPushGroup".into(),
        topic: "TopicTest".into(),
        queue_id: 3,
        queue_offset: 123_456,
        max_msg_nums: 32,
        sys_flag: 3,
        commit_offset: 123_400,
        suspend_timeout_millis: 15_000,
        subscription: None,
        sub_version: 1_795_227_280_633,
        expression_type: Some("TAG".into()),
        max_msg_bytes: Some(262_144),
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: Some("broker-a".into()),
    };
    Command::bare_request(code::request::PULL_MESSAGE)
        .in_format(format)
        .with_header(&header)
}

fn pull_answer(request: &Command) -> Command {
    Command::response(request, 0)
        .with_remark(ByteStr::from_static("FOUND"))
        .with_header(&PullMessageResponse {
            suggest_which_broker_id: 0,
            next_begin_offset: 123_488,
            min_offset: 0,
            max_offset: 234_567,
            offset_delta: None,
            topic_sys_flag: Some(0),
            group_sys_flag: Some(0),
            forbidden_type: None,
        })
}

/// Best of several rounds: the machine has other work too.
fn measure<T>(name: &str, mut step: impl FnMut() -> T) {
    const STEPS: u32 = 100_000;
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        for _ in 0..STEPS {
            black_box(step());
        }
        best = best.min(start.elapsed());
    }
    println!("  {name:<32} {:>7.1} ns", best.as_nanos() as f64 / f64::from(STEPS));
}
