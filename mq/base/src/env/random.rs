//! Random numbers: from the system's generator in production, from the world's seed in the simulator.

use rand::{Rng, RngCore};

/// A random 64-bit number.
pub fn u64() -> u64 {
    with(|rng| rng.next_u64())
}

/// A random number in `0..bound`; 0 if `bound` is 0.
pub fn below(bound: u64) -> u64 {
    if bound == 0 {
        0
    } else {
        with(|rng| rng.random_range(0..bound))
    }
}

/// Fills `bytes` with random bytes.
pub fn fill(bytes: &mut [u8]) {
    with(|rng| rng.fill_bytes(bytes));
}

fn with<T>(f: impl FnOnce(&mut dyn RngCore) -> T) -> T {
    #[cfg(feature = "sim")]
    if let Some(world) = super::sim::current() {
        return world.with_rng(f);
    }
    f(&mut rand::rng())
}
