//! I6: what a group committed and was acknowledged never falls, whoever leads.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::facts::Facts;

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    for steps in &facts.offsets {
        let mut committed = BTreeMap::new();
        let mut open = BTreeSet::new();
        for step in steps {
            if step.open {
                open.insert((&step.group, &step.queue, step.offset));
                continue;
            }
            verdict.examine();
            let floor = committed.entry((&step.group, &step.queue)).or_insert(0);
            if step.committed {
                *floor = step.offset.max(*floor);
            } else if step.offset < *floor && !open.contains(&(&step.group, &step.queue, step.offset)) {
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
