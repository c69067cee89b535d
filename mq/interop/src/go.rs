//! The program around RocketMQ's Go client.

use crate::{cache, cache_lock, finish, here, need};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// The built program.
pub struct GoClient {
    program: PathBuf,
}

impl GoClient {
    /// Builds it; Go fetches the client that `go.mod` pins.
    pub fn prepare() -> Result<GoClient> {
        need("go")?;
        let _lock = cache_lock()?;
        let program = cache("go")?.join("interop");
        let mut command = Command::new("go");
        command
            .args(["build", "-mod=readonly", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(here().join("go"));
        finish(&mut command, "build the program around RocketMQ's Go client")?;
        Ok(GoClient { program })
    }

    /// The command that runs the program; the caller adds scenarios.
    pub fn command(&self) -> Command {
        Command::new(&self.program)
    }
}
