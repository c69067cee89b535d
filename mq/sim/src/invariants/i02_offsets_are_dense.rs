//! I2: queue offsets are dense, and no (queue, offset) ever names two messages: not over time, not between members.

use std::collections::BTreeMap;

use super::Verdict;
use crate::facts::{Facts, Read};

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let mut named: BTreeMap<(&str, u32, u64), u64> = BTreeMap::new();
    let at_the_end = facts
        .members
        .iter()
        .flat_map(|m| m.queues.values().flat_map(|records| records.values()));
    for read in facts.reads.iter().chain(at_the_end) {
        verdict.examine();
        name(&mut named, read, &mut verdict);
    }
    for member in &facts.members {
        for (queue, records) in &member.queues {
            let offsets: Vec<u64> = records.keys().copied().collect();
            if let Some(gap) = offsets.windows(2).find(|pair| pair[1] != pair[0] + 1) {
                verdict.broken(|| format!("{}: {queue:?} jumps from {} to {}", member.name, gap[0], gap[1]));
            }
        }
    }
    verdict
}

fn name<'a>(named: &mut BTreeMap<(&'a str, u32, u64), u64>, read: &'a Read, verdict: &mut Verdict) {
    let place = (read.queue.0.as_str(), read.queue.1, read.offset);
    let first = *named.entry(place).or_insert(read.id);
    if first != read.id {
        verdict.broken(|| format!("{place:?} was message {first} and is message {}", read.id));
    }
}
