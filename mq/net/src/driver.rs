//! The loop of one connection: write, read, decode, call, and sleep when there is nothing to do.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use mq_base::env::clock::{self, Instant, Timer};
use mq_base::env::net::TcpStream;
use mq_remoting::{Command, Decoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{client, server};

use crate::connection::{CloseReason, Connection};
use crate::counters::Counters;
use crate::outbox::{SLICES_MAX, Writing};
use crate::pending::{InvokeError, Waiter};
use crate::server::Service;

/// Room for one read: starts small, for thousands of quiet connections, and doubles while reads fill it.
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
/// So many requests are delivered before looking whether their answers fill the connection.
const CHUNK: usize = 8;
/// Overdue calls are looked for at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);
/// After our last byte we wait this long for the other side to close first, or unread bytes would turn our close into a
/// reset that destroys the last answers.
const LINGER: Duration = Duration::from_millis(250);

/// A connection that drains is closed once it has been this quiet. By then every thread of an old client that sends and
/// waits is waiting: its client fails those requests when the connection ends, and tries them again. (RocketMQ's clients
/// forget them, until they time out, if another thread makes a new connection in the moment in which the old one ends.)
const QUIET: Duration = Duration::from_millis(50);

/// What a connection runs over: TCP, or TLS over it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Socket for client::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Runs a connection until it ends; answers why. Everything that waits on it has been told when this returns.
pub(crate) async fn drive<S: Socket>(
    mut stream: S,
    connection: &Arc<Connection>,
    service: &Arc<dyn Service>,
) -> CloseReason {
    Counters::add(&connection.counters.opened, 1);
    service.opened(connection);
    let mut driver = Driver::new(connection.clone(), service.clone());
    let reason = poll_fn(|cx| driver.poll(&mut stream, cx)).await;
    connection.close(reason);
    let waiting = {
        let mut shared = connection.shared.lock();
        shared.in_flight.clear();
        shared.in_flight_bytes = 0;
        shared.pending.fail(connection.written.load(Ordering::Relaxed))
    };
    waiting
        .into_iter()
        .for_each(|(waiter, error)| waiter.complete(Err(error)));
    count_close(&connection.counters, reason);
    service.closed(connection, reason);
    if reason != CloseReason::Stopped {
        let _ = stream.tcp().reset_on_close(false); // a broken socket needs no order
    }
    if matches!(reason, CloseReason::Local(_)) {
        let _ = clock::timeout(LINGER, linger(&mut stream)).await;
    }
    reason
}

async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let mut rest = [0; 1024];
    if stream.shutdown().await.is_ok() {
        while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
    }
}

fn count_close(counters: &Counters, reason: CloseReason) {
    Counters::add(&counters.closed, 1);
    match reason {
        CloseReason::Idle => Counters::add(&counters.idle, 1),
        CloseReason::SlowReader => Counters::add(&counters.slow_readers, 1),
        CloseReason::BadFrame => Counters::add(&counters.bad_frames, 1),
        CloseReason::Peer | CloseReason::Handshake | CloseReason::Stopped | CloseReason::Local(_) => {}
    }
}

struct Driver {
    connection: Arc<Connection>,
    service: Arc<dyn Service>,
    decoder: Decoder,
    /// Received bytes that are not yet a whole frame.
    inbound: BytesMut,
    read_bytes: usize,
    /// Decoded and not yet delivered: none, unless reading is paused.
    frames: VecDeque<Command>,
    /// Empty between deliveries; kept for its room.
    delivery: (Vec<Command>, Vec<(Waiter, Command)>),
    writing: Writing,
    needs_flush: bool,
    /// The other side sends no more.
    ended: bool,
    paused: bool,
    timer: Timer,
    last_activity: Instant,
    last_write: Instant,
    last_sweep: Instant,
    expired: Vec<(Waiter, InvokeError)>,
}

/// What is left to do before sleeping.
enum Progress {
    Again,
    Blocked,
    Closed(CloseReason),
}

impl Driver {
    fn new(connection: Arc<Connection>, service: Arc<dyn Service>) -> Driver {
        let now = clock::now();
        Driver {
            decoder: Decoder::new(connection.limits.frame_bytes_max),
            timer: Timer::at(now + connection.limits.idle_timeout),
            connection,
            service,
            inbound: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            frames: VecDeque::new(),
            delivery: Default::default(),
            writing: Writing::default(),
            needs_flush: false,
            ended: false,
            paused: false,
            last_activity: now,
            last_write: now,
            last_sweep: now,
            expired: Vec::new(),
        }
    }

    fn poll<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            let mut again = false;
            match self.write(stream, cx) {
                Progress::Closed(reason) => return Poll::Ready(reason),
                Progress::Again => again = true,
                Progress::Blocked => {}
            }
            match self.read(stream, cx) {
                Progress::Closed(reason) => return Poll::Ready(reason),
                Progress::Again => again = true,
                Progress::Blocked => {}
            }
            if again {
                continue;
            }
            match self.sleep(cx) {
                Progress::Closed(reason) => return Poll::Ready(reason),
                Progress::Again => {}
                Progress::Blocked => return Poll::Pending,
            }
        }
    }

    /// Writes what is ready until the socket takes no more. `Again` is never said: it returns when blocked or done.
    fn write<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Progress {
        loop {
            if self.writing.is_empty() {
                let mut shared = self.connection.shared.lock();
                shared.sleep.awake();
                if let Some(reason) = shared.closed {
                    return Progress::Closed(reason);
                }
                if shared.outbox.is_empty() {
                    break;
                }
                self.writing.take(&mut shared.outbox);
                drop(shared);
                // The stall clock starts with the first byte that waits.
                self.last_write = clock::now();
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.writing.slices(&mut slices);
            match Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count]) {
                Poll::Ready(Ok(n)) if n > 0 => self.wrote(n),
                Poll::Ready(_) => return Progress::Closed(CloseReason::Peer),
                Poll::Pending => return Progress::Blocked,
            }
        }
        if self.needs_flush {
            match Pin::new(stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(_)) => return Progress::Closed(CloseReason::Peer),
                Poll::Pending => {}
            }
        }
        Progress::Blocked
    }

    fn wrote(&mut self, n: usize) {
        self.writing.advance(n);
        self.needs_flush = true;
        self.last_write = clock::now();
        self.last_activity = self.last_write;
        self.connection.written.fetch_add(n as u64, Ordering::Relaxed);
        Counters::add(&self.connection.counters.bytes_out, n as u64);
    }

    /// One read and what follows from it.
    fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Progress {
        match self.must_pause() {
            Err(reason) => return Progress::Closed(reason),
            Ok(true) => return Progress::Blocked,
            Ok(false) => {}
        }
        if !self.frames.is_empty() {
            self.deliver();
            return Progress::Again;
        }
        if self.ended {
            return Progress::Blocked;
        }
        if self.inbound.capacity() - self.inbound.len() < self.read_bytes / 4 {
            self.inbound.reserve(self.read_bytes);
        }
        let room = self.inbound.capacity() - self.inbound.len();
        let polled = pin!(stream.read_buf(&mut self.inbound)).poll(cx);
        match polled {
            Poll::Pending => return Progress::Blocked,
            Poll::Ready(Err(error)) => return Progress::Closed(broken(&error)),
            Poll::Ready(Ok(0)) => {
                self.ended = true;
                return Progress::Again;
            }
            Poll::Ready(Ok(n)) => {
                self.last_activity = clock::now();
                Counters::add(&self.connection.counters.bytes_in, n as u64);
                self.read_bytes = if n == room {
                    (self.read_bytes * 2).min(READ_BYTES_MAX)
                } else {
                    self.read_bytes
                };
            }
        }
        self.dispatch()
    }

    /// Decodes all complete frames and calls the service for each.
    fn dispatch(&mut self) -> Progress {
        let verdict = loop {
            match self.decoder.decode(&mut self.inbound) {
                Ok(Some(command)) => self.frames.push_back(command),
                Ok(None) => break Progress::Again,
                Err(error) => {
                    tracing::debug!(connection = ?self.connection, %error, "bad frame");
                    break Progress::Closed(CloseReason::BadFrame);
                }
            }
        };
        self.deliver();
        verdict
    }

    /// Gives decoded commands to those who wait for them, until the connection is full.
    fn deliver(&mut self) {
        let mut requests = 0;
        let (mut chunk, mut answers) = std::mem::take(&mut self.delivery);
        while !self.frames.is_empty() {
            let connection = &self.connection;
            let mut shared = connection.shared.lock();
            if shared.closed.is_some() || shared.is_full(&connection.limits, &connection.written) {
                break;
            }
            while let Some(command) = self.frames.pop_front() {
                if command.is_response() {
                    // A late answer, or one to nothing, is dropped.
                    answers.extend(shared.pending.take(command.opaque).map(|waiter| (waiter, command)));
                    continue;
                }
                if !command.is_oneway() {
                    if shared.draining {
                        shared.turn_away(&command);
                        continue;
                    }
                    shared.admit(command.opaque, command.frame().map_or(0, |frame| frame.len()));
                }
                chunk.push(command);
                if chunk.len() == CHUNK {
                    break;
                }
            }
            drop(shared);
            answers
                .drain(..)
                .for_each(|(waiter, answer)| waiter.complete(Ok(answer)));
            requests += chunk.len();
            chunk
                .drain(..)
                .for_each(|command| self.service.call(&self.connection, command));
        }
        self.delivery = (chunk, answers);
        if requests > 0 {
            Counters::add(&self.connection.counters.requests, requests as u64);
            self.service.batch_end(&self.connection);
        }
    }

    fn must_pause(&mut self) -> Result<bool, CloseReason> {
        let mut shared = self.connection.shared.lock();
        shared.sleep.awake();
        if let Some(reason) = shared.closed {
            return Err(reason);
        }
        let full = shared.is_full(&self.connection.limits, &self.connection.written);
        drop(shared);
        if full && !self.paused {
            Counters::add(&self.connection.counters.pauses, 1);
        }
        self.paused = full;
        Ok(full)
    }

    /// Looks at the clock and at what was pushed meanwhile; sleeps if there is nothing to do.
    fn sleep(&mut self, cx: &mut Context<'_>) -> Progress {
        if let Err(reason) = self.check_time(cx) {
            return Progress::Closed(reason);
        }
        let connection = self.connection.clone();
        let mut shared = connection.shared.lock();
        if let Some(reason) = shared.closed {
            return Progress::Closed(reason);
        }
        let idle = self.writing.is_empty() && shared.outbox.is_empty() && !self.needs_flush && self.frames.is_empty();
        if self.ended && idle {
            return Progress::Closed(CloseReason::Peer);
        }
        if idle && shared.is_drained() && clock::now() >= self.last_activity + QUIET {
            return Progress::Closed(CloseReason::Stopped);
        }
        if self.writing.is_empty() && !shared.outbox.is_empty() {
            return Progress::Again;
        }
        if self.paused && !shared.is_full(&connection.limits, &connection.written) {
            return Progress::Again;
        }
        // A blocked write is woken by the socket; pushing more must not wake us.
        shared.sleep.for_bytes = self.writing.is_empty();
        shared.sleep.for_room = self.paused;
        match &mut shared.sleep.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        Progress::Blocked
    }

    /// Closes an idle or stalled connection, fails overdue calls, and sets the alarm for the next check.
    fn check_time(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        loop {
            let next = self.next_check();
            if next < self.timer.deadline() {
                self.timer.reset(next);
            }
            if self.timer.poll(cx).is_pending() {
                return Ok(());
            }
            let now = clock::now();
            self.sweep(now);
            let limits = &self.connection.limits;
            if !self.writing.is_empty() && now >= self.last_write + limits.write_stall_timeout {
                return Err(CloseReason::SlowReader);
            }
            if now >= self.last_activity + limits.idle_timeout {
                return Err(CloseReason::Idle);
            }
            if self.inbound.is_empty() && now >= self.last_activity + SHRINK_AFTER {
                self.inbound = BytesMut::new();
                self.read_bytes = READ_BYTES_MIN;
            }
            self.timer.reset(self.next_check().max(now + Duration::from_millis(1)));
        }
    }

    fn next_check(&self) -> Instant {
        let limits = &self.connection.limits;
        let mut next = self.last_activity + limits.idle_timeout;
        if !self.writing.is_empty() {
            next = next.min(self.last_write + limits.write_stall_timeout);
        }
        let shared = self.connection.shared.lock();
        if let Some(earliest) = shared.pending.earliest() {
            next = next.min(earliest.max(self.last_sweep + SWEEP_INTERVAL));
        }
        if shared.is_drained() {
            next = next.min(self.last_activity + QUIET);
        }
        next
    }

    fn sweep(&mut self, now: Instant) {
        self.last_sweep = now;
        let written = self.connection.written.load(Ordering::Relaxed);
        self.connection
            .shared
            .lock()
            .pending
            .expire(now, written, &mut self.expired);
        self.expired
            .drain(..)
            .for_each(|(waiter, error)| waiter.complete(Err(error)));
    }
}

/// A connection this quiet gives its read buffer back.
const SHRINK_AFTER: Duration = Duration::from_secs(20);

fn broken(error: &io::Error) -> CloseReason {
    tracing::debug!(%error, "connection broke");
    CloseReason::Peer
}
