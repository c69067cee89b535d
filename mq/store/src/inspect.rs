//! Looks into a store without changing it: what is there, and where it is damaged.
//!
//! It uses the same fold over entries as recovery. A broker may be running; what it is just writing then looks like a
//! tail.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;

use mq_base::env::disk::Disk;
use mq_message::{CommitLogOffset, RecordView};

use crate::checkpoint::Checkpoints;
use crate::entry::{Entry, ItemKind};
use crate::log::{BASE, COMMIT_LOG, Damage, Depth, Found, Identity, MARK, Scan, Segments, Tail, VOTE};
use crate::slots::{Held, SlotFile};

/// What to look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct InspectOptions {
    /// Print entries from this commit log offset on; the fold itself always starts at the beginning.
    pub from: CommitLogOffset,
    /// Print each entry.
    pub entries: bool,
    /// Print each stored record, too.
    pub records: bool,
}

/// What was found, apart from the lines.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Entries of the log.
    pub entries: u64,
    /// Stored records in them.
    pub records: u64,
    /// Bytes of the entries.
    pub bytes: u64,
    /// Where the log ends.
    pub tail: Tail,
    /// Damage, first that of the log.
    pub damage: Vec<String>,
}

/// Looks at the store in `dir` and hands each line of the report to `line`.
pub fn inspect(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: InspectOptions,
    line: &mut dyn FnMut(&str),
) -> io::Result<Inspection> {
    let mut found = Inspection::default();
    let Some(identity) = Identity::peek(&*disk, dir)? else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is not the folder of a log (no file `identity`)", dir.display()),
        ));
    };
    line(&format!(
        "group {}/{}, node {:016x}, segments of {} bytes, last use ended {}",
        identity.cluster,
        identity.group,
        identity.node,
        identity.segment_bytes,
        if identity.clean {
            "cleanly"
        } else {
            "without a clean close (or goes on)"
        }
    ));
    let base = place(&*disk, dir, BASE, "log begins after", line, &mut found)?;
    let mark = place(&*disk, dir, MARK, "flush mark", line, &mut found)?;
    match slots(&*disk, dir, VOTE)? {
        Held::Nothing => line("vote: none"),
        Held::Value(vote) => line(&format!("vote: {} bytes", vote.len())),
        Held::Damaged => found.damaged(line, "vote: damaged in both slots"),
    }
    checkpoints(disk.clone(), dir, line, &mut found)?;

    let (segments, bad) = Segments::look(disk.clone(), dir.join(COMMIT_LOG), identity.segment_bytes)?;
    for bad in bad {
        found.damaged(line, &format!("segment {:020} has {} bytes", bad.base, bad.len));
    }
    let bases = segments.bases();
    line(&format!("segments: {}", bases.len()));
    fold(&segments, base, mark, options, line, &mut found)?;
    queues(&*disk, dir, line)?;
    line(&format!(
        "entries {}, records {}, bytes {}, log ends at {} ({})",
        found.entries,
        found.records,
        found.bytes,
        found.tail.next_offset,
        found.tail.last.map_or("empty".to_owned(), |last| last.to_string()),
    ));
    if found.damage.is_empty() {
        line("no damage");
    }
    Ok(found)
}

impl Inspection {
    fn damaged(&mut self, line: &mut dyn FnMut(&str), what: &str) {
        line(&format!("DAMAGE {what}"));
        self.damage.push(what.to_owned());
    }
}

fn slots(disk: &dyn Disk, dir: &Path, (name, magic): (&str, u32)) -> io::Result<Held> {
    let path = dir.join(name);
    if !disk.exists(&path) {
        return Ok(Held::Nothing);
    }
    SlotFile::look(disk, &path, magic)
}

fn place(
    disk: &dyn Disk,
    dir: &Path,
    file: (&str, u32),
    what: &str,
    line: &mut dyn FnMut(&str),
    found: &mut Inspection,
) -> io::Result<Tail> {
    let tail = match slots(disk, dir, file)? {
        Held::Nothing => Some(Tail::default()),
        Held::Value(bytes) => Tail::decode(&bytes),
        Held::Damaged => None,
    };
    match tail {
        Some(tail) => {
            let last = tail.last.map_or("the beginning".to_owned(), |last| last.to_string());
            line(&format!("{what}: {last}, offset {}", tail.next_offset));
        }
        None => found.damaged(line, &format!("{what}: file `{}` is damaged", file.0)),
    }
    Ok(tail.unwrap_or_default())
}

fn checkpoints(disk: Arc<dyn Disk>, dir: &Path, line: &mut dyn FnMut(&str), found: &mut Inspection) -> io::Result<()> {
    let checkpoints = Checkpoints::new(disk, dir);
    match checkpoints.load() {
        Ok(None) => line("checkpoint: none"),
        Ok(Some(content)) => line(&format!("checkpoint: {} bytes", content.len())),
        Err(error) => found.damaged(line, &error.to_string()),
    }
    for segment in checkpoints.list_anchored()? {
        match checkpoints.load_anchored(segment) {
            Ok(content) => {
                let len = content.map_or(0, |content| content.len());
                line(&format!("checkpoint of segment {segment}: {len} bytes"));
            }
            Err(error) => found.damaged(line, &error.to_string()),
        }
    }
    Ok(())
}

fn fold(
    segments: &Segments,
    base: Tail,
    mark: Tail,
    options: InspectOptions,
    line: &mut dyn FnMut(&str),
    found: &mut Inspection,
) -> io::Result<()> {
    let mut scan = Scan::new(segments, base);
    let mut segment = None;
    loop {
        let before = scan.at;
        match scan.next(Depth::Headers)? {
            Found::Entry(header, ..) => {
                let here = segments.base_of(header.offset.get());
                if segment.replace(here) != Some(here) {
                    line(&format!(
                        "segment {here:020}: first entry {} at {}",
                        header.id, header.offset
                    ));
                }
                found.entries += 1;
                found.bytes += u64::from(header.length);
                let mut again = Scan::new(segments, before);
                match again.next(Depth::Items)? {
                    Found::Entry(_, _, Some(entry)) => show(&entry, options, line, found),
                    Found::Entry(..) => {}
                    Found::End(end) if header.end() <= mark.next_offset => {
                        let damage = Damage::new(header.offset.get(), Some(header.id.index), end.what);
                        found.damaged(line, &damage.to_string());
                    }
                    Found::End(end) => {
                        found.entries -= 1;
                        found.tail = before;
                        line(&format!("torn tail at {}: {}", header.offset, end.what));
                        return Ok(());
                    }
                }
            }
            Found::End(end) => {
                found.tail = scan.at;
                if scan.at.next_offset < mark.next_offset {
                    let index = scan.at.last.map(|last| last.index.next());
                    let damage = Damage::new(end.offset.get(), index, end.what);
                    found.damaged(line, &format!("{damage}; it was synced up to {}", mark.next_offset));
                }
                return Ok(());
            }
        }
    }
}

fn show(entry: &Entry, options: InspectOptions, line: &mut dyn FnMut(&str), found: &mut Inspection) {
    let shown = entry.offset() >= options.from;
    if shown && (options.entries || options.records) {
        line(&format!("{entry:?} time={}", entry.log_time_ms()));
    }
    for item in entry.items().filter(|item| item.kind == ItemKind::Message) {
        found.records += 1;
        if shown && options.records {
            let mut text = format!("  {} ", item.offset);
            let _ = match RecordView::parse(item.body) {
                Ok(record) => write!(
                    text,
                    "{}/{}@{} body={} stored={}",
                    record.topic(),
                    record.queue_id(),
                    record.queue_offset(),
                    record.body().len(),
                    record.store_timestamp()
                ),
                Err(error) => write!(text, "not a record: {error}"),
            };
            line(&text);
        }
    }
}

fn queues(disk: &dyn Disk, dir: &Path, line: &mut dyn FnMut(&str)) -> io::Result<()> {
    let root = dir.join("consumequeue");
    if !disk.exists(&root) {
        return Ok(());
    }
    for (topic, _) in disk.list(&root)? {
        let folder = root.join(&topic);
        for (queue, _) in disk.list(&folder)? {
            let files = disk.list(&folder.join(&queue))?;
            let bytes: u64 = files.iter().map(|(_, len)| len).sum();
            line(&format!(
                "queue {}/{}: {} files, {bytes} bytes",
                topic.to_string_lossy(),
                queue.to_string_lossy(),
                files.len()
            ));
        }
    }
    Ok(())
}
