//! I5: a producer that waits for each answer finds its messages in that order within each queue.

use std::collections::BTreeMap;

use super::Verdict;
use crate::facts::{Facts, Outcome, Purpose};

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let mut last: BTreeMap<(u32, &str, u32), (u64, u64)> = BTreeMap::new();
    for send in &facts.sends {
        let (Purpose::Plain, Outcome::Acked { queue, offset }) = (&send.purpose, &send.outcome) else {
            continue;
        };
        verdict.examine();
        if let Some((before, at)) = last.insert((send.producer, &send.topic, *queue), (send.id, *offset))
            && at >= *offset
        {
            verdict.broken(|| {
                format!(
                    "message {} came after {before} and stands at {offset}, before {at}",
                    send.id
                )
            });
        }
    }
    verdict
}
