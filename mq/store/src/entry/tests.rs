//! Round trips, golden bytes, and every way a byte can be missing or wrong.

use mq_message::CommitLogOffset;
use proptest::prelude::*;

use super::*;

fn id(index: u64) -> LogId {
    LogId {
        term: Term(3),
        node: NodeId(0xABCD),
        index: RaftIndex(index),
    }
}

fn sample() -> Entry {
    let mut builder = EntryBuilder::new(0);
    builder.push_message(&[0x11; 40]);
    builder.push_effect(b"effect");
    builder.push_opaque(b"");
    builder.finish(
        id(9),
        CommitLogOffset::from(4096),
        0x77,
        1_700_000_000_000,
        EntryKind::Batch,
    )
}

#[test]
fn the_format_is_as_documented() {
    let entry = sample();
    let bytes = entry.bytes();
    assert_eq!(bytes.len(), 64 + (12 + 40) + (12 + 6) + 12);
    let golden: &[(usize, &[u8])] = &[
        (0, &[0x46, 0x42, 0x45, 0x31]),
        (4, &[0, 0, 0, 146]),
        (8, &[0, 0, 0, 0, 0, 0, 0x10, 0]),
        (16, &[0, 0, 0, 0, 0, 0, 0, 9]),
        (24, &[0, 0, 0, 0, 0, 0, 0, 3]),
        (32, &[0, 0, 0, 0, 0, 0, 0xAB, 0xCD]),
        (40, &[0, 0, 0, 0, 0, 0, 0, 0x77]),
        (48, &[0, 0, 0x01, 0x8B, 0xCF, 0xE5, 0x68, 0x00]),
        (56, &[2, 0, 0, 3]),
        (64, &[0, 0, 0, 52]),
        (72, &[1, 0, 0, 0]),
        (76 + 28, &[0, 0, 0, 0, 0, 0, 0x10, 76]), // physical offset = offset of the body
        (116, &[0, 0, 0, 18]),
        (124, &[2, 0, 0, 0]),
        (128, b"effect"),
        (134, &[0, 0, 0, 12]),
        (142, &[3, 0, 0, 0]),
    ];
    for (at, expected) in golden {
        assert_eq!(&bytes[*at..at + expected.len()], *expected, "byte {at}");
    }
    // CRC-32C of "123456789" is the check value of the polynomial that the format names.
    assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    assert_eq!(be_u32(bytes, 60), crc32c::crc32c(&bytes[..60]));
    assert_eq!(entry.hash(), entry.header().hash());
    assert_eq!(entry.header(), &Header::decode(bytes).unwrap());
}

#[test]
fn items_know_their_place() {
    let entry = sample();
    let items: Vec<_> = entry.items().collect();
    assert_eq!(items.len(), 3);
    assert_eq!(items[0].offset, CommitLogOffset::from(4096 + 76));
    assert_eq!(items[1].body, b"effect");
    assert_eq!(items[2].kind, ItemKind::Opaque);
    for item in &items {
        let from = (item.offset.get() - 4096) as usize;
        assert_eq!(&entry.bytes()[from..from + item.body.len()], item.body);
        assert_eq!(entry.body(item), item.body);
    }
}

#[test]
fn an_entry_cut_at_any_byte_is_refused() {
    let bytes = sample().bytes().clone();
    for len in 0..bytes.len() {
        let error = Entry::parse(bytes.slice(..len)).unwrap_err();
        assert!(
            matches!(error, EntryError::Cut { have, need } if have == len && need > len),
            "{len}: {error}"
        );
        let mut run = bytes.slice(..len);
        assert_eq!(Entry::split_from(&mut run).is_ok(), len == 0, "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Entry::parse(longer.into()).is_err());
}

#[test]
fn any_flipped_bit_is_noticed() {
    let good = sample().bytes().to_vec();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let noticed = Entry::parse(bad.into()).and_then(|entry| entry.verify_items());
        assert!(noticed.is_err(), "bit {bit}");
    }
}

#[test]
fn a_run_is_split_entry_by_entry() {
    let entry = sample();
    let mut run: Bytes = [&entry.bytes()[..], entry.bytes()].concat().into();
    assert_eq!(Entry::split_from(&mut run).unwrap(), Some(entry.clone()));
    assert_eq!(Entry::split_from(&mut run).unwrap(), Some(entry));
    assert_eq!(Entry::split_from(&mut run).unwrap(), None);
}

#[test]
fn an_entry_that_does_not_fit_goes_to_the_next_segment() {
    for (next, length, expected) in [
        (0, 100, 0),
        (0, 1024, 0),
        (924, 100, 924),
        (925, 100, 1024),
        (1024, 1024, 1024),
        (1025, 1024, 2048),
        (1000, 64, 1024),
    ] {
        assert_eq!(
            place(CommitLogOffset::from(next), length, 1024).get(),
            expected,
            "{next} + {length}"
        );
    }
}

#[test]
fn a_rewound_builder_has_never_seen_the_items() {
    let mut builder = EntryBuilder::new(0);
    builder.push_effect(b"kept");
    let (len, count) = (builder.len(), builder.item_count());
    builder.push_effect(b"dropped");
    builder.rewind(len, count);
    let entry = builder.finish(id(1), CommitLogOffset::from(0), 0, 0, EntryKind::Batch);
    entry.verify_items().unwrap();
    assert_eq!(Entry::parse(entry.bytes().clone()).unwrap().item_count(), 1);
}

proptest! {
    #[test]
    fn what_was_built_is_read_back(
        bodies in prop::collection::vec((0u8..3, prop::collection::vec(any::<u8>(), 36..200)), 0..20),
        offset in 0u64..1 << 50, index: u64, term: u64, node: u64, previous: u64, log_time: i64,
    ) {
        let mut builder = EntryBuilder::new(0);
        for (kind, body) in &bodies {
            match kind {
                0 => builder.push_message(body),
                1 => builder.push_effect(body),
                _ => builder.push_opaque(body),
            };
        }
        let id = LogId { term: Term(term), node: NodeId(node), index: RaftIndex(index) };
        let built = builder.finish(id, CommitLogOffset::from(offset), previous, log_time, EntryKind::Batch);
        let entry = Entry::parse(built.bytes().clone()).unwrap();
        entry.verify_items().unwrap();
        prop_assert_eq!(entry.id(), id);
        prop_assert_eq!(entry.offset().get(), offset);
        prop_assert_eq!(entry.header().previous, previous);
        prop_assert_eq!(entry.log_time_ms(), log_time);
        prop_assert_eq!(entry.item_count(), bodies.len());
        for (item, (kind, body)) in entry.items().zip(&bodies) {
            let mut expected = body.clone();
            if *kind == 0 {
                expected[28..36].copy_from_slice(&item.offset.get().to_be_bytes());
            }
            prop_assert_eq!(item.body, &expected[..]);
        }
    }

    #[test]
    fn noise_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..300), honest: bool) {
        // With a good header CRC the lengths and kinds behind it are reached.
        if honest && bytes.len() >= HEADER_LEN {
            bytes[0..4].copy_from_slice(&MAGIC.to_be_bytes());
            let len = bytes.len() as u32;
            bytes[4..8].copy_from_slice(&len.to_be_bytes());
            bytes[8] = 0;
            bytes[56] = 2;
            let crc = crc32c::crc32c(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_be_bytes());
        }
        if let Ok(entry) = Entry::parse(bytes.into()) {
            let _ = entry.verify_items();
            prop_assert_eq!(entry.items().count(), entry.item_count());
        }
    }
}
