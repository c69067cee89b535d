//! Random numbers: from the system's generator in production, from the world's seed in the simulator.

use std::hash::BuildHasher;

use foldhash::fast::{FixedState, FoldHasher};
use rand::{Rng, RngCore};

/// The hasher of our maps: fast, seeded at random for each map, and from the world's seed in the simulator, where the
/// order of iteration must repeat. `hashbrown::HashMap<K, V, HashState>`.
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
