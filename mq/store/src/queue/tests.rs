//! Consume queues against a model, over restarts and power loss.

use std::collections::BTreeMap;

use mq_base::env::sim::{Fault, SimDisk};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::SyncFailed;

const DIR: &str = "/q";

fn options() -> QueueOptions {
    QueueOptions {
        entries_per_file: 16,
        recent_entries: 5,
        recent_bytes_max: 2000,
        open_files_max: 4,
        ..QueueOptions::default()
    }
}

fn open(disk: &Arc<SimDisk>) -> ConsumeQueues {
    ConsumeQueues::open_idle(Arc::new(disk.clone()), Path::new(DIR), options()).unwrap()
}

type Key = (&'static str, u64, u32);

#[derive(Clone, Default)]
struct Expected {
    min: u64,
    entries: Vec<CqEntry>, // From queue offset 0 on.
}

fn entry(rng: &mut SmallRng) -> CqEntry {
    CqEntry {
        offset: CommitLogOffset::from(rng.random_range(0..1u64 << 60)),
        size: rng.random_range(1..=u32::MAX),
        tags_code: rng.random(),
    }
}

fn check(queues: &ConsumeQueues, model: &BTreeMap<Key, Expected>, rng: &mut SmallRng) {
    for ((topic, incarnation, id), expected) in model {
        let queue = queues.find(topic, *incarnation, QueueId::from(*id)).expect("known");
        let max = expected.entries.len() as u64;
        let bounds = queues.bounds(&queue);
        assert_eq!((bounds.min.get(), bounds.max.get()), (expected.min, max));
        let from = rng.random_range(0..=max + 1);
        let count = rng.random_range(0..50);
        let mut got = Vec::new();
        // A read may be short at the border of memory and files, never empty before the end.
        while got.len() < count {
            let at = QueueOffset::from(from.max(expected.min) + got.len() as u64);
            let part = queues.read(&queue, at, count - got.len()).expect("read");
            if part.is_empty() {
                break;
            }
            got.extend(part);
        }
        let start = (from.max(expected.min) as usize).min(expected.entries.len());
        let end = (start + count).min(expected.entries.len());
        assert_eq!(got, expected.entries[start..end], "{topic}/{id} from {from}");
    }
}

fn rows(model: &BTreeMap<Key, Expected>) -> Vec<QueueTableRow<'static>> {
    model
        .iter()
        .map(|((topic, incarnation, id), expected)| QueueTableRow {
            topic,
            incarnation: *incarnation,
            queue_id: QueueId::from(*id),
            bounds: Bounds {
                min: QueueOffset::from(expected.min),
                max: QueueOffset::from(expected.entries.len() as u64),
            },
        })
        .collect()
}

#[test]
fn queues_equal_their_model_over_crashes() {
    for seed in 0..60 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mut queues = open(&disk);
        let mut model: BTreeMap<Key, Expected> = BTreeMap::new();
        // State at the last checkpoint, and what the log holds since.
        let mut checkpoint = model.clone();
        let mut log: Vec<(Key, CqEntry)> = Vec::new();
        let mut removed_since = false;
        for _ in 0..300 {
            let topic = ["a", "b", "%RETRY%g"][rng.random_range(0..3)];
            let key: Key = (topic, rng.random_range(0..2), rng.random_range(0..3));
            let queue = |queues: &ConsumeQueues| queues.queue(key.0, key.1, QueueId::from(key.2)).unwrap();
            match rng.random_range(0..100) {
                0..70 => {
                    for _ in 0..rng.random_range(1..12) {
                        let entry = entry(&mut rng);
                        let expected = model.entry(key).or_default();
                        let at = QueueOffset::from(expected.entries.len() as u64);
                        queues.append(&queue(&queues), at, entry);
                        queues.append(&queue(&queues), at, self::entry(&mut rng)); // A repeat changes nothing.
                        expected.entries.push(entry);
                        log.push((key, entry));
                    }
                }
                70..80 => queues.write_pending().unwrap(),
                80..86 => {
                    if let Some(expected) = model.get_mut(&key) {
                        let min = rng.random_range(expected.min..=expected.entries.len() as u64);
                        queues.set_min(&queue(&queues), QueueOffset::from(min));
                        expected.min = min;
                    }
                }
                86..91 => {
                    queues.sync_dirty().unwrap();
                    checkpoint = model.clone();
                    log.clear();
                    removed_since = false;
                }
                91..93 => {
                    queues.remove(key.0, key.1).unwrap();
                    model.retain(|other, _| (other.0, other.1) != (key.0, key.1));
                    removed_since = true;
                }
                93..97 if !removed_since => {
                    if rng.random_bool(0.7) {
                        disk.crash(&mut rng);
                    }
                    queues = open(&disk);
                    queues.restore(rows(&checkpoint), false).unwrap();
                    let mut again = checkpoint.clone();
                    for (key, entry) in &log {
                        let queue = queues.queue(key.0, key.1, QueueId::from(key.2)).unwrap();
                        let expected = again.entry(*key).or_default();
                        queues.append(&queue, QueueOffset::from(expected.entries.len() as u64), *entry);
                        expected.entries.push(*entry);
                    }
                    // Retention is in the log too; until it is re-applied, files below may be missing.
                    for (key, before) in &model {
                        let queue = queues.queue(key.0, key.1, QueueId::from(key.2)).unwrap();
                        queues.set_min(&queue, QueueOffset::from(before.min));
                        again.entry(*key).or_default().min = before.min;
                    }
                    assert!(
                        again
                            .iter()
                            .all(|(key, expected)| expected.entries == model[key].entries)
                    );
                    model = again;
                    check(&queues, &model, &mut rng);
                }
                _ => check(&queues, &model, &mut rng),
            }
        }
        check(&queues, &model, &mut rng);
    }
}

#[test]
fn files_have_the_layout_of_rocketmq() {
    let disk = SimDisk::new(1);
    let queues = open(&disk);
    let queue = queues.queue("T", 0, QueueId::from(3)).unwrap();
    for n in 0..17u64 {
        let entry = CqEntry {
            offset: CommitLogOffset::from(n + 1),
            size: 5,
            tags_code: -1,
        };
        queues.append(&queue, QueueOffset::from(n), entry);
    }
    queues.sync_dirty().unwrap();
    let files: Vec<(String, u64)> = disk
        .files()
        .into_iter()
        .map(|(path, len)| (path.to_string_lossy().into_owned(), len))
        .collect();
    let folder = "/q/consumequeue/T/3";
    assert_eq!(
        files,
        [
            (format!("{folder}/00000000000000000000"), 320),
            (format!("{folder}/00000000000000000320"), 20)
        ]
    );
    let file = disk
        .open(Path::new(&files[1].0), mq_base::env::disk::OpenMode::Read)
        .unwrap();
    let mut bytes = [0; 20];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let expected = [
        0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 5, 255, 255, 255, 255, 255, 255, 255, 255,
    ];
    assert_eq!(bytes, expected);

    queues.set_min(&queue, QueueOffset::from(16));
    queues.write_pending().unwrap();
    assert_eq!(disk.files().len(), 1, "the first file is below the minimum");
}

#[test]
fn a_full_disk_keeps_entries_in_memory_until_there_is_room() {
    let disk = SimDisk::new(1);
    let queues = open(&disk);
    let queue = queues.queue("T", 0, QueueId::from(0)).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    let entries: Vec<CqEntry> = (0..40).map(|_| entry(&mut rng)).collect();
    disk.set_capacity(Some(0));
    for (n, entry) in entries.iter().enumerate() {
        queues.append(&queue, QueueOffset::from(n as u64), *entry);
    }
    queues.sync_dirty().unwrap_err();
    assert_eq!(queues.read(&queue, QueueOffset::from(0), 100).unwrap(), entries);
    disk.set_capacity(None);
    queues.sync_dirty().unwrap();
    assert!(
        queues.read_recent(&queue, QueueOffset::from(0), 1).is_none(),
        "memory was given back"
    );
    let first = queues.read(&queue, QueueOffset::from(0), 3).unwrap();
    assert_eq!(first, entries[..3]);
}

/// What a failed sync has thrown away is still read back, and the next sync would succeed.
#[test]
fn after_a_failed_sync_nothing_counts_as_durable_until_it_is_written_again() {
    let mut rng = SmallRng::seed_from_u64(1);
    let entries: Vec<CqEntry> = (0..10).map(|_| entry(&mut rng)).collect();
    let append = |queues: &ConsumeQueues, range: std::ops::Range<usize>| {
        let queue = queues.queue("T", 0, QueueId::from(0)).unwrap();
        for n in range {
            queues.append(&queue, QueueOffset::from(n as u64), entries[n]);
        }
    };
    let restart = |disk: &Arc<SimDisk>, max: u64| {
        disk.crash(&mut SmallRng::seed_from_u64(2));
        let queues = open(disk);
        let row = QueueTableRow {
            topic: "T",
            incarnation: 0,
            queue_id: QueueId::from(0),
            bounds: Bounds {
                min: QueueOffset::ZERO,
                max: QueueOffset::from(max),
            },
        };
        queues.restore([row], false).unwrap();
        queues
    };
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let queues = open(&disk);
        append(&queues, 0..5);
        queues.sync_dirty().unwrap();
        append(&queues, 5..10);
        disk.inject(Fault::SyncError, "consumequeue", 0, 1);
        for _ in 0..2 {
            let error = queues.sync_dirty().unwrap_err();
            assert!(SyncFailed::is_in(&error), "{error}");
        }
        drop(queues);
        let queues = restart(&disk, 5);
        append(&queues, 5..10);
        queues.sync_dirty().unwrap();
        drop(queues);
        let queues = restart(&disk, 10);
        let queue = queues.find("T", 0, QueueId::from(0)).unwrap();
        assert_eq!(queues.read(&queue, QueueOffset::ZERO, 10).unwrap(), entries);
    }
}

#[test]
fn a_removed_topic_made_again_is_empty() {
    let disk = SimDisk::new(1);
    let queues = open(&disk);
    let mut rng = SmallRng::seed_from_u64(1);
    let old = queues.queue("T", 5, QueueId::from(0)).unwrap();
    queues.append(&old, QueueOffset::from(0), entry(&mut rng));
    queues.write_pending().unwrap();
    queues.remove("T", 5).unwrap();
    assert_eq!(disk.files(), []);
    queues.append(&old, QueueOffset::from(1), entry(&mut rng)); // A late handle.
    queues.sync_dirty().unwrap();
    assert_eq!(disk.files(), []);
    let new = queues.queue("T", 6, QueueId::from(0)).unwrap();
    assert_eq!(queues.bounds(&new), Bounds::default());
    assert!(queues.find("T", 5, QueueId::from(0)).is_none());
}

#[test]
fn an_idle_queue_is_small() {
    let body = std::mem::size_of::<Queue>() + std::mem::size_of::<QueueRef>() + 16;
    assert!(body <= 200, "{body} bytes");
}

/// On a real disk: more queues than open files, and more files than are synced one by one.
#[test]
fn many_queues_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let disk = mq_base::env::disk::real();
    let mut rng = SmallRng::seed_from_u64(1);
    let entries: Vec<CqEntry> = (0..600).map(|_| entry(&mut rng)).collect();
    let queues = ConsumeQueues::open(disk.clone(), dir.path(), options()).unwrap();
    for (id, entry) in entries.iter().enumerate() {
        let queue = queues.queue("T", 0, QueueId::from(id as u32)).unwrap();
        queues.append(&queue, QueueOffset::from(0), *entry);
    }
    queues.sync_dirty().unwrap();
    drop(queues);
    let queues = ConsumeQueues::open(disk, dir.path(), options()).unwrap();
    let rows = (0..600u32).map(|id| QueueTableRow {
        topic: "T",
        incarnation: 0,
        queue_id: QueueId::from(id),
        bounds: Bounds {
            min: QueueOffset::from(0),
            max: QueueOffset::from(1),
        },
    });
    queues.restore(rows, false).unwrap();
    for (id, entry) in entries.iter().enumerate() {
        let queue = queues.find("T", 0, QueueId::from(id as u32)).unwrap();
        assert_eq!(queues.entry_at(&queue, QueueOffset::from(0)).unwrap(), Some(*entry));
    }
    assert_eq!(queues.len(), 600);
}
