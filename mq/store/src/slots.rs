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
        let mut bytes = vec![0; 2 * SLOT_LEN];
        let mut have = 0;
        while have < bytes.len() {
            match file.read_at(&mut bytes[have..], have as u64)? {
                0 => break,
                n => have += n,
            }
        }
        if have < bytes.len() {
            file.write_all_vectored_at(&[&bytes[have..]], have as u64)?;
            file.sync_all()?;
        }
        let slots = [decode(&bytes[..SLOT_LEN], magic), decode(&bytes[SLOT_LEN..], magic)];
        let best = match (&slots[0], &slots[1]) {
            (Slot::Valid(a, _), Slot::Valid(b, _)) => Some(usize::from(b > a)),
            (Slot::Valid(..), _) => Some(0),
            (_, Slot::Valid(..)) => Some(1),
            _ => None,
        };
        let mut this = SlotFile {
            file,
            magic,
            sequence: 0,
            current: None,
        };
        let held = match best {
            Some(slot) => {
                let Slot::Valid(sequence, value) = slots[slot].clone() else {
                    return Ok((this, Held::Damaged));
                };
                this.sequence = sequence;
                this.current = Some((slot, value.clone()));
                Held::Value(value)
            }
            None if slots == [Slot::Damaged, Slot::Damaged] => Held::Damaged,
            None => Held::Nothing,
        };
        Ok((this, held))
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
