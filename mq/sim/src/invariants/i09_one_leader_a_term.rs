//! I9: at most one member leads in a term.

use std::collections::BTreeMap;

use super::Verdict;
use crate::facts::Facts;

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let mut leader = BTreeMap::new();
    for seen in &facts.leading {
        verdict.examine();
        let first = *leader.entry(seen.term).or_insert(seen.node);
        if first != seen.node {
            verdict.broken(|| format!("term {} was led by {first} and by {}", seen.term, seen.node));
        }
    }
    verdict
}
