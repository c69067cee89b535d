//! `mq-sim`: runs seeds, and says how to repeat what failed.

#![allow(clippy::disallowed_methods)] // Real time bounds how long runs are begun; the runs themselves are simulated.

use std::collections::BTreeSet;
use std::process::{Command as Process, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use mq_base::env::bug::Bug;
use mq_sim::bugs;
use mq_sim::invariants;
use mq_sim::plan::Plan;
use mq_sim::run::{Report, run};
use parking_lot::Mutex;

/// Simulates a broker group under faults: three brokers, a name server and three clients in one thread, with a network,
/// disks and clocks that fail as the seed says. The brokers run the shipped code.
#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    mq-sim run --seed 7              one run, all events\n  \
    mq-sim many --seeds 200          200 runs\n  \
    mq-sim many --minutes 6          as many runs as fit into 6 minutes\n  \
    mq-sim bug leader-restore        put a known bug back and show that it is found\n\n\
    The exit status is 1 if an invariant was broken (or a bug was not found).")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Without faults.
        #[arg(long)]
        calm: bool,
        /// With this known bug.
        #[arg(long)]
        bug: Option<String>,
        /// Print what happened.
        #[arg(long)]
        events: bool,
    },
    /// Run many seeds.
    Many {
        /// How many; without it, as many as fit into --minutes.
        #[arg(long)]
        seeds: Option<u64>,
        /// First seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Begin no run after so many minutes.
        #[arg(long)]
        minutes: Option<f64>,
        /// Runs at a time; 0 takes the number of processors.
        #[arg(long, default_value_t = 0)]
        threads: usize,
    },
    /// Put a known bug back and run seeds until it is found.
    Bug {
        /// Its name; without one, all are shown.
        name: Option<String>,
        /// Most seeds to try.
        #[arg(long, default_value_t = 50)]
        seeds: usize,
    },
}

fn main() -> ExitCode {
    mq_base::logging::init("mq-sim");
    let ok = match Arguments::parse().command {
        Command::Run {
            seed,
            calm,
            bug,
            events,
        } => one(seed, calm, bug.as_deref(), events),
        Command::Many {
            seeds,
            from,
            minutes,
            threads,
        } => many(seeds, from, minutes, threads),
        Command::Bug { name, seeds } => bug(name.as_deref(), seeds),
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn named(name: &str) -> Option<Bug> {
    let known = bugs::ALL.iter().find(|known| known.name == name);
    if known.is_none() {
        eprintln!("no such bug: {name}");
    }
    Some(known?.bug)
}

/// A run takes seconds. One that goes round in circles is broken, and nobody should wait for it.
const REAL_TIME_MAX: Duration = Duration::from_secs(120);

fn end_in_time(seed: u64) {
    std::thread::spawn(move || {
        std::thread::sleep(REAL_TIME_MAX);
        println!("seed {seed:>6}  BROKEN  not over after {REAL_TIME_MAX:?}");
        std::process::exit(1);
    });
}

fn one(seed: u64, calm: bool, bug: Option<&str>, events: bool) -> bool {
    end_in_time(seed);
    let bug = match bug {
        None => None,
        Some(name) => match named(name) {
            None => return false,
            found => found,
        },
    };
    let plan = if calm { Plan::calm(seed) } else { Plan::new(seed) };
    let report = run(&plan, bug);
    if events {
        report.events.iter().for_each(|event| println!("{event}"));
    }
    show(&report);
    report.holds()
}

/// The line of a run, and what broke.
fn show(report: &Report) {
    let verdict = if report.holds() { "ok" } else { "BROKEN" };
    let examined: usize = report.verdicts.iter().map(|(_, verdict)| verdict.examined).sum();
    println!(
        "seed {:>6}  {verdict}  operations {:>5}  acknowledged {:>5}  faults {:>2}  simulated {:>5.1} s  facts {examined:>6}  trace {:016x}",
        report.seed,
        report.operations,
        report.acknowledged,
        report.faults,
        report.simulated_ms as f64 / 1e3,
        report.trace
    );
    for (invariant, (id, verdict)) in invariants::ALL.iter().zip(&report.verdicts) {
        if verdict.examined == 0 {
            println!("  {id} proved nothing: {}", invariant.says);
        }
        for violation in &verdict.violations {
            println!("  {id} {}: {violation}", invariant.says);
        }
    }
    for complaint in &report.complaints {
        println!("  {complaint}");
    }
    if !report.holds() {
        println!("  repeat with: mq-sim run --events --seed {}", report.seed);
    }
}

/// Runs a seed in a process of its own: tokio numbers its tasks per process, and ends those of a dead host in an order
/// that depends on the numbers.
fn apart(seed: u64) -> (String, bool) {
    let program = std::env::current_exe().expect("this program has a path");
    let child = Process::new(program)
        .args(["run", "--seed", &seed.to_string()])
        .output();
    match child {
        Ok(output) => (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            output.status.success(),
        ),
        Err(error) => (format!("seed {seed} was not started: {error}\n"), false),
    }
}

fn many(seeds: Option<u64>, from: u64, minutes: Option<f64>, threads: usize) -> bool {
    let until = minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let last = match (seeds, until) {
        (Some(seeds), _) => from + seeds,
        (None, Some(_)) => u64::MAX,
        (None, None) => from + 100,
    };
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let next = AtomicU64::new(from);
    let (failed, done) = (Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last || until.is_some_and(|until| Instant::now() >= until) {
                        return;
                    }
                    let (text, holds) = apart(seed);
                    let mut failed = failed.lock();
                    print!("{text}");
                    done.fetch_add(1, Ordering::Relaxed);
                    if !holds {
                        failed.insert(seed);
                    }
                }
            });
        }
    });
    let (failed, done) = (failed.into_inner(), done.into_inner());
    println!("{done} seeds, {} broken {failed:?}", failed.len());
    let reached = next.into_inner().min(last);
    let known: BTreeSet<u64> = known_red().filter(|seed| (from..reached).contains(seed)).collect();
    if !known.is_empty() {
        println!("KNOWN TO BE RED, and not counted (mq/sim/known-red): {known:?}");
        println!(
            "of these held, so take them off: {:?}",
            known.difference(&failed).collect::<Vec<_>>()
        );
    }
    failed.is_subset(&known) && done > 0
}

/// Seeds that are red and not mended yet.
fn known_red() -> impl Iterator<Item = u64> {
    let lines = include_str!("../../known-red").lines();
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok())
}

fn bug(name: Option<&str>, seeds: usize) -> bool {
    let Some(name) = name else {
        for known in &bugs::ALL {
            println!("{:<18} {}", known.name, known.says);
        }
        return true;
    };
    let Some(known) = bugs::ALL.iter().find(|known| known.name == name) else {
        return named(name).is_some();
    };
    println!("{}: {}", known.name, known.says);
    for seed in known.seeds_to_try(seeds) {
        let report = run(&Plan::new(seed), Some(known.bug));
        show(&report);
        if !report.holds() {
            println!("found by seed {seed}: {:?} {:?}", report.broken(), report.complaints);
            return true;
        }
    }
    println!("NOT FOUND");
    false
}
