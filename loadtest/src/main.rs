//! `loadtest`: load and faults on a broker group.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use loadtest::drill::atomic::AtomicArgs;
use loadtest::drill::{self, DrillArgs};
use loadtest::mq::{self, MqArgs, pull, sweep};
use loadtest::relay::{self, RelayCommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load on a broker group, measured from outside.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Flags {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "Examples (the name servers of `mq` come from --namesrv or NAMESRV_ADDR):
  loadtest mq --namesrv 127.0.0.1:9876 --batch 32 --in-flight 256 --consumers 1
  loadtest mq --dir /tmp/mq --rate 20000 --duration 30 --json
  loadtest mq sweep --dir /tmp/mq --producers 2 --in-flight 160 --size 500 --consumers 2
  loadtest drill --dir /tmp/mq --kills 20 --seed 7
  loadtest drill --dir /tmp/mq --kills 5 --kind stop --down 3
  loadtest drill atomic --dir /tmp/mq --kills 20
  loadtest relay drill --kills 10
  loadtest relay drill --kills 5 --victims split";

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant)] // One value a process.
enum What {
    /// Produce and consume for a while: rate, latency, cost.
    Mq(Mq),
    /// Kill members under mixed load, then compare every answer with what is in the queues.
    Drill(Drill),
    /// The binlog relay under faults and under load; brings its own MySQL, brokers and relays.
    #[command(subcommand)]
    Relay(RelayCommand),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Mq {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    args: Option<MqArgs>,
}

#[derive(Subcommand)]
enum Other {
    /// Read one hot queue over and over.
    Pull(pull::PullArgs),
    /// Raise the load step by step until something gives, and say what gave and what to plan with.
    Sweep(sweep::SweepArgs),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Drill {
    #[command(subcommand)]
    atomic: Option<Atomic>,
    #[command(flatten)]
    args: Option<DrillArgs>,
}

#[derive(Subcommand)]
enum Atomic {
    /// Two owners of a producer id fence each other while members die: no gap, no repeat, nothing of the older epoch.
    Atomic(AtomicArgs),
}

fn main() -> ExitCode {
    mq_base::logging::init("loadtest");
    match start(Flags::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(what: What) -> Result<()> {
    match what {
        What::Drill(Drill {
            atomic: Some(Atomic::Atomic(args)),
            ..
        }) => runtime(1)?.block_on(drill::atomic::run(args)),
        What::Drill(Drill { args: Some(args), .. }) => runtime(1)?.block_on(drill::run(args)),
        What::Relay(command) => runtime(2)?.block_on(relay::run(command)),
        What::Drill(_) => anyhow::bail!("say where the cluster is: --dir"),
        What::Mq(Mq {
            other: Some(Other::Sweep(args)),
            ..
        }) => runtime(args.mq.threads)?.block_on(sweep::run(args)),
        What::Mq(Mq {
            other: Some(Other::Pull(args)),
            ..
        }) => runtime(1)?.block_on(pull::run(args)),
        What::Mq(Mq { args: Some(args), .. }) => runtime(args.threads)?.block_on(mq::run(args)),
        What::Mq(_) => anyhow::bail!("say where the name server is: --namesrv, or NAMESRV_ADDR"),
    }
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = if threads <= 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    Ok(builder.worker_threads(threads.max(1)).enable_all().build()?)
}
