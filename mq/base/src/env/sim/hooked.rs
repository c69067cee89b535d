//! A disk with hooks, for tests of what a real disk does only at bad moments.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::env::disk::{Disk, File, OpenMode, Space};

/// What a test changes; everything else goes through.
pub trait Hooks: Debug + Send + Sync {
    /// Before the contents of a file are synced: may fail, or wait.
    fn before_sync(&self) -> io::Result<()> {
        Ok(())
    }
    /// In place of the machine's boot id.
    fn boot_id(&self) -> Option<String> {
        None
    }
}

/// `disk` with `hooks`.
pub fn hooked(disk: Arc<dyn Disk>, hooks: Arc<dyn Hooks>) -> Arc<dyn Disk> {
    Arc::new(HookedDisk { disk, hooks })
}

#[derive(Debug)]
struct HookedDisk {
    disk: Arc<dyn Disk>,
    hooks: Arc<dyn Hooks>,
}

#[derive(Debug)]
struct HookedFile {
    file: Arc<dyn File>,
    hooks: Arc<dyn Hooks>,
}

impl Disk for HookedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (file, hooks) = (self.disk.open(path, mode)?, self.hooks.clone());
        Ok(Arc::new(HookedFile { file, hooks }))
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<(std::ffi::OsString, u64)>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }
    fn free_space(&self, dir: &Path) -> io::Result<Space> {
        self.disk.free_space(dir)
    }
    fn boot_id(&self) -> String {
        self.hooks.boot_id().unwrap_or_else(|| self.disk.boot_id())
    }
}

impl File for HookedFile {
    fn write_all_vectored_at(&self, bufs: &[&[u8]], offset: u64) -> io::Result<()> {
        self.file.write_all_vectored_at(bufs, offset)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.hooks.before_sync()?;
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
