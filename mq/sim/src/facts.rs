//! What a run leaves behind for the judges: what clients asked and were told, what readers saw, and what the members hold at the end.
//!
//! A time-out is never counted as a failure: its outcome is [`Outcome::Unknown`], which allows the message to be there or not.

use std::collections::BTreeMap;

/// A queue of the run.
pub type Queue = (String, u32);

/// What a message was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An ordinary message, or one of a batch.
    Plain,
    /// Parked on a delay level; must not be seen before `due_ms` of the run's log clock.
    Delayed {
        /// Earliest time, unix ms, at which it may appear in its real queue.
        due_ms: i64,
    },
    /// A transactional message and what its producer decided, `None` while the decision was never acknowledged.
    Transaction {
        /// True for commit, false for rollback.
        commit: Option<bool>,
    },
}

/// What the client was told about a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer 0: stored at this place.
    Acked {
        /// Queue id of the answer.
        queue: u32,
        /// Queue offset of the answer.
        offset: u64,
    },
    /// No answer, a broken connection, or a code that leaves the outcome open.
    Unknown,
    /// A code that says that nothing was stored.
    Refused,
}

/// One send.
#[derive(Clone, Debug)]
pub struct Send {
    /// Unique in the run; also the message's body.
    pub id: u64,
    /// Which producer sent it; a producer sends one after the other.
    pub producer: u32,
    /// The topic that readers find it under.
    pub topic: String,
    /// What kind of message.
    pub purpose: Purpose,
    /// What came back. For delayed and transactional messages the place is that of the parked record, not of the delivered one.
    pub outcome: Outcome,
}

/// A reader saw message `id` at (queue, offset).
#[derive(Clone, Debug)]
pub struct Read {
    /// Topic and queue id.
    pub queue: Queue,
    /// Queue offset of the record.
    pub offset: u64,
    /// The id in its body.
    pub id: u64,
    /// Log time at which the record was stored, ms.
    pub stored_ms: i64,
}

/// What a consumer did with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetDeed {
    /// A commit that was acknowledged.
    Committed,
    /// A commit without an answer: it may be applied at any later time, also over a greater one.
    Open,
    /// A commit that nobody waits for: it may be applied at any later time, but never over a greater one.
    OneWay,
    /// A query's answer.
    Read,
}

/// A consumer offset and what was done with it; in the order in which one client did them.
#[derive(Clone, Debug)]
pub struct OffsetStep {
    /// Group and queue.
    pub group: String,
    /// Topic and queue id.
    pub queue: Queue,
    /// What was done.
    pub deed: OffsetDeed,
    /// The offset.
    pub offset: u64,
}

/// What one member holds when the run is over.
#[derive(Clone, Debug, Default)]
pub struct MemberEnd {
    /// `n0`, `n1`, …
    pub name: String,
    /// Hash of each entry that it knows to be committed, by Raft index.
    pub entries: BTreeMap<u64, u64>,
    /// Raft index of the last applied entry.
    pub applied: u64,
    /// Messages by queue and offset, through its own consume queues.
    pub queues: BTreeMap<Queue, BTreeMap<u64, Read>>,
    /// The first offset that a queue still has; what was before it, retention has taken.
    pub minimums: BTreeMap<Queue, u64>,
    /// Hash of replicated state and consume queues as they are served.
    pub derived: u64,
    /// The same hash after everything was thrown away and applied again from the log.
    pub rebuilt: Option<u64>,
    /// Sockets, files and tasks that outlived their owner.
    pub leaked: Vec<String>,
}

/// One member said that it leads and is ready, in this term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    /// Raft term.
    pub term: u64,
    /// Node id.
    pub node: u64,
    /// Which of the node's processes: it counts its starts.
    pub process: u64,
}

/// How the group came back after the last fault was healed.
#[derive(Clone, Debug, Default)]
pub struct Healing {
    /// Simulated ms from the last heal to the first accepted write; `None` when none was accepted in time.
    pub accepted_after_ms: Option<u64>,
    /// Members that name the same leader.
    pub agreeing: usize,
    /// Members in the group.
    pub members: usize,
}

/// Everything the invariants are judged on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every send.
    pub sends: Vec<Send>,
    /// Everything any consumer was given during the run.
    pub reads: Vec<Read>,
    /// Per consumer, its offset commits and queries in order.
    pub offsets: Vec<Vec<OffsetStep>>,
    /// The members at the end.
    pub members: Vec<MemberEnd>,
    /// Every observation of a ready leader.
    pub leading: Vec<Leading>,
    /// The healing phase.
    pub healing: Healing,
}

impl Facts {
    /// The queues as the first member serves them: what a client could read at the end; before that, what readers were
    /// given until retention took it.
    pub fn served(&self) -> BTreeMap<Queue, BTreeMap<u64, Read>> {
        let Some(first) = self.members.first() else {
            return BTreeMap::new();
        };
        let mut served = first.queues.clone();
        let gone = |read: &&Read| first.minimums.get(&read.queue).is_some_and(|min| read.offset < *min);
        for read in self.reads.iter().filter(gone) {
            let queue = served.entry(read.queue.clone()).or_default();
            queue.insert(read.offset, read.clone());
        }
        served
    }

    /// Where each id is at the end, business topics only.
    pub fn places(&self) -> BTreeMap<u64, Vec<(Queue, u64)>> {
        let mut places: BTreeMap<u64, Vec<(Queue, u64)>> = BTreeMap::new();
        for (queue, records) in self.served() {
            for (offset, read) in records {
                places.entry(read.id).or_default().push((queue.clone(), offset));
            }
        }
        places
    }
}
