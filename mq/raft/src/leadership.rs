//! Who leads, for the broker and the proposer, from openraft's metrics and what is applied.

use std::time::Duration;

use mq_base::env::clock;
use mq_store::{LogId, NodeId, Term};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::group::{Leadership, Raft, Role};
use crate::types::LeaderId;

/// How soon the end of Raft is noticed. (Its full metrics change with every entry: too often to listen to.)
const LOOK: Duration = Duration::from_millis(250);

/// Publishes until Raft or the process ends; returns why Raft ended.
pub async fn watch(
    raft: Raft,
    mut applied: watch::Receiver<Option<LogId>>,
    leadership: watch::Sender<Leadership>,
    ready: watch::Sender<Option<LeaderId>>,
) -> String {
    let mut server = raft.server_metrics();
    let whole = raft.metrics();
    loop {
        let metrics = server.borrow_watched().clone();
        let vote = metrics.vote;
        let leads = metrics.state == ServerState::Leader && vote.committed;
        let applied_leader = applied.borrow_and_update().map(|id| LeaderId {
            term: id.term.0,
            node_id: id.node.0,
        });
        let is_ready = leads && applied_leader == Some(vote.leader_id);
        let leader = metrics.current_leader.map(NodeId);
        let membership = metrics.membership_config.membership();
        let now = Leadership {
            term: Term(vote.leader_id.term),
            leader,
            leader_member: leader.and_then(|id| membership.get_node(&id.0).cloned()),
            ready: is_ready,
            role: match metrics.state {
                ServerState::Leader => Role::Leader,
                ServerState::Candidate => Role::Candidate,
                ServerState::Learner => Role::Learner,
                ServerState::Follower | ServerState::Shutdown => Role::Follower,
            },
        };
        ready.send_if_modified(|current| replace(current, is_ready.then_some(vote.leader_id)));
        leadership.send_if_modified(|current| replace(current, now));
        if let Err(fatal) = &whole.borrow_watched().running_state {
            ready.send_replace(None);
            return fatal.to_string();
        }
        let waits_for_first_entry = leads && !is_ready;
        tokio::select! {
            biased;
            changed = server.changed() => if changed.is_err() { break },
            changed = applied.changed(), if waits_for_first_entry => if changed.is_err() { break },
            () = clock::sleep(LOOK) => {}
        }
    }
    ready.send_replace(None);
    "raft has ended".to_owned()
}

fn replace<T: PartialEq>(current: &mut T, new: T) -> bool {
    let changed = *current != new;
    *current = new;
    changed
}
