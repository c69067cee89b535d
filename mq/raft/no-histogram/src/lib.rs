//! Nothing is counted here.
//!
//! openraft keeps statistics of itself in histograms that nothing of ours asks for. The crate it takes them from builds
//! tables for all of its sixteen resolutions when the first value is recorded: 26 MB of every broker that are never read, nine
//! tenths of an idle member. openraft has no feature that leaves them out, so this crate stands in for that one
//! (`[patch.crates-io]` in the workspace): the part of its interface that openraft uses, empty.

#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

/// A histogram that stays empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// Empty.
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// Does nothing.
    #[inline]
    pub fn record(&mut self, _value: u64) {}

    /// Does nothing.
    #[inline]
    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    /// All zero.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// What is told of a histogram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Named as they are.
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}

/// A chart of nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// Empty.
    pub fn new() -> Self {
        Self
    }

    /// Stays empty.
    #[must_use]
    pub fn add<T>(self, _name: &str, _histogram: Histogram<T>) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}
