//! I6: what a group committed and was acknowledged never falls, whoever leads.

use std::collections::BTreeMap;

use super::Verdict;
use crate::facts::Facts;

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    for steps in &facts.offsets {
        let mut committed = BTreeMap::new();
        for step in steps {
            verdict.examine();
            let floor = committed.entry((&step.group, &step.queue)).or_insert(0);
            if step.committed {
                *floor = step.offset.max(*floor);
            } else if step.offset < *floor {
                verdict.broken(|| {
                    format!(
                        "{} on {:?} was committed at {floor} and later read as {}",
                        step.group, step.queue, step.offset
                    )
                });
            }
        }
    }
    verdict
}
