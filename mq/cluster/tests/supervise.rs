//! The supervisor with stand-ins for the programs: shell scripts that only live, die or complain.

#![allow(clippy::disallowed_methods)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A folder with programs, and a cluster folder. Ends the cluster when dropped.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(mqnamesrv: &str, mqbroker: &str) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mqcluster"), folder.path().join("mqcluster")).unwrap();
        for (name, text) in [("mqnamesrv", mqnamesrv), ("mqbroker", mqbroker)] {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Stage { folder }
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqcluster"));
        command.env("FOREBAY_PROGRAMS", self.folder.path());
        command
            .arg(arguments[0])
            .arg("--dir")
            .arg(self.cluster())
            .args(&arguments[1..]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Lays the folder out (the start fails: nothing answers), then supervises it.
    fn supervise(&self) -> std::process::Child {
        let output = self.run(&["start", "--wait", "0"]);
        assert!(!output.status.success());
        let child = self.command(&["supervise"]).spawn().unwrap();
        await_that("all processes run", || {
            self.pids()
                .is_some_and(|pids| pids.iter().all(|(_, pid)| pid.is_some()))
        });
        child
    }

    fn pids(&self) -> Option<Vec<(String, Option<u32>)>> {
        let text = std::fs::read_to_string(self.cluster().join("state.json")).ok()?;
        let state: serde_json::Value = serde_json::from_str(&text).ok()?;
        let id = |record: &serde_json::Value| record["pid"]["id"].as_u64().map(|id| id as u32);
        let processes = state["processes"].as_array()?;
        Some(
            processes
                .iter()
                .map(|record| (record["name"].as_str().unwrap().to_owned(), id(record)))
                .collect(),
        )
    }

    fn pid(&self, name: &str) -> Option<u32> {
        self.pids()?.into_iter().find(|(known, _)| known == name)?.1
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.run(&["stop"]);
    }
}

fn await_that(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

const LIVES: &str = "exec sleep 1000";

#[test]
fn a_killed_process_is_started_again_and_stop_leaves_nothing_behind() {
    let stage = Stage::new(LIVES, LIVES);
    let mut supervisor = stage.supervise();
    let first = stage.pid("n1").unwrap();
    let output = stage.run(&["kill", "n1"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said.trim(),
        format!("killed n1 (process {first})"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    await_that("n1 runs again", || {
        stage.pid("n1").is_some_and(|pid| pid != first && runs(pid))
    });
    assert!(!runs(first));

    let pids: Vec<u32> = stage.pids().unwrap().into_iter().filter_map(|(_, pid)| pid).collect();
    assert_eq!(pids.len(), 4);
    assert!(stage.run(&["stop"]).status.success());
    supervisor.wait().unwrap();
    assert!(pids.into_iter().all(|pid| !runs(pid)));
}

#[test]
fn children_die_with_a_killed_supervisor() {
    let stage = Stage::new(LIVES, LIVES);
    let mut supervisor = stage.supervise();
    let pids: Vec<u32> = stage.pids().unwrap().into_iter().filter_map(|(_, pid)| pid).collect();
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    await_that("all are gone", || pids.iter().all(|pid| !runs(*pid)));
}

#[test]
fn sockets_are_held_while_a_process_is_down_and_closed_when_it_is_kept_down() {
    // The stand-in says which sockets it was handed, to whom they were meant, and lives.
    let says = "echo fds=$LISTEN_FDS names=$LISTEN_FDNAMES mine=$([ $LISTEN_PID = $$ ] && echo yes) \
                $(readlink /proc/self/fd/3 | cut -c1-6) $(readlink /proc/self/fd/4 | cut -c1-6); exec sleep 1000";
    let stage = Stage::new(LIVES, says);
    let mut supervisor = stage.supervise();
    let layout: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(stage.cluster().join("layout.json")).unwrap()).unwrap();
    let port = layout["members"][0]["port"].as_u64().unwrap();
    let connects = || std::net::TcpStream::connect(("127.0.0.1", port as u16)).is_ok();
    assert!(connects());
    let log = || std::fs::read_to_string(stage.cluster().join("n0/log")).unwrap_or_default();
    await_that("the stand-in said so", || {
        log().contains("fds=2 names=client:client2 mine=yes socket socket")
    });
    let first = stage.pid("n0").unwrap();
    assert!(stage.run(&["kill", "n0"]).status.success());
    assert!(connects());
    await_that("n0 runs again", || {
        stage.pid("n0").is_some_and(|pid| pid != first && runs(pid))
    });
    assert!(stage.run(&["kill", "n0", "--down", "100"]).status.success());
    await_that("the socket is closed", || !connects() && stage.pid("n0").is_none());
    assert!(stage.run(&["revive"]).status.success());
    await_that("n0 is back", || stage.pid("n0").is_some() && connects());
    assert!(stage.run(&["stop"]).status.success());
    supervisor.wait().unwrap();
}

#[test]
fn a_failing_start_shows_the_log_and_leaves_nothing_behind() {
    let stage = Stage::new(LIVES, "echo 'brokerName: illegal name'; exit 3");
    let output = stage.run(&["start"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        said.contains("ended with exit status 3") && said.contains("illegal name"),
        "{said}"
    );
    assert!(stage.pids().unwrap().iter().all(|(_, pid)| pid.is_none()));
}

#[test]
fn a_folder_in_use_is_refused() {
    let stage = Stage::new(LIVES, LIVES);
    let mut supervisor = stage.supervise();
    let output = stage.run(&["start"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("already running in") && !output.status.success(),
        "{said}"
    );
    assert!(
        stage.pids().unwrap().iter().all(|(_, pid)| pid.is_some()),
        "the running cluster was touched"
    );
    assert!(stage.run(&["stop"]).status.success());
    supervisor.wait().unwrap();
}

#[test]
fn everything_ends_when_the_owner_is_gone() {
    let stage = Stage::new(LIVES, LIVES);
    let mut owner = Command::new("sleep").arg("1000").spawn().unwrap();
    let output = stage.run(&["start", "--wait", "0", "--owner", &owner.id().to_string()]);
    assert!(!output.status.success());
    let mut supervisor = stage.command(&["supervise"]).spawn().unwrap();
    await_that("all processes run", || {
        stage
            .pids()
            .is_some_and(|pids| pids.iter().all(|(_, pid)| pid.is_some()))
    });
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(supervisor.wait().unwrap().success());
    assert!(stage.pids().unwrap().iter().all(|(_, pid)| pid.is_none()));
}
