//! Where the members of each broker group are, and which of them to talk to.
//!
//! The address to use is the leader's (id 0) until a connection to it fails; from then on another member's, which
//! forwards to whoever leads now, until a newer route names a leader. So a lost leader costs one refused connection and
//! not a route refresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use mq_base::env::clock::{self, Instant};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

/// A failed address is tried again after the others, or after this time.
const SUSPECT_FOR: Duration = Duration::from_millis(500);

/// Broker id of the leader.
pub const LEADER_ID: u64 = 0;

/// One broker group.
#[derive(Debug)]
pub(crate) struct BrokerGroup {
    pub(crate) name: Arc<str>,
    // A lock and not a task: held for a few loads by every send.
    state: Mutex<State>,
    /// Woken when the target changes: long polls at the old one are given up.
    moved: Notify,
    /// Sends that wait for an answer.
    waiting: AtomicUsize,
    /// When the last send was answered, or the first of those that wait was sent: ms since `started`.
    heard_ms: AtomicU64,
    started: Instant,
}

/// A send that waits for an answer.
pub(crate) struct Waiting(Arc<BrokerGroup>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.heard();
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<u64, Arc<str>>,
    target: Option<Arc<str>>,
    suspects: Vec<(Arc<str>, Instant)>,
}

impl BrokerGroup {
    /// The address to talk to: the leader's, or that of a member that stands in for it.
    pub(crate) fn target(&self) -> Option<Arc<str>> {
        self.state.lock().target.clone()
    }

    /// The address of a member, else the target.
    pub(crate) fn member_or_target(&self, id: u64) -> Option<Arc<str>> {
        let state = self.state.lock();
        let suspect = |addr: &Arc<str>| state.suspects.iter().any(|(s, _)| s == addr);
        state
            .members
            .get(&id)
            .filter(|addr| id != LEADER_ID && !suspect(addr))
            .or(state.target.as_ref())
            .cloned()
    }

    /// A send begins.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.heard();
        }
        Waiting(self.clone())
    }

    fn heard(&self) {
        let ms = (clock::now() - self.started).as_millis() as u64;
        self.heard_ms.store(ms, Ordering::Relaxed);
    }

    /// How long sends have been waiting without any of them being answered; zero if none waits.
    pub(crate) fn silence(&self) -> Duration {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        (clock::now() - self.started).saturating_sub(heard)
    }

    /// Waits until the group's target is another than `addr`.
    pub(crate) async fn moved_from(&self, addr: &Arc<str>) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.target().as_ref() != Some(addr) {
                return;
            }
            moved.await;
        }
    }

    /// All members' addresses, the leader's first.
    pub(crate) fn members(&self) -> Vec<(u64, Arc<str>)> {
        let state = self.state.lock();
        state.members.iter().map(|(id, addr)| (*id, addr.clone())).collect()
    }

    /// A call to `addr` failed: if it was the target, another member stands in. Says whether there is one that has not
    /// failed lately; if not, the caller should wait a moment.
    pub(crate) fn failed(&self, addr: &str, now: Instant) -> bool {
        let mut state = self.state.lock();
        state
            .suspects
            .retain(|(suspect, since)| &**suspect != addr && now < *since + SUSPECT_FOR);
        let Some((at, failed)) = state.position(addr) else {
            // Not a member any more: the target has moved on already.
            return state.target.is_some();
        };
        state.suspects.push((failed, now));
        let addresses: Vec<_> = state.members.values().cloned().collect();
        let suspect = |a: &Arc<str>| state.suspects.iter().any(|(s, _)| s == a);
        let others = || (1..=addresses.len()).map(|i| &addresses[(at + i) % addresses.len()]);
        let healthy = others().find(|a| !suspect(a)).cloned();
        let fresh = healthy.is_some();
        if state.target.as_deref() == Some(addr) {
            state.target = healthy.or_else(|| others().next().cloned());
            self.moved.notify_waiters();
        }
        fresh
    }

    /// A newer route. The target follows the leader's address only when that has changed: name servers keep a dead
    /// leader's entry until another member takes its place.
    fn update(&self, members: BTreeMap<u64, Arc<str>>) -> bool {
        let mut state = self.state.lock();
        if state.members == members {
            return false;
        }
        let leader = members.get(&LEADER_ID).cloned();
        let same_leader = leader.is_some() && leader.as_ref() == state.members.get(&LEADER_ID);
        let known = |target: &Arc<str>| members.values().any(|addr| addr == target);
        if !(same_leader && state.target.as_ref().is_some_and(known)) {
            if let Some(leader) = &leader {
                state.suspects.retain(|(suspect, _)| suspect != leader);
            }
            state.target = leader.or_else(|| members.values().next().cloned());
            self.moved.notify_waiters();
        }
        state.members = members;
        true
    }
}

impl State {
    fn position(&self, addr: &str) -> Option<(usize, Arc<str>)> {
        let mut addresses = self.members.values().enumerate();
        addresses.find(|(_, a)| &***a == addr).map(|(at, a)| (at, a.clone()))
    }
}

/// All broker groups we know.
#[derive(Debug, Default)]
pub(crate) struct Brokers {
    groups: RwLock<HashMap<Arc<str>, Arc<BrokerGroup>>>,
}

impl Brokers {
    /// A group by name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<BrokerGroup>> {
        self.groups.read().get(name).cloned()
    }

    /// All groups.
    pub(crate) fn all(&self) -> Vec<Arc<BrokerGroup>> {
        self.groups.read().values().cloned().collect()
    }

    /// Takes over the members of a group from a route; says whether they differ from what was known.
    pub(crate) fn update(&self, name: &str, members: BTreeMap<u64, Arc<str>>) -> bool {
        if let Some(group) = self.get(name) {
            return group.update(members);
        }
        let group = BrokerGroup {
            name: name.into(),
            state: Mutex::default(),
            moved: Notify::new(),
            waiting: AtomicUsize::new(0),
            heard_ms: AtomicU64::new(0),
            started: clock::now(),
        };
        group.update(members);
        self.groups.write().insert(group.name.clone(), Arc::new(group));
        true
    }

    /// Forgets groups that no route names any more.
    pub(crate) fn retain(&self, named: impl Fn(&str) -> bool) {
        self.groups.write().retain(|name, _| named(name));
    }

    /// The group that has a member at this address.
    pub(crate) fn of_address(&self, addr: &str) -> Option<Arc<BrokerGroup>> {
        let groups = self.groups.read();
        groups
            .values()
            .find(|g| g.state.lock().position(addr).is_some())
            .cloned()
    }

    /// Books a failed call to an address.
    pub(crate) fn failed(&self, addr: &str) {
        if let Some(group) = self.of_address(addr) {
            group.failed(addr, clock::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(addrs: &[&str]) -> BTreeMap<u64, Arc<str>> {
        (0u64..).zip(addrs.iter().map(|a| Arc::from(*a))).collect()
    }

    fn group(addrs: &[&str]) -> (Brokers, Arc<BrokerGroup>) {
        let brokers = Brokers::default();
        brokers.update("g", members(addrs));
        let group = brokers.get("g").unwrap();
        (brokers, group)
    }

    #[tokio::test]
    async fn another_member_stands_in_for_a_lost_leader() {
        let (brokers, group) = group(&["a", "b", "c"]);
        let now = clock::now();
        assert_eq!(group.target().as_deref(), Some("a"));
        assert!(group.failed("a", now));
        assert_eq!(group.target().as_deref(), Some("b"));
        // A late failure of the same address changes nothing.
        assert!(group.failed("a", now));
        assert_eq!(group.target().as_deref(), Some("b"));
        assert!(group.failed("b", now));
        assert_eq!(group.target().as_deref(), Some("c"));
        assert!(!group.failed("c", now));
        assert_eq!(group.target().as_deref(), Some("a"));
        // The name server still shows the dead leader: the stand-in stays.
        assert!(group.failed("a", now + SUSPECT_FOR));
        assert_eq!(group.target().as_deref(), Some("b"));
        assert!(!brokers.update("g", members(&["a", "b", "c"])));
        assert_eq!(group.target().as_deref(), Some("b"));
        // A new leader is followed at once, even one that was suspected.
        group.failed("c", now);
        assert!(brokers.update("g", members(&["c", "b", "a"])));
        assert_eq!(group.target().as_deref(), Some("c"));
    }

    #[tokio::test]
    async fn a_single_member_stays_the_target() {
        let (_, group) = group(&["a"]);
        assert!(!group.failed("a", clock::now()));
        assert_eq!(group.target().as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn a_failed_follower_does_not_move_the_target() {
        let (_, group) = group(&["a", "b"]);
        group.failed("b", clock::now());
        assert_eq!(group.target().as_deref(), Some("a"));
        assert_eq!(group.member_or_target(1).as_deref(), Some("a"));
    }
}
