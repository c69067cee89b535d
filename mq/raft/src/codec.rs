//! Big-endian bytes of our own small structures (votes, log ids, memberships): what goes between peers, into membership
//! entries and into checkpoints. Reading never panics and never trusts a length.

use std::collections::{BTreeMap, BTreeSet};

use mq_store::{LogId, NodeId, RaftIndex, Term};

use crate::group::Member;
use crate::types::{Membership, StoredMembership, Vote};

/// Most members of a membership (voters of both halves of a joint one and learners). Our own bound against nonsense.
pub const MEMBERS_MAX: usize = 1024;

/// The bytes are cut, or hold what no writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// Appends values to a buffer.
pub trait Put {
    /// One byte.
    fn u8(&mut self, v: u8);
    /// Two bytes.
    fn u16(&mut self, v: u16);
    /// Four bytes.
    fn u32(&mut self, v: u32);
    /// Eight bytes.
    fn u64(&mut self, v: u64);
    /// Two bytes of length, then the text; longer than 65,535 bytes is cut (no name or address of ours is).
    fn text(&mut self, v: &str);
    /// A flag byte, then term, node, index if set.
    fn log_id(&mut self, v: Option<LogId>);
    /// Term, node, committed.
    fn vote(&mut self, v: &Vote);
    /// Id, slot, addresses.
    fn member(&mut self, v: &Member);
    /// Configurations, then members.
    fn membership(&mut self, v: &Membership);
    /// The log id it was set at, then the membership.
    fn stored_membership(&mut self, v: &StoredMembership);
}

impl Put for Vec<u8> {
    fn u8(&mut self, v: u8) {
        self.push(v);
    }
    fn u16(&mut self, v: u16) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    fn u32(&mut self, v: u32) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    fn u64(&mut self, v: u64) {
        self.extend_from_slice(&v.to_be_bytes());
    }
    fn text(&mut self, v: &str) {
        let mut end = v.len().min(u16::MAX as usize);
        while !v.is_char_boundary(end) {
            end -= 1;
        }
        self.u16(end as u16);
        self.extend_from_slice(&v.as_bytes()[..end]);
    }
    fn log_id(&mut self, v: Option<LogId>) {
        self.u8(v.is_some() as u8);
        if let Some(id) = v {
            self.u64(id.term.0);
            self.u64(id.node.0);
            self.u64(id.index.0);
        }
    }
    fn vote(&mut self, v: &Vote) {
        self.u64(v.leader_id.term);
        self.u64(v.leader_id.node_id);
        self.u8(v.committed as u8);
    }
    fn member(&mut self, v: &Member) {
        self.u64(v.id.0);
        self.text(&v.slot);
        self.text(&v.peer_addr);
        self.text(&v.client_addr);
    }
    fn membership(&mut self, v: &Membership) {
        let configs = v.get_joint_config();
        self.u16(configs.len() as u16);
        for config in configs {
            self.u16(config.len() as u16);
            config.iter().for_each(|id| self.u64(*id));
        }
        let nodes: Vec<_> = v.nodes().collect();
        self.u16(nodes.len() as u16);
        for (id, member) in nodes {
            self.u64(*id);
            self.member(member);
        }
    }
    fn stored_membership(&mut self, v: &StoredMembership) {
        self.log_id(v.log_id().as_ref().map(crate::types::from_raft));
        self.membership(v.membership());
    }
}

/// Takes values from the front of a slice.
#[derive(Debug)]
pub struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed("length: cut short"))?;
        self.0 = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }
    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }
    /// A byte that is 0 or 1.
    pub fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("flag")),
        }
    }
    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }
    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }
    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }
    /// See [`Put::text`].
    pub fn text(&mut self) -> Result<String> {
        let len = self.u16()? as usize;
        let bytes = self.bytes(len)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| Malformed("text: not UTF-8"))
    }
    /// See [`Put::log_id`].
    pub fn log_id(&mut self) -> Result<Option<LogId>> {
        if !self.flag()? {
            return Ok(None);
        }
        Ok(Some(LogId {
            term: Term(self.u64()?),
            node: NodeId(self.u64()?),
            index: RaftIndex(self.u64()?),
        }))
    }
    /// See [`Put::vote`].
    pub fn vote(&mut self) -> Result<Vote> {
        let (term, node) = (self.u64()?, self.u64()?);
        Ok(if self.flag()? {
            Vote::new_committed(term, node)
        } else {
            Vote::new(term, node)
        })
    }
    /// See [`Put::member`].
    pub fn member(&mut self) -> Result<Member> {
        Ok(Member {
            id: NodeId(self.u64()?),
            slot: self.text()?,
            peer_addr: self.text()?,
            client_addr: self.text()?,
        })
    }
    fn count(&mut self, what: &'static str) -> Result<usize> {
        let n = self.u16()? as usize;
        if n > MEMBERS_MAX { Err(Malformed(what)) } else { Ok(n) }
    }
    /// See [`Put::membership`].
    pub fn membership(&mut self) -> Result<Membership> {
        let mut configs = Vec::new();
        for _ in 0..self.count("membership: configurations")? {
            let mut config = BTreeSet::new();
            for _ in 0..self.count("membership: voters")? {
                config.insert(self.u64()?);
            }
            configs.push(config);
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..self.count("membership: members")? {
            let id = self.u64()?;
            nodes.insert(id, self.member()?);
        }
        if configs.iter().flatten().any(|id| !nodes.contains_key(id)) {
            return Err(Malformed("membership: voter without address"));
        }
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes).map_err(|_| Malformed("membership: no quorum"))
    }
    /// See [`Put::stored_membership`].
    pub fn stored_membership(&mut self) -> Result<StoredMembership> {
        let id = self.log_id()?;
        Ok(StoredMembership::new(id.map(crate::types::to_raft), self.membership()?))
    }
    /// Nothing may be left.
    pub fn end(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("end: bytes left over"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id: NodeId(id),
            slot: format!("n{id}"),
            peer_addr: format!("10.0.0.{id}:20911"),
            client_addr: format!("10.0.0.{id}:10911"),
        }
    }

    fn joint() -> Membership {
        let nodes: BTreeMap<u64, Member> = (1..=4).map(|i| (i, member(i))).collect();
        Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 4])], nodes).unwrap()
    }

    #[test]
    fn a_membership_survives_its_encoding() {
        for membership in [joint(), Membership::default()] {
            let mut bytes = Vec::new();
            bytes.membership(&membership);
            let mut take = Take(&bytes);
            assert_eq!(take.membership(), Ok(membership));
            assert_eq!(take.end(), Ok(()));
        }
    }

    #[test]
    fn every_cut_of_a_membership_is_an_error() {
        let mut bytes = Vec::new();
        bytes.membership(&joint());
        for cut in 0..bytes.len() {
            assert!(Take(&bytes[..cut]).membership().is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_voter_without_an_address_is_refused() {
        let mut bytes = Vec::new();
        bytes.u16(1);
        bytes.u16(1);
        bytes.u64(7);
        bytes.u16(0);
        assert_eq!(
            Take(&bytes).membership(),
            Err(Malformed("membership: voter without address"))
        );
    }

    #[test]
    fn votes_and_log_ids_survive_their_encoding() {
        let id = LogId {
            term: Term(3),
            node: NodeId(u64::MAX),
            index: RaftIndex(9),
        };
        let mut bytes = Vec::new();
        bytes.log_id(Some(id));
        bytes.log_id(None);
        bytes.vote(&Vote::new_committed(4, 5));
        bytes.vote(&Vote::new(4, 6));
        let mut take = Take(&bytes);
        assert_eq!(take.log_id(), Ok(Some(id)));
        assert_eq!(take.log_id(), Ok(None));
        assert_eq!(take.vote(), Ok(Vote::new_committed(4, 5)));
        assert_eq!(take.vote(), Ok(Vote::new(4, 6)));
        assert!(take.vote().is_err());
    }
}
