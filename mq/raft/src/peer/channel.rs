//! Questions to one member and their answers, pipelined over one connection that is opened when needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use mq_base::env::random::HashMap;
use mq_base::env::{clock, task};
use mq_store::NodeId;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::dial::{DialError, Dialed, Local, dial};
use super::frame::{self, Kind, Pieces, Reader};
use super::message::{Ask, Purpose};

/// Most questions that may wait for one member on one channel.
const PENDING_MAX: usize = 4096;
/// Most bytes that may wait to be sent to one member on one channel (a snapshot may exceed it alone).
const QUEUED_MAX: usize = 32 << 20;

/// Most messages that may wait for a connection to one member.
const CONNECTING_MAX: usize = 256;
/// Pause after a failed attempt to connect.
const REDIAL: Duration = Duration::from_millis(10);
/// A connection on which answers are due and nothing comes for so long is given up. Packets that were lost for a while come again
/// only after a pause that TCP has doubled each time: long after the network is well.
const SILENT: Duration = Duration::from_secs(5);
/// The same where elections take place, which nobody can wait for.
const SILENT_IN_ELECTIONS: Duration = Duration::from_millis(200);

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Never sent.
    #[error("cannot be reached: {0}")]
    Unreachable(#[from] DialError),
    /// Sent, then the connection was lost.
    #[error("connection lost before the answer")]
    Lost,
    /// Sent, no answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Too much is waiting already; never sent.
    #[error("too many questions wait")]
    Busy,
    /// The other side could not answer.
    #[error("{0}")]
    Failed(String),
}

type Answers = Mutex<HashMap<u64, oneshot::Sender<Result<Bytes, String>>>>;

/// One purpose, one peer.
pub struct Channel {
    local: Arc<Local>,
    purpose: Purpose,
    to: NodeId,
    addr: Mutex<String>,
    connect_within: Duration,
    answer_max: usize,
    link: tokio::sync::Mutex<Dialing>,
    /// Messages that wait for a connection to be made.
    connecting: AtomicUsize,
}

#[derive(Default)]
struct Dialing {
    link: Option<Arc<Link>>,
    failed: Option<clock::Instant>,
}

struct Link {
    out: mpsc::Sender<Pieces>,
    answers: Arc<Answers>,
    queued: Arc<AtomicUsize>,
    /// Since when an answer is due and nothing came.
    silent_since: Arc<Mutex<Option<clock::Instant>>>,
    next_id: AtomicU64,
    tasks: [task::TaskHandle; 1],
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(task::TaskHandle::abort);
    }
}

impl Channel {
    /// A channel that connects on its first question.
    pub fn new(local: Arc<Local>, purpose: Purpose, to: NodeId, addr: String, connect_within: Duration) -> Self {
        let addr = Mutex::new(addr);
        Self {
            local,
            purpose,
            to,
            addr,
            connect_within,
            // A repair carries at least one entry, however long.
            answer_max: if purpose == Purpose::Repair {
                frame::APPEND_MAX
            } else {
                frame::MESSAGE_MAX
            },
            link: Default::default(),
            connecting: AtomicUsize::new(0),
        }
    }

    /// The member moved.
    pub fn set_addr(&self, addr: &str) {
        let mut current = self.addr.lock();
        if *current != addr {
            *current = addr.to_owned();
        }
    }

    /// Sends a question and waits for its answer.
    pub async fn ask(&self, ask: Ask, timeout: Duration) -> Result<Bytes, AskError> {
        let deadline = clock::now() + timeout;
        let link = self.link().await?;
        let id = link.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut answers = link.answers.lock();
            if answers.len() >= PENDING_MAX {
                return Err(AskError::Busy);
            }
            answers.insert(id, answer);
        }
        let forget = Forget {
            answers: &link.answers,
            id,
        };
        link.send(frame::encode(Kind::Ask, id, ask.encode()))?;
        link.silent_since.lock().get_or_insert_with(clock::now);
        let left = deadline.saturating_duration_since(clock::now());
        let result = clock::timeout(left, answered).await;
        drop(forget);
        match result {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(reason))) => Err(AskError::Failed(reason)),
            Ok(Err(_)) => Err(AskError::Lost),
            Err(clock::Elapsed) => {
                self.give_up_if_silent(&link);
                Err(AskError::TimedOut)
            }
        }
    }

    /// After a question got no answer: the next one goes over a new connection if this one seems dead.
    fn give_up_if_silent(&self, link: &Arc<Link>) {
        let patience = match self.purpose {
            Purpose::Control => SILENT_IN_ELECTIONS,
            _ => SILENT,
        };
        let silent = link
            .silent_since
            .lock()
            .is_some_and(|since| since.elapsed() >= patience);
        if silent
            && let Ok(mut dialing) = self.link.try_lock()
            && dialing.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link))
        {
            dialing.link = None;
        }
    }

    /// Sends a message without an answer, over an open connection only.
    pub fn tell(self: &Arc<Self>, ask: Ask) -> Result<(), AskError> {
        let pieces = frame::encode(Kind::Tell, 0, ask.encode());
        if let Ok(dialing) = self.link.try_lock()
            && let Some(link) = dialing.link.as_ref().filter(|link| !link.out.is_closed())
        {
            return link.send(pieces);
        }
        // No connection yet (or it is being made): connect beside the caller, then send.
        if self.connecting.fetch_add(1, Ordering::Relaxed) >= CONNECTING_MAX {
            self.connecting.fetch_sub(1, Ordering::Relaxed);
            return Err(AskError::Busy);
        }
        let channel = self.clone();
        task::spawn("peer tell", async move {
            if let Ok(link) = channel.link().await {
                let _ = link.send(pieces);
            }
            channel.connecting.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(())
    }

    async fn link(&self) -> Result<Arc<Link>, AskError> {
        let mut dialing = self.link.lock().await;
        if let Some(link) = dialing.link.as_ref().filter(|link| !link.out.is_closed()) {
            return Ok(link.clone());
        }
        dialing.link = None;
        // Those that waited behind a failed attempt share its result, else they would fail one after the other.
        if dialing.failed.is_some_and(|at| at.elapsed() < REDIAL) {
            return Err(DialError::Lately.into());
        }
        let addr = self.addr.lock().clone();
        let dialed = dial(&self.local, &addr, self.purpose, self.to, self.connect_within).await;
        dialing.failed = dialed.is_err().then(clock::now);
        let link = Arc::new(Link::start(dialed?, self.answer_max));
        dialing.link = Some(link.clone());
        Ok(link)
    }
}

/// Takes a question out of the table when nobody waits for it any more.
struct Forget<'a> {
    answers: &'a Answers,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.answers.lock().remove(&self.id);
    }
}

impl Link {
    fn start(dialed: Dialed, answer_max: usize) -> Link {
        let Dialed {
            mut reader, mut writer, ..
        } = dialed;
        reader.set_max(answer_max);
        let (out, mut outgoing) = mpsc::channel::<Pieces>(PENDING_MAX);
        let answers = Arc::new(Answers::default());
        let queued = Arc::new(AtomicUsize::new(0));
        let silent_since = Arc::new(Mutex::new(None));
        let (pending, queue, silent) = (answers.clone(), queued.clone(), silent_since.clone());
        let run = task::spawn("peer channel", async move {
            let write = async {
                while let Some(mut pieces) = outgoing.recv().await {
                    while let Ok(more) = outgoing.try_recv() {
                        pieces.append(more);
                    }
                    let bytes = pieces.remaining();
                    let written = frame::write(&mut writer, pieces).await;
                    queue.fetch_sub(bytes, Ordering::Relaxed);
                    if written.is_err() {
                        break;
                    }
                }
            };
            tokio::select! { biased; () = write => {}, () = read_answers(reader, &pending, &silent) => {} }
            drop(outgoing); // From here on the link counts as closed.
            pending.lock().clear();
        });
        Link {
            out,
            answers,
            queued,
            silent_since,
            next_id: AtomicU64::new(1),
            tasks: [run],
        }
    }

    fn send(&self, pieces: Pieces) -> Result<(), AskError> {
        let bytes = pieces.remaining();
        let before = self.queued.fetch_add(bytes, Ordering::Relaxed);
        let sent = if before > 0 && before + bytes > QUEUED_MAX {
            Err(AskError::Busy)
        } else {
            self.out.try_send(pieces).map_err(|e| match e {
                mpsc::error::TrySendError::Full(_) => AskError::Busy,
                mpsc::error::TrySendError::Closed(_) => AskError::Lost,
            })
        };
        if sent.is_err() {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }
}

async fn read_answers(mut reader: Reader, answers: &Answers, silent_since: &Mutex<Option<clock::Instant>>) {
    while let Ok(Some(frame)) = reader.next().await {
        let result = match frame.kind {
            Kind::Answer => Ok(frame.body),
            Kind::Failed => Err(String::from_utf8_lossy(&frame.body).into_owned()),
            _ => return,
        };
        let (waiting, more) = {
            let mut answers = answers.lock();
            (answers.remove(&frame.id), !answers.is_empty())
        };
        *silent_since.lock() = more.then(clock::now);
        if let Some(waiting) = waiting {
            let _ = waiting.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dial::tests::Deaf;
    use super::*;

    /// As after packets to the other member were lost: they do not come again before TCP sends them again, which may take minutes.
    #[tokio::test]
    async fn a_vote_is_asked_over_a_new_connection_when_the_old_one_does_not_answer() {
        let deaf = Deaf::start(Kind::Answer, Bytes::from_static(b"yes")).await;
        let channel = Channel::new(
            deaf.asking.clone(),
            Purpose::Control,
            NodeId(1),
            deaf.addr.clone(),
            Duration::from_secs(5),
        );
        let started = clock::now();
        let answer = loop {
            match channel.ask(Ask::LastLog, Duration::from_millis(100)).await {
                Err(AskError::TimedOut) => assert!(started.elapsed() < SILENT, "the silent connection is still in use"),
                answer => break answer,
            }
        };
        assert_eq!(answer.unwrap(), "yes");
        assert!(started.elapsed() >= SILENT_IN_ELECTIONS, "it was given up at once");
        deaf.serving.abort();
    }
}
