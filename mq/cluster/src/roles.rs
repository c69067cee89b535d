//! Who leads: asked from the members themselves, because a name server keeps naming a dead leader until there is a new one.

use crate::ask;
use crate::layout::{Layout, Member};
use anyhow::Result;
use mq_remoting::body::{ClusterInfo, RaftStatus, from_slice};
use mq_remoting::code::request;
use std::time::Duration;

/// How long a member may take to answer; a stopped one never does.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// What every member says about its group, in the order of the layout; `None` for one that does not answer.
pub fn ask_all(layout: &Layout) -> Vec<Option<RaftStatus>> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = layout
            .members
            .iter()
            .map(|member| scope.spawn(|| ask_one(&member.addr()).ok()))
            .collect();
        asked.into_iter().map(|answer| answer.join().ok().flatten()).collect()
    })
}

fn ask_one(addr: &str) -> Result<RaftStatus> {
    Ok(from_slice(&ask::body(addr, request::RAFT_STATUS, ANSWER_WITHIN)?)?)
}

/// The member that leads a group, with its term, as far as the members agree on one.
///
/// A member that says that it leads in the highest term anybody has seen; else the one the others follow in that term
/// (it may be stopped and unable to answer).
pub fn leader<'a>(layout: &'a Layout, said: &[Option<RaftStatus>], group: &str) -> Option<(&'a Member, u64)> {
    let pairs = || {
        layout
            .members
            .iter()
            .zip(said)
            .filter(|(member, _)| member.group == group)
    };
    let term = pairs()
        .filter_map(|(_, said)| said.as_ref())
        .map(|said| said.term)
        .max()?;
    let newest = || {
        pairs()
            .filter_map(|(member, said)| Some((member, said.as_ref()?)))
            .filter(|(_, said)| said.term == term)
    };
    if let Some((member, _)) = newest().find(|(_, said)| said.role == "leader") {
        return Some((member, term));
    }
    let followed = newest().find_map(|(_, said)| {
        let leader = said.leader?;
        said.members
            .iter()
            .find(|member| member.node_id == leader)
            .map(|member| member.slot.clone())
    })?;
    pairs()
        .find(|(member, _)| member.slot == followed)
        .map(|(member, _)| (member, term))
}

/// Why the cluster is not ready yet; `None` when every group has a leader that is ready and that every name server
/// lists as id 0.
pub fn not_ready(layout: &Layout) -> Option<String> {
    let said = ask_all(layout);
    for group in layout.groups() {
        let ready = layout
            .members
            .iter()
            .zip(&said)
            .find(|(member, said)| member.group == group && said.as_ref().is_some_and(|said| said.ready));
        let Some((leader, _)) = ready else {
            return Some(format!("{group} has no leader yet"));
        };
        for server in &layout.namesrvs {
            let info = ask::body(&server.addr(), request::GET_BROKER_CLUSTER_INFO, ANSWER_WITHIN)
                .and_then(|body| Ok(from_slice::<ClusterInfo>(&body)?));
            let info = match info {
                Ok(info) => info,
                Err(error) => return Some(format!("{} does not answer: {error:#}", server.name)),
            };
            let first = info
                .broker_addr_table
                .get(group)
                .and_then(|data| data.broker_addrs.get(&0));
            if first != Some(&leader.addr()) {
                return Some(format!(
                    "{} does not list {} as the leader of {group} yet",
                    server.name, leader.name
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Options;
    use mq_remoting::body::MemberStatus;

    fn says(role: &str, term: u64, leader: Option<u64>) -> Option<RaftStatus> {
        let members = (0..3).map(|n| MemberStatus {
            node_id: 100 + n,
            slot: format!("n{n}"),
            ..Default::default()
        });
        Some(RaftStatus {
            role: role.to_owned(),
            term,
            leader,
            members: members.collect(),
            ..Default::default()
        })
    }

    #[test]
    fn the_newest_term_decides_and_a_silent_leader_is_known_from_its_followers() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::found(&Options::new(dir.path())).unwrap();
        let who = |said: [Option<RaftStatus>; 3]| {
            leader(&layout, &said, "broker-a").map(|(member, term)| (member.slot.clone(), term))
        };
        let n = |slot: &str, term| Some((slot.to_owned(), term));
        // An old leader that does not know yet that it was replaced.
        assert_eq!(
            who([
                says("leader", 3, Some(100)),
                says("follower", 4, Some(102)),
                says("leader", 4, Some(102))
            ]),
            n("n2", 4)
        );
        assert_eq!(
            who([None, says("follower", 4, Some(100)), says("follower", 4, Some(100))]),
            n("n0", 4)
        );
        assert_eq!(
            who([None, says("candidate", 5, None), says("follower", 4, Some(100))]),
            None
        );
        assert_eq!(who([None, None, None]), None);
    }
}
