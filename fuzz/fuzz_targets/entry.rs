//! Entries and places of the log, as they lie on the disk.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mq_store::{Entry, Header, Known, Tail};

fuzz_target!(|data: &[u8]| {
    if let Some(tail) = data.get(..Tail::ENCODED_LEN).and_then(Tail::decode) {
        assert_eq!(Tail::decode(&tail.encode()), Some(tail));
    }
    if let Some(known) = data.get(..Known::ENCODED_LEN).and_then(Known::decode) {
        assert_eq!(Known::decode(&known.encode()), Some(known));
    }
    run(Bytes::copy_from_slice(data));
    let mut sealed = data.to_vec();
    fuzz::seal(&mut sealed);
    run(sealed.into());
});

fn run(mut bytes: Bytes) {
    while let Ok(Some(entry)) = Entry::split_from(&mut bytes) {
        let header = entry.header();
        assert_eq!(Header::decode(&header.encode()).as_ref(), Ok(header));
        assert_eq!(header.encode()[..], entry.bytes()[..64]);
        assert_eq!((header.hash(), header.end()), (entry.hash(), entry.end()));
        let whole = entry.verify_items();
        assert_eq!(entry.items().count(), entry.item_count());
        for item in entry.items() {
            assert_eq!(entry.body(&item), item.body);
            assert!(item.offset > entry.offset() && item.offset <= entry.end());
        }
        let _ = (whole, Known::of(&entry), format!("{entry:?}"));
    }
}
