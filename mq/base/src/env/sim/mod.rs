//! The simulated world (feature `sim`).
//!
//! A [`World`] is what one simulated machine sees: a wall clock that can jump, randomness from a seed, a disk that can
//! crash. [`enter`] sets the world of a thread (all of a turmoil simulation runs on one thread); [`within`] sets the
//! world of one host's tasks, and tasks started with [`task::spawn`](super::task::spawn) inherit it. The network is
//! turmoil's and knows its host by itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

mod contents;
mod disk;
mod hooked;
#[cfg(test)]
mod tests;

pub use disk::{CrashReport, Fault, SimDisk};
pub use hooked::{Hooks, hooked};

use super::bug::Bug;
use super::disk::Disk;

/// Where the simulated wall clock starts: 2026-01-01T00:00:00Z, in Unix milliseconds.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

thread_local! {
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// What one simulated machine sees of the outside.
#[derive(Debug)]
pub struct World {
    name: String,
    rng: Mutex<SmallRng>,
    disk: Arc<SimDisk>,
    clock_offset_ms: AtomicI64,
    serials: AtomicU64,
    started: tokio::time::Instant,
    panics: Mutex<Vec<&'static str>>,
    reach: Mutex<BTreeMap<String, Reach>>,
    bugs: Mutex<BTreeSet<Bug>>,
}

/// What becomes of a connection attempt to a host that cannot be reached. (turmoil itself refuses a connection whose
/// packets are lost, and lets one to a dead host wait: the opposite of what TCP does.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The machine runs, the program does not: refused at once.
    Refused,
    /// Packets are lost: no answer at all.
    Silent,
}

impl World {
    /// A machine with an empty disk. Equal seeds give equal randomness.
    pub fn new(name: &str, seed: u64) -> Arc<World> {
        World::with_disk(name, seed, SimDisk::new(seed))
    }

    /// A machine with this disk: what a restarted machine has.
    pub fn with_disk(name: &str, seed: u64, disk: Arc<SimDisk>) -> Arc<World> {
        Arc::new(World {
            name: name.to_owned(),
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            disk,
            clock_offset_ms: AtomicI64::new(0),
            serials: AtomicU64::new(1),
            started: tokio::time::Instant::now(),
            panics: Mutex::new(Vec::new()),
            reach: Mutex::default(),
            bugs: Mutex::default(),
        })
    }

    /// Says what connecting to `host` (an address without port) does from now on; `None` is the ordinary way.
    pub fn set_reach(&self, host: &str, reach: Option<Reach>) {
        match reach {
            Some(reach) => self.reach.lock().insert(host.to_owned(), reach),
            None => self.reach.lock().remove(host),
        };
    }

    pub(super) fn reach(&self, addr: &str) -> Option<Reach> {
        let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
        self.reach.lock().get(host).copied()
    }

    /// Puts a known bug back, see [`super::bug`].
    pub fn bring_back(&self, bug: Bug) {
        self.bugs.lock().insert(bug);
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bugs.lock().contains(&bug)
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the wall clock jump by `ms`, forwards or backwards; the monotonic clock does not notice.
    pub fn jump_clock(&self, ms: i64) {
        self.clock_offset_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// The machine's disk.
    pub fn sim_disk(&self) -> &Arc<SimDisk> {
        &self.disk
    }

    /// Names of tasks that panicked here. A test asserts that there are none.
    pub fn panics(&self) -> Vec<&'static str> {
        self.panics.lock().clone()
    }

    pub(super) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    pub(super) fn note_panic(&self, task: &'static str) {
        self.panics.lock().push(task);
    }

    pub(super) fn with_rng<T>(&self, f: impl FnOnce(&mut dyn RngCore) -> T) -> T {
        f(&mut *self.rng.lock())
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    fn wall_ms(&self) -> i64 {
        let elapsed = match turmoil::in_simulation().then(turmoil::sim_elapsed).flatten() {
            Some(elapsed) => elapsed,
            None => self.started.elapsed(),
        };
        EPOCH_MS + elapsed.as_millis() as i64 + self.clock_offset_ms.load(Ordering::Relaxed)
    }
}

/// Restores the thread's former world when dropped.
#[derive(Debug)]
pub struct Entered(Option<Arc<World>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| *current.borrow_mut() = self.0.take());
    }
}

/// Makes `world` the world of this thread until the answer is dropped.
#[must_use]
pub fn enter(world: Arc<World>) -> Entered {
    Entered(CURRENT.with(|current| current.borrow_mut().replace(world)))
}

/// The world of the running task.
pub fn current() -> Option<Arc<World>> {
    CURRENT.with(|current| current.borrow().clone())
}

pub(super) fn active() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

pub(super) fn wall_ms() -> Option<i64> {
    CURRENT.with(|current| current.borrow().as_ref().map(|world| world.wall_ms()))
}

/// Runs `future` inside `world`, whatever the thread's own world is.
pub fn within<F: Future>(world: Arc<World>, future: F) -> Within<F> {
    Within {
        world,
        future: Some(Box::pin(future)),
    }
}

/// A future that runs inside a world.
#[derive(Debug)]
pub struct Within<F> {
    world: Arc<World>,
    /// `None` once it is being dropped.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = enter(self.world.clone());
        match &mut self.future {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Within<F> {
    /// What the future holds is dropped in its world: an answer that is given then may start a task.
    fn drop(&mut self) {
        let _entered = enter(self.world.clone());
        self.future = None;
    }
}
