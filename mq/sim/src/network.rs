//! Which hosts reach which. Several faults may cut the same link; it works again when the last of them is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use mq_base::env::sim::{Reach, World};
use turmoil::Sim;

/// A host: its name and its address.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name within the simulation.
    pub name: String,
    /// IP address as text.
    pub ip: String,
}

/// Whether a host can be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its program runs.
    Up,
    /// Its program does not.
    Crashed,
    /// Its machine does not.
    Dark,
}

/// The links and their faults.
#[derive(Debug, Default)]
pub struct Network {
    hosts: Vec<Host>,
    life: BTreeMap<usize, Life>,
    /// Cuts of a link; TCP repeats what is lost, so packets are late rather than lost.
    held: BTreeMap<(usize, usize), u32>,
    /// Cuts in one direction: packets are lost, connections hang.
    oneway: BTreeMap<(usize, usize), u32>,
}

fn ordered(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Network {
    /// Adds a host; its index is the number of hosts added before.
    pub fn add(&mut self, host: Host) {
        self.hosts.push(host);
    }

    /// Number of hosts.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Cuts (+1) or mends (-1) a link.
    pub fn hold(&mut self, sim: &Sim<'_>, a: usize, b: usize, change: i32) {
        let count = self.held.entry(ordered(a, b)).or_default();
        *count = count.saturating_add_signed(change);
        self.apply(sim, a, b);
    }

    /// Cuts (+1) or mends (-1) one direction of a link.
    pub fn oneway(&mut self, sim: &Sim<'_>, from: usize, to: usize, change: i32) {
        let count = self.oneway.entry((from, to)).or_default();
        *count = count.saturating_add_signed(change);
        self.apply(sim, from, to);
    }

    /// Sets whether a host lives.
    pub fn set_life(&mut self, sim: &Sim<'_>, host: usize, life: Life) {
        self.life.insert(host, life);
        for other in (0..self.len()).filter(|other| *other != host) {
            self.apply(sim, host, other);
        }
    }

    /// Mends everything; dark machines stay dark.
    pub fn heal(&mut self, sim: &Sim<'_>) {
        self.held.clear();
        self.oneway.clear();
        for a in 0..self.len() {
            for b in 0..a {
                self.apply(sim, a, b);
            }
        }
    }

    fn is(&self, host: usize, life: Life) -> bool {
        self.life.get(&host).is_some_and(|is| *is == life)
    }

    fn dark(&self, a: usize, b: usize) -> bool {
        self.is(a, Life::Dark) || self.is(b, Life::Dark)
    }

    fn is_held(&self, a: usize, b: usize) -> bool {
        self.held.get(&ordered(a, b)).is_some_and(|count| *count > 0)
    }

    fn is_oneway(&self, from: usize, to: usize) -> bool {
        self.oneway.get(&(from, to)).is_some_and(|count| *count > 0)
    }

    fn apply(&self, sim: &Sim<'_>, a: usize, b: usize) {
        let (name_a, name_b) = (self.hosts[a].name.as_str(), self.hosts[b].name.as_str());
        if self.dark(a, b) {
            return sim.partition(name_a, name_b);
        }
        if self.is_held(a, b) {
            return sim.hold(name_a, name_b);
        }
        sim.repair(name_a, name_b);
        sim.release(name_a, name_b);
        for (from, to, name_from, name_to) in [(a, b, name_a, name_b), (b, a, name_b, name_a)] {
            if self.is_oneway(from, to) {
                sim.partition_oneway(name_from, name_to);
            }
        }
    }

    /// Tells every world what connecting to the others does.
    pub fn tell<'w>(&self, worlds: impl Iterator<Item = (usize, &'w Arc<World>)>) {
        for (from, world) in worlds {
            for to in (0..self.len()).filter(|to| *to != from) {
                let cut = self.dark(from, to)
                    || self.is_held(from, to)
                    || self.is_oneway(from, to)
                    || self.is_oneway(to, from);
                let reach = match cut {
                    true => Some(Reach::Silent),
                    false => self.is(to, Life::Crashed).then_some(Reach::Refused),
                };
                world.set_reach(&self.hosts[to].ip, reach);
            }
        }
    }
}
