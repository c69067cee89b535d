//! `loadtest relay`: the binlog relay under faults and under load, with a MySQL server, a broker group and relays of its own.
//!
//! The oracle is independent of the relay: triggers at the source write each change into a journal within the same transaction, and the
//! auditor compares what is in the queues with it, key by key.

pub mod audit;
pub mod bench;
pub mod ddl;
pub mod drill;
pub mod process;
pub mod snapshot;
pub mod writer;

use clap::Subcommand;

/// What to do with the relay.
#[derive(Subcommand, Clone, Debug)]
pub enum RelayCommand {
    /// Kill relay, broker leader and MySQL under load, then audit every queue.
    Drill(drill::RelayDrillArgs),
    /// Copy a large table while it changes and relay and mirror are killed; the copy must end equal.
    Snapshot(snapshot::RelaySnapshotArgs),
    /// Change a table's definition at random between changes of its rows, with kills.
    Ddl(ddl::RelayDdlArgs),
    /// Measure: a backlog, and single commits.
    Bench(bench::RelayBenchArgs),
}

/// Runs a command.
///
/// # Errors
/// A fault was found, or something could not be started.
pub async fn run(command: RelayCommand) -> anyhow::Result<()> {
    match command {
        RelayCommand::Drill(args) => drill::run(args).await,
        RelayCommand::Snapshot(args) => snapshot::run(args).await,
        RelayCommand::Ddl(args) => ddl::run(args).await,
        RelayCommand::Bench(args) => bench::run(args).await,
    }
}
