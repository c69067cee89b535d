//! The drill: kill relay, broker leader and MySQL at random under load, wait until everything is through, audit.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use binlog_relay::verify::{self, MirrorPosition, VerifyOptions};
use binlog_relay_stage::{Mysql, Signal, Stage, Target};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use mq_client::ClientConfig;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rustix::process::Signal as Unix;

use super::audit;
use super::process::RelayProcess;
use super::writer::{self, Writers};

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Victim {
    /// The relay's process.
    Relay,
    /// The leader of the broker group.
    Broker,
    /// The source.
    Mysql,
    /// The mirror.
    Mirror,
    /// The active relay is frozen past its lease, the stand-by takes over, the old one wakes up.
    Split,
}

/// How the drill goes.
#[derive(Args, Clone, Debug)]
pub struct RelayDrillArgs {
    /// Kills of each victim.
    #[arg(long, default_value_t = 5)]
    pub kills: u32,
    /// Who is hit.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["relay", "broker", "mysql", "mirror"])]
    pub victims: Vec<Victim>,
    /// Rows changed a second, about.
    #[arg(long, default_value_t = 2000)]
    pub rate: u64,
    /// Seconds between two kills, at most.
    #[arg(long, default_value_t = 1.5)]
    pub every: f64,
    /// Choice of victims and changes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Spoil the comparison, to see it fail: the journal gets a change that never was.
    #[arg(long)]
    pub falsify: bool,
}

/// Name of the relay.
pub const RELAY: &str = "drill";

/// Settings of a relay for this stage, without its HTTP address.
pub fn settings(stage: &Stage, source: &Mysql, initial: bool) -> String {
    format!(
        "name = \"{RELAY}\"\n[source]\nurl = \"{}\"\n[queue]\nnamesrv = \"{}\"\nlease_ms = 2000\n[[tables]]\ntables = '{}\\..*'\n[snapshot]\ninitial = {initial}\n",
        source.url(),
        stage.cluster().namesrv_addr(),
        writer::SCHEMA,
    )
}

/// Runs it.
///
/// # Errors
/// A breach was found, or something did not come back.
pub async fn run(args: RelayDrillArgs) -> Result<()> {
    let mut stage = Stage::start(3)?;
    match drill(args, &stage).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("everything is kept in {}", stage.keep().display()))),
    }
}

async fn drill(args: RelayDrillArgs, stage: &Stage) -> Result<()> {
    let mut source = stage.mysql("source", &[])?;
    let copy = stage.mysql("copy", &["--skip-log-bin"])?;
    let settings = settings(stage, &source, false);
    let mut relays = vec![RelayProcess::start(stage.folder(), "relay-a", &settings, &[])?];
    relays[0].wait_for("start", Duration::from_secs(30), |s| s["state"] == "active")?;
    // From here on: the mirror learns of the tables by their CREATE.
    writer::prepare(&source.url()).await?;
    let mut mirror = relays[0].mirror(&copy.url(), &map())?;
    if args.victims.contains(&Victim::Split) {
        relays.push(RelayProcess::start(
            stage.folder(),
            "relay-b",
            &settings,
            &["--standby"],
        )?);
    }
    let writers = Writers::start(&source.url(), 16, args.rate, args.seed);
    let begun = Instant::now();
    let mut rng = StdRng::seed_from_u64(args.seed);
    let mut plan: Vec<Victim> = Vec::new();
    for victim in &args.victims {
        plan.extend(std::iter::repeat_n(*victim, args.kills as usize));
    }
    let bar = ProgressBar::new(plan.len() as u64);
    bar.set_style(ProgressStyle::with_template("  {bar:30} {pos}/{len} kills, {msg}")?);
    let mut takeovers: Vec<Duration> = Vec::new();
    while !plan.is_empty() {
        tokio::time::sleep(Duration::from_secs_f64(rng.random_range(0.2..args.every))).await;
        let chosen = (0..plan.len()).collect::<Vec<_>>();
        let victim = plan.swap_remove(*chosen.choose(&mut rng).context("choose a victim")?);
        match victim {
            Victim::Relay => relays[0].kill_and_restart()?,
            Victim::Broker => {
                // Between two elections there is no leader to be hit; then the next one is.
                let deadline = Instant::now() + Duration::from_secs(20);
                while let Err(error) = stage.cluster().kill(&Target::Leader, Signal::Kill, None) {
                    ensure!(Instant::now() < deadline, "no leader to kill: {error:#}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Victim::Mysql => {
                source.kill()?;
                source.restart()?;
            }
            Victim::Mirror => mirror.kill_and_restart()?,
            Victim::Split => takeovers.push(split(&mut relays).await?),
        }
        for relay in relays.iter_mut().chain([&mut mirror]) {
            if let Some(end) = relay.ended() {
                bail!("a relay ended by itself ({end}); see {}", relay.log().display());
            }
        }
        bar.inc(1);
        bar.set_message(format!("{} rows changed", writers.changes()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let changes = writers.changes();
    let seconds = begun.elapsed().as_secs_f64();
    writers.stop().await;
    bar.finish_and_clear();
    wait_until_through(&mut relays, &source, Duration::from_secs(90))?;
    if args.falsify {
        source.run("INSERT INTO audit.journal (tab, k, op, mark) VALUES (0, '1', 'U', 1)")?;
    }
    let client = ClientConfig::new(&stage.cluster().namesrv_addr());
    let audit = audit::audit(&client, &source.url(), RELAY).await.context("audit")?;
    println!(
        "{} kills; {changes} rows changed in {seconds:.0} s ({:.0} a second); {} messages with {} rows of {} keys, {} batches of {} owners",
        args.kills as usize * args.victims.len(),
        changes as f64 / seconds,
        audit.messages,
        audit.rows,
        audit.keys,
        audit.batches,
        audit.epochs,
    );
    if let Some(slowest) = takeovers.iter().max() {
        println!("slowest take-over of {}: {slowest:?}", takeovers.len());
        ensure!(*slowest < Duration::from_secs(5), "a take-over took {slowest:?}");
    }
    println!(
        "each of {} changes is in its queue once and in order: no gap, no repeat, no inversion",
        audit.journal
    );
    equal(&source, &copy, Duration::from_secs(90)).await
}

/// Which database the mirror makes of ours.
pub fn map() -> String {
    format!("{}={}_copy", writer::SCHEMA, writer::SCHEMA)
}

/// Compares the mirror's copy with the source.
///
/// # Errors
/// They differ.
pub async fn equal(source: &Mysql, copy: &Mysql, within: Duration) -> Result<()> {
    let databases = [(writer::SCHEMA.to_owned(), format!("{}_copy", writer::SCHEMA))];
    let mut options = VerifyOptions::new(&source.url(), &copy.url(), databases.into());
    options.time_limit = within;
    options.mirror = Some(MirrorPosition {
        schema: "forebay_mirror".to_owned(),
        name: format!("{RELAY}-mirror"),
    });
    let report = verify::run(&options).await.context("verify")?;
    println!("{report}");
    ensure!(report.is_equal(), "the copy is not equal to the source");
    Ok(())
}

/// Freezes the active relay until the stand-by has taken over, and a little longer. Answers how long that took.
async fn split(relays: &mut [RelayProcess]) -> Result<Duration> {
    let is_active = |relay: &RelayProcess| relay.status().is_ok_and(|s| s["state"] == "active");
    let deadline = Instant::now() + Duration::from_secs(20);
    let active = loop {
        let active: Vec<usize> = (0..relays.len()).filter(|n| is_active(&relays[*n])).collect();
        let waiting = relays
            .iter()
            .filter(|r| r.status().is_ok_and(|s| s["state"] == "stand-by"))
            .count();
        if active.len() == 1 && waiting == 1 {
            break active[0];
        }
        ensure!(Instant::now() < deadline, "there is no active relay with a stand-by");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    relays[active].signal(Unix::STOP)?;
    let frozen = Instant::now();
    let other = 1 - active;
    relays[other].wait_for("take-over", Duration::from_secs(20), |s| s["state"] == "active")?;
    let took = frozen.elapsed();
    tokio::time::sleep(Duration::from_millis(500)).await;
    relays[active].signal(Unix::CONT)?;
    Ok(took)
}

/// Waits until the queue holds everything that the source has executed.
pub fn wait_until_through(relays: &mut [RelayProcess], source: &Mysql, within: Duration) -> Result<()> {
    let executed = source.run("SELECT @@GLOBAL.gtid_executed")?;
    let executed = executed.replace(['\n', ' '], "");
    let deadline = Instant::now() + within;
    loop {
        let there = relays
            .iter()
            .any(|relay| relay.status().is_ok_and(|s| s["gtids"] == *executed));
        if there {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let said: Vec<_> = relays.iter().map(|relay| format!("{:?}", relay.status())).collect();
            bail!(
                "not everything is in the queue within {within:?}: the source has {executed}, the relays say {}",
                said.join("; ")
            );
        }
        for relay in relays.iter_mut() {
            if let Some(end) = relay.ended() {
                bail!("a relay ended by itself ({end}); see {}", relay.log().display());
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
