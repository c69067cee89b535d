//! The outside world: clocks, randomness, sockets, files, tasks, threads.
//!
//! Everything here dispatches at run time. Without the feature `sim` the question "am I simulated?" is a constant and
//! costs nothing; with it, it is one thread-local read.
#![allow(clippy::disallowed_methods)] // This is the one place that may name the real things.

pub mod bug;
pub mod clock;
pub mod disk;
pub mod net;
pub mod random;
#[cfg(feature = "sim")]
pub mod sim;
pub mod task;
pub mod thread;

/// Whether the current thread runs inside a simulated world.
#[inline]
pub fn is_simulated() -> bool {
    #[cfg(feature = "sim")]
    {
        sim::active()
    }
    #[cfg(not(feature = "sim"))]
    {
        false
    }
}
