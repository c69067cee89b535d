//! What the log refuses, in which order it reports, and what it does on a failing or full disk.

use mq_base::env::sim::{Fault, Hooks, hooked};

use super::*;

#[test]
fn an_entry_that_does_not_continue_the_log_is_refused_and_those_before_it_are_in() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let good = next(&rig.log, 1, 10);
    let (done, outcome) = promise();
    rig.log.append(vec![good.clone(), good.clone()], done);
    rig.write();
    let error = outcome.try_take().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(all(&rig.log), [good]);
    let more = next(&rig.log, 1, 10);
    rig.put(&more);
    assert!(!rig.log.poisoned().is_stopped());
}

#[test]
fn entries_are_visible_before_they_are_written_and_never_evicted_before() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let mut entries = Vec::new();
    for _ in 0..50 {
        let entry = next(&rig.log, 1, 1000); // Far more than the window.
        rig.log.append(vec![entry.clone()], Box::new(drop));
        entries.push(entry);
    }
    assert_eq!(all(&rig.log), entries);
    let range = RaftIndex(1)..RaftIndex(51);
    assert_eq!(rig.log.read_recent(range.clone(), u64::MAX).unwrap(), entries);
    rig.write();
    assert_eq!(
        rig.log.read_recent(range, u64::MAX),
        None,
        "the window is bounded again"
    );
    assert_eq!(all(&rig.log), entries);
}

#[test]
fn a_write_fills_its_last_page() {
    let disk = SimDisk::new(1);
    let page_bytes = 512;
    let (mut rig, _) = open(
        &disk,
        LogOptions {
            page_bytes,
            ..options(true)
        },
        None,
    );
    rig.put(&next(&rig.log, 1, 10));
    scribble(&disk, 300, &[9; 1000]);
    rig.put(&next(&rig.log, 1, 10));
    let end = rig.log.tail().next_offset.get() as usize;
    assert!(end < 512);
    let mut bytes = [0; 1300];
    let file = disk.open(&segment_path(0), OpenMode::Read).unwrap();
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[end..512].iter().all(|byte| *byte == 0));
    assert!(bytes[512..].iter().all(|byte| *byte == 9));
}

#[test]
fn outcomes_come_in_order() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..20 {
        let order = order.clone();
        let done: Done = Box::new(move |result| order.lock().push((n, result.is_ok())));
        if n % 5 == 4 {
            rig.log.save_vote(Bytes::from(vec![n as u8; 3]), done);
        } else {
            rig.log.append(vec![next(&rig.log, 1, 30)], done);
        }
    }
    rig.write();
    let expected: Vec<_> = (0..20).map(|n| (n, true)).collect();
    assert_eq!(*order.lock(), expected);
    assert_eq!(rig.log.vote().unwrap(), vec![19; 3]);
}

#[test]
fn a_failed_sync_poisons_for_good() {
    for (fault, path) in [
        (Fault::SyncError, "commitlog"),
        (Fault::WriteError, "commitlog"),
        (Fault::SyncError, "vote"),
        (Fault::WriteError, "vote"),
    ] {
        let disk = SimDisk::new(1);
        let (mut rig, _) = open(&disk, options(true), None);
        let before = next(&rig.log, 1, 10);
        rig.put(&before);
        disk.inject(fault, path, 0, 1);
        let entry = next(&rig.log, 1, 10);
        let failed = if path == "vote" {
            rig.run(|log, done| log.save_vote(Bytes::from_static(b"v"), done))
        } else {
            rig.run(|log, done| log.append(vec![entry], done))
        };
        failed.unwrap_err();
        assert!(rig.log.poisoned().is_stopped());
        disk.heal();
        let entry = next(&rig.log, 1, 10);
        rig.run(|log, done| log.append(vec![entry], done)).unwrap_err();
        rig.run(|log, done| log.save_vote(Bytes::from_static(b"w"), done))
            .unwrap_err();
        rig.run(|log, done| log.close(done)).unwrap_err();
        drop(rig);
        let (rig, recovered) = open(&disk, options(true), None);
        assert_eq!(recovered.damage, None);
        assert_eq!(all(&rig.log)[0], before);
    }
}

#[test]
fn bytes_that_a_failed_sync_left_in_the_page_cache_are_written_again_at_open() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let (mut rig, _) = open(&disk, options(true), None);
        disk.inject(Fault::SyncError, "commitlog/00000000000000000000", 0, 1);
        let entry = next(&rig.log, 1, 3000);
        rig.run(|log, done| log.append(vec![entry.clone()], done)).unwrap_err();
        drop(rig);
        let (rig, recovered) = open(&disk, options(true), None);
        assert_eq!(recovered.tail, Tail::after(&entry), "the page cache still has it");
        drop(rig);
        // What was found is promised from now on, so it must survive a power loss.
        let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(seed);
        disk.crash(&mut rng);
        let (rig, after) = open(&disk, options(true), None);
        assert_eq!(after.tail, recovered.tail);
        assert_eq!(after.damage, None);
        assert_eq!(all(&rig.log), [entry]);
    }
}

#[test]
fn a_full_disk_is_announced_half_a_segment_ahead_and_waited_for() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    rig.put(&next(&rig.log, 1, 100));
    rig.flush();
    let used: u64 = disk.files().iter().map(|(_, len)| len).sum();
    disk.set_capacity(Some(used + 1000));
    assert_eq!(rig.log.room(), Room::Plenty);
    while rig.log.tail().next_offset.get() < 2048 {
        rig.put(&next(&rig.log, 1, 100));
    }
    rig.flush();
    let Room::StateOnly { left } = rig.log.room() else {
        panic!("the next segment cannot be allocated");
    };
    assert_eq!(left, 4096 - rig.log.tail().next_offset.get());
    // State entries and votes go on ...
    rig.put(&next(&rig.log, 1, 10));
    rig.run(|log, done| log.save_vote(Bytes::from_static(b"v"), done))
        .unwrap();
    // ... and an entry that needs the next segment waits, without poison.
    let big = next(&rig.log, 1, 3000);
    let (done, outcome) = promise();
    rig.log.append(vec![big.clone()], done);
    assert_eq!(rig.write(), Step::Stalled);
    assert_eq!(rig.write(), Step::Stalled);
    assert!(outcome.try_take().is_none());
    assert!(!rig.log.poisoned().is_stopped());
    disk.set_capacity(None);
    assert_eq!(rig.write(), Step::Idle);
    outcome.try_take().unwrap().unwrap();
    rig.flush();
    assert_eq!(rig.log.room(), Room::Plenty);
    drop(rig);
    let (rig, _) = open(&disk, options(true), None);
    assert_eq!(all(&rig.log).last(), Some(&big));
}

#[test]
fn purged_entries_are_not_found_and_purged_records_are_gone() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let mut entries = Vec::new();
    for _ in 0..30 {
        let entry = next(&rig.log, 1, 300);
        rig.put(&entry);
        entries.push(entry);
    }
    rig.run(|log, done| log.purge(entries[10].id(), done)).unwrap();
    assert_eq!(rig.log.first(), RaftIndex(12));
    let error = rig.log.read(RaftIndex(5)..RaftIndex(7), 1000).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let (offset, body) = message(&entries[3]);
    assert_eq!(rig.log.bytes_at(offset, body.len()), Lookup::Gone);
    let (offset, body) = message(&entries[11]);
    assert_eq!(rig.log.bytes_at(offset, body.len()), Lookup::Cold);
    let beyond = rig.log.tail().next_offset;
    assert_eq!(rig.log.bytes_at(beyond, 40), Lookup::Gone);
    let segments = rig.log.segments().unwrap();
    assert_eq!(segments[0].first, entries[11].id());
    for pair in segments.windows(2) {
        assert_eq!(pair[0].base.get() + 4096, pair[1].base.get());
        let entry = &entries[pair[1].first.index.get() as usize - 1];
        assert_eq!(entry.offset(), pair[1].offset);
    }
}

#[test]
fn segments_whose_first_entry_is_not_written_yet_are_no_damage() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let entry = next(&rig.log, 1, 300);
    rig.put(&entry);
    for _ in 0..20 {
        let entry = next(&rig.log, 1, 1000);
        rig.log.append(vec![entry], Box::new(drop));
    }
    let bases: Vec<u64> = (0..rig.log.tail().next_offset.get()).step_by(4096).collect();
    for base in &bases {
        rig.log.shared.segments.create(*base).unwrap();
    }
    let listed = |log: &Log| log.segments().unwrap().iter().map(|s| s.base.get()).collect::<Vec<_>>();
    assert_eq!(listed(&rig.log), bases);
    rig.write();
    assert_eq!(listed(&rig.log), bases);
}

#[test]
fn a_start_from_a_checkpoint_reads_only_what_comes_after() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let mut entries = Vec::new();
    for _ in 0..100 {
        let entry = next(&rig.log, 1, 300);
        rig.put(&entry);
        entries.push(entry);
    }
    rig.flush();
    drop(rig);
    // Damage in the middle of an old segment: only a read of it would notice.
    scribble(&disk, entries[20].offset().get(), &[0; 64]);
    let (rig, recovered) = open(&disk, options(true), Some(Known::of(&entries[90])));
    assert_eq!(recovered.damage, None);
    assert_eq!(recovered.tail, Tail::after(&entries[99]));
    let read = |from: u64, to: u64| rig.log.read(RaftIndex(from)..RaftIndex(to), u64::MAX);
    assert_eq!(read(60, 101).unwrap(), entries[59..]);
    assert!(Damage::of(&read(21, 22).unwrap_err()).is_some());
    drop(rig);
    // A checkpoint that names another entry is not believed.
    let mut wrong = Known::of(&entries[90]);
    wrong.tail.previous_hash ^= 1;
    let (_, recovered) = open(&disk, options(true), Some(wrong));
    assert_eq!(recovered.damage.expect("damage").offset, entries[20].offset());
}

/// The real threads on a real disk.
#[tokio::test]
async fn the_threads_do_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let disk = mq_base::env::disk::real();
    let options = LogOptions {
        flush_interval: std::time::Duration::from_millis(5),
        ..options(false)
    };
    let (log, _) = Log::open(disk.clone(), dir.path(), options.clone(), None).unwrap();
    let mut entries = Vec::new();
    for _ in 0..200 {
        let entry = next(&log, 1, 300);
        let (done, outcome) = promise();
        log.append(vec![entry.clone()], done);
        outcome.await.unwrap();
        entries.push(entry);
    }
    let (done, outcome) = promise();
    log.save_vote(Bytes::from_static(b"me"), done);
    outcome.await.unwrap();
    let (done, outcome) = promise();
    log.purge(entries[99].id(), done);
    outcome.await.unwrap();
    let (done, outcome) = promise();
    log.flush(done);
    outcome.await.unwrap();
    assert_eq!(log.flushed(), log.tail());
    let got = log.read_async(RaftIndex(101)..RaftIndex(201), u64::MAX).await.unwrap();
    assert_eq!(got, entries[100..]);
    let (offset, body) = message(&entries[100]);
    assert_eq!(log.read_bytes_cold(offset, body.len()).await.unwrap(), body);
    let (done, outcome) = promise();
    log.close(done);
    outcome.await.unwrap();
    drop(log);
    let (log, recovered) = Log::open(disk, dir.path(), options, None).unwrap();
    assert!(!recovered.unclean_machine);
    assert_eq!(recovered.tail, Tail::after(&entries[199]));
    assert_eq!(log.vote().unwrap(), "me");
    assert_eq!(all(&log), entries[100..]);
}

/// A sync takes until it is let go.
#[derive(Debug, Default)]
struct Gate {
    held: Mutex<bool>,
    waiting: std::sync::atomic::AtomicUsize,
    changed: parking_lot::Condvar,
}

impl Hooks for Gate {
    fn before_sync(&self) -> io::Result<()> {
        let mut held = self.held.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *held {
            self.changed.wait(&mut held);
        }
        Ok(())
    }
}

#[test]
fn a_second_background_sync_does_not_overtake_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let disk = hooked(mq_base::env::disk::real(), gate.clone());
    let (log, _) = Log::open_idle(disk, dir.path(), options(false), None).unwrap();
    let mut writer = Writer::new(log.shared.clone());
    let entry = next(&log, 1, 100);
    log.append(vec![entry.clone()], Box::new(|done| done.unwrap()));
    writer.run_batch(log.shared.jobs.poll().items);
    assert_eq!(log.written(), Tail::after(&entry));
    *gate.held.lock() = true;
    let before = gate.waiting.load(Ordering::SeqCst);
    let sync = |shared: Arc<Shared>| mq_base::env::thread::spawn("test", move || shared.sync_written().unwrap());
    let first = sync(log.shared.clone());
    while gate.waiting.load(Ordering::SeqCst) == before {
        std::thread::yield_now();
    }
    assert!(
        log.shared.syncing.is_locked(),
        "who comes second waits for the whole of it"
    );
    let second = sync(log.shared.clone());
    assert_eq!(log.flushed(), Tail::default(), "the first sync is still under way");
    *gate.held.lock() = false;
    gate.changed.notify_all();
    first.join().unwrap();
    second.join().unwrap();
    assert_eq!(log.flushed(), Tail::after(&entry));
}
