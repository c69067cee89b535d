//! Relays and mirrors as processes: started, killed, frozen, looked at.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A relay's process. Killed when dropped.
pub struct RelayProcess {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    http: String,
    child: Option<Child>,
}

impl RelayProcess {
    /// Writes its settings into `folder`, and starts it.
    ///
    /// # Errors
    /// The program is not built, or ends at once.
    pub fn start(folder: &Path, name: &str, settings: &str, arguments: &[&str]) -> Result<RelayProcess> {
        let port = mq_cluster::free_port()?;
        let http = format!("127.0.0.1:{port}");
        let config = folder.join(format!("{name}.toml"));
        std::fs::write(&config, format!("http = \"{http}\"\n{settings}")).context("write the relay's settings")?;
        let mut words = vec!["run".to_owned(), "--config".to_owned(), config.display().to_string()];
        words.extend(arguments.iter().map(|a| (*a).to_owned()));
        let mut relay = RelayProcess {
            program: program()?,
            config,
            log: folder.join(format!("{name}.log")),
            arguments: words,
            http,
            child: None,
        };
        relay.spawn()?;
        Ok(relay)
    }

    /// Starts a mirror of what this relay writes.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn mirror(&self, target: &str, map: &str) -> Result<RelayProcess> {
        let config = self.config.display().to_string();
        let words = ["mirror", "--config", &config, "--target", target, "--map", map];
        let mut mirror = RelayProcess {
            program: self.program.clone(),
            config: self.config.clone(),
            log: self.log.with_extension("mirror.log"),
            arguments: words.iter().map(|w| (*w).to_owned()).collect(),
            http: String::new(),
            child: None,
        };
        mirror.spawn()?;
        Ok(mirror)
    }

    /// Starts it again, if it does not run.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .context("open the relay's log")?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid as i32));
        Ok(kill_process(pid.context("the relay does not run")?, signal)?)
    }

    /// SIGKILL, and started again at once.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.kill();
        self.spawn()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(status.to_string())
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(2)))
            .build()
            .into();
        let text = agent
            .get(format!("http://{}/status", self.http))
            .call()
            .context("ask the relay")?
            .body_mut()
            .read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Asks for a table to be copied again.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn snapshot(&self, tables: &[&str]) -> Result<()> {
        let agent = ureq::Agent::new_with_defaults();
        let body = serde_json::to_string(tables)?;
        let url = format!("http://{}/snapshot", self.http);
        agent
            .post(url)
            .content_type("application/json")
            .send(body)
            .context("ask for a copy")?;
        Ok(())
    }

    /// Waits until its status is as wanted.
    ///
    /// # Errors
    /// It ends, or the time is up.
    pub fn wait_for(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.status();
            if status.as_ref().is_ok_and(&wanted) {
                return Ok(());
            }
            if let Some(end) = self.ended() {
                bail!(
                    "the relay ended ({end}) while {what} was waited for; see {}",
                    self.log.display()
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "no {what} within {within:?}; the relay says {status:?}; see {}",
                    self.log.display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program beside this one, or where FOREBAY_PROGRAMS says.
fn program() -> Result<PathBuf> {
    let folder = match std::env::var_os("FOREBAY_PROGRAMS") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let this = std::env::current_exe()?;
            let folder = this.parent().context("find the folder of this program")?;
            // Tests lie in a folder below.
            if folder.ends_with("deps") {
                folder.parent().unwrap_or(folder).to_owned()
            } else {
                folder.to_owned()
            }
        }
    };
    let program = folder.join("binlog-relay");
    if !program.exists() {
        bail!(
            "{} is not built: cargo build --release -p binlog-relay",
            program.display()
        );
    }
    Ok(program)
}
