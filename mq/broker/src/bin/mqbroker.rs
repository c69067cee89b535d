//! The broker as a program. Settings are documented by `mqbroker --print-config` and `mq/broker/SETTINGS.md`.

// A program reads its own arguments, environment and configuration file; everything after that goes through the library.
#![allow(clippy::disallowed_methods)]

use anyhow::Context;
use clap::{ArgAction, Parser};
use mq_base::env::net::TcpListener;
use mq_base::env::task;
use mq_base::stop::Terminations;
use mq_broker::config::{self, Layer, Print, Settings};
use mq_broker::{run, supervise};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status when the log or Raft has failed for good: the supervisor may start it again, but it must recover first.
const FAILED: u8 = 3;
/// Exit status for settings that make no sense.
const USAGE: u8 = 2;

/// A broker that speaks RocketMQ's remoting protocol and replicates its log through Raft.
#[derive(Parser)]
#[command(
    name = "mqbroker",
    version,
    after_help = "Examples:
  mqbroker -n 127.0.0.1:9876                                  one broker, data under ~/store
  mqbroker -n 127.0.0.1:9876 -c broker.conf                   RocketMQ's configuration file
  mqbroker -c broker.conf --set flushDiskType=SYNC_FLUSH      one setting on top
  mqbroker --supervise -c broker.conf                         restart it at once when it dies, keep clients waiting
  mqbroker -c broker.conf --print-config                      what is in force, and where each value came from

Settings come from defaults, the file, the environment (FOREBAY_LISTEN_PORT for listenPort; NAMESRV_ADDR) and flags,
later ones winning."
)]
struct Args {
    /// Name servers, host:port;host:port
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRS")]
    namesrv: Option<String>,
    /// Configuration file, key=value lines
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print all settings as key=value and exit
    #[arg(short = 'p', long = "printConfigItem")]
    print: bool,
    /// Print the important settings as key=value and exit
    #[arg(short = 'm', long = "printImportantConfig")]
    print_important: bool,
    /// Print all settings with the source of each and exit
    #[arg(long = "print-config")]
    print_sources: bool,
    /// Print the reference of all settings (Markdown) and exit
    #[arg(long = "print-reference", hide = true)]
    print_reference: bool,
    /// Set one setting; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", action = ArgAction::Append)]
    set: Vec<String>,
    /// Hold the client sockets and run the broker as a child that is restarted at once when it dies
    #[arg(long)]
    supervise: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.print_reference {
        print!("{}", config::reference());
        return ExitCode::SUCCESS;
    }
    mq_base::logging::init("mqbroker");
    let loaded = match load(&args) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("mqbroker: {problem}"));
            return ExitCode::from(USAGE);
        }
    };
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if let Some(what) = args.what_to_print() {
        print!("{}", config::print(&loaded, what));
        return ExitCode::SUCCESS;
    }
    let ended = if args.supervise {
        supervise(&loaded.settings)
    } else {
        serve(loaded.settings)
    };
    ended.unwrap_or_else(|error| {
        eprintln!("mqbroker: {error:#}");
        ExitCode::FAILURE
    })
}

impl Args {
    fn what_to_print(&self) -> Option<Print> {
        match self {
            Args {
                print_sources: true, ..
            } => Some(Print::Sources),
            Args { print: true, .. } => Some(Print::All),
            Args {
                print_important: true, ..
            } => Some(Print::Important),
            _ => None,
        }
    }
}

fn load(args: &Args) -> Result<config::Loaded, Vec<config::Problem>> {
    let mut layers = Vec::new();
    if let Some(path) = &args.file {
        layers.push(read_file(path).map_err(|problem| vec![problem])?);
    }
    layers.push(Layer::environment(std::env::vars()));
    let mut flags = Vec::new();
    if let Some(addrs) = &args.namesrv {
        flags.push(("-n".to_owned(), "namesrvAddr".to_owned(), addrs.clone()));
    }
    for item in &args.set {
        let Some((key, value)) = item.split_once('=') else {
            return Err(vec![config::Problem(format!("--set {item}: expected KEY=VALUE"))]);
        };
        flags.push((
            format!("--set {}", key.trim()),
            key.trim().to_owned(),
            value.trim().to_owned(),
        ));
    }
    layers.push(Layer::flags(flags));
    let mut loaded = config::load(layers)?;
    fill_in(&mut loaded.settings);
    Ok(loaded)
}

fn read_file(path: &Path) -> Result<Layer, config::Problem> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| config::Problem(format!("read {name}: {error}")))?;
    Layer::file(&name, &text)
}

/// Values that are empty by default come from the machine.
fn fill_in(settings: &mut Settings) {
    if settings.broker_name.is_empty() {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let legal: String = host
            .trim()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
            .collect();
        settings.broker_name = if legal.is_empty() { "broker-a".to_owned() } else { legal };
    }
    if settings.broker_ip1.is_empty() {
        settings.broker_ip1 = local_address().unwrap_or_else(|| "127.0.0.1".to_owned());
    }
    if settings.store_path_root_dir.is_empty() {
        let home = std::env::var("HOME").unwrap_or_else(|_| ".".to_owned());
        settings.store_path_root_dir = format!("{home}/store");
    }
    if settings.store_path_commit_log.is_empty() {
        settings.store_path_commit_log = format!("{}/commitlog", settings.store_path_root_dir);
    }
}

/// The address the default route leaves from; nothing is sent.
fn local_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

fn supervise(settings: &Settings) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("find the own program")?;
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--supervise")
        .collect();
    let held = supervise::Held::listen(&settings.bind_address, settings.listen_port)?;
    let patience = Duration::from_secs(settings.drain_seconds + 30);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let code = runtime.block_on(supervise::supervise(&program, arguments, held, patience))?;
    Ok(ExitCode::from(code))
}

fn serve(settings: Settings) -> anyhow::Result<ExitCode> {
    supervise::die_with_supervisor();
    let runtime = task::runtime(settings.client_threads).context("start the runtime of the clients")?;
    runtime.block_on(async {
        let mut terminations = Terminations::listen().context("handle signals")?;
        let running = tokio::select! {
            running = run::start(settings, sockets()?) => running?,
            () = terminations.next() => return Ok(ExitCode::SUCCESS), // As after a kill: what was promised is durable.
        };
        tokio::select! {
            biased;
            reason = running.failed() => {
                tracing::error!(reason, "this member cannot go on");
                Ok(ExitCode::from(FAILED))
            }
            () = terminations.next() => {
                let drain = Duration::from_secs(running.broker.settings().drain_seconds);
                tokio::select! {
                    () = running.stop(drain) => tracing::info!("stopped"),
                    // Ctrl-C and systemd reach both processes, and the supervisor passes the signal on: it is the same one. A
                    // second one makes the supervisor kill.
                    () = terminations.next(), if !supervise::is_supervised() => tracing::warn!("stopped at once by a second signal"),
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// Sockets that a supervisor or systemd hands down: the clients' first, then the one two ports below.
fn sockets() -> anyhow::Result<run::Sockets> {
    let mut handed = listenfd::ListenFd::from_env();
    let mut take = |n| -> anyhow::Result<Option<TcpListener>> {
        if n >= handed.len() {
            return Ok(None);
        }
        let socket = handed
            .take_tcp_listener(n)
            .context("take a listening socket from the supervisor")?;
        socket
            .map(TcpListener::from_std)
            .transpose()
            .context("use a listening socket from the supervisor")
    };
    Ok(run::Sockets {
        client: take(0)?,
        fast: take(1)?,
    })
}
