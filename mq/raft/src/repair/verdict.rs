//! What an answer proves. Pure.
//!
//! The damaged member has an intact log up to [`Gap::after`] and knows how far it once was flushed: the last anchor. It
//! may have acknowledged everything up to there, so it must not end up with less than what is, or may still be,
//! committed. In the order of strength:
//!
//! 1. The peer has one of our places behind the damage. Headers are chained by hashes, so its entries before that place
//!    are ours.
//! 2. The entries lead back into our own log. They are ours; the store checks it.
//! 3. They are committed. Where ours were others, ours can never be committed.
//! 4. Something committed contradicts the end of what we have lost: a committed entry of a later term, where ours (terms
//!    never fall along a log) must have been of an earlier one. What is lost behind what is committed is dead.
//!
//! Anything less proves nothing: the member goes on asking. A leader that has committed in its term always decides it:
//! it has our last place or contradicts it.

use mq_store::{Gap, LogId, Tail};

use crate::peer::message::{Fetched, Place};

/// What an answer allows. Whether its entries lead back into the own log (2) is tried first, whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// So many of its entries may stand in the gap (1 or 3).
    pub vouched: usize,
    /// None, and the log ends at the gap (4).
    pub dead: bool,
}

/// Judges an answer about a gap. `interrupted`: the log ends at the gap (else it is whole, and nothing of it is given up).
pub fn judge(gap: &Gap, interrupted: bool, answer: &Fetched) -> Verdict {
    let upto = |last: Option<LogId>| {
        let within = |entry: &&mq_store::Entry| last.is_some_and(|last| entry.index() <= last.index);
        answer.entries.iter().take_while(within).count()
    };
    let anchor = answer.anchor.and_then(|nth| gap.anchors.get(usize::from(nth)));
    let ours = anchor.map_or(0, |anchor| upto(anchor.last));
    let vouched = match ours {
        0 if interrupted => upto(answer.committed),
        ours => ours,
    };
    Verdict {
        vouched,
        dead: vouched == 0 && interrupted && dead(gap, answer),
    }
}

/// Whether everything that was lost, and what is left behind the gap, can never be committed.
fn dead(gap: &Gap, answer: &Fetched) -> bool {
    let (Some(committed), Some(after)) = (answer.committed, gap.after.last) else {
        return false;
    };
    // Committed entries behind the gap are to be taken first.
    if answer.place == Place::Here && committed.index > after.index {
        return false;
    }
    let end: Option<LogId> = gap.anchors.last().and_then(|end: &Tail| end.last);
    let made = |id: LogId| (id.term, id.node);
    let contradicts = |ours: LogId| committed.index <= ours.index && made(committed) > made(ours);
    match answer.place {
        // At a committed index the peer has another entry than we: ours is dead, and so is all that follows it.
        Place::Other => committed.index >= after.index || contradicts(after),
        Place::Beyond => contradicts(after),
        Place::Here => end.is_some_and(|end| contradicts(end) || replaced(after, end)),
        Place::Purged | Place::Damaged => false,
    }
}

/// Committed entries stand where the end of our log was.
fn replaced(after: LogId, end: LogId) -> bool {
    after.index >= end.index && after != end
}
