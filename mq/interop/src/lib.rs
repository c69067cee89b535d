//! mq-interop: RocketMQ's own clients, unmodified, against a real cluster of ours.
//!
//! The programs around the clients lie in `java/` and `go/`; each runs named scenarios and prints `PASS` or `FAIL`. This
//! library fetches the clients ([`java`], [`go`]), and Flink as a reader of what the binlog relay writes ([`flink`]), starts
//! clusters ([`stage`]) and runs the programs ([`run`]); the tests say which scenarios. Nothing is skipped: a missing tool
//! fails a test with a sentence.
//!
//! It does not test `mq-client`, which has tests of its own. Start reading at `tests/clients.rs`.

// Tests with real processes, never simulated.
#![allow(clippy::disallowed_methods)]

pub mod flink;
pub mod go;
pub mod java;
mod maven;
pub mod run;
pub mod stage;

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of this crate.
fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that outlives the tests and that git ignores: fetched clients, compiled programs.
fn cache(name: &str) -> Result<PathBuf> {
    let root = here().ancestors().nth(2).context("find the workspace")?;
    let folder = root.join(".cache/interop").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// Only one test at a time may fill the cache. Released when dropped.
fn cache_lock() -> Result<std::fs::File> {
    let lock = std::fs::File::create(cache("")?.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Fails with a sentence when a tool is missing.
fn need(tool: &str) -> Result<()> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|folder| folder.join(tool).is_file());
    ensure!(
        found,
        "{tool} is missing; the interop tests cannot run without it. scripts/setup installs it."
    );
    Ok(())
}

/// Runs a command to its end; on failure the error shows what it printed.
fn finish(command: &mut Command, doing: &str) -> Result<()> {
    finish_with_output(command, doing).map(drop)
}

/// As [`finish`]; answers what it printed.
fn finish_with_output(command: &mut Command, doing: &str) -> Result<String> {
    let output = command.output().with_context(|| doing.to_owned())?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        bail!(
            "{doing}: {}\n{}",
            output.status,
            lines[lines.len().saturating_sub(30)..].join("\n")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
