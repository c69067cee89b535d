//! I4: after the drain, readers of the run were given every acknowledged plain message; a second copy at another place is allowed only
//! for a message whose first answer was lost.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::facts::{Facts, Outcome, Purpose, Queue};

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let mut given: BTreeMap<u64, BTreeSet<(&Queue, u64)>> = BTreeMap::new();
    for read in &facts.reads {
        given.entry(read.id).or_default().insert((&read.queue, read.offset));
    }
    for send in facts.sends.iter().filter(|s| s.purpose == Purpose::Plain) {
        if !matches!(send.outcome, Outcome::Acked { .. }) {
            continue;
        }
        verdict.examine();
        match given.get(&send.id).map_or(0, BTreeSet::len) {
            1 => {}
            0 => verdict.broken(|| format!("message {} was acknowledged and no reader was given it", send.id)),
            n => verdict.broken(|| format!("message {} was sent once and stands at {n} places", send.id)),
        }
    }
    verdict
}
