//! The contents of one simulated file: what is durable, and what was written since.

use std::collections::BTreeMap;

/// The unit that a disk writes whole or not at all, in bytes.
const SECTOR: u64 = 512;

type Sector = [u8; SECTOR as usize];

/// Sparse contents. Reading looks into `unsynced`, then `abandoned`, then `durable`; a missing sector is zeros.
#[derive(Debug, Default)]
pub(super) struct Contents {
    durable: BTreeMap<u64, Box<Sector>>,
    durable_len: u64,
    /// Written since the last sync.
    unsynced: BTreeMap<u64, Box<Sector>>,
    /// Thrown away by a failed sync: still readable, never durable.
    abandoned: BTreeMap<u64, Box<Sector>>,
    len: u64,
    allocated: u64,
}

impl Contents {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that this file takes on the disk.
    pub(super) fn room(&self) -> u64 {
        let written = (self.durable.len() + self.unsynced.len()) as u64 * SECTOR;
        written.max(self.allocated)
    }

    /// Bytes that writing there would add to [`Contents::room`].
    pub(super) fn more_room(&self, offset: u64, len: usize) -> u64 {
        let end = offset + len as u64;
        if end <= self.allocated {
            0
        } else {
            end.saturating_sub(self.len.max(offset))
        }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8], mut offset: u64) {
        self.len = self.len.max(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let (number, at) = (offset / SECTOR, (offset % SECTOR) as usize);
            let n = bytes.len().min(SECTOR as usize - at);
            self.sector_mut(number)[at..at + n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            offset += n as u64;
        }
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let n = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < n {
            let position = offset + done as u64;
            let (number, at) = (position / SECTOR, (position % SECTOR) as usize);
            let part = (n - done).min(SECTOR as usize - at);
            match self.sector(number) {
                Some(sector) => buf[done..done + part].copy_from_slice(&sector[at..at + part]),
                None => buf[done..done + part].fill(0),
            }
            done += part;
        }
        n
    }

    pub(super) fn allocate(&mut self, len: u64) {
        self.allocated = self.allocated.max(len);
        self.len = self.len.max(len);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let last = self.len.div_ceil(SECTOR);
            let from = len / SECTOR;
            let present: Vec<u64> = [&self.durable, &self.abandoned, &self.unsynced]
                .iter()
                .flat_map(|sectors| sectors.range(from..last).map(|(number, _)| *number))
                .collect();
            for number in present {
                let at = if number == from { (len % SECTOR) as usize } else { 0 };
                self.sector_mut(number)[at..].fill(0);
            }
            self.allocated = self.allocated.min(len);
        }
        self.len = len;
    }

    pub(super) fn sync(&mut self) {
        self.durable.append(&mut self.unsynced);
        self.durable_len = self.len;
        let end = self.len.div_ceil(SECTOR);
        self.durable.split_off(&end);
    }

    /// A failed sync: each unsynced sector is durable or abandoned, and none is tried again.
    pub(super) fn sync_failed(&mut self, mut kept: impl FnMut() -> bool) {
        for (number, sector) in std::mem::take(&mut self.unsynced) {
            let target = if kept() { &mut self.durable } else { &mut self.abandoned };
            target.insert(number, sector);
        }
    }

    /// Forgets what was not synced, except what `kept` keeps. Answers how many sectors were kept and lost.
    pub(super) fn crash(&mut self, mut kept: impl FnMut() -> bool) -> (usize, usize) {
        let mut counts = (0, 0);
        if kept() {
            self.durable_len = self.len;
        }
        for (number, sector) in std::mem::take(&mut self.unsynced) {
            if kept() {
                self.durable.insert(number, sector);
                counts.0 += 1;
            } else {
                counts.1 += 1;
            }
        }
        self.abandoned.clear();
        self.len = self.durable_len;
        self.durable.split_off(&self.len.div_ceil(SECTOR));
        self.clear_tail();
        self.allocated = self.allocated.min(self.len);
        counts
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> bool {
        if offset >= self.len {
            return false;
        }
        let (number, at) = (offset / SECTOR, (offset % SECTOR) as usize);
        let layers = [&mut self.durable, &mut self.abandoned, &mut self.unsynced];
        let mut flipped = false;
        for sector in layers.into_iter().filter_map(|sectors| sectors.get_mut(&number)) {
            sector[at] ^= 1 << (bit % 8);
            flipped = true;
        }
        flipped
    }

    /// Bytes behind the end read as zeros when the file grows again.
    fn clear_tail(&mut self) {
        let at = (self.len % SECTOR) as usize;
        if at > 0
            && let Some(sector) = self.durable.get_mut(&(self.len / SECTOR))
        {
            sector[at..].fill(0);
        }
    }

    fn sector(&self, number: u64) -> Option<&Sector> {
        let layers = [&self.unsynced, &self.abandoned, &self.durable];
        layers
            .into_iter()
            .find_map(|sectors| sectors.get(&number))
            .map(|sector| &**sector)
    }

    fn sector_mut(&mut self, number: u64) -> &mut Sector {
        if !self.unsynced.contains_key(&number) {
            let copy = self.sector(number).copied().unwrap_or([0; SECTOR as usize]);
            self.abandoned.remove(&number);
            self.unsynced.insert(number, Box::new(copy));
        }
        self.unsynced
            .entry(number)
            .or_insert_with(|| Box::new([0; SECTOR as usize]))
    }
}
