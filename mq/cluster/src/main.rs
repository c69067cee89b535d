//! `mqcluster`: the command line of [`mq_cluster`].

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use mq_cluster::{Cluster, From, Options, Signal, Status, Target};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Starts, watches, disturbs and stops a whole cluster on this machine.
#[derive(Parser)]
#[command(name = "mqcluster", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

const EXAMPLES: &str = "Examples:
  mqcluster start --dir /tmp/c1                          one group of three on free ports
  mqcluster start --dir /tmp/c2 --groups 3 --namesrvs 2  three groups, two name servers
  mqcluster start --dir /tmp/c3 --members 1 --set flushDiskType=ASYNC_FLUSH --port-base 9800
  mqcluster kill --dir /tmp/c1 leader                    kill -9; it is started again at once
  mqcluster kill --dir /tmp/c1 leader --down 3           kept down for three seconds
  mqcluster kill --dir /tmp/c1 n1 --signal STOP          frozen, until --signal CONT
  mqcluster start --dir /tmp/c4 --namespaces             as root: members that can be partitioned
  mqcluster partition --dir /tmp/c4 leader --from peers  clients still reach it, its group does not
  mqcluster heal --dir /tmp/c4
  mqcluster stop --dir /tmp/c1";

#[derive(Subcommand)]
enum What {
    /// Start a cluster, or one again that was stopped; wait until it is ready, leave it running
    Start {
        /// Folder for everything of it
        #[arg(long)]
        dir: PathBuf,
        /// Broker groups
        #[arg(long, default_value_t = 1)]
        groups: usize,
        /// Members of each group
        #[arg(long, default_value_t = 3)]
        members: usize,
        /// Name servers
        #[arg(long, default_value_t = 1)]
        namesrvs: usize,
        /// Use ports from here on instead of free ones
        #[arg(long, value_name = "P")]
        port_base: Option<u16>,
        /// A setting of every broker, as in broker.conf; may be given several times
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
        /// Give each member a network namespace of its own, so that it can be partitioned (needs root and iproute2)
        #[arg(long)]
        namespaces: bool,
        /// Leave a process that ends down
        #[arg(long)]
        no_restart: bool,
        /// Seconds to wait until it is ready
        #[arg(long, default_value_t = 30, value_name = "SECONDS")]
        wait: u64,
        /// Stop everything when this process is gone
        #[arg(long, value_name = "PID")]
        owner: Option<u32>,
    },
    /// Show processes and roles
    Status {
        #[arg(long)]
        dir: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Stop everything in order; data stays
    Stop {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Send a signal and say whom it hit
    Kill {
        #[arg(long)]
        dir: PathBuf,
        /// leader, follower, all, or a name such as n1, broker-b/n0, broker-b/leader, namesrv0
        target: String,
        /// KILL, TERM, STOP or CONT
        #[arg(long, default_value = "KILL")]
        signal: Signal,
        /// Keep what was killed down for so many seconds, its client port closed
        #[arg(long, value_name = "SECONDS")]
        down: Option<f64>,
    },
    /// Cut a member off from others; packets are lost in silence until `heal` (needs start --namespaces)
    Partition {
        #[arg(long)]
        dir: PathBuf,
        /// leader, follower, or a name such as n1
        target: String,
        /// peers, outside (clients and name servers), all, or a member's name
        #[arg(long, default_value = "all", value_name = "WHOM")]
        from: From,
        /// Lose only what the target sends
        #[arg(long)]
        one_way: bool,
    },
    /// End all partitions
    Heal {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Start what is down (kept down, or ended with --no-restart)
    Revive {
        #[arg(long)]
        dir: PathBuf,
    },
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        dir: PathBuf,
    },
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        parent: u32,
        #[arg(long)]
        namespace: Option<String>,
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqcluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<()> {
    match what {
        What::Start {
            dir,
            groups,
            members,
            namesrvs,
            port_base,
            settings,
            namespaces,
            no_restart,
            wait,
            owner,
        } => {
            let ready_within = Duration::from_secs(wait);
            let restart = !no_restart;
            let options = Options {
                dir,
                groups,
                members,
                namesrvs,
                port_base,
                settings,
                namespaces,
                restart,
                owner,
                ready_within,
            };
            let cluster = Cluster::start(&options)?;
            print(&cluster.status()?);
            Ok(())
        }
        What::Status { dir, json } => {
            let status = Cluster::open(&dir)?.status()?;
            if json {
                println!("{}", serde_json::to_string_pretty(&status)?);
            } else {
                print(&status);
            }
            Ok(())
        }
        What::Stop { dir } => {
            Cluster::open(&dir)?.stop()?;
            println!("stopped");
            Ok(())
        }
        What::Kill {
            dir,
            target,
            signal,
            down,
        } => {
            let down = down
                .map(Duration::try_from_secs_f64)
                .transpose()
                .context("read --down")?;
            let target: Target = target.parse()?;
            for hit in Cluster::open(&dir)?.kill(&target, signal, down)? {
                println!("{hit}");
            }
            Ok(())
        }
        What::Partition {
            dir,
            target,
            from,
            one_way,
        } => {
            let target: Target = target.parse()?;
            for done in Cluster::open(&dir)?.partition(&target, &from, one_way)? {
                println!("{done}");
            }
            Ok(())
        }
        What::Heal { dir } => Cluster::open(&dir)?.heal(),
        What::Revive { dir } => Cluster::open(&dir)?.revive(),
        What::Supervise { dir } => mq_cluster::supervise(&dir),
        What::Launch {
            parent,
            namespace,
            program,
        } => Err(mq_cluster::launch(
            parent,
            namespace.as_deref(),
            &program[0],
            &program[1..],
        )),
    }
}

fn print(status: &Status) {
    println!("NAMESRV_ADDR={}", status.namesrv_addr);
    let Some(supervisor) = status.supervisor else {
        println!("not running");
        return;
    };
    let pid = |pid: Option<u32>| pid.map_or("-".to_owned(), |pid| pid.to_string());
    println!(
        "{:<14} {:>8}  {:<21} {:>9}  {:<9} {:>5} {:>9}",
        "name", "pid", "clients", "peer port", "role", "term", "restarts"
    );
    println!("{:<14} {:>8}", "supervisor", supervisor);
    for (name, addr, process) in &status.namesrvs {
        println!("{name:<14} {:>8}  {addr:<21}", pid(*process));
    }
    for m in &status.members {
        let term = m.term.map_or("-".to_owned(), |term| term.to_string());
        println!(
            "{:<14} {:>8}  {:<21} {:>9}  {:<9} {term:>5} {:>9}",
            m.name,
            pid(m.pid),
            m.addr,
            m.peer_port,
            m.role,
            m.restarts
        );
    }
}
