//! A small value that is overwritten in place, in a file of two slots: the vote, the flush mark, the base of the log.
//!
//! Two slots of 4,096 bytes, so that a torn write can hurt only one:
//!
//! ```text
//! 0 u32 magic   4 u32 CRC-32C of bytes 8..20+length   8 u64 sequence   16 u32 length   20 value
//! ```
//! Big-endian. The valid slot with the greatest sequence holds the value. A save writes the slot that does not hold it;
//! [`SlotFile::mirror`] then repeats it in the other one, so that one damaged sector is not a lost vote. The file never
//! grows, so a save needs no free space.

use std::io;
use std::path::Path;
use std::sync::Arc;

use mq_base::env::disk::{Disk, File, OpenMode};

use crate::position::{be_u32, be_u64};

const SLOT_LEN: usize = 4096;
const HEADER_LEN: usize = 20;
/// Longest value.
pub(crate) const VALUE_MAX: usize = SLOT_LEN - HEADER_LEN;

/// What a slot file held when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing was ever saved (or the very first save was torn, and so never reported as done).
    Nothing,
    Value(Vec<u8>),
    /// Both slots are damaged: something was saved here and is lost.
    Damaged,
}

#[derive(Debug)]
pub(crate) struct SlotFile {
    file: Arc<dyn File>,
    magic: u32,
    sequence: u64,
    /// The slot that holds the value, and its bytes.
    current: Option<(usize, Vec<u8>)>,
}

impl SlotFile {
    /// Opens or makes the file. The caller syncs the folder.
    pub fn open(disk: &dyn Disk, path: &Path, magic: u32) -> io::Result<(SlotFile, Held)> {
        let file = disk.open(path, OpenMode::CreateReadWrite)?;
        let (bytes, have) = both_slots(&*file)?;
        if have < bytes.len() {
            file.write_all_vectored_at(&[&bytes[have..]], have as u64)?;
            file.sync_all()?;
        }
        let (best, held) = read(&bytes, magic);
        let this = SlotFile {
            file,
            magic,
            sequence: best.map_or(0, |(_, sequence)| sequence),
            current: match (best, &held) {
                (Some((slot, _)), Held::Value(value)) => Some((slot, value.clone())),
                _ => None,
            },
        };
        Ok((this, held))
    }

    /// What the file holds, without changing it.
    pub fn look(disk: &dyn Disk, path: &Path, magic: u32) -> io::Result<Held> {
        let file = disk.open(path, OpenMode::Read)?;
        Ok(read(&both_slots(&*file)?.0, magic).1)
    }

    /// Makes `value` the durable content.
    pub fn save(&mut self, value: &[u8]) -> io::Result<()> {
        let slot = self.current.as_ref().map_or(0, |(slot, _)| 1 - slot);
        self.write(slot, self.sequence + 1, value)?;
        self.sequence += 1;
        self.current = Some((slot, value.to_vec()));
        Ok(())
    }

    /// Repeats the value in the other slot.
    pub fn mirror(&mut self) -> io::Result<()> {
        match &self.current {
            Some((slot, value)) => self.write(1 - slot, self.sequence, value),
            None => Ok(()),
        }
    }

    fn write(&self, slot: usize, sequence: u64, value: &[u8]) -> io::Result<()> {
        if value.len() > VALUE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "value is too long for its slot",
            ));
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN + value.len());
        bytes.extend_from_slice(&self.magic.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
        bytes.extend_from_slice(value);
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_be_bytes());
        self.file.write_all_vectored_at(&[&bytes], (slot * SLOT_LEN) as u64)?;
        self.file.sync_data()
    }
}

/// The bytes of both slots, zeros where the file ends early, and how many bytes the file has of them.
fn both_slots(file: &dyn File) -> io::Result<(Vec<u8>, usize)> {
    let mut bytes = vec![0; 2 * SLOT_LEN];
    let mut have = 0;
    while have < bytes.len() {
        match file.read_at(&mut bytes[have..], have as u64)? {
            0 => break,
            n => have += n,
        }
    }
    Ok((bytes, have))
}

/// The slot that holds the value and its sequence, and the value.
fn read(bytes: &[u8], magic: u32) -> (Option<(usize, u64)>, Held) {
    let slots = [decode(&bytes[..SLOT_LEN], magic), decode(&bytes[SLOT_LEN..], magic)];
    let both_damaged = slots == [Slot::Damaged, Slot::Damaged];
    let mut best = None;
    let mut held = if both_damaged { Held::Damaged } else { Held::Nothing };
    for (number, slot) in slots.into_iter().enumerate() {
        if let Slot::Valid(sequence, value) = slot
            && best.is_none_or(|(_, other)| sequence > other)
        {
            best = Some((number, sequence));
            held = Held::Value(value);
        }
    }
    (best, held)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Empty,
    Valid(u64, Vec<u8>),
    Damaged,
}

fn decode(slot: &[u8], magic: u32) -> Slot {
    if slot.iter().all(|b| *b == 0) {
        return Slot::Empty;
    }
    let length = be_u32(slot, 16) as usize;
    if be_u32(slot, 0) != magic || length > VALUE_MAX {
        return Slot::Damaged;
    }
    if crc32c::crc32c(&slot[8..HEADER_LEN + length]) != be_u32(slot, 4) {
        return Slot::Damaged;
    }
    Slot::Valid(be_u64(slot, 8), slot[HEADER_LEN..HEADER_LEN + length].to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // Breaks files behind the store's back.

    use super::*;
    use mq_base::env::disk::real;

    const MAGIC: u32 = 0x5445_5354;

    fn path(dir: &tempfile::TempDir) -> std::path::PathBuf {
        dir.path().join("slots")
    }

    fn held(dir: &tempfile::TempDir) -> Held {
        SlotFile::open(&*real(), &path(dir), MAGIC).unwrap().1
    }

    fn open(dir: &tempfile::TempDir) -> SlotFile {
        SlotFile::open(&*real(), &path(dir), MAGIC).unwrap().0
    }

    #[test]
    fn a_save_torn_at_any_byte_leaves_the_value_before() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(held(&dir), Held::Nothing);
        let mut slots = open(&dir);
        slots.save(b"first").unwrap();
        slots.mirror().unwrap();
        let before = std::fs::read(path(&dir)).unwrap();
        slots.save(b"second, longer").unwrap();
        let after = std::fs::read(path(&dir)).unwrap();
        assert_eq!(held(&dir), Held::Value(b"second, longer".to_vec()));
        let changed: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
        for at in &changed {
            let mut torn = after.clone();
            torn[*at..].copy_from_slice(&before[*at..]);
            std::fs::write(path(&dir), &torn).unwrap();
            assert_eq!(held(&dir), Held::Value(b"first".to_vec()), "torn at {at}");
        }
    }

    #[test]
    fn one_damaged_slot_loses_nothing_and_two_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut slots = open(&dir);
        slots.save(b"old").unwrap();
        slots.save(b"new").unwrap();
        slots.mirror().unwrap();
        let good = std::fs::read(path(&dir)).unwrap();
        for slot in [0, SLOT_LEN] {
            for at in 0..HEADER_LEN + 3 {
                let mut bad = good.clone();
                bad[slot + at] ^= 0x80;
                std::fs::write(path(&dir), &bad).unwrap();
                assert_eq!(held(&dir), Held::Value(b"new".to_vec()));
            }
        }
        let mut bad = good.clone();
        bad[30] = 1;
        bad[9] ^= 1;
        bad[SLOT_LEN + 9] ^= 1;
        std::fs::write(path(&dir), &bad).unwrap();
        assert_eq!(held(&dir), Held::Damaged);
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut slots = open(&dir);
        slots.save(&vec![7; VALUE_MAX]).unwrap();
        assert!(slots.save(&vec![7; VALUE_MAX + 1]).is_err());
        assert_eq!(held(&dir), Held::Value(vec![7; VALUE_MAX]));
    }
}
