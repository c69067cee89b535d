//! One MySQL server, run by `scripts/mysql`.

use anyhow::{Context, Result, ensure};
use mq_cluster::free_port;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How often another port is tried, when somebody else has taken the one that was free a moment ago.
const PORTS_TRIED: usize = 3;

/// A running server. Dropping the handle kills it; its data stay in the folder.
pub struct Mysql {
    folder: PathBuf,
    port: u16,
    pid: Option<u32>,
    options: Vec<String>,
}

impl Mysql {
    /// Starts a server that keeps everything in a folder, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No server can be obtained here, or it does not start; the text holds the end of its log.
    pub fn start(folder: &Path) -> Result<Mysql> {
        Mysql::start_with(folder, &[])
    }

    /// As [`Mysql::start`]; `options` go to mysqld, `--name=value` each, also at every restart.
    ///
    /// # Errors
    /// As [`Mysql::start`].
    pub fn start_with(folder: &Path, options: &[&str]) -> Result<Mysql> {
        let mut server = Mysql {
            folder: folder.to_owned(),
            port: 0,
            pid: None,
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        for tried in 1.. {
            server.port = free_port()?;
            match server.restart() {
                Err(error) if tried < PORTS_TRIED && format!("{error:#}").contains("Address already in use") => {}
                outcome => return outcome.map(|()| server),
            }
        }
        unreachable!("the loop ends with its last try")
    }

    /// URL of the account root.
    pub fn url(&self) -> String {
        self.url_as("root", "root")
    }

    /// URL of another account, which the caller has made.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Runs statements as root and answers what the program `mysql` prints: a line for each row, columns divided by tabs.
    ///
    /// # Errors
    /// The server's, with its text.
    pub fn run(&self, sql: &str) -> Result<String> {
        let folder = self.folder.display().to_string();
        script(&["client", &folder, "--batch", "--raw", "--skip-column-names", "-e", sql])
    }

    /// Ends it with SIGKILL, and waits for that.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&mut self) -> Result<()> {
        script(&["kill", &self.folder.display().to_string()])?;
        self.pid = None;
        Ok(())
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        script(&["stop", &self.folder.display().to_string()])?;
        self.pid = None;
        Ok(())
    }

    /// Sends a signal, for example STOP and CONT: a server that is there and silent.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .pid
            .and_then(|pid| Pid::from_raw(pid as i32))
            .context("the server does not run")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Starts it again, on the same port, after [`Mysql::kill`] or [`Mysql::stop`].
    ///
    /// # Errors
    /// As [`Mysql::start`].
    pub fn restart(&mut self) -> Result<()> {
        let (folder, port) = (self.folder.display().to_string(), self.port.to_string());
        let mut arguments = vec!["start", &folder, &port];
        arguments.extend(self.options.iter().map(String::as_str));
        script(&arguments)?;
        let pid = script(&["status", &folder])?;
        self.pid = Some(pid.trim().parse().context("read the server's process id")?);
        Ok(())
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        if self.pid.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("end the MySQL server in {}: {error:#}", self.folder.display());
        }
    }
}

/// Runs `scripts/mysql` and answers what it printed.
fn script(arguments: &[&str]) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/mysql");
    let output = Command::new(&script)
        .args(arguments)
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "scripts/mysql {}: {}\n{said}",
        arguments.first().unwrap_or(&""),
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
