//! The shared read side: the replicated state as applied on this member, for handlers and drivers.

use crate::state::State;
use parking_lot::{RwLock, RwLockReadGuard};

/// What is applied on this member. Written by the apply task only; readers hold its lock for a look, never across an
/// await.
pub struct View {
    state: RwLock<State>,
}

impl View {
    /// A view of an empty group.
    pub fn new() -> Self {
        Self {
            state: RwLock::new(State::default()),
        }
    }

    /// The applied state. Keep the guard for a few microseconds: the apply task waits for it.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// A copy of the applied state; cheap, its parts are shared until one side writes.
    pub fn snapshot(&self) -> State {
        self.state.read().clone()
    }
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}
