//! One run: found the group, send and read while things break, heal, read to the end, judge.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mq_base::env::bug::Bug;
use xxhash_rust::xxh3::Xxh3;

use crate::cluster::Cluster;
use crate::facts::{Facts, Healing, Purpose};
use crate::history::{History, Phase};
use crate::inspect;
use crate::invariants::{self, Verdict};
use crate::plan::{FAULTS_MIN, MEMBERS, OPERATIONS_MIN, Plan, SIMULATED_MS_MIN};
use crate::workload::TOPICS;

/// A group must be founded within this time.
const FOUNDING_MS: u64 = 30_000;
/// How long the workload goes on after everything is healed.
const AFTER_HEAL_MS: u64 = 5_000;
/// How long readers may take to read to the end. Delays (5 s) and checks of half messages are waited for.
const DRAIN_MS: u64 = 60_000;
/// Delayed messages of the longest level used, and a little.
const DELAYS_MS: u64 = 7_000;
/// How long damage that is read at the end may take to be repaired.
const MEND_MS: u64 = 20_000;
/// How long a member may take to notice that its clients are gone: more than its idle time-out.
const LEAK_MS: u64 = 20_000;

/// What came out of a run.
#[derive(Debug)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Operations begun.
    pub operations: u64,
    /// Operations acknowledged.
    pub acknowledged: u64,
    /// Faults injected.
    pub faults: usize,
    /// Simulated time, ms.
    pub simulated_ms: u64,
    /// Hash of everything that happened and was found.
    pub trace: u64,
    /// Verdicts in the order of [`invariants::ALL`].
    pub verdicts: Vec<(&'static str, Verdict)>,
    /// What stands beside the invariants: a panic, a member that does not start, a run that did not get through.
    pub complaints: Vec<String>,
    /// Everything that happened.
    pub events: Vec<String>,
}

impl Report {
    /// Whether everything held.
    pub fn holds(&self) -> bool {
        self.complaints.is_empty() && self.verdicts.iter().all(|(_, verdict)| verdict.holds())
    }

    /// Invariants that were broken (not merely unexamined).
    pub fn broken(&self) -> Vec<&'static str> {
        let broken = self.verdicts.iter().filter(|(_, v)| !v.violations.is_empty());
        broken.map(|(id, _)| *id).collect()
    }
}

/// Runs a plan. Never panics: a panic of the simulated programs is in the report.
pub fn run(plan: &Plan, bug: Option<Bug>) -> Report {
    let history = Arc::new(History::new());
    let mut cluster = Cluster::new(plan, bug, &history);
    let outcome = catch_unwind(AssertUnwindSafe(|| through(&mut cluster, plan, &history)));
    let mut complaints = std::mem::take(&mut cluster.complaints);
    let mut facts = Facts::default();
    let mut verdicts = Vec::new();
    match outcome {
        Ok(Ok(found)) => {
            facts = found;
            let all = invariants::ALL.iter();
            verdicts = all.map(|invariant| (invariant.id, (invariant.judge)(&facts))).collect();
        }
        Ok(Err(error)) => complaints.push(format!("{error:#}")),
        Err(panic) => complaints.push(format!("panic: {}", text_of(&*panic))),
    }
    let (operations, acknowledged) = history.counts();
    complaints.extend(thin(plan, &cluster, operations));
    let report = Report {
        seed: plan.seed,
        operations,
        acknowledged,
        faults: cluster.injected,
        simulated_ms: cluster.now_ms(),
        trace: trace(&cluster.events, &facts),
        verdicts,
        complaints,
        events: std::mem::take(&mut cluster.events),
    };
    // Tasks of the simulated programs end here; what they do then is of no interest.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(cluster)));
    report
}

/// What makes a run with faults too thin to prove anything.
fn thin(plan: &Plan, cluster: &Cluster, operations: u64) -> Option<String> {
    let (faults, simulated_ms) = (cluster.injected, cluster.now_ms());
    let rich = operations >= OPERATIONS_MIN && faults >= FAULTS_MIN && simulated_ms >= SIMULATED_MS_MIN;
    let is_thin = !plan.faults.is_empty() && !rich;
    is_thin.then(|| format!("a thin run: {operations} operations, {faults} faults, {simulated_ms} simulated ms"))
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without a text".into())
}

fn trace(events: &[String], facts: &Facts) -> u64 {
    let mut hash = Xxh3::new();
    for event in events {
        hash.update(event.as_bytes());
    }
    hash.update(format!("{facts:?}").as_bytes());
    hash.digest()
}

fn through(cluster: &mut Cluster, plan: &Plan, history: &Arc<History>) -> anyhow::Result<Facts> {
    wait(cluster, FOUNDING_MS, "the group is not founded", founded)?;
    disturb(cluster, plan)?;
    cluster.heal();
    history.healed(cluster.now_ms());
    let until = cluster.now_ms() + AFTER_HEAL_MS;
    while cluster.now_ms() < until {
        cluster.step()?;
    }
    drain(cluster, history)?;
    let healing = Healing {
        accepted_after_ms: history.accepted_after_ms(),
        agreeing: agreeing(cluster),
        members: MEMBERS,
    };
    history.enter(Phase::Over);
    look(cluster, history, healing)
}

/// Steps until `ready`, at most `ms`.
fn wait(cluster: &mut Cluster, ms: u64, what: &str, ready: impl Fn(&Cluster) -> bool) -> anyhow::Result<()> {
    let until = cluster.now_ms() + ms;
    while !ready(cluster) {
        anyhow::ensure!(cluster.now_ms() < until, "{what} after {ms} simulated ms");
        cluster.step()?;
    }
    Ok(())
}

/// All business topics exist.
fn founded(cluster: &Cluster) -> bool {
    let Some((_, leader)) = cluster.leader() else {
        return false;
    };
    let state = leader.view.state();
    TOPICS.iter().all(|(topic, _)| state.topics.get(topic).is_some())
}

fn disturb(cluster: &mut Cluster, plan: &Plan) -> anyhow::Result<()> {
    let begun = cluster.now_ms();
    let mut faults: Vec<_> = plan.faults.iter().collect();
    faults.reverse();
    let mut waiting = Vec::new();
    while cluster.now_ms() < begun + plan.heal_ms {
        cluster.step()?;
        while faults.last().is_some_and(|(at, _)| begun + at <= cluster.now_ms()) {
            waiting.extend(faults.pop().map(|(_, fault)| fault));
        }
        // A fault that must wait for a better moment lets the others pass.
        waiting.retain(|fault| !cluster.inject(fault));
    }
    Ok(())
}

fn drain(cluster: &mut Cluster, history: &Arc<History>) -> anyhow::Result<()> {
    let drained = |cluster: &Cluster| {
        let Some((_, leader)) = cluster.leader() else {
            return false;
        };
        is_level(cluster)
            && !history.is_undecided()
            && leader.view.state().halves.is_empty()
            && history.read_to_the_end(&leader)
    };
    history.enter(Phase::Draining);
    let until = cluster.now_ms() + DELAYS_MS;
    while cluster.now_ms() < until {
        cluster.step()?;
    }
    let until = cluster.now_ms() + DRAIN_MS;
    // Not getting there is for the judges: something is lost, stuck or early.
    while !drained(cluster) && cluster.now_ms() < until {
        cluster.step()?;
    }
    Ok(())
}

/// All members have applied the same entries.
fn is_level(cluster: &Cluster) -> bool {
    let members = cluster.members().iter();
    let mut applied = members.map(|machine| Some(machine.broker()?.group()?.status().applied));
    let first = applied.next().flatten();
    first.is_some() && applied.all(|at| at == first)
}

/// Members that name the leader that most of them name.
fn agreeing(cluster: &Cluster) -> usize {
    let members = cluster.members().iter();
    let named: Vec<_> = members
        .filter_map(|machine| machine.broker()?.gate.standing.leadership().leader)
        .collect();
    let most = named.iter().map(|a| named.iter().filter(|b| a == *b).count());
    most.max().unwrap_or(0)
}

fn look(cluster: &mut Cluster, history: &History, healing: Healing) -> anyhow::Result<Facts> {
    cluster.dismiss_clients();
    let until = cluster.now_ms() + LEAK_MS;
    while cluster.now_ms() < until {
        cluster.step()?;
    }
    let until = cluster.now_ms() + MEND_MS;
    // Bits that turned in places that nobody has read since come back from the other members now.
    while !cluster.members().iter().all(inspect::is_whole) {
        anyhow::ensure!(
            cluster.now_ms() < until,
            "a damaged log is not repaired after {MEND_MS} simulated ms"
        );
        (0..50).try_for_each(|_| cluster.step())?;
    }
    // An entry that a broker made by itself may be on its way. If it never arrives, that is for the judges.
    while !is_level(cluster) && cluster.now_ms() < until {
        cluster.step()?;
    }
    let mut lives = Vec::new();
    for machine in cluster.members() {
        let broker = machine
            .broker()
            .ok_or_else(|| anyhow::anyhow!("{} is down at the end", machine.world().name()))?;
        lives.push(inspect::live(machine, &broker)?);
    }
    cluster.stop();
    let inspected = cluster.members().iter().zip(lives);
    let inspected: Vec<_> = inspected
        .map(|(machine, live)| inspect::stopped(machine, live))
        .collect::<anyhow::Result<_>>()?;
    let mut recorded = history.take();
    inspect::set_due_times(&mut recorded.sends, &inspected);
    // A transaction without an acknowledged half message may have been decided by a check that nobody heard of.
    recorded.sends.retain(|send| {
        !matches!(
            (&send.purpose, &send.outcome),
            (Purpose::Transaction { commit: None }, crate::facts::Outcome::Refused)
        )
    });
    Ok(Facts {
        sends: recorded.sends,
        reads: recorded.reads,
        offsets: recorded.offsets,
        members: inspected.into_iter().map(|member| member.end).collect(),
        leading: cluster.leading(),
        healing,
    })
}
