//! One connection, seen from those who answer and ask. The other side of it is `driver.rs`.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use mq_base::env::clock::{self, Instant};
use mq_base::env::random::{self, HashMap};
use mq_remoting::code::response;
use mq_remoting::{Command, FLAG_ONEWAY, version};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::counters::Counters;
use crate::options::Limits;
use crate::outbox::Outbox;
use crate::pending::{InvokeError, Pending, Waiter};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The other side closed it, or it broke.
    Peer,
    /// Nothing happened on it for too long.
    Idle,
    /// Its reader was too slow.
    SlowReader,
    /// A frame was oversized or undecodable.
    BadFrame,
    /// The TLS handshake failed, or the first byte is not what the TLS mode allows.
    Handshake,
    /// The server stops.
    Stopped,
    /// The user of the connection said so, for this reason.
    Local(&'static str),
}

/// A connection. Answers and requests may be pushed from any thread; the order of pushes is the order on the wire.
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    next_opaque: AtomicI32,
    /// Bytes of the outbound stream that the socket has accepted.
    pub(crate) written: AtomicU64,
    extension: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// A lock, not a channel: an answer is encoded straight into the buffer that will be written. Held for that long.
    pub(crate) shared: Mutex<Shared>,
}

/// What the task of the connection and its users share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) outbox: Outbox,
    /// Bytes ever pushed: the position of the next one in the outbound stream.
    pub(crate) pushed: u64,
    /// Requests received and not yet answered, with their bytes.
    pub(crate) in_flight: HashMap<i32, usize>,
    pub(crate) in_flight_bytes: usize,
    /// Requests of ours.
    pub(crate) pending: Pending,
    pub(crate) sleep: Sleep,
    pub(crate) draining: bool,
    pub(crate) closed: Option<CloseReason>,
}

/// Whether the task of the connection sleeps, and what it wants to be woken for.
#[derive(Default)]
pub(crate) struct Sleep {
    pub(crate) waker: Option<Waker>,
    /// There is nothing to write: wake for bytes.
    pub(crate) for_bytes: bool,
    /// Reading is paused: wake when it may go on.
    pub(crate) for_room: bool,
}

impl Sleep {
    /// The task runs: it will see by itself what is pushed.
    pub(crate) fn awake(&mut self) {
        self.for_bytes = false;
        self.for_room = false;
    }
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr, limits: Limits, counters: Arc<Counters>) -> Arc<Connection> {
        Arc::new(Connection {
            id: random::serial(),
            peer,
            local,
            limits,
            counters,
            next_opaque: AtomicI32::new(0),
            written: AtomicU64::new(0),
            extension: OnceLock::new(),
            shared: Mutex::new(Shared::default()),
        })
    }

    /// Number of this connection, unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The other side's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Attaches something to the connection, once. False if there is something already.
    pub fn set_extension(&self, extension: Arc<dyn Any + Send + Sync>) -> bool {
        self.extension.set(extension).is_ok()
    }

    /// What is attached, if it is a `T`.
    pub fn extension<T: 'static>(&self) -> Option<&T> {
        self.extension.get()?.downcast_ref()
    }

    /// Whether the connection has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed.is_some()
    }

    /// Bytes pushed and not yet accepted by the socket.
    pub fn backlog(&self) -> usize {
        let pushed = self.shared.lock().pushed;
        pushed.saturating_sub(self.written.load(Ordering::Relaxed)) as usize
    }

    /// Answers a request. `answer.opaque` says which. Does nothing on a closed connection.
    pub fn respond(&self, answer: Command) {
        self.push_answer(answer).wake(&self.counters);
    }

    /// Answers a request with a body of several slices; `head.body` is not sent.
    pub fn respond_parts(&self, head: &Command, parts: Vec<Bytes>) {
        self.push_answer_parts(head, parts).wake(&self.counters);
    }

    /// Says that a request will never be answered, so that it no longer counts as in flight.
    pub fn forget(&self, request: &Command) {
        if request.is_oneway() {
            // Never counted, and its opaque may be that of a request that is.
            return;
        }
        let mut shared = self.shared.lock();
        shared.settle(request.opaque);
        shared.wake_for_room(&self.limits, &self.written).wake(&self.counters);
    }

    /// Sends a request down this connection and waits for the answer. Its opaque is chosen here.
    pub async fn request(&self, command: Command, timeout: Duration) -> Result<Command, InvokeError> {
        let (sender, receiver) = oneshot::channel();
        self.send(command, Waiter::Task(sender), clock::now() + timeout);
        receiver.await.unwrap_or(Err(InvokeError::Lost))
    }

    /// Sends a request down this connection; `callback` gets the answer on the connection's task and must not block.
    pub fn request_async(
        &self,
        command: Command,
        timeout: Duration,
        callback: impl FnOnce(Result<Command, InvokeError>) + Send + 'static,
    ) {
        self.send(command, Waiter::Callback(Box::new(callback)), clock::now() + timeout);
    }

    /// Sends a request that wants no answer.
    pub fn oneway(&self, command: Command) {
        self.send(command.oneway(), Waiter::Nobody, clock::now());
    }

    /// Ends the connection. What is not yet written is lost; calls that wait fail.
    pub fn close(&self, reason: CloseReason) {
        let mut shared = self.shared.lock();
        if shared.closed.is_none() {
            shared.closed = Some(reason);
        }
        let wake = shared.wake();
        drop(shared);
        wake.wake(&self.counters);
    }

    /// Whether this end is about to close it, see [`Server`](crate::Server).
    pub fn is_draining(&self) -> bool {
        self.shared.lock().draining
    }

    /// Serves no more requests, and closes when those in flight are answered and the other side is quiet.
    pub(crate) fn drain(&self) {
        let mut shared = self.shared.lock();
        shared.draining = true;
        let wake = shared.wake();
        drop(shared);
        wake.wake(&self.counters);
    }

    /// Sends a request of ours, whoever waits for the answer.
    pub(crate) fn send(&self, mut command: Command, waiter: Waiter, deadline: Instant) {
        let mut shared = self.shared.lock();
        let refused = if shared.closed.is_some() {
            Some(InvokeError::NotSent)
        } else if shared.pending.len() >= self.limits.pending_max {
            Some(InvokeError::Full)
        } else {
            None
        };
        if let Some(error) = refused {
            drop(shared);
            return waiter.complete(Err(error));
        }
        command.opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        // Opaques wrap after 2^32 requests; one that long in the table would be mistaken for the new one.
        while shared.pending.contains(command.opaque) {
            command.opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        }
        let mut nobody = None;
        if command.flag & FLAG_ONEWAY == 0 {
            let start = shared.pushed;
            shared.pending.insert(command.opaque, waiter, deadline, start);
        } else {
            nobody = Some(waiter);
        }
        shared.push(command);
        let wake = self.after_push(&mut shared);
        drop(shared);
        wake.wake(&self.counters);
        if let Some(waiter) = nobody {
            waiter.complete(Ok(Command::default()));
        }
    }

    fn push_answer(&self, answer: Command) -> Wake {
        let mut shared = self.shared.lock();
        shared.settle(answer.opaque);
        if shared.closed.is_none() {
            shared.push(answer);
        }
        self.after_push(&mut shared)
    }

    fn push_answer_parts(&self, head: &Command, parts: Vec<Bytes>) -> Wake {
        let mut shared = self.shared.lock();
        shared.settle(head.opaque);
        if shared.closed.is_none() {
            let before = shared.outbox.len();
            shared.outbox.push_parts(head, parts);
            shared.pushed += (shared.outbox.len() - before) as u64;
        }
        self.after_push(&mut shared)
    }

    /// Closes a connection whose reader is too slow; otherwise says whom to wake.
    fn after_push(&self, shared: &mut Shared) -> Wake {
        let backlog = shared.pushed.saturating_sub(self.written.load(Ordering::Relaxed));
        if backlog > self.limits.outbound_bytes_max as u64 && shared.closed.is_none() {
            shared.closed = Some(CloseReason::SlowReader);
            return shared.wake();
        }
        if shared.sleep.for_bytes && !shared.outbox.is_empty() {
            return shared.wake();
        }
        shared.wake_for_room(&self.limits, &self.written)
    }
}

impl Shared {
    fn push(&mut self, command: Command) {
        let before = self.outbox.len();
        self.outbox.push(command);
        self.pushed += (self.outbox.len() - before) as u64;
    }

    fn settle(&mut self, opaque: i32) {
        if let Some(bytes) = self.in_flight.remove(&opaque) {
            self.in_flight_bytes -= bytes;
        }
    }

    /// A request was received.
    pub(crate) fn admit(&mut self, opaque: i32, bytes: usize) {
        self.in_flight_bytes += bytes;
        if let Some(same) = self.in_flight.insert(opaque, bytes) {
            self.in_flight_bytes -= same;
        }
    }

    /// A request came too late. Newer clients understand that they are to go: they make a new connection and ask again,
    /// without an error. Others would take any answer for the answer: theirs ends with the connection.
    pub(crate) fn turn_away(&mut self, request: &Command) {
        if request.version > version::V5_3_1 {
            self.push(Command::error(request, response::GO_AWAY, "please go away"));
        }
    }

    /// Whether all that was to be answered before a stop is answered.
    pub(crate) fn is_drained(&self) -> bool {
        self.draining && self.in_flight.is_empty()
    }

    /// Whether reading must pause: too much is unanswered or unwritten.
    pub(crate) fn is_full(&self, limits: &Limits, written: &AtomicU64) -> bool {
        self.in_flight.len() >= limits.in_flight_requests_max
            || self.in_flight_bytes >= limits.in_flight_bytes_max
            || self.pushed.saturating_sub(written.load(Ordering::Relaxed)) >= limits.outbound_bytes_pause as u64
    }

    fn wake_for_room(&mut self, limits: &Limits, written: &AtomicU64) -> Wake {
        if self.sleep.for_room && !self.is_full(limits, written) {
            self.wake()
        } else {
            Wake(None)
        }
    }

    fn wake(&mut self) -> Wake {
        self.sleep.awake();
        Wake(self.sleep.waker.take())
    }
}

/// A waker to call once the lock is released.
#[must_use]
struct Wake(Option<Waker>);

impl Wake {
    fn wake(self, counters: &Counters) {
        if let Some(waker) = self.0 {
            Counters::add(&counters.wakes, 1);
            waker.wake();
        }
    }
}

/// Answers many requests, on any connections, and wakes each connection once, when it is dropped. For the code that
/// answers a whole applied batch. Keep it short: answers wait for the drop.
#[derive(Default)]
pub struct Cork {
    wakes: Vec<(Waker, Arc<Counters>)>,
}

impl fmt::Debug for Cork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cork({} to wake)", self.wakes.len())
    }
}

impl Cork {
    /// Nothing to wake yet.
    pub fn new() -> Cork {
        Cork::default()
    }

    /// As [`Connection::respond`].
    pub fn respond(&mut self, connection: &Connection, answer: Command) {
        let wake = connection.push_answer(answer);
        self.keep(connection, wake);
    }

    /// As [`Connection::respond_parts`].
    pub fn respond_parts(&mut self, connection: &Connection, head: &Command, parts: Vec<Bytes>) {
        let wake = connection.push_answer_parts(head, parts);
        self.keep(connection, wake);
    }

    fn keep(&mut self, connection: &Connection, wake: Wake) {
        self.wakes
            .extend(wake.0.map(|waker| (waker, connection.counters.clone())));
    }
}

impl Drop for Cork {
    fn drop(&mut self) {
        for (waker, counters) in self.wakes.drain(..) {
            Wake(Some(waker)).wake(&counters);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} {})", self.id, self.peer)
    }
}
