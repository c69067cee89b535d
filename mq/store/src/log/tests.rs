//! The log against a model and against a bad disk. Threads are left out: the tests step the writer and the flusher.

mod damage;
mod model;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mq_base::env::disk::{Disk, OpenMode};
use mq_base::env::sim::SimDisk;
use mq_message::CommitLogOffset;

use super::flusher::Flusher;
use super::writer::{Step, Writer};
use super::*;
use crate::entry::{EntryBuilder, EntryKind};
use crate::position::Term;

const DIR: &str = "/store";

/// A log whose threads are stepped by hand.
struct Rig {
    disk: Arc<SimDisk>,
    log: Log,
    writer: Writer,
    flusher: Flusher,
}

fn options(sync: bool) -> LogOptions {
    LogOptions {
        cluster: "c".into(),
        group: "g".into(),
        segment_bytes: 4096,
        window_bytes: 6000,
        page_bytes: 1, // Whole pages would hide what old bytes can do.
        sync,
        ..LogOptions::default()
    }
}

fn open(disk: &Arc<SimDisk>, options: LogOptions, from: Option<Known>) -> (Rig, Recovered) {
    let dynamic: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, recovered) = Log::open_idle(dynamic, Path::new(DIR), options, from).expect("open the log");
    let rig = Rig {
        disk: disk.clone(),
        writer: Writer::new(log.shared.clone()),
        flusher: Flusher::new(log.shared.clone()),
        log,
    };
    (rig, recovered)
}

impl Rig {
    fn write(&mut self) -> Step {
        self.writer.run_batch(self.log.shared.jobs.poll().items)
    }

    fn flush(&mut self) {
        self.flusher.tick(self.log.shared.chores.poll().items);
    }

    /// Appends and writes.
    fn put(&mut self, entry: &Entry) {
        let (done, outcome) = promise();
        self.log.append(vec![entry.clone()], done);
        self.write();
        outcome.try_take().expect("told").expect("appended");
    }

    /// Runs one call that takes a `Done` to its end.
    fn run(&mut self, call: impl FnOnce(&Log, Done)) -> io::Result<()> {
        let (done, outcome) = promise();
        call(&self.log, done);
        self.write();
        self.flush();
        outcome.try_take().expect("told")
    }
}

/// A stored record with `len` bytes after its fixed part, filled from `seed`.
fn record(len: usize, seed: u64) -> Vec<u8> {
    (0..36 + len)
        .map(|i| (seed as usize).wrapping_mul(31).wrapping_add(i * 7) as u8)
        .collect()
}

/// The entry that would follow the tail.
fn next(log: &Log, term: u64, len: usize) -> Entry {
    let tail = log.tail();
    let index = tail.last.map_or(1, |last| last.index.get() + 1);
    let mut builder = EntryBuilder::new(len);
    builder.push_message(&record(len, index * 1000 + term));
    if index.is_multiple_of(3) {
        builder.push_effect(&index.to_be_bytes());
    }
    let id = LogId {
        term: Term(term),
        node: NodeId(7),
        index: RaftIndex(index),
    };
    let offset = log.place(builder.len() as u64);
    builder.finish(id, offset, tail.previous_hash, index as i64, EntryKind::Batch)
}

fn segment_path(base: u64) -> PathBuf {
    Path::new(DIR).join(COMMIT_LOG).join(format!("{base:020}"))
}

/// Overwrites bytes of a segment behind the log's back.
fn scribble(disk: &Arc<SimDisk>, offset: u64, bytes: &[u8]) {
    let base = offset - offset % 4096;
    let file = disk.open(&segment_path(base), OpenMode::ReadWrite).unwrap();
    file.write_all_vectored_at(&[bytes], offset - base).unwrap();
    file.sync_all().unwrap();
}

fn all(log: &Log) -> Vec<Entry> {
    log.read(log.first()..RaftIndex(u64::MAX), u64::MAX).expect("read all")
}

/// The first message of an entry: offset and bytes.
fn message(entry: &Entry) -> (CommitLogOffset, Bytes) {
    let item = entry.items().next().expect("an item");
    (item.offset, entry.body(&item))
}
