//! Opening a folder: who it belongs to, where the log ends, what is torn and what is damaged.
//!
//! The end is found by the fold of `scan`, from the checkpoint's entry if there is one. Below the flush mark only
//! headers are read: the chain must hold there, and a break is damage. Above the mark items are verified too, the
//! first break is the end, and what stands there is blanked.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mq_base::env;
use mq_base::env::disk::Disk;
use mq_base::stop::StopSource;
use parking_lot::{Mutex, RwLock};

use super::notice::Notices;
use super::read::Gate;
use super::scan::{Depth, Found, Scan, What};
use super::segment::Segments;
use super::sparse::SparseIndex;
use super::window::Window;
use super::{
    BASE, COMMIT_LOG, Cut, Damage, Durable, Identity, Known, LogOptions, MARK, OpenError, Recovered, Shared, Small,
    State, Tail, VOTE,
};
use crate::entry::{Entry, HEADER_LEN, Header};
use crate::mailbox::Mailbox;
use crate::position::RaftIndex;
use crate::slots::{Held, SlotFile};

pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    mut options: LogOptions,
    from: Option<Known>,
) -> Result<(Arc<Shared>, Recovered), OpenError> {
    check(&options)?;
    disk.create_dir_all(dir)?;
    crate::container::sync_parent(&*disk, dir)?;
    let stored = Identity::load(&*disk, dir, &options.cluster, &options.group)?;
    let fresh = stored.is_none();
    if let Some(identity) = &stored {
        if identity.segment_bytes != options.segment_bytes {
            tracing::warn!(
                kept = identity.segment_bytes,
                asked = options.segment_bytes,
                "a log keeps the segment size it was made with"
            );
        }
        options.segment_bytes = identity.segment_bytes;
    }
    let boot_id = disk.boot_id();
    let unclean_machine = stored.as_ref().is_some_and(|id| !id.clean && id.boot_id != boot_id);

    let (vote, held_vote) = SlotFile::open(&*disk, &dir.join(VOTE.0), VOTE.1)?;
    let (mark, held_mark) = SlotFile::open(&*disk, &dir.join(MARK.0), MARK.1)?;
    let (base_file, held_base) = SlotFile::open(&*disk, &dir.join(BASE.0), BASE.1)?;
    let lost = |name: &str, meaning| OpenError::Lost {
        path: dir.join(name),
        meaning,
    };
    let vote_value = match held_vote {
        Held::Nothing => None,
        Held::Value(vote) => Some(vote.into()),
        Held::Damaged => {
            return Err(lost(
                VOTE.0,
                "this member no longer knows whom it voted for; start it from an empty folder",
            ));
        }
    };
    let base = tail_of(held_base).ok_or_else(|| lost(BASE.0, "where the log begins; start from an empty folder"))?;
    // Without the mark a damaged tail looks like a torn one.
    let flush_mark = tail_of(held_mark);
    let mark_lost = flush_mark.is_none();
    let flush_mark = flush_mark.unwrap_or_default();

    let (segments, bad) = Segments::open(
        disk.clone(),
        dir.join(COMMIT_LOG),
        options.segment_bytes,
        options.recycled_max,
    )?;
    disk.sync_dir(dir)?;
    bad.iter().try_for_each(|bad| segments.make_whole(bad))?;
    let node = match &stored {
        Some(identity) => identity.node(),
        None => crate::NodeId(env::random::u64()),
    };

    let mut fold = Fold::new(&segments, base, flush_mark);
    // Of a folder whose segments were not whole a checkpoint is no witness.
    fold.start(from.filter(|_| bad.is_empty()))?;
    fold.run()?;
    let Fold {
        tail,
        sparse,
        damage,
        cut,
        ..
    } = fold;
    if damage.is_none() {
        remove_strays(&segments, base, tail)?;
    }

    let identity = Identity {
        cluster: options.cluster.clone(),
        group: options.group.clone(),
        node: node.get(),
        segment_bytes: options.segment_bytes,
        boot_id,
        clean: false,
    };
    identity.save(&*disk, dir)?;

    let mut small = Small {
        vote,
        mark,
        base: base_file,
        base_saved: base,
    };
    if damage.is_none() && flush_mark != tail {
        small.mark.save(&tail.encode())?;
    }
    let durable = Durable {
        written: tail,
        flushed: tail,
        marked: if damage.is_none() { tail } else { flush_mark },
        unsynced: Vec::new(),
        generation: 0,
    };
    let recovered = Recovered {
        node,
        base,
        tail,
        flush_mark,
        cut,
        damage: damage.clone(),
        unclean_machine,
        mark_lost,
        fresh,
    };
    let origin = sparse.iter().next().map(|(index, _)| RaftIndex(index));
    let (poisoned, _) = StopSource::new();
    let shared = Shared {
        disk,
        dir: dir.to_owned(),
        gate: Gate::new(options.cold_reads_max),
        state: RwLock::new(State {
            base,
            tail,
            origin,
            window: Window::new(options.window_bytes),
            sparse,
            damage,
        }),
        buffers: Default::default(),
        options,
        segments,
        durable: Mutex::new(durable),
        small: Mutex::new(small),
        vote: Mutex::new(vote_value),
        node,
        jobs: Mailbox::new(),
        chores: Mailbox::new(),
        dirty: AtomicBool::new(false),
        no_room: AtomicBool::new(false),
        poison: Mutex::new(None),
        poisoned,
        syncing: Mutex::new(()),
        notices: Notices::default(),
    };
    Ok((Arc::new(shared), recovered))
}

fn check(options: &LogOptions) -> Result<(), OpenError> {
    // A header must never span two segments' worth of arithmetic, and lengths are 32 bits wide.
    if options.segment_bytes < 4096 || options.segment_bytes > u64::from(u32::MAX) {
        return Err(OpenError::Setting("a segment has between 4 KiB and 4 GiB - 1 bytes"));
    }
    Ok(())
}

/// The place in a slot; `None` if it is lost.
fn tail_of(held: Held) -> Option<Tail> {
    match held {
        Held::Nothing => Some(Tail::default()),
        Held::Value(bytes) => Tail::decode(&bytes),
        Held::Damaged => None,
    }
}

/// Removes segments that a crash left: below the base after a purge, beyond the next one after a cut.
pub(super) fn remove_strays(segments: &Segments, base: Tail, tail: Tail) -> io::Result<()> {
    let size = segments.segment_bytes;
    let keep_to = segments.base_of(tail.next_offset.get()) + size;
    // Only those below may be recycled: in one from beyond, entries that were cut would be at home again.
    segments.remove(|start| start > keep_to, false)?;
    segments.remove(|start| start + size <= base.next_offset.get(), true)
}

/// The fold over the log's headers, and over whole entries above the flush mark.
pub(super) struct Fold<'a> {
    segments: &'a Segments,
    base: Tail,
    mark: Tail,
    pub tail: Tail,
    pub sparse: SparseIndex,
    pub damage: Option<Damage>,
    cut: Option<Cut>,
}

impl<'a> Fold<'a> {
    pub fn new(segments: &'a Segments, base: Tail, mark: Tail) -> Fold<'a> {
        Fold {
            segments,
            base,
            mark,
            tail: base,
            sparse: SparseIndex::default(),
            damage: None,
            cut: None,
        }
    }

    /// Chooses where to begin, and looks at the names, lengths and first headers of the segments before that.
    fn start(&mut self, from: Option<Known>) -> io::Result<()> {
        let Some(known) = from.filter(|k| k.tail.next_offset > self.base.next_offset) else {
            return Ok(());
        };
        let mut bytes = [0; HEADER_LEN];
        let have = self.segments.read_at(&mut bytes, known.offset.get())?;
        let there = Header::decode(&bytes[..have]).is_ok_and(|header| {
            header.offset == known.offset
                && header.hash() == known.tail.previous_hash
                && header.end() == known.tail.next_offset
                && Some(header.id) == known.tail.last
        });
        if !there || !self.survey(known)? {
            // Not as the checkpoint says: the fold from the base finds out where it breaks.
            return Ok(());
        }
        self.tail = known.tail;
        self.note(known.tail.last.map_or(0, |last| last.index.get()), known.offset.get());
        Ok(())
    }

    /// Whether all segments between the base and `known` are there; notes their first entries.
    fn survey(&mut self, known: Known) -> io::Result<bool> {
        let size = self.segments.segment_bytes;
        let base = self.base.next_offset.get();
        let mut start = self.segments.base_of(base);
        while start < known.offset.get() {
            let mut bytes = [0; HEADER_LEN];
            if start >= base {
                let have = self.segments.read_at(&mut bytes, start)?;
                match Header::decode(&bytes[..have]) {
                    Ok(header) if header.offset.get() == start => {
                        self.note(header.id.index.get(), start);
                    }
                    _ => return Ok(false),
                }
            } else if !self.segments.exists(start) && base + (HEADER_LEN as u64) <= start + size {
                // Only if nothing of the log lies in it may the segment of the base be missing.
                return Ok(Scan::new(self.segments, self.base)
                    .next(Depth::Headers)
                    .is_ok_and(|found| matches!(found, Found::Entry(..))));
            }
            start += size;
        }
        Ok(true)
    }

    fn note(&mut self, index: u64, offset: u64) {
        self.sparse.note(index, offset, self.segments.segment_bytes);
    }

    /// Follows the chain to its end and decides what the end is.
    pub fn run(&mut self) -> io::Result<()> {
        let mut scan = Scan::new(self.segments, self.tail);
        let mut rewritten = Vec::new();
        let end = loop {
            let depth = if scan.at.next_offset < self.mark.next_offset {
                Depth::Headers
            } else {
                Depth::Items
            };
            let before = scan.at;
            match scan.next(depth)? {
                Found::Entry(header, ..) if self.passes_by(before, scan.at) => {
                    self.tail = before;
                    let what = format!(
                        "a chain that does not lead to what was synced up to {}",
                        self.mark.next_offset
                    );
                    self.damage = Some(Damage::new(header.offset.get(), Some(header.id.index), what));
                    return Ok(());
                }
                Found::Entry(header, _, entry) => {
                    self.sparse
                        .note(header.id.index.get(), header.offset.get(), self.segments.segment_bytes);
                    if let Some(entry) = entry {
                        rewrite(self.segments, &entry, &mut rewritten)?;
                    }
                }
                Found::End(end) => break end,
            }
        };
        self.tail = scan.at;
        if self.tail.next_offset < self.mark.next_offset {
            let index = self.tail.last.map(|last| last.index.next());
            let what = format!("{}; it was synced up to {}", end.what, self.mark.next_offset);
            self.damage = Some(Damage::new(end.offset.get(), index, what));
            return Ok(());
        }
        // Whole entries of another chain are what a truncation leaves behind.
        let torn = matches!(end.what, What::Torn(_) | What::Garbage(_));
        if torn {
            self.cut = Some(Cut {
                offset: self.tail.next_offset,
                what: end.what.to_string(),
            });
        }
        self.blank_end(&mut rewritten)?;
        for base in rewritten {
            if let Some(segment) = self.segments.get(base)? {
                segment.file.sync_data()?;
            }
        }
        Ok(())
    }

    /// Whether a step of the fold crosses the flush mark without meeting it.
    fn passes_by(&self, before: Tail, after: Tail) -> bool {
        let mark = self.mark.next_offset;
        before.next_offset < mark && after.next_offset >= mark && after != self.mark
    }

    /// Zeroes what could be taken for the next header: at the end, and at the start of the next segment.
    pub fn blank_end(&self, touched: &mut Vec<u64>) -> io::Result<()> {
        let here = self.tail.next_offset.get();
        let size = self.segments.segment_bytes;
        let room = size - here % size;
        let next = (room < size).then_some(here + room);
        let here = (room >= HEADER_LEN as u64).then_some(here);
        for offset in [here, next].into_iter().flatten() {
            let mut bytes = [0; HEADER_LEN];
            let have = self.segments.read_at(&mut bytes, offset)?;
            let base = self.segments.base_of(offset);
            if have == HEADER_LEN
                && bytes != [0; HEADER_LEN]
                && let Some(segment) = self.segments.get(base)?
            {
                segment.file.write_all_vectored_at(&[&[0; HEADER_LEN]], offset - base)?;
                touched.push(base);
            }
        }
        Ok(())
    }
}

/// Writes an entry above the mark once more: a sync that failed before the last process ended may have left it only in
/// the page cache, marked as if it were on disk.
pub(super) fn rewrite(segments: &Segments, entry: &Entry, touched: &mut Vec<u64>) -> io::Result<()> {
    let base = segments.base_of(entry.offset().get());
    if let Some(segment) = segments.get(base)? {
        segment
            .file
            .write_all_vectored_at(&[entry.bytes()], entry.offset().get() - base)?;
        if !touched.contains(&base) {
            touched.push(base);
        }
    }
    Ok(())
}
