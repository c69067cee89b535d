//! A group of one without Raft, for tests: the real judge, log, state machine and handlers; asks are applied at once.

use crate::ask::Ask;
use crate::clients::Subscription;
use crate::config::{Live, Settings};
use crate::data_path::DataPath;
use crate::decide::{Judge, Waiting};
use crate::drivers::OffsetBuffer;
use crate::keys::KeyIndex;
use crate::longpoll::LongPolls;
use crate::machine::Machine;
use crate::reader::Reader;
use crate::records::Site;
use crate::request::{Caller, Request};
use crate::seams::{Judged, ProducerChannels, Subscribed, Subscriptions};
use crate::view::View;
use bytes::Bytes;
use hashbrown::HashMap;
use mq_base::env::clock;
use mq_base::env::sim::World;
use mq_base::env::task::Spawner;
use mq_message::msg_id::UniqueKeys;
use mq_raft::{Application, Batch, Decide, Session};
use mq_remoting::Command;
use mq_store::{ConsumeQueues, Entry, EntryKind, IndexOptions, Known, Log, LogId, LogOptions, QueueOptions, RaftIndex};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// The judge and what it leads to.
pub struct Solo {
    parts: Mutex<Parts>,
    waiting: Mutex<VecDeque<Ask>>,
    pumping: AtomicBool,
    leads: AtomicBool,
}

struct Parts {
    judge: Judge,
    machine: Machine,
    log: Log,
    index: u64,
    time_ms: i64,
}

impl Solo {
    /// Loses or gains leadership.
    pub fn lead(&self, leads: bool) {
        self.leads.store(leads, Ordering::SeqCst);
    }

    /// The state written down.
    pub fn checkpoint(&self) -> Bytes {
        self.parts.lock().machine.checkpoint()
    }

    /// A checkpoint whose derived files are durable.
    pub fn durable_checkpoint(&self) -> (Bytes, Known) {
        let mut parts = self.parts.lock();
        let state = parts.machine.checkpoint();
        parts.machine.prepare_checkpoint()().unwrap();
        let last = RaftIndex(parts.index);
        let entries = parts.log.read(last..last.next(), 1).unwrap();
        (state, Known::of(&entries[0]))
    }

    fn pump(&self) {
        if self.pumping.swap(true, Ordering::SeqCst) {
            return;
        }
        loop {
            let Some(ask) = self.waiting.lock().pop_front() else {
                break;
            };
            let (entry, complete) = self.parts.lock().take(ask);
            complete(&entry);
        }
        self.pumping.store(false, Ordering::SeqCst);
    }
}

impl Parts {
    fn take(&mut self, ask: Ask) -> (Entry, impl FnOnce(&Entry) + use<>) {
        self.time_ms = self.time_ms.max(clock::wall_ms());
        let mut batch: Batch<Waiting> = Batch::for_test(self.time_ms);
        self.judge.decide(ask, &mut batch);
        let (builder, complete) = batch.split_for_test();
        let tail = self.log.tail();
        self.index += 1;
        let id = LogId {
            index: RaftIndex(self.index),
            ..LogId::default()
        };
        let offset = self.log.place(builder.len() as u64);
        let entry = builder.finish(id, offset, tail.previous_hash, self.time_ms, EntryKind::Batch);
        self.log
            .append(vec![entry.clone()], Box::new(|done| done.expect("append")));
        self.machine.apply(&entry);
        self.machine.applied(id);
        (entry, complete)
    }
}

impl Judged for Solo {
    fn ask(&self, ask: Ask) {
        if !self.leads() {
            return ask.refuse(crate::ask::Refusal::NotLeader);
        }
        self.waiting.lock().push_back(ask);
        self.pump();
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }
}

/// Subscriptions by group and topic.
#[derive(Default)]
pub struct Subscribers(Mutex<HashMap<(String, String), Arc<Subscription>>>);

impl Subscribers {
    /// A consumer of the group subscribes.
    pub fn subscribe(&self, group: &str, topic: &str, expression: &str) {
        let subscription = Subscription {
            topic: topic.into(),
            expression: expression.into(),
            expression_type: "TAG".into(),
            version: 1,
            tags: Vec::new(),
            codes: Vec::new(),
            class_filter_mode: false,
        };
        self.0
            .lock()
            .insert((group.into(), topic.into()), Arc::new(subscription));
    }
}

impl Subscriptions for Subscribers {
    fn find(&self, group: &str, topic: &str) -> Subscribed {
        let all = self.0.lock();
        match all.get(&(group.to_owned(), topic.to_owned())) {
            Some(subscription) => Subscribed::To {
                subscription: subscription.clone(),
                broadcast: false,
            },
            None if all.keys().any(|(known, _)| known == group) => Subscribed::NoSubscription,
            None => Subscribed::NoConsumer,
        }
    }
}

/// Producer connections that note what they are sent.
#[derive(Default)]
pub struct Producers {
    /// Check-backs, in order.
    pub asked: Mutex<Vec<(String, Command)>>,
    /// Nobody is connected.
    pub away: AtomicBool,
}

impl ProducerChannels for Producers {
    fn ask_one(&self, group: &str, request: Command) -> bool {
        if self.away.load(Ordering::SeqCst) {
            return false;
        }
        self.asked.lock().push((group.to_owned(), request));
        true
    }
}

/// A client's connection.
struct Client {
    answers: mpsc::Sender<Command>,
}

impl Caller for Client {
    fn respond(&self, answer: Command) {
        let _ = self.answers.try_send(answer);
    }

    fn respond_parts(&self, head: Command, parts: Vec<Bytes>) {
        let _ = self.answers.try_send(head.with_body(parts.concat()));
    }

    fn remote(&self) -> SocketAddr {
        ([10, 0, 0, 7], 4711).into()
    }

    fn is_open(&self) -> bool {
        !self.answers.is_closed()
    }
}

/// A broker's data path with everything around it.
pub struct Testbed {
    /// The data path.
    pub path: Arc<DataPath>,
    /// Its judge.
    pub solo: Arc<Solo>,
    /// Subscriptions by heartbeat.
    pub subscribers: Arc<Subscribers>,
    /// Connected producers.
    pub producers: Arc<Producers>,
    /// Keeps the drivers running.
    pub stop: mq_base::stop::StopSource,
}

impl Testbed {
    /// A new broker on an empty simulated machine, drivers running.
    pub fn new() -> Self {
        let world = World::new("n0", 1);
        Self::on(&world, Settings::defaults(), 1 << 20, None)
    }

    /// A broker on this machine: from a checkpoint, or from the beginning of the log.
    pub fn on(world: &Arc<World>, settings: Settings, segment_bytes: u64, checkpoint: Option<(Bytes, Known)>) -> Self {
        std::mem::forget(mq_base::env::sim::enter(world.clone()));
        let disk = mq_base::env::disk::real();
        let dir = Path::new("/store");
        disk.create_dir_all(dir).unwrap();
        let known = checkpoint.as_ref().map(|(_, known)| *known);
        let options = LogOptions {
            segment_bytes,
            window_bytes: 256 * 1024,
            ..LogOptions::default()
        };
        let (log, _) = Log::open(disk.clone(), dir, options, known).unwrap();
        let queues = ConsumeQueues::open(disk.clone(), dir, QueueOptions::default()).unwrap();
        let view = Arc::new(View::new());
        let polls = Arc::new(LongPolls::new(settings.parked_pulls_max));
        let small = IndexOptions {
            slots: 64,
            entries: 4096,
            ..IndexOptions::default()
        };
        let by_key = KeyIndex::open(disk.clone(), dir, small).unwrap();
        let mut machine = Machine::new(view.clone(), queues.clone(), Some(by_key.clone()), polls.clone());
        let from = known.map_or(log.base(), |known| known.tail);
        machine
            .restore(
                checkpoint.as_ref().map(|(state, _)| &state[..]),
                from.next_offset,
                false,
            )
            .unwrap();
        let first = from.last.map_or(log.first(), |last| last.index.next());
        let covered = log.read(log.first()..first, u64::MAX).unwrap_or_default();
        covered.iter().for_each(|entry| machine.recall(entry));
        let mut index = first.0.saturating_sub(1);
        let mut next = first;
        while let Some(entry) = log
            .read(next..next.next(), 1)
            .ok()
            .and_then(|entries| entries.into_iter().next())
        {
            machine.apply(&entry);
            machine.applied(entry.id());
            index = entry.index().0;
            next = next.next();
        }
        let mut judge = Judge::new(view.clone());
        judge.begin(Session {
            term: Default::default(),
            now_ms: clock::wall_ms(),
            applied: LogId::default(),
        });
        let time_ms = view.state().log_time_ms;
        let parts = Parts {
            judge,
            machine,
            log: log.clone(),
            index,
            time_ms,
        };
        let solo = Arc::new(Solo {
            parts: Mutex::new(parts),
            waiting: Mutex::default(),
            pumping: AtomicBool::new(false),
            leads: AtomicBool::new(true),
        });
        let subscribers = Arc::new(Subscribers::default());
        let path = Arc::new(DataPath {
            site: Site {
                cluster: "DefaultCluster".into(),
                broker_name: "b".into(),
                store_host: ([127, 0, 0, 1], 10911).into(),
                unique_keys: UniqueKeys::new([127, 0, 0, 1].into(), 1, 2),
            },
            settings: Live::new(settings),
            view,
            judge: solo.clone(),
            reader: Reader::new(queues, log, Some(by_key), disk, dir.into()),
            polls,
            subscriptions: subscribers.clone(),
            offsets: Arc::new(OffsetBuffer::default()),
            stats: Arc::default(),
            tasks: Spawner::current(),
        });
        let producers = Arc::new(Producers::default());
        let (stop, stopped) = mq_base::stop::StopSource::new();
        drop(crate::drivers::start(&path, producers.clone(), None, &stopped));
        Self {
            path,
            solo,
            subscribers,
            producers,
            stop,
        }
    }

    /// Sends a request and gives back where its answer will come.
    pub fn send(&self, command: Command) -> mpsc::Receiver<Command> {
        self.send_as(command, false)
    }

    /// The same, perhaps as a resend.
    pub fn send_as(&self, command: Command, retried: bool) -> mpsc::Receiver<Command> {
        // One answer, and room to see one too many.
        let (answers, answer) = mpsc::channel(2);
        let mut request = Request::new(command, Arc::new(Client { answers }));
        request.retried = retried;
        assert!(self.path.serve(request).is_ok(), "a request of the data path");
        answer
    }

    /// Sends a request and waits for its answer.
    pub async fn call(&self, command: Command) -> Command {
        self.send(command).recv().await.expect("an answer")
    }
}
