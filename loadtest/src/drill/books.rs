//! The books of a drill: what was asked and answered, what is in the queues afterwards, and whether the two agree.
//!
//! An unanswered send may be there or not, once or (because the client sent it again) more than once. An acknowledged one must be there, at
//! the place of its answer.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

/// Topic, broker, queue id.
pub type Queue = (String, String, u32);

/// What kind of traffic a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sent alone.
    Plain,
    /// One of a batch.
    Batch,
    /// Sent to one queue by one sender, one after the other.
    Ordered,
    /// Parked on a delay level.
    Delayed,
    /// Half message with a decision.
    Transaction,
}

/// The decision on a transaction, as far as the broker acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The producer decided to commit.
    Commit,
    /// The producer decided to roll back.
    Rollback,
}

/// What the sender knows of one message.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What kind of traffic.
    pub kind: Kind,
    /// The answer: where it stands. `None`: no answer, the outcome is open.
    pub place: Option<(Queue, u64)>,
    /// For delayed messages: earliest delivery, unix ms.
    pub due_ms: Option<i64>,
    /// For transactions.
    pub decision: Option<Decision>,
}

/// One record read back after the drill.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its id; `None` for a message of an earlier run, which only counts for the numbering of its queue.
    pub id: Option<u64>,
    /// When it was stored, unix ms.
    pub stored_ms: i64,
}

/// What the reconciliation counted. The first seven are what was examined, everything behind them must be zero.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Verdict {
    /// Messages asked for.
    pub sent: usize,
    /// Of these answered with success.
    pub acknowledged: usize,
    /// Left without an answer.
    pub unknown: usize,
    /// Records read back.
    pub read: usize,
    /// Copies beyond the first of messages that were sent again after a lost answer: allowed, counted.
    pub repeated: usize,
    /// Commits of consumer offsets that were acknowledged.
    pub offsets_committed: usize,
    /// Answers to the question for a committed offset that could be compared.
    pub offsets_examined: usize,
    /// Acknowledged and not at the place of the answer.
    pub missing: usize,
    /// Acknowledged once and stored more than once although no answer was lost.
    pub duplicated: usize,
    /// Ordered messages that stand before an earlier one of their sender.
    pub out_of_order: usize,
    /// Delayed messages delivered before their time.
    pub early: usize,
    /// Transactions visible although rolled back, or more than once.
    pub undecided: usize,
    /// Offsets that a queue skipped.
    pub gaps: usize,
    /// Committed consumer offsets that were later lower.
    pub offsets_back: usize,
    /// Records whose id nobody sent.
    pub unasked: usize,
    /// Words for the first violations.
    pub examples: Vec<String>,
}

impl Verdict {
    /// True when nothing that must not happen happened, and something was examined.
    pub fn holds(&self) -> bool {
        let broken = [
            self.missing,
            self.duplicated,
            self.out_of_order,
            self.early,
            self.undecided,
            self.gaps,
            self.offsets_back,
            self.unasked,
        ];
        let examined = [self.acknowledged, self.read];
        broken.iter().all(|n| *n == 0) && examined.iter().all(|n| *n > 0)
    }

    fn example(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < 20 {
            self.examples.push(what());
        }
    }
}

/// Everything that was asked.
#[derive(Debug, Default)]
pub struct Books {
    sent: HashMap<u64, Sent>,
    /// Ids of ordered messages by sender, in the order in which they were sent.
    ordered: BTreeMap<u32, Vec<u64>>,
    /// Greatest offset that a group committed and was acknowledged, by queue.
    committed: BTreeMap<(String, Queue), u64>,
    offsets_committed: usize,
    offsets_examined: usize,
    offsets_back: Vec<String>,
    /// Ids that the client sent again itself after a lost answer.
    resent: HashMap<u64, u32>,
}

impl Books {
    /// A message was sent and this is what came of it.
    pub fn sent(&mut self, id: u64, sent: Sent) {
        self.sent.insert(id, sent);
    }

    /// An ordered message was sent by `sender`; calls in sending order.
    pub fn ordered(&mut self, sender: u32, id: u64) {
        self.ordered.entry(sender).or_default().push(id);
    }

    /// An attempt for this message got no answer and another was made: a second copy is allowed.
    pub fn resent(&mut self, id: u64) {
        *self.resent.entry(id).or_default() += 1;
    }

    /// A commit of a consumer offset was acknowledged.
    pub fn committed(&mut self, group: &str, queue: &Queue, offset: u64) {
        self.offsets_committed += 1;
        let key = (group.to_owned(), queue.clone());
        let greatest = self.committed.entry(key).or_insert(offset);
        *greatest = (*greatest).max(offset);
    }

    /// A consumer offset was asked for. `None`: the broker knows none.
    pub fn queried(&mut self, group: &str, queue: &Queue, offset: Option<u64>) {
        let Some(committed) = self.committed.get(&(group.to_owned(), queue.clone())) else {
            return;
        };
        self.offsets_examined += 1;
        if offset.is_none_or(|offset| offset < *committed) {
            self.offsets_back
                .push(format!("{group} on {queue:?}: committed {committed}, later {offset:?}"));
        }
    }

    /// Kinds of traffic of which nothing was acknowledged: what a drill says of those proves nothing.
    pub fn unproven(&self) -> Vec<Kind> {
        let all = [
            Kind::Plain,
            Kind::Batch,
            Kind::Ordered,
            Kind::Delayed,
            Kind::Transaction,
        ];
        let proven = |kind: &Kind| {
            self.sent
                .values()
                .any(|sent| sent.kind == *kind && sent.place.is_some())
        };
        all.into_iter().filter(|kind| !proven(kind)).collect()
    }

    /// How many were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.sent.values().filter(|sent| sent.place.is_some()).count()
    }

    /// Compares the books with what is in the queues, read from their minimum offset to their end.
    pub fn reconcile(&self, queues: &BTreeMap<Queue, BTreeMap<u64, Found>>) -> Verdict {
        let mut verdict = Verdict {
            sent: self.sent.len(),
            acknowledged: self.acknowledged(),
            read: queues
                .values()
                .flat_map(BTreeMap::values)
                .filter(|f| f.id.is_some())
                .count(),
            offsets_committed: self.offsets_committed,
            offsets_examined: self.offsets_examined,
            offsets_back: self.offsets_back.len(),
            ..Verdict::default()
        };
        verdict.unknown = verdict.sent - verdict.acknowledged;
        for what in &self.offsets_back {
            verdict.example(|| format!("offset went back: {what}"));
        }
        let places = places(queues);
        for (id, sent) in &self.sent {
            let found = places.get(id).map(Vec::as_slice).unwrap_or_default();
            self.judge(*id, sent, found, &mut verdict);
        }
        for (id, found) in &places {
            if !self.sent.contains_key(id) {
                verdict.unasked += found.len();
                verdict.example(|| format!("record {id:x} at {found:?} was never sent"));
            }
        }
        judge_density(queues, &mut verdict);
        self.judge_order(&places, &mut verdict);
        verdict
    }

    fn judge(&self, id: u64, sent: &Sent, found: &[Place<'_>], verdict: &mut Verdict) {
        let copies = found.len();
        match sent.kind {
            Kind::Transaction => {
                // A half message that was sent again after a lost answer is two half messages, each decided alike.
                let halves = 1 + self.lost_answers(id, sent);
                let (least, most) = match (sent.decision, &sent.place) {
                    (Some(Decision::Commit), Some(_)) => (1, halves),
                    (Some(Decision::Commit), None) => (0, halves),
                    _ => (0, 0),
                };
                verdict.repeated += copies.min(most).saturating_sub(1);
                if copies < least {
                    verdict.missing += 1;
                    verdict.example(|| format!("committed transaction {id:x} is nowhere"));
                } else if copies > most {
                    verdict.undecided += 1;
                    verdict.example(|| format!("transaction {id:x} ({:?}) is visible {copies} times", sent.decision));
                }
            }
            Kind::Delayed => {
                if sent.place.is_some() && copies == 0 {
                    verdict.missing += 1;
                    verdict.example(|| format!("delayed message {id:x} was never delivered"));
                }
                self.judge_copies(id, sent, copies, verdict);
                let due = sent.due_ms.unwrap_or(i64::MIN);
                for place in found.iter().filter(|place| place.stored_ms < due) {
                    verdict.early += 1;
                    verdict.example(|| format!("delayed message {id:x} due {due} was delivered {}", place.stored_ms));
                }
            }
            Kind::Plain | Kind::Batch | Kind::Ordered => {
                if let Some((queue, offset)) = &sent.place
                    && !found
                        .iter()
                        .any(|place| place.queue == queue && place.offset == *offset)
                {
                    verdict.missing += 1;
                    verdict
                        .example(|| format!("message {id:x} was acknowledged at {queue:?}/{offset}, found {found:?}"));
                }
                self.judge_copies(id, sent, copies, verdict);
            }
        }
    }

    fn judge_copies(&self, id: u64, sent: &Sent, copies: usize, verdict: &mut Verdict) {
        let extra = copies.saturating_sub(1);
        let lost_answers = self.lost_answers(id, sent);
        verdict.repeated += extra.min(lost_answers);
        if extra > lost_answers {
            verdict.duplicated += extra - lost_answers;
            verdict.example(|| format!("message {id:x} stands at {copies} places, answers lost: {lost_answers}"));
        }
    }

    fn lost_answers(&self, id: u64, sent: &Sent) -> usize {
        let tried_again = self.resent.get(&id).copied().unwrap_or(0) as usize;
        let unanswered = sent.place.is_none() && sent.kind != Kind::Transaction;
        tried_again + usize::from(unanswered)
    }

    /// First copies of a sender's acknowledged messages stand in sending order within each queue.
    fn judge_order(&self, places: &HashMap<u64, Vec<Place<'_>>>, verdict: &mut Verdict) {
        for (sender, ids) in &self.ordered {
            let mut last: BTreeMap<&Queue, (u64, u64)> = BTreeMap::new();
            for id in ids
                .iter()
                .filter(|id| self.sent.get(id).is_some_and(|sent| sent.place.is_some()))
            {
                let Some(place) = places.get(id).and_then(|found| found.iter().min_by_key(|p| p.offset)) else {
                    continue;
                };
                if let Some((before, offset)) = last.insert(place.queue, (*id, place.offset))
                    && offset > place.offset
                {
                    verdict.out_of_order += 1;
                    verdict.example(|| {
                        format!(
                            "sender {sender}: {id:x} at {} stands before {before:x} at {offset}",
                            place.offset
                        )
                    });
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    queue: &'a Queue,
    offset: u64,
    stored_ms: i64,
}

fn places(queues: &BTreeMap<Queue, BTreeMap<u64, Found>>) -> HashMap<u64, Vec<Place<'_>>> {
    let mut places: HashMap<u64, Vec<Place<'_>>> = HashMap::new();
    for (queue, records) in queues {
        for (offset, found) in records {
            let place = Place {
                queue,
                offset: *offset,
                stored_ms: found.stored_ms,
            };
            if let Some(id) = found.id {
                places.entry(id).or_default().push(place);
            }
        }
    }
    places
}

fn judge_density(queues: &BTreeMap<Queue, BTreeMap<u64, Found>>, verdict: &mut Verdict) {
    for (queue, records) in queues {
        let mut expected = None;
        for offset in records.keys() {
            if expected.is_some_and(|next| next != *offset) {
                verdict.gaps += 1;
                verdict.example(|| format!("{queue:?} jumps to {offset}, expected {expected:?}"));
            }
            expected = Some(offset + 1);
        }
    }
}

#[cfg(test)]
mod tests;
