//! The inspector as a program: what it says, and its exit status.
#![allow(clippy::disallowed_methods)] // It starts a process and breaks files.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use bytes::BytesMut;
use mq_base::env::disk;
use mq_message::{CommitLogOffset, QueueId, QueueOffset, RecordSpec};
use mq_store::{Entry, EntryBuilder, EntryKind, Log, LogId, LogOptions, NodeId, RaftIndex, Term, promise};

fn mqstore(dir: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mqstore"))
        .arg("inspect")
        .arg(dir)
        .args(more)
        .output()
        .expect("start mqstore")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A log of ten entries with one record each, closed cleanly.
fn make(dir: &Path) -> Vec<Entry> {
    let options = LogOptions {
        cluster: "c".into(),
        group: "g".into(),
        segment_bytes: 4096,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(disk::real(), dir, options, None).expect("open");
    let host: SocketAddr = "127.0.0.1:10911".parse().expect("address");
    let mut entries = Vec::new();
    for index in 0..10u64 {
        let mut record = BytesMut::new();
        let body = vec![b'x'; 700];
        let spec = RecordSpec {
            topic: "TopicTest",
            queue_id: QueueId::from(2),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            store_timestamp: 2,
            reconsume_times: 0,
            prepared_transaction_offset: CommitLogOffset::from(0),
            body: &body,
            properties: "",
            queue_offset: QueueOffset::from(index),
            physical_offset: CommitLogOffset::from(0),
        };
        spec.encode_into(&mut record).expect("encode");
        let mut builder = EntryBuilder::new(1000);
        builder.push_message(&record);
        let id = LogId {
            term: Term(1),
            node: NodeId(1),
            index: RaftIndex(index),
        };
        let offset = log.place(builder.len() as u64);
        let entry = builder.finish(id, offset, log.tail().previous_hash, 5, EntryKind::Batch);
        log.append(vec![entry.clone()], Box::new(|outcome| outcome.expect("append")));
        entries.push(entry);
    }
    let (done, outcome) = promise();
    log.close(done);
    outcome.wait().expect("close");
    entries
}

#[test]
fn a_sound_store_is_described() {
    let dir = tempfile::tempdir().expect("folder");
    let entries = make(dir.path());
    let output = mqstore(dir.path(), &[]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for expected in [
        "group c/g",
        "cleanly",
        "vote: none",
        "entries 10, records 10",
        "no damage",
    ] {
        assert!(said.contains(expected), "{expected:?} in:\n{said}");
    }
    let from = entries[8].offset().to_string();
    let said = text(&mqstore(dir.path(), &["--records", "--from", &from]));
    assert!(!said.contains("TopicTest/2@7 ") && said.contains("TopicTest/2@8 ") && said.contains("TopicTest/2@9 "));
}

#[test]
fn damage_is_named_and_is_exit_status_2() {
    let dir = tempfile::tempdir().expect("folder");
    let entries = make(dir.path());
    let offset = entries[3].offset().get();
    let segment = dir.path().join(format!("commitlog/{:020}", offset - offset % 4096));
    let at = (offset % 4096) as usize;
    let good = std::fs::read(&segment).expect("read");
    // The payload of one entry: the fold goes on; its header: the fold ends.
    for (byte, read) in [(at + 200, 9), (at + 20, 3)] {
        let mut bad = good.clone();
        bad[byte] ^= 1;
        std::fs::write(&segment, &bad).expect("write");
        let output = mqstore(dir.path(), &[]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("DAMAGE the log is damaged at offset {offset}")),
            "{said}"
        );
        assert!(said.contains(&format!("records {read}")), "{said}");
    }
}

#[test]
fn a_folder_without_a_log_is_exit_status_1() {
    let dir = tempfile::tempdir().expect("folder");
    let output = mqstore(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
    let help = Command::new(env!("CARGO_BIN_EXE_mqstore"))
        .args(["inspect", "--help"])
        .output()
        .expect("help");
    assert!(text(&help).contains("Examples:"));
}
