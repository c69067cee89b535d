//! `loadtest drill`: kill, freeze or end members under mixed load, then compare every answer with what is in the queues.
//!
//! Traffic is in `traffic.rs`, faults in `faults.rs`, the final reading in `reading.rs`, the comparison in [`books`].

pub mod atomic;
pub mod books;
mod disks;
mod faults;
mod reading;
mod traffic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use mq_client::ClientConfig;
use mq_cluster::Cluster;
use serde::Serialize;

use books::{Kind, Verdict};
use faults::Fault;

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// `kill -9`; the supervisor starts it again.
    Kill,
    /// Frozen for a while: sockets stay open and silent.
    Stop,
    /// Told to end in order (SIGTERM), then started again.
    Term,
    /// Cut off for a while: from its peers, from everybody, or only what it sends (needs `mqcluster start --namespaces`).
    Partition,
    /// Whatever is not synced is gone (each store must be a file system of its own, see scripts/drill).
    PowerCut,
    /// No space for a while (likewise): sends are refused, offset commits go on, and sends work again by themselves.
    FullDisk,
}

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Victim {
    /// Always the leader.
    Leader,
    /// Always a follower.
    Follower,
    /// Mostly the leader, sometimes a follower, at times everybody at once.
    Mixed,
    /// Everybody at once.
    All,
}

/// How the drill goes.
#[derive(Args, Clone, Debug)]
pub struct DrillArgs {
    /// Folder of a cluster that `mqcluster start` started.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How many faults.
    #[arg(long, default_value_t = 5)]
    pub kills: u32,
    /// What happens to the victim.
    #[arg(long, value_enum, default_value_t = FaultKind::Kill)]
    pub kind: FaultKind,
    /// Who is hit.
    #[arg(long, value_enum, default_value_t = Victim::Leader)]
    pub victim: Victim,
    /// Seconds between faults; a random part of it is added.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub every: f64,
    /// How long a victim stays away: a stopped one frozen, a killed one not restarted, one cut off not healed.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pub down: f64,
    /// Messages a second, over all kinds of traffic.
    #[arg(long, default_value_t = 2_500)]
    pub rate: u64,
    /// Seed of the order of faults.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Test of the drill itself: falsify the books in one place; the drill must then fail.
    #[arg(long, hide = true, value_enum)]
    pub falsify: Option<reading::Falsify>,
}

/// What a drill found.
#[derive(Debug, Serialize)]
pub struct Report {
    kind: FaultKind,
    faults: usize,
    /// For each fault, the longest time without an accepted send around it, ms.
    gaps_ms: Vec<f64>,
    gap_p50_ms: f64,
    gap_p99_ms: f64,
    gap_max_ms: f64,
    /// Sends that failed for good, all tries included.
    failed_sends: u64,
    /// Offset commits that were accepted from a fault until its end, the fewest of all faults.
    commits_meanwhile: usize,
    /// How the first of them failed.
    failures: Vec<String>,
    /// Messages a second that were accepted, over the whole drill.
    rate: f64,
    /// Messages given to the orderly consumers, and how many of them out of order.
    consumed_orderly: u64,
    consumed_out_of_order: u64,
    /// Kinds of traffic of which nothing was accepted.
    unproven: Vec<Kind>,
    verdict: Verdict,
}

/// Runs the drill; an error when the books do not balance.
pub async fn run(args: DrillArgs) -> Result<()> {
    let cluster = Cluster::open(&args.dir)?;
    let client = ClientConfig::new(&cluster.namesrv_addr());
    let began = Instant::now();
    let bar = progress(&args);
    let traffic = traffic::start(&client, args.rate, args.seed)
        .await
        .context("start the traffic")?;
    bar.set_message("traffic is running");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let faults = faults::inject(&args, &cluster, &bar).await?;
    bar.set_message("healing");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let done = traffic.stop().await;
    bar.set_message("reading everything back");
    let mut queues = reading::read_all(&client, &traffic::TOPICS, done.run, &done.books).await?;
    if let Some(falsify) = args.falsify {
        reading::falsify(&mut queues, falsify);
    }
    bar.finish_and_clear();
    let gaps = gaps_ms(&done.accepted, &faults);
    let verdict = done.books.reconcile(&queues);
    let report = Report {
        kind: args.kind,
        faults: faults.len(),
        gap_p50_ms: percentile(&gaps, 0.5),
        gap_p99_ms: percentile(&gaps, 0.99),
        gap_max_ms: percentile(&gaps, 1.0),
        gaps_ms: gaps,
        failed_sends: done.failed,
        commits_meanwhile: commits_meanwhile(&done.commits, &faults),
        failures: done.failures,
        rate: verdict.acknowledged as f64 / began.elapsed().as_secs_f64(),
        consumed_orderly: done.consumed_orderly,
        consumed_out_of_order: done.consumed_out_of_order,
        unproven: done.books.unproven(),
        verdict,
    };
    report.print(args.json);
    if !report.holds() {
        bail!("the books do not balance (seed {})", args.seed);
    }
    Ok(())
}

fn progress(args: &DrillArgs) -> ProgressBar {
    if args.json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} faults  {msg}");
    ProgressBar::new(u64::from(args.kills)).with_style(style.expect("the template is a constant"))
}

/// For each fault the longest time without an accepted send that ended between it and the next one.
fn gaps_ms(accepted: &[Instant], faults: &[Fault]) -> Vec<f64> {
    let mut times = accepted.to_vec();
    times.sort();
    let mut gaps = Vec::new();
    for (n, fault) in faults.iter().enumerate() {
        let next = faults.get(n + 1).map(|next| next.at);
        let pairs = times
            .windows(2)
            .filter(|pair| pair[1] > fault.at && next.is_none_or(|next| pair[1] <= next));
        let longest = pairs.map(|pair| pair[1] - pair[0]).max();
        let silent = || next.map_or(Duration::MAX, |next| next - fault.at);
        gaps.push(longest.unwrap_or_else(silent).as_secs_f64() * 1_000.0);
    }
    gaps
}

fn commits_meanwhile(commits: &[Instant], faults: &[Fault]) -> usize {
    let during = |fault: &Fault| {
        commits
            .iter()
            .filter(|at| (fault.at..fault.until).contains(*at))
            .count()
    };
    faults.iter().map(during).min().unwrap_or(0)
}

fn percentile(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * quantile).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(0.0)
}

impl Report {
    fn holds(&self) -> bool {
        // A full disk that no send met, or that kept offsets from being committed, proves nothing.
        let fault_held = self.kind != FaultKind::FullDisk || self.failed_sends > 0 && self.commits_meanwhile > 0;
        self.verdict.holds()
            && self.unproven.is_empty()
            && self.verdict.offsets_examined > 0
            && self.consumed_out_of_order == 0
            && self.consumed_orderly > 0
            && self.faults > 0
            && fault_held
    }

    fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).expect("numbers and texts"));
            return;
        }
        let v = &self.verdict;
        println!(
            "{} faults ({:?}), {:.0} messages a second accepted over the whole drill",
            self.faults, self.kind, self.rate
        );
        println!(
            "longest time without an accepted send, per fault: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms; sends failed for good: {}",
            self.gap_p50_ms, self.gap_p99_ms, self.gap_max_ms, self.failed_sends
        );
        for failure in &self.failures {
            println!("  {failure}");
        }
        println!(
            "offset commits accepted while a fault lasted: at least {}",
            self.commits_meanwhile
        );
        println!(
            "sent {}, acknowledged {}, without an answer {}, read back {}",
            v.sent, v.acknowledged, v.unknown, v.read
        );
        println!(
            "copies of messages that were sent again after a lost answer: {}",
            v.repeated
        );
        println!(
            "offset commits acknowledged {}, offsets asked for afterwards {}",
            v.offsets_committed, v.offsets_examined
        );
        if !self.unproven.is_empty() {
            println!("nothing was accepted of {:?}: that proves nothing", self.unproven);
        }
        println!(
            "orderly consumers were given {} messages, {} out of order",
            self.consumed_orderly, self.consumed_out_of_order
        );
        println!(
            "missing {}  duplicated {}  out of order {}  early {}  undecided transactions {}  gaps in queues {}  offsets back {}  unasked {}",
            v.missing, v.duplicated, v.out_of_order, v.early, v.undecided, v.gaps, v.offsets_back, v.unasked
        );
        for example in &v.examples {
            println!("  {example}");
        }
        println!(
            "{}",
            if self.holds() {
                "the books balance"
            } else {
                "THE BOOKS DO NOT BALANCE"
            }
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_counted_for_the_fault_that_caused_it() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let accepted: Vec<Instant> = (0..100)
            .map(|n| at(n * 10))
            .chain((140..200).map(|n| at(n * 10)))
            .collect();
        let faults = [
            Fault {
                at: at(500),
                until: at(500),
                what: String::new(),
            },
            Fault {
                at: at(995),
                until: at(995),
                what: String::new(),
            },
        ];
        let gaps = gaps_ms(&accepted, &faults);
        assert_eq!(gaps, [10.0, 410.0]);
        assert_eq!(percentile(&gaps, 0.5), 10.0);
        assert_eq!(percentile(&gaps, 0.99), 410.0);
    }
}
