//! The shared read side: the replicated state as applied on this member, for handlers and drivers.

use crate::recent::Recent;
use crate::state::State;
use mq_base::env::clock::{self, Instant};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What is applied on this member. Written by the apply task only; readers hold its lock for a look, never across an
/// await.
pub struct View {
    state: RwLock<State>,
    recent: Mutex<Recent>,
    /// Log time of the last run, Unix milliseconds, and when it was first seen here.
    log_time: Mutex<(i64, Instant)>,
}

impl View {
    /// A view of an empty group.
    pub fn new() -> Self {
        Self {
            state: RwLock::new(State::default()),
            recent: Mutex::default(),
            log_time: Mutex::new((0, clock::now())),
        }
    }

    /// The applied state. Keep the guard for a few microseconds: the apply task waits for it.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The messages stored last.
    pub fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock()
    }

    /// For the apply task only.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }

    /// For the apply task only: a run is over.
    pub(crate) fn ran(&self) {
        let log_time_ms = self.state.read().log_time_ms;
        {
            let mut seen = self.log_time.lock();
            if log_time_ms > seen.0 {
                *seen = (log_time_ms, clock::now());
            }
        }
    }

    /// About what the leader's log clock shows now: it runs with the monotonic clock from one entry to the next. 0 before
    /// the first entry.
    pub fn log_now_ms(&self) -> i64 {
        match *self.log_time.lock() {
            (0, _) => 0,
            (ms, since) => ms + since.elapsed().as_millis() as i64,
        }
    }

    /// A copy of the applied state. Its parts are shared until one side writes, and then copied: not for the hot path.
    pub fn snapshot(&self) -> State {
        self.state.read().clone()
    }
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}
