//! `mqadmin`: parses, runs one command, prints.

use clap::Parser;
use mq_admin::{Admin, Command, run};
use mq_base::env::task;
use std::io::Write;
use std::process::ExitCode;

/// Looks at and changes a cluster: RocketMQ's commands, and a few of Forebay's own for Raft.
#[derive(Parser)]
#[command(name = "mqadmin", version, after_help = EXAMPLES)]
struct Arguments {
    /// Name servers, host:port;host:port
    #[arg(
        short = 'n',
        long = "namesrvAddr",
        env = "NAMESRV_ADDR",
        global = true,
        default_value = "127.0.0.1:9876"
    )]
    namesrv_addr: String,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples (the name servers come from -n or NAMESRV_ADDR):
  mqadmin clusterList -n 127.0.0.1:9876
  mqadmin updateTopic -c DefaultCluster -t orders -r 8 -w 8
  mqadmin topicStatus -t orders
  mqadmin consumerProgress -g order-service
  mqadmin resetOffsetByTime -g order-service -t orders -s 2026-11-21#08:00:00:000
  mqadmin raftStatus
  mqadmin transferLeader -b broker-a -t n1
Times are UTC.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = task::runtime(1).map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let admin = Admin::new(&arguments.namesrv_addr)?;
            run(&admin, arguments.command).await
        })
    });
    match outcome {
        // A reader such as head may have closed the pipe, which is no error of ours.
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mqadmin: {error:#}");
            ExitCode::FAILURE
        }
    }
}
