//! Faults, one after the other, drawn from a seed.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use mq_cluster::{Cluster, Signal, Target};

use super::{DrillArgs, FaultKind, Victim};

/// A fault that happened.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub at: Instant,
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
        let fault = strike(args, cluster, target).await?;
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
        Victim::Mixed => match dice.roll(10) {
            0 => Target::All,
            1..=3 => Target::Follower,
            _ => Target::Leader,
        },
    }
}

/// `mqcluster`'s calls block, so they run aside.
async fn strike(args: &DrillArgs, cluster: &Cluster, target: Target) -> Result<Fault> {
    let down = (args.down > 0.0).then(|| Duration::from_secs_f64(args.down));
    let signal = match args.kind {
        FaultKind::Kill => Signal::Kill,
        FaultKind::Stop => Signal::Stop,
        FaultKind::Term => Signal::Term,
    };
    let (cluster, kind) = (cluster.clone(), args.kind);
    let struck = tokio::task::spawn_blocking(move || -> Result<(Instant, Vec<String>)> {
        let hits = cluster.kill(&target, signal, if kind == FaultKind::Kill { down } else { None })?;
        let at = Instant::now();
        if kind == FaultKind::Stop {
            std::thread::sleep(down.unwrap_or(Duration::from_secs(2)));
            for hit in &hits {
                cluster.kill(&Target::Named(hit.name.clone()), Signal::Cont, None)?;
            }
        }
        Ok((at, hits.iter().map(ToString::to_string).collect()))
    });
    let (at, hits) = struck.await??;
    Ok(Fault {
        at,
        what: hits.join(", "),
    })
}
