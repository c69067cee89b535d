//! The index against a plain list, over restarts and power loss.

use mq_base::env::sim::SimDisk;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

const DIR: &str = "/i";

fn options() -> IndexOptions {
    IndexOptions {
        slots: 7,
        entries: 50,
        slots_written_every: 20,
        ..IndexOptions::default()
    }
}

fn open(disk: &Arc<SimDisk>) -> Index {
    Index::open_idle(Arc::new(disk.clone()), Path::new(DIR), options()).unwrap()
}

/// A message: topic, key, offset, store time.
type Put = (&'static str, String, u64, i64);

fn check(index: &Index, puts: &[Put], rng: &mut SmallRng) {
    let key = format!("k{}", rng.random_range(0..12));
    let topic = ["a", "b"][rng.random_range(0..2)];
    let newest = puts.last().map_or(0, |put| put.3);
    let begin = rng.random_range(0..=newest + 1) / 1000 * 1000;
    let end = rng.random_range(begin..=newest + 2000) / 1000 * 1000 + 999;
    let found = index.query(topic, &key, begin, end, usize::MAX).unwrap();
    let mut expected: Vec<u64> = puts
        .iter()
        .filter(|put| put.0 == topic && put.1 == key && (begin..=end).contains(&put.3))
        .map(|put| put.2)
        .collect();
    expected.reverse();
    // Candidates may be too many (hash, whole seconds), never too few, and newest first.
    let found: Vec<u64> = found.iter().map(|offset| offset.get()).collect();
    assert!(found.is_sorted_by(|a, b| a > b), "{found:?}");
    let matching: Vec<u64> = found
        .iter()
        .copied()
        .filter(|offset| expected.contains(offset))
        .collect();
    assert_eq!(matching, expected, "{topic}#{key} in {begin}..={end}");
    assert!(found.len() <= expected.len() + puts.len() / 4 + 8);
    let few = index.query(topic, &key, begin, end, 2).unwrap();
    assert_eq!(few.len(), found.len().min(2));
}

#[test]
fn the_index_equals_its_model_over_crashes() {
    for seed in 0..60 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mut index = open(&disk);
        let mut puts: Vec<Put> = Vec::new();
        let mut covered = 0;
        let mut mark = None;
        let mut now = 1_700_000_000_000i64;
        for _ in 0..200 {
            match rng.random_range(0..100) {
                0..60 => {
                    now += rng.random_range(0..3000);
                    let put = (
                        ["a", "b"][rng.random_range(0..2)],
                        format!("k{}", rng.random_range(0..12)),
                        puts.len() as u64 * 100,
                        now,
                    );
                    index.put(put.0, [put.1.as_str()], CommitLogOffset::from(put.2), put.3);
                    puts.push(put);
                }
                60..75 => index.shared.write_pass().unwrap(),
                75..80 => {
                    let saved = index.sync().unwrap();
                    mark = IndexMark::decode(&saved.encode());
                    assert_eq!(mark, Some(saved));
                    covered = puts.len();
                }
                80..83 => {
                    if rng.random_bool(0.7) {
                        disk.crash(&mut rng);
                    }
                    index = open(&disk);
                    index.restore(mark.as_ref()).unwrap();
                    for put in &puts[covered..] {
                        index.put(put.0, [put.1.as_str()], CommitLogOffset::from(put.2), put.3);
                    }
                }
                _ => check(&index, &puts, &mut rng),
            }
        }
        check(&index, &puts, &mut rng);
    }
}

#[test]
fn the_layout_is_rocketmqs() {
    let disk = SimDisk::new(1);
    let index = open(&disk);
    let at = 1_700_000_000_123; // 2023-11-14T22:13:20.123Z
    index.put("TopicTest", ["k1", ""], CommitLogOffset::from(77), at);
    index.put("TopicTest", ["k1"], CommitLogOffset::from(177), at + 2500);
    assert_eq!(index.sync().unwrap().file, "20231114221320123");
    index.shared.files.lock()[0].finish().unwrap();
    let file = disk
        .open(
            Path::new("/i/index/20231114221320123"),
            mq_base::env::disk::OpenMode::Read,
        )
        .unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes.len(), 40 + 7 * 4 + 3 * 20);
    assert_eq!(bytes[0..8], at.to_be_bytes());
    assert_eq!(bytes[8..16], (at + 2500).to_be_bytes());
    assert_eq!(bytes[16..24], 77u64.to_be_bytes());
    assert_eq!(bytes[24..32], 177u64.to_be_bytes());
    assert_eq!(bytes[36..40], 3u32.to_be_bytes());
    let hash = key_hash("TopicTest", "k1");
    let slot = 40 + (hash % 7) as usize * 4;
    assert_eq!(bytes[slot..slot + 4], 2u32.to_be_bytes());
    let second = 40 + 7 * 4 + 2 * 20;
    assert_eq!(bytes[second..second + 4], hash.to_be_bytes());
    assert_eq!(bytes[second + 4..second + 12], 177u64.to_be_bytes());
    assert_eq!(bytes[second + 12..second + 16], 2i32.to_be_bytes());
    assert_eq!(bytes[second + 16..second + 20], 1u32.to_be_bytes());
}

#[test]
fn files_below_the_minimum_go() {
    let disk = SimDisk::new(1);
    let index = open(&disk);
    for n in 0..120u64 {
        index.put("t", ["k"], CommitLogOffset::from(n), 1_700_000_000_000);
    }
    index.sync().unwrap();
    assert_eq!(disk.files().len(), 3);
    index.purge(CommitLogOffset::from(99)).unwrap();
    assert_eq!(disk.files().len(), 2);
    index.purge(CommitLogOffset::from(1000)).unwrap();
    assert_eq!(disk.files().len(), 1, "the file in use stays");
    let found = index.query("t", "k", 0, i64::MAX, 1000).unwrap();
    assert_eq!(found.len(), 20);
}

#[test]
fn names_are_times_and_ascend() {
    let first = file::name_after(None, 951_782_399_999);
    assert_eq!(first, "20000228235959999");
    assert_eq!(file::name_after(Some(&first), 951_782_399_999), "20000228235960000");
    assert_eq!(file::name_after(Some(&first), 951_868_800_000), "20000301000000000");
    assert_eq!(file::name_after(None, 951_782_400_000), "20000229000000000");
    assert_eq!(file::name_after(None, -5), "19700101000000000");
}
