//! `state.json`: which process runs as what. Only the supervisor writes it; everybody may read it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// All processes of a running cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The supervisor itself.
    pub supervisor: Pid,
    /// Name servers first, then members, as in the layout.
    pub processes: Vec<Record>,
}

/// A process id that cannot be mistaken for a later process with the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pid {
    /// Number.
    pub id: u32,
    /// When it started, in ticks since the machine's boot (field 22 of `/proc/PID/stat`).
    pub started: u64,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// As in the layout.
    pub name: String,
    /// None while it is down.
    pub pid: Option<Pid>,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended last, such as "signal 9" or "exit status 1".
    pub last_end: Option<String>,
}

impl State {
    /// Reads it; `None` when there is none yet.
    pub fn read(dir: &Path) -> Result<Option<State>> {
        match std::fs::read_to_string(dir.join("state.json")) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).context("read state.json")?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("read state.json"),
        }
    }

    /// Replaces it whole.
    pub fn write(&self, dir: &Path) -> Result<()> {
        replace(&dir.join("state.json"), &serde_json::to_vec_pretty(self)?)
    }
}

/// Writes a file aside and renames it, so that a reader never sees half of it.
pub fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let aside = file.with_extension("new");
    std::fs::write(&aside, bytes).with_context(|| format!("write {}", aside.display()))?;
    std::fs::rename(&aside, file).with_context(|| format!("write {}", file.display()))
}
