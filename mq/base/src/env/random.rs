//! Random numbers: from the system's generator in production, from the world's seed in the simulator.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::{FixedState, FoldHasher};
use rand::{Rng, RngCore};

/// A map whose order of iteration repeats in the simulator.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, HashState>;
/// A set whose order of iteration repeats in the simulator.
pub type HashSet<T> = hashbrown::HashSet<T, HashState>;

/// The hasher of our maps: fast, seeded at random for each map, and from the world's seed in the simulator.
#[derive(Debug, Clone)]
pub struct HashState(FixedState);

impl Default for HashState {
    fn default() -> HashState {
        HashState(FixedState::with_seed(u64()))
    }
}

impl BuildHasher for HashState {
    type Hasher = FoldHasher<'static>;
    fn build_hasher(&self) -> FoldHasher<'static> {
        self.0.build_hasher()
    }
}

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

/// A number that this process has not given out before. In the simulator each machine counts for itself: what other
/// machines and other runs do must not show in a run.
pub fn serial() -> u64 {
    #[cfg(feature = "sim")]
    if let Some(world) = super::sim::current() {
        return world.next_serial();
    }
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
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
