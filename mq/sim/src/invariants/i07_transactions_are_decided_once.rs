//! I7: a committed transaction is seen once, a rolled back one never, an undecided one not before its decision.

use super::Verdict;
use crate::facts::{Facts, Outcome, Purpose};

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let places = facts.places();
    for send in &facts.sends {
        let Purpose::Transaction { commit } = send.purpose else {
            continue;
        };
        let copies = places.get(&send.id).map_or(0, Vec::len);
        verdict.examine();
        let allowed = match (commit, &send.outcome) {
            (Some(true), Outcome::Acked { .. }) => 1..=1,
            (Some(true), _) => 0..=1,
            (Some(false), _) | (None, _) => 0..=0,
        };
        if !allowed.contains(&copies) {
            verdict.broken(|| {
                format!(
                    "transaction {} ({commit:?}, {:?}) is visible {copies} times",
                    send.id, send.outcome
                )
            });
        }
    }
    verdict
}
