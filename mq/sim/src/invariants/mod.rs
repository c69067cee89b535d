//! One property a file. Each says how many facts it examined; none examined is red, because it then proved nothing.

mod i01_acknowledged_is_there;
mod i02_offsets_are_dense;
mod i03_logs_are_equal;
mod i04_everything_is_consumed;
mod i05_order_in_a_queue;
mod i06_consumer_offsets_never_fall;
mod i07_transactions_are_decided_once;
mod i08_delayed_is_never_early;
mod i09_one_leader_a_term;
mod i10_the_group_heals;
mod i11_nothing_leaks;
mod i12_derived_state_is_derived;

use crate::facts::Facts;

/// What a judge found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How many facts were compared.
    pub examined: usize,
    /// What broke, in words; at most ten are kept.
    pub violations: Vec<String>,
}

/// How many violations of one property are worth printing.
const SHOWN: usize = 10;

impl Verdict {
    fn examine(&mut self) {
        self.examined += 1;
    }

    fn broken(&mut self, what: impl FnOnce() -> String) {
        if self.violations.len() < SHOWN {
            self.violations.push(what());
        }
    }

    /// True when something was examined and nothing broke.
    pub fn holds(&self) -> bool {
        self.examined > 0 && self.violations.is_empty()
    }
}

/// A property: its number, its sentence, its judge.
pub struct Invariant {
    /// `I1` … `I12`.
    pub id: &'static str,
    /// The property in words.
    pub says: &'static str,
    /// The judge.
    pub judge: fn(&Facts) -> Verdict,
}

/// All of them, in order.
pub const ALL: [Invariant; 12] = [
    Invariant {
        id: "I1",
        says: "every acknowledged message is exactly where its answer said",
        judge: i01_acknowledged_is_there::judge,
    },
    Invariant {
        id: "I2",
        says: "queue offsets are dense and never name two messages",
        judge: i02_offsets_are_dense::judge,
    },
    Invariant {
        id: "I3",
        says: "logs are equal up to the smallest commit",
        judge: i03_logs_are_equal::judge,
    },
    Invariant {
        id: "I4",
        says: "readers are given everything that was acknowledged",
        judge: i04_everything_is_consumed::judge,
    },
    Invariant {
        id: "I5",
        says: "a producer's messages stay in order within a queue",
        judge: i05_order_in_a_queue::judge,
    },
    Invariant {
        id: "I6",
        says: "a committed consumer offset never falls",
        judge: i06_consumer_offsets_never_fall::judge,
    },
    Invariant {
        id: "I7",
        says: "a transaction is invisible until decided, and decided once",
        judge: i07_transactions_are_decided_once::judge,
    },
    Invariant {
        id: "I8",
        says: "a delayed message is never early, lost or doubled",
        judge: i08_delayed_is_never_early::judge,
    },
    Invariant {
        id: "I9",
        says: "one process leads a term at a time",
        judge: i09_one_leader_a_term::judge,
    },
    Invariant {
        id: "I10",
        says: "after healing there is one leader and writes are accepted",
        judge: i10_the_group_heals::judge,
    },
    Invariant {
        id: "I11",
        says: "nothing leaks",
        judge: i11_nothing_leaks::judge,
    },
    Invariant {
        id: "I12",
        says: "derived state rebuilt from the log equals the live one",
        judge: i12_derived_state_is_derived::judge,
    },
];
