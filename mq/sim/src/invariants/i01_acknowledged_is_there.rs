//! I1: every acknowledged plain message is exactly where its answer said.

use super::Verdict;
use crate::facts::{Facts, Outcome, Purpose};

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let served = facts.served();
    for send in &facts.sends {
        let (Purpose::Plain, Outcome::Acked { queue, offset }) = (&send.purpose, &send.outcome) else {
            continue;
        };
        verdict.examine();
        let found = served
            .get(&(send.topic.clone(), *queue))
            .and_then(|records| records.get(offset))
            .map(|read| read.id);
        if found != Some(send.id) {
            verdict.broken(|| {
                format!(
                    "message {} was acknowledged at {}/{queue}/{offset}, there is {found:?}",
                    send.id, send.topic
                )
            });
        }
    }
    verdict
}
