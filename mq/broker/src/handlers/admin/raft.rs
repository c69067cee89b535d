//! Our own requests 60010 to 60013: state of the Raft group, hand-over, membership.

use super::{answer_json, header, success};
use crate::broker::Broker;
use crate::request::Request;
use mq_raft::{ChangeError, Group, Member, Role};
use mq_remoting::body::{MemberStatus, RaftStatus};
use mq_remoting::code::response;
use mq_remoting::header::{AddMember, RemoveMember, TransferLeader};
use mq_store::NodeId;
use std::sync::Arc;

/// RAFT_STATUS (60010): as the member that is asked sees it.
pub fn status(broker: &Arc<Broker>, request: Request) {
    let Some(group) = broker.group() else {
        return request.fail(response::SERVICE_NOT_AVAILABLE, "the Raft group has not started yet");
    };
    let status = group.status();
    let members = status.members.iter().map(|member| MemberStatus {
        node_id: member.member.id.0,
        slot: member.member.slot.clone(),
        peer_addr: member.member.peer_addr.clone(),
        client_addr: member.member.client_addr.clone(),
        voter: member.voter,
        matched_index: member.matched.map(|id| id.index.0),
    });
    let role = match status.leadership.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
    };
    let answer = RaftStatus {
        broker_name: broker.identity.broker.to_string(),
        node_id: status.id.0,
        role: role.to_owned(),
        term: status.leadership.term.0,
        leader: status.leadership.leader.map(|leader| leader.0),
        ready: status.leadership.ready,
        last_index: status.last.map(|id| id.index.0),
        committed_index: status.committed.map(|id| id.index.0),
        applied_index: status.applied.map(|id| id.index.0),
        min_offset: broker.view.state().retained.get(),
        max_offset: group.log().tail().next_offset.get(),
        flushed_offset: group.log().flushed().next_offset.get(),
        members: members.collect(),
    };
    answer_json(&request, &answer);
}

/// TRANSFER_LEADER (60011): to the member named, or to the voter that is furthest.
pub fn transfer_leader(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<TransferLeader>(&request) else {
        return;
    };
    change(broker, request, move |group| async move {
        let own = group.id();
        let status = group.status();
        let others = status
            .members
            .iter()
            .filter(|member| member.voter && member.member.id != own);
        let furthest = others
            .max_by_key(|member| member.matched.map(|id| id.index))
            .map(|member| member.member.id);
        let to = wanted.to.map(|to| NodeId(to as u64)).or(furthest);
        match to {
            Some(to) if to == own => Ok(()),
            Some(to) => group.transfer_leader(to).await,
            None => Err(ChangeError::Refused("there is no other voter".to_owned())),
        }
    });
}

/// ADD_MEMBER (60012).
pub fn add_member(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<AddMember>(&request) else {
        return;
    };
    change(broker, request, move |group| async move {
        let member = Member {
            id: NodeId(0),
            slot: wanted.slot.to_string(),
            peer_addr: wanted.peer_addr.to_string(),
            client_addr: wanted.client_addr.to_string(),
        };
        group.add_member(member, !wanted.learner).await
    });
}

/// REMOVE_MEMBER (60013).
pub fn remove_member(broker: &Arc<Broker>, request: Request) {
    let Some(wanted) = header::<RemoveMember>(&request) else {
        return;
    };
    change(broker, request, move |group| async move {
        let status = group.status();
        match status.members.iter().find(|member| *member.member.slot == *wanted.slot) {
            Some(member) => group.remove_member(member.member.id).await,
            None => Err(ChangeError::Refused(format!("there is no member {}", wanted.slot))),
        }
    });
}

fn change<F>(broker: &Arc<Broker>, request: Request, work: impl FnOnce(Group<crate::ask::Ask>) -> F + Send + 'static)
where
    F: Future<Output = Result<(), ChangeError>> + Send,
{
    let Some(group) = broker.group().cloned() else {
        return request.fail(response::SERVICE_NOT_AVAILABLE, "the Raft group has not started yet");
    };
    drop(broker.spawner.spawn("change of the group", async move {
        match work(group).await {
            Ok(()) => success(&request),
            Err(error) => request.fail(response::SYSTEM_ERROR, error.to_string()),
        }
    }));
}
