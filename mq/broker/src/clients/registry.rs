//! The tables of producers and consumers: who is there, on which connection, subscribed to what. Pure.
//!
//! As in RocketMQ an entry is a *connection* within a group, not a client id: two processes that share a client id appear
//! twice, and their users see it. Unlike RocketMQ a group has several members, and a consumer sends heartbeats to each
//! of them; the leader hears of all, so the list of a group counts a client id as often as the member that has it most often.

use super::orphans::{KEEP_MS, LOST};
use super::registration::{ConnectionId, Consumer, Registration, Subscription};
use crate::state::Name;
use mq_base::env::random::{HashMap, HashSet};
use mq_remoting::body::{ConsumeFromWhere, ConsumeType, MessageModel};
use mq_store::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// One client of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Client id.
    pub id: Name,
    /// Its address.
    pub address: SocketAddr,
    /// Its language.
    pub language: Arc<str>,
    /// Its version ordinal.
    pub version: i32,
    /// When it was last heard of, milliseconds on the clock of whoever calls.
    pub heard_ms: i64,
}

/// A consumer group with at least one client.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    /// Pull, push or POP; the latest wins.
    pub consume_type: ConsumeType,
    /// Clustering or broadcasting; the latest wins.
    pub message_model: MessageModel,
    /// Where it starts; the latest wins.
    pub consume_from_where: ConsumeFromWhere,
    /// Its clients.
    pub clients: BTreeMap<ConnectionId, Client>,
    /// Its subscriptions by topic.
    pub subscriptions: HashMap<Name, Arc<Subscription>>,
}

impl ConsumerGroup {
    /// Client ids as a client is to see them (see the module's head).
    pub fn client_ids(&self) -> Vec<Name> {
        let mut counts: BTreeMap<&Name, BTreeMap<NodeId, usize>> = BTreeMap::new();
        for (connection, client) in &self.clients {
            *counts
                .entry(&client.id)
                .or_default()
                .entry(connection.member)
                .or_default() += 1;
        }
        let most = |by_member: &BTreeMap<NodeId, usize>| by_member.values().copied().max().unwrap_or(0);
        counts
            .iter()
            .flat_map(|(id, by_member)| std::iter::repeat_n((*id).clone(), most(by_member)))
            .collect()
    }

    /// Whether each client gets every message.
    pub fn is_broadcast(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }

    /// Takes over what a client says of the group; true if subscriptions changed.
    fn describe(&mut self, consumer: &Consumer, without_subscriptions: bool) -> bool {
        self.consume_type = consumer.consume_type;
        self.message_model = consumer.message_model;
        self.consume_from_where = consumer.consume_from_where;
        if without_subscriptions {
            return false;
        }
        let mut changed = false;
        for subscription in &consumer.subscriptions {
            let known = self.subscriptions.get(&subscription.topic);
            if known.is_none_or(|known| known.version < subscription.version) {
                changed |= known.is_none_or(|known| known.expression != subscription.expression);
                self.subscriptions
                    .insert(subscription.topic.clone(), Arc::new(subscription.clone()));
            }
        }
        let wanted: HashSet<&Name> = consumer
            .subscriptions
            .iter()
            .map(|subscription| &subscription.topic)
            .collect();
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| wanted.contains(topic));
        changed || self.subscriptions.len() != before
    }
}

/// What a change to the tables calls for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Consumer groups whose clients are to be told (NOTIFY_CONSUMER_IDS_CHANGED): membership or subscriptions changed.
    pub groups: Vec<Name>,
}

/// Producers and consumers by group.
#[derive(Debug, Default)]
pub struct Registry {
    consumers: HashMap<Name, ConsumerGroup>,
    producers: HashMap<Name, BTreeMap<ConnectionId, Client>>,
    /// What each connection registered last, by client id: makes leaving cheap, and is what a member reports.
    pub(super) connections: BTreeMap<ConnectionId, BTreeMap<Name, Registration>>,
    /// Number for the next orphan.
    pub(super) orphans: u64,
    /// When the process of each member that reported was started: a report of a new one ends the connections of the old.
    boots: HashMap<NodeId, i64>,
}

impl Registry {
    /// A heartbeat.
    pub fn register(&mut self, member: NodeId, said: Registration, now_ms: i64) -> Changes {
        let connection = ConnectionId {
            member,
            number: said.connection,
        };
        let client = Client {
            id: said.client_id.clone(),
            address: said.address,
            language: said.language.as_str().into(),
            version: said.version,
            heard_ms: now_ms,
        };
        let mut changes = Changes::default();
        for group in &said.producers {
            self.producers
                .entry(group.clone())
                .or_default()
                .insert(connection, client.clone());
        }
        for consumer in &said.consumers {
            let group = self.consumers.entry(consumer.group.clone()).or_default();
            let known = group
                .clients
                .get(&connection)
                .is_some_and(|known| known.id == client.id);
            let before = if known { Vec::new() } else { group.client_ids() };
            group.clients.insert(connection, client.clone());
            let joined = !known && group.client_ids() != before;
            // What an orphan said last may be older than what others say now.
            let outdated = member == LOST && group.clients.len() > 1;
            let resubscribed = !outdated && group.describe(consumer, said.without_subscriptions);
            if (joined || resubscribed) && !group.is_broadcast() {
                changes.groups.push(consumer.group.clone());
            }
        }
        if member != LOST {
            self.adopted(&said.client_id, &mut changes);
        }
        self.remember(connection, said);
        changes
    }

    fn remember(&mut self, connection: ConnectionId, mut said: Registration) {
        let known = self.connections.entry(connection).or_default();
        if let Some(before) = known.get_mut(&said.client_id) {
            // A heartbeat names all groups of a client, but leaving one out does not unregister it.
            let old_producers = before
                .producers
                .drain(..)
                .filter(|group| !said.producers.contains(group));
            let kept: Vec<Name> = old_producers.collect();
            said.producers.extend(kept);
            for old in before.consumers.drain(..) {
                match said.consumers.iter_mut().find(|consumer| consumer.group == old.group) {
                    Some(new) if said.without_subscriptions => new.subscriptions = old.subscriptions,
                    Some(_) => {}
                    None => said.consumers.push(old),
                }
            }
        }
        said.without_subscriptions = false;
        known.insert(said.client_id.clone(), said);
    }

    /// A client leaves a group of each kind.
    pub fn unregister(
        &mut self,
        connection: ConnectionId,
        client_id: &str,
        producer: Option<&str>,
        consumer: Option<&str>,
    ) -> Changes {
        let mut changes = Changes::default();
        if let Some(said) = self
            .connections
            .get_mut(&connection)
            .and_then(|known| known.get_mut(client_id))
        {
            said.producers.retain(|group| Some(&**group) != producer);
            said.consumers.retain(|said| Some(&*said.group) != consumer);
        }
        if let Some(group) = producer {
            self.leave_producers(group, connection);
        }
        if let Some(group) = consumer {
            self.leave_consumers(group, connection, &mut changes);
            for orphan in self.orphans_of(client_id) {
                self.leave_consumers(group, orphan, &mut changes);
                let said = self.connections.get_mut(&orphan);
                if let Some(said) = said.and_then(|known| known.get_mut(client_id)) {
                    said.consumers.retain(|said| &*said.group != group);
                }
            }
        }
        changes
    }

    /// A connection is closed.
    pub fn closed(&mut self, connection: ConnectionId) -> Changes {
        let mut changes = Changes::default();
        for said in self
            .connections
            .remove(&connection)
            .into_iter()
            .flat_map(BTreeMap::into_values)
        {
            for group in &said.producers {
                self.leave_producers(group, connection);
            }
            for consumer in &said.consumers {
                self.leave_consumers(&consumer.group, connection, &mut changes);
            }
        }
        changes
    }

    /// Forgets the clients of a member: it is gone, or its report follows.
    pub fn forget_member(&mut self, member: NodeId) -> Changes {
        let gone: Vec<ConnectionId> = self
            .connections
            .keys()
            .filter(|id| id.member == member)
            .copied()
            .collect();
        let mut changes = Changes::default();
        for connection in gone {
            changes.merge(self.closed(connection));
        }
        changes
    }

    /// Everything a member knows of its own clients replaces what was known of them. Connections that an earlier process of
    /// it held did not end by their clients' will.
    pub fn report(&mut self, member: NodeId, boot_ms: i64, all: Vec<Registration>, now_ms: i64) -> Changes {
        if self
            .boots
            .insert(member, boot_ms)
            .is_some_and(|before| before != boot_ms)
        {
            self.orphan_member(member, now_ms);
        }
        let present: HashSet<u64> = all.iter().map(|said| said.connection).collect();
        let gone: Vec<ConnectionId> = self
            .connections
            .keys()
            .filter(|id| id.member == member)
            .copied()
            .collect();
        let mut changes = Changes::default();
        for connection in gone.into_iter().filter(|id| !present.contains(&id.number)) {
            changes.merge(self.closed(connection));
        }
        for said in all {
            changes.merge(self.register(member, said, now_ms));
        }
        changes
    }

    /// What a member would report of its own clients.
    pub fn of_member(&self, member: NodeId) -> Vec<Registration> {
        let own = self.connections.iter().filter(|(id, _)| id.member == member);
        own.flat_map(|(_, known)| known.values().cloned()).collect()
    }

    /// Members that hold connections of registered clients.
    pub fn members(&self) -> HashSet<NodeId> {
        self.connections.keys().map(|id| id.member).collect()
    }

    /// Orphans that did not come back.
    pub fn overdue(&self, now_ms: i64) -> Vec<ConnectionId> {
        self.silent(LOST, now_ms - KEEP_MS)
    }

    /// Connections of `member` whose clients have all been silent since before `limit_ms`.
    pub fn silent(&self, member: NodeId, limit_ms: i64) -> Vec<ConnectionId> {
        let heard = |id: ConnectionId, said: &Registration| {
            let producers = said
                .producers
                .iter()
                .filter_map(|group| self.producers.get(group)?.get(&id));
            let consumers = said
                .consumers
                .iter()
                .filter_map(|c| self.consumers.get(&c.group)?.clients.get(&id));
            producers
                .chain(consumers)
                .map(|client| client.heard_ms)
                .max()
                .unwrap_or(i64::MIN)
        };
        let own = self.connections.iter().filter(|(id, _)| id.member == member);
        own.filter(|(id, known)| known.values().all(|said| heard(**id, said) < limit_ms))
            .map(|(id, _)| *id)
            .collect()
    }

    fn leave_producers(&mut self, group: &str, connection: ConnectionId) {
        if let Some(clients) = self.producers.get_mut(group) {
            clients.remove(&connection);
            if clients.is_empty() {
                self.producers.remove(group);
            }
        }
    }

    fn leave_consumers(&mut self, name: &str, connection: ConnectionId, changes: &mut Changes) {
        let Some(group) = self.consumers.get_mut(name) else {
            return;
        };
        let before = group.client_ids();
        if group.clients.remove(&connection).is_none() {
            return;
        }
        if group.clients.is_empty() {
            self.consumers.remove(name);
        } else if group.client_ids() != before && !group.is_broadcast() {
            changes.add(name);
        }
    }

    /// A consumer group that has clients.
    pub fn consumers(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// All consumer groups that have clients.
    pub fn all_consumers(&self) -> impl Iterator<Item = (&Name, &ConsumerGroup)> {
        self.consumers.iter()
    }

    /// The clients of a producer group, if it has any.
    pub fn producers(&self, group: &str) -> Option<&BTreeMap<ConnectionId, Client>> {
        self.producers.get(group)
    }

    /// All producer groups that have clients.
    pub fn all_producers(&self) -> impl Iterator<Item = (&Name, &BTreeMap<ConnectionId, Client>)> {
        self.producers.iter()
    }

    /// Whether the connection has registered anything.
    pub fn knows(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }
}

impl Changes {
    fn add(&mut self, group: &str) {
        if !self.groups.iter().any(|known| &**known == group) {
            self.groups.push(group.into());
        }
    }

    pub(super) fn merge(&mut self, other: Changes) {
        other.groups.iter().for_each(|group| self.add(group));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::codec::{Reader, Writer};

    const N0: NodeId = NodeId(10);
    const N1: NodeId = NodeId(11);

    fn subscription(topic: &str, expression: &str, version: i64) -> Subscription {
        Subscription {
            topic: topic.into(),
            expression: expression.to_owned(),
            expression_type: "TAG".to_owned(),
            version,
            tags: Vec::new(),
            codes: Vec::new(),
            class_filter_mode: false,
        }
    }

    fn said(connection: u64, client: &str, group: &str, subscriptions: Vec<Subscription>) -> Registration {
        Registration {
            connection,
            address: "10.0.0.1:4711".parse().unwrap(),
            client_id: client.into(),
            language: "JAVA".to_owned(),
            version: 479,
            producers: vec!["P".into()],
            consumers: vec![Consumer {
                group: group.into(),
                consume_type: ConsumeType::Passively,
                message_model: MessageModel::Clustering,
                consume_from_where: ConsumeFromWhere::Timestamp,
                subscriptions,
            }],
            without_subscriptions: false,
        }
    }

    fn ids(registry: &Registry, group: &str) -> Vec<String> {
        registry
            .consumers(group)
            .map_or(Vec::new(), |g| g.client_ids().iter().map(|id| id.to_string()).collect())
    }

    fn at(member: NodeId, number: u64) -> ConnectionId {
        ConnectionId { member, number }
    }

    #[test]
    fn a_client_seen_through_several_members_counts_once_and_a_shared_id_counts_twice() {
        let mut registry = Registry::default();
        let first = registry.register(N0, said(1, "c1", "G", vec![]), 0);
        assert_eq!(first.groups, ["G".into()]);
        assert_eq!(
            registry.register(N1, said(1, "c1", "G", vec![]), 0),
            Changes::default(),
            "the same process, elsewhere"
        );
        assert_eq!(ids(&registry, "G"), ["c1"]);
        assert_eq!(
            registry.register(N0, said(2, "c1", "G", vec![]), 0).groups,
            ["G".into()]
        );
        assert_eq!(
            ids(&registry, "G"),
            ["c1", "c1"],
            "two processes with one id are shown as they are"
        );
        assert_eq!(registry.closed(at(N0, 2)).groups, ["G".into()]);
        assert_eq!(
            registry.closed(at(N0, 1)),
            Changes::default(),
            "still there through the other member"
        );
        assert_eq!(
            registry.closed(at(N1, 1)),
            Changes::default(),
            "nobody is left to be told"
        );
        assert!(registry.consumers("G").is_none() && registry.producers("P").is_none());
    }

    #[test]
    fn subscriptions_follow_the_newer_version_and_topics_left_out_are_dropped() {
        let mut registry = Registry::default();
        registry.register(
            N0,
            said(1, "c1", "G", vec![subscription("A", "x", 5), subscription("B", "*", 5)]),
            0,
        );
        let table = |registry: &Registry| {
            let mut all: Vec<_> = registry
                .consumers("G")
                .unwrap()
                .subscriptions
                .values()
                .cloned()
                .collect();
            all.sort_by(|a, b| a.topic.cmp(&b.topic));
            all.iter()
                .map(|s| (s.topic.to_string(), s.expression.clone()))
                .collect::<Vec<_>>()
        };
        let older = registry.register(
            N0,
            said(1, "c1", "G", vec![subscription("A", "y", 4), subscription("B", "*", 5)]),
            0,
        );
        assert_eq!(older, Changes::default());
        assert_eq!(table(&registry)[0], ("A".to_owned(), "x".to_owned()));
        let newer = registry.register(N0, said(1, "c1", "G", vec![subscription("A", "y", 6)]), 0);
        assert_eq!(newer.groups, ["G".into()]);
        assert_eq!(table(&registry), [("A".to_owned(), "y".to_owned())]);
        let mut bare = said(1, "c1", "G", vec![]);
        bare.without_subscriptions = true;
        assert_eq!(registry.register(N0, bare, 0), Changes::default());
        assert_eq!(table(&registry), [("A".to_owned(), "y".to_owned())]);
        assert_eq!(
            registry.of_member(N0)[0].consumers[0].subscriptions.len(),
            1,
            "a report still tells the subscription"
        );
    }

    #[test]
    fn leaving_is_only_told_to_those_who_stay() {
        let mut registry = Registry::default();
        registry.register(N0, said(1, "c1", "G", vec![]), 0);
        registry.register(N0, said(2, "c2", "G", vec![]), 0);
        assert_eq!(
            registry.unregister(at(N0, 1), "c1", Some("P"), Some("G")).groups,
            ["G".into()]
        );
        assert_eq!(
            registry.unregister(at(N0, 1), "c1", Some("P"), Some("G")),
            Changes::default(),
            "repeated"
        );
        assert_eq!(ids(&registry, "G"), ["c2"]);
        assert_eq!(registry.producers("P").unwrap().len(), 1);
    }

    #[test]
    fn a_report_replaces_what_was_known_of_a_member() {
        let mut registry = Registry::default();
        registry.register(N1, said(1, "c1", "G", vec![]), 0);
        registry.register(N1, said(2, "c2", "G", vec![]), 0);
        registry.register(N0, said(1, "c3", "G", vec![]), 0);
        let changes = registry.report(N1, 1, vec![said(2, "c2", "G", vec![]), said(3, "c4", "G", vec![])], 0);
        assert_eq!(changes.groups, ["G".into()]);
        assert_eq!(ids(&registry, "G"), ["c2", "c3", "c4"]);
        registry.forget_member(N1);
        assert_eq!(ids(&registry, "G"), ["c3"]);
    }

    #[test]
    fn silence_is_measured_by_connection() {
        let mut registry = Registry::default();
        registry.register(N0, said(1, "c1", "G", vec![]), 100);
        registry.register(N0, said(2, "c2", "G", vec![]), 100);
        registry.register(N0, said(2, "c2", "G", vec![]), 200);
        assert_eq!(registry.silent(N0, 150), [at(N0, 1)]);
        assert!(registry.silent(N1, 150).is_empty());
    }

    #[test]
    fn broadcast_groups_are_not_notified() {
        let mut registry = Registry::default();
        let mut broadcast = said(1, "c1", "G", vec![]);
        broadcast.consumers[0].message_model = MessageModel::Broadcasting;
        assert!(registry.register(N0, broadcast, 0).groups.is_empty());
    }

    #[test]
    fn members_understand_each_other() {
        let mut told = said(7, "c1", "G", vec![subscription("A", "x || y", -3)]);
        told.consumers[0].subscriptions[0].tags = vec!["x".to_owned(), "y".to_owned()];
        told.consumers[0].subscriptions[0].codes = vec![120, -121];
        let mut w = Writer::new();
        told.encode(&mut w);
        let bytes = w.into_bytes();
        assert_eq!(Registration::decode(&mut Reader::new(&bytes)), Ok(told));
        for end in 0..bytes.len() {
            assert!(Registration::decode(&mut Reader::new(&bytes[..end])).is_err());
        }
    }

    #[test]
    fn names_and_counts_are_bounded() {
        let good = said(1, "c1", "G", vec![subscription("A", "*", 1)]);
        assert!(good.check(10).is_ok());
        let mut cases = vec![good.clone(); 4];
        cases[0].client_id = "".into();
        cases[1].producers = vec!["a b".into()];
        cases[2].producers = (0..11).map(|n| format!("P{n}").into()).collect();
        cases[3].consumers[0].subscriptions[0].topic = "a/b".into();
        for case in cases {
            assert!(case.check(10).is_err(), "{case:?}");
        }
    }
}
