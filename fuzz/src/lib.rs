//! What the targets share.

use mq_store::entry::{HEADER_LEN, ITEM_HEADER_LEN, MAGIC};

/// Gives whatever begins like an entry the checksums that belong to it, since no fuzzer guesses those.
pub fn seal(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|four| four == MAGIC.to_be_bytes()) {
        at += found;
        let entry = &mut bytes[at..];
        if entry.len() < HEADER_LEN {
            return;
        }
        let crc = crc32c::crc32c(&entry[..60]);
        entry[60..64].copy_from_slice(&crc.to_be_bytes());
        let items = u16::from_be_bytes([entry[58], entry[59]]);
        seal_items(&mut entry[HEADER_LEN..], items);
        at += HEADER_LEN;
    }
}

fn seal_items(mut rest: &mut [u8], items: u16) {
    for _ in 0..items {
        let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) else {
            return;
        };
        if length < ITEM_HEADER_LEN || length > rest.len() {
            return;
        }
        let (item, next) = rest.split_at_mut(length);
        let crc = crc32c::crc32c(&item[8..]);
        item[4..8].copy_from_slice(&crc.to_be_bytes());
        rest = next;
    }
}
