//! Faults, one after the other, drawn from a seed.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use mq_cluster::{Cluster, From, Hit, Signal, Target};

use super::{DrillArgs, FaultKind, Victim, disks};

/// How long a victim is away if nothing is said.
const AWAY: Duration = Duration::from_secs(2);

/// A fault that happened.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub at: Instant,
    /// When it was over, or the victim was left to itself.
    pub until: Instant,
    /// To whom, in words.
    pub what: String,
}

/// Small generator: the drill's choices must repeat for a seed on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn roll(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

/// Injects all faults, one about every `--every` seconds.
pub async fn inject(args: &DrillArgs, cluster: &Cluster, bar: &ProgressBar) -> Result<Vec<Fault>> {
    let mut dice = Dice::new(args.seed);
    let mut faults = Vec::new();
    for _ in 0..args.kills {
        let target = target(args.victim, &mut dice);
        let fault = strike(args, cluster, target, &mut dice).await?;
        if !args.json {
            bar.suspend(|| println!("fault {}: {}", faults.len() + 1, fault.what));
        }
        bar.set_message(fault.what.clone());
        bar.inc(1);
        faults.push(fault);
        let pause = args.every * (1.0 + dice.roll(1_000) as f64 / 2_000.0);
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
    }
    Ok(faults)
}

fn target(victim: Victim, dice: &mut Dice) -> Target {
    match victim {
        Victim::Leader => Target::Leader,
        Victim::Follower => Target::Follower,
        Victim::All => Target::All,
        Victim::Mixed => match dice.roll(10) {
            0 => Target::All,
            1..=3 => Target::Follower,
            _ => Target::Leader,
        },
    }
}

/// `mqcluster`'s calls block, so they run aside.
async fn strike(args: &DrillArgs, cluster: &Cluster, target: Target, dice: &mut Dice) -> Result<Fault> {
    let down = (args.down > 0.0).then(|| Duration::from_secs_f64(args.down));
    let (cluster, kind, way) = (cluster.clone(), args.kind, dice.roll(4));
    let struck = tokio::task::spawn_blocking(move || match kind {
        FaultKind::Kill => hit(&cluster, &target, Signal::Kill, down),
        FaultKind::Term => hit(&cluster, &target, Signal::Term, None),
        FaultKind::Stop => freeze(&cluster, &target, down.unwrap_or(AWAY)),
        FaultKind::Partition => cut_off(&cluster, &target, way, down.unwrap_or(AWAY)),
        FaultKind::PowerCut => {
            let (at, what) = disks::cut(&cluster, &target, down.unwrap_or_default())?;
            Ok((at, vec![what]))
        }
        FaultKind::FullDisk => {
            let (at, what) = disks::fill(&cluster, &target, down.unwrap_or(AWAY))?;
            Ok((at, vec![what]))
        }
    });
    let (at, hits) = struck.await??;
    Ok(Fault {
        at,
        until: Instant::now(),
        what: hits.join(", "),
    })
}

/// When it happened, and to whom.
type Struck = Result<(Instant, Vec<String>)>;

fn words(hits: &[Hit]) -> Vec<String> {
    hits.iter().map(ToString::to_string).collect()
}

fn hit(cluster: &Cluster, target: &Target, signal: Signal, down: Option<Duration>) -> Struck {
    let hits = cluster.kill(target, signal, down)?;
    Ok((Instant::now(), words(&hits)))
}

fn freeze(cluster: &Cluster, target: &Target, away: Duration) -> Struck {
    let hits = cluster.kill(target, Signal::Stop, None)?;
    let at = Instant::now();
    std::thread::sleep(away);
    for hit in &hits {
        cluster.kill(&Target::Named(hit.name.clone()), Signal::Cont, None)?;
    }
    Ok((at, words(&hits)))
}

fn cut_off(cluster: &Cluster, target: &Target, way: u64, away: Duration) -> Struck {
    let (from, one_way) = match way {
        0 => (From::All, false),
        1 => (From::Peers, true),
        _ => (From::Peers, false),
    };
    let done = cluster.partition(target, &from, one_way)?;
    let at = Instant::now();
    std::thread::sleep(away);
    cluster.heal()?;
    Ok((at, done))
}
