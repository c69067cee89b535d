//! Throughput of one group of three members in one process: `raft_bench [seconds] [entry KiB] [sync|async] [in flight]`.
//!
//! Prints entries/s, MB/s and CPU seconds per GB of all members and the load together, on loopback TCP and real files.
//! The figures of the machine go with it: compare only runs on the same one.

#![allow(clippy::disallowed_methods)] // A test or a bench, never simulated.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mq_raft::stored::{CommitLogOffset, Entry, LogId, NodeId};
use mq_raft::*;
use tokio::sync::mpsc;

struct Nothing;

impl Application for Nothing {
    fn apply(&mut self, _: &Entry) {}
    fn applied(&mut self, _: LogId) {}
    fn prepare_checkpoint(&mut self) -> SyncDerived {
        Box::new(|| Ok(()))
    }
    fn checkpoint(&mut self) -> Bytes {
        Bytes::new()
    }
    fn restore(&mut self, _: Option<&[u8]>, _: CommitLogOffset, _: bool) -> io::Result<()> {
        Ok(())
    }
    fn recall(&mut self, _: &Entry) {}
}

impl PeerService for Nothing {
    fn handle(&self, _: NodeId, _: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(async { None })
    }
}

/// Sent back with the time of the request when it is applied.
#[derive(Debug)]
struct Done(mpsc::Sender<(bool, Instant)>, Instant);

impl Answer for Done {
    fn complete(self, outcome: Outcome<'_>) {
        let _ = self.0.try_send((matches!(outcome, Outcome::Applied { .. }), self.1));
    }
}

struct TakeAll(Bytes);

impl Decide for TakeAll {
    type Request = Done;
    type Answer = Done;
    fn begin(&mut self, _: Session) {}
    fn decide(&mut self, request: Done, batch: &mut Batch<Done>) {
        let item = batch.push_effect(&self.0);
        batch.answer(request, item..item + 1);
    }
    fn refuse(&mut self, request: Done) {
        request.complete(Outcome::Refused);
    }
    fn end(&mut self) {}
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn config(dir: &Path, i: usize, peers: &[Peer], sync: bool) -> GroupConfig {
    GroupConfig {
        slot: peers[i].slot.clone(),
        peer_addr: peers[i].peer_addr.clone(),
        peers: peers.to_vec(),
        segment_bytes: 64 << 20,
        sync,
        ..GroupConfig::new("bench", "bench", dir.join(format!("n{i}")))
    }
}

fn main() {
    mq_base::logging::init("raft_bench");
    let arg = |i: usize, default: &str| std::env::args().nth(i).unwrap_or_else(|| default.to_owned());
    let seconds: u64 = arg(1, "5").parse().expect("seconds");
    let entry = arg(2, "64").parse::<usize>().expect("KiB of an entry") << 10;
    let sync = arg(3, "sync") == "sync";
    let in_flight: usize = arg(4, "64").parse().expect("requests in flight");
    let dir = tempfile::tempdir().expect("temporary folder");
    let held: Vec<_> = (0..3)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("port"))
        .collect();
    let address = |i: usize| held[i].local_addr().expect("address").to_string();
    let peers: Vec<Peer> = (0..3)
        .map(|i| Peer {
            slot: format!("n{i}"),
            peer_addr: address(i),
        })
        .collect();
    drop(held);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runtime");
    let body = Bytes::from(vec![7; entry - 100]);
    runtime.block_on(async {
        let mut members = Vec::new();
        for i in 0..3 {
            let disk = mq_base::env::disk::real();
            let member = Group::start(config(dir.path(), i, &peers, sync), disk, Nothing, TakeAll(body.clone()), Arc::new(Nothing));
            members.push(member.await.expect("start a member"));
        }
        let leader = loop {
            if let Some(leader) = members.iter().find(|m| m.leadership().borrow().ready) {
                break leader;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let (done, mut answers) = mpsc::channel(in_flight * 2);
        let ask = || leader.propose(Done(done.clone(), Instant::now()), entry).expect("the queue is longer");
        let (began, cpu) = (Instant::now(), cpu_seconds());
        (0..in_flight).for_each(|_| ask());
        let (mut applied, mut failed, mut waits) = (0u64, 0u64, Vec::new());
        while began.elapsed() < Duration::from_secs(seconds) {
            let Some((ok, since)) = answers.recv().await else { break };
            applied += u64::from(ok);
            failed += u64::from(!ok);
            waits.push(since.elapsed());
            ask();
        }
        let took = began.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - cpu;
        waits.sort();
        let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or_default();
        let gb = (applied as f64) * entry as f64 / 1e9;
        println!(
            "{} KiB entries, {}, {in_flight} in flight: {:.0}/s, {:.0} MB/s, {:.2} CPU-s/GB, p50 {:?} p99 {:?} max {:?}, failed {failed}",
            entry >> 10,
            if sync { "sync" } else { "async" },
            applied as f64 / took,
            gb * 1000.0 / took,
            cpu / gb,
            at(0.5),
            at(0.99),
            at(1.0 - 1e-9),
        );
        for member in &members {
            member.shutdown().await;
        }
    });
}
