//! I6: what a group committed and was acknowledged never falls, whoever leads.
//!
//! One thing may take it back: a commit whose answer its client did not wait for, when that arrives late. It does so once.
//! What only advances (a one-way commit, a repeat by a follower) may arrive behind it and be applied from there.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::facts::{Facts, OffsetDeed};

/// A queue's offset as one consumer knows it.
#[derive(Default)]
struct Known {
    /// It is not below this.
    floor: u64,
    /// Commits that may still take it back.
    open: BTreeSet<u64>,
    /// Commits that may still be applied, but only advance.
    advancing: BTreeSet<u64>,
}

impl Known {
    /// Whether a query may have been answered so.
    fn read(&mut self, offset: u64) -> bool {
        let late = self.open.remove(&offset);
        if late {
            self.advancing.insert(offset); // It is applied; only a repeat of it can be on its way now.
        }
        let behind_late = self.advancing.contains(&offset) && self.open.range(..offset).next().is_some();
        let explained = offset >= self.floor || late || behind_late;
        if explained {
            self.floor = self.floor.min(offset);
        }
        explained
    }
}

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    // A queue has one consumer at a time; what one that crashed had under way may arrive in the time of the next.
    let mut queues: BTreeMap<_, Known> = BTreeMap::new();
    for steps in &facts.offsets {
        for step in steps {
            let known = queues.entry((&step.group, &step.queue)).or_default();
            match step.deed {
                OffsetDeed::Open => _ = known.open.insert(step.offset),
                OffsetDeed::OneWay => _ = known.advancing.insert(step.offset),
                OffsetDeed::Committed => {
                    verdict.examine();
                    known.open.remove(&step.offset);
                    known.floor = step.offset.max(known.floor);
                }
                OffsetDeed::Read => {
                    verdict.examine();
                    let floor = known.floor;
                    if !known.read(step.offset) {
                        verdict.broken(|| {
                            format!(
                                "{} on {:?} was committed at {floor} and later read as {}",
                                step.group, step.queue, step.offset
                            )
                        });
                    }
                }
            }
        }
    }
    verdict
}
