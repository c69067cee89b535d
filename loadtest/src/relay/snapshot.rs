//! The copy under fire: a large table is copied while it changes, relay and mirror are killed in the middle, and the copy must end equal.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use binlog_relay_stage::Stage;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::drill::{equal, map, settings, wait_until_through};
use super::process::RelayProcess;
use super::writer::{self, SCHEMA, Writers};

/// How it goes.
#[derive(Args, Clone, Debug)]
pub struct RelaySnapshotArgs {
    /// Rows of the large table.
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u64,
    /// Rows changed a second meanwhile, about.
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
    /// Kills of the relay in the middle of the copy.
    #[arg(long, default_value_t = 5)]
    pub kills: u32,
    /// Choice of moments and changes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs it.
///
/// # Errors
/// The copy is not equal, or a writer waited too long for a lock.
pub async fn run(args: RelaySnapshotArgs) -> Result<()> {
    let mut stage = Stage::start(3)?;
    match snapshot(args, &stage).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("everything is kept in {}", stage.keep().display()))),
    }
}

async fn snapshot(args: RelaySnapshotArgs, stage: &Stage) -> Result<()> {
    let source = stage.mysql("source", &[])?;
    let copy = stage.mysql("copy", &["--skip-log-bin"])?;
    writer::prepare(&source.url()).await?;
    // An account of its own, so that its locks can be told from those of the writers.
    source.run(&format!(
        "CREATE USER 'relay'@'%' IDENTIFIED BY 'relay'; GRANT REPLICATION SLAVE ON *.* TO 'relay'@'%'; GRANT SELECT ON {SCHEMA}.* TO 'relay'@'%'"
    ))?;
    println!("filling {SCHEMA}.orders with {} rows …", args.rows);
    let mut conn = binlog_relay::mysql::connect(&source.url()).await?;
    // Beside the keys that the writers choose from, and without the journal.
    conn.query_drop(format!("DROP TRIGGER {SCHEMA}.orders_i")).await?;
    for first in (0..args.rows).step_by(2000) {
        let rows: Vec<String> = (first..(first + 2000).min(args.rows))
            .map(|id| format!("({id}, {}, {}.25, 'new', 'row {id}', NOW(3), 0)", id % 97, id % 1000))
            .collect();
        conn.query_drop(format!("INSERT INTO {SCHEMA}.orders VALUES {}", rows.join(",")))
            .await?;
    }
    let writers = Writers::over(&source.url(), 8, args.rate, args.seed, args.rows);
    let begun = Instant::now();
    let settings = settings(stage, &source, true).replace(&source.url(), &source.url_as("relay", "relay"));
    let mut relay = RelayProcess::start(stage.folder(), "relay", &settings, &[])?;
    let mut mirror = relay.mirror(&copy.url(), &map())?;
    let mut rng = StdRng::seed_from_u64(args.seed);
    let bar = ProgressBar::new(args.rows);
    bar.set_style(ProgressStyle::with_template(
        "  {bar:30} {pos}/{len} rows copied, {msg}",
    )?);
    // Kills are spread over the copy: at these numbers of rows.
    let mut moments: Vec<u64> = (0..args.kills)
        .map(|_| rng.random_range(args.rows / 20..args.rows * 9 / 10))
        .collect();
    moments.sort_unstable();
    let mut killed = 0;
    let (mut looks, mut locks) = (0_u64, 0_u64);
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        let held: Option<u64> = conn
            .query_first(
                "SELECT COUNT(*) FROM information_schema.INNODB_TRX t JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id
                 WHERE p.USER = 'relay' AND t.trx_rows_locked > 0",
            )
            .await?;
        looks += 1;
        locks += u64::from(held != Some(0));
        let status = relay.status();
        let copied = status.as_ref().ok().and_then(|s| s["copied"].as_u64()).unwrap_or(0);
        bar.set_position(copied.min(args.rows));
        bar.set_message(format!("{killed} kills"));
        if moments.get(killed).is_some_and(|moment| copied >= *moment) {
            relay.kill_and_restart()?;
            mirror.kill_and_restart()?;
            killed += 1;
            continue;
        }
        if status.is_ok_and(|s| s["state"] == "active" && s["copying"] == 0 && copied > 0) {
            break;
        }
        for process in [&mut relay, &mut mirror] {
            if let Some(end) = process.ended() {
                bail!("a process ended by itself ({end}); see {}", process.log().display());
            }
        }
        ensure!(Instant::now() < deadline, "the copy does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (changes, slowest) = (writers.changes(), writers.slowest());
    writers.stop().await;
    bar.finish_and_clear();
    ensure!(killed == args.kills as usize, "only {killed} kills came in time");
    wait_until_through(std::slice::from_mut(&mut relay), &source, Duration::from_secs(60))?;
    let waited: Option<(String, u64)> = conn
        .query_first("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_time_max'")
        .await?;
    let (_, waited) = waited.context("read the longest wait for a lock")?;
    ensure!(
        looks > 0 && locks == 0,
        "the relay held row locks in {locks} of {looks} looks"
    );
    println!(
        "{} rows copied in {seconds:.1} s under {:.0} changes a second, {killed} kills; the relay held no row lock in {looks} looks; writers waited for each other {waited} ms at most, slowest transaction {slowest:?}",
        args.rows,
        changes as f64 / seconds
    );
    equal(&source, &copy, Duration::from_secs(180)).await
}
