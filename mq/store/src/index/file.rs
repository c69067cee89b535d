//! One index file. See the module above for the format.

use std::io;
use std::path::Path;
use std::sync::Arc;

use mq_base::env::disk::{Disk, File, OpenMode};

use super::IndexOptions;
use crate::position::{be_u32, be_u64};
use mq_message::CommitLogOffset;

const HEADER_LEN: u64 = 40;
const SLOT_LEN: u64 = 4;
const ENTRY_LEN: usize = 20;

/// One key of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub hash: u32,
    pub offset: u64,
    pub store_time_ms: i64,
}

#[derive(Debug)]
pub(super) struct IndexFile {
    pub name: Arc<str>,
    file: Arc<dyn File>,
    head: Head,
    entries_max: u32,
    slots_written_every: u32,
    /// The slot table, in memory while the file takes entries.
    slots: Option<Vec<u32>>,
    /// The slot table in the file is not that of the entries: build it again before it is used.
    slots_stale: bool,
    /// Entries that the slot table in the file knows.
    slots_know: u32,
    unsynced: bool,
    unnamed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    begin_ms: i64,
    end_ms: i64,
    begin_offset: u64,
    end_offset: u64,
    slots: u32,
    entries: u32,
}

impl Head {
    fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let mut out = [0; HEADER_LEN as usize];
        out[0..8].copy_from_slice(&self.begin_ms.to_be_bytes());
        out[8..16].copy_from_slice(&self.end_ms.to_be_bytes());
        out[16..24].copy_from_slice(&self.begin_offset.to_be_bytes());
        out[24..32].copy_from_slice(&self.end_offset.to_be_bytes());
        out[32..36].copy_from_slice(&self.slots.to_be_bytes());
        out[36..40].copy_from_slice(&(self.entries + 1).to_be_bytes());
        out
    }

    fn decode(bytes: &[u8; HEADER_LEN as usize]) -> Option<Head> {
        let head = Head {
            begin_ms: be_u64(bytes, 0) as i64,
            end_ms: be_u64(bytes, 8) as i64,
            begin_offset: be_u64(bytes, 16),
            end_offset: be_u64(bytes, 24),
            slots: be_u32(bytes, 32),
            entries: be_u32(bytes, 36).checked_sub(1)?,
        };
        (head.slots > 0).then_some(head)
    }
}

/// 17 digits.
pub(super) fn is_name(name: &str) -> bool {
    name.len() == 17 && name.bytes().all(|b| b.is_ascii_digit())
}

/// A name for a file that begins at `ms`, greater than all names before it.
pub(super) fn name_after(newest: Option<&str>, ms: i64) -> String {
    let name = timestamp(ms);
    match newest.and_then(|newest| newest.parse::<u64>().ok()) {
        Some(newest) if name.parse::<u64>().is_ok_and(|this| this <= newest) => {
            format!("{:017}", newest + 1)
        }
        _ => name,
    }
}

/// yyyyMMddHHmmssSSS in UTC. Years are kept to four digits.
fn timestamp(ms: i64) -> String {
    let ms = ms.clamp(0, 253_402_300_799_999);
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    // Civil date from days since 1970 (the algorithm of Howard Hinnant's `civil_from_days`).
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{milli:03}")
}

impl IndexFile {
    /// Opens an existing file; `None` if its header was never written.
    pub fn open(disk: &dyn Disk, dir: &Path, name: &str, options: &IndexOptions) -> io::Result<Option<IndexFile>> {
        let file = disk.open(&dir.join(name), OpenMode::ReadWrite)?;
        let mut bytes = [0; HEADER_LEN as usize];
        if file.len()? < HEADER_LEN {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0)?;
        let Some(head) = Head::decode(&bytes) else {
            return Ok(None);
        };
        Ok(Some(IndexFile {
            name: name.into(),
            file,
            entries_max: options.entries.max(1),
            slots_written_every: options.slots_written_every.max(1),
            slots: None,
            slots_stale: false,
            slots_know: head.entries,
            unsynced: false,
            unnamed: false,
            head,
        }))
    }

    pub fn create(disk: &dyn Disk, dir: &Path, name: &str, options: &IndexOptions) -> io::Result<IndexFile> {
        let file = disk.open(&dir.join(name), OpenMode::CreateReadWrite)?;
        let slots = options.slots.max(1);
        Ok(IndexFile {
            name: name.into(),
            file,
            head: Head {
                slots,
                ..Head::default()
            },
            entries_max: options.entries.max(1),
            slots_written_every: options.slots_written_every.max(1),
            slots: Some(vec![0; slots as usize]),
            slots_stale: false,
            slots_know: 0,
            unsynced: true,
            unnamed: true,
        })
    }

    pub fn is_full(&self) -> bool {
        self.head.entries >= self.entries_max
    }

    pub fn entries(&self) -> u32 {
        self.head.entries
    }

    pub fn end_offset(&self) -> u64 {
        self.head.end_offset
    }

    /// Appends as many rows as fit; returns how many.
    pub fn append(&mut self, rows: &[Row]) -> io::Result<usize> {
        let room = (self.entries_max - self.head.entries) as usize;
        let rows = &rows[..rows.len().min(room)];
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(0);
        };
        if self.slots.is_none() {
            self.rebuild()?;
        }
        let mut head = self.head;
        if head.entries == 0 {
            head.begin_ms = first.store_time_ms;
            head.begin_offset = first.offset;
        }
        head.end_ms = last.store_time_ms;
        head.end_offset = last.offset;
        head.entries += rows.len() as u32;

        let mut undo = Vec::with_capacity(rows.len());
        let mut bytes = Vec::with_capacity(rows.len() * ENTRY_LEN);
        let mut number = self.head.entries;
        let at = self.entry_at(number + 1);
        let slots = self.slots.get_or_insert_default();
        for row in rows {
            number += 1;
            let slot = (row.hash % head.slots) as usize;
            let older = std::mem::replace(&mut slots[slot], number);
            undo.push((slot, older));
            let seconds = ((row.store_time_ms - head.begin_ms) / 1000).clamp(0, i64::from(i32::MAX));
            bytes.extend_from_slice(&row.hash.to_be_bytes());
            bytes.extend_from_slice(&row.offset.to_be_bytes());
            bytes.extend_from_slice(&(seconds as i32).to_be_bytes());
            bytes.extend_from_slice(&older.to_be_bytes());
        }
        let written = self
            .file
            .write_all_vectored_at(&[&bytes], at)
            .and_then(|()| self.file.write_all_vectored_at(&[&head.encode()], 0));
        if let Err(error) = written {
            for (slot, older) in undo.into_iter().rev() {
                slots[slot] = older;
            }
            return Err(error);
        }
        self.head = head;
        self.unsynced = true;
        if self.head.entries - self.slots_know >= self.slots_written_every {
            self.write_slots()?;
        }
        Ok(rows.len())
    }

    /// No more entries come: the slot table goes to the file and out of memory.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.slots_stale {
            self.rebuild()?;
        }
        self.write_slots()?;
        self.slots = None;
        Ok(())
    }

    fn write_slots(&mut self) -> io::Result<()> {
        let Some(slots) = &self.slots else {
            return Ok(());
        };
        let mut at = HEADER_LEN;
        for part in slots.chunks(64 * 1024) {
            let bytes: Vec<u8> = part.iter().flat_map(|slot| slot.to_be_bytes()).collect();
            self.file.write_all_vectored_at(&[&bytes], at)?;
            at += bytes.len() as u64;
        }
        self.slots_know = self.head.entries;
        self.unsynced = true;
        Ok(())
    }

    /// Makes it durable; whether its name has to be, too.
    pub fn sync(&mut self) -> io::Result<bool> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(std::mem::take(&mut self.unnamed))
    }

    /// Back to `entries`. The slot table is built again from what is left, when it is first needed: a start does not
    /// wait for that.
    pub fn cut(&mut self, entries: u32) -> io::Result<()> {
        self.head.entries = entries.min(self.head.entries);
        self.slots = None;
        self.slots_stale = true;
        if self.head.entries > 0 {
            let bytes = self.entry_bytes(self.head.entries)?;
            let (_, offset, seconds, _) = split(&bytes);
            self.head.end_offset = offset;
            self.head.end_ms = self.head.begin_ms + i64::from(seconds) * 1000 + 999;
        }
        self.unsynced = true;
        self.file.write_all_vectored_at(&[&self.head.encode()], 0)
    }

    /// The slot table as the entries say.
    fn rebuild(&mut self) -> io::Result<()> {
        let mut slots = vec![0; self.head.slots as usize];
        let mut number = 0;
        let mut buf = vec![0; ENTRY_LEN * 4096];
        while number < self.head.entries {
            let count = (self.head.entries - number).min(4096);
            let bytes = &mut buf[..count as usize * ENTRY_LEN];
            self.file.read_exact_at(bytes, self.entry_at(number + 1))?;
            for entry in bytes.chunks_exact(ENTRY_LEN) {
                number += 1;
                slots[(be_u32(entry, 0) % self.head.slots) as usize] = number;
            }
        }
        self.slots = Some(slots);
        self.slots_stale = false;
        self.slots_know = 0;
        Ok(())
    }

    /// Adds matching offsets, newest first.
    pub fn query(
        &mut self,
        hash: u32,
        begin_ms: i64,
        end_ms: i64,
        max: usize,
        out: &mut Vec<CommitLogOffset>,
    ) -> io::Result<()> {
        if self.head.entries == 0 || self.head.begin_ms > end_ms || self.head.end_ms < begin_ms - 1000 {
            return Ok(());
        }
        let mut number = self.slot(hash % self.head.slots)?;
        while number > 0 && number <= self.head.entries && out.len() < max {
            let bytes = self.entry_bytes(number)?;
            let (this, offset, seconds, older) = split(&bytes);
            let store_ms = self.head.begin_ms + i64::from(seconds) * 1000;
            // Entries know seconds only; the record tells exactly.
            let in_time = store_ms + 999 >= begin_ms && store_ms <= end_ms;
            if this == hash && in_time {
                out.push(CommitLogOffset::from(offset));
            }
            if older >= number {
                break; // Damaged: a chain only leads to older entries.
            }
            number = older;
        }
        Ok(())
    }

    fn slot(&mut self, slot: u32) -> io::Result<u32> {
        if self.slots_stale {
            self.rebuild()?;
        }
        if let Some(slots) = &self.slots {
            return Ok(slots[slot as usize]);
        }
        let mut bytes = [0; 4];
        self.file
            .read_exact_at(&mut bytes, HEADER_LEN + u64::from(slot) * SLOT_LEN)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn entry_bytes(&self, number: u32) -> io::Result<[u8; ENTRY_LEN]> {
        let mut bytes = [0; ENTRY_LEN];
        self.file.read_exact_at(&mut bytes, self.entry_at(number))?;
        Ok(bytes)
    }

    /// RocketMQ leaves entry number 0 unused, and so its place.
    fn entry_at(&self, number: u32) -> u64 {
        HEADER_LEN + u64::from(self.head.slots) * SLOT_LEN + u64::from(number) * ENTRY_LEN as u64
    }
}

/// Hash, offset, seconds, older.
fn split(bytes: &[u8; ENTRY_LEN]) -> (u32, u64, i32, u32) {
    (
        be_u32(bytes, 0),
        be_u64(bytes, 4),
        be_u32(bytes, 12) as i32,
        be_u32(bytes, 16),
    )
}
