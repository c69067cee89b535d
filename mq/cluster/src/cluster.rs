//! The handle of a cluster in a folder: start, look at, disturb, stop.

use crate::layout::{Layout, Member, Options};
use crate::programs::Programs;
use crate::roles;
use crate::state::{Pid, State};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Ends of a process while starting after which it is said to have failed.
const STARTS_TRIED: u64 = 3;
const LOG_LINES_SHOWN: usize = 15;

/// A cluster in a folder. Dropping the handle changes nothing; [`Cluster::stop`] ends the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    dir: PathBuf,
    layout: Layout,
}

/// Whom a signal is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader of the first group.
    Leader,
    /// A member of the first group that does not lead.
    Follower,
    /// All members of all groups.
    All,
    /// A member by name, `n1` or `broker-b/n1`; also `broker-b/leader` and `broker-b/follower`, or a name server.
    Named(String),
}

impl FromStr for Target {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Target, Self::Err> {
        Ok(match text {
            "leader" => Target::Leader,
            "follower" => Target::Follower,
            "all" => Target::All,
            name => Target::Named(name.to_owned()),
        })
    }
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ended at once.
    Kill,
    /// Told to end in order; it is started again like a killed one.
    Term,
    /// Frozen: its sockets stay open and silent.
    Stop,
    /// Goes on.
    Cont,
}

impl FromStr for Signal {
    type Err = String;
    fn from_str(text: &str) -> Result<Signal, String> {
        match text.to_ascii_uppercase().trim_start_matches("SIG") {
            "KILL" | "9" => Ok(Signal::Kill),
            "TERM" | "15" => Ok(Signal::Term),
            "STOP" => Ok(Signal::Stop),
            "CONT" => Ok(Signal::Cont),
            _ => Err(format!("'{text}' is none of KILL, TERM, STOP, CONT")),
        }
    }
}

impl From<Signal> for rustix::process::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Kill => Self::KILL,
            Signal::Term => Self::TERM,
            Signal::Stop => Self::STOP,
            Signal::Cont => Self::CONT,
        }
    }
}

/// A process that got a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// As in the layout.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// What was done.
    pub signal: Signal,
    /// The group and term it led, as the members said just before.
    pub led: Option<(String, u64)>,
}

impl std::fmt::Display for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let done = match self.signal {
            Signal::Kill => "killed",
            Signal::Term => "terminated",
            Signal::Stop => "stopped",
            Signal::Cont => "continued",
        };
        write!(f, "{done} {} (process {})", self.name, self.pid)?;
        match &self.led {
            Some((group, term)) => write!(f, ", the leader of {group} in term {term}"),
            None => Ok(()),
        }
    }
}

/// What runs, as [`Cluster::status`] finds it.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `host:port;...` of the name servers.
    pub namesrv_addr: String,
    /// Process id of the supervisor; none when the cluster is stopped.
    pub supervisor: Option<u32>,
    /// Name servers: name, address, process id.
    pub namesrvs: Vec<(String, String, Option<u32>)>,
    /// All members.
    pub members: Vec<MemberStatus>,
}

/// One member.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStatus {
    /// As in the layout.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Where clients reach it.
    pub addr: String,
    /// Where members reach it.
    pub peer_port: u16,
    /// None while it is down.
    pub pid: Option<u32>,
    /// `leader`, `follower`, ...; `down`, `stopped` or `silent` when it cannot say.
    pub role: String,
    /// Raft term, if it says.
    pub term: Option<u64>,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended last.
    pub last_end: Option<String>,
}

impl Cluster {
    /// Starts a cluster and waits until every group has a leader that the name servers know. On failure everything is
    /// stopped and the error shows the end of the log of the process that is to blame.
    pub fn start(options: &Options) -> Result<Cluster> {
        let programs = Programs::find()?;
        std::fs::create_dir_all(&options.dir).with_context(|| format!("create {}", options.dir.display()))?;
        let dir = std::fs::canonicalize(&options.dir)?;
        ensure!(
            !is_in_use(&dir)?,
            "a cluster is already running in {0}; stop it first (mqcluster stop --dir {0}) or name another folder",
            dir.display()
        );
        let options = Options {
            dir: dir.clone(),
            ..options.clone()
        };
        let cluster = Cluster {
            layout: Layout::found(&options)?,
            dir,
        };
        let _ = std::fs::remove_file(cluster.dir.join("state.json"));
        cluster.spawn_supervisor(&programs)?;
        if let Err(error) = cluster.wait_ready(options.ready_within) {
            let _ = cluster.stop();
            return Err(error);
        }
        Ok(cluster)
    }

    /// The cluster of a folder, running or not.
    pub fn open(dir: &Path) -> Result<Cluster> {
        let dir = std::fs::canonicalize(dir).with_context(|| format!("there is no cluster in {}", dir.display()))?;
        Ok(Cluster {
            layout: Layout::read(&dir)?,
            dir,
        })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `host:port;...` of the name servers.
    pub fn namesrv_addr(&self) -> String {
        self.layout.namesrv_addr()
    }

    /// What it consists of.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn spawn_supervisor(&self, programs: &Programs) -> Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("supervisor.log"))?;
        let mut child = Command::new(&programs.mqcluster)
            .arg("supervise")
            .arg("--dir")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start the supervisor")?;
        let end = Instant::now() + Duration::from_secs(10);
        while self.state()?.is_none() {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "the supervisor ended with {status}:\n{}",
                    last_lines(&self.dir.join("supervisor.log"))
                );
            }
            ensure!(
                Instant::now() < end,
                "the supervisor did not start:\n{}",
                last_lines(&self.dir.join("supervisor.log"))
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        // It outlives this program on purpose; while this program lives, its end must be noticed.
        std::thread::Builder::new()
            .name("wait supervisor".to_owned())
            .spawn(move || child.wait())?;
        Ok(())
    }

    fn state(&self) -> Result<Option<State>> {
        State::read(&self.dir)
    }

    fn running_state(&self) -> Result<State> {
        match self.state()? {
            Some(state) if state.supervisor.is_alive() => Ok(state),
            _ => bail!("the cluster in {} is not running", self.dir.display()),
        }
    }

    /// Waits until every group has a leader that is ready and that every name server lists as id 0.
    pub fn wait_ready(&self, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            let Some(missing) = roles::not_ready(&self.layout) else {
                return Ok(());
            };
            self.fail_if_one_cannot_start()?;
            if Instant::now() >= end {
                bail!(
                    "not ready within {} s: {missing}\n{}",
                    within.as_secs(),
                    self.all_logs()
                );
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    fn fail_if_one_cannot_start(&self) -> Result<()> {
        let state = self.running_state()?;
        for process in &state.processes {
            let gave_up = !self.layout.restart && process.pid.is_none();
            if let Some(how) = process
                .last_end
                .as_ref()
                .filter(|_| gave_up || process.restarts >= STARTS_TRIED)
            {
                let log = self.dir.join(&process.name).join("log");
                bail!(
                    "{} ended with {how} before the cluster was ready. The end of {}:\n{}",
                    process.name,
                    log.display(),
                    last_lines(&log)
                );
            }
        }
        Ok(())
    }

    fn all_logs(&self) -> String {
        let names = self
            .layout
            .namesrvs
            .iter()
            .map(|s| &s.name)
            .chain(self.layout.members.iter().map(|m| &m.name));
        names
            .map(|name| format!("--- {name}\n{}\n", last_lines(&self.dir.join(name).join("log"))))
            .collect()
    }

    /// What runs, in which role.
    pub fn status(&self) -> Result<Status> {
        let state = self.state()?.filter(|state| state.supervisor.is_alive());
        let said = if state.is_some() {
            roles::ask_all(&self.layout)
        } else {
            vec![None; self.layout.members.len()]
        };
        let record = |name: &str| state.as_ref()?.processes.iter().find(|record| record.name == name);
        let pid = |name: &str| record(name)?.pid.filter(Pid::is_alive);
        let namesrvs = self.layout.namesrvs.iter();
        Ok(Status {
            namesrv_addr: self.namesrv_addr(),
            supervisor: state.as_ref().map(|state| state.supervisor.id),
            namesrvs: namesrvs
                .map(|s| (s.name.clone(), s.addr(), pid(&s.name).map(|pid| pid.id)))
                .collect(),
            members: self
                .layout
                .members
                .iter()
                .zip(&said)
                .map(|(member, said)| {
                    let record = record(&member.name);
                    let pid = pid(&member.name);
                    let role = match (pid, said) {
                        (None, _) => "down".to_owned(),
                        (Some(pid), _) if pid.is_stopped() => "stopped".to_owned(),
                        (Some(_), None) => "silent".to_owned(),
                        (Some(_), Some(said)) => said.role.clone(),
                    };
                    MemberStatus {
                        name: member.name.clone(),
                        group: member.group.clone(),
                        addr: member.addr(),
                        peer_port: member.peer_port,
                        pid: pid.map(|pid| pid.id),
                        role,
                        term: said.as_ref().map(|said| said.term),
                        restarts: record.map_or(0, |record| record.restarts),
                        last_end: record.and_then(|record| record.last_end.clone()),
                    }
                })
                .collect(),
        })
    }

    /// Sends a signal. With `down`, a killed process is kept down for that long, its client sockets closed (a machine
    /// that is gone); else the supervisor starts it again at once, its client sockets held meanwhile.
    pub fn kill(&self, target: &Target, signal: Signal, down: Option<Duration>) -> Result<Vec<Hit>> {
        let state = self.running_state()?;
        let said = roles::ask_all(&self.layout);
        let mut hits = Vec::new();
        for name in self.resolve(target, &said)? {
            let record = state.processes.iter().find(|record| record.name == name);
            let pid = record.and_then(|record| record.pid).filter(Pid::is_alive);
            let Some(pid) = pid else {
                ensure!(*target == Target::All, "{name} is down");
                continue;
            };
            if let Some(down) = down {
                self.keep_down(&name, down)?;
            }
            let led = self
                .layout
                .members
                .iter()
                .find(|member| member.name == name)
                .and_then(|member| {
                    let (leader, term) = roles::leader(&self.layout, &said, &member.group)?;
                    (leader.name == name).then(|| (member.group.clone(), term))
                });
            pid.signal(signal.into())?;
            hits.push(Hit {
                name,
                pid: pid.id,
                signal,
                led,
            });
        }
        Ok(hits)
    }

    /// Names of those that a target means at the moment.
    pub fn names_of(&self, target: &Target) -> Result<Vec<String>> {
        self.resolve(target, &roles::ask_all(&self.layout))
    }

    /// Kills a process, if it still runs, and sees to it that it is not started again for so long.
    pub fn end_and_keep_down(&self, name: &str, down: Duration) -> Result<()> {
        self.keep_down(name, down)?;
        let state = self.running_state()?;
        let record = state.processes.iter().find(|record| record.name == name);
        if let Some(pid) = record.and_then(|record| record.pid) {
            pid.signal(Signal::Kill.into())?;
        }
        Ok(())
    }

    pub(crate) fn resolve(
        &self,
        target: &Target,
        said: &[Option<mq_remoting::body::RaftStatus>],
    ) -> Result<Vec<String>> {
        let first = self.layout.groups()[0].to_owned();
        let (group, role) = match target {
            Target::All => return Ok(self.layout.members.iter().map(|member| member.name.clone()).collect()),
            Target::Leader => (first, "leader"),
            Target::Follower => (first, "follower"),
            Target::Named(name) => {
                if self.names().any(|known| known == name) {
                    return Ok(vec![name.clone()]);
                }
                match name.split_once('/') {
                    Some((group, role @ ("leader" | "follower"))) => (group.to_owned(), role),
                    _ => bail!(
                        "no process is named {name}; there are {}",
                        self.names().collect::<Vec<_>>().join(", ")
                    ),
                }
            }
        };
        let leader = roles::leader(&self.layout, said, &group).map(|(member, _)| member);
        let leader = leader.with_context(|| format!("{group} has no leader at the moment"))?;
        if role == "leader" {
            return Ok(vec![leader.name.clone()]);
        }
        let answers = |member: &Member| {
            let at = self.layout.members.iter().position(|other| other == member);
            at.is_some_and(|at| said[at].is_some())
        };
        let follower = self
            .layout
            .members
            .iter()
            .find(|member| member.group == group && member.name != leader.name && answers(member));
        Ok(vec![
            follower
                .with_context(|| format!("{group} has no follower that answers"))?
                .name
                .clone(),
        ])
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let servers = self.layout.namesrvs.iter().map(|server| server.name.as_str());
        servers.chain(self.layout.members.iter().map(|member| member.name.as_str()))
    }

    fn keep_down(&self, name: &str, down: Duration) -> Result<()> {
        let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + down;
        let file = self.dir.join(name).join("down");
        std::fs::write(&file, until.as_millis().to_string()).with_context(|| format!("write {}", file.display()))
    }

    /// Starts processes that are down: kept down, or ended with restarts off.
    pub fn revive(&self) -> Result<()> {
        let state = self.running_state()?;
        for name in self.names() {
            let _ = std::fs::remove_file(self.dir.join(name).join("down"));
        }
        state.supervisor.signal(rustix::process::Signal::HUP)
    }

    /// Stops everything, in order, and waits for the end of it. Data stays; [`Cluster::start`] takes it up again.
    pub fn stop(&self) -> Result<()> {
        let Some(state) = self.state()? else {
            return Ok(());
        };
        state.supervisor.signal(rustix::process::Signal::TERM)?;
        let end = Instant::now() + Duration::from_secs(60);
        while state.supervisor.is_alive() {
            ensure!(
                Instant::now() < end,
                "the supervisor (process {}) does not end",
                state.supervisor.id
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        // A supervisor that was killed takes its children along; whatever is left is ended here.
        for pid in self
            .state()?
            .into_iter()
            .flat_map(|state| state.processes)
            .filter_map(|process| process.pid)
        {
            pid.signal(rustix::process::Signal::KILL)?;
        }
        if let Some(network) = &self.layout.network {
            network.down(self.layout.members.len());
        }
        Ok(())
    }
}

/// Whether a supervisor holds the lock of the folder.
fn is_in_use(dir: &Path) -> Result<bool> {
    match File::open(dir.join("lock")) {
        Ok(lock) => Ok(lock.try_lock().is_err()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("open the lock"),
    }
}

fn last_lines(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(16 * 1024)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    if shown.is_empty() {
        "(empty)".to_owned()
    } else {
        shown.join("\n")
    }
}
