//! The accepting side of the peer protocol.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use mq_base::env::net::{OwnedWriteHalf, TcpListener, TcpStream};
use mq_base::env::{clock, task};
use mq_base::stop::Stop;
use mq_store::{Buffers, NodeId};
use tokio::sync::{Semaphore, mpsc};

use super::dial::{Dialed, Local, greet};
use super::frame::{self, APPEND_MAX, Frame, Kind, MESSAGE_MAX, Pieces, Reader, SNAPSHOT_MAX};
use super::incoming::Incoming;
use super::message::{self, Ask, Hello, Purpose};
use crate::codec::Put;
use crate::control::Control;
use crate::group::{PeerService, Raft};
use crate::repair::Source;
use crate::types::{Snapshot, TypeConfig};

/// Most peer connections at a time; a group has a handful of members with about six connections each.
const CONNECTIONS_MAX: usize = 512;
/// Most questions of one connection that are being answered at a time.
const ANSWERING_MAX: usize = 1024;

/// What connections are served with.
pub struct Service {
    /// Own identity.
    pub local: Arc<Local>,
    /// Counts leaders' connections.
    pub incoming: Arc<Incoming>,
    /// What other members may fetch, from the first moment on.
    pub source: Arc<Source>,
    /// The rest, once this member takes part.
    pub up: OnceLock<Arc<Up>>,
}

/// A member that takes part.
pub struct Up {
    /// The Raft instance.
    pub raft: Raft,
    /// The broker.
    pub app: Arc<dyn PeerService>,
    /// The group.
    pub control: Arc<Control>,
    /// Memory for entries.
    pub buffers: Arc<Buffers>,
}

/// Accepts until stopped, then closes the listener and all connections.
pub async fn serve(service: Arc<Service>, listener: TcpListener, stop: Stop) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! { biased; () = stop.wait() => return, accepted = listener.accept() => accepted };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept a peer connection");
                clock::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            continue;
        };
        let (service, stop) = (service.clone(), stop.clone());
        task::spawn("peer connection", async move {
            let _permit = permit;
            tokio::select! { biased; () = stop.wait() => {}, _ = connection(service, stream) => {} }
        });
    }
}

async fn connection(service: Arc<Service>, stream: TcpStream) -> io::Result<()> {
    let Some(Dialed {
        mut reader,
        writer,
        peer,
    }) = greet(&service.local, stream).await?
    else {
        return Ok(());
    };
    if peer.purpose != Purpose::Probe {
        service.incoming.heard(peer.member.id, peer.boot);
    }
    match (peer.purpose, service.up.get()) {
        (Purpose::Append, Some(up)) => {
            reader.set_max(APPEND_MAX);
            reader.set_buffers(up.buffers.clone());
            let _open = Open::new(&service, &peer);
            appends(&service.incoming, up, &peer, reader, writer).await
        }
        (Purpose::Snapshot, _) => {
            reader.set_max(SNAPSHOT_MAX);
            questions(service, peer, reader, writer).await
        }
        (Purpose::Control | Purpose::App | Purpose::Repair, _) => {
            reader.set_max(MESSAGE_MAX);
            questions(service, peer, reader, writer).await
        }
        (Purpose::Probe, _) | (Purpose::Append, None) => Ok(()),
    }
}

/// Counts an append connection while it lives.
struct Open<'a> {
    incoming: &'a Incoming,
    node: NodeId,
    boot: u64,
}

impl<'a> Open<'a> {
    fn new(service: &'a Service, peer: &Hello) -> Self {
        let (node, boot) = (peer.member.id, peer.boot);
        service.incoming.opened(node, boot);
        Self {
            incoming: &service.incoming,
            node,
            boot,
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.incoming.closed(self.node, self.boot);
    }
}

fn writer_task(mut writer: OwnedWriteHalf, capacity: usize) -> (mpsc::Sender<Pieces>, task::TaskHandle) {
    let (out, mut outgoing) = mpsc::channel::<Pieces>(capacity);
    let handle = task::spawn("peer answers", async move {
        while let Some(mut pieces) = outgoing.recv().await {
            while let Ok(more) = outgoing.try_recv() {
                pieces.append(more);
            }
            if frame::write(&mut writer, pieces).await.is_err() {
                return;
            }
        }
    });
    (out, handle)
}

struct Running {
    number: u32,
    requests: mpsc::Sender<openraft::raft::AppendEntriesRequest<TypeConfig>>,
    task: task::TaskHandle,
}

/// Appends of one leader. Returns when the connection is closed *and* all its appends have returned from Raft.
async fn appends(from: &Incoming, up: &Up, peer: &Hello, mut reader: Reader, writer: OwnedWriteHalf) -> io::Result<()> {
    let (out, _writer) = writer_task(writer, 64);
    let mut running: Option<Running> = None;
    let mut older: Vec<task::TaskHandle> = Vec::new();
    let result = loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) if frame.kind == Kind::Append => frame,
            Ok(Some(_)) => break Err(io::Error::other("unexpected frame on an append connection")),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        from.beat(peer.member.id);
        let number = (frame.id >> 32) as u32;
        let request = match message::decode_append(frame.body) {
            Ok(request) => request,
            Err(error) => break Err(io::Error::other(error)),
        };
        if let Err(error) = verify(&request) {
            break Err(error);
        }
        let session = match running.take() {
            Some(session) if session.number == number => session,
            before => {
                older.retain(|task| !task.is_finished());
                older.extend(before.map(|session| session.task));
                start_session(up, number, out.clone())
            }
        };
        // A session that ended with a conflict takes nothing more; the leader will open the next one.
        let _ = session.requests.send(request).await;
        running = Some(session);
    };
    older.extend(running.map(|session| session.task));
    for task in older {
        let _ = task.await;
    }
    if let Err(error) = &result {
        tracing::debug!(peer = %peer.member.slot, %error, "append connection ended");
    }
    result
}

/// What a leader sends is checked before it becomes part of the log: TCP's checksum lets one in millions of errors pass.
fn verify(request: &openraft::raft::AppendEntriesRequest<TypeConfig>) -> io::Result<()> {
    for entry in &request.entries {
        if let crate::types::Body::Stored(entry) = &entry.body {
            entry.verify_items().map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn start_session(up: &Up, number: u32, out: mpsc::Sender<Pieces>) -> Running {
    let (requests, incoming) = mpsc::channel(4);
    let input = stream::unfold(incoming, |mut incoming: mpsc::Receiver<_>| async {
        incoming.recv().await.map(|request| (request, incoming))
    });
    let results = up.raft.stream_append(input);
    let task = task::spawn("peer appends", async move {
        let mut results = std::pin::pin!(results);
        let mut id = u64::from(number) << 32;
        while let Some(Ok(result)) = results.next().await {
            let body = message::encode_appended(&result);
            let _ = out.send(frame::encode(Kind::Appended, id, [body])).await;
            id += 1;
        }
    });
    Running { number, requests, task }
}

async fn questions(service: Arc<Service>, peer: Hello, mut reader: Reader, writer: OwnedWriteHalf) -> io::Result<()> {
    let line = (peer.purpose == Purpose::App).then(|| service.incoming.line(peer.member.id, peer.boot, peer.number));
    // Answers to a repair are large.
    let answering_max = if peer.purpose == Purpose::Repair {
        2
    } else {
        ANSWERING_MAX
    };
    let (out, _writer) = writer_task(writer, answering_max);
    let room = Arc::new(Semaphore::new(answering_max));
    while let Some(Frame { kind, id, body }) = reader.next().await? {
        if !matches!(kind, Kind::Ask | Kind::Tell) {
            return Err(io::Error::other("unexpected frame on a question connection"));
        }
        let ask = Ask::decode(body).map_err(io::Error::other)?;
        let Ok(permit) = room.clone().acquire_owned().await else {
            return Ok(());
        };
        // Handlers are called in the order of arrival; their answers may overtake each other.
        let begin = || answer(&service, peer.member.id, ask);
        let begun = match &line {
            Some(line) => line.during(begin),
            None => Some(begin()),
        };
        let Some(answering) = begun else {
            return Err(io::Error::other("the member has opened a later connection"));
        };
        let out = out.clone();
        task::spawn("peer question", async move {
            let _permit = permit;
            let pieces = match answering.await {
                Ok(Some(body)) => frame::encode(Kind::Answer, id, [body]),
                Ok(None) => frame::encode(Kind::Failed, id, [Bytes::from_static(b"no answer")]),
                Err(reason) => frame::encode(Kind::Failed, id, [Bytes::from(reason)]),
            };
            if kind == Kind::Ask {
                let _ = out.send(pieces).await;
            }
        });
    }
    Ok(())
}

type Answering = BoxFuture<'static, Result<Option<Bytes>, String>>;

fn answer(service: &Arc<Service>, from: NodeId, ask: Ask) -> Answering {
    let up = match (service.up.get(), &ask) {
        (Some(up), _) => up.clone(),
        (None, Ask::Fetch(fetch)) => return fetched(service, fetch.clone()),
        (None, _) => return Box::pin(async { Err("this member is opening its log".to_owned()) }),
    };
    match ask {
        Ask::Fetch(fetch) => fetched(service, fetch),
        Ask::App(message) => {
            let handling = up.app.handle(from, message);
            Box::pin(async move { Ok(handling.await) })
        }
        Ask::PreVote(request) => Box::pin(async move { up.control.vote(request, true).await.map(Some) }),
        Ask::Vote(request) => Box::pin(async move { up.control.vote(request, false).await.map(Some) }),
        Ask::Transfer(request) => Box::pin(async move { up.control.transfer(request).await.map(Some) }),
        Ask::Lost(lost) => Box::pin(async move {
            let (agreed, last) = up.control.lost(from, lost).await;
            Ok(Some(message::encode_lost_answer(agreed, last)))
        }),
        Ask::Join(join) => Box::pin(async move { up.control.join(join).await.map(|()| Some(Bytes::new())) }),
        Ask::LastLog => {
            let mut out = Vec::new();
            out.log_id(up.control.last_log());
            Box::pin(async move { Ok(Some(out.into())) })
        }
        Ask::Snapshot(vote, meta, state) => Box::pin(async move {
            let snapshot = Snapshot { meta, snapshot: state };
            let response = up
                .raft
                .install_full_snapshot(vote, snapshot)
                .await
                .map_err(|e| e.to_string())?;
            let mut out = Vec::new();
            out.vote(&response.vote);
            Ok(Some(out.into()))
        }),
    }
}

fn fetched(service: &Service, fetch: message::Fetch) -> Answering {
    let source = service.source.clone();
    Box::pin(async move { source.fetch(fetch).await.map(|found| Some(found.encode())) })
}
