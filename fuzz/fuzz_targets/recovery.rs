//! Starts on the folder of a log that was damaged: bytes of its segments, its flush mark, base and vote, and the place
//! that a checkpoint names. Whatever they are, the start ends, what it finds can be asked for, and the next start finds
//! the same.
//!
//! The first byte says how (see [`damage`]); then come changes: file, position, length, bytes.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mq_base::env::disk::real;
use mq_message::CommitLogOffset;
use mq_store::fuzzing::recover;
use mq_store::{EntryBuilder, EntryKind, Known, Log, LogId, LogOptions, NodeId, RaftIndex, Term, promise};

/// What may be damaged.
const FILES: [&str; 6] = [
    "commitlog/00000000000000000000",
    "commitlog/00000000000000004096",
    "commitlog/00000000000000008192",
    "flushed",
    "base",
    "vote",
];

/// A sound log, made once.
struct Sound {
    dir: tempfile::TempDir,
    identity: Vec<u8>,
    files: [Vec<u8>; FILES.len()],
    middle: Known,
}

static SOUND: LazyLock<Sound> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let log_dir = dir.path().join("log");
    let (log, _) = Log::open(real(), &log_dir, options(), None).expect("a new log");
    let mut known = Vec::new();
    for index in 0..12u8 {
        let mut builder = EntryBuilder::new(1024);
        builder.push_effect(&vec![index; 180 + 95 * usize::from(index)]);
        builder.push_opaque(b"opaque");
        let id = LogId {
            term: Term(1),
            node: NodeId(1),
            index: RaftIndex(index.into()),
        };
        let place = log.place(builder.len() as u64);
        let entry = builder.finish(id, place, log.tail().previous_hash, 5, EntryKind::Batch);
        known.push(Known::of(&entry));
        let (done, _) = promise();
        log.append(vec![entry], done);
    }
    let (done, flushed) = promise();
    log.flush(done);
    flushed.wait().expect("a flushed log");
    let read = |name: &str| fs::read(log_dir.join(name)).expect(name);
    Sound {
        identity: read("identity"),
        files: FILES.map(read),
        middle: known[6],
        dir,
    }
});

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 4096,
        window_bytes: 0,
        ..LogOptions::default()
    }
}

fuzz_target!(|data: &[u8]| {
    let sound = &*SOUND;
    let dir = sound.dir.path().join("damaged");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("commitlog")).expect("a folder");
    let from = damage(sound, data, &dir);
    let (first, end) = start(&dir, from);
    // A checkpoint that the log does not reach is removed by who wrote it.
    let from = from.filter(|known| end.is_none_or(|end| known.tail.next_offset <= end));
    let (again, _) = start(&dir, from);
    assert_eq!(first, again, "a second start finds something else");
});

/// Bit 0: checksums are made to match. Bits 1 and 2: what a checkpoint says: nothing, the middle, or what follows.
fn damage(sound: &Sound, data: &[u8], dir: &Path) -> Option<Known> {
    let (how, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let from = match how >> 1 & 3 {
        0 => None,
        1 => Some(sound.middle),
        _ => rest.split_off(..Known::ENCODED_LEN).and_then(Known::decode),
    };
    let mut files = sound.files.clone();
    while let Some((&[file, high, low, length], bytes)) = rest.split_first_chunk() {
        let (bytes, next) = bytes.split_at(bytes.len().min(length.into()));
        rest = next;
        let file = &mut files[usize::from(file) % FILES.len()];
        let at = usize::from(u16::from_be_bytes([high, low])) % (file.len() + 1);
        if length == 0 {
            file.truncate(at);
        } else {
            let end = file.len().min(at + bytes.len());
            file[at..end].copy_from_slice(&bytes[..end - at]);
        }
    }
    for (name, file) in FILES.iter().zip(&mut files) {
        if how & 1 == 1 {
            if name.starts_with("commitlog") {
                fuzz::seal(file);
            } else {
                file.chunks_mut(4096).for_each(seal_slot);
            }
        }
        fs::write(dir.join(name), file).expect("a file");
    }
    fs::write(dir.join("identity"), &sound.identity).expect("a file");
    from
}

fn seal_slot(slot: &mut [u8]) {
    let Some(length) = slot
        .get(16..20)
        .and_then(|length| length.try_into().ok())
        .map(u32::from_be_bytes)
    else {
        return;
    };
    if let Some(covered) = slot
        .get(8..)
        .and_then(|rest| rest.get(..12usize.saturating_add(length as usize)))
    {
        let crc = crc32c::crc32c(covered);
        slot[4..8].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Everything that can be asked of a log that was just opened, as text, and where it ends.
fn start(dir: &Path, from: Option<Known>) -> (String, Option<CommitLogOffset>) {
    let (log, recovered) = match recover(dir, options(), from) {
        Ok(opened) => opened,
        Err(error) => return (error.to_string(), None),
    };
    let entries = log.read(log.first()..RaftIndex(u64::MAX), 1 << 20);
    if let Ok(entries) = &entries {
        let follow = entries.windows(2).all(|two| two[0].index().next() == two[1].index());
        assert!(follow, "a gap between entries");
    }
    let entries = entries.map_err(|error| error.to_string());
    let gap = log.gap(None).map_err(|error| error.to_string());
    let told = format!(
        "{:?} {:?} {:?} {entries:?} {gap:?}",
        recovered.base, recovered.tail, recovered.damage
    );
    (told, Some(recovered.tail.next_offset))
}
