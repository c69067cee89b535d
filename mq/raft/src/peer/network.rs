//! What openraft gets as network: clients per peer, made from the pieces beside.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use mq_base::env::random::HashMap;
use mq_store::NodeId;
use openraft::error::{RPCError, ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::Mutex;

use super::append::{Appender, unreachable};
use super::channel::{AskError, Channel};
use super::dial::Local;
use super::message::{self, Ask, Purpose};
use crate::codec::{Malformed, Take};
use crate::group::Member;
use crate::types::{Snapshot, TypeConfig, Vote};

/// A snapshot is small, but installing it may have to wait for a disk.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(120);

/// The channels to one member.
pub struct Peer {
    /// Votes, notices, joining.
    pub control: Arc<Channel>,
    /// Messages of the broker.
    pub app: Arc<Channel>,
    snapshot: Arc<Channel>,
}

/// All members this one talks to.
pub struct Network {
    local: Arc<Local>,
    connect_within: Duration,
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
}

impl Network {
    /// `connect_within` is shorter than a heartbeat.
    pub fn new(local: Arc<Local>, connect_within: Duration) -> Arc<Self> {
        Arc::new(Self {
            local,
            connect_within,
            peers: Default::default(),
        })
    }

    /// The channels to `id` at `addr`.
    pub fn peer(&self, id: NodeId, addr: &str) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        let peer = peers.entry(id).or_insert_with(|| {
            let channel = |purpose| {
                Arc::new(Channel::new(
                    self.local.clone(),
                    purpose,
                    id,
                    addr.to_owned(),
                    self.connect_within,
                ))
            };
            Arc::new(Peer {
                control: channel(Purpose::Control),
                app: channel(Purpose::App),
                snapshot: channel(Purpose::Snapshot),
            })
        });
        [&peer.control, &peer.app, &peer.snapshot]
            .into_iter()
            .for_each(|c| c.set_addr(addr));
        peer.clone()
    }
}

/// See [`Network`].
#[derive(Clone)]
pub struct Factory(pub Arc<Network>);

/// openraft's client of one peer.
pub struct Client {
    appender: Appender,
    peer: Arc<Peer>,
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: u64, member: &Member) -> Client {
        let id = NodeId(target);
        let network = &self.0;
        Client {
            appender: Appender::new(
                network.local.clone(),
                id,
                member.peer_addr.clone(),
                network.connect_within,
            ),
            peer: network.peer(id, &member.peer_addr),
        }
    }
}

fn rpc(error: AskError) -> RPCError<TypeConfig> {
    unreachable(error)
}

fn garbled(error: Malformed) -> RPCError<TypeConfig> {
    unreachable(error)
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let session = self.appender.session(Box::pin(stream::once(async { request }))).await?;
        match session.next().await {
            Some((result, _)) => result.map(AppendEntriesResponse::from),
            None => Err(unreachable("no answer")),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let session = self.appender.session(input).await?;
            Ok(stream::unfold(session, |session| session.next()).boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self
            .peer
            .control
            .ask(Ask::Vote(request), option.hard_ttl())
            .await
            .map_err(rpc)?;
        message::decode_vote_response(&answer).map_err(garbled)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self
            .peer
            .control
            .ask(Ask::PreVote(request), option.hard_ttl())
            .await
            .map_err(rpc)?;
        message::decode_vote_response(&answer).map_err(garbled)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let ask = Ask::Snapshot(vote, snapshot.meta, snapshot.snapshot);
        let failed = |e: AskError| {
            let any = openraft::anyerror::AnyError::error(e.to_string());
            StreamingError::Unreachable(openraft::error::Unreachable::new(&any))
        };
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.peer.snapshot.ask(ask, SNAPSHOT_WITHIN) => {
                let answer = answer.map_err(failed)?;
                let vote = Take(&answer).vote().map_err(|e| failed(AskError::Failed(e.to_string())))?;
                Ok(SnapshotResponse::new(vote))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self
            .peer
            .control
            .ask(Ask::Transfer(request), option.hard_ttl())
            .await
            .map_err(rpc)?;
        message::decode_transfer_response(&answer).map_err(garbled)
    }
}
