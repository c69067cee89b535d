//! What the client itself costs: it sends to, and polls from, a server that does nothing.
//!
//! `bench serve 127.0.0.1:30555 &` then `bench send 127.0.0.1:30555 [BATCH] [IN_FLIGHT] [SECONDS]` or `bench poll 127.0.0.1:30555`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mq_base::env::{clock, net::TcpListener};
use mq_base::stop::StopSource;
use mq_client::{ClientConfig, ConsumeFrom, LitePullConsumer, Message, Producer};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordSpec};
use mq_net::{Connection, Server, ServerOptions, Service};
use mq_remoting::{Command, body, code};
use tokio::sync::Semaphore;

const QUEUES: u32 = 8;
const BODY: usize = 1024;

struct Nothing {
    addr: String,
    records: Bytes,
}

impl Service for Nothing {
    fn call(&self, connection: &Arc<Connection>, command: Command) {
        let ok = Command::response(&command, code::response::SUCCESS);
        let number = |key: &str| command.ext.value(key).and_then(|v| v.integer());
        let answer = match command.code {
            code::request::GET_ROUTEINFO_BY_TOPIC => ok.with_body(format!(
                r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{}"}},"brokerName":"b"}}],"queueDatas":[{{"brokerName":"b","perm":6,"readQueueNums":{QUEUES},"writeQueueNums":{QUEUES}}}]}}"#,
                self.addr
            )),
            code::request::SEND_MESSAGE_V2 | code::request::SEND_BATCH_MESSAGE => ok
                .with_field("msgId", "7F00000100002A9F000000000012D687")
                .with_field("queueId", "0")
                .with_field("queueOffset", "1"),
            code::request::LITE_PULL_MESSAGE => {
                let next = number("queueOffset").unwrap_or(0) + 32;
                ok.with_field("suggestWhichBrokerId", "0")
                    .with_field("nextBeginOffset", &next.to_string())
                    .with_field("minOffset", "0")
                    .with_field("maxOffset", "9")
                    .with_body(self.records.clone())
            }
            code::request::QUERY_CONSUMER_OFFSET => ok.with_field("offset", "0"),
            code::request::GET_CONSUMER_LIST_BY_GROUP => ok.with_body(body::to_standard(&body::ConsumerIds::default())),
            _ => ok,
        };
        if !command.is_oneway() {
            connection.respond(answer);
        }
    }
}

fn records() -> Bytes {
    let host = "127.0.0.1:10911".parse().expect("an address");
    let mut out = BytesMut::new();
    for i in 0..32 {
        let spec = RecordSpec {
            topic: "Bench",
            queue_id: QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            store_timestamp: 0,
            reconsume_times: 0,
            prepared_transaction_offset: CommitLogOffset(0),
            body: &[7; BODY],
            properties: "UNIQ_KEY\u{1}C0000202416E4BBF7A4691E5D140011\u{2}",
            queue_offset: QueueOffset(i),
            physical_offset: CommitLogOffset(0),
        };
        spec.encode_into(&mut out).expect("a record");
    }
    out.freeze()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    mq_base::logging::init("bench");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (role, addr) = (args.first().ok_or("a role")?.as_str(), args.get(1).ok_or("an address")?);
    let seconds = Duration::from_secs(number(4, 4) as u64);
    let config = ClientConfig::new(addr);
    let started = clock::now();
    let count = match role {
        "serve" => {
            let nothing = Nothing {
                addr: addr.clone(),
                records: records(),
            };
            let server = Server::new(ServerOptions::default(), Arc::new(nothing))?;
            let (_source, stop) = StopSource::new();
            server.serve(TcpListener::bind(addr).await?, stop).await;
            return Ok(());
        }
        "send" => send(config, number(2, 1), number(3, 1024), seconds).await?,
        _ => poll(config, seconds).await?,
    };
    let elapsed = (clock::now() - started).as_secs_f64();
    let rate = count as f64 / elapsed;
    println!(
        "{role}: {count} messages, {rate:.0} a second, {:.2} CPU seconds per million",
        cpu_seconds() / (count as f64 / 1e6)
    );
    Ok(())
}

async fn send(
    config: ClientConfig,
    batch: usize,
    in_flight: usize,
    time: Duration,
) -> Result<u64, Box<dyn std::error::Error>> {
    let producer = Producer::builder("bench").start(config).await?;
    let body = Bytes::from(vec![7; BODY]);
    let topic: Arc<str> = "Bench".into();
    let (room, sent) = (Arc::new(Semaphore::new(in_flight)), Arc::new(AtomicU64::new(0)));
    producer.send(Message::new(topic.clone(), body.clone())).await?;
    let end = clock::now() + time;
    while clock::now() < end {
        let permit = room.clone().acquire_owned().await?;
        let sent = sent.clone();
        let message = || Message::new(topic.clone(), body.clone());
        let done = move |result: Result<mq_client::SendResult, _>| {
            drop(permit);
            if result.is_ok() {
                sent.fetch_add(batch as u64, Ordering::Relaxed);
            }
        };
        if batch == 1 {
            producer.send_async(message(), done);
        } else {
            producer.send_batch_async((0..batch).map(|_| message()).collect(), done);
        }
    }
    Ok(sent.load(Ordering::Relaxed))
}

async fn poll(config: ClientConfig, time: Duration) -> Result<u64, Box<dyn std::error::Error>> {
    let instance = mq_client::ClientInstance::start(config)?;
    let consumer = LitePullConsumer::builder("bench").consume_from(ConsumeFrom::First);
    let consumer = consumer.start_on(&instance).await?;
    consumer.assign(&instance.subscribe_queues("Bench").await?).await?;
    let end = clock::now() + time;
    let mut count = 0;
    while clock::now() < end {
        count += consumer.poll(Duration::from_secs(1)).await.len() as u64;
    }
    Ok(count)
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::process::Command::new("sh")
        .args(["-c", "cat /proc/$PPID/stat"])
        .output();
    let text = stat
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        .unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
