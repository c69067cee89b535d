//! Bugs that are put back on purpose, and what must find them.

use mq_base::env::bug::Bug;

/// A bug, its name on the command line, and what is expected of the simulation.
pub struct Known {
    /// The switch.
    pub bug: Bug,
    /// Name for `mq-sim bug`.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub says: &'static str,
    /// Seeds that find it, the quickest first.
    pub seeds: &'static [u64],
}

impl Known {
    /// The recorded seeds, then others, `tries` in all.
    pub fn seeds_to_try(&self, tries: usize) -> impl Iterator<Item = u64> {
        self.seeds.iter().copied().chain(1..).take(tries)
    }
}

/// All of them.
pub const ALL: [Known; 6] = [
    Known {
        bug: Bug::LeaderRestore,
        name: "leader-restore",
        says: "a restarted leader goes on under its old vote, although its followers committed entries that it lost",
        seeds: &[3],
    },
    Known {
        bug: Bug::VoteNotDurable,
        name: "vote-not-durable",
        says: "a vote is answered before it is durable, so that a member votes twice in a term across a power cut",
        seeds: &[2],
    },
    Known {
        bug: Bug::SyncRetried,
        name: "sync-retried",
        says: "a failed sync is tried again, and the second success believed",
        seeds: &[1],
    },
    Known {
        bug: Bug::StaleTail,
        name: "stale-tail",
        says: "what a recycled segment held before is taken for the tail of the log",
        seeds: &[11, 14, 20],
    },
    Known {
        bug: Bug::OffsetsLazy,
        name: "offsets-lazy",
        says: "consumer offsets change on the leader only, and followers get them later",
        seeds: &[1],
    },
    Known {
        bug: Bug::LateFrame,
        name: "late-frame",
        says: "a late copy of a forwarded request is served, although its repeat was",
        seeds: &[12],
    },
];
