//! The supervisor: parent of all processes of a cluster. One thread owns everything and takes events; one more for each
//! child waits for its end, and one for the signals.

use crate::layout::Layout;
use crate::network;
use crate::ports;
use crate::programs::Programs;
use crate::state::{Pid, Record, State};
use anyhow::{Context, Result, bail};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Signal;
use std::fs::{File, OpenOptions};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A process that lived this long is started again at once; one that did not has to wait, each time twice as long.
const LIVED: Duration = Duration::from_secs(1);
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// After this long without an orderly end everything is killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// A second SIGTERM asks brokers not to wait for clients that refresh their routes.
const HURRY_AFTER: Duration = Duration::from_millis(1500);
const OWNER_LOOKED_AT: Duration = Duration::from_millis(500);

enum Event {
    Ended(usize, std::io::Result<ExitStatus>),
    Stop,
    Look,
}

struct Child {
    record: Record,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    place: Place,
    held: Vec<TcpListener>,
    started: Instant,
    short_lives: u32,
    start_at: Option<Instant>,
}

/// Where a process lives.
#[derive(Default)]
struct Place {
    /// Its network namespace, if not the supervisor's.
    namespace: Option<String>,
    /// Client addresses whose sockets are held and handed down.
    held: Vec<SocketAddrV4>,
}

/// Supervises the cluster in `dir` until told to stop.
pub fn supervise(dir: &Path) -> Result<()> {
    // A session of its own: the terminal that started the cluster may go. Fails if it already leads one.
    let _ = rustix::process::setsid();
    let lock = File::create(dir.join("lock")).context("open the lock")?;
    if lock.try_lock().is_err() {
        bail!("a cluster is already running in {}", dir.display());
    }
    let layout = Layout::read(dir)?;
    let programs = Programs::find()?;
    let (events, inbox) = channel();
    watch_signals(events.clone())?;
    let mut supervisor = Supervisor::new(dir, &layout, &programs, events)?;
    let network = layout.network.as_ref();
    let up = network.map_or(Ok(()), |network| network.up(layout.members.len()));
    let outcome = up.and_then(|()| supervisor.run(&inbox));
    supervisor.stop(&inbox);
    if let Some(network) = network {
        network.down(layout.members.len());
    }
    outcome
}

/// SIGTERM and SIGINT stop; SIGHUP means "look again at what is kept down".
fn watch_signals(events: Sender<Event>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(guard);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                let event = tokio::select! {
                    _ = hangup.recv() => Event::Look,
                    _ = terminate.recv() => Event::Stop,
                    _ = interrupt.recv() => Event::Stop,
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}

struct Supervisor {
    dir: PathBuf,
    launcher: PathBuf,
    restart: bool,
    owner: Option<Pid>,
    children: Vec<Child>,
    events: Sender<Event>,
}

impl Supervisor {
    fn new(dir: &Path, layout: &Layout, programs: &Programs, events: Sender<Event>) -> Result<Supervisor> {
        let owner = match layout.owner {
            None => None,
            Some(id) => Some(Pid::of(id).with_context(|| format!("the owner, process {id}, is gone"))?),
        };
        let mut children = Vec::new();
        for server in &layout.namesrvs {
            let conf = format!("listenPort={}\nbindAddress={}\n", server.port, server.host);
            let here = Place::default();
            children.push(Child::new(
                dir,
                &server.name,
                &programs.mqnamesrv,
                "namesrv.conf",
                &conf,
                here,
            )?);
        }
        for (number, member) in layout.members.iter().enumerate() {
            let conf = layout.broker_conf(dir, member);
            let place = Place {
                namespace: layout.network.as_ref().map(|network| network.namespace(number)),
                held: [member.port, member.port - 2]
                    .map(|port| SocketAddrV4::new(member.host, port))
                    .to_vec(),
            };
            children.push(Child::new(
                dir,
                &member.name,
                &programs.mqbroker,
                "broker.conf",
                &conf,
                place,
            )?);
        }
        Ok(Supervisor {
            dir: dir.to_owned(),
            launcher: programs.mqcluster.clone(),
            restart: layout.restart,
            owner,
            children,
            events,
        })
    }

    fn run(&mut self, inbox: &Receiver<Event>) -> Result<()> {
        for at in 0..self.children.len() {
            self.start(at)?;
        }
        self.write_state()?;
        println!("started {} processes", self.children.len());
        loop {
            match inbox.recv_timeout(self.next_wait()) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Event::Ended(at, status)) => self.ended(at, &status),
                Ok(Event::Look) => self.look(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.owner.is_some_and(|owner| !owner.is_alive()) {
                println!("the owner is gone: stopping");
                return Ok(());
            }
            self.start_due();
            self.write_state()?;
        }
    }

    fn next_wait(&self) -> Duration {
        let now = Instant::now();
        let due = self.children.iter().filter_map(|child| child.start_at).min();
        let wait = due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(now));
        if self.owner.is_some() {
            wait.min(OWNER_LOOKED_AT)
        } else {
            wait
        }
    }

    fn start(&mut self, at: usize) -> Result<()> {
        let child = &mut self.children[at];
        child.start_at = None;
        child.hold()?;
        let mut command = child.command(&self.launcher)?;
        let mut process = command
            .spawn()
            .with_context(|| format!("start {}", child.record.name))?;
        child.started = Instant::now();
        child.record.pid = Pid::of(process.id());
        println!("{}: process {}", child.record.name, process.id());
        let events = self.events.clone();
        let name = format!("wait {}", child.record.name);
        std::thread::Builder::new().name(name).spawn(move || {
            let status = process.wait();
            let _ = events.send(Event::Ended(at, status));
        })?;
        Ok(())
    }

    fn ended(&mut self, at: usize, status: &std::io::Result<ExitStatus>) {
        let restart = self.restart;
        let child = &mut self.children[at];
        let how = describe(status);
        println!(
            "{}: ended with {how} after {} ms",
            child.record.name,
            child.started.elapsed().as_millis()
        );
        child.record.pid = None;
        child.record.last_end = Some(how);
        child.short_lives = if child.started.elapsed() >= LIVED {
            0
        } else {
            child.short_lives + 1
        };
        let kept_down = child.kept_down();
        if kept_down.is_some() || !restart {
            // Nobody will answer: clients shall be refused, as by a machine that is gone.
            child.held.clear();
        }
        child.start_at = match kept_down {
            Some(until) => until,
            None if restart => Some(Instant::now() + pause(child.short_lives)),
            None => None,
        };
    }

    /// Members that are down and no longer kept down are started.
    fn look(&mut self) {
        for child in self.children.iter_mut().filter(|child| child.record.pid.is_none()) {
            child.start_at = match child.kept_down() {
                Some(until) => until,
                None => Some(Instant::now()),
            };
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for at in 0..self.children.len() {
            if self.children[at].start_at.is_some_and(|due| due <= now) {
                // It may have been told to stay down while it waited.
                if let Some(until) = self.children[at].kept_down() {
                    self.children[at].start_at = until;
                    continue;
                }
                self.children[at].record.restarts += 1;
                if let Err(error) = self.start(at) {
                    println!("{}: {error:#}", self.children[at].record.name);
                    self.children[at].record.last_end = Some(format!("{error:#}"));
                    self.children[at].start_at = Some(now + WAIT_MAX);
                }
            }
        }
    }

    fn write_state(&self) -> Result<()> {
        let state = State {
            supervisor: Pid::of(std::process::id()).unwrap_or_default(),
            processes: self.children.iter().map(|child| child.record.clone()).collect(),
        };
        if State::read(&self.dir).ok().flatten().as_ref() == Some(&state) {
            return Ok(());
        }
        state.write(&self.dir)
    }

    /// Ends every process: brokers first and all at once, then name servers; politely, and by force when it takes long.
    fn stop(&mut self, inbox: &Receiver<Event>) {
        println!("stopping");
        let brokers: Vec<usize> = self.alive(|child| !child.place.held.is_empty());
        self.end(&brokers, inbox);
        let rest: Vec<usize> = self.alive(|_| true);
        self.end(&rest, inbox);
        self.children.iter_mut().for_each(|child| child.held.clear());
        let _ = self.write_state();
        println!("stopped");
    }

    fn alive(&self, which: impl Fn(&Child) -> bool) -> Vec<usize> {
        let children = self.children.iter().enumerate();
        children
            .filter(|(_, child)| child.record.pid.is_some() && which(child))
            .map(|(at, _)| at)
            .collect()
    }

    fn end(&mut self, which: &[usize], inbox: &Receiver<Event>) {
        let from = Instant::now();
        let mut steps = [
            (Duration::ZERO, Signal::CONT),
            (Duration::ZERO, Signal::TERM),
            (HURRY_AFTER, Signal::TERM),
            (STOP_WITHIN, Signal::KILL),
        ]
        .into_iter()
        .peekable();
        while which.iter().any(|at| self.children[*at].record.pid.is_some()) {
            while let Some((_, signal)) = steps.next_if(|(after, _)| from.elapsed() >= *after) {
                for at in which {
                    if let Some(pid) = self.children[*at].record.pid {
                        if signal == Signal::KILL {
                            println!("{}: did not end by itself", self.children[*at].record.name);
                        }
                        let _ = pid.signal(signal);
                    }
                }
            }
            if let Ok(Event::Ended(at, status)) = inbox.recv_timeout(Duration::from_millis(50)) {
                self.children[at].record.pid = None;
                self.children[at].record.last_end = Some(describe(&status));
            }
        }
    }
}

impl Child {
    fn new(dir: &Path, name: &str, program: &Path, conf: &str, text: &str, place: Place) -> Result<Child> {
        let folder = dir.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let conf = folder.join(conf);
        std::fs::write(&conf, text).with_context(|| format!("write {}", conf.display()))?;
        let _ = std::fs::remove_file(folder.join("down"));
        let record = Record {
            name: name.to_owned(),
            pid: None,
            restarts: 0,
            last_end: None,
        };
        Ok(Child {
            record,
            program: program.to_owned(),
            arguments: vec!["-c".to_owned(), conf.display().to_string()],
            folder,
            place,
            held: Vec::new(),
            started: Instant::now(),
            short_lives: 0,
            start_at: None,
        })
    }

    /// Opens the client sockets unless they are held already.
    fn hold(&mut self) -> Result<()> {
        if self.held.is_empty() {
            let addresses = &self.place.held;
            let open =
                || -> Result<Vec<TcpListener>> { addresses.iter().map(|address| ports::hold(*address)).collect() };
            self.held = match &self.place.namespace {
                None => open(),
                Some(namespace) => network::inside(namespace, open)?,
            }?;
        }
        Ok(())
    }

    fn command(&self, launcher: &Path) -> Result<Command> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .context("open the log")?;
        let mut command = Command::new(launcher);
        command
            .args(["launch", "--parent", &std::process::id().to_string()])
            .args(self.place.namespace.iter().flat_map(|name| ["--namespace", name]))
            .arg("--")
            .arg(&self.program)
            .args(&self.arguments);
        // The files say everything; variables meant for tools must not change them.
        command.env_remove("NAMESRV_ADDR");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FOREBAY_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if !self.held.is_empty() {
            let names = ["client", "client2"];
            command.env("LISTEN_FDS", self.held.len().to_string());
            command.env("LISTEN_FDNAMES", names[..self.held.len().min(2)].join(":"));
            let handed: std::io::Result<Vec<FdMapping>> = (3..)
                .zip(&self.held)
                .map(|(child_fd, socket)| {
                    Ok(FdMapping {
                        parent_fd: OwnedFd::from(socket.try_clone()?),
                        child_fd,
                    })
                })
                .collect();
            command.fd_mappings(handed?).context("hand the sockets down")?;
        }
        Ok(command)
    }

    /// Whether somebody asked to keep it down: `Some(None)` until told otherwise, `Some(Some(t))` until then.
    fn kept_down(&self) -> Option<Option<Instant>> {
        let text = std::fs::read_to_string(self.folder.join("down")).ok()?;
        let Ok(until_ms) = text.trim().parse::<u64>() else {
            return Some(None);
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_millis(until_ms).checked_sub(now)?;
        Some(Some(Instant::now() + left))
    }
}

fn pause(short_lives: u32) -> Duration {
    match short_lives {
        0 => Duration::ZERO,
        n => (WAIT_FIRST * 2u32.saturating_pow(n - 1)).min(WAIT_MAX),
    }
}

fn describe(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => status.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_short_lives_only_and_has_an_end() {
        let pauses: Vec<u128> = (0..10).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }
}
