//! A toy application for the tests: a list of the words that were written, in order, with their places.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mq_base::env::disk::Disk;
use mq_base::env::sim::{Hooks, hooked};
use mq_raft::stored::{CommitLogOffset, Entry, LogId, NodeId};
use mq_raft::*;
use mq_store::ItemKind;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// The state: every word and the offset of its item.
#[derive(Clone, Default)]
pub struct Words {
    pub list: Arc<Mutex<Vec<(u64, u64)>>>,
    /// Words that this process was told of, by whatever way.
    pub heard: Arc<Mutex<Vec<u64>>>,
    pub restored: Arc<AtomicU64>,
    pub installed: Arc<AtomicU64>,
}

impl Application for Words {
    fn apply(&mut self, entry: &Entry) {
        let mut list = self.list.lock();
        for item in entry.items() {
            assert_eq!(item.kind, ItemKind::Effect);
            let word = u64::from_be_bytes(item.body[..8].try_into().unwrap());
            list.push((word, item.offset.get()));
        }
        drop(list);
        self.recall(entry);
    }
    fn applied(&mut self, _: LogId) {}
    fn prepare_checkpoint(&mut self) -> SyncDerived {
        Box::new(|| Ok(()))
    }
    fn checkpoint(&mut self) -> Bytes {
        let list = self.list.lock();
        list.iter()
            .flat_map(|(w, o)| [w.to_be_bytes(), o.to_be_bytes()])
            .flatten()
            .collect::<Vec<u8>>()
            .into()
    }
    fn restore(&mut self, state: Option<&[u8]>, _: CommitLogOffset, install: bool) -> io::Result<()> {
        let number = |b: &[u8]| u64::from_be_bytes(b.try_into().unwrap());
        let words = state
            .unwrap_or_default()
            .chunks(16)
            .map(|c| (number(&c[..8]), number(&c[8..])));
        *self.list.lock() = words.collect();
        self.restored.fetch_add(u64::from(state.is_some()), Ordering::SeqCst);
        self.installed.fetch_add(u64::from(install), Ordering::SeqCst);
        self.heard.lock().clear();
        Ok(())
    }
    fn recall(&mut self, entry: &Entry) {
        let words = entry
            .items()
            .map(|item| u64::from_be_bytes(item.body[..8].try_into().unwrap()));
        self.heard.lock().extend(words);
    }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Said {
    At(u64),
    Refused,
    Unknown,
}

pub struct Ask {
    pub word: u64,
    pub pad: usize,
    pub answer: Answerer,
}

pub struct Answerer(pub oneshot::Sender<Said>);

impl Answer for Answerer {
    fn complete(self, outcome: Outcome<'_>) {
        let said = match outcome {
            Outcome::Applied { offsets, .. } => Said::At(offsets[0].get()),
            Outcome::Refused => Said::Refused,
            Outcome::Unknown => Said::Unknown,
        };
        let _ = self.0.send(said);
    }
}

/// The judge of the toy: takes everything.
#[derive(Default)]
pub struct Judge {
    pub sessions: Arc<AtomicU64>,
    pub leading: Arc<AtomicBool>,
}

impl Decide for Judge {
    type Request = Ask;
    type Answer = Answerer;
    fn begin(&mut self, _: Session) {
        self.sessions.fetch_add(1, Ordering::SeqCst);
        self.leading.store(true, Ordering::SeqCst);
    }
    fn decide(&mut self, ask: Ask, batch: &mut Batch<Answerer>) {
        let mut body = ask.word.to_be_bytes().to_vec();
        body.resize(8 + ask.pad, 7);
        let item = batch.push_effect(&body);
        batch.answer(ask.answer, item..item + 1);
    }
    fn refuse(&mut self, ask: Ask) {
        let _ = ask.answer.0.send(Said::Refused);
    }
    fn end(&mut self) {
        self.leading.store(false, Ordering::SeqCst);
    }
}

pub struct Echo;

impl PeerService for Echo {
    fn handle(&self, from: NodeId, message: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(async move { Some([&message[..], format!(" from {:x}", from.0).as_bytes()].concat().into()) })
    }
}

/// One member with a runtime of its own, so that it can be killed.
pub struct Member {
    runtime: Option<Runtime>,
    pub group: Group<Ask>,
    pub words: Words,
    pub sessions: Arc<AtomicU64>,
    pub config: GroupConfig,
}

impl Member {
    pub fn start(config: GroupConfig) -> Member {
        Self::try_start(config).expect("start the member")
    }

    pub fn try_start(config: GroupConfig) -> Result<Member, StartError> {
        Self::start_on(mq_base::env::disk::real(), config)
    }

    pub fn start_on(disk: Arc<dyn Disk>, config: GroupConfig) -> Result<Member, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let (words, judge) = (Words::default(), Judge::default());
        let sessions = judge.sessions.clone();
        let start = Group::start(config.clone(), disk, words.clone(), judge, Arc::new(Echo));
        let group = runtime.block_on(start)?;
        Ok(Member {
            runtime: Some(runtime),
            group,
            words,
            sessions,
            config,
        })
    }

    /// As kill -9 does, as far as a process can do it to a part of itself: tasks and sockets go, nothing is said.
    pub fn kill(mut self) -> GroupConfig {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.config.clone()
    }

    pub fn stop(mut self) -> GroupConfig {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(self.group.shutdown());
            runtime.shutdown_background();
        }
        self.config.clone()
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("runs").block_on(future)
    }

    pub fn id(&self) -> NodeId {
        self.group.id()
    }

    pub fn leads(&self) -> bool {
        self.group.leadership().borrow().ready
    }

    pub fn write(&self, word: u64) -> Said {
        self.write_padded(word, 0)
    }

    pub fn write_padded(&self, word: u64, pad: usize) -> Said {
        self.send(word, pad).blocking_recv().unwrap_or(Said::Unknown)
    }

    pub fn send(&self, word: u64, pad: usize) -> oneshot::Receiver<Said> {
        let (answer, answered) = oneshot::channel();
        let _ = self.group.propose(
            Ask {
                word,
                pad,
                answer: Answerer(answer),
            },
            8 + pad,
        );
        answered
    }

    pub fn list(&self) -> Vec<(u64, u64)> {
        self.words.list.lock().clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for a condition, at most ten seconds.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Free ports of this machine.
pub fn free_ports(n: usize) -> Vec<u16> {
    let held: Vec<_> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|l| l.local_addr().unwrap().port()).collect()
}

/// Settings of `n` members under `dir`.
pub fn configs(dir: &Path, n: usize) -> Vec<GroupConfig> {
    let peers: Vec<Peer> = free_ports(n)
        .into_iter()
        .enumerate()
        .map(|(i, port)| Peer {
            slot: format!("n{i}"),
            peer_addr: format!("127.0.0.1:{port}"),
        })
        .collect();
    (0..n)
        .map(|i| GroupConfig {
            slot: peers[i].slot.clone(),
            peer_addr: peers[i].peer_addr.clone(),
            client_addr: format!("127.0.0.1:1{i}"),
            peers: peers.clone(),
            segment_bytes: 64 << 10,
            window_bytes: 1 << 20,
            checkpoint_every: Duration::from_millis(300),
            ..GroupConfig::new("test", "toy", dir.join(format!("n{i}")))
        })
        .collect()
}

pub fn leader(members: &[Member]) -> usize {
    eventually("a leader", || members.iter().position(Member::leads))
}

/// All members end up with the same list; returns it.
pub fn same_everywhere(members: &[Member], at_least: usize) -> Vec<(u64, u64)> {
    eventually("the same list everywhere", || {
        let lists: Vec<_> = members.iter().map(Member::list).collect();
        let same = lists.windows(2).all(|pair| pair[0] == pair[1]);
        (same && lists[0].len() >= at_least).then(|| lists[0].clone())
    })
}

/// Prints what the group logs when a test is run with RUST_LOG.
pub fn logging() {
    mq_base::logging::init("test");
}

/// Claims another start of the machine, and fails its syncs on command.
#[derive(Debug)]
struct Odd {
    boot: String,
    broken: Arc<AtomicBool>,
}

impl Hooks for Odd {
    fn before_sync(&self) -> io::Result<()> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(io::Error::other("broken on command")),
            false => Ok(()),
        }
    }
    fn boot_id(&self) -> Option<String> {
        Some(self.boot.clone())
    }
}

/// The disk of this machine after a start of that name, and what makes its syncs fail.
pub fn disk_of_boot(boot: &str) -> (Arc<dyn Disk>, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let odd = Odd {
        boot: boot.into(),
        broken: broken.clone(),
    };
    (hooked(mq_base::env::disk::real(), Arc::new(odd)), broken)
}

/// Copies a folder.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => copy_dir(&file.path(), &target),
            false => drop(std::fs::copy(file.path(), target).unwrap()),
        }
    }
}

/// Writes through whoever leads until it is taken; a word may be written twice when its fate was unknown.
pub fn write_somewhere(members: &[Member], word: u64) {
    eventually("a word is taken", || {
        let leader = members.iter().find(|m| m.leads())?;
        matches!(leader.write(word), Said::At(_)).then_some(())
    });
}

/// The words without their places.
pub fn words(list: &[(u64, u64)]) -> Vec<u64> {
    list.iter().map(|(word, _)| *word).collect()
}
