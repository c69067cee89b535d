//! mq-cluster: a whole cluster on one machine, started, supervised, disturbed and stopped.
//!
//! It is for trying things out, for tests and for load tests; it is not a deployment tool. A supervisor process in a
//! session of its own starts name servers and members, holds the members' *client* listening sockets and hands them
//! down (`LISTEN_FDS`, as systemd does), so that a client that reconnects to a killed member waits in the backlog while
//! the member starts again, instead of being refused. Ports between members are never held: a refused connection there
//! is how members know that one of them is dead.
//!
//! ```no_run
//! use mq_cluster::{Cluster, Options, Signal, Target};
//! let cluster = Cluster::start(&Options::new("/tmp/c1"))?;
//! println!("NAMESRV_ADDR={}", cluster.namesrv_addr());
//! for hit in cluster.kill(&Target::Leader, Signal::Kill, None)? {
//!     println!("{hit}");
//! }
//! cluster.stop()?;
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! Everything of a cluster lies in its folder: `layout.json` (what was asked for, and the ports), `state.json` (which
//! process runs as what), `supervisor.log`, and a folder for each process with its configuration, log and store. Start
//! reading in [`Cluster`], then `supervisor.rs`.

// A tool, never simulated: it uses files, threads and clocks directly.
#![allow(clippy::disallowed_methods)]

mod ask;
mod cluster;
mod layout;
mod network;
mod partition;
mod ports;
mod process;
mod programs;
mod roles;
mod state;
mod supervisor;

pub use cluster::{Cluster, Hit, MemberStatus, Signal, Status, Target};
pub use layout::{Layout, Member, NameServer, Options};
pub use network::Network;
pub use partition::From;
pub use ports::free_port;
pub use process::launch;
pub use programs::Programs;
pub use supervisor::supervise;
