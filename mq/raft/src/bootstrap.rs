//! How a member comes into its group.
//!
//! An empty folder founds a group only if *all* configured voters can be reached and are empty too, and then only the
//! one with the lowest slot does it: a wiped member can never vote from amnesia. Everybody else without a place asks the
//! leader to be admitted under its new id; the leader lets it catch up as a learner first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mq_base::env::random::HashSet;
use mq_base::env::{clock, task};
use mq_base::stop::Stop;
use mq_store::NodeId;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use parking_lot::Mutex;

use crate::config::{JoinAs, Peer};
use crate::group::{ChangeError, Member, Raft};
use crate::peer::dial::{Local, dial};
use crate::peer::message::{Ask, Hello, Join, Purpose};
use crate::peer::network::Network;
use crate::types::{Membership, TypeConfig};

const LOOK: Duration = Duration::from_millis(100);
const PROBE_WITHIN: Duration = Duration::from_millis(500);
const JOIN_WITHIN: Duration = Duration::from_secs(2);
/// A learner becomes a voter when it is at most this many entries behind; the rest follows with the change itself.
const CAUGHT_UP: u64 = 64;
/// A change of the membership waits for one that is under way, so long.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);
/// A new member must catch up within this time, else it asks again.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(600);

/// The joining side.
pub struct Newcomer {
    /// Own identity.
    pub local: Arc<Local>,
    /// The Raft instance.
    pub raft: Raft,
    /// Channels to the others.
    pub network: Arc<Network>,
    /// Configured voters.
    pub peers: Vec<Peer>,
    /// With a vote?
    pub join_as: JoinAs,
}

impl Newcomer {
    /// Runs until this member has its place in the group, at the addresses it has now.
    pub async fn run(self, stop: Stop) {
        let mut told = false;
        while !self.settled() {
            let step = async {
                let there = self.probe_peers().await;
                if let Some(members) = self.may_found(&there).await {
                    self.found(members).await;
                } else if there.iter().flatten().any(|hello| !hello.empty) || self.join_as == JoinAs::Learner {
                    if !told {
                        tracing::info!("no place in the group yet: asking its leader");
                        told = true;
                    }
                    self.ask_to_join(&there).await;
                }
                clock::sleep(LOOK).await;
            };
            tokio::select! { biased; () = stop.wait() => return, () = step => {} }
        }
        tracing::info!(id = %format_args!("{:x}", self.local.member.id.0), "has its place in the group");
    }

    /// In the membership, with the right role and addresses.
    fn settled(&self) -> bool {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let me = self.local.member.id.0;
        let voter = membership.voter_ids().any(|id| id == me);
        membership.get_node(&me) == Some(&self.local.member) && (voter || self.join_as == JoinAs::Learner)
    }

    /// What answers at the addresses of the other configured voters.
    async fn probe_peers(&self) -> Vec<Option<Hello>> {
        let others = self.peers.iter().filter(|peer| peer.slot != self.local.member.slot);
        let probes = others.map(|peer| async {
            let dialed = dial(&self.local, &peer.peer_addr, Purpose::Probe, NodeId(0), PROBE_WITHIN).await;
            match dialed {
                Ok(dialed) if dialed.peer.member.slot == peer.slot => Some(dialed.peer),
                Ok(dialed) => {
                    tracing::warn!(addr = %peer.peer_addr, found = %dialed.peer.member.slot, "another slot than configured");
                    None
                }
                Err(_) => None,
            }
        });
        futures_util::future::join_all(probes).await
    }

    /// The first members, if this one is to found the group.
    async fn may_found(&self, there: &[Option<Hello>]) -> Option<BTreeMap<u64, Member>> {
        let lowest = self.peers.iter().map(|peer| &peer.slot).min()? == &self.local.member.slot;
        let all_empty = there
            .iter()
            .all(|hello| hello.as_ref().is_some_and(|hello| hello.empty));
        let empty = !self.raft.is_initialized().await.unwrap_or(true);
        if self.join_as != JoinAs::Voter || !lowest || !all_empty || !empty {
            return None;
        }
        let others = there.iter().flatten().map(|hello| hello.member.clone());
        Some(
            others
                .chain([self.local.member.clone()])
                .map(|member| (member.id.0, member))
                .collect(),
        )
    }

    async fn found(&self, members: BTreeMap<u64, Member>) {
        tracing::info!(
            members = members.len(),
            "all configured voters are empty: founding the group"
        );
        if let Err(error) = self.raft.initialize(members).await {
            tracing::warn!(%error, "found the group");
        }
    }

    async fn ask_to_join(&self, there: &[Option<Hello>]) {
        for hello in there.iter().flatten() {
            let peer = self.network.peer(hello.member.id, &hello.member.peer_addr);
            let join = Join {
                member: self.local.member.clone(),
                voter: self.join_as == JoinAs::Voter,
            };
            match peer.control.ask(Ask::Join(join), JOIN_WITHIN).await {
                Ok(_) => return,
                Err(error) => tracing::debug!(to = %hello.member.slot, %error, "not admitted"),
            }
        }
    }
}

/// The admitting side, on the leader.
pub struct Admission {
    raft: Raft,
    under_way: Mutex<HashSet<u64>>,
}

impl Admission {
    /// For this member.
    pub fn new(raft: Raft) -> Arc<Self> {
        Arc::new(Self {
            raft,
            under_way: Default::default(),
        })
    }

    /// Starts to admit a member that asked; it sees the result in its own log. Refuses when this is not the leader.
    pub async fn join(self: Arc<Self>, join: Join) -> Result<(), String> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        if metrics.current_leader != Some(metrics.id) {
            return Err("not the leader".into());
        }
        let id = join.member.id.0;
        if !self.under_way.lock().insert(id) {
            return Ok(());
        }
        task::spawn("admit a member", async move {
            if let Err(error) = self.admit(join.member, join.voter).await {
                tracing::warn!(id = %format_args!("{id:x}"), %error, "admit a member");
            }
            self.under_way.lock().remove(&id);
        });
        Ok(())
    }

    fn membership(&self) -> Membership {
        self.raft
            .server_metrics()
            .borrow_watched()
            .membership_config
            .membership()
            .clone()
    }

    /// Members that lose their vote here leave the group. Waits for a change that is under way.
    async fn change(&self, change: ChangeMembers<u64, Member>) -> Result<(), ChangeError> {
        let deadline = clock::now() + CHANGE_WITHIN;
        loop {
            match self.raft.change_membership(change.clone(), false).await {
                Ok(_) => return Ok(()),
                Err(error) if under_way(&error) && clock::now() < deadline => {
                    clock::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(ChangeError::Refused(error.to_string())),
            }
        }
    }

    /// Adds a learner, waits until it has caught up, gives it its vote in place of older ids of its slot.
    pub async fn admit(&self, member: Member, voter: bool) -> Result<(), ChangeError> {
        let id = member.id.0;
        let membership = self.membership();
        match membership.get_node(&id) {
            Some(known) if *known == member => {}
            Some(_) => {
                self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, member.clone())])))
                    .await?
            }
            None => {
                // An older learner of that slot is gone for good: its folder was emptied.
                let older: BTreeSet<u64> = same_seat(&membership, &member)
                    .difference(&voters(&membership))
                    .copied()
                    .collect();
                if !older.is_empty() {
                    self.change(ChangeMembers::RemoveNodes(older)).await?;
                }
                let added = self.raft.add_learner(id, member.clone(), false).await;
                added.map_err(|e| ChangeError::Refused(e.to_string()))?;
            }
        }
        let membership = self.membership();
        if !voter || voters(&membership).contains(&id) {
            return Ok(());
        }
        self.wait_for(id).await?;
        let mut voters = voters(&self.membership());
        for old in same_seat(&self.membership(), &member) {
            voters.remove(&old);
        }
        voters.insert(id);
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    async fn wait_for(&self, id: u64) -> Result<(), ChangeError> {
        let deadline = clock::now() + CATCH_UP_WITHIN;
        loop {
            let metrics = self.raft.metrics().borrow_watched().clone();
            let Some(replication) = metrics.replication else {
                return Err(ChangeError::Refused(
                    "leadership was lost while the member caught up".into(),
                ));
            };
            let matched = replication.get(&id).and_then(|m| m.as_ref()).map_or(0, |m| m.index + 1);
            let last = metrics.last_log_index.map_or(0, |index| index + 1);
            if matched > 0 && matched + CAUGHT_UP >= last {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(ChangeError::Refused("the member did not catch up in time".into()));
            }
            clock::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes a member.
    pub async fn remove(&self, id: NodeId) -> Result<(), ChangeError> {
        let membership = self.membership();
        let mut left = voters(&membership);
        if left.remove(&id.0) {
            if left.is_empty() {
                return Err(ChangeError::Refused("the last voter cannot leave".into()));
            }
            return self.change(ChangeMembers::ReplaceAllVoters(left)).await;
        }
        if membership.get_node(&id.0).is_none() {
            return Err(ChangeError::Refused("no such member".into()));
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id.0]))).await
    }
}

fn under_way(error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> bool {
    matches!(
        error,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_)
        ))
    )
}

fn voters(membership: &Membership) -> BTreeSet<u64> {
    membership.get_joint_config().last().cloned().unwrap_or_default()
}

/// Ids of the member's slot other than its own.
fn same_seat(membership: &Membership, member: &Member) -> BTreeSet<u64> {
    let nodes = membership
        .nodes()
        .filter(|(id, node)| **id != member.id.0 && node.slot == member.slot);
    nodes.map(|(id, _)| *id).collect()
}
