//! I9: in a term one process leads at a time, and never again once another has led.
//!
//! A vote is a pair of term and node id, and a greater node id may win the same term from a smaller one. What must not be:
//! that leadership returns to a smaller one, or that a process goes on under the vote of the process before it, which may
//! have forgotten what it proposed.

use std::collections::BTreeMap;

use super::Verdict;
use crate::facts::Facts;

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let mut leader = BTreeMap::new();
    for seen in &facts.leading {
        verdict.examine();
        let now = (seen.node, seen.process);
        let before = leader.insert(seen.term, now).unwrap_or(now);
        let taken_over = now.0 > before.0;
        if now != before && !taken_over {
            verdict.broken(|| {
                format!(
                    "term {} was led by process {} of {:x}, then by process {} of {:x}",
                    seen.term, before.1, before.0, now.1, now.0
                )
            });
        }
    }
    verdict
}
