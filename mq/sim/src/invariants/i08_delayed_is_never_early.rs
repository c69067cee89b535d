//! I8: an acknowledged delayed message is delivered once and never before its time on the group's log clock.

use super::Verdict;
use crate::facts::{Facts, Outcome, Purpose};

pub(super) fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    let served = facts.served();
    let places = facts.places();
    for send in &facts.sends {
        let Purpose::Delayed { due_ms } = send.purpose else {
            continue;
        };
        let found = places.get(&send.id).map(Vec::as_slice).unwrap_or_default();
        verdict.examine();
        if matches!(send.outcome, Outcome::Acked { .. }) && found.len() != 1 {
            verdict.broken(|| {
                format!(
                    "delayed message {} was acknowledged and stands at {} places",
                    send.id,
                    found.len()
                )
            });
        }
        for (queue, offset) in found {
            let stored = served[queue][offset].stored_ms;
            if stored < due_ms {
                verdict.broken(|| {
                    format!(
                        "delayed message {} was due at {due_ms} and delivered at {stored}",
                        send.id
                    )
                });
            }
        }
    }
    verdict
}
