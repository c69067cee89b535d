//! Damage: where exactly the log is interrupted, and putting back what a peer has kept.
//!
//! Two states. *Interrupted*: open found the chain broken below the flush mark; the log ends there until it is repaired.
//! *Whole*: the chain was followed at open, and a read came upon bytes that are not as they were written.

use std::io;

use super::open::{Fold, remove_strays, rewrite};
use super::read::after;
use super::scan::{Depth, Found, Scan};
use super::sparse::SparseIndex;
use super::{Damage, Done, Gap, Job, Log, Proof, Shared, Tail, invalid};
use crate::entry::{Entry, HEADER_LEN, Header, header_hash, place};
use crate::position::RaftIndex;

impl Log {
    /// The next damage that a read came upon. One task asks.
    pub async fn next_damage(&self) -> Damage {
        self.shared.notices.next().await
    }

    /// What is missing where the log is interrupted, or where a read came upon `found`; `None` if all is well there
    /// (it was repaired, or purged, or the queue entry that led there was wrong). Blocks.
    pub fn gap(&self, found: Option<&Damage>) -> io::Result<Option<Gap>> {
        self.shared.gap(found)
    }

    /// Puts back entries as a peer has them. They follow [`Gap::after`].
    ///
    /// With [`Proof::Chain`] as many are taken as lead back into the log's own chain; none is an error of kind
    /// `InvalidInput`, and nothing was written. An interrupted log goes on over what is intact behind them, and
    /// [`Log::damage`] says whether that was all.
    pub fn repair(&self, entries: Vec<Entry>, proof: Proof, done: Done) {
        self.shared.jobs.push(Job::Repair(entries, proof, done));
    }

    /// Lets an interrupted log end where it is interrupted. Only when it is certain that what stood behind can never be
    /// committed.
    pub fn end_at_damage(&self, done: Done) {
        self.shared.jobs.push(Job::EndAtDamage(done));
    }
}

impl Shared {
    fn gap(&self, found: Option<&Damage>) -> io::Result<Option<Gap>> {
        let (tail, base, interrupted) = {
            let state = self.state.read();
            (state.tail, state.base, state.damage.is_some())
        };
        let (flushed, marked, generation) = {
            let durable = self.durable.lock();
            (durable.flushed, durable.marked, durable.generation)
        };
        let gap = |after: Tail, end: Tail| Gap {
            after,
            anchors: self.anchors(after, end),
            generation,
        };
        let offset = match found {
            Some(damage) if damage.offset < tail.next_offset => damage.offset.get(),
            _ => return Ok(interrupted.then(|| gap(tail, marked))),
        };
        if offset < base.next_offset.get() {
            return Ok(None);
        }
        Ok(self.last_intact_before(offset)?.map(|after| gap(after, flushed)))
    }

    /// The place before the entry that holds `offset`, if that entry is damaged.
    fn last_intact_before(&self, offset: u64) -> io::Result<Option<Tail>> {
        let (mut marks, base): (Vec<(u64, u64)>, Tail) = {
            let state = self.state.read();
            (state.sparse.iter().filter(|(_, at)| *at < offset).collect(), state.base)
        };
        // From the nearest mark that is itself intact and lies before the entry in question.
        let mut scan = loop {
            let Some((index, at)) = marks.pop() else {
                break Scan::new(&self.segments, base);
            };
            match self.header_at(at, Some(RaftIndex(index))) {
                Ok((header, hash)) if header.end().get() <= offset => {
                    break Scan::new(&self.segments, after(&header, hash));
                }
                Ok(_) => {}
                Err(error) if Damage::of(&error).is_some() => {}
                Err(error) => return Err(error),
            }
        };
        loop {
            let before = scan.at;
            match scan.next(Depth::Headers)? {
                Found::Entry(header, ..) if header.end().get() <= offset => {}
                Found::Entry(header, ..) => {
                    return match self.entry_at(&header) {
                        Ok(_) => Ok(None),
                        Err(error) if Damage::of(&error).is_some() => Ok(Some(before)),
                        Err(error) => Err(error),
                    };
                }
                Found::End(_) => return Ok((before != self.state.read().tail).then_some(before)),
            }
        }
    }

    /// The first intact entry at the start of a segment behind the damage, and the end.
    fn anchors(&self, gap: Tail, end: Tail) -> Vec<Tail> {
        let within = |header: &Header| {
            gap.last.is_none_or(|last| header.id.index > last.index)
                && end.last.is_some_and(|last| header.id.index < last.index)
        };
        let starts = self.segments.bases().into_iter();
        let intact = starts
            .filter(|start| *start > gap.next_offset.get() && *start < end.next_offset.get())
            .find_map(|start| {
                let (header, hash) = self.header_at(start, None).ok()?;
                within(&header).then(|| after(&header, hash))
            });
        intact.into_iter().chain([end]).collect()
    }
}

/// See [`Log::repair`]. Returns the new tail if the log goes on where it was interrupted.
pub(super) fn repair(shared: &Shared, entries: &[Entry], proof: Proof) -> io::Result<Option<Tail>> {
    let Some(first) = entries.first() else {
        return Err(invalid("a repair without entries"));
    };
    for entry in entries {
        entry
            .verify_items()
            .map_err(|_| invalid("a repair is damaged itself"))?;
    }
    let (interrupted, tail, base) = {
        let state = shared.state.read();
        (state.damage.is_some(), state.tail, state.base)
    };
    let (mark, written, generation) = {
        let durable = shared.durable.lock();
        (durable.marked, durable.written, durable.generation)
    };
    // Up to `end` the disk holds this log's own bytes; behind it may lie those of a chain that was cut off.
    let (begin, end) = match interrupted {
        true => (tail, mark),
        false => (before(shared, first)?, written),
    };
    check_chain(shared, begin, entries)?;
    let entries = match proof {
        Proof::Vouched(seen_in) if seen_in != generation => {
            return Err(invalid("the log was cut or reset since a repair was asked for"));
        }
        Proof::Vouched(_) => entries,
        Proof::Chain => &entries[..proven(shared, entries, end)?],
    };
    let last = entries.last().map_or(begin, Tail::after);
    if !interrupted && last.next_offset > written.next_offset {
        return Err(invalid("a repair goes beyond the log"));
    }
    let size = shared.segments.segment_bytes;
    let mut sparse = SparseIndex::default();
    let mut touched = Vec::new();
    for entry in entries {
        shared.segments.create(shared.segments.base_of(entry.offset().get()))?;
        rewrite(&shared.segments, entry, &mut touched)?;
        sparse.note(entry.index().get(), entry.offset().get(), size);
    }
    for start in touched {
        if let Some(segment) = shared.segments.get(start)? {
            segment.file.sync_data()?;
        }
    }
    if !interrupted {
        return Ok(None);
    }
    let mut fold = Fold::new(&shared.segments, base, mark);
    fold.tail = last;
    fold.run()?;
    if fold.damage.is_none() {
        remove_strays(&shared.segments, base, fold.tail)?;
    }
    let mut state = shared.state.write();
    if state.tail.last.is_none() {
        state.origin = Some(first.index());
    }
    state.tail = fold.tail;
    state.damage = fold.damage;
    for (index, offset) in sparse.iter().chain(fold.sparse.iter()) {
        state.sparse.note(index, offset, size);
    }
    Ok(Some(fold.tail))
}

/// See [`Log::end_at_damage`]. The flush mark is lowered already.
pub(super) fn end_at_damage(shared: &Shared) -> io::Result<()> {
    let (tail, base) = {
        let state = shared.state.read();
        if state.damage.is_none() {
            return Ok(());
        }
        (state.tail, state.base)
    };
    let mut fold = Fold::new(&shared.segments, base, tail);
    fold.tail = tail;
    let mut touched = Vec::new();
    fold.blank_end(&mut touched)?;
    for start in touched {
        if let Some(segment) = shared.segments.get(start)? {
            segment.file.sync_data()?;
        }
    }
    remove_strays(&shared.segments, base, tail)?;
    shared.state.write().damage = None;
    Ok(())
}

/// The place before an entry of a log that is whole.
fn before(shared: &Shared, entry: &Entry) -> io::Result<Tail> {
    let (base, inside, begins) = {
        let state = shared.state.read();
        (state.base, state.holds(entry.index()), state.first() == entry.index())
    };
    if !inside {
        return Err(invalid("a repair of an entry that the log does not have"));
    }
    if begins {
        return Ok(base);
    }
    let before = shared.header(RaftIndex(entry.index().get() - 1));
    let (header, hash) = before.map_err(|error| match Damage::of(&error) {
        Some(_) => invalid("what is before a repair is damaged"),
        None => error,
    })?;
    Ok(after(&header, hash))
}

fn check_chain(shared: &Shared, begin: Tail, entries: &[Entry]) -> io::Result<()> {
    let size = shared.segments.segment_bytes;
    let mut at = begin;
    for entry in entries {
        let length = entry.len() as u64;
        let follows = length <= size
            && entry.header().previous == at.previous_hash
            && entry.offset() == place(at.next_offset, length, size)
            && at.last.is_none_or(|last| last.index.next() == entry.index());
        if !follows {
            return Err(invalid("a repair does not continue the chain"));
        }
        at = Tail::after(entry);
    }
    Ok(())
}

/// How many of a run of chained entries lead back into what the log itself says before `end`.
fn proven(shared: &Shared, entries: &[Entry], end: Tail) -> io::Result<usize> {
    for (nth, entry) in entries.iter().enumerate() {
        if entry.end() > end.next_offset {
            break;
        }
        let mut bytes = [0; HEADER_LEN];
        let have = shared.segments.read_at(&mut bytes, entry.offset().get())?;
        let itself = have == HEADER_LEN && header_hash(&bytes) == entry.hash();
        let linked = || -> io::Result<bool> {
            let next = Scan::new(&shared.segments, Tail::after(entry)).next(Depth::Headers)?;
            Ok(matches!(next, Found::Entry(header, ..) if header.end() <= end.next_offset))
        };
        if itself || Tail::after(entry) == end || linked()? {
            return Ok(nth + 1);
        }
    }
    Err(invalid("a repair does not lead back into the chain"))
}
