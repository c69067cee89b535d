//! The shared read side: the replicated state as applied on this member, for handlers and drivers.

use crate::recent::Recent;
use crate::state::State;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What is applied on this member. Written by the apply task only; readers hold its lock for a look, never across an
/// await.
pub struct View {
    state: RwLock<State>,
    recent: Mutex<Recent>,
}

impl View {
    /// A view of an empty group.
    pub fn new() -> Self {
        Self {
            state: RwLock::new(State::default()),
            recent: Mutex::default(),
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
