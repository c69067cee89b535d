//! Bugs that we know of and keep, each behind a switch that only a simulated world can set. The simulation proves with
//! them that it would find them: a judge that never saw a violation proves nothing. In a build without the feature `sim`
//! every question is the constant `false`.

/// A bug that this software had, or that its relatives had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// A restarted leader goes on under its old vote, although it may have lost entries that its followers committed.
    LeaderRestore,
    /// A vote is answered before it is durable.
    VoteNotDurable,
    /// A failed sync is tried again, and the second success believed.
    SyncRetried,
    /// What a recycled segment held before is taken for the log's tail.
    StaleTail,
    /// Consumer offsets change on the leader only, followers get them some time later.
    OffsetsLazy,
    /// Forwarded requests are taken from an outdated connection between members, and under another leadership than the one
    /// they were meant for.
    LateFrame,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 6] = [
        Bug::LeaderRestore,
        Bug::VoteNotDurable,
        Bug::SyncRetried,
        Bug::StaleTail,
        Bug::OffsetsLazy,
        Bug::LateFrame,
    ];
}

/// Whether this bug was put back into the current world.
#[inline]
pub fn is_back(bug: Bug) -> bool {
    #[cfg(feature = "sim")]
    {
        super::sim::current().is_some_and(|world| world.has(bug))
    }
    #[cfg(not(feature = "sim"))]
    {
        let _ = bug;
        false
    }
}
