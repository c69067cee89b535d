//! `loadtest mq pull`: how fast one hot queue is read. The same recent messages are pulled again and again, several pulls at a time; the
//! bodies are counted by their offsets and not decoded, so that the server is measured and not this program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use mq_client::{ClientConfig, Message, Producer};
use mq_net::{ClientOptions, Remoting};
use mq_remoting::code::{request, response};
use mq_remoting::header::{PullMessageResponse, pull_flag};
use mq_remoting::{Command, HeaderFormat};
use serde::Serialize;

use crate::servers;

const TOPIC: &str = "LoadTestPull";
const GROUP: &str = "loadtest_pull";
/// Messages of one send while the queue is filled.
const FILL_BATCH: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What to pull, how, and for how long.
#[derive(Args, Clone, Debug)]
pub struct PullArgs {
    /// Name servers, `host:port;host:port`.
    #[arg(long, env = "NAMESRV_ADDR", value_name = "ADDR")]
    pub namesrv: String,
    /// Folder of a cluster that `mqcluster` started.
    #[arg(long, value_name = "DIR")]
    pub dir: std::path::PathBuf,
    /// Messages in the queue; they should fit into the brokers' `logWindowBytes`.
    #[arg(long, default_value_t = 30_000)]
    pub messages: usize,
    /// Body size, bytes.
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Pulls in flight.
    #[arg(long, default_value_t = 4)]
    pub in_flight: usize,
    /// Seconds.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    pub duration: f64,
    /// Print one JSON object instead of a sentence.
    #[arg(long)]
    pub json: bool,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
struct Found {
    rate: f64,
    cpu_s_per_million: f64,
}

/// Fills a queue, then reads it over and over.
pub async fn run(args: PullArgs) -> Result<()> {
    let status = mq_cluster::Cluster::open(&args.dir)?.status()?;
    let leader = status.members.iter().find(|member| member.role == "leader");
    let leader = leader.context("the cluster has no leader at the moment")?;
    let pid = leader.pid.context("the leader has no process")?;
    let (queue, begin) = fill(&args).await?;
    let puller = Arc::new(Puller {
        remoting: Remoting::new(ClientOptions::default(), Arc::new(()))?,
        addr: leader.addr.clone(),
        queue,
        begin,
        end: begin + args.messages as i64,
        pulled: AtomicU64::new(0),
        failed: parking_lot::Mutex::new(None),
    });
    for n in 0..args.in_flight {
        puller.again(begin + (n * args.messages / args.in_flight) as i64);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (before, pulled, began) = (
        servers::usage(&[pid])?,
        puller.pulled.load(Ordering::Relaxed),
        Instant::now(),
    );
    tokio::time::sleep(Duration::from_secs_f64(args.duration)).await;
    let messages = (puller.pulled.load(Ordering::Relaxed) - pulled) as f64;
    let took = began.elapsed().as_secs_f64();
    let used = servers::used(before, servers::usage(&[pid])?);
    if let Some(error) = puller.failed.lock().take() {
        bail!("pull: {error}");
    }
    let found = Found {
        rate: messages / took,
        cpu_s_per_million: used.cpu_s / messages.max(1.0) * 1e6,
    };
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        println!(
            "{:.0} messages a second from one queue, {:.2} s of the server's CPU a million",
            found.rate, found.cpu_s_per_million
        );
    }
    Ok(())
}

/// Sends the messages to one queue; answers it and the offset of the first.
async fn fill(args: &PullArgs) -> Result<(i32, i64)> {
    let producer = Producer::builder("loadtest")
        .start(ClientConfig::new(&args.namesrv))
        .await?;
    let first = producer
        .send(Message::new(TOPIC, "first"))
        .await
        .context("make the topic")?;
    let body = vec![b'x'; args.size];
    let mut begin = None;
    for sent in (0..args.messages).step_by(FILL_BATCH) {
        let count = FILL_BATCH.min(args.messages - sent);
        let messages = (0..count).map(|_| Message::new(TOPIC, body.clone())).collect();
        let stored = producer
            .send_batch_to(messages, &first.queue)
            .await
            .context("fill the queue")?;
        begin.get_or_insert(stored.queue_offset.to_wire());
    }
    producer.shutdown().await;
    Ok((
        first.queue.queue_id.to_wire(),
        begin.context("--messages must be at least 1")?,
    ))
}

struct Puller {
    remoting: Remoting,
    addr: String,
    queue: i32,
    begin: i64,
    end: i64,
    pulled: AtomicU64,
    failed: parking_lot::Mutex<Option<String>>,
}

impl Puller {
    /// Pulls from an offset, and goes on where the answer ends.
    fn again(self: &Arc<Self>, from: i64) {
        let mut command = Command::bare_request(request::PULL_MESSAGE).in_format(HeaderFormat::Binary);
        command.ext.write(HeaderFormat::Binary, |out| {
            out.text("consumerGroup", GROUP);
            out.text("topic", TOPIC);
            out.integer("queueId", self.queue.into());
            out.integer("queueOffset", from);
            out.integer("maxMsgNums", 1024);
            out.integer("sysFlag", pull_flag::SUBSCRIPTION.into());
            out.integer("commitOffset", 0);
            out.integer("suspendTimeoutMillis", 0);
            out.text("subscription", "*");
            out.integer("subVersion", 0);
        });
        let this = self.clone();
        self.remoting.send_async(&self.addr, command, TIMEOUT, move |answer| {
            let next = match answer {
                Ok(answer) if answer.code == response::SUCCESS => answer
                    .header()
                    .map(|header: PullMessageResponse| header.next_begin_offset)
                    .map_err(|error| error.to_string()),
                Ok(answer) => Err(format!("code {} {:?}", answer.code, answer.remark)),
                Err(error) => Err(error.to_string()),
            };
            match next {
                Ok(next) => {
                    this.pulled.fetch_add((next - from).max(0) as u64, Ordering::Relaxed);
                    this.again(if next >= this.end { this.begin } else { next });
                }
                Err(error) => *this.failed.lock() = Some(error),
            }
        });
    }
}
