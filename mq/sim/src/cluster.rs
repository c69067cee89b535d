//! The driver: steps the simulation, plays the supervisor of every machine, does what the plan says, and watches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mq_base::env::bug::Bug;
use mq_base::env::disk::Disk;
use mq_base::env::sim::{Fault as DiskFault, SimDisk, World, enter};
use mq_broker::broker::Broker;
use mq_store::inspect::{InspectOptions, inspect};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use turmoil::Sim;

use crate::facts::Leading;
use crate::history::History;
use crate::machine::{self, CLIENT_PORT, Machine, Order, STORE, State};
use crate::network::{Host, Life, Network};
use crate::plan::{Fault, Flush, MEMBERS, Plan, Who};
use crate::workload;

/// How long a supervisor takes to start a program that died.
const RESTART_MS: u64 = 100;
/// How long it waits when the program could not start.
const RETRY_MS: u64 = 1_000;
/// How often leaders are looked at.
const LOOK_EVERY_MS: u64 = 4;
/// How long a group must have been whole before something stored may be taken away.
const SETTLED_MS: u64 = 1_500;

/// Something that happens later.
#[derive(Clone, Debug)]
enum Later {
    Start(usize),
    Mend(usize, usize),
    MendOneWay(usize, usize),
    Space(usize),
    Latency,
    Wipe(usize),
    Flip(usize),
}

/// A simulated group with its name server and clients.
pub struct Cluster {
    sim: Sim<'static>,
    plan: Plan,
    bug: Option<Bug>,
    network: Network,
    /// The members, the name server, the client hosts; the index is that of the network.
    pub machines: Vec<Machine>,
    rng: SmallRng,
    later: BTreeMap<(u64, u64), Later>,
    laters: u64,
    now_ms: u64,
    names: Vec<String>,
    /// Members whose disk was damaged on purpose and not emptied since: they may refuse to start and are emptied then.
    damaged: BTreeSet<usize>,
    /// Members without space: they need not start.
    full: BTreeSet<usize>,
    /// A member that lost what it held; no second one may before it has its place again.
    lossy: bool,
    /// Since when the group is whole. A change of membership counts as done only some time after it shows: until it is
    /// committed, the configuration before it must still have its majority.
    settled_since: Option<u64>,
    /// Ready leaders seen, each once.
    leading: Vec<Leading>,
    /// Everything that happened, for the trace.
    pub events: Vec<String>,
    history: Arc<History>,
    /// How many faults were really injected.
    pub injected: usize,
    /// Why members did not start although their disk was not damaged, and the like.
    pub complaints: Vec<String>,
}

const NAME_SERVER: usize = MEMBERS;

/// What disks say that is used where old segments are deleted: between `diskSpaceCleanForciblyRatio` and
/// `diskSpaceWarningLevelRatio`.
const NEARLY_FULL_PERCENT: u64 = 86;
/// What they say while something that might be deleted has not been read.
const ROOMY_PERCENT: u64 = 50;
/// More than the log grows by while retention looks at it.
const LOOK_BYTES: u64 = 16 << 10;

impl Cluster {
    /// Machines with empty disks, programs started.
    pub fn new(plan: &Plan, bug: Option<Bug>, history: &Arc<History>) -> Cluster {
        let sim = turmoil::Builder::new()
            .rng_seed(plan.seed)
            .tick_duration(plan.tick)
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_micros(100))
            .max_message_latency(plan.latency)
            .tcp_capacity(1 << 16)
            .build();
        let names: Vec<String> = (0..MEMBERS)
            .map(|n| format!("n{n}"))
            .chain(["ns".to_owned()])
            .chain((0..workload::HOSTS).map(|n| format!("c{n}")))
            .collect();
        let ips: Vec<String> = names.iter().map(|name| sim.lookup(name.as_str()).to_string()).collect();
        let mut network = Network::default();
        for (name, ip) in names.iter().zip(&ips) {
            let (name, ip) = (name.clone(), ip.clone());
            network.add(Host { name, ip });
        }
        let machines = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let seed = plan.seed.wrapping_mul(1_000) + index as u64;
                Machine::new(index, name, SimDisk::new(seed), seed, bug)
            })
            .collect();
        let mut cluster = Cluster {
            sim,
            plan: plan.clone(),
            bug,
            network,
            machines,
            rng: SmallRng::seed_from_u64(plan.seed ^ 0x6661_756c),
            later: BTreeMap::new(),
            laters: 0,
            now_ms: 0,
            names,
            damaged: BTreeSet::new(),
            full: BTreeSet::new(),
            lossy: false,
            settled_since: None,
            leading: Vec::new(),
            events: Vec::new(),
            history: history.clone(),
            injected: 0,
            complaints: Vec::new(),
        };
        cluster.register(&ips, history);
        cluster
    }

    fn register(&mut self, ips: &[String], history: &Arc<History>) {
        let plan = self.plan.clone();
        for slot in 0..MEMBERS {
            let settings = machine::settings(
                slot,
                &ips[..MEMBERS],
                &ips[NAME_SERVER],
                plan.flush == Flush::Sync,
                plan.segment_bytes,
            );
            let shared = self.machines[slot].shared.clone();
            self.sim.host(self.names[slot].as_str(), move || {
                let program = machine::run_broker(shared.clone(), settings.clone());
                async move {
                    program.await;
                    Ok(())
                }
            });
        }
        let shared = self.machines[NAME_SERVER].shared.clone();
        self.sim.host("ns", move || {
            let program = machine::run_name_server(shared.clone());
            async move {
                program.await;
                Ok(())
            }
        });
        let members: Vec<String> = ips[..MEMBERS].iter().map(|ip| format!("{ip}:{CLIENT_PORT}")).collect();
        for host in 0..workload::HOSTS {
            let index = NAME_SERVER + 1 + host;
            let (shared, members, history) = (self.machines[index].shared.clone(), members.clone(), history.clone());
            let pause_ms = plan.pause_ms;
            self.sim.host(self.names[index].as_str(), move || {
                let (shared, members, history) = (shared.clone(), members.clone(), history.clone());
                async move {
                    let world = shared.lock().world.clone();
                    mq_base::env::sim::within(world, workload::run(host, members, history, pause_ms)).await?;
                    std::future::pending::<()>().await;
                    Ok(())
                }
            });
        }
    }

    /// Simulated ms since the start.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The members.
    pub fn members(&self) -> &[Machine] {
        &self.machines[..MEMBERS]
    }

    /// Ready leaders seen.
    pub fn leading(&self) -> Vec<Leading> {
        self.leading.clone()
    }

    fn note(&mut self, what: String) {
        tracing::info!(ms = self.now_ms, "{what}");
        self.events.push(format!("{} {what}", self.now_ms));
    }

    /// One step; does what is due.
    pub fn step(&mut self) -> anyhow::Result<()> {
        self.sim
            .step()
            .map_err(|error| anyhow::anyhow!("the simulation broke: {error}"))?;
        self.now_ms = self.sim.elapsed().as_millis() as u64;
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > self.now_ms {
                break;
            }
            let later = entry.remove();
            self.happen(later);
        }
        if self.now_ms.is_multiple_of(1_000) {
            tracing::debug!(ms = self.now_ms, "a second more");
        }
        if self.now_ms.is_multiple_of(LOOK_EVERY_MS) {
            self.settled_since = match (self.settled(), self.settled_since) {
                (false, _) => None,
                (true, since) => since.or(Some(self.now_ms)),
            };
            self.look();
            self.supervise();
        }
        if self.plan.purges {
            self.fill_disks();
        }
        Ok(())
    }

    /// The disks are nearly full while everything that could be deleted has been read: on such a disk messages go whether
    /// they were read or not, and whether one was lost could not be told then.
    fn fill_disks(&self) {
        let all_read = self.leader().is_some_and(|(_, leader)| {
            leader.group().is_some_and(|group| {
                let tail = group.log().tail();
                let room = self.plan.segment_bytes - tail.next_offset.get() % self.plan.segment_bytes;
                room > LOOK_BYTES && group.status().applied == tail.last && self.history.read_to_the_end(&leader)
            })
        });
        let percent = if all_read { NEARLY_FULL_PERCENT } else { ROOMY_PERCENT };
        for machine in self.members() {
            machine.disk().set_used_percent(percent);
        }
    }

    fn later(&mut self, in_ms: u64, what: Later) {
        self.laters += 1;
        self.later.insert((self.now_ms + in_ms, self.laters), what);
    }

    /// Notes who leads.
    fn look(&mut self) {
        for n in 0..MEMBERS {
            let Some(broker) = self.machines[n].broker() else {
                continue;
            };
            let leadership = broker.gate.standing.leadership();
            if !leadership.ready {
                continue;
            }
            let Some(own) = broker.own_id() else { continue };
            let seen = Leading {
                term: leadership.term.0,
                node: own.0,
                process: self.machines[n].shared.lock().starts,
            };
            if !self.leading.contains(&seen) {
                self.leading.push(seen);
                self.note(format!("n{n} leads in term {}", leadership.term.0));
            }
        }
    }

    /// Ends programs that said that they cannot go on, and starts them again.
    fn supervise(&mut self) {
        for n in 0..MEMBERS {
            match self.machines[n].state() {
                State::Failed(reason) => {
                    self.note(format!("n{n} exits: {reason}"));
                    self.crash(n, false);
                    self.later(RESTART_MS, Later::Start(n));
                }
                State::NotStarted(reason) => {
                    self.note(format!("n{n} does not start: {reason}"));
                    self.crash(n, false);
                    // A planned I/O error or a full disk may strike at the start as well; a later start is without it.
                    let passes = self.full.contains(&n) || reason.contains("(os error 5)");
                    if !passes && self.damaged.remove(&n) {
                        // What an operator does with a member that says so.
                        self.wipe(n);
                    } else if !passes {
                        self.complain(format!("n{n} does not start: {reason}"));
                    }
                    self.later(RETRY_MS, Later::Start(n));
                }
                State::Down | State::Starting | State::Up => {}
            }
            let panics = self.machines[n].world().panics();
            if let Some(task) = panics.first() {
                let complaint = format!("n{n}: task `{task}` panicked");
                if self.complain(complaint.clone()) {
                    self.note(complaint);
                    self.crash(n, false);
                    self.later(RESTART_MS, Later::Start(n));
                }
            }
        }
    }

    /// Each is kept once; true for the first.
    fn complain(&mut self, complaint: String) -> bool {
        let new = !self.complaints.contains(&complaint);
        if new {
            self.complaints.push(complaint);
        }
        new
    }

    fn happen(&mut self, later: Later) {
        match later {
            Later::Start(n) => self.start(n),
            Later::Mend(a, b) => self.network.hold(&self.sim, a, b, -1),
            Later::MendOneWay(from, to) => self.network.oneway(&self.sim, from, to, -1),
            Later::Space(n) => {
                self.machines[n].disk().set_capacity(None);
                self.full.remove(&n);
            }
            Later::Latency => self.sim.set_max_message_latency(self.plan.latency),
            Later::Wipe(n) => {
                if self.machines[n].state() != State::Down {
                    self.crash(n, false);
                }
                self.wipe(n);
            }
            Later::Flip(n) => self.flip(n),
        }
        self.tell_reach();
    }

    fn tell_reach(&self) {
        let worlds: Vec<Arc<World>> = self.machines.iter().map(Machine::world).collect();
        self.network.tell(worlds.iter().enumerate());
    }

    /// Ends the program of a machine. With `power` its unsynced bytes and its last packets are gone as well.
    fn crash(&mut self, n: usize, power: bool) {
        let life = if power { Life::Dark } else { Life::Crashed };
        if power {
            self.network.set_life(&self.sim, n, life);
        }
        self.machines[n].down();
        let world = self.machines[n].world();
        {
            let _entered = enter(world.clone());
            self.sim.crash(self.names[n].as_str());
        }
        if power {
            let report = world.sim_disk().crash(&mut self.rng);
            self.note(format!(
                "{}: {} unsynced sectors lost, {} kept, {} names lost",
                self.names[n], report.sectors_lost, report.sectors_kept, report.names_lost
            ));
        } else {
            self.network.set_life(&self.sim, n, life);
        }
        self.tell_reach();
    }

    fn start(&mut self, n: usize) {
        if self.machines[n].state() != State::Down || self.sim.is_host_running(self.names[n].as_str()) {
            return;
        }
        self.note(format!("{} starts", self.names[n]));
        self.look_for_damage(n);
        self.network.set_life(&self.sim, n, Life::Up);
        {
            let mut shared = self.machines[n].shared.lock();
            shared.state = State::Starting;
            shared.starts += 1;
        }
        self.sim.bounce(self.names[n].as_str());
        self.tell_reach();
    }

    /// The members repair damage among themselves, so it would not show in the end: on a disk that nobody damaged there must be
    /// none.
    fn look_for_damage(&mut self, n: usize) {
        if self.damaged.contains(&n) {
            return;
        }
        let disk = self.machines[n].disk();
        let log = PathBuf::from(format!("{STORE}/commitlog"));
        let look = || inspect(Arc::new(disk.clone()), &log, InspectOptions::default(), &mut |_| {});
        // An empty disk holds no log yet.
        if let Ok(found) = disk.undisturbed(look)
            && !found.damage.is_empty()
        {
            self.complain(format!(
                "n{n}: nobody damaged its disk, and there is {:?}",
                found.damage
            ));
        }
    }

    fn wipe(&mut self, n: usize) {
        self.note(format!("n{n} gets an empty disk"));
        self.lossy = true;
        let seed = self.rng.random();
        self.machines[n].wipe(SimDisk::new(seed), seed, self.bug);
    }

    fn flip(&mut self, n: usize) {
        let disk = self.machines[n].disk();
        // Not the derived files: RocketMQ's formats carry no checksum, and nothing notices there before a reader does.
        let derived = |path: &PathBuf| {
            ["consumequeue", "index"]
                .iter()
                .any(|part| path.to_string_lossy().contains(part))
        };
        let mut files = disk.files();
        files.retain(|(path, len)| *len > 0 && !derived(path));
        if files.is_empty() {
            return;
        }
        let (path, len) = &files[self.rng.random_range(0..files.len())];
        // Small files, and the beginning of large ones, where something is written.
        let offset = self.rng.random_range(0..(*len).min(96 << 10));
        let bit = self.rng.random_range(0..8);
        disk.flip_bit(path, offset, bit);
        self.damaged.insert(n);
        self.lossy = true;
        self.note(format!("n{n}: bit {bit} of byte {offset} of {} turns", path.display()));
    }

    /// The broker that leads and is ready.
    pub fn leader(&self) -> Option<(usize, Arc<Broker>)> {
        let brokers = self.members().iter().filter_map(|m| Some((m.index, m.broker()?)));
        let mut ready: Vec<(usize, Arc<Broker>)> = brokers.filter(|(_, broker)| broker.leads()).collect();
        ready.sort_by_key(|(_, broker)| broker.gate.standing.leadership().term);
        ready.pop()
    }

    /// All members run, are voters under the ids they have now, are close behind the leader, and none of them lacks what it
    /// acknowledged before a power cut.
    pub fn settled(&self) -> bool {
        let Some((_, leader)) = self.leader() else { return false };
        let Some(group) = leader.group() else { return false };
        let status = group.status();
        let voters: BTreeSet<u64> = status
            .members
            .iter()
            .filter(|member| member.voter)
            .map(|member| member.member.id.0)
            .collect();
        let ids: Vec<u64> = self
            .members()
            .iter()
            .filter_map(|m| Some(m.broker()?.own_id()?.0))
            .collect();
        let near = |member: &mq_raft::MemberStatus| member.lag.unwrap_or(0) < 100;
        let cautious = Path::new(STORE).join("commitlog/cautious");
        ids.len() == MEMBERS
            && voters == ids.iter().copied().collect()
            && status.members.iter().all(near)
            && self.machines[..MEMBERS]
                .iter()
                .all(|m| m.state() == State::Up && !m.disk().exists(&cautious))
    }

    fn pick(&mut self, who: Who) -> usize {
        let leader = self.leader().map(|(n, _)| n);
        match (who, leader) {
            (Who::Member(n), _) => n,
            (Who::Leader, Some(n)) => n,
            (Who::Follower, Some(n)) => (n + self.rng.random_range(1..MEMBERS)) % MEMBERS,
            (_, None) => self.rng.random_range(0..MEMBERS),
        }
    }

    /// Whether a fault that takes stored data away may happen now.
    fn may_lose(&mut self) -> bool {
        let settled = self
            .settled_since
            .is_some_and(|since| self.now_ms >= since + SETTLED_MS);
        if settled {
            self.lossy = false;
        }
        settled
    }

    /// Does what a fault says; false if it must wait for a better moment.
    pub fn inject(&mut self, fault: &Fault) -> bool {
        let losing = match fault {
            Fault::Wipe { .. } | Fault::BitFlip { .. } | Fault::RemoveAndJoin { .. } => true,
            Fault::PowerCut { .. } => self.plan.flush == Flush::Async,
            // While one member has lost what it held, the others must keep what they hold in the page cache.
            Fault::CrashAll { .. } | Fault::PowerCutAll { .. } => self.lossy,
            _ => false,
        };
        if losing {
            if !self.may_lose() {
                return false;
            }
            // The next one waits until the group is seen whole again after this one; two that wait would strike together.
            self.settled_since = None;
        }
        self.injected += 1;
        self.note(format!("{fault:?}"));
        self.do_inject(fault);
        self.tell_reach();
        true
    }

    fn do_inject(&mut self, fault: &Fault) {
        match *fault {
            Fault::Crash { who, down_ms } => {
                let n = self.pick(who);
                self.kill(n, false, down_ms);
            }
            Fault::PowerCut { who, down_ms } => {
                let n = self.pick(who);
                self.lossy |= self.plan.flush == Flush::Async;
                self.kill(n, true, down_ms);
            }
            Fault::CrashAll { down_ms } | Fault::PowerCutAll { down_ms } => {
                let power = matches!(fault, Fault::PowerCutAll { .. });
                for n in 0..MEMBERS {
                    let more = self.rng.random_range(0..500);
                    self.kill(n, power, down_ms + more);
                }
            }
            Fault::Isolate { who, ms, clients_too } => {
                let n = self.pick(who);
                let others = if clients_too { self.machines.len() } else { MEMBERS };
                for other in (0..others).filter(|other| *other != n) {
                    self.network.hold(&self.sim, n, other, 1);
                    self.later(ms, Later::Mend(n, other));
                }
            }
            Fault::CutPair { between, ms } => {
                let (a, b) = ((between + 1) % MEMBERS, (between + 2) % MEMBERS);
                self.network.hold(&self.sim, a, b, 1);
                self.later(ms, Later::Mend(a, b));
            }
            Fault::OneWay { from, to, ms } => {
                self.network.oneway(&self.sim, from, to, 1);
                self.later(ms, Later::MendOneWay(from, to));
            }
            Fault::SlowSync { who, each_ms, times } => {
                let slow = DiskFault::SlowSync(Duration::from_millis(each_ms));
                let n = self.pick(who);
                self.machines[n].disk().inject(slow, "", 0, times);
            }
            Fault::FailSync { who, after } => {
                let n = self.pick(who);
                self.machines[n].disk().inject(DiskFault::SyncError, "", after, 1);
            }
            Fault::FailWrite { who, after } => {
                let n = self.pick(who);
                self.machines[n].disk().inject(DiskFault::WriteError, "", after, 1);
            }
            Fault::FullDisk { who, ms } => {
                let n = self.pick(who);
                let disk = self.machines[n].disk();
                let used: u64 = disk.files().iter().map(|(_, len)| *len).sum();
                disk.set_capacity(Some(used + 4_096));
                self.full.insert(n);
                self.later(ms, Later::Space(n));
            }
            Fault::BitFlip { who, down_ms } => {
                let n = self.pick(who);
                self.crash(n, false);
                self.later(0, Later::Flip(n));
                self.later(down_ms, Later::Start(n));
            }
            Fault::ClockJump { who, by_ms } => {
                let n = self.pick(who);
                self.machines[n].world().jump_clock(by_ms);
            }
            Fault::Transfer => self.order_leader(Order::Transfer),
            Fault::Wipe { who, down_ms } => {
                let n = self.pick(who);
                self.crash(n, false);
                self.later(0, Later::Wipe(n));
                self.later(down_ms, Later::Start(n));
            }
            Fault::RemoveAndJoin { away_ms } => {
                let n = self.pick(Who::Follower);
                if let Some(id) = self.machines[n].broker().and_then(|broker| broker.own_id()) {
                    self.order_leader(Order::Remove(id));
                    self.lossy = true;
                    let soon = self.rng.random_range(0..1_000);
                    self.later(soon + 50, Later::Wipe(n));
                    self.later(soon + 50 + away_ms, Later::Start(n));
                }
            }
            Fault::ClientCrash { client, down_ms } => {
                let n = NAME_SERVER + 1 + client;
                self.kill(n, false, down_ms);
            }
            Fault::NameServerCrash { down_ms } => self.kill(NAME_SERVER, false, down_ms),
            Fault::SlowNetwork { latency_ms, ms } => {
                self.sim.set_max_message_latency(Duration::from_millis(latency_ms));
                self.later(ms, Later::Latency);
            }
        }
    }

    fn kill(&mut self, n: usize, power: bool, down_ms: u64) {
        if self.machines[n].state() != State::Down || n > NAME_SERVER {
            self.crash(n, power);
        }
        self.later(down_ms, Later::Start(n));
    }

    fn order_leader(&mut self, order: Order) {
        if let Some((n, _)) = self.leader() {
            self.machines[n].shared.lock().orders.push_back(order);
        }
    }

    /// Ends every fault; machines that are down start soon.
    pub fn heal(&mut self) {
        self.note("everything heals".into());
        // What was to happen later to a disk still happens: it belongs to a fault that has begun.
        let pending: Vec<Later> = std::mem::take(&mut self.later).into_values().collect();
        for later in pending {
            match later {
                Later::Wipe(_) | Later::Flip(_) => self.happen(later),
                _ => {}
            }
        }
        self.full.clear();
        self.network.heal(&self.sim);
        self.sim.set_max_message_latency(self.plan.latency);
        for n in 0..self.machines.len() {
            let disk = self.machines[n].disk();
            disk.heal();
            disk.set_capacity(None);
            if !self.sim.is_host_running(self.names[n].as_str()) {
                self.start(n);
            }
        }
        self.tell_reach();
    }

    /// Ends the programs of the clients for good.
    pub fn dismiss_clients(&mut self) {
        for n in NAME_SERVER + 1..self.machines.len() {
            self.crash(n, false);
        }
    }

    /// Ends all programs; what the kernel holds is kept.
    pub fn stop(&mut self) {
        self.later.clear();
        for n in 0..=NAME_SERVER {
            self.crash(n, false);
        }
    }
}
