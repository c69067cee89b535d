//! The leader's side of replication: a stream of append frames with a window, answered in order.
//!
//! openraft opens a session per piece of work (a heartbeat is a session of one frame). The connection outlives them: a
//! frame's id carries the session, and answers of a session that nobody listens to any more are skipped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use mq_base::env::clock;
use openraft::anyerror::AnyError;
use openraft::error::{RPCError, Unreachable};
use openraft::raft::AppendEntriesRequest;
use parking_lot::Mutex;

use super::dial::{Dialed, Local, dial};
use super::frame::{self, Frame, Kind};
use super::message::{Appended, Purpose, decode_appended, encode_append};
use crate::types::{Body, TypeConfig};
use mq_store::NodeId;

/// Append frames that may wait for their answers. Two to four give full throughput (more only make frames smaller).
const WINDOW: usize = 4;
/// A connection on which nothing moves for this long while an answer is due is given up. Longer than a slow disk takes
/// for a flush; the heartbeat connection notices a dead peer much earlier.
const STALL: Duration = Duration::from_secs(5);
/// An abandoned session leaves its connection open if the peer has not been silent for longer than this. A disk that stalls
/// costs heartbeats their connection again and again, and nothing else: answers that late count for nothing anyway.
const FRESH: Duration = Duration::from_millis(500);

/// Pause after a failed dial. openraft's own back-off takes place where it feeds our input, which is never read then: a
/// dead peer would be dialed tens of thousands of times a second.
const REDIAL: Duration = Duration::from_millis(20);

/// What openraft gets when a peer cannot be reached.
pub fn unreachable(error: impl std::fmt::Display) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&AnyError::error(error.to_string())))
}

struct Link {
    dialed: Dialed,
    session: u32,
    /// Since when an answer is due and nothing came, over all sessions: a heartbeat's session is over before a dead
    /// connection can be told from a slow one.
    silent_since: Option<clock::Instant>,
}

/// Replication to one peer, or its heartbeats.
pub struct Appender {
    local: Arc<Local>,
    to: NodeId,
    addr: String,
    connect_within: Duration,
    idle: Arc<Mutex<Option<Link>>>,
}

impl Appender {
    /// Connects when first used.
    pub fn new(local: Arc<Local>, to: NodeId, addr: String, connect_within: Duration) -> Self {
        Self {
            local,
            to,
            addr,
            connect_within,
            idle: Default::default(),
        }
    }

    /// Opens a session.
    pub async fn session<S>(&self, input: S) -> Result<Session<S>, RPCError<TypeConfig>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let idle = self.idle.lock().take();
        let mut link = match idle {
            Some(link) => link,
            None => {
                let dialed = dial(&self.local, &self.addr, Purpose::Append, self.to, self.connect_within).await;
                let mut dialed = match dialed {
                    Ok(dialed) => dialed,
                    Err(error) => {
                        clock::sleep(REDIAL).await;
                        return Err(unreachable(error));
                    }
                };
                dialed.reader.set_max(frame::MESSAGE_MAX);
                Link {
                    dialed,
                    session: 0,
                    silent_since: None,
                }
            }
        };
        link.session = link.session.wrapping_add(1);
        Ok(Session {
            input,
            input_done: false,
            link: Some(link),
            home: self.idle.clone(),
            sent: 0,
            answered: 0,
            writing: false,
        })
    }
}

/// One session; see [`Session::next`].
pub struct Session<S> {
    input: S,
    input_done: bool,
    link: Option<Link>,
    home: Arc<Mutex<Option<Link>>>,
    sent: u32,
    answered: u32,
    writing: bool,
}

type Step = Result<Appended, RPCError<TypeConfig>>;

impl<S> Session<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    /// The next answer; `None` when all are there. After an error the session is over.
    pub async fn next(mut self) -> Option<(Step, Self)> {
        let step = self.step().await?;
        if !matches!(step, Ok(Ok(_))) {
            // openraft stops listening; the peer has stopped too. Requests that were sent behind the failed one get no
            // answers in this session.
            self.input_done = true;
            self.answered = self.sent;
            if let Some(link) = &mut self.link {
                link.silent_since = None;
            }
        }
        if step.is_err() {
            self.link = None;
        }
        Some((step, self))
    }

    async fn step(&mut self) -> Option<Step> {
        loop {
            let waiting = self.sent - self.answered;
            if self.input_done && waiting == 0 {
                return None;
            }
            let link = self.link.as_mut()?;
            let stalled = link.silent_since.map_or_else(clock::now, |since| since + STALL);
            let may_send = !self.input_done && (waiting as usize) < WINDOW;
            tokio::select! {
                biased;
                frame = link.dialed.reader.next() => match frame {
                    Ok(Some(frame)) => if let Some(step) = self.answer(frame) {
                        return Some(step);
                    },
                    Ok(None) => return Some(Err(unreachable("connection closed"))),
                    Err(error) => return Some(Err(unreachable(error))),
                },
                request = self.input.next(), if may_send => match request {
                    Some(request) => if let Err(error) = self.send(request).await {
                        return Some(Err(error));
                    },
                    None => self.input_done = true,
                },
                () = clock::sleep_until(stalled), if waiting > 0 => {
                    return Some(Err(unreachable("no answer to an append")));
                }
            }
        }
    }

    fn answer(&mut self, frame: Frame) -> Option<Step> {
        let (session, number) = ((frame.id >> 32) as u32, frame.id as u32);
        let link = self.link.as_mut()?;
        if frame.kind != Kind::Appended {
            return Some(Err(unreachable("unexpected frame on an append connection")));
        }
        let current = session == link.session;
        if current && number != self.answered {
            return Some(Err(unreachable("append answers out of order")));
        }
        self.answered += u32::from(current);
        link.silent_since = (self.sent != self.answered).then(clock::now);
        current.then(|| decode_appended(&frame.body).map_err(unreachable))
    }

    async fn send(&mut self, request: AppendEntriesRequest<TypeConfig>) -> Result<(), RPCError<TypeConfig>> {
        let Some(link) = self.link.as_mut() else {
            return Err(unreachable("connection closed"));
        };
        let mut body = VecDeque::with_capacity(1 + request.entries.len());
        body.push_back(Bytes::from(encode_append(&request)));
        for entry in request.entries {
            match entry.body {
                Body::Stored(entry) => body.push_back(entry.bytes().clone()),
                Body::Made(_) => return Err(unreachable("entry was not read from the log")),
            }
        }
        link.silent_since.get_or_insert_with(clock::now);
        let id = u64::from(link.session) << 32 | u64::from(self.sent);
        self.writing = true;
        let written = clock::timeout(
            STALL,
            frame::write(&mut link.dialed.writer, frame::encode(Kind::Append, id, body)),
        );
        let written = written.await;
        self.writing = false;
        self.sent += 1;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unreachable(error)),
            Err(clock::Elapsed) => Err(unreachable("append not taken in time")),
        }
    }
}

impl<S> Drop for Session<S> {
    /// Gives the connection back unless it is broken, in the middle of a frame, or silent.
    fn drop(&mut self) {
        let Some(link) = self.link.take() else { return };
        let silent = link.silent_since.is_some_and(|since| since.elapsed() > FRESH);
        if !self.writing && !silent {
            *self.home.lock() = Some(link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dial::tests::Deaf;
    use super::super::message::encode_appended;
    use super::*;
    use crate::types::Vote;

    /// A leader without fresh heartbeats may not serve. Answers that were lost do not come again before TCP sends them again,
    /// which may take minutes, and no single heartbeat waits long enough to tell.
    #[tokio::test]
    async fn heartbeats_go_over_a_new_connection_when_the_old_one_does_not_answer() {
        let deaf = Deaf::start(Kind::Appended, encode_appended(&Ok(None))).await;
        let appender = Appender::new(
            deaf.asking.clone(),
            NodeId(1),
            deaf.addr.clone(),
            Duration::from_secs(5),
        );
        let started = clock::now();
        loop {
            let heartbeat = AppendEntriesRequest {
                vote: Vote::new_committed(1, 2),
                prev_log_id: None,
                entries: vec![],
                leader_commit: None,
            };
            let session = appender.session(futures_util::stream::iter([heartbeat])).await.unwrap();
            if let Ok(answer) = clock::timeout(Duration::from_millis(100), session.next()).await {
                assert!(matches!(answer, Some((Ok(Ok(None)), _))));
                break;
            }
            assert!(started.elapsed() < STALL, "the silent connection is still in use");
        }
        deaf.serving.abort();
    }
}
