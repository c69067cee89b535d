//! A name server gives a real broker, client and tool the answers that RocketMQ 5.3.3's gave them.

use bytes::{Bytes, BytesMut};
use mq_base::env::net::{self, TcpListener};
use mq_base::env::task;
use mq_base::stop::StopSource;
use mq_namesrv::config::Raw;
use mq_remoting::frame::decode_frame;
use mq_remoting::{Command, Decoder, HeaderFormat};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Exchange {
    form: HeaderFormat,
    name: &'static str,
    request: Bytes,
    answer: Bytes,
}

fn exchanges() -> Vec<Exchange> {
    let lines: Vec<&str> = include_str!("golden/frames.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let exchange = |lines: &[&'static str]| {
        let (form, name) = lines[0].split_once(' ').unwrap();
        let form = if form == "json" {
            HeaderFormat::Json
        } else {
            HeaderFormat::Binary
        };
        Exchange {
            form,
            name,
            request: hex(&lines[1][2..]),
            answer: hex(&lines[2][2..]),
        }
    };
    lines.chunks(3).map(exchange).collect()
}

fn hex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Sends each request of one form on one connection, and gives each answer's bytes to `check`.
async fn replay(form: HeaderFormat, check: impl Fn(&Exchange, Bytes)) {
    let dir = tempfile::tempdir().unwrap();
    let config = Raw::read("").unwrap().validate(dir.path().to_str().unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = StopSource::new();
    let server = task::spawn("name-server", mq_namesrv::run(config, listener, stopped));
    let mut stream = net::connect(&addr, std::time::Duration::from_secs(3)).await.unwrap();
    let mut buffer = BytesMut::new();
    let exchanges = exchanges();
    let of_form: Vec<&Exchange> = exchanges.iter().filter(|exchange| exchange.form == form).collect();
    assert!(of_form.len() >= 5, "{}", of_form.len());
    for exchange in of_form {
        stream.write_all(&exchange.request).await.unwrap();
        let size = loop {
            match Decoder::default().frame_size(&buffer).unwrap() {
                Some(size) if buffer.len() >= size => break size,
                _ => assert!(
                    stream.read_buf(&mut buffer).await.unwrap() > 0,
                    "closed at {}",
                    exchange.name
                ),
            }
        };
        check(exchange, buffer.split_to(size).freeze());
    }
    stop.stop();
    server.join().await.unwrap().unwrap();
}

fn text(frame: &[u8]) -> String {
    String::from_utf8_lossy(&frame[8..]).into_owned()
}

#[tokio::test]
async fn json_answers_are_the_same_bytes() {
    replay(HeaderFormat::Json, |exchange, answer| {
        assert_eq!(text(&answer), text(&exchange.answer), "{}", exchange.name);
        assert_eq!(answer, exchange.answer, "{}", exchange.name);
    })
    .await;
}

#[tokio::test]
async fn binary_requests_get_the_same_answers_in_their_own_form() {
    let say = |command: &Command| {
        let ext: Vec<String> = command
            .ext
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        (
            command.code,
            command.opaque,
            command.remark.clone(),
            ext,
            command.body.clone(),
        )
    };
    replay(HeaderFormat::Binary, |exchange, answer| {
        let (ours, theirs) = (
            decode_frame(answer).unwrap(),
            decode_frame(exchange.answer.clone()).unwrap(),
        );
        assert_eq!(ours.format, decode_frame(exchange.request.clone()).unwrap().format);
        assert_eq!(say(&ours), say(&theirs), "{}", exchange.name);
    })
    .await;
}
