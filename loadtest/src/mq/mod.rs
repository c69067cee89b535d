//! `loadtest mq`: produce (and consume) for a while, and say how fast, how late and at what cost.
//!
//! Latency is counted from the moment at which a message was *meant* to be sent: with `--rate` from the schedule, so that a stall of the
//! server is felt by every message behind it; without it (closed loop) from the moment a place in flight was free.

mod consume;
mod produce;
pub mod pull;
mod report;
pub mod sweep;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use mq_client::ClientConfig;

pub use report::{Latency, Report};

use crate::servers;

/// What to send, how, and for how long.
#[derive(Args, Clone, Debug)]
pub struct MqArgs {
    /// Name servers, `host:port;host:port`.
    #[arg(long, env = "NAMESRV_ADDR", value_name = "ADDR")]
    pub namesrv: String,
    /// Topic; created by the broker if it is missing and the broker may.
    #[arg(long, default_value = "LoadTest")]
    pub topic: String,
    /// Producers, each with connections of its own.
    #[arg(long, default_value_t = 1)]
    pub producers: usize,
    /// Requests in flight, over all producers.
    #[arg(long, default_value_t = 256)]
    pub in_flight: usize,
    /// Messages a second, over all producers; without it as many as go.
    #[arg(long, value_name = "MSG_PER_S")]
    pub rate: Option<u64>,
    /// Messages in one request.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Body size, bytes.
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Consumers that read everything as it comes and count what is lost or doubled.
    #[arg(long, default_value_t = 0)]
    pub consumers: usize,
    /// Seconds that are not counted.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub warm_up: f64,
    /// Seconds that are.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub duration: f64,
    /// Rounds; the median of their rates is reported beside each of them.
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
    /// Folder of a cluster that `mqcluster` started: its brokers' CPU, memory and written bytes are measured.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<std::path::PathBuf>,
    /// Process ids of the servers, if they were not started by `mqcluster`.
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Threads of this program.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Print one JSON object a round instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl MqArgs {
    fn check(&self) -> Result<()> {
        if self.producers == 0 || self.in_flight == 0 || self.batch == 0 || self.rounds == 0 {
            bail!("--producers, --in-flight, --batch and --rounds must be at least 1");
        }
        if self.in_flight < self.producers {
            bail!(
                "--in-flight {} leaves some of the {} producers nothing to do",
                self.in_flight,
                self.producers
            );
        }
        if self.rate == Some(0) {
            bail!("--rate must be at least 1");
        }
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        ClientConfig::new(&self.namesrv)
    }
}

/// Runs all rounds, prints them, and fails when messages were lost or doubled.
pub async fn run(args: MqArgs) -> Result<()> {
    args.check()?;
    let pids = server_pids(&args)?;
    if !args.json {
        println!("machine: {}", servers::machine());
    }
    let mut reports = Vec::with_capacity(args.rounds);
    for round in 0..args.rounds {
        let report = round_of(&args, &pids, round).await?;
        report.print(args.json, round == 0);
        reports.push(report);
    }
    if args.rounds > 1 && !args.json {
        report::print_median(&reports);
    }
    let (lost, doubled) = reports
        .iter()
        .fold((0, 0), |sum, r| (sum.0 + r.lost, sum.1 + r.duplicated));
    if lost > 0 {
        bail!("{lost} acknowledged messages were not consumed ({doubled} came twice)");
    }
    Ok(())
}

/// The servers to measure: given, or the brokers of a cluster's folder.
pub fn server_pids(args: &MqArgs) -> Result<Vec<u32>> {
    match &args.dir {
        None => Ok(args.pid.clone()),
        Some(dir) => {
            let status = mq_cluster::Cluster::open(dir)?
                .status()
                .with_context(|| format!("ask the cluster in {}", dir.display()))?;
            Ok(status.members.iter().filter_map(|member| member.pid).collect())
        }
    }
}

/// One round: warm up, measure, drain.
pub async fn round_of(args: &MqArgs, pids: &[u32], round: usize) -> Result<Report> {
    let run = std::process::id().wrapping_mul(1_000).wrapping_add(round as u32);
    let began = Instant::now();
    let consumers = consume::start(args, run, began).await?;
    let producers = produce::start(args, run, began).await?;
    tokio::time::sleep(Duration::from_secs_f64(args.warm_up)).await;
    let before = servers::usage(pids)?;
    let produced = producers.measure(Duration::from_secs_f64(args.duration)).await;
    let used = servers::used(before, servers::usage(pids)?);
    let total = producers.stop().await;
    let consumed = consumers.drain(&total).await;
    Ok(Report::new(args, produced, consumed, used, pids.len()))
}
