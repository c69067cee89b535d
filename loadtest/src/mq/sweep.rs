//! `loadtest mq sweep`: raise the load step by step until something gives, and say what gave and which load is advisable.
//!
//! The reference run of the field is 2 producers with 80 threads each, 500-byte messages, 2 consumers, one leader and two followers. The goal
//! is not the highest figure but the highest load at which everything else is still calm.

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use super::{MqArgs, Report, round_of, server_pids};
use crate::servers;

/// Share of the offered rate that must be reached for a step to count as carried.
const CARRIED: f64 = 0.98;
/// Share of the saturation point that leaves room for peaks and for a member that catches up.
const ADVISED: f64 = 0.7;

/// How the load is raised.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// What to send; `--rate` is set by the sweep.
    #[command(flatten)]
    pub mq: MqArgs,
    /// First rate, messages a second.
    #[arg(long, default_value_t = 10_000)]
    pub from: u64,
    /// Each step is this many times the one before.
    #[arg(long, default_value_t = 1.4)]
    pub factor: f64,
    /// Latency bound of a step, milliseconds at p99.
    #[arg(long, default_value_t = 100.0)]
    pub p99: f64,
    /// Messages a second that production must carry, for the sizing.
    #[arg(long, default_value_t = 70_000)]
    pub need: u64,
}

/// The load of the machine during a step, from 0 to 1.
#[derive(Clone, Debug, Default, Serialize)]
struct Machine {
    cpu: f64,
    io_wait: f64,
}

/// Runs the steps and the advice.
pub async fn run(args: SweepArgs) -> Result<()> {
    if args.factor <= 1.05 {
        bail!("--factor must be above 1.05: the steps would not end");
    }
    let pids = server_pids(&args.mq)?;
    println!("machine: {}", servers::machine());
    println!(
        "bodies of {} bytes, {} in a request, p99 bound {} ms",
        args.mq.size, args.mq.batch, args.p99
    );
    let mut carried: Option<(u64, Report)> = None;
    let mut rate = args.from;
    let saturated = loop {
        let step = MqArgs {
            rate: Some(rate),
            ..args.mq.clone()
        };
        let (before, began) = (cpu_times()?, Instant::now());
        let report = round_of(&step, &pids, 0).await?;
        let machine = machine_between(before, cpu_times()?);
        report.print(args.mq.json, carried.is_none());
        if !args.mq.json {
            let spent = began.elapsed().as_secs_f64();
            println!(
                "{:>10} offered, machine {:.0} % busy, {:.0} % waiting for disks, {spent:.0} s",
                rate,
                machine.cpu * 100.0,
                machine.io_wait * 100.0
            );
        }
        if let Some(reason) = gave(&args, rate, &report, &machine) {
            break reason;
        }
        carried = Some((rate, report));
        rate = (rate as f64 * args.factor) as u64;
    };
    let Some((highest, report)) = carried else {
        bail!("even the first step of {} msg/s was too much: {saturated}", args.from);
    };
    let advised = (highest as f64 * ADVISED) as u64;
    let groups = args.need.div_ceil(advised.max(1));
    println!(
        "\nhighest load carried: {highest} msg/s at p99 {:.1} ms; the next step failed: {saturated}",
        report.send.p99
    );
    println!(
        "advised load: {advised} msg/s a group ({:.0} % of it: room for peaks and for a member that catches up)",
        ADVISED * 100.0
    );
    println!(
        "for {} msg/s: {groups} group(s) like this one, and one more so that the loss of a group is carried",
        args.need
    );
    Ok(())
}

/// What gave at this step, in words; `None` while it is carried.
fn gave(args: &SweepArgs, rate: u64, report: &Report, machine: &Machine) -> Option<String> {
    let short = report.rate < rate as f64 * CARRIED;
    let slow = report.send.p99 > args.p99;
    if !short && !slow && report.failed == 0 && report.lost == 0 {
        return None;
    }
    let what = match () {
        () if report.lost > 0 => format!("{} messages lost", report.lost),
        () if report.failed > 0 => format!("{} requests failed", report.failed),
        () if short => format!("{:.0} of {rate} msg/s", report.rate),
        () => format!("p99 {:.0} ms", report.send.p99),
    };
    let resource = match () {
        () if machine.cpu > 0.9 => "the processors are the bottleneck",
        () if machine.io_wait > 0.2 => "the disk is the bottleneck",
        () => "no resource of this machine is exhausted: the bound is waiting (flushes, requests in flight)",
    };
    Some(format!(
        "{what}; {resource} ({:.0} % busy, {:.0} % waiting for disks)",
        machine.cpu * 100.0,
        machine.io_wait * 100.0
    ))
}

/// (busy, idle, waiting for disks) of all processors since boot, in ticks.
fn cpu_times() -> Result<[u64; 3]> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let numbers: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let [user, nice, system, idle, wait, irq, soft, ..] = numbers[..] else {
        bail!("/proc/stat has an unknown form")
    };
    Ok([user + nice + system + irq + soft, idle, wait])
}

fn machine_between(before: [u64; 3], after: [u64; 3]) -> Machine {
    let [busy, idle, wait] = std::array::from_fn(|i| (after[i] - before[i]) as f64);
    let all = (busy + idle + wait).max(1.0);
    Machine {
        cpu: busy / all,
        io_wait: wait / all,
    }
}
