//! Processes as the kernel shows them: alive or not, signals, and the last step before a member's program runs.

use crate::network;
use crate::state::Pid;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

impl Pid {
    /// The process that runs under this number now.
    pub fn of(id: u32) -> Option<Pid> {
        let (state, started) = stat(id)?;
        (!matches!(state, 'Z' | 'X')).then_some(Pid { id, started })
    }

    /// Whether it still runs. A zombie does not: it only waits for its parent to notice.
    pub fn is_alive(&self) -> bool {
        Pid::of(self.id).is_some_and(|now| now.started == self.started)
    }

    /// Whether it is stopped by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        stat(self.id).is_some_and(|(state, _)| matches!(state, 'T' | 't'))
    }

    /// Sends a signal, unless the process is gone.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let Some(pid) = i32::try_from(self.id).ok().and_then(rustix::process::Pid::from_raw) else {
            return Ok(());
        };
        match rustix::process::kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("send a signal to process {}", self.id)),
        }
    }
}

/// State letter and start time from `/proc/PID/stat`. The name in brackets may hold blanks and brackets itself.
fn stat(id: u32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

/// Becomes `program`, as a child that dies with its parent and may take the sockets that were handed down.
///
/// `LISTEN_PID` must name the process that takes the sockets, which only that process knows; hence this step between
/// the supervisor and the program. Returns only on failure.
pub fn launch(parent: u32, namespace: Option<&str>, program: &str, arguments: &[String]) -> anyhow::Error {
    if let Some(namespace) = namespace
        && let Err(error) = network::enter(namespace)
    {
        return error;
    }
    use rustix::process::{Signal, set_parent_process_death_signal};
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return anyhow::Error::new(error).context("ask to die with the supervisor");
    }
    // It may have died before the kernel was asked.
    if rustix::process::getppid().is_none_or(|now| now.as_raw_nonzero().get() as u32 != parent) {
        return anyhow::anyhow!("the supervisor is gone");
    }
    let error = Command::new(program)
        .args(arguments)
        .env("LISTEN_PID", std::process::id().to_string())
        .exec();
    anyhow::Error::new(error).context(format!("run {program}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_not_alive_and_a_number_alone_is_not_enough() {
        let own = Pid::of(std::process::id()).unwrap();
        assert!(own.is_alive() && !own.is_stopped());
        assert!(
            !Pid {
                started: own.started + 1,
                ..own
            }
            .is_alive()
        );
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = Pid::of(child.id()).unwrap();
        pid.signal(rustix::process::Signal::KILL).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while pid.is_alive() {
            assert!(std::time::Instant::now() < end, "killed, and still alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
