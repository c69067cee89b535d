//! Torn tails, decayed bits, old bytes: what is cut, what is damage, what is repaired.

use super::*;
use crate::entry::HEADER_LEN;

/// Three entries below the flush mark, two above it; the process dies.
fn five() -> (Arc<SimDisk>, Vec<Entry>) {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let mut entries = Vec::new();
    for len in [50, 300, 20] {
        let entry = next(&rig.log, 1, len);
        rig.put(&entry);
        entries.push(entry);
    }
    rig.flush();
    for len in [100, 130] {
        let entry = next(&rig.log, 1, len);
        rig.put(&entry);
        entries.push(entry);
    }
    (disk, entries)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_to_the_last_whole_entry() {
    let (_, entries) = five();
    let from = entries[3].offset().get();
    let to = entries[4].end().get();
    for at in from..to {
        for junk in [0u8, 0xA7] {
            let (disk, _) = five();
            scribble(&disk, at, &vec![junk; (to - at) as usize]);
            let (rig, recovered) = open(&disk, options(true), None);
            let whole = if at < entries[4].offset().get() { 3 } else { 4 };
            assert_eq!(recovered.damage, None, "torn at {at}");
            // A torn run of bytes that were equal to the junk anyway is not torn.
            let got = all(&rig.log);
            let intact = got.len() > whole && got[..] == entries[..got.len()];
            assert!(intact || got == entries[..whole], "torn at {at}: {got:?}");
            assert_eq!(recovered.tail, Tail::after(got.last().unwrap()));
        }
    }
}

#[test]
fn what_was_cut_never_comes_back() {
    let (disk, entries) = five();
    // The fourth entry is torn; the fifth is intact behind it.
    scribble(&disk, entries[3].offset().get() + 70, &[0xFF; 8]);
    let (mut rig, recovered) = open(&disk, options(true), None);
    assert!(recovered.cut.is_some());
    assert_eq!(all(&rig.log), entries[..3]);
    let other = next(&rig.log, 2, 10);
    rig.put(&other);
    drop(rig);
    let (rig, recovered) = open(&disk, options(true), None);
    assert_eq!(recovered.tail, Tail::after(&other));
    assert_eq!(all(&rig.log).len(), 4);
}

#[test]
fn a_flipped_header_below_the_mark_is_damage_and_a_peer_repairs_it() {
    let (_, entries) = five();
    for bit in 0..HEADER_BITS {
        let (disk, _) = five();
        let at = entries[1].offset().get();
        assert!(disk.flip_bit(&segment_path(0), at + u64::from(bit / 8), (bit % 8) as u8));
        let (mut rig, recovered) = open(&disk, options(true), None);
        let damage = recovered.damage.expect("damage");
        assert_eq!(damage.offset, entries[1].offset(), "bit {bit}");
        assert_eq!(damage.index, Some(RaftIndex(2)));
        assert_eq!(rig.log.damage(), Some(damage));
        assert_eq!(all(&rig.log), entries[..1]);

        // Nothing may be added or cut meanwhile.
        let refused = rig.run(|log, done| log.truncate_after(None, done)).unwrap_err();
        assert!(Damage::of(&refused).is_some());
        let entry = next(&rig.log, 2, 1);
        rig.run(|log, done| log.append(vec![entry], done)).unwrap_err();
        // Not every entry will do.
        rig.run(|log, done| log.repair(vec![entries[3].clone()], Proof::Chain, done))
            .unwrap_err();
        rig.run(|log, done| log.repair(vec![entries[1].clone()], Proof::Chain, done))
            .unwrap();
        assert_eq!(rig.log.damage(), None);
        assert_eq!(all(&rig.log), entries);
        let more = next(&rig.log, 2, 1);
        rig.put(&more);
        drop(rig);
        let (rig, recovered) = open(&disk, options(true), None);
        assert_eq!(recovered.damage, None);
        assert_eq!(all(&rig.log).len(), 6);
    }
}

const HEADER_BITS: u32 = HEADER_LEN as u32 * 8;

#[test]
fn two_damaged_places_are_repaired_one_after_the_other() {
    let (disk, entries) = five();
    for damaged in [0, 2] {
        assert!(disk.flip_bit(&segment_path(0), entries[damaged].offset().get() + 3, 1));
    }
    let (mut rig, _) = open(&disk, options(true), None);
    rig.run(|log, done| log.repair(vec![entries[0].clone()], Proof::Chain, done))
        .unwrap();
    let second = rig.log.damage().expect("the second place");
    assert_eq!(second.offset, entries[2].offset());
    rig.run(|log, done| log.repair(vec![entries[2].clone()], Proof::Chain, done))
        .unwrap();
    assert_eq!(rig.log.damage(), None);
    assert_eq!(all(&rig.log), entries);
}

#[test]
fn a_flipped_payload_is_found_by_the_read_and_repaired() {
    let (disk, entries) = five();
    let (offset, body) = message(&entries[1]);
    assert!(disk.flip_bit(&segment_path(0), offset.get() + 40, 6));
    let (mut rig, recovered) = open(&disk, options(true), None);
    assert_eq!(recovered.damage, None, "payloads below the mark are not read at open");
    let error = rig.log.read(RaftIndex(1)..RaftIndex(6), u64::MAX).unwrap_err();
    assert_eq!(Damage::of(&error).expect("damage").index, Some(RaftIndex(2)));
    let error = rig.log.read(RaftIndex(2)..RaftIndex(3), u64::MAX).unwrap_err();
    assert_eq!(Damage::of(&error).expect("damage").offset, entries[1].offset());
    assert_eq!(rig.log.bytes_at(offset, body.len()), Lookup::Cold);
    assert_eq!(rig.log.record_at(offset).unwrap(), None);

    let mut forged = EntryBuilder::new(8);
    forged.push_message(&record(300, 9));
    let header = *entries[1].header();
    let forged = forged.finish(header.id, header.offset, header.previous, 0, EntryKind::Batch);
    rig.run(|log, done| log.repair(vec![forged], Proof::Chain, done))
        .unwrap_err();
    rig.run(|log, done| log.repair(vec![entries[1].clone()], Proof::Chain, done))
        .unwrap();
    assert_eq!(all(&rig.log), entries);
    assert_eq!(rig.log.record_at(offset).unwrap(), Some(body));
}

#[test]
fn a_header_lost_at_run_time_is_repaired_between_its_neighbours() {
    let (disk, entries) = five();
    let (mut rig, _) = open(&disk, options(true), None);
    scribble(&disk, entries[2].offset().get(), &[0; 64]);
    rig.log.read(RaftIndex(3)..RaftIndex(4), u64::MAX).unwrap_err();
    rig.run(|log, done| log.repair(vec![entries[2].clone()], Proof::Chain, done))
        .unwrap();
    assert_eq!(all(&rig.log), entries);
}

#[test]
fn a_lost_or_cut_segment_below_the_mark_is_damage() {
    for cut in [false, true] {
        let disk = SimDisk::new(1);
        let (mut rig, _) = open(&disk, options(true), None);
        let mut entries = Vec::new();
        for _ in 0..40 {
            let entry = next(&rig.log, 1, 300);
            rig.put(&entry);
            entries.push(entry);
        }
        rig.flush();
        drop(rig);
        let hurt = || match cut {
            true => {
                let file = disk.open(&segment_path(4096), OpenMode::ReadWrite).unwrap();
                file.set_len(100).unwrap();
            }
            false => drop(disk.remove(&segment_path(4096))),
        };
        let known = Known::of(&entries[35]);
        for from in [None, Some(known)] {
            hurt();
            let (rig, recovered) = open(&disk, options(true), from);
            let damage = recovered.damage.expect("damage");
            let at = |base: u64| entries.iter().position(|entry| entry.offset().get() >= base).unwrap();
            // Of a cut segment the first header is still there.
            let lost = at(4096) + usize::from(cut);
            assert!(damage.offset <= entries[lost].offset() && damage.offset.get() > 3000);
            rig.log
                .append(vec![next(&rig.log, 1, 1)], Box::new(|result| assert!(result.is_err())));
            drop(rig);
        }
        // All of the segment comes from a peer in pieces that do not lead back into the own chain by themselves.
        let (mut rig, _) = open(&disk, options(true), None);
        while let Some(gap) = rig.log.gap(None).unwrap() {
            let first_behind = entries.iter().find(|entry| entry.offset().get() >= 8192).unwrap();
            assert_eq!(gap.anchors[0], Tail::after(first_behind));
            assert_eq!(gap.anchors[1], Tail::after(entries.last().unwrap()));
            let from = gap.after.last.map_or(0, |last| last.index.get() as usize);
            let piece = entries[from..from + 2].to_vec();
            rig.run(|log, done| log.repair(piece, Proof::Vouched(0), done)).unwrap();
        }
        assert_eq!(rig.log.damage(), None);
        // Of a cut segment the payload of the first entry is missing, too: a read finds that.
        while let Err(error) = rig.log.read(RaftIndex(1)..RaftIndex(41), u64::MAX) {
            assert!(cut);
            put_back(&mut rig, Damage::of(&error).unwrap(), &entries);
        }
        assert_eq!(all(&rig.log), entries);
        drop(rig);
        let (rig, recovered) = open(&disk, options(true), None);
        assert_eq!((recovered.damage, recovered.cut), (None, None));
        assert_eq!(all(&rig.log), entries);
    }
}

/// Repairs what a read came upon, from the entries as they were.
fn put_back(rig: &mut Rig, damage: &Damage, entries: &[Entry]) {
    let gap = rig.log.gap(Some(damage)).unwrap().expect("a gap");
    let from = gap.after.last.map_or(0, |last| last.index.get() as usize);
    let rest = entries[from..].to_vec();
    rig.run(|log, done| log.repair(rest, Proof::Chain, done)).unwrap();
}

#[test]
fn what_reads_come_upon_is_reported_once_found_exactly_and_repaired() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let mut entries = Vec::new();
    for _ in 0..60 {
        let entry = next(&rig.log, 1, 300);
        rig.put(&entry);
        entries.push(entry);
    }
    rig.flush();
    let noticed = |rig: &Rig| {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(rig.log.next_damage()).poll(&mut cx) {
            std::task::Poll::Ready(damage) => Some(damage),
            std::task::Poll::Pending => None,
        }
    };
    // A header, a body, two headers in a row, a sector, the last entry.
    let body = message(&entries[20]).0.get() + 5;
    let sector = entries[40].offset().get() / 512 * 512;
    let places = [
        (entries[5].offset().get() + 9, 1),
        (body, 1),
        (
            entries[30].offset().get(),
            entries[31].offset().get() + 64 - entries[30].offset().get(),
        ),
        (sector, 512),
        (entries[59].offset().get() + 70, 3),
    ];
    for (offset, len) in places {
        let (first, last) = (offset, offset + len - 1);
        assert_eq!(first / 4096, last / 4096, "within one segment");
        scribble(&disk, offset, &vec![0xA5; len as usize]);
    }
    drop(rig);
    let (mut rig, recovered) = open(&disk, options(true), Some(Known::of(&entries[58])));
    assert_eq!(recovered.damage, None, "what is before a checkpoint is not looked at");
    let mut repaired = 0;
    for nth in 1..=60 {
        while let Err(error) = rig.log.read(RaftIndex(nth)..RaftIndex(nth + 1), 1) {
            let damage = Damage::of(&error).expect("damage").clone();
            assert_eq!(noticed(&rig), Some(damage.clone()));
            assert_eq!(noticed(&rig), None);
            put_back(&mut rig, &damage, &entries);
            assert_eq!(rig.log.gap(Some(&damage)).unwrap().map(|gap| gap.after.last), None);
            repaired += 1;
        }
    }
    assert!(repaired >= 5, "{repaired}");
    assert_eq!(all(&rig.log), entries);
    // A record that a client or a queue entry names.
    let (offset, bytes) = message(&entries[20]);
    scribble(&disk, offset.get() + 3, &[0x77]);
    let error = rig.log.shared.item(offset, Some(bytes.len())).unwrap_err();
    put_back(&mut rig, Damage::of(&error).unwrap(), &entries);
    assert_eq!(rig.log.record_at(offset).unwrap(), Some(bytes));
    // A wrong queue entry is no damage of the log.
    let error = rig
        .log
        .shared
        .item(CommitLogOffset(offset.get() + 1), Some(50))
        .unwrap_err();
    assert_eq!(rig.log.gap(Damage::of(&error)).unwrap(), None);
}

#[test]
fn entries_that_do_not_lead_back_are_taken_only_on_somebodys_word() {
    let (disk, entries) = five();
    // The second and all behind it, up to the flush mark and beyond.
    let (from, to) = (entries[1].offset().get(), entries[4].end().get());
    scribble(&disk, from, &vec![0; (to - from) as usize]);
    let (mut rig, recovered) = open(&disk, options(true), None);
    assert!(recovered.damage.is_some());
    let gap = rig.log.gap(None).unwrap().unwrap();
    assert_eq!(
        (gap.after, gap.anchors),
        (Tail::after(&entries[0]), vec![Tail::after(&entries[2])])
    );
    let second = vec![entries[1].clone()];
    let refused = rig
        .run(|log, done| log.repair(second.clone(), Proof::Chain, done))
        .unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(rig.log.tail(), Tail::after(&entries[0]), "nothing was written");
    rig.run(|log, done| log.repair(second, Proof::Vouched(0), done))
        .unwrap();
    assert_eq!(rig.log.tail(), Tail::after(&entries[1]));
    assert!(rig.log.damage().is_some(), "the third is still missing");
    // The place of the flush mark itself is proof.
    let third = vec![entries[2].clone()];
    rig.run(|log, done| log.repair(third, Proof::Chain, done)).unwrap();
    assert_eq!(rig.log.damage(), None);
    assert_eq!(all(&rig.log), entries[..3]);
}

#[test]
fn what_was_cut_off_proves_nothing_though_its_bytes_are_still_there() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let mut old = Vec::new();
    for _ in 0..8 {
        old.push(next(&rig.log, 1, 40));
        rig.put(old.last().unwrap());
    }
    rig.run(|log, done| log.truncate_after(Some(old[1].id()), done))
        .unwrap();
    for _ in 0..2 {
        let new = next(&rig.log, 2, 40);
        rig.put(&new);
    }
    rig.run(|log, done| log.flush(done)).unwrap();
    let mark = rig.log.flushed();
    drop(rig);
    let (first, behind) = (old[2].offset().get(), &old[5]);
    assert!(
        mark.next_offset < behind.offset(),
        "the old chain goes on behind the mark, byte for byte"
    );
    scribble(&disk, first, &[0; HEADER_LEN]);
    let (mut rig, recovered) = open(&disk, options(true), None);
    assert!(recovered.damage.is_some());
    // Another member that has not been told yet still holds the old chain.
    let refused = rig
        .run(|log, done| log.repair(old[2..].to_vec(), Proof::Chain, done))
        .unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    // Nor does the fold take it for the log, should it have been put there.
    rig.run(|log, done| log.repair(old[2..3].to_vec(), Proof::Vouched(0), done))
        .unwrap();
    assert!(
        rig.log.damage().is_some(),
        "a chain that passes the mark by is not the one that was synced"
    );
}

#[test]
fn a_repair_that_was_vouched_for_is_refused_once_the_log_was_cut() {
    let (disk, entries) = five();
    let (mut rig, _) = open(&disk, options(true), None);
    rig.run(|log, done| log.truncate_after(Some(entries[3].id()), done))
        .unwrap();
    let refused = rig
        .run(|log, done| log.repair(entries[1..2].to_vec(), Proof::Vouched(0), done))
        .unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_log_that_is_told_to_ends_at_its_damage() {
    let (disk, entries) = five();
    scribble(&disk, entries[1].offset().get(), &[0; 64]);
    let (mut rig, _) = open(&disk, options(true), None);
    rig.run(|log, done| log.end_at_damage(done)).unwrap();
    assert_eq!(rig.log.damage(), None);
    assert_eq!(rig.log.flushed(), Tail::after(&entries[0]));
    drop(rig);
    let (mut rig, recovered) = open(&disk, options(true), None);
    assert_eq!(recovered.damage, None, "the flush mark was lowered");
    assert_eq!(all(&rig.log), entries[..1]);
    let other = next(&rig.log, 2, 300);
    rig.put(&other);
    drop(rig);
    let (rig, _) = open(&disk, options(true), None);
    assert_eq!(all(&rig.log), [entries[0].clone(), other]);
}

#[test]
fn a_lost_flush_mark_is_told() {
    let (disk, _) = five();
    let path = Path::new(DIR).join(MARK.0);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_all_vectored_at(&[&[1; 30]], 0).unwrap();
    let (rig, recovered) = open(&disk, options(true), None);
    assert!(!recovered.mark_lost, "one slot is left");
    drop(rig);
    let len = file.len().unwrap();
    file.write_all_vectored_at(&[&vec![1; len as usize]], 0).unwrap();
    let (_, recovered) = open(&disk, options(true), None);
    assert!(recovered.mark_lost);
}

#[test]
fn old_bytes_of_a_recycled_segment_are_no_tail() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let mut entries = Vec::new();
    for _ in 0..30 {
        let entry = next(&rig.log, 1, 300);
        rig.put(&entry);
        entries.push(entry);
    }
    rig.run(|log, done| log.purge(entries[25].id(), done)).unwrap();
    let recycled = |disk: &SimDisk| {
        let files = disk.files();
        files
            .iter()
            .filter(|(path, _)| path.to_string_lossy().contains("recycled-"))
            .count()
    };
    assert_eq!(recycled(&disk), 2);
    for _ in 0..12 {
        let entry = next(&rig.log, 1, 300);
        rig.put(&entry);
        entries.push(entry);
    }
    assert!(recycled(&disk) < 2, "none was used again");
    drop(rig);
    let (rig, recovered) = open(&disk, options(true), None);
    assert_eq!(recovered.tail, Tail::after(&entries[41]));
    assert_eq!(recovered.damage, None);
    assert_eq!(recovered.cut, None, "old bytes are not even torn");
    assert_eq!(all(&rig.log), entries[26..]);
}

#[test]
fn an_older_successor_does_not_hide_an_entry_that_rolled_over() {
    let disk = SimDisk::new(1);
    let (mut rig, _) = open(&disk, options(true), None);
    let first = next(&rig.log, 1, 2000);
    rig.put(&first);
    // What an earlier leader may have left right behind the tail, never reported and never cut.
    let old = next(&rig.log, 1, 10);
    scribble(&disk, old.offset().get(), old.bytes());
    let big = next(&rig.log, 2, 3000);
    assert_eq!(big.offset().get(), 4096, "it has to roll over");
    rig.put(&big);
    drop(rig);
    let (rig, _) = open(&disk, options(true), None);
    assert_eq!(all(&rig.log), [first, big]);
}

#[test]
fn a_folder_of_another_group_or_a_newer_format_is_refused() {
    let disk = SimDisk::new(1);
    drop(open(&disk, options(true), None));
    let dynamic: Arc<dyn Disk> = Arc::new(disk.clone());
    let other = LogOptions {
        group: "h".into(),
        ..options(true)
    };
    let error = Log::open_idle(dynamic.clone(), Path::new(DIR), other, None).unwrap_err();
    assert!(error.to_string().contains("c/g"), "{error}");

    let identity = Path::new(DIR).join("identity");
    let payload = {
        let id = Identity::peek(&disk, Path::new(DIR)).unwrap().unwrap();
        serde_json::to_vec(&id).unwrap()
    };
    let newer = crate::container::Stamp {
        magic: 0x4642_4944,
        version: 99,
    };
    crate::container::replace(&disk, &identity, newer, &payload).unwrap();
    let error = Log::open_idle(dynamic, Path::new(DIR), options(true), None).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[test]
fn a_folder_keeps_its_node_and_its_segment_size() {
    let disk = SimDisk::new(1);
    let (rig, first) = open(&disk, options(true), None);
    assert!(first.fresh);
    drop(rig);
    let bigger = LogOptions {
        segment_bytes: 8192,
        ..options(true)
    };
    let (rig, again) = open(&disk, bigger, None);
    assert_eq!(rig.log.segment_bytes(), 4096);
    assert_eq!(again.node, first.node);
    assert!(!again.fresh);
}
