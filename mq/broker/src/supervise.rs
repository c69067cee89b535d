//! `mqbroker --supervise`: holds the clients' listening sockets and restarts the broker at once when it dies (ADR 017).
//!
//! A client that reconnects while the broker is down waits in the backlog of a socket that is still open, instead of being
//! refused: a crash costs it some latency, not an error. The port between members is never held, because a refused
//! connection there is the proof of death that lets the others elect at once. systemd's socket activation does the same
//! (`scripts/systemd/`).

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use mq_base::env::clock::{self, Instant};
use mq_base::env::task;
use mq_base::stop::Terminations;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

/// A broker that lived for so long starts again without a pause.
const LIVED: Duration = Duration::from_secs(10);
/// First pause before a broker that died young is started again; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// First descriptor of a socket in the child, as systemd's protocol says.
const FIRST_FD: i32 = 3;
/// Exit status of settings that make no sense: starting again would not help.
const USAGE: i32 = 2;
/// Tells the child that it is supervised.
const SUPERVISED: &str = "FOREBAY_SUPERVISED";

/// Sockets that stay open while the broker is down.
pub struct Held(Vec<TcpListener>);

impl Held {
    /// Listens on the clients' port and, if it is free, two below.
    pub fn listen(host: &str, port: u16) -> Result<Held> {
        let client = TcpListener::bind((host, port)).with_context(|| format!("listen on {host}:{port}"))?;
        let fast = port
            .checked_sub(2)
            .filter(|fast| *fast > 0)
            .and_then(|fast| TcpListener::bind((host, fast)).ok());
        Ok(Held(std::iter::once(client).chain(fast).collect()))
    }

    fn mappings(&self) -> std::io::Result<Vec<FdMapping>> {
        let numbered = self.0.iter().zip(FIRST_FD..);
        numbered
            .map(|(socket, child_fd)| {
                Ok(FdMapping {
                    parent_fd: OwnedFd::from(socket.try_clone()?),
                    child_fd,
                })
            })
            .collect()
    }
}

/// Runs `program` again and again until it ends by itself with status 0 (or 2), or this process is told to stop. Returns
/// the exit status to end with.
pub async fn supervise(program: &Path, arguments: Vec<OsString>, held: Held, patience: Duration) -> Result<u8> {
    let mut terminations = Terminations::listen().context("handle signals")?;
    let mut young_deaths = 0;
    loop {
        let started = clock::now();
        let mut child = spawn(program, &arguments, &held)?;
        let pid = Pid::from_child(&child);
        tracing::info!(pid = child.id(), "started the broker");
        let mut waiting = task::spawn_blocking("wait for the broker", move || child.wait());
        let ended = tokio::select! {
            ended = &mut waiting => ended,
            () = terminations.next() => return stop(pid, waiting, patience, &mut terminations).await,
        };
        let status = ended.context("wait for the broker")?.context("wait for the broker")?;
        if let Some(code @ (0 | USAGE)) = status.code() {
            return Ok(code as u8);
        }
        young_deaths = if clock::now() - started >= LIVED {
            0
        } else {
            young_deaths + 1
        };
        let pause = pause(young_deaths);
        tracing::error!(status = %status, pause_ms = pause.as_millis() as u64, "the broker died; starting it again");
        if wait_or_stop(clock::now() + pause, &mut terminations).await {
            return Ok(0);
        }
    }
}

fn spawn(program: &Path, arguments: &[OsString], held: &Held) -> Result<Child> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(SUPERVISED, "1")
        .env("LISTEN_FDS", held.0.len().to_string());
    command.env_remove("LISTEN_PID");
    command
        .fd_mappings(held.mappings().context("copy a socket")?)
        .context("hand the sockets down")?;
    command.spawn().with_context(|| format!("start {}", program.display()))
}

/// Passes SIGTERM on and waits; a broker that does not end is killed.
async fn stop(
    pid: Pid,
    mut waiting: task::TaskHandle<std::io::Result<ExitStatus>>,
    patience: Duration,
    terminations: &mut Terminations,
) -> Result<u8> {
    let _ = kill_process(pid, Signal::TERM); // it may have ended by itself
    let ended = tokio::select! {
        ended = clock::timeout(patience, &mut waiting) => ended,
        () = terminations.next() => Err(clock::Elapsed),
    };
    let status = match ended {
        Ok(status) => status,
        Err(clock::Elapsed) => {
            tracing::warn!("the broker did not stop in time");
            let _ = kill_process(pid, Signal::KILL);
            waiting.await
        }
    };
    let status = status.context("wait for the broker")?.context("wait for the broker")?;
    Ok(status
        .code()
        .map_or_else(|| 128 + status.signal().unwrap_or(0) as u8, |code| code as u8))
}

/// Waits until `until`; true if this process was told to stop meanwhile.
async fn wait_or_stop(until: Instant, terminations: &mut Terminations) -> bool {
    tokio::select! {
        biased;
        () = terminations.next() => true,
        () = clock::sleep_until(until) => false,
    }
}

fn pause(young_deaths: u32) -> Duration {
    match young_deaths {
        0 | 1 => Duration::ZERO,
        n => (PAUSE_MIN * 2u32.saturating_pow(n.min(16) - 2)).min(PAUSE_MAX),
    }
}

/// Whether a supervisor has started this process.
pub fn is_supervised() -> bool {
    std::env::var_os(SUPERVISED).is_some()
}

/// In a supervised broker: end politely when the supervisor is killed, since nobody would hold its sockets any more.
pub fn die_with_supervisor() {
    if is_supervised()
        && let Err(error) = set_parent_process_death_signal(Some(Signal::TERM))
    {
        tracing::warn!(%error, "ask for a signal when the supervisor dies");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broker_that_dies_young_waits() {
        let pauses: Vec<u128> = (0..10).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 50, 100, 200, 400, 800, 1_600, 3_200, 5_000]);
    }

    #[tokio::test]
    async fn a_dying_program_is_started_again_with_the_same_sockets() {
        let held = Held(vec![TcpListener::bind("127.0.0.1:0").unwrap()]);
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        // Counts its lives, dies twice, and ends only if it was handed one socket.
        let script = format!(
            "echo x >> {0}; test $(wc -l < {0}) -lt 3 && kill -9 $$; test \"$LISTEN_FDS\" = 1 && test -S /proc/self/fd/3",
            count.display()
        );
        let arguments = vec!["-c".into(), script.into()];
        let code = supervise(Path::new("/bin/sh"), arguments, held, Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(code, 0);
        #[allow(clippy::disallowed_methods)]
        let lives = std::fs::read_to_string(count).unwrap().lines().count();
        assert_eq!(lives, 3);
    }
}
