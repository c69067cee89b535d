//! I12: replicated state and consume queues applied again from the log equal the live ones, and are equal on all members.

use super::Verdict;
use crate::facts::Facts;

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    for member in &facts.members {
        let Some(rebuilt) = member.rebuilt else {
            continue;
        };
        verdict.examine();
        if rebuilt != member.derived {
            verdict.broken(|| format!("{}: what it serves differs from what its log says", member.name));
        }
    }
    for pair in facts.members.windows(2) {
        verdict.examine();
        if pair[0].applied == pair[1].applied && pair[0].derived != pair[1].derived {
            verdict.broken(|| {
                format!(
                    "{} and {} applied the same log and serve different state",
                    pair[0].name, pair[1].name
                )
            });
        }
    }
    verdict
}
