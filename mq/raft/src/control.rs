//! What a member answers on control connections: votes, transfers, election notices, joining.

use std::sync::Arc;

use bytes::Bytes;
use mq_store::{Log, LogId, NodeId};
use openraft::raft::{TransferLeaderRequest, VoteRequest};
use tokio::sync::{mpsc, oneshot};

use crate::bootstrap::Admission;
use crate::caution::Caution;
use crate::election_driver::Told;
use crate::group::{Planned, Raft};
use crate::peer::message::{self, Join, Lost};
use crate::types::{TypeConfig, from_raft};

/// See the module.
pub struct Control {
    /// The Raft instance.
    pub raft: Raft,
    /// Own log.
    pub log: Log,
    /// Whether the own vote can be trusted.
    pub caution: Arc<Caution>,
    /// Transfers that were asked for.
    pub planned: Arc<Planned>,
    /// Admits members, on the leader.
    pub admission: Arc<Admission>,
    /// To the election driver.
    pub told: mpsc::Sender<Told>,
}

impl Control {
    /// A candidate asks.
    pub async fn vote(&self, mut request: VoteRequest<TypeConfig>, pre: bool) -> Result<Bytes, String> {
        if !self.caution.may_vote_for(request.last_log_id.as_ref().map(from_raft)) {
            return Err("this member may lack entries that it acknowledged, and does not vote yet".into());
        }
        // The lease is dropped by the own proof of a leader's death (see `election`), never by a candidate's word, unless
        // the leader itself has asked for the transfer.
        request.leadership_transfer &= self.planned.is(request.vote.leader_id.node_id);
        let response = if pre {
            self.raft.pre_vote(request).await
        } else {
            self.raft.vote(request).await
        };
        response
            .map(|r| message::encode_vote_response(&r))
            .map_err(|e| e.to_string())
    }

    /// The leader hands over.
    pub async fn transfer(&self, request: TransferLeaderRequest<TypeConfig>) -> Result<Bytes, String> {
        self.planned.note(*request.to_node_id());
        let response = self
            .raft
            .handle_transfer_leader(request)
            .await
            .map_err(|e| e.to_string())?;
        Ok(message::encode_transfer_response(&response))
    }

    /// Another member has proof that this leader is dead: do we, too?
    pub async fn lost(&self, from: NodeId, lost: Lost) -> (bool, Option<LogId>) {
        let (answer, answered) = oneshot::channel();
        if self.told.send((from, lost, answer)).await.is_err() {
            return (false, None);
        }
        answered.await.unwrap_or((false, None))
    }

    /// A member asks for a place.
    pub async fn join(&self, join: Join) -> Result<(), String> {
        self.admission.clone().join(join).await
    }

    /// The end of the own log.
    pub fn last_log(&self) -> Option<LogId> {
        self.log.tail().last
    }
}
