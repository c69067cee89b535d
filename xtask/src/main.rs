//! xtask: checks of the workspace that neither the compiler nor clippy makes.
//!
//! It is not a build system: `make` calls cargo, and cargo calls this. `cargo run -p xtask -- check` runs every check and
//! prints each breach with its place. Start reading in [`house`], the one list of crates and what each may use.

// A tool, never simulated: it reads files directly.
#![allow(clippy::disallowed_methods)]

mod documents;
mod house;
mod tree;
mod words;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "xtask", about = "Checks of the workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Layers, paths named in documents, words that belong to one crate
    Check,
}

fn main() -> ExitCode {
    let Arguments { command: Task::Check } = Arguments::parse();
    match check() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(broken) => {
            eprintln!("xtask check: {broken} broken");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask check: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every check; answers how many breaches there are.
fn check() -> Result<usize> {
    let tree = tree::Tree::read()?;
    let checks: [(&str, Vec<String>, usize); 3] = {
        let (layers, crates) = house::check(&tree)?;
        let (paths, named) = documents::check(&tree)?;
        let (words, files) = words::check(&tree)?;
        [
            ("layers", layers, crates),
            ("paths in documents", paths, named),
            ("words", words, files),
        ]
    };
    let mut broken = 0;
    for (name, breaches, examined) in &checks {
        // A check that looked at nothing has not checked anything.
        anyhow::ensure!(*examined > 0, "{name}: nothing was examined");
        println!("{name}: {examined} examined, {} broken", breaches.len());
        breaches.iter().for_each(|breach| println!("  {breach}"));
        broken += breaches.len();
    }
    Ok(broken)
}
