//! The proposer: the one task that turns requests into entries while this member is the ready leader.
//!
//! Idle, a request goes out at once. With entries under way, requests gather into larger entries. What openraft
//! refuses, or the log voids, ends the session: everything in flight comes home, then the judge begins anew on the
//! applied state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mq_base::env::clock;
use mq_base::stop::Stop;
use openraft::error::ClientWriteError;
use openraft::raft::ClientWriteResult;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::application::{Decide, Session};
use crate::batch::{Batch, Waiting};
use crate::group::{Full, Raft};
use crate::log_adapter::LogStore;
use crate::log_clock::LogClock;
use crate::types::{Callback, LeaderId, Proposal, TypeConfig, Written};
use mq_store::{LogId, Term};

/// A batch is sent when it has this many bytes ...
const BATCH_BYTES: usize = 64 << 10;
/// ... and takes no further request that might push it beyond this.
const BATCH_BYTES_MAX: usize = 128 << 10;
/// Entries that may be under way.
const ENTRIES_MAX: usize = 64;
/// Bytes that may be under way.
const BYTES_MAX: usize = 16 << 20;
/// A batch is not held back longer than this; without a majority nothing would ever let it go.
const GATHER_WITHIN: Duration = Duration::from_millis(100);
/// With the limits of what may be under way reached for so long, waiting requests are refused.
const STALLED: Duration = Duration::from_secs(1);
/// How long requests wait for a broken session to come home.
const PATIENCE: Duration = Duration::from_millis(200);
/// Pause after a refusal: openraft refuses until its quorum lease is renewed, some heartbeats later.
const RETRY: Duration = Duration::from_millis(5);
/// With this many entries under way a batch waits until it is full.
const GATHER_FROM: usize = 2;

/// Requests that wait for the proposer, bounded in bytes.
pub struct Queue<R> {
    state: Mutex<Waiters<R>>,
    bytes_max: usize,
    arrived: Notify,
    room: Notify,
    closed: AtomicBool,
    /// The term that the proposer decides in, while it does.
    term: RwLock<Option<Term>>,
}

enum Next<R> {
    None,
    TooBig,
    /// A request; if it begins an entry, about how many bytes that will have with what waits behind it.
    Request(R, usize),
}

struct Waiters<R> {
    requests: VecDeque<(R, usize)>,
    bytes: usize,
}

impl<R> Waiters<R> {
    /// Bytes of the requests that the next entry will hold.
    fn next_entry(&self) -> usize {
        let mut sum = 0;
        for (_, bytes) in &self.requests {
            sum += bytes;
            if sum >= BATCH_BYTES {
                break;
            }
        }
        sum
    }
}

impl<R> Queue<R> {
    /// Takes up to `bytes_max` bytes (one request may be larger).
    pub fn new(bytes_max: usize) -> Self {
        let state = Mutex::new(Waiters {
            requests: VecDeque::new(),
            bytes: 0,
        });
        Self {
            state,
            bytes_max,
            arrived: Notify::new(),
            room: Notify::new(),
            closed: AtomicBool::new(false),
            term: RwLock::new(None),
        }
    }

    /// Runs `f` if the proposer decides in `term`, and keeps that leadership from ending meanwhile: what `f` itself pushes is
    /// decided in `term` or refused. (What a task that it starts pushes later is not.)
    pub fn during<T>(&self, term: Term, f: impl FnOnce() -> T) -> Option<T> {
        let current = self.term.read();
        (*current == Some(term)).then(f)
    }

    fn set_term(&self, term: Option<Term>) {
        *self.term.write() = term;
    }

    /// Adds a request, or gives it back when there is no room.
    pub fn push(&self, request: R, bytes: usize) -> Result<(), Full<R>> {
        {
            let mut state = self.state.lock();
            let full = state.bytes > 0 && state.bytes + bytes > self.bytes_max;
            if full || self.closed.load(Ordering::Acquire) {
                return Err(Full(request));
            }
            state.bytes += bytes;
            state.requests.push_back((request, bytes));
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Adds a request as soon as there is room; gives it back when the group has stopped.
    pub async fn push_wait(&self, mut request: R, bytes: usize) -> Result<(), Full<R>> {
        loop {
            let room = self.room.notified();
            request = match self.push(request, bytes) {
                Ok(()) => return Ok(()),
                Err(Full(request)) if self.closed.load(Ordering::Acquire) => return Err(Full(request)),
                Err(Full(request)) => request,
            };
            room.await;
        }
    }

    /// The next request if it has at most `room` bytes; `None` begins an entry.
    fn pop(&self, room: Option<usize>) -> Next<R> {
        let (next, was_tight) = {
            let mut state = self.state.lock();
            let was_tight = state.bytes * 2 > self.bytes_max;
            let entry = if room.is_none() { state.next_entry() } else { 0 };
            match state.requests.pop_front() {
                None => return Next::None,
                Some((request, bytes)) if room.is_some_and(|room| bytes > room) => {
                    state.requests.push_front((request, bytes));
                    return Next::TooBig;
                }
                Some((request, bytes)) => {
                    state.bytes -= bytes;
                    (Next::Request(request, entry), was_tight)
                }
            }
        };
        if was_tight {
            self.room.notify_waiters();
        }
        next
    }

    fn close(&self) {
        // Under the lock, so that no request slips in behind the last refusal.
        let _state = self.state.lock();
        self.closed.store(true, Ordering::Release);
        self.room.notify_waiters();
    }
}

/// What is under way.
struct Flight {
    state: Mutex<Air>,
    landed: Notify,
}

struct Air {
    entries: usize,
    bytes: usize,
    /// Something was refused or voided: the session is over.
    broken: bool,
    /// Number of the newest takeoff; older flights of a lost leadership are not counted any more.
    generation: u64,
}

impl Flight {
    fn take_off(&self, bytes: usize) -> u64 {
        let mut air = self.state.lock();
        air.entries += 1;
        air.bytes += bytes;
        air.generation
    }

    fn land(&self, generation: u64, bytes: usize, broken: bool) {
        {
            let mut air = self.state.lock();
            if air.generation != generation {
                return;
            }
            air.entries -= 1;
            air.bytes -= bytes;
            air.broken |= broken;
        }
        self.landed.notify_one();
    }

    /// Forgets what is still under way.
    fn ground(&self) {
        let mut air = self.state.lock();
        air.entries = 0;
        air.bytes = 0;
        air.broken = false;
        air.generation += 1;
    }
}

/// Answers of the entries under way, to be told `Unknown` when leadership is lost.
type Boarded<A> = Arc<Mutex<Option<Waiting<A>>>>;

/// The task; see the module.
pub struct Proposer<D: Decide> {
    decide: D,
    raft: Raft,
    log: LogStore,
    queue: Arc<Queue<D::Request>>,
    /// The own committed leadership, once its first entry is applied.
    ready: watch::Receiver<Option<LeaderId>>,
    applied: watch::Receiver<Option<LogId>>,
    stop: Stop,
    clock: LogClock,
    flight: Arc<Flight>,
    boarded: VecDeque<Boarded<D::Answer>>,
    session: u64,
    sequence: u64,
}

/// Why a session ended.
enum End {
    Leadership,
    Broken,
    Stopped,
}

impl<D: Decide> Proposer<D> {
    /// Ready to be [`run`](Self::run).
    pub fn new(
        decide: D,
        raft: Raft,
        log: LogStore,
        queue: Arc<Queue<D::Request>>,
        ready: watch::Receiver<Option<LeaderId>>,
        applied: watch::Receiver<Option<LogId>>,
        stop: Stop,
    ) -> Self {
        let air = Air {
            entries: 0,
            bytes: 0,
            broken: false,
            generation: 0,
        };
        Self {
            decide,
            raft,
            log,
            queue,
            ready,
            applied,
            stop,
            clock: LogClock::default(),
            flight: Arc::new(Flight {
                state: Mutex::new(air),
                landed: Notify::new(),
            }),
            boarded: VecDeque::new(),
            session: 0,
            sequence: 0,
        }
    }

    /// Runs until stopped.
    pub async fn run(mut self) {
        loop {
            let ready = *self.ready.borrow_and_update();
            let Some(ready) = ready else {
                self.refuse_waiting();
                let queue = self.queue.clone();
                tokio::select! {
                    biased;
                    changed = self.ready.changed() => if changed.is_err() { break },
                    () = queue.arrived.notified() => {}
                    () = self.stop.wait() => break,
                }
                continue;
            };
            match self.lead(ready).await {
                End::Leadership | End::Broken => {}
                End::Stopped => break,
            }
        }
        self.queue.close();
        self.refuse_waiting();
    }

    fn refuse_waiting(&mut self) {
        while let Next::Request(request, _) = self.queue.pop(None) {
            self.decide.refuse(request);
        }
    }

    /// Sessions of one leadership.
    async fn lead(&mut self, leader: LeaderId) -> End {
        self.clock.start(self.log.log_time_ms());
        let term = Term(leader.term);
        self.queue.set_term(Some(term));
        let end = loop {
            let applied = self.applied.borrow().unwrap_or_default();
            self.session += 1;
            self.sequence = 0;
            self.decide.begin(Session {
                term,
                now_ms: self.clock.now(),
                applied,
            });
            tracing::debug!(session = self.session, %term, "proposer session begins");
            match self.propose(leader).await {
                End::Broken => match self.come_home(leader).await {
                    None => clock::sleep(RETRY).await,
                    Some(end) => break end,
                },
                end => break end,
            }
        };
        // What came under this leadership is not carried into the next: meanwhile a copy of it may have been served by
        // another leader.
        self.queue.set_term(None);
        self.refuse_waiting();
        self.decide.end();
        self.flight.ground();
        for answers in self.boarded.drain(..) {
            drop(answers.lock().take()); // Unknown.
        }
        end
    }

    /// Still the same leadership?
    fn leads(&self, leader: LeaderId) -> bool {
        *self.ready.borrow() == Some(leader)
    }

    /// Waits until nothing of a broken session is under way. Without a majority that may take for ever: after a while
    /// new requests are refused, because they are certainly not in the log and may have better luck elsewhere.
    async fn come_home(&mut self, leader: LeaderId) -> Option<End> {
        let patience = clock::now() + PATIENCE;
        loop {
            if !self.leads(leader) {
                return Some(End::Leadership);
            }
            if self.flight.state.lock().entries == 0 {
                self.flight.ground();
                self.boarded.clear();
                return None;
            }
            let impatient = clock::now() >= patience;
            if impatient {
                self.refuse_waiting();
            }
            let (flight, queue) = (self.flight.clone(), self.queue.clone());
            tokio::select! {
                biased;
                () = flight.landed.notified() => {}
                () = queue.arrived.notified(), if impatient => {}
                () = clock::sleep_until(patience), if !impatient => {}
                changed = self.ready.changed() => if changed.is_err() { return Some(End::Stopped) },
                () = self.stop.wait() => return Some(End::Stopped),
            }
        }
    }

    /// One session: decides and sends until it ends.
    async fn propose(&mut self, leader: LeaderId) -> End {
        let mut batch: Option<Batch<D::Answer>> = None;
        let mut gathering: Option<clock::Instant> = None;
        let end = loop {
            if !self.leads(leader) {
                break End::Leadership;
            }
            let full = self.fill(&mut batch);
            let (entries, bytes, broken) = {
                let air = self.flight.state.lock();
                (air.entries, air.bytes, air.broken)
            };
            if broken {
                break End::Broken;
            }
            let len = batch.as_ref().map_or(0, Batch::len);
            let room = entries < ENTRIES_MAX && (bytes + len <= BYTES_MAX || entries == 0);
            let held = gathering.map_or(Duration::ZERO, |since| since.elapsed());
            let allowed = entries < GATHER_FROM || (full || held >= GATHER_WITHIN) && room;
            if !room && held >= STALLED {
                break End::Broken; // Nothing comes home: there is no majority.
            }
            if let Some(sending) = batch.take_if(|_| allowed) {
                gathering = None;
                if let Err(end) = self.send(sending, leader).await {
                    break end;
                }
                continue;
            }
            let waits = batch.is_some();
            let since = *gathering.get_or_insert_with(clock::now);
            if !waits {
                gathering = None;
            }
            let (flight, queue) = (self.flight.clone(), self.queue.clone());
            tokio::select! {
                biased;
                () = flight.landed.notified() => {}
                () = queue.arrived.notified(), if !full => {}
                () = clock::sleep_until(since + if room { GATHER_WITHIN } else { STALLED }), if waits => {}
                changed = self.ready.changed() => if changed.is_err() { break End::Stopped },
                () = self.stop.wait() => break End::Stopped,
            }
        };
        // Decided, but never sent: certainly not in the log.
        if let Some(batch) = batch {
            batch.split().1.refused();
        }
        end
    }

    /// Decides waiting requests into the batch; true when it is full.
    fn fill(&mut self, batch: &mut Option<Batch<D::Answer>>) -> bool {
        loop {
            let room = match batch {
                Some(batch) if batch.len() >= BATCH_BYTES || batch.is_crowded() => return true,
                Some(batch) => Some(BATCH_BYTES_MAX - batch.len()),
                None => None,
            };
            let (request, entry) = match self.queue.pop(room) {
                Next::Request(request, entry) => (request, entry),
                Next::TooBig => return true,
                Next::None => return false,
            };
            // As large as it will be, item headers included: growing would copy it, and leave room that the window holds.
            let open = batch.get_or_insert_with(|| {
                let buffer = self.log.buffers().take(entry + entry / 32 + 256);
                Batch::new(buffer, self.clock.now())
            });
            self.decide.decide(request, open);
            batch.take_if(|batch| batch.is_empty());
        }
    }

    async fn send(&mut self, batch: Batch<D::Answer>, leader: LeaderId) -> Result<(), End> {
        let log_time_ms = batch.log_time_ms();
        let bytes = batch.len();
        let (builder, waiting) = batch.split();
        let boarded: Boarded<D::Answer> = Arc::new(Mutex::new(Some(waiting)));
        self.boarded.push_back(boarded.clone());
        while self.boarded.front().is_some_and(|b| b.lock().is_none()) {
            self.boarded.pop_front();
        }
        let generation = self.flight.take_off(bytes);
        let flight = self.flight.clone();
        let responder = Callback::new(move |result: ClientWriteResult<TypeConfig>| {
            let waiting = boarded.lock().take();
            let ok = complete(waiting, result);
            flight.land(generation, bytes, !ok);
        });
        let proposal = Proposal {
            builder,
            term: leader.term,
            session: self.session,
            sequence: self.sequence,
            log_time_ms,
        };
        self.sequence += 1;
        match self.raft.write(proposal).with_leader(leader).responder(responder).await {
            Ok(()) => Ok(()),
            Err(fatal) => {
                tracing::error!(%fatal, "raft has stopped");
                Err(End::Stopped)
            }
        }
    }
}

/// Tells the answers what became of their entry; false if the session must end.
fn complete<A: crate::application::Answer>(waiting: Option<Waiting<A>>, result: ClientWriteResult<TypeConfig>) -> bool {
    let waiting = waiting.into_iter();
    match result {
        Ok(response) => match response.data {
            Written::Applied(entry) => {
                waiting.for_each(|w| w.applied(&entry));
                true
            }
            Written::Void => {
                waiting.for_each(Waiting::refused);
                false
            }
        },
        // Appended here and cut off again; another member may hold it and win yet.
        Err(ClientWriteError::LogEntryDiscarded(_)) => false,
        // Refused before it was appended.
        Err(_) => {
            waiting.for_each(Waiting::refused);
            false
        }
    }
}
