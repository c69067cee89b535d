//! A disk in memory that forgets what was not synced, and fails when told to.
//!
//! What survives [`SimDisk::crash`]: every sector (512 bytes) that was synced; of those written since, any subset; of a
//! changed length, the old or the new one; of the creations, renames and removals in one folder since its last
//! `sync_dir`, any prefix. That is what a journalling file system may do, and nothing kinder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use super::contents::Contents;
use crate::env::disk::{Disk, File, OpenMode, Space};

/// Room of a disk without [`SimDisk::set_capacity`].
const UNLIMITED: u64 = 1 << 50;

/// Slow syncs are waited for in steps, so that [`SimDisk::heal`] ends them.
const DELAY_STEP: Duration = Duration::from_millis(50);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A write fails with EIO after a part of it was done.
    WriteError,
    /// A write or an allocation fails with ENOSPC.
    NoSpace,
    /// A sync fails with EIO; as on Linux, the next one succeeds although some of the data is gone.
    SyncError,
    /// A sync takes this long, see [`Disk::take_delay`].
    SlowSync(Duration),
    /// A read fails with EIO.
    ReadError,
}

/// What a crash did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// Sectors written but not synced that are gone.
    pub sectors_lost: usize,
    /// Sectors written but not synced that survived.
    pub sectors_kept: usize,
    /// Creations, renames and removals that did not happen after all.
    pub names_lost: usize,
}

/// A simulated disk. Survives its machine: give it to the next [`World`](super::World).
#[derive(Debug)]
pub struct SimDisk {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: SmallRng,
    files: BTreeMap<FileId, Contents>,
    names: Names,
    durable_names: Names,
    unsynced: BTreeMap<PathBuf, Vec<Change>>,
    faults: Vec<Planned>,
    capacity: Option<u64>,
    used_percent: Option<u64>,
    delay: Duration,
    boots: u64,
    next_id: FileId,
}

type FileId = u64;
type Names = BTreeMap<PathBuf, Node>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(FileId),
}

/// A change of names inside one folder, not yet synced.
#[derive(Debug, Clone)]
enum Change {
    Add(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Debug)]
struct Planned {
    fault: Fault,
    path_contains: String,
    after: u64,
    times: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Write,
    Sync,
    Read,
}

impl SimDisk {
    /// An empty disk with a folder `/`.
    pub fn new(seed: u64) -> Arc<SimDisk> {
        let names = Names::from([(PathBuf::from("/"), Node::Folder)]);
        Arc::new(SimDisk {
            state: Mutex::new(State {
                rng: SmallRng::seed_from_u64(seed ^ 0x6469_736b),
                files: BTreeMap::new(),
                durable_names: names.clone(),
                names,
                unsynced: BTreeMap::new(),
                faults: Vec::new(),
                capacity: None,
                used_percent: None,
                delay: Duration::ZERO,
                boots: 1,
                next_id: 1,
            }),
        })
    }

    /// Power loss. Files opened before answer with an error from now on; the boot id changes.
    pub fn crash(&self, rng: &mut dyn RngCore) -> CrashReport {
        self.state.lock().crash(rng)
    }

    /// Plans a fault: files whose path contains `path_contains` meet it after `after` more calls of its sort, `times`
    /// times.
    pub fn inject(&self, fault: Fault, path_contains: &str, after: u64, times: u64) {
        let planned = Planned {
            fault,
            path_contains: path_contains.to_owned(),
            after,
            times,
        };
        self.state.lock().faults.push(planned);
    }

    /// Looks at the disk without meeting a planned fault, or bringing one nearer.
    pub fn undisturbed<T>(&self, look: impl FnOnce() -> T) -> T {
        let aside = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.faults), state.delay)
        };
        let seen = look();
        let mut state = self.state.lock();
        (state.faults, state.delay) = aside;
        seen
    }

    /// Removes all planned faults. What slow syncs have still to take ends, too.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.delay = Duration::ZERO;
    }

    /// Limits the room as a quota does: [`Disk::free_space`] does not know of it. `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Lets [`Disk::free_space`] say that so much is used, whatever is stored: retention goes by that. Nothing is refused.
    pub fn set_used_percent(&self, percent: u64) {
        self.state.lock().used_percent = Some(percent);
    }

    /// Turns one bit of a file, as decaying media do. False if there is no such byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> bool {
        let mut state = self.state.lock();
        let Some(Node::File(id)) = state.names.get(path).copied() else {
            return false;
        };
        state.files.get_mut(&id).is_some_and(|file| file.flip_bit(offset, bit))
    }

    /// All files and their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state.lock();
        let length = |id: &FileId| state.files.get(id).map_or(0, Contents::len);
        state
            .names
            .iter()
            .filter_map(|(path, node)| match node {
                Node::File(id) => Some((path.clone(), length(id))),
                Node::Folder => None,
            })
            .collect()
    }
}

impl State {
    fn crash(&mut self, rng: &mut dyn RngCore) -> CrashReport {
        let mut report = CrashReport::default();
        self.boots += 1;
        self.faults.clear();
        self.delay = Duration::ZERO;
        for (_, changes) in std::mem::take(&mut self.unsynced) {
            let kept = rng.random_range(0..=changes.len());
            report.names_lost += changes.len() - kept;
            changes[..kept]
                .iter()
                .for_each(|change| change.apply(&mut self.durable_names));
        }
        drop_orphans(&mut self.durable_names);
        self.names = self.durable_names.clone();
        for file in self.files.values_mut() {
            // Each file has its own luck: all, none, or a coin per sector.
            let luck = [0.0, 0.5, 0.9, 1.0][rng.random_range(0..4)];
            let (kept, lost) = file.crash(|| rng.random_bool(luck));
            report.sectors_kept += kept;
            report.sectors_lost += lost;
        }
        let named: std::collections::BTreeSet<FileId> = self.names.values().filter_map(Node::file).collect();
        self.files.retain(|id, _| named.contains(id));
        report
    }

    fn change(&mut self, parent: &Path, change: Change) {
        change.apply(&mut self.names);
        self.unsynced.entry(parent.to_owned()).or_default().push(change);
    }

    fn require_folder(&self, dir: &Path) -> io::Result<()> {
        match self.names.get(dir) {
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The fault that this call meets, if any.
    fn fault(&mut self, path: &Path, step: Step) -> Option<Fault> {
        let path = path.to_string_lossy();
        let mut met = None;
        for planned in &mut self.faults {
            if planned.fault.step() != step || !path.contains(&planned.path_contains) {
                continue;
            }
            if planned.after > 0 {
                planned.after -= 1;
            } else if met.is_none() && planned.times > 0 {
                planned.times -= 1;
                met = Some(planned.fault);
            }
        }
        self.faults.retain(|planned| planned.times > 0);
        met
    }

    fn used(&self) -> u64 {
        self.files.values().map(Contents::room).sum()
    }

    fn check_room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used().saturating_add(more) > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

impl Node {
    fn file(&self) -> Option<FileId> {
        match self {
            Node::File(id) => Some(*id),
            Node::Folder => None,
        }
    }
}

impl Fault {
    fn step(self) -> Step {
        match self {
            Fault::WriteError | Fault::NoSpace => Step::Write,
            Fault::SyncError | Fault::SlowSync(_) => Step::Sync,
            Fault::ReadError => Step::Read,
        }
    }
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Add(path, node) => {
                names.insert(path.clone(), *node);
            }
            Change::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
            Change::Rename(from, to) => {
                let moved: Vec<PathBuf> = names.keys().filter(|name| name.starts_with(from)).cloned().collect();
                if !moved.is_empty() {
                    names.retain(|name, _| !name.starts_with(to) || name.starts_with(from));
                }
                for name in moved {
                    let (Some(node), Ok(rest)) = (names.remove(&name), name.strip_prefix(from)) else {
                        continue;
                    };
                    let target = if rest.as_os_str().is_empty() {
                        to.clone()
                    } else {
                        to.join(rest)
                    };
                    names.insert(target, node);
                }
            }
        }
    }
}

/// Removes names whose folder is gone.
fn drop_orphans(names: &mut Names) {
    let paths: Vec<PathBuf> = names.keys().cloned().collect();
    for path in paths {
        // Folders sort before what is in them, so a lost one takes its whole tree along.
        if path
            .parent()
            .is_some_and(|parent| names.get(parent) != Some(&Node::Folder))
        {
            names.remove(&path);
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path).components().collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

impl Disk for Arc<SimDisk> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let path = absolute(path);
        let mut state = self.state.lock();
        let id = match state.names.get(&path) {
            Some(Node::File(id)) => *id,
            Some(Node::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            None if mode != OpenMode::CreateReadWrite => return Err(io::ErrorKind::NotFound.into()),
            None => {
                state.require_folder(&parent(&path))?;
                let id = state.next_id;
                state.next_id += 1;
                state.files.insert(id, Contents::default());
                state.change(&parent(&path), Change::Add(path.clone(), Node::File(id)));
                id
            }
        };
        let boot = state.boots;
        Ok(Arc::new(SimFile {
            disk: Arc::clone(self),
            path,
            id,
            boot,
            writable: mode != OpenMode::Read,
        }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let dir = absolute(dir);
        let mut state = self.state.lock();
        let mut missing: Vec<PathBuf> = Vec::new();
        for above in dir.ancestors() {
            match state.names.get(above) {
                Some(Node::Folder) => break,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => missing.push(above.to_owned()),
            }
        }
        while let Some(path) = missing.pop() {
            state.change(&parent(&path), Change::Add(path, Node::Folder));
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, u64)>> {
        let dir = absolute(dir);
        let state = self.state.lock();
        state.require_folder(&dir)?;
        let inside = state.names.iter().filter(|(path, _)| path.parent() == Some(&dir));
        Ok(inside
            .filter_map(|(path, node)| {
                let len = node.file().and_then(|id| state.files.get(&id)).map_or(0, Contents::len);
                Some((path.file_name()?.to_owned(), len))
            })
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (absolute(from), absolute(to));
        let mut state = self.state.lock();
        state.require_folder(&parent(&to))?;
        if !state.names.contains_key(&from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(&parent(&to), Change::Rename(from, to));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        let mut state = self.state.lock();
        match state.names.get(&path) {
            Some(Node::File(_)) => state.change(&parent(&path), Change::Remove(path.clone())),
            Some(Node::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let dir = absolute(dir);
        let mut state = self.state.lock();
        if state.names.contains_key(&dir) {
            state.change(&parent(&dir), Change::Remove(dir.clone()));
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = absolute(dir);
        let mut state = self.state.lock();
        state.require_folder(&dir)?;
        if state.fault(&dir, Step::Sync) == Some(Fault::SyncError) {
            return Err(eio());
        }
        for change in state.unsynced.remove(&dir).unwrap_or_default() {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        self.state.lock().names.contains_key(&absolute(path))
    }

    fn free_space(&self, _dir: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        let used = match state.used_percent {
            Some(percent) => UNLIMITED / 100 * percent,
            None => state.used(),
        };
        Ok(Space {
            total: UNLIMITED,
            free: UNLIMITED.saturating_sub(used),
        })
    }

    fn boot_id(&self) -> String {
        format!("simulated-boot-{}", self.state.lock().boots)
    }

    fn take_delay(&self) -> Duration {
        let mut state = self.state.lock();
        let step = state.delay.min(DELAY_STEP);
        state.delay -= step;
        step
    }
}

#[derive(Debug)]
struct SimFile {
    disk: Arc<SimDisk>,
    path: PathBuf,
    id: FileId,
    boot: u64,
    writable: bool,
}

impl SimFile {
    /// Runs `f` on the disk, unless the machine that opened this file is gone.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        if state.boots != self.boot {
            return Err(io::Error::other("the machine that opened this file has crashed"));
        }
        f(&mut state)
    }

    fn change<T>(&self, more: u64, f: impl FnOnce(&mut Contents) -> T) -> io::Result<T> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.with(|state| {
            if state.fault(&self.path, Step::Write).is_some() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.check_room(more)?;
            Ok(f(contents(state, self.id)?))
        })
    }
}

fn contents(state: &mut State, id: FileId) -> io::Result<&mut Contents> {
    state.files.get_mut(&id).ok_or_else(eio)
}

impl File for SimFile {
    fn write_all_vectored_at(&self, bufs: &[&[u8]], offset: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let bytes = bufs.concat();
        self.with(|state| {
            let fault = state.fault(&self.path, Step::Write);
            if fault == Some(Fault::NoSpace) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let more = contents(state, self.id)?.more_room(offset, bytes.len());
            state.check_room(more)?;
            let done = if fault.is_some() {
                state.rng.random_range(0..=bytes.len())
            } else {
                bytes.len()
            };
            contents(state, self.id)?.write(&bytes[..done], offset);
            if fault.is_some() { Err(eio()) } else { Ok(()) }
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            if state.fault(&self.path, Step::Read).is_some() {
                return Err(eio());
            }
            Ok(contents(state, self.id)?.read(buf, offset))
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            let fault = state.fault(&self.path, Step::Sync);
            if let Some(Fault::SlowSync(delay)) = fault {
                state.delay += delay;
            }
            if fault == Some(Fault::SyncError) {
                let mut rng = SmallRng::seed_from_u64(state.rng.next_u64());
                contents(state, self.id)?.sync_failed(|| rng.random_bool(0.5));
                return Err(eio());
            }
            contents(state, self.id)?.sync();
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(contents(state, self.id)?.len()))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let more = self.with(|state| Ok(len.saturating_sub(contents(state, self.id)?.room())))?;
        self.change(more, |contents| contents.allocate(len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(0, |contents| contents.set_len(len))
    }
}
