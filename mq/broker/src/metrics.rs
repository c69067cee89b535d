//! Counters and gauges for Prometheus. Their text is served on `metricsPort`.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// So far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Codes below this have a counter of their own; others share one.
const CODES: usize = 1_024;

/// Requests by code.
#[derive(Debug)]
pub struct ByCode {
    direct: Box<[AtomicU64]>,
    others: Mutex<BTreeMap<i32, u64>>,
}

impl Default for ByCode {
    fn default() -> Self {
        Self {
            direct: (0..CODES).map(|_| AtomicU64::new(0)).collect(),
            others: Mutex::default(),
        }
    }
}

impl ByCode {
    /// One more request of a code in the table.
    pub fn count(&self, code: i32) {
        match usize::try_from(code).ok().and_then(|code| self.direct.get(code)) {
            Some(counter) => drop(counter.fetch_add(1, Relaxed)),
            None => *self.others.lock().entry(code).or_default() += 1,
        }
    }

    /// All that were ever counted.
    pub fn all(&self) -> Vec<(i32, u64)> {
        let direct = self
            .direct
            .iter()
            .enumerate()
            .map(|(code, count)| (code as i32, count.load(Relaxed)));
        let mut all: Vec<(i32, u64)> = direct.filter(|(_, count)| *count > 0).collect();
        all.extend(self.others.lock().iter().map(|(code, count)| (*code, *count)));
        all
    }
}

/// What happened since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests served, by code.
    pub requests: ByCode,
    /// Requests of codes nobody knows.
    pub unknown_codes: Counter,
    /// Heartbeats refused because of illegal names or sizes.
    pub bad_heartbeats: Counter,
    /// Registrations with a name server that failed.
    pub register_failures: Counter,
}
