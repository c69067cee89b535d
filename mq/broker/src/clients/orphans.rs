//! Clients whose connection ended with the member that held it, not by their own will. They are expected back.
//!
//! A consumer group's list and its subscriptions live on heartbeats, and most clients send one every 30 s whatever happens
//! to their connections. When members are killed one after the other within that time, clients that never stopped would be
//! missing from the list (others take over their queues) and their pulls would be refused. So such a client stays in the
//! tables for [`KEEP_MS`]: until its next heartbeat is due, and a quarter of what RocketMQ waits for a silent client. It is an
//! orphan, held by the member [`LOST`]. A client that is connected to any other member needs no keeping: when that
//! connection ends, it is gone at once.
//!
//! A member that was started less than this ago has not heard all clients; it takes over what its leader knows
//! ([`Registry::known`]), so that it can lead when the next member dies.

use super::registration::{ConnectionId, Registration};
use super::registry::{Changes, Registry};
use crate::state::codec::{CodecError, Reader, Writer};
use bytes::Bytes;
use mq_store::NodeId;
use std::collections::BTreeMap;

/// Holds the connections that are no more.
pub const LOST: NodeId = NodeId(u64::MAX);

/// Clients send heartbeats every 30 s.
pub const KEEP_MS: i64 = 33_000;

/// First byte of [`Known`].
const KNOWN: u8 = 9;

/// What a leader knows of consumers, for a member that has not heard them yet: each with the time left to it if it is not
/// heard again, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(pub Vec<(Registration, u64)>);

impl Registry {
    /// All connections of a member ended with it.
    pub fn orphan_member(&mut self, member: NodeId, now_ms: i64) -> Changes {
        let lost = self.connections.keys().filter(|id| id.member == member);
        let lost: Vec<ConnectionId> = lost.copied().collect();
        let mut changes = Changes::default();
        for connection in lost {
            changes.merge(self.orphan(connection, now_ms));
        }
        changes
    }

    /// A connection ended with its member.
    pub fn orphan(&mut self, connection: ConnectionId, now_ms: i64) -> Changes {
        let said = self.connections.get(&connection).cloned().unwrap_or_default();
        // Kept first: whoever stays in the list all the time changes nothing.
        for said in said.into_values() {
            self.keep(connection, said, now_ms);
        }
        self.closed(connection)
    }

    /// Takes over what the leader knows, in place of what it told before.
    pub fn inherit(&mut self, known: Known, now_ms: i64) {
        for orphan in self.of_lost() {
            self.closed(orphan);
        }
        let nobody = ConnectionId {
            member: LOST,
            number: 0,
        };
        for (said, left_ms) in known.0 {
            let heard_ms = now_ms - KEEP_MS + (left_ms as i64).min(KEEP_MS);
            self.keep(nobody, said, heard_ms);
        }
    }

    /// The consumers known here.
    pub fn known(&self, now_ms: i64) -> Known {
        let mut all = BTreeMap::new();
        for (id, clients) in &self.connections {
            for (client, said) in clients.iter().filter(|(_, said)| !said.consumers.is_empty()) {
                let heard = said.consumers.iter().filter_map(|c| self.heard_ms(&c.group, *id)).max();
                let left_ms = match heard {
                    Some(heard_ms) if id.member == LOST => heard_ms + KEEP_MS - now_ms,
                    _ => KEEP_MS,
                };
                if left_ms > 0 {
                    // Orphans come last in the order of connections: a living entry of the same client wins.
                    all.entry(client).or_insert((said.clone(), left_ms as u64));
                }
            }
        }
        Known(all.into_values().collect())
    }

    /// A client is heard again.
    pub(super) fn adopted(&mut self, client_id: &str, changes: &mut Changes) {
        for orphan in self.orphans_of(client_id) {
            changes.merge(self.closed(orphan));
        }
    }

    pub(super) fn orphans_of(&self, client_id: &str) -> Vec<ConnectionId> {
        let lost = self.connections.iter().filter(|(id, _)| id.member == LOST);
        lost.filter(|(_, said)| said.contains_key(client_id))
            .map(|(id, _)| *id)
            .collect()
    }

    fn of_lost(&self) -> Vec<ConnectionId> {
        let lost = self.connections.keys().filter(|id| id.member == LOST);
        lost.copied().collect()
    }

    fn keep(&mut self, was: ConnectionId, mut said: Registration, heard_ms: i64) {
        said.producers.clear(); // without a connection nobody can ask them
        said.consumers
            .retain(|consumer| !self.has_other(&consumer.group, &said.client_id, was));
        if !said.consumers.is_empty() {
            self.orphans += 1;
            said.connection = self.orphans;
            self.register(LOST, said, heard_ms);
        }
    }

    fn has_other(&self, group: &str, client_id: &str, than: ConnectionId) -> bool {
        self.consumers(group).is_some_and(|group| {
            let mut clients = group.clients.iter();
            clients.any(|(id, client)| *id != than && &*client.id == client_id)
        })
    }

    fn heard_ms(&self, group: &str, connection: ConnectionId) -> Option<i64> {
        Some(self.consumers(group)?.clients.get(&connection)?.heard_ms)
    }
}

impl Known {
    /// Writes it.
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.byte(KNOWN);
        w.varint(self.0.len() as u64);
        for (said, left_ms) in &self.0 {
            said.encode(&mut w);
            w.varint(*left_ms);
        }
        w.into_bytes().into()
    }

    /// Reads what the leader wrote.
    pub fn decode(message: &Bytes) -> Result<Self, CodecError> {
        let r = &mut Reader::new(message);
        if r.byte()? != KNOWN {
            return Err(CodecError::Malformed("not a list of clients"));
        }
        let all = (0..r.count()?).map(|_| Ok((Registration::decode(r)?, r.varint()?)));
        let all = all.collect::<Result<_, CodecError>>()?;
        if r.is_empty() {
            Ok(Known(all))
        } else {
            Err(CodecError::Malformed("list of clients: bytes left over"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::{Consumer, HERE};
    use mq_remoting::body::{ConsumeFromWhere, ConsumeType, MessageModel};

    const N0: NodeId = NodeId(10);
    const N1: NodeId = NodeId(11);

    fn said(connection: u64, client: &str) -> Registration {
        Registration {
            connection,
            address: "10.0.0.1:4711".parse().unwrap(),
            client_id: client.into(),
            language: "JAVA".to_owned(),
            version: 401,
            producers: vec!["P".into()],
            consumers: vec![Consumer {
                group: "G".into(),
                consume_type: ConsumeType::Passively,
                message_model: MessageModel::Clustering,
                consume_from_where: ConsumeFromWhere::Timestamp,
                subscriptions: vec![],
            }],
            without_subscriptions: false,
        }
    }

    fn ids(registry: &Registry) -> Vec<String> {
        let group = registry.consumers("G");
        group.map_or(Vec::new(), |g| g.client_ids().iter().map(|id| id.to_string()).collect())
    }

    fn at(member: NodeId, number: u64) -> ConnectionId {
        ConnectionId { member, number }
    }

    #[test]
    fn a_client_outlives_its_member_until_it_is_heard_again() {
        let mut registry = Registry::default();
        registry.report(N0, 1, vec![said(1, "c1"), said(2, "c2")], 0);
        let restarted = registry.report(N0, 2, vec![], 1_000);
        assert_eq!(restarted, Changes::default(), "nobody has to rebalance");
        assert_eq!(ids(&registry), ["c1", "c2"]);
        assert!(registry.producers("P").is_none(), "no connection to ask it on");
        assert_eq!(registry.register(N1, said(7, "c1"), 2_000), Changes::default());
        assert_eq!(
            registry.closed(at(N1, 7)).groups,
            ["G".into()],
            "gone by its own will: at once"
        );
        assert_eq!(ids(&registry), ["c2"]);
    }

    #[test]
    fn an_orphan_that_does_not_come_back_is_let_go() {
        let mut registry = Registry::default();
        registry.report(N0, 1, vec![said(1, "c1")], 0);
        registry.orphan_member(N0, 1_000);
        assert!(registry.overdue(1_000 + KEEP_MS).is_empty());
        let overdue = registry.overdue(1_001 + KEEP_MS);
        assert_eq!(overdue.len(), 1);
        registry.closed(overdue[0]);
        assert!(registry.consumers("G").is_none());
    }

    #[test]
    fn a_client_with_another_connection_is_not_kept() {
        let mut registry = Registry::default();
        registry.report(N0, 1, vec![said(1, "c1")], 0);
        registry.register(HERE, said(1, "c1"), 0);
        registry.register(HERE, said(2, "c2"), 0);
        assert_eq!(registry.orphan(at(N0, 1), 0), Changes::default());
        assert_eq!(registry.closed(at(HERE, 1)).groups, ["G".into()]);
        assert_eq!(ids(&registry), ["c2"]);
    }

    #[test]
    fn an_orphan_may_leave() {
        let mut registry = Registry::default();
        registry.register(HERE, said(1, "c1"), 0);
        registry.register(HERE, said(2, "c2"), 0);
        registry.orphan(at(HERE, 1), 0);
        let left = registry.unregister(at(N1, 5), "c1", None, Some("G"));
        assert_eq!(left.groups, ["G".into()]);
        assert_eq!(ids(&registry), ["c2"]);
    }

    #[test]
    fn a_young_member_takes_over_what_its_leader_knows() {
        let mut leader = Registry::default();
        leader.register(HERE, said(1, "c1"), 0);
        leader.register(N1, said(1, "c2"), 0);
        leader.orphan(at(N1, 1), 0);
        let known = Known::decode(&leader.known(3_000).encode()).unwrap();
        let mut left: Vec<u64> = known.0.iter().map(|(_, left_ms)| *left_ms).collect();
        left.sort_unstable();
        assert_eq!(left, [KEEP_MS as u64 - 3_000, KEEP_MS as u64]);

        let mut young = Registry::default();
        young.register(HERE, said(1, "c3"), 0);
        young.inherit(known.clone(), 500_000);
        young.inherit(known, 500_000);
        assert_eq!(ids(&young), ["c1", "c2", "c3"]);
        assert_eq!(young.overdue(500_000 + KEEP_MS - 2_999).len(), 1);
        young.inherit(Known::default(), 500_000);
        assert_eq!(ids(&young), ["c3"], "the leader's latest word counts");
    }

    #[test]
    fn garbage_is_refused() {
        let good = Known(vec![(said(1, "c1"), 5)]).encode();
        for end in 0..good.len() {
            assert!(Known::decode(&good.slice(..end)).is_err());
        }
        assert!(Known::decode(&[good, Bytes::from_static(b"x")].concat().into()).is_err());
    }
}
