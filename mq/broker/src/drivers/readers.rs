//! Which member serves consumers that are far behind (`suggestWhichBrokerId`): a follower that keeps up, so that their
//! reads do not compete with the leader's writes; the leader where no follower does.

use crate::ask::Ask;
use crate::config::slot_number;
use crate::data_path::DataPath;
use mq_base::env::clock;
use mq_raft::{Group, MemberStatus, Status};
use std::sync::Arc;
use std::time::Duration;

/// How often the choice is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries a follower may be behind.
const LAG_MAX: u64 = 1_024;
/// A follower silent for longer is not suggested, milliseconds.
const SILENCE_MAX_MS: u64 = 2_000;

/// Runs for ever.
pub(super) async fn run(path: Arc<DataPath>, group: Group<Ask>) {
    loop {
        path.reader.set_reader_of_old(choose(&group.status()));
        clock::sleep(LOOK_EVERY).await;
    }
}

/// Broker id of the member to read from: slot + 1 of a follower, 0 for the leader.
fn choose(status: &Status) -> i64 {
    let id = |member: &MemberStatus| slot_number(&member.member.slot).map_or(0, |slot| slot as i64 + 1);
    if !status.leadership.ready {
        // A follower keeps the consumers that came to it.
        return status
            .members
            .iter()
            .find(|member| member.member.id == status.id)
            .map_or(0, id);
    }
    let keeps_up = |member: &&MemberStatus| {
        member.member.id != status.id
            && member.lag.is_some_and(|lag| lag <= LAG_MAX)
            && member.heard_ms_ago.is_none_or(|ms| ms <= SILENCE_MAX_MS)
    };
    status
        .members
        .iter()
        .filter(keeps_up)
        .min_by_key(|member| member.lag)
        .map_or(0, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mq_raft::stored::NodeId;
    use mq_raft::{Leadership, Member};

    fn member(id: u64, lag: Option<u64>, heard_ms_ago: Option<u64>) -> MemberStatus {
        let member = Member {
            id: NodeId(id),
            slot: format!("n{id}"),
            ..Member::default()
        };
        MemberStatus {
            member,
            voter: true,
            matched: None,
            lag,
            heard_ms_ago,
        }
    }

    #[test]
    fn a_follower_that_keeps_up_is_suggested() {
        let status = |members, ready| Status {
            id: NodeId(0),
            leadership: Leadership {
                ready,
                ..Leadership::default()
            },
            members,
            ..Status::default()
        };
        let cases = [
            (
                vec![
                    member(0, Some(0), None),
                    member(1, Some(9), Some(10)),
                    member(2, Some(3), Some(10)),
                ],
                true,
                3,
            ),
            (
                vec![
                    member(0, Some(0), None),
                    member(1, Some(9), Some(10)),
                    member(2, Some(3), Some(9_999)),
                ],
                true,
                2,
            ),
            (
                vec![member(0, Some(0), None), member(1, Some(9_999), Some(10))],
                true,
                0,
            ),
            (vec![member(0, Some(0), None), member(1, None, None)], true, 0),
            (vec![member(0, None, None), member(1, None, None)], false, 1),
        ];
        for (members, ready, expected) in cases {
            assert_eq!(choose(&status(members.clone(), ready)), expected, "{members:?}");
        }
    }
}
