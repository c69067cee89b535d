//! I11: nothing outlives its owner: no parked pull, connection or task of a client that is gone.

use super::Verdict;
use crate::facts::Facts;

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    for member in &facts.members {
        verdict.examine();
        for leak in &member.leaked {
            verdict.broken(|| format!("{}: {leak}", member.name));
        }
    }
    verdict
}
