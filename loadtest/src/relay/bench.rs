//! The relay's figures: how fast a backlog gets into the queue and at what cost, and how long a single commit takes to be readable.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use binlog_relay_stage::{Mysql, Stage};
use clap::Args;
use hdrhistogram::Histogram;
use mq_base::env::clock;
use mq_client::consumer::LitePullConsumer;
use mq_client::{ClientConfig, ClientInstance};
use mysql_async::prelude::Queryable;

use super::drill::{RELAY, settings, wait_until_through};
use super::process::RelayProcess;
use super::writer::SCHEMA;
use crate::servers::{usage, used};

/// How the figures are taken.
#[derive(Args, Clone, Debug)]
pub struct RelayBenchArgs {
    /// Rows of the backlog; half of them are inserts, half updates.
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u64,
    /// Rows of one transaction of the backlog.
    #[arg(long, default_value_t = 100)]
    pub transaction: u64,
    /// Seconds of single commits.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Single-row commits a second.
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
    /// Megabytes of one transaction, at the end; 0: none.
    #[arg(long, default_value_t = 0)]
    pub huge_mb: u64,
    /// Further lines of the relay's settings, `queue.batch_bytes_max=1048576`.
    #[arg(long)]
    pub set: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// Something could not be started, or did not come through.
pub async fn run(args: RelayBenchArgs) -> Result<()> {
    let stage = Stage::start(3)?;
    let source = stage.mysql("source", &[])?;
    let mut conn = binlog_relay::mysql::connect(&source.url()).await?;
    conn.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
    conn.query_drop(format!(
        "CREATE TABLE {SCHEMA}.bench (id BIGINT UNSIGNED PRIMARY KEY, a INT, b INT, c SMALLINT, name VARCHAR(32), note VARCHAR(100),
         amount DECIMAL(10,2), at DATETIME(3), seen TIMESTAMP(6) NULL, ratio DOUBLE)"
    ))
    .await?;
    let mut text = settings(&stage, &source, false);
    for (key, value) in args.set.iter().filter_map(|line| line.split_once('=')) {
        let (section, key) = key.split_once('.').context("--set section.key=value")?;
        text = text.replace(&format!("[{section}]\n"), &format!("[{section}]\n{key} = {value}\n"));
    }
    // Once, so that it knows where to begin.
    let mut relay = RelayProcess::start(stage.folder(), "relay", &text, &[])?;
    relay.wait_for("start", Duration::from_secs(30), |s| s["state"] == "active")?;
    wait_until_through(std::slice::from_mut(&mut relay), &source, Duration::from_secs(30))?;
    relay.kill();
    backlog(&args, &stage, &source, &mut conn, &mut relay).await?;
    delays(&args, &stage, &source, &relay).await?;
    if args.huge_mb > 0 {
        huge(&args, &source, &mut conn, &mut relay).await?;
    }
    Ok(())
}

/// One transaction of so many megabytes, and the most memory that the relay had.
async fn huge(
    args: &RelayBenchArgs,
    source: &Mysql,
    conn: &mut mysql_async::Conn,
    relay: &mut RelayProcess,
) -> Result<()> {
    conn.query_drop(format!(
        "CREATE TABLE {SCHEMA}.huge (id INT PRIMARY KEY, body LONGTEXT)"
    ))
    .await?;
    conn.query_drop("START TRANSACTION").await?;
    for id in 0..args.huge_mb {
        conn.query_drop(format!(
            "INSERT INTO {SCHEMA}.huge VALUES ({id}, REPEAT('0123456789', 100000))"
        ))
        .await?;
    }
    conn.query_drop("COMMIT").await?;
    let begun = Instant::now();
    wait_until_through(std::slice::from_mut(relay), source, Duration::from_secs(300))?;
    let pid = relay.pid().context("the relay does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let most = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .context("read the relay's memory")?;
    println!(
        "huge         one transaction of {} MB is through {:.1} s after its commit; {}",
        args.huge_mb,
        begun.elapsed().as_secs_f64(),
        most.replace('\t', " ")
    );
    Ok(())
}

async fn backlog(
    args: &RelayBenchArgs,
    stage: &Stage,
    source: &Mysql,
    conn: &mut mysql_async::Conn,
    relay: &mut RelayProcess,
) -> Result<()> {
    println!("making a backlog of {} rows …", args.rows);
    let half = args.rows / 2;
    let step = args.transaction;
    for first in (0..half).step_by(step as usize) {
        let rows: Vec<String> = (first..(first + step).min(half))
            .map(|id| {
                format!(
                    "({id},{},{},{},'name of {id}','a note of some length about row number {id}',{}.{:02},NOW(3),NOW(6),{})",
                    id % 1000,
                    id * 7 % 100_000,
                    id % 300,
                    id % 10_000,
                    id % 100,
                    id as f64 / 7.0
                )
            })
            .collect();
        conn.query_drop(format!("INSERT INTO {SCHEMA}.bench VALUES {}", rows.join(",")))
            .await?;
    }
    for first in (0..half).step_by(step as usize) {
        let last = (first + step).min(half) - 1;
        conn.query_drop(format!(
            "UPDATE {SCHEMA}.bench SET amount = amount + 0.01, seen = NOW(6) WHERE id BETWEEN {first} AND {last}"
        ))
        .await?;
    }
    let brokers: Vec<u32> = stage.cluster().status()?.members.iter().filter_map(|m| m.pid).collect();
    let brokers_before = usage(&brokers)?;
    relay.spawn()?;
    let pid = relay.pid().context("the relay does not run")?;
    relay.wait_for("start", Duration::from_secs(30), |s| s["state"] == "active")?;
    let begun = Instant::now();
    wait_until_through(std::slice::from_mut(relay), source, Duration::from_secs(300))?;
    let seconds = begun.elapsed().as_secs_f64();
    let own = usage(&[pid])?;
    let servers = used(brokers_before, usage(&brokers)?);
    let status = relay.status()?;
    let rows = status["rows"].as_f64().unwrap_or(0.0);
    let bytes = status["bytes"].as_f64().unwrap_or(0.0);
    ensure!(rows as u64 == half * 2, "{rows} rows came through, not {}", half * 2);
    println!(
        "backlog      {:>9.0} rows/s  ({rows} rows, {:.0} bytes of message a row, {seconds:.2} s)",
        rows / seconds,
        bytes / rows
    );
    println!("relay CPU    {:>9.2} s per million rows", own.cpu_s / rows * 1e6);
    println!(
        "broker CPU   {:>9.2} s per million rows, all members",
        servers.cpu_s / rows * 1e6
    );
    println!(
        "relay memory {:>9.1} MB anonymous after the backlog",
        own.anon_bytes as f64 / 1e6
    );
    Ok(())
}

async fn delays(args: &RelayBenchArgs, stage: &Stage, source: &Mysql, relay: &RelayProcess) -> Result<()> {
    let instance = ClientInstance::start(ClientConfig::new(&stage.cluster().namesrv_addr()))?;
    let topic = format!("{SCHEMA}_bench");
    let queues = instance.subscribe_queues(&topic).await?;
    let reader = LitePullConsumer::builder("bench_reader")
        .auto_commit(None)
        .start_on(&instance)
        .await?;
    reader.assign(&queues).await?;
    for queue in &queues {
        reader.seek_to_end(queue).await?;
    }
    // Warm: the first pulls find their way.
    reader.poll(Duration::from_millis(300)).await;
    let wanted = args.rate * args.seconds;
    let reading = tokio::spawn(async move {
        let mut histogram: Histogram<u64> = Histogram::new(3)?;
        let mut quiet = Instant::now();
        while histogram.len() < wanted && quiet.elapsed() < Duration::from_secs(10) {
            for message in reader.poll(Duration::from_millis(100)).await {
                let now = clock::wall_ms();
                let body = std::str::from_utf8(message.body())?;
                let es = body
                    .split("\"es\":")
                    .nth(1)
                    .and_then(|rest| rest.split(',').next())
                    .context("find es")?;
                histogram.record((now - es.parse::<i64>()?).max(0) as u64)?;
                quiet = Instant::now();
            }
        }
        reader.shutdown().await;
        anyhow::Ok(histogram)
    });
    let begun = Instant::now();
    let connections = 8;
    let mut writing = Vec::new();
    for first in 0..connections {
        let (url, rate) = (source.url(), args.rate);
        writing.push(tokio::spawn(async move {
            let mut conn = binlog_relay::mysql::connect(&url).await?;
            for n in (first..wanted).step_by(connections as usize) {
                let due = begun + Duration::from_secs_f64(n as f64 / rate as f64);
                if let Some(early) = due.checked_duration_since(Instant::now()) {
                    tokio::time::sleep(early).await;
                }
                let id = 1_000_000_000 + n;
                conn.query_drop(format!(
                    "INSERT INTO {SCHEMA}.bench VALUES ({id},1,2,3,'single','one row in one transaction',1.00,NOW(3),NOW(6),0.5)"
                ))
                .await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in writing {
        task.await??;
    }
    let achieved = wanted as f64 / begun.elapsed().as_secs_f64();
    let histogram = reading.await??;
    ensure!(
        histogram.len() == wanted,
        "{} of {wanted} rows could be read",
        histogram.len()
    );
    println!(
        "delay        p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms from commit to readable at {achieved:.0} single-row commits a second (source clock in whole ms)",
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.99),
        histogram.value_at_quantile(0.999),
        histogram.max()
    );
    let pid = relay.pid().context("the relay does not run")?;
    println!(
        "relay memory {:>9.1} MB anonymous at the end",
        usage(&[pid])?.anon_bytes as f64 / 1e6
    );
    ensure!(
        relay.status()?["state"] == "active",
        "the relay of {RELAY} is not active any more"
    );
    Ok(())
}
