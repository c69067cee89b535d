//! `mqnamesrv`: starts a name server.
#![allow(clippy::disallowed_methods)] // A program reads its own settings file.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use mq_base::env::{net::TcpListener, task};
use mq_base::stop::{StopSource, Terminations};
use mq_namesrv::config::{Config, Raw};

/// The name server: brokers register here, clients ask here where a topic is.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  mqnamesrv\n  mqnamesrv -c namesrv.conf\n  mqnamesrv --set listenPort=9886\n  mqnamesrv -p"
)]
struct Flags {
    /// File of settings, `key=value` lines under RocketMQ's names.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings in force and exit.
    #[arg(short = 'p', long = "printConfigItem")]
    print: bool,
    /// One setting, stronger than the file; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

fn main() -> ExitCode {
    mq_base::logging::init("mqnamesrv");
    match start(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqnamesrv: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(flags: &Flags) -> Result<()> {
    let config = config(flags)?;
    if flags.print {
        print!("{}", config.properties());
        return Ok(());
    }
    task::runtime(1)?.block_on(serve(config))
}

fn config(flags: &Flags) -> Result<Config> {
    let mut text = match &flags.config {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?,
    };
    for pair in &flags.set {
        text.push('\n');
        text.push_str(pair);
    }
    let raw = Raw::read(&text)?;
    if !raw.unused.is_empty() {
        tracing::warn!(
            settings = raw.unused.join(", "),
            "known to RocketMQ, without effect here"
        );
    }
    let home = std::env::var("HOME").unwrap_or_else(|_| ".".into());
    Ok(raw.validate(&home)?)
}

async fn serve(config: Config) -> Result<()> {
    let addr = format!("{}:{}", config.bind_address, config.listen_port);
    let listener = TcpListener::bind(&addr)
        .await
        .with_context(|| format!("listen on {addr}: is another server there?"))?;
    let mut terminations = Terminations::listen().context("handle signals")?;
    println!(
        "The Name Server boot success. serializeType=JSON, address {}",
        listener.local_addr()?
    );
    std::io::stdout().flush()?;
    let (source, stop) = StopSource::new();
    task::spawn("signals", async move {
        terminations.next().await;
        source.stop();
    });
    mq_namesrv::run(config, listener, stop).await.context("serve")
}
