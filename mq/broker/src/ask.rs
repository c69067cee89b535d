//! Everything the leader's judge can be asked, and how it answers.
//!
//! A handler turns a request of a client into one [`Ask`], with records already encoded; the judge (`decide`) runs on
//! the leader only, decides on applied plus in-flight state, and the answer leaves when the entry is applied (ADR 003, 005).
//! Every ask is answered exactly once: a [`Reply`] that is dropped answers [`Refusal::Unknown`].

use crate::state::{GroupConfig, Name, TopicConfig};
use bytes::{Bytes, BytesMut};
use mq_message::{CommitLogOffset, QueueId, QueueOffset};

/// One question to the judge.
pub enum Ask {
    /// Append records to one queue: sends, batches, half messages, delayed messages, retries, dead letters.
    Append(Append),
    /// Move consumer offsets.
    CommitOffsets(Vec<OffsetCommit>, Reply<()>),
    /// A client (or a tool) reports what became of a half message.
    EndTransaction(EndTransaction),
    /// Half messages whose producers were asked once more, or were given up.
    HalfChecked(HalfChecked),
    /// Deliver what is due of one delay level; delivery and progress are one entry.
    DeliverTimers(DeliverTimers),
    /// Lock queues for an orderly consumer; answers what it holds now.
    Lock(LockQueues, Reply<Vec<QueueName>>),
    /// Give locks back.
    Unlock(LockQueues, Reply<()>),
    /// Create a topic or change it.
    UpsertTopic(UpsertTopic, Reply<()>),
    /// Delete a topic with its queues and consumer offsets.
    DeleteTopic(Name, Reply<()>),
    /// Create a consumer group or change it, with its retry topic where wanted.
    UpsertGroup(UpsertGroup, Reply<()>),
    /// Delete a consumer group; its offsets too where `clean_offsets`.
    DeleteGroup {
        /// Which group.
        group: Name,
        /// Forget its consumer offsets as well.
        clean_offsets: bool,
        /// The answer.
        reply: Reply<()>,
    },
    /// Server-side reset: the next pull of each queue answers 21, commits are swallowed until then.
    ResetOffsets(Vec<OffsetCommit>, Reply<()>),
    /// A pull answered 21 with the pending reset offset.
    ResetTaken(OffsetCommit),
    /// Copy a group's offsets of one topic to another group.
    CloneOffsets {
        /// Whose offsets are copied.
        from: Name,
        /// Who receives them.
        to: Name,
        /// Of which topic; `None` is all.
        topic: Option<Name>,
        /// The answer.
        reply: Reply<()>,
    },
    /// Raise a producer's epoch and fence older ones (ADR 009).
    OpenProducer(Name, Reply<OpenedProducer>),
    /// Messages of many queues, consumer offsets and a position, all or nothing (ADR 009).
    AtomicBatch(AtomicBatch),
    /// Raise minimum offsets: everything below `line` may be deleted.
    Retain(Retain, Reply<()>),
    /// Change the table of delay levels (milliseconds, level 1 first).
    SetDelays(Vec<i64>, Reply<()>),
    /// Do nothing, but in the log: log time advances, and the answer proves that this leader still leads.
    Barrier(Reply<()>),
}

impl Ask {
    /// Answers with a refusal, whatever was asked.
    pub fn refuse(self, why: Refusal) {
        match self {
            Self::Append(ask) => ask.reply.send(Err(why)),
            Self::Lock(_, reply) => reply.send(Err(why)),
            Self::OpenProducer(_, reply) => reply.send(Err(why)),
            Self::AtomicBatch(ask) => ask.reply.send(Err(why)),
            Self::EndTransaction(EndTransaction { reply, .. })
            | Self::HalfChecked(HalfChecked { reply, .. })
            | Self::DeliverTimers(DeliverTimers { reply, .. })
            | Self::CommitOffsets(_, reply)
            | Self::Unlock(_, reply)
            | Self::UpsertTopic(_, reply)
            | Self::DeleteTopic(_, reply)
            | Self::UpsertGroup(_, reply)
            | Self::DeleteGroup { reply, .. }
            | Self::ResetOffsets(_, reply)
            | Self::CloneOffsets { reply, .. }
            | Self::Retain(_, reply)
            | Self::SetDelays(_, reply)
            | Self::Barrier(reply) => reply.send(Err(why)),
            Self::ResetTaken(_) => {}
        }
    }

    /// About how many bytes it holds, for the bound of the proposer's queue.
    pub fn weight(&self) -> usize {
        const FIXED: usize = 256;
        let outgoing = |out: &[Outgoing]| out.iter().map(|o| o.record.len() + 64).sum::<usize>();
        FIXED
            + match self {
                Self::Append(ask) => ask.records.len(),
                Self::EndTransaction(ask) => ask.commit.as_ref().map_or(0, |o| o.record.len()),
                Self::DeliverTimers(ask) => outgoing(&ask.messages),
                Self::HalfChecked(ask) => ask.given_up.iter().map(|(_, o)| o.record.len()).sum(),
                Self::AtomicBatch(ask) => outgoing(&ask.messages) + ask.offsets.len() * 128,
                Self::CommitOffsets(commits, _) | Self::ResetOffsets(commits, _) => commits.len() * 128,
                Self::Lock(ask, _) | Self::Unlock(ask, _) => ask.queues.len() * 128,
                Self::Retain(ask, _) => {
                    ask.minimums.len() * 64 + ask.halves.iter().map(|(_, r)| r.len()).sum::<usize>()
                }
                _ => 0,
            }
    }
}

/// Records for one queue, ready but for queue offset, store time and physical offset.
pub struct Append {
    /// Topic the records are stored under (the schedule or half topic for delayed and half messages).
    pub topic: Name,
    /// Queue in that topic; the handler has chosen one where the client left it open.
    pub queue: QueueId,
    /// Stored-format records one behind the other; each starts with its own size.
    pub records: BytesMut,
    /// A topic to create first if there is none of that name (auto-creation, retry and dead-letter topics).
    pub create: Option<Box<TopicConfig>>,
    /// The answer.
    pub reply: Reply<Appended>,
}

/// Where records went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Queue offset of the first record; the others follow without a gap.
    pub first: QueueOffset,
    /// Commit log offset of every record, in order.
    pub physical: Vec<CommitLogOffset>,
    /// Store time of all of them, Unix milliseconds (log time).
    pub store_time_ms: i64,
}

/// A queue of this broker group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName {
    /// Topic.
    pub topic: Name,
    /// Queue id.
    pub queue: QueueId,
}

/// A consumer offset to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// Consumer group.
    pub group: Name,
    /// Topic.
    pub topic: Name,
    /// Queue id.
    pub queue: QueueId,
    /// Next offset the group wants.
    pub offset: QueueOffset,
    /// Ignore the commit if it would move the offset back (one-way commits, commits inside a pull: they may be late).
    pub only_advance: bool,
}

/// A record with its destination, for asks that span queues.
pub struct Outgoing {
    /// Topic.
    pub topic: Name,
    /// Queue id.
    pub queue: QueueId,
    /// One stored-format record, ready but for queue offset, store time and physical offset.
    pub record: BytesMut,
}

/// What became of a half message.
pub struct EndTransaction {
    /// Its identity: the queue offset it first had in the half queue.
    pub half: QueueOffset,
    /// The message to deliver (already rebuilt under its real topic), or `None` to roll back.
    pub commit: Option<Outgoing>,
    /// The answer; a repeat is answered like the first.
    pub reply: Reply<()>,
}

/// Outcome of one round of check-backs.
pub struct HalfChecked {
    /// Half messages whose check counter rises by one.
    pub checked: Vec<QueueOffset>,
    /// Half messages given up, each with its copy for `TRANS_CHECK_MAX_TIME_TOPIC`.
    pub given_up: Vec<(QueueOffset, Outgoing)>,
    /// The answer.
    pub reply: Reply<()>,
}

/// A run of due messages of one delay level.
pub struct DeliverTimers {
    /// Delay level, 1-based.
    pub level: u32,
    /// Progress this run continues; anything else is refused (a driver of an older leadership).
    pub from: QueueOffset,
    /// Progress after it.
    pub to: QueueOffset,
    /// When the last of them is due, in log time (Unix milliseconds); the judge refuses what comes before.
    pub due_ms: i64,
    /// Messages rebuilt under their real topics. Those whose topic is gone are dropped by the judge.
    pub messages: Vec<Outgoing>,
    /// The answer.
    pub reply: Reply<()>,
}

/// Queues to lock or to unlock.
pub struct LockQueues {
    /// Consumer group.
    pub group: Name,
    /// Client id that holds the locks.
    pub owner: Name,
    /// Which queues.
    pub queues: Vec<QueueName>,
}

/// A topic to create or change.
pub struct UpsertTopic {
    /// Wanted configuration.
    pub config: TopicConfig,
    /// Leave an existing topic as it is.
    pub only_if_absent: bool,
}

/// A consumer group to create or change.
pub struct UpsertGroup {
    /// Wanted configuration.
    pub config: GroupConfig,
    /// Leave an existing group as it is.
    pub only_if_absent: bool,
    /// Retry topic to create if there is none.
    pub retry_topic: Option<Box<TopicConfig>>,
}

/// An opened producer session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenedProducer {
    /// Epoch of the new session; all lower ones are refused from now on.
    pub epoch: u64,
    /// Last sequence applied, by whichever session; `None` before the first batch.
    pub last_sequence: Option<u64>,
    /// The last position a batch came with.
    pub position: Option<Bytes>,
}

/// Who sends an atomic batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSequence {
    /// Producer id.
    pub producer: Name,
    /// Epoch of its session.
    pub epoch: u64,
    /// Sequence of this batch: last + 1, or a repeat.
    pub sequence: u64,
}

/// Messages, offsets and a position that are applied together or not at all.
pub struct AtomicBatch {
    /// Fencing and deduplication; `None` for a batch that is merely atomic.
    pub producer: Option<ProducerSequence>,
    /// Opaque position kept with the producer; `None` keeps the one before.
    pub position: Option<Bytes>,
    /// Messages.
    pub messages: Vec<Outgoing>,
    /// Consumer offsets (always plain sets).
    pub offsets: Vec<OffsetCommit>,
    /// Topics to create first where absent.
    pub create: Vec<TopicConfig>,
    /// The answer.
    pub reply: Reply<BatchResult>,
}

/// Result of an atomic batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchResult {
    /// It had been applied before; the rest is the first result.
    pub duplicate: bool,
    /// Commit log offset of the entry that holds the batch.
    pub base: CommitLogOffset,
    /// Queue offset of each message, in the order of the request; empty for a duplicate too old to be remembered.
    pub queue_offsets: Vec<QueueOffset>,
}

/// New lower bounds of the queues.
#[derive(Clone, Debug, Default)]
pub struct Retain {
    /// First commit log offset that is kept.
    pub line: CommitLogOffset,
    /// First queue offset whose message lies at or above the line, per queue.
    pub minimums: Vec<Minimum>,
    /// Half messages re-appended because their record lies below the line: identity and a copy of the record.
    pub halves: Vec<(QueueOffset, BytesMut)>,
}

/// The first offset of a queue that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimum {
    /// Queue.
    pub queue: QueueName,
    /// Of this topic, not of one that was created under its name since.
    pub incarnation: u64,
    /// Its new minimum.
    pub min: QueueOffset,
}

/// Why an ask was not fulfilled. Says whether it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in the log and never will be: this member does not lead (any more). Safe to retry elsewhere.
    #[error("this member is not the leader of its broker group")]
    NotLeader,
    /// Leadership was lost after the append: it may still be applied. Retry only with deduplication.
    #[error("the outcome is unknown: leadership changed while the request was in flight")]
    Unknown,
    /// Not in the log: too many bytes in flight.
    #[error("broker busy, start flow control for a while")]
    Busy,
    /// Topic is missing.
    #[error("topic[{0}] not exist, apply first please!")]
    TopicMissing(Name),
    /// Queue id outside the topic.
    #[error("request queueId[{queue}] is illegal, topic[{topic}] has {queues} queues")]
    QueueIllegal {
        /// Topic.
        topic: Name,
        /// Requested queue.
        queue: u32,
        /// How many there are.
        queues: u32,
    },
    /// A name is not allowed, or a number is out of range.
    #[error("{0}")]
    Invalid(String),
    /// The message breaks a rule (size, properties, body).
    #[error("{0}")]
    MessageIllegal(String),
    /// Permission bits or a protected name forbid it.
    #[error("{0}")]
    NoPermission(String),
    /// Consumer group is missing.
    #[error("subscription group [{0}] does not exist")]
    GroupMissing(Name),
    /// Subscription text does not parse.
    #[error("{0}")]
    SubscriptionUnparsable(String),
    /// The group, or its subscription to the topic, is not registered here.
    #[error("{0}")]
    SubscriptionMissing(String),
    /// The registered subscription is older than the client's.
    #[error("{0}")]
    SubscriptionOld(String),
    /// Nothing found.
    #[error("{0}")]
    NotFound(String),
    /// An older epoch of a producer: refused for good.
    #[error("producer[{producer}] epoch {epoch} is fenced: epoch {current} has been opened")]
    Fenced {
        /// Producer id.
        producer: Name,
        /// Epoch of the request.
        epoch: u64,
        /// Epoch in force.
        current: u64,
    },
    /// A sequence that is neither next nor a remembered repeat.
    #[error("producer[{producer}] sequence {sequence} does not follow {last:?}")]
    OutOfSequence {
        /// Producer id.
        producer: Name,
        /// Sequence of the request.
        sequence: u64,
        /// Last sequence taken.
        last: Option<u64>,
    },
    /// Not allowed in this state.
    #[error("{0}")]
    Illegal(String),
    /// The store cannot take it now (disk full, member stopping).
    #[error("{0}")]
    Unavailable(String),
    /// Something went wrong that is not the client's fault.
    #[error("{0}")]
    Failed(String),
}

/// Where an answer goes. Called once; dropping it answers [`Refusal::Unknown`].
pub struct Reply<T>(Option<ReplyTo<T>>);

type ReplyTo<T> = Box<dyn FnOnce(Result<T, Refusal>) + Send>;

impl<T> Reply<T> {
    /// An answer that calls `f`. It runs on the apply task: it must be short and must not block.
    pub fn new(f: impl FnOnce(Result<T, Refusal>) + Send + 'static) -> Self {
        Self(Some(Box::new(f)))
    }

    /// Nobody waits.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether anybody waits for the answer.
    pub fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// Answers.
    pub fn send(mut self, result: Result<T, Refusal>) {
        if let Some(f) = self.0.take() {
            f(result);
        }
    }
}

impl<T: Send + 'static> Reply<T> {
    /// An answer that can be awaited.
    pub fn channel() -> (Self, tokio::sync::oneshot::Receiver<Result<T, Refusal>>) {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let reply = Self::new(move |result| {
            let _ = tx.send(result);
        });
        (reply, rx)
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f(Err(Refusal::Unknown));
        }
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}
