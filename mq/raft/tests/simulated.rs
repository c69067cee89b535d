//! The same group inside the simulator: one thread, turmoil's network, simulated disks that lose what was not synced.
#![allow(clippy::disallowed_methods)]

mod toy;

use std::sync::Arc;
use std::time::Duration;

use mq_base::env::disk;
use mq_base::env::sim::{SimDisk, World, enter, within};
use mq_raft::{Group, GroupConfig, Peer};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;
use toy::{Answerer, Ask, Echo, Judge, Said, Words, words};

const MEMBERS: usize = 3;

#[derive(Clone, Default)]
struct Seat {
    running: Arc<Mutex<Option<(Group<Ask>, Words)>>>,
}

struct Stage<'a> {
    sim: turmoil::Sim<'a>,
    seats: Vec<Seat>,
    disks: Vec<Arc<SimDisk>>,
    rng: SmallRng,
}

fn config(i: usize) -> GroupConfig {
    let peer = |i: usize| Peer {
        slot: format!("n{i}"),
        peer_addr: format!("n{i}:7000"),
    };
    GroupConfig {
        slot: peer(i).slot,
        peer_addr: peer(i).peer_addr,
        peers: (0..MEMBERS).map(peer).collect(),
        segment_bytes: 64 << 10,
        window_bytes: 1 << 20,
        checkpoint_every: Duration::from_millis(300),
        ..GroupConfig::new("test", "toy", "/data")
    }
}

impl Stage<'_> {
    fn new(seed: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .simulation_duration(Duration::from_secs(120))
            .rng_seed(seed)
            .build();
        let seats: Vec<_> = (0..MEMBERS).map(|_| Seat::default()).collect();
        let disks: Vec<_> = (0..MEMBERS).map(|i| SimDisk::new(seed + i as u64)).collect();
        for i in 0..MEMBERS {
            let (seat, disk) = (seats[i].clone(), disks[i].clone());
            let starts = std::sync::atomic::AtomicU64::new(0);
            sim.host(format!("n{i}"), move || {
                let start = starts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let world = World::with_disk(&format!("n{i}"), seed * 1000 + start * 10 + i as u64, disk.clone());
                let seat = seat.clone();
                within(world, async move {
                    let words = Words::default();
                    let judge = Judge::default();
                    let group = Group::start(config(i), disk::real(), words.clone(), judge, Arc::new(Echo)).await?;
                    *seat.running.lock() = Some((group, words));
                    std::future::pending::<()>().await;
                    Ok(())
                })
            });
        }
        Stage {
            sim,
            seats,
            disks,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    fn until<T>(&mut self, what: &str, mut check: impl FnMut(&[Seat]) -> Option<T>) -> T {
        let end = self.sim.elapsed() + Duration::from_secs(20);
        while self.sim.elapsed() < end {
            if let Some(found) = check(&self.seats) {
                return found;
            }
            self.sim.step().unwrap();
        }
        panic!("not within twenty simulated seconds: {what}");
    }

    fn leader(&mut self) -> usize {
        self.until("a leader", |seats| {
            seats.iter().position(|seat| {
                seat.running
                    .lock()
                    .as_ref()
                    .is_some_and(|(group, _)| group.leadership().borrow().ready)
            })
        })
    }

    fn write(&mut self, word: u64) {
        loop {
            let leader = self.leader();
            let Some((group, _)) = self.seats[leader].running.lock().clone() else {
                continue;
            };
            let (answer, mut answered) = oneshot::channel();
            let _ = group.propose(
                Ask {
                    word,
                    pad: 100,
                    answer: Answerer(answer),
                },
                108,
            );
            let said = self.until("an answer", |_| match answered.try_recv() {
                Ok(said) => Some(said),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(Said::Unknown),
            });
            if matches!(said, Said::At(_)) {
                return;
            }
        }
    }

    fn same_everywhere(&mut self, at_least: usize) -> Vec<(u64, u64)> {
        self.until("the same list everywhere", |seats| {
            let lists: Vec<Vec<_>> = seats
                .iter()
                .filter_map(|s| s.running.lock().as_ref().map(|(_, w)| w.list.lock().clone()))
                .collect();
            let same = lists.len() == MEMBERS && lists.windows(2).all(|pair| pair[0] == pair[1]);
            (same && lists[0].len() >= at_least).then(|| lists[0].clone())
        })
    }

    /// The machine goes down: what was not synced is lost.
    fn crash(&mut self, i: usize) {
        self.sim.crash(format!("n{i}"));
        *self.seats[i].running.lock() = None;
        self.disks[i].crash(&mut self.rng);
    }

    fn bounce(&mut self, i: usize) {
        self.sim.bounce(format!("n{i}"));
    }
}

fn run(seed: u64) {
    let _world = enter(World::new("outside", seed));
    let mut stage = Stage::new(seed);
    let mut word = 0;
    for _ in 0..4 {
        for _ in 0..15 {
            stage.write(word);
            word += 1;
        }
        let leader = stage.leader();
        stage.crash(leader);
        stage.write(word);
        word += 1;
        stage.bounce(leader);
    }
    let list = stage.same_everywhere(word as usize);
    let mut distinct = words(&list);
    distinct.dedup();
    assert_eq!(distinct, (0..word).collect::<Vec<_>>(), "seed {seed}");
}

#[test]
fn crashed_leaders_lose_nothing_that_was_acknowledged() {
    for seed in 1..=5 {
        run(seed);
    }
}
