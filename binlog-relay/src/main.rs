//! `binlog-relay`: parses, runs one command.

use binlog_relay::commands::{Command, command};
use clap::Parser;
use mq_base::env::task;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Streams MySQL's row changes into topics, exactly once; makes copies from them, and proves the copies equal.
#[derive(Parser)]
#[command(name = "binlog-relay", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  binlog-relay init -c relay.toml                 is the server ready? which tables would be captured?
  binlog-relay run -c relay.toml                  stream; takes over from any other relay of that name
  binlog-relay run -c relay.toml --standby        stream as soon as the active relay is silent
  binlog-relay status -c relay.toml --follow
  binlog-relay snapshot -c relay.toml shop.orders copy a table again while the relay runs
  binlog-relay mirror -c relay.toml --target mysql://root:secret@127.0.0.1:3307 --map shop=shop_copy
  binlog-relay verify -c relay.toml --target mysql://root:secret@127.0.0.1:3307 --map shop=shop_copy
A minimal relay.toml:
  name = \"shop\"
  http = \"127.0.0.1:9480\"
  [source]
  url = \"mysql://repl:secret@127.0.0.1:3306\"     # or BINLOG_RELAY__SOURCE__URL in the environment
  [queue]
  namesrv = \"127.0.0.1:9876\"
  [[tables]]
  tables = 'shop\\..*'
What is written is described in docs/binlog-topics.md.";

fn main() -> ExitCode {
    mq_base::logging::init("binlog-relay");
    let arguments = Arguments::parse();
    let outcome = task::runtime(2)
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(command(arguments.command)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("binlog-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
