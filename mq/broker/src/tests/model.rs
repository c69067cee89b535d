//! The judge and the state machine against each other and against what clients were told: random asks, several in one
//! entry, entries that are voided, and after each entry the invariants.

use super::*;
use crate::ask::*;
use crate::config::Settings;
use crate::decide::{Judge, Waiting};
use crate::longpoll::LongPolls;
use crate::machine::Machine;
use crate::records::rebuild;
use crate::state::{LOCK_TTL_MS, State, TopicConfig};
use crate::view::View;
use bytes::BytesMut;
use mq_base::env::disk;
use mq_base::env::sim::{World, enter};
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordSpec, topic as names};
use mq_raft::{Application, Batch, Decide, Session};
use mq_store::{ConsumeQueues, Entry, EntryKind, LogId, QueueOptions, RaftIndex};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const TOPICS: [&str; 3] = ["A", "B", "C"];

#[derive(Clone, Debug)]
enum Op {
    Send {
        topic: usize,
        queue: u32,
        messages: usize,
        create: bool,
    },
    Half,
    End {
        which: usize,
        commit: bool,
    },
    Delay {
        level: u32,
    },
    Deliver {
        level: u32,
        messages: u64,
        stale: bool,
    },
    Commit {
        topic: usize,
        offset: u64,
        only_advance: bool,
    },
    Reset {
        topic: usize,
        offset: u64,
    },
    ResetTaken {
        topic: usize,
        offset: u64,
    },
    Lock {
        client: usize,
    },
    Unlock {
        client: usize,
    },
    Open,
    Atomic {
        epoch_back: u64,
        sequence_ahead: i64,
        topic: usize,
    },
    CreateTopic {
        topic: usize,
        queues: u32,
    },
    DeleteTopic {
        topic: usize,
    },
    GiveUp {
        which: usize,
    },
    Retain {
        topic: usize,
        min: u64,
    },
    Barrier,
    /// The entry is complete and applied.
    Apply,
    /// The entry is voided: the judge begins again.
    Void,
    Wait {
        ms: i64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let topic = 0..TOPICS.len();
    prop_oneof![
        6 => (topic.clone(), 0..3u32, 1..4usize, any::<bool>())
            .prop_map(|(topic, queue, messages, create)| Op::Send { topic, queue, messages, create }),
        2 => Just(Op::Half),
        2 => (0..4usize, any::<bool>()).prop_map(|(which, commit)| Op::End { which, commit }),
        2 => (1..3u32).prop_map(|level| Op::Delay { level }),
        2 => (1..3u32, 0..3u64, any::<bool>()).prop_map(|(level, messages, stale)| Op::Deliver { level, messages, stale }),
        3 => (topic.clone(), 0..9u64, any::<bool>())
            .prop_map(|(topic, offset, only_advance)| Op::Commit { topic, offset, only_advance }),
        1 => (topic.clone(), 0..9u64).prop_map(|(topic, offset)| Op::Reset { topic, offset }),
        1 => (topic.clone(), 0..9u64).prop_map(|(topic, offset)| Op::ResetTaken { topic, offset }),
        2 => (0..2usize).prop_map(|client| Op::Lock { client }),
        1 => (0..2usize).prop_map(|client| Op::Unlock { client }),
        1 => Just(Op::Open),
        4 => (0..2u64, -2..3i64, topic.clone())
            .prop_map(|(epoch_back, sequence_ahead, topic)| Op::Atomic { epoch_back, sequence_ahead, topic }),
        2 => (topic.clone(), 1..4u32).prop_map(|(topic, queues)| Op::CreateTopic { topic, queues }),
        1 => topic.clone().prop_map(|topic| Op::DeleteTopic { topic }),
        1 => (0..4usize).prop_map(|which| Op::GiveUp { which }),
        1 => (topic, 0..4u64).prop_map(|(topic, min)| Op::Retain { topic, min }),
        1 => Just(Op::Barrier),
        6 => Just(Op::Apply),
        1 => Just(Op::Void),
        1 => (1..100_000i64).prop_map(|ms| Op::Wait { ms }),
    ]
}

/// What the clients were told.
#[derive(Default)]
struct Told {
    /// Bodies of messages that were acknowledged, with their place.
    acknowledged: Vec<(String, QueueId, QueueOffset, u64)>,
    /// Sequences of the relay that were acknowledged as new.
    sequences: Vec<u64>,
    epoch: u64,
    /// Who was granted each topic's queue, and when: since then nobody else may be, before it is given back or expires.
    locks: BTreeMap<usize, (usize, i64)>,
}

struct Run {
    judge: Judge,
    machine: Machine,
    view: Arc<View>,
    queues: ConsumeQueues,
    batch: Batch<Waiting>,
    time_ms: i64,
    index: u64,
    end: u64,
    entries: Vec<Entry>,
    told: Arc<Mutex<Told>>,
    next_body: u64,
}

fn record(topic: &str, queue: u32, body: u64, properties: &str) -> BytesMut {
    let mut out = BytesMut::new();
    let spec = RecordSpec {
        topic,
        queue_id: QueueId(queue),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: ([1, 2, 3, 4], 5).into(),
        store_host: ([1, 2, 3, 4], 6).into(),
        store_timestamp: 0,
        reconsume_times: 0,
        prepared_transaction_offset: CommitLogOffset::ZERO,
        body: &body.to_be_bytes(),
        properties,
        queue_offset: QueueOffset::ZERO,
        physical_offset: CommitLogOffset::ZERO,
    };
    spec.encode_into(&mut out).unwrap();
    out
}

fn waiting_for(topic: &str) -> String {
    let mut text = property::Properties::new();
    text.push(property::REAL_TOPIC, topic).push(property::REAL_QID, "0");
    text.into_string()
}

impl Run {
    fn new() -> Self {
        let disk = disk::real();
        let dir = Path::new("/store");
        disk.create_dir_all(dir).unwrap();
        let queues = ConsumeQueues::open(disk, dir, QueueOptions::default()).unwrap();
        let view = Arc::new(View::new());
        let polls = Arc::new(LongPolls::new(1));
        let machine = Machine::new(view.clone(), queues.clone(), None, polls);
        let mut judge = Judge::new(view.clone());
        judge.begin(Session {
            term: Default::default(),
            now_ms: 1_000,
            applied: LogId::default(),
        });
        Self {
            judge,
            machine,
            view,
            queues,
            batch: Batch::for_test(1_000),
            time_ms: 1_000,
            index: 0,
            end: 0,
            entries: Vec::new(),
            told: Arc::default(),
            next_body: 0,
        }
    }

    fn body(&mut self) -> u64 {
        self.next_body += 1;
        self.next_body
    }

    fn ask(&mut self, ask: Ask) {
        self.judge.decide(ask, &mut self.batch);
    }

    fn reply_noting(&self, topic: &str, queue: u32, bodies: Vec<u64>) -> Reply<Appended> {
        let (told, topic) = (self.told.clone(), topic.to_owned());
        Reply::new(move |appended: Result<Appended, Refusal>| {
            if let Ok(appended) = appended {
                assert_eq!(appended.physical.len(), bodies.len());
                for (n, body) in bodies.into_iter().enumerate() {
                    let place = (topic.clone(), QueueId(queue), appended.first.plus(n as u64), body);
                    told.lock().acknowledged.push(place);
                }
            }
        })
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Send {
                topic,
                queue,
                messages,
                create,
            } => {
                let name = TOPICS[topic];
                let bodies: Vec<u64> = (0..messages).map(|_| self.body()).collect();
                let records = bodies
                    .iter()
                    .flat_map(|body| record(name, queue, *body, ""))
                    .collect::<Vec<u8>>();
                let reply = self.reply_noting(name, queue, bodies);
                self.ask(Ask::Append(Append {
                    topic: name.into(),
                    queue: QueueId(queue),
                    records: BytesMut::from(&records[..]),
                    create: create.then(|| Box::new(TopicConfig::new(name, 2))),
                    reply,
                }));
            }
            Op::Half => self.append(names::TRANS_HALF, 0),
            Op::Delay { level } => self.append(names::SCHEDULE, level - 1),
            Op::End { which, commit } => {
                let body = self.body();
                let commit = commit.then(|| Outgoing {
                    topic: "A".into(),
                    queue: QueueId(0),
                    record: record("A", 0, body, ""),
                });
                let half = self.half(which);
                self.ask(Ask::EndTransaction(EndTransaction {
                    half,
                    commit,
                    reply: Reply::none(),
                }));
            }
            Op::GiveUp { which } => {
                let half = self.half(which);
                let copy = Outgoing {
                    topic: names::TRANS_CHECK_MAX_TIME.into(),
                    queue: QueueId(0),
                    record: record(names::TRANS_CHECK_MAX_TIME, 0, 0, ""),
                };
                let checked = vec![self.half(which + 1)];
                self.ask(Ask::HalfChecked(HalfChecked {
                    checked,
                    given_up: vec![(half, copy)],
                    reply: Reply::none(),
                }));
            }
            Op::Deliver { level, messages, stale } => self.deliver(level, messages, stale),
            Op::Commit {
                topic,
                offset,
                only_advance,
            } => {
                self.ask(Ask::CommitOffsets(
                    vec![commit(topic, offset, only_advance)],
                    Reply::none(),
                ));
            }
            Op::Reset { topic, offset } => {
                self.ask(Ask::ResetOffsets(vec![commit(topic, offset, false)], Reply::none()));
            }
            Op::ResetTaken { topic, offset } => self.ask(Ask::ResetTaken(commit(topic, offset, false))),
            Op::Lock { client } => {
                let told = self.told.clone();
                let now = self.time_ms;
                let reply = Reply::new(move |granted: Result<Vec<QueueName>, Refusal>| {
                    for queue in granted.unwrap_or_default() {
                        let at = TOPICS.iter().position(|topic| *topic == &*queue.topic).unwrap();
                        let before = told.lock().locks.insert(at, (client, now));
                        let free = before.is_none_or(|(holder, since)| holder == client || now - since > LOCK_TTL_MS);
                        assert!(free, "granted to two");
                    }
                });
                self.ask(Ask::Lock(locks(client), reply));
            }
            Op::Unlock { client } => {
                let told = self.told.clone();
                let reply = Reply::new(move |_| told.lock().locks.retain(|_, (holder, _)| *holder != client));
                self.ask(Ask::Unlock(locks(client), reply));
            }
            Op::Open => {
                let told = self.told.clone();
                let reply = Reply::new(move |opened: Result<OpenedProducer, Refusal>| {
                    if let Ok(opened) = opened {
                        let told = &mut *told.lock();
                        assert!(opened.epoch > told.epoch, "epochs rise");
                        told.epoch = opened.epoch;
                        assert!(
                            opened.last_sequence >= told.sequences.last().copied(),
                            "nothing acknowledged is lost"
                        );
                    }
                });
                self.ask(Ask::OpenProducer("relay".into(), reply));
            }
            Op::Atomic {
                epoch_back,
                sequence_ahead,
                topic,
            } => self.atomic(epoch_back, sequence_ahead, topic),
            Op::CreateTopic { topic, queues } => {
                let config = TopicConfig::new(TOPICS[topic], queues);
                self.ask(Ask::UpsertTopic(
                    UpsertTopic {
                        config,
                        only_if_absent: false,
                    },
                    Reply::none(),
                ));
            }
            Op::DeleteTopic { topic } => self.delete(topic),
            Op::Retain { topic, min } => {
                let known = self
                    .view
                    .state()
                    .topics
                    .get(TOPICS[topic])
                    .map(|known| known.incarnation);
                let minimums = vec![Minimum {
                    queue: QueueName {
                        topic: TOPICS[topic].into(),
                        queue: QueueId(0),
                    },
                    incarnation: known.unwrap_or_default(),
                    min: QueueOffset(min),
                }];
                let halves = self.view.state().halves.iter().next().map(|(at, _)| at);
                let halves = halves.map(|at| (at, record(names::TRANS_HALF, 0, 7, &waiting_for("A"))));
                let line = CommitLogOffset(self.end / 2);
                self.ask(Ask::Retain(
                    Retain {
                        line,
                        minimums,
                        halves: halves.into_iter().collect(),
                    },
                    Reply::none(),
                ));
            }
            Op::Barrier => self.ask(Ask::Barrier(Reply::none())),
            Op::Apply => self.apply(),
            Op::Void => {
                drop(std::mem::replace(&mut self.batch, Batch::for_test(self.time_ms)));
                self.judge.begin(Session {
                    term: Default::default(),
                    now_ms: self.time_ms,
                    applied: LogId::default(),
                });
            }
            Op::Wait { ms } => {
                self.apply();
                self.time_ms += ms;
                self.batch = Batch::for_test(self.time_ms);
            }
        }
    }

    fn append(&mut self, topic: &str, queue: u32) {
        let body = self.body();
        let records = record(topic, queue, body, &waiting_for("A"));
        let reply = self.reply_noting(topic, queue, vec![body]);
        let queue = QueueId(queue);
        self.ask(Ask::Append(Append {
            topic: topic.into(),
            queue,
            records,
            create: None,
            reply,
        }));
    }

    /// One of the undecided half messages (or an offset that never was one).
    fn half(&self, which: usize) -> QueueOffset {
        let state = self.view.state();
        state
            .halves
            .iter()
            .map(|(at, _)| at)
            .nth(which)
            .unwrap_or(QueueOffset(which as u64))
    }

    fn deliver(&mut self, level: u32, messages: u64, stale: bool) {
        let (from, end) = {
            let state = self.judge.state();
            let queue = state.topics.get(names::SCHEDULE).unwrap().queues[level as usize - 1];
            (state.schedule.progress()[level as usize - 1], queue.next)
        };
        let to = from.plus(messages).min(end);
        let bodies = (from.get()..to.get()).map(|_| Outgoing {
            topic: "B".into(),
            queue: QueueId(1),
            record: record("B", 1, 0, ""),
        });
        let messages = bodies.collect();
        let from = if stale { from.plus(1) } else { from };
        self.ask(Ask::DeliverTimers(DeliverTimers {
            level,
            from,
            to,
            due_ms: i64::MIN,
            messages,
            reply: Reply::none(),
        }));
    }

    fn atomic(&mut self, epoch_back: u64, sequence_ahead: i64, topic: usize) {
        let (epoch, last) = {
            let state = self.judge.state();
            let known = state.producers.get("relay").cloned().unwrap_or_default();
            (known.epoch.saturating_sub(epoch_back), known.last_sequence)
        };
        let sequence = (last.unwrap_or(0) as i64 + sequence_ahead).max(0) as u64;
        let body = self.body();
        let told = self.told.clone();
        let reply = Reply::new(move |result: Result<BatchResult, Refusal>| {
            if let Ok(BatchResult { duplicate: false, .. }) = result {
                told.lock().sequences.push(sequence);
            }
        });
        let message = |topic: &str| Outgoing {
            topic: topic.into(),
            queue: QueueId(0),
            record: record(topic, 0, body, "relay\u{1}1\u{2}"),
        };
        let producer = Some(ProducerSequence {
            producer: "relay".into(),
            epoch,
            sequence,
        });
        self.ask(Ask::AtomicBatch(AtomicBatch {
            producer,
            position: None,
            messages: vec![message(TOPICS[topic]), message(names::TRANS_CHECK_MAX_TIME)],
            offsets: vec![commit(0, sequence, false)],
            create: Vec::new(),
            reply,
        }));
    }

    fn delete(&mut self, topic: usize) {
        self.ask(Ask::DeleteTopic(TOPICS[topic].into(), Reply::none()));
        self.apply();
        // What was acknowledged in it is gone with it.
        let told = &mut *self.told.lock();
        told.acknowledged.retain(|(name, ..)| name != TOPICS[topic]);
        told.locks.remove(&topic);
    }

    fn apply(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Batch::for_test(self.time_ms));
        let (builder, complete) = batch.split_for_test();
        self.index += 1;
        let id = LogId {
            index: RaftIndex(self.index),
            ..LogId::default()
        };
        let entry = builder.finish(id, self.end.into(), 0, self.time_ms, EntryKind::Batch);
        self.end = entry.end().get();
        self.machine.apply(&entry);
        self.machine.applied(id);
        complete(&entry);
        self.entries.push(entry);
        self.check();
    }

    fn check(&self) {
        let applied = self.view.state();
        let judged = self.judge.state();
        // With nothing in flight the judge knows exactly what is applied (physical offsets apart).
        assert_eq!(judged.topics, applied.topics);
        assert_eq!(judged.groups, applied.groups);
        assert_eq!(judged.offsets, applied.offsets);
        assert_eq!(judged.locks, applied.locks);
        assert_eq!(judged.schedule, applied.schedule);
        let halves = |state: &State| {
            state
                .halves
                .iter()
                .map(|(at, half)| (at, half.checks))
                .collect::<Vec<_>>()
        };
        assert_eq!(halves(judged), halves(&applied));
        let producers = |state: &State| {
            let all = state.producers.iter();
            all.map(|(id, p)| (id.clone(), p.epoch, p.last_sequence))
                .collect::<Vec<_>>()
        };
        assert_eq!(producers(judged), producers(&applied));
        for topic in applied.topics.sorted() {
            for (id, queue) in topic.queues.iter().enumerate() {
                assert!(queue.min <= queue.next);
                let files = self
                    .queues
                    .find(&topic.config.name, topic.incarnation, QueueId(id as u32));
                let bounds = files.map(|files| self.queues.bounds(&files)).unwrap_or_default();
                assert_eq!(bounds.max, queue.next, "{} {id}", topic.config.name);
            }
        }
        assert_eq!(&State::decode(&applied.encode()).unwrap(), &*applied);
    }

    /// Everything stored, by topic incarnation-blind place: what a consumer would read.
    fn finish(mut self) {
        self.apply();
        let told = self.told.lock();
        let mut stored = BTreeMap::new();
        let mut relayed = Vec::new();
        for entry in &self.entries {
            for item in entry.items().filter(|item| item.kind == mq_store::ItemKind::Message) {
                let record = RecordView::parse(item.body).unwrap();
                assert_eq!(record.physical_offset(), item.offset);
                let body = u64::from_be_bytes(record.body().try_into().unwrap());
                let place = (record.topic().to_owned(), record.queue_id(), record.queue_offset());
                stored.insert(place, body);
                if record.property("relay").is_some() && record.topic() == names::TRANS_CHECK_MAX_TIME {
                    relayed.push(body);
                }
            }
        }
        for (topic, queue, offset, body) in &told.acknowledged {
            assert_eq!(
                stored.get(&(topic.clone(), *queue, *offset)),
                Some(body),
                "acknowledged and not there"
            );
        }
        // The relay's batches: each acknowledged sequence once, rising, and never more stored than were taken.
        assert!(
            told.sequences.windows(2).all(|pair| pair[0] < pair[1]),
            "{:?}",
            told.sequences
        );
        assert_eq!(relayed.len(), relayed.iter().collect::<BTreeSet<_>>().len());
        assert!(relayed.len() >= told.sequences.len());
    }
}

fn commit(topic: usize, offset: u64, only_advance: bool) -> OffsetCommit {
    OffsetCommit {
        group: "G".into(),
        topic: TOPICS[topic].into(),
        queue: QueueId(0),
        offset: offset.into(),
        only_advance,
    }
}

fn locks(client: usize) -> LockQueues {
    let queues = TOPICS.iter().map(|topic| QueueName {
        topic: (*topic).into(),
        queue: QueueId(0),
    });
    LockQueues {
        group: "G".into(),
        owner: format!("client{client}").into(),
        queues: queues.collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn judge_and_machine_agree_whatever_is_asked(ops in prop::collection::vec(op(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let _world = enter(World::new("n0", 3));
            let mut run = Run::new();
            for op in ops {
                run.step(op);
            }
            run.finish();
        });
    }
}

#[test]
fn the_settings_of_the_model_exist() {
    // The model stands on defaults: eighteen delay levels, of which it uses the first two.
    assert_eq!(
        Settings::defaults().delay_levels_ms().len(),
        State::default().schedule.levels() as usize
    );
    let empty = record("A", 0, 1, &waiting_for("A"));
    assert_eq!(
        rebuild::destination(&RecordView::parse(&empty).unwrap()).unwrap(),
        ("A", QueueId(0))
    );
}
