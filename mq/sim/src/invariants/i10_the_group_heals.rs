//! I10: once every fault is healed the members agree on a leader, have caught up, and a write is accepted within the budget.

use super::Verdict;
use crate::facts::Facts;

/// Simulated time within which a healed group must accept a write: a crashed member may first have to join anew.
const BUDGET_MS: u64 = 10_000;

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let healing = &facts.healing;
    verdict.examine();
    match healing.accepted_after_ms {
        Some(ms) if ms <= BUDGET_MS => {}
        Some(ms) => verdict.broken(|| format!("the first write after healing took {ms} ms, the budget is {BUDGET_MS}")),
        None => verdict.broken(|| "no write was accepted after healing".into()),
    }
    if healing.agreeing != healing.members {
        verdict.broken(|| {
            format!(
                "{} of {} members agree on the leader",
                healing.agreeing, healing.members
            )
        });
    }
    let applied: Vec<u64> = facts.members.iter().map(|m| m.applied).collect();
    if applied.iter().min() != applied.iter().max() {
        verdict.broken(|| format!("members stopped at different entries: {applied:?}"));
    }
    verdict
}
