//! I3: the logs of any two members are equal up to the smaller commit.

use super::Verdict;
use crate::facts::Facts;

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    for (i, a) in facts.members.iter().enumerate() {
        for b in &facts.members[i + 1..] {
            for (index, hash) in a.entries.range(..=a.applied.min(b.applied)) {
                let Some(other) = b.entries.get(index) else {
                    continue;
                };
                verdict.examine();
                if hash != other {
                    verdict.broken(|| format!("entry {index} of {} differs from that of {}", a.name, b.name));
                }
            }
        }
    }
    verdict
}
