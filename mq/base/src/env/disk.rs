//! Files, as the store needs them. Calls block; the caller chooses the thread.
//!
//! [`real`] is the disk of this machine. The simulator has its own in `sim::disk`, with crashes and faults.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{Errno, ReadWriteFlags};

/// The kernel takes at most this many buffers in one vectored write (`IOV_MAX`).
const BUFFERS_MAX: usize = 1024;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; only read.
    Read,
    /// Must exist; read and written.
    ReadWrite,
    /// Made if missing; read and written, never cut.
    CreateReadWrite,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What is used and what is free together: the part of the file system that programs can ever fill. As `df` and RocketMQ
    /// count it, so that a reserved part is neither used nor free.
    pub total: u64,
    /// What an unprivileged program may still write.
    pub free: u64,
}

/// A file system.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Makes a folder and those above it. Durable after [`Disk::sync_dir`] of each parent.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names in `dir` and their lengths (0 for folders), sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, u64)>>;
    /// Renames, replacing what is there. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and what is in it; a missing folder is fine.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether something is at `path`.
    fn exists(&self, path: &Path) -> bool;
    /// Room on the file system that holds `dir`.
    fn free_space(&self, dir: &Path) -> io::Result<Space>;
    /// Changes with each start of the machine: unsynced data written under another boot id may be gone.
    fn boot_id(&self) -> String;
    /// Makes everything on the file system of `dir` durable, files and names, with one call; false if this disk cannot.
    /// Cheaper than thousands of single syncs, dearer than a few.
    fn sync_file_system(&self, _dir: &Path) -> io::Result<bool> {
        Ok(false)
    }
    /// What to wait now for calls that would have taken longer; ask again after it, until it is zero. Always zero on a
    /// real disk, where they did take that long; the simulated writer waits for it.
    fn take_delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// An open file. All positions are absolute; there is no cursor.
pub trait File: Debug + Send + Sync {
    /// Writes all of `bufs` one after the other from `offset`. After an error any part may have been written.
    fn write_all_vectored_at(&self, bufs: &[&[u8]], offset: u64) -> io::Result<()>;
    /// Reads up to `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// The same for bytes that are in memory: never waits for the disk. `None` if some are not, or nobody can tell.
    fn read_cached_at(&self, _buf: &mut [u8], _offset: u64) -> io::Result<Option<usize>> {
        Ok(None)
    }
    /// Makes the contents durable. After an error the unsynced contents are unknown and must not be trusted.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes contents and metadata durable.
    fn sync_all(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reserves room up to `len`; the file reads as zeros there and never shrinks.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Says that these bytes will hardly be read again: memory that caches them may be used for others. What is not
    /// durable yet stays cached. Only a hint, so nothing is told of its failure.
    fn uncache(&self, _offset: u64, _len: u64) {}

    /// Reads exactly `buf.len()` bytes or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
            }
        }
        Ok(())
    }
}

/// The disk of this machine; inside the simulator, the disk of the current world.
pub fn real() -> Arc<dyn Disk> {
    #[cfg(feature = "sim")]
    if let Some(world) = super::sim::current() {
        return world.disk();
    }
    Arc::new(RealDisk)
}

#[derive(Debug)]
struct RealDisk;

#[derive(Debug)]
struct RealFile(fs::File);

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .create(mode == OpenMode::CreateReadWrite)
            .truncate(false)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, u64)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            names.push((entry.file_name(), if meta.is_file() { meta.len() } else { 0 }));
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn free_space(&self, dir: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(dir)?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(Space {
            total: used.saturating_add(stat.f_bavail).saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn sync_file_system(&self, dir: &Path) -> io::Result<bool> {
        rustix::fs::syncfs(fs::File::open(dir)?)?;
        Ok(true)
    }

    fn boot_id(&self) -> String {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    }
}

impl File for RealFile {
    fn write_all_vectored_at(&self, bufs: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut offset = offset;
        for chunk in bufs.chunks(BUFFERS_MAX) {
            let mut slices: Vec<IoSlice<'_>> = chunk
                .iter()
                .filter(|b| !b.is_empty())
                .map(|b| IoSlice::new(b))
                .collect();
            let mut rest = &mut slices[..];
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.0, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => {
                        offset += n as u64;
                        IoSlice::advance_slices(&mut rest, n);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buf, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let wanted = buf.len();
        match rustix::io::preadv2(&self.0, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) {
            Ok(n) if n == wanted => Ok(Some(n)),
            // A part of it, or nothing: the rest would be waited for, or the file ends there.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // A file system without fallocate gives a sparse file instead: same contents, no reserved room.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.len()? < len => self.0.set_len(len),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn uncache(&self, offset: u64, len: u64) {
        if let Some(len) = NonZeroU64::new(len) {
            let _ = rustix::fs::fadvise(&self.0, offset, Some(len), Advice::DontNeed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("mq-base-{name}-{}", std::process::id()));
        real().remove_dir_all(&dir).unwrap();
        real().create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn more_buffers_than_the_kernel_takes_at_once_arrive_in_order() {
        let dir = scratch("vectored");
        let file = real().open(&dir.join("f"), OpenMode::CreateReadWrite).unwrap();
        let pieces: Vec<[u8; 3]> = (0..3000_u32).map(|n| [(n % 251) as u8, (n / 251) as u8, 7]).collect();
        let mut bufs: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
        bufs.insert(1500, &[]);
        file.write_all_vectored_at(&bufs, 100).unwrap();
        let mut read = vec![0; 9000];
        file.read_exact_at(&mut read, 100).unwrap();
        assert_eq!(read, pieces.concat());
        assert_eq!(file.read_at(&mut [0; 8], 9100).unwrap(), 0);
        assert!(file.read_exact_at(&mut [0; 8], 9096).is_err());
        real().remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn allocation_extends_with_zeros_and_never_shrinks() {
        let dir = scratch("allocate");
        let file = real().open(&dir.join("f"), OpenMode::CreateReadWrite).unwrap();
        file.write_all_vectored_at(&[b"abc"], 0).unwrap();
        file.allocate(4096).unwrap();
        file.allocate(16).unwrap();
        assert_eq!(file.len().unwrap(), 4096);
        let mut head = [9; 4];
        file.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(&head, b"abc\0");
        file.set_len(2).unwrap();
        assert_eq!(real().list(&dir).unwrap(), [(OsString::from("f"), 2)]);
        real().sync_dir(&dir).unwrap();
        assert!(real().free_space(&dir).unwrap().total > 0);
        assert!(!real().boot_id().is_empty());
        real().remove_dir_all(&dir).unwrap();
        real().remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn only_create_creates() {
        let dir = scratch("open");
        for mode in [OpenMode::Read, OpenMode::ReadWrite] {
            assert_eq!(
                real().open(&dir.join("none"), mode).unwrap_err().kind(),
                io::ErrorKind::NotFound
            );
        }
        real().remove_dir_all(&dir).unwrap();
    }
}
