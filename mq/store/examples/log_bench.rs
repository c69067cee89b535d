//! Appends entries to a log in a temporary folder and says what it costs: MB/s, CPU seconds per GB, bytes written to
//! the disk per appended byte, latency.
//!
//! ```text
//! cargo run --release -p mq-store --example log_bench -- [DIR] [MiB per run]
//! ```
#![allow(clippy::disallowed_methods)] // A measuring tool.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use mq_base::env::disk;
use mq_store::{EntryBuilder, EntryKind, Log, LogId, LogOptions, NodeId, RaftIndex, Term, promise};

/// Entries on their way at the same time, as Raft would have.
const IN_FLIGHT: usize = 8;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "target/log_bench".to_owned());
    let mib: usize = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(1024);
    println!("mode   entry   MB/s  CPU-s/GB  disk bytes/byte  p50 us  p99 us");
    for (entry_bytes, share) in [(64 << 10, 1), (1 << 20, 1), (4 << 10, 16)] {
        for sync in [false, true] {
            run(Path::new(&dir), sync, entry_bytes, mib / share);
        }
    }
}

fn run(dir: &Path, sync: bool, entry_bytes: usize, mib: usize) {
    let _ = std::fs::remove_dir_all(dir);
    let options = LogOptions {
        segment_bytes: 128 << 20,
        sync,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(disk::real(), dir, options, None).expect("open the log");
    let record = vec![0x5A; entry_bytes - 76];
    // The first pass writes two segments, which the purge recycles: the steady state of a broker.
    fill(&log, &record, 260);
    let upto = log.tail().last.expect("entries");
    let (done, outcome) = promise();
    log.purge(upto, done);
    outcome.wait().expect("purge");

    let (cpu, io, start) = (cpu_seconds(), written_bytes(), Instant::now());
    let mut latencies = fill(&log, &record, mib);
    let (done, outcome) = promise();
    log.flush(done);
    outcome.wait().expect("flush");
    let (seconds, bytes) = (start.elapsed().as_secs_f64(), (mib << 20) as f64);
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{:5} {:6}K {:6.0} {:9.2} {:16.3} {:7} {:7}",
        if sync { "sync" } else { "async" },
        entry_bytes >> 10,
        bytes / 1e6 / seconds,
        (cpu_seconds() - cpu) / (bytes / 1e9),
        (written_bytes() - io) as f64 / bytes,
        at(0.5),
        at(0.99),
    );
    let (done, outcome) = promise();
    log.close(done);
    outcome.wait().expect("close");
    drop(log);
    let _ = std::fs::remove_dir_all(dir);
}

/// Appends `mib` MiB; the latency of each entry in microseconds.
fn fill(log: &Log, record: &[u8], mib: usize) -> Vec<u128> {
    let entries = (mib << 20) / (record.len() + 76);
    let mut latencies = Vec::with_capacity(entries);
    let mut waiting = VecDeque::with_capacity(IN_FLIGHT);
    for _ in 0..entries {
        let tail = log.tail();
        let index = tail.last.map_or(0, |last| last.index.get() + 1);
        let id = LogId {
            term: Term(1),
            node: NodeId(1),
            index: RaftIndex(index),
        };
        let mut builder = EntryBuilder::new(record.len() + 12);
        builder.push_message(record);
        let offset = log.place(builder.len() as u64);
        let entry = builder.finish(id, offset, tail.previous_hash, 0, EntryKind::Batch);
        if waiting.len() == IN_FLIGHT {
            take(&mut waiting, &mut latencies);
        }
        let (done, outcome) = promise();
        waiting.push_back((Instant::now(), outcome));
        log.append(vec![entry], done);
    }
    while !waiting.is_empty() {
        take(&mut waiting, &mut latencies);
    }
    latencies
}

fn take(waiting: &mut VecDeque<(Instant, mq_store::Promise)>, latencies: &mut Vec<u128>) {
    if let Some((start, outcome)) = waiting.pop_front() {
        outcome.wait().expect("append");
        latencies.push(start.elapsed().as_micros());
    }
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after_name
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // utime and stime, in ticks of 10 ms; the state letter before them does not parse.
    (fields.get(10).unwrap_or(&0.0) + fields.get(11).unwrap_or(&0.0)) / 100.0
}

fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0)
}
