//! The files of all consume queues: a bounded number open, and which ones wait for a sync.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mq_base::env::disk::{Disk, File, OpenMode};
use mq_base::env::random::{HashMap, HashSet};
use parking_lot::Mutex;

use super::{CqEntry, ENTRY_LEN, QueueOptions, QueueRef};
use crate::sync_once::SyncOnce;

/// Files that are synced one by one; for more, the whole file system is.
const SINGLE_SYNCS_MAX: usize = 256;

/// Folder of the topic, queue id, number of the file.
type FileKey = (Arc<str>, u32, u64);

#[derive(Debug)]
pub(super) struct Files {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    entries_per_file: u64,
    open: Mutex<OpenFiles>,
    unsynced: Mutex<Unsynced>,
    syncs: SyncOnce,
}

/// Two generations: a file that is not used while the young one fills up is closed. As good as a strict order of use
/// and far simpler.
#[derive(Debug)]
struct OpenFiles {
    young: HashMap<FileKey, Arc<dyn File>>,
    old: HashMap<FileKey, Arc<dyn File>>,
    max: usize,
}

#[derive(Debug, Default)]
struct Unsynced {
    files: HashSet<FileKey>,
    /// Folders that got a new file or folder.
    folders: HashSet<PathBuf>,
}

impl Files {
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, options: &QueueOptions) -> Files {
        Files {
            disk,
            root,
            entries_per_file: options.entries_per_file.max(1),
            open: Mutex::new(OpenFiles {
                young: HashMap::default(),
                old: HashMap::default(),
                max: options.open_files_max.max(2),
            }),
            unsynced: Mutex::new(Unsynced::default()),
            syncs: SyncOnce::default(),
        }
    }

    /// Writes encoded entries from queue offset `from` on.
    pub fn write(&self, queue: &QueueRef, mut from: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let number = from / self.entries_per_file;
            let slot = from % self.entries_per_file;
            let room = (self.entries_per_file - slot) as usize * ENTRY_LEN;
            let (now, later) = bytes.split_at(bytes.len().min(room));
            let key = key(queue, number);
            let file = self.file(&key, true)?.ok_or(io::ErrorKind::NotFound)?;
            file.write_all_vectored_at(&[now], slot * ENTRY_LEN as u64)?;
            self.unsynced.lock().files.insert(key);
            from += (now.len() / ENTRY_LEN) as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Reads up to `count` entries; a hole where an entry must be is `InvalidData`.
    pub fn read(&self, queue: &QueueRef, from: u64, count: usize, out: &mut Vec<CqEntry>) -> io::Result<()> {
        let mut next = from;
        let end = from + count as u64;
        while next < end {
            let number = next / self.entries_per_file;
            let slot = next % self.entries_per_file;
            let now = (end - next).min(self.entries_per_file - slot) as usize;
            let mut buf = vec![0; now * ENTRY_LEN];
            let Some(file) = self.file(&key(queue, number), false)? else {
                return short(queue, next, out);
            };
            let mut have = 0;
            while have < buf.len() {
                match file.read_at(&mut buf[have..], slot * ENTRY_LEN as u64 + have as u64)? {
                    0 => break,
                    n => have += n,
                }
            }
            for bytes in buf[..have].chunks_exact(ENTRY_LEN) {
                match CqEntry::decode(bytes) {
                    Some(entry) => out.push(entry),
                    None => return short(queue, next, out),
                }
                next += 1;
            }
            if have < buf.len() {
                return short(queue, next, out);
            }
        }
        Ok(())
    }

    /// Makes everything written durable. After a failure it fails for good.
    pub fn sync(&self) -> io::Result<()> {
        let (files, folders) = {
            let mut unsynced = self.unsynced.lock();
            (
                std::mem::take(&mut unsynced.files),
                std::mem::take(&mut unsynced.folders),
            )
        };
        self.syncs.sync(|| self.sync_these(&files, &folders))
    }

    fn sync_these(&self, files: &HashSet<FileKey>, folders: &HashSet<PathBuf>) -> io::Result<()> {
        if files.len() > SINGLE_SYNCS_MAX && self.disk.sync_file_system(&self.root)? {
            return Ok(());
        }
        for key in files {
            // Gone when its topic was removed or retention passed it.
            if let Some(file) = self.file(key, false)? {
                file.sync_data()?;
            }
        }
        for folder in folders {
            if self.disk.exists(folder) {
                self.disk.sync_dir(folder)?;
            }
        }
        Ok(())
    }

    /// Removes the files of a queue with numbers below `number`.
    pub fn remove_below(&self, queue: &QueueRef, number: u64) -> io::Result<()> {
        let folder = self.folder(&key(queue, 0));
        if !self.disk.exists(&folder) {
            return Ok(());
        }
        for (name, _) in self.disk.list(&folder)? {
            let start = name.to_str().and_then(crate::log::parse_name);
            let Some(start) = start else { continue };
            let this = start / (self.entries_per_file * ENTRY_LEN as u64);
            if this < number {
                let key = key(queue, this);
                self.forget(|other| *other == key);
                self.disk.remove(&folder.join(&name))?;
            }
        }
        Ok(())
    }

    pub fn remove_topic(&self, topic: &str) -> io::Result<()> {
        self.forget(|key| &*key.0 == topic);
        self.disk.remove_dir_all(&self.root.join(topic))?;
        self.disk.sync_dir(&self.root)
    }

    pub fn remove_all(&self) -> io::Result<()> {
        self.remove_strays(&HashSet::default())
    }

    /// Removes the folders of topics that are not `known`.
    pub fn remove_strays(&self, known: &HashSet<String>) -> io::Result<()> {
        let mut removed = false;
        for (name, _) in self.disk.list(&self.root)? {
            if name.to_str().is_none_or(|name| !known.contains(name)) {
                self.disk.remove_dir_all(&self.root.join(&name))?;
                removed = true;
            }
        }
        if removed {
            self.disk.sync_dir(&self.root)?;
        }
        Ok(())
    }

    pub fn forget_all(&self) {
        self.forget(|_| true);
    }

    fn forget(&self, which: impl Fn(&FileKey) -> bool) {
        let mut open = self.open.lock();
        open.young.retain(|key, _| !which(key));
        open.old.retain(|key, _| !which(key));
        self.unsynced.lock().files.retain(|key| !which(key));
    }

    fn folder(&self, key: &FileKey) -> PathBuf {
        self.root.join(&*key.0).join(key.1.to_string())
    }

    /// The open file; `None` if it does not exist and is not to be made.
    fn file(&self, key: &FileKey, make: bool) -> io::Result<Option<Arc<dyn File>>> {
        let mut open = self.open.lock();
        if let Some(file) = open.get(key) {
            return Ok(Some(file));
        }
        let folder = self.folder(key);
        let start = key.2 * self.entries_per_file * ENTRY_LEN as u64;
        let path = folder.join(format!("{start:020}"));
        let exists = self.disk.exists(&path);
        if !exists && !make {
            return Ok(None);
        }
        if !exists {
            self.disk.create_dir_all(&folder)?;
        }
        if make {
            // Also if it exists: the process that made it may have died before it synced the names.
            let mut unsynced = self.unsynced.lock();
            unsynced.folders.insert(self.root.clone());
            unsynced.folders.insert(self.root.join(&*key.0));
            unsynced.folders.insert(folder);
        }
        let file = self.disk.open(&path, OpenMode::CreateReadWrite)?;
        open.insert(key.clone(), file.clone());
        Ok(Some(file))
    }
}

fn key(queue: &QueueRef, number: u64) -> FileKey {
    (queue.0.topic.folder.clone(), queue.0.id, number)
}

fn short(queue: &QueueRef, at: u64, out: &[CqEntry]) -> io::Result<()> {
    if !out.is_empty() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("consume queue {queue:?} has no entry at {at}"),
    ))
}

impl OpenFiles {
    fn get(&mut self, key: &FileKey) -> Option<Arc<dyn File>> {
        if let Some(file) = self.young.get(key) {
            return Some(file.clone());
        }
        let (key, file) = self.old.remove_entry(key)?;
        self.insert(key, file.clone());
        Some(file)
    }

    fn insert(&mut self, key: FileKey, file: Arc<dyn File>) {
        if self.young.len() >= self.max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, file);
    }
}
