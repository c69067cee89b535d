//! The route tables: which broker groups exist, where their members listen, which topics they hold.
//!
//! A pure state machine: events come in with the time at which they happened, tables come out. No sockets, no clock.
//!
//! Two rules are ours and not RocketMQ's, both because a Java producer fails without a retry when a group has no id 0:
//! * when the connection of the member that holds id 0 breaks or expires, its entry stays as long as other members of the
//!   group live, until one of them registers as id 0;
//! * when that same address comes back as a follower, it keeps id 0 beside its own until another member takes it (a follower
//!   forwards, so it serves).

use std::collections::{BTreeMap, BTreeSet};

use mq_base::env::random::HashMap;

/// The id that producers write to.
pub const MASTER_ID: u64 = 0;
/// A broker silent for longer is dropped, unless its registration names another time.
pub const EXPIRY_MS: i64 = 120_000;
/// Registrations name at most this many topics.
pub const TOPICS_MAX: usize = 100_000;
/// At most this many topics are kept, counted once for each group that holds them.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Longest name or address, bytes; RocketMQ's own topic names have at most 255.
pub const NAME_BYTES_MAX: usize = 255;
/// At most this many broker addresses are kept.
pub const BROKERS_MAX: usize = 10_000;

/// RocketMQ's `DataVersion`: of two holders of an id, the one with the greater state version wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The Raft term, for our brokers.
    pub state_version: i64,
    /// When the data last changed, unix ms of the broker.
    pub timestamp: i64,
    /// Changes so far.
    pub counter: i64,
}

/// A topic's queues on one broker group, as routes show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Queues that consumers read.
    pub read: u32,
    /// Queues that producers write.
    pub write: u32,
    /// 4 read, 2 write, 1 inherit.
    pub perm: u32,
    /// Unit bits of the topic.
    pub sys_flag: u32,
}

/// REGISTER_BROKER (103), decoded.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Cluster name.
    pub cluster: String,
    /// Group name (`brokerName`).
    pub broker: String,
    /// `host:port` for clients.
    pub addr: String,
    /// 0 for the leader, slot + 1 for followers.
    pub id: u64,
    /// `host:port` of the HA service; ours is never used.
    pub ha_addr: String,
    /// Silence after which the entry expires; [`EXPIRY_MS`] when absent.
    pub expiry_ms: Option<i64>,
    /// Absent from brokers older than 5.0.
    pub acting_master: Option<bool>,
    /// Version of the topic table.
    pub version: Version,
    /// The broker's topics.
    pub topics: Vec<(String, Queues)>,
    /// The connection it came on; its end clears the broker.
    pub connection: u64,
}

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// Taken over; a follower is told where id 0 is: (address, HA address).
    Taken(Option<(String, String)>),
    /// The id belongs to another address with a greater state version: answered with success, nothing changed.
    Outranked,
    /// Refused, with the reason.
    Refused(&'static str),
}

#[derive(Clone, Debug)]
struct Member {
    broker: String,
    id: u64,
    connection: u64,
    seen_ms: i64,
    expiry_ms: i64,
    version: Version,
    ha_addr: String,
}

/// One broker group as routes show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Cluster name.
    pub cluster: String,
    /// Address by id.
    pub addrs: BTreeMap<u64, String>,
    /// Whether its smallest id may stand in for id 0.
    pub acting_master: bool,
    /// State version under which id 0 was taken; outlives the member.
    master_version: i64,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Routes {
    topics: BTreeMap<String, BTreeMap<String, Queues>>,
    groups: BTreeMap<String, Group>,
    members: HashMap<String, Member>,
}

impl Routes {
    /// A broker says who it is and what it holds.
    pub fn register(&mut self, new: Registration, now_ms: i64) -> Registered {
        if let Some(reason) = self.refusal(&new) {
            return Registered::Refused(reason);
        }
        if self.is_outranked(&new) {
            return Registered::Outranked;
        }
        let first = !self.members.contains_key(&new.addr);
        let changed = self.members.get(&new.addr).is_none_or(|m| m.version != new.version);
        self.seat(&new);
        self.take_topics(&new, first || changed);
        self.members.insert(
            new.addr.clone(),
            Member {
                broker: new.broker.clone(),
                id: new.id,
                connection: new.connection,
                seen_ms: now_ms,
                expiry_ms: new.expiry_ms.filter(|ms| *ms > 0).unwrap_or(EXPIRY_MS),
                version: new.version,
                ha_addr: new.ha_addr,
            },
        );
        Registered::Taken(self.master_for(&new.broker, new.id))
    }

    fn refusal(&self, new: &Registration) -> Option<&'static str> {
        let known = self.groups.get(&new.broker);
        if known.is_some_and(|group| group.cluster != new.cluster) {
            return Some("this broker name belongs to another cluster");
        }
        let seated = known.is_some_and(|group| group.addrs.contains_key(&new.id));
        if !seated && new.topics.len() == 1 {
            // RocketMQ's guard: a single topic must not register before the full table has.
            return Some("register broker failed");
        }
        if new.topics.len() > TOPICS_MAX {
            return Some("too many topics in one registration");
        }
        let names = [&new.cluster, &new.broker, &new.addr, &new.ha_addr];
        let mut names = names.into_iter().chain(new.topics.iter().map(|(topic, _)| topic));
        if names.any(|name| name.len() > NAME_BYTES_MAX) || new.broker.is_empty() || new.addr.is_empty() {
            return Some("a name is empty or too long");
        }
        let fits =
            |routes: &Self| new.topics.len() + routes.topics.values().map(BTreeMap::len).sum::<usize>() <= ENTRIES_MAX;
        // Counted only for a newcomer: a member's topics are mostly there already.
        if !seated && !fits(self) {
            return Some("too many topics are registered here");
        }
        if self.members.len() >= BROKERS_MAX && !self.members.contains_key(&new.addr) {
            return Some("too many brokers are registered here");
        }
        None
    }

    fn is_outranked(&self, new: &Registration) -> bool {
        let Some(group) = self.groups.get(&new.broker) else {
            return false;
        };
        let Some(holder) = group.addrs.get(&new.id).filter(|addr| **addr != new.addr) else {
            return false;
        };
        let held = match self.members.get(holder) {
            Some(member) if member.id == new.id => member.version.state_version,
            _ if new.id == MASTER_ID => group.master_version,
            _ => return false,
        };
        held > new.version.state_version
    }

    /// Gives the address its id. An address holds one id, except that it may keep a vacant id 0 (module doc).
    fn seat(&mut self, new: &Registration) {
        let group = self.groups.entry(new.broker.clone()).or_insert_with(|| Group {
            cluster: new.cluster.clone(),
            addrs: BTreeMap::new(),
            acting_master: false,
            master_version: i64::MIN,
        });
        group
            .addrs
            .retain(|id, addr| *addr != new.addr || *id == new.id || (*id == MASTER_ID && new.id != MASTER_ID));
        let before = group.addrs.insert(new.id, new.addr.clone());
        if let Some(displaced) = before.filter(|addr| *addr != new.addr)
            && self.members.get(&displaced).is_some_and(|m| m.id == new.id)
        {
            self.members.remove(&displaced);
        }
        group.acting_master = new.acting_master.unwrap_or(false);
        if new.id == MASTER_ID {
            group.master_version = new.version.state_version;
        }
    }

    /// Topics come from id 0, or from the smallest id of a group that lets it stand in.
    fn take_topics(&mut self, new: &Registration, all: bool) {
        let smallest = self.groups[&new.broker].addrs.keys().next() == Some(&new.id);
        let stands_in = new.id != MASTER_ID && new.acting_master.is_some() && smallest;
        if new.id != MASTER_ID && !stands_in {
            return;
        }
        for (topic, queues) in &new.topics {
            let mut queues = *queues;
            if stands_in {
                queues.perm &= !2;
            }
            let held = self.topics.entry(topic.clone()).or_default();
            if all || !held.contains_key(&new.broker) {
                held.insert(new.broker.clone(), queues);
            }
        }
    }

    fn master_for(&self, broker: &str, id: u64) -> Option<(String, String)> {
        if id == MASTER_ID {
            return None;
        }
        let addr = self.groups.get(broker)?.addrs.get(&MASTER_ID)?;
        let ha = self.members.get(addr).map(|m| m.ha_addr.clone()).unwrap_or_default();
        Some((addr.clone(), ha))
    }

    /// A broker leaves politely: its entries go at once. Only the id 0 of a group with elections stays while other members live: the
    /// one that leaves has handed over and forwards, and the new leader takes the id within milliseconds.
    pub fn unregister(&mut self, broker: &str, addr: &str) {
        if self.members.get(addr).is_some_and(|m| m.broker == broker) {
            self.members.remove(addr);
        }
        let others = self.members.values().any(|member| member.broker == broker);
        if let Some(group) = self.groups.get_mut(broker) {
            // Brokers without elections have state version 0.
            let elects = group.master_version > 0 && others;
            group
                .addrs
                .retain(|id, held| held != addr || (*id == MASTER_ID && elects));
        }
        self.drop_if_empty(broker);
    }

    /// A connection ended: whoever registered on it is gone. Returns the addresses that went.
    pub fn disconnected(&mut self, connection: u64) -> Vec<String> {
        self.lose(|member| member.connection == connection)
    }

    /// Drops who has been silent for too long. Returns the addresses that went.
    pub fn expire(&mut self, now_ms: i64) -> Vec<String> {
        self.lose(|member| now_ms - member.seen_ms > member.expiry_ms)
    }

    fn lose(&mut self, gone: impl Fn(&Member) -> bool) -> Vec<String> {
        let lost: Vec<(String, String, u64)> = self
            .members
            .iter()
            .filter(|(_, member)| gone(member))
            .map(|(addr, member)| (addr.clone(), member.broker.clone(), member.id))
            .collect();
        for (addr, _, _) in &lost {
            self.members.remove(addr);
        }
        for (addr, broker, id) in &lost {
            if let Some(group) = self.groups.get_mut(broker)
                && *id != MASTER_ID
                && group.addrs.get(id) == Some(addr)
            {
                group.addrs.remove(id);
            }
            self.drop_if_empty(broker);
        }
        lost.into_iter().map(|(addr, ..)| addr).collect()
    }

    /// A group without a living member leaves the routes, a vacant id 0 with it.
    fn drop_if_empty(&mut self, broker: &str) {
        let lives = self.members.values().any(|member| member.broker == broker);
        if lives || self.groups.remove(broker).is_none() {
            return;
        }
        self.topics.retain(|_, held| {
            held.remove(broker);
            !held.is_empty()
        });
    }

    /// BROKER_HEARTBEAT and an unchanged QUERY_DATA_VERSION: the broker lives.
    pub fn heartbeat(&mut self, addr: &str, now_ms: i64) -> bool {
        self.members
            .get_mut(addr)
            .map(|member| member.seen_ms = now_ms)
            .is_some()
    }

    /// The version a broker last registered.
    pub fn version_of(&self, addr: &str) -> Option<Version> {
        self.members.get(addr).map(|member| member.version)
    }

    /// The groups that hold a topic, with its queues there. Empty: no route.
    pub fn topic(&self, topic: &str) -> Vec<(&str, &Group, Queues)> {
        let held = self.topics.get(topic);
        held.into_iter()
            .flatten()
            .filter_map(|(broker, queues)| Some((broker.as_str(), self.groups.get(broker)?, *queues)))
            .collect()
    }

    /// All topic names.
    pub fn topic_names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// Topics held by any group of a cluster.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<&str> {
        let in_cluster = |broker: &String| self.groups.get(broker).is_some_and(|g| g.cluster == cluster);
        self.topics
            .iter()
            .filter(|(_, held)| held.keys().any(in_cluster))
            .map(|(topic, _)| topic.as_str())
            .collect()
    }

    /// Topics for which `wanted(sys_flag)` holds on any group.
    pub fn topics_by_flag(&self, wanted: impl Fn(u32) -> bool) -> Vec<&str> {
        let any = |held: &BTreeMap<String, Queues>| held.values().any(|queues| wanted(queues.sys_flag));
        self.topics
            .iter()
            .filter(|(_, held)| any(held))
            .map(|(topic, _)| topic.as_str())
            .collect()
    }

    /// All groups by name.
    pub fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }

    /// Group names by cluster.
    pub fn clusters(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut clusters: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, group) in &self.groups {
            clusters.entry(&group.cluster).or_default().insert(name);
        }
        clusters
    }

    /// DELETE_TOPIC_IN_NAMESRV: forgets a topic, on the groups of one cluster when it is named.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(held) = self.topics.get_mut(topic) else { return };
        match cluster {
            None => held.clear(),
            Some(cluster) => held.retain(|broker, _| self.groups.get(broker).is_none_or(|g| g.cluster != cluster)),
        }
        if held.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// REGISTER_TOPIC_IN_NAMESRV: adds a topic on groups that exist.
    pub fn add_topic(&mut self, topic: &str, queues: impl IntoIterator<Item = (String, Queues)>) {
        let known: Vec<_> = queues
            .into_iter()
            .filter(|(broker, _)| self.groups.contains_key(broker))
            .collect();
        if !known.is_empty() && topic.len() <= NAME_BYTES_MAX && self.topics.len() < ENTRIES_MAX {
            self.topics.entry(topic.to_owned()).or_default().extend(known);
        }
    }

    /// Changes the permission bits of every topic of a group; returns how many topics that were.
    pub fn change_perm(&mut self, broker: &str, change: impl Fn(u32) -> u32) -> usize {
        let held = self.topics.values_mut().filter_map(|held| held.get_mut(broker));
        held.map(|queues| queues.perm = change(queues.perm)).count()
    }
}

#[cfg(test)]
mod tests;
