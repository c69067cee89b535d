//! `mqstore`: looks into the files of a broker, whether it runs or not. Changes nothing.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mq_base::env::disk;
use mq_message::CommitLogOffset;
use mq_store::inspect::{InspectOptions, inspect};

#[derive(Parser)]
#[command(
    name = "mqstore",
    version,
    about = "Looks into the files of a broker. Changes nothing."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Segments, entries, records, queues, flush mark, vote, and the damage if there is any
    #[command(after_help = "\
Exit status: 0 no damage, 1 the folder cannot be read, 2 damage was found.

Examples:
  mqstore inspect /data/broker-a                        summary and damage
  mqstore inspect /data/broker-a --entries | less       every entry of the log
  mqstore inspect /data/broker-a --records --from 4096  every record from commit log offset 4096 on")]
    Inspect {
        /// Folder of the log (the one that holds `identity` and `commitlog`)
        dir: PathBuf,
        /// Show entries and records from this commit log offset on
        #[arg(long, default_value_t = 0, value_name = "OFFSET")]
        from: u64,
        /// Show each entry
        #[arg(long)]
        entries: bool,
        /// Show each entry and each record in it
        #[arg(long)]
        records: bool,
    },
}

fn main() -> ExitCode {
    let Command::Inspect {
        dir,
        from,
        entries,
        records,
    } = Args::parse().command;
    let options = InspectOptions {
        from: CommitLogOffset::from(from),
        entries,
        records,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut broken = None;
    let outcome = inspect(disk::real(), &dir, options, &mut |line| {
        if broken.is_none() {
            broken = writeln!(out, "{line}").err();
        }
    });
    let flushed = out.flush();
    // A closed pipe (`| head`) is the reader's wish, not a failure; the exit status still tells of damage.
    let _ = broken.map_or(flushed, Err);
    match outcome {
        Ok(found) if found.damage.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(2),
        Err(error) => {
            eprintln!("mqstore: {error}");
            ExitCode::from(1)
        }
    }
}
