//! The program around RocketMQ's Java client, in the versions that are tested.

use crate::{cache, cache_lock, here, maven};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Sources that need a client of 4.6 or newer.
const NOT_IN_4_5: &[&str] = &["LitePulls.java"];

/// The compiled program and the jars it runs with.
pub struct JavaClient {
    classpath: String,
}

impl JavaClient {
    /// Fetches client `version` from Maven Central (once) and compiles the program against it.
    pub fn prepare(version: &str) -> Result<JavaClient> {
        let _lock = cache_lock()?;
        let folder = cache(&format!("java-{version}"))?;
        let jars = maven::fetch(&folder, &["org.apache.rocketmq:rocketmq-client"], version)?;
        let mut sources = Vec::new();
        for entry in std::fs::read_dir(here().join("java")).context("list the Java sources")? {
            let file = entry?.path();
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let too_new = version.starts_with("4.5.") && NOT_IN_4_5.contains(&name);
            if name.ends_with(".java") && !too_new {
                sources.push(file);
            }
        }
        let doing = format!("compile the program around client {version}");
        let classes = maven::compile(&folder, &jars, &sources, &doing)?;
        Ok(JavaClient {
            classpath: format!("{}:{}/*", classes.display(), jars.display()),
        })
    }

    /// The command that runs the program; the caller adds scenarios. Client logs go to `home`.
    pub fn command(&self, home: &Path) -> Command {
        let mut command = Command::new("java");
        // 4.5.1 brings a netty that looks into java.nio.
        command.args(["-Xmx256m", "--add-opens", "java.base/java.nio=ALL-UNNAMED"]);
        command.arg(format!("-Duser.home={}", home.display()));
        command.args(["-cp", &self.classpath, "Interop"]);
        command
    }
}
