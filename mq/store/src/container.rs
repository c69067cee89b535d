//! A small file that is replaced whole: written aside, synced, renamed, and its folder synced.
//!
//! ```text
//! 0 u32 magic   4 u32 version   8 u64 length of the payload   16 u32 CRC-32C of bytes 0..16 and the payload
//! 20 payload
//! ```
//! Big-endian. A reader sees the old content or the new, never a mixture.

use std::io;
use std::path::{Path, PathBuf};

use mq_base::env::disk::{Disk, OpenMode};

use crate::position::{be_u32, be_u64};

const HEADER_LEN: usize = 20;
/// More than any checkpoint of ours; bounds what a damaged length can make us allocate.
const PAYLOAD_MAX: u64 = 4 << 30;

/// Kind and version of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub magic: u32,
    /// The newest version this program reads; what it writes.
    pub version: u32,
}

/// Writes `payload` as the new content of `path`.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, stamp: Stamp, payload: &[u8]) -> io::Result<()> {
    let mut header = [0; HEADER_LEN];
    header[0..4].copy_from_slice(&stamp.magic.to_be_bytes());
    header[4..8].copy_from_slice(&stamp.version.to_be_bytes());
    header[8..16].copy_from_slice(&(payload.len() as u64).to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..16]), payload);
    header[16..20].copy_from_slice(&crc.to_be_bytes());

    let aside = aside(path);
    if disk.exists(&aside) {
        disk.remove(&aside)?;
    }
    let file = disk.open(&aside, OpenMode::CreateReadWrite)?;
    file.write_all_vectored_at(&[&header, payload], 0)?;
    file.sync_all()?;
    drop(file);
    disk.rename(&aside, path)?;
    sync_parent(disk, path)
}

/// Reads the payload; `None` if there is no such file. A damaged or newer file is `InvalidData` and says which.
pub(crate) fn load(disk: &dyn Disk, path: &Path, stamp: Stamp) -> io::Result<Option<Vec<u8>>> {
    if !disk.exists(path) {
        return Ok(None);
    }
    let file = disk.open(path, OpenMode::Read)?;
    let len = file.len()?;
    let mut header = [0; HEADER_LEN];
    if len < HEADER_LEN as u64 {
        return Err(invalid(path, "is cut"));
    }
    file.read_exact_at(&mut header, 0)?;
    if be_u32(&header, 0) != stamp.magic {
        return Err(invalid(path, "is not the file its name says (magic)"));
    }
    let payload_len = be_u64(&header, 8);
    if payload_len > PAYLOAD_MAX || payload_len != len - HEADER_LEN as u64 {
        return Err(invalid(path, "has a wrong length"));
    }
    let mut payload = vec![0; payload_len as usize];
    file.read_exact_at(&mut payload, HEADER_LEN as u64)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..16]), &payload);
    if crc != be_u32(&header, 16) {
        return Err(invalid(path, "is damaged: CRC mismatch"));
    }
    let version = be_u32(&header, 4);
    if version > stamp.version {
        return Err(invalid(path, "was written by a newer version of this program"));
    }
    Ok(Some(payload))
}

/// Makes the name of `path` durable.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => disk.sync_dir(Path::new(".")),
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn invalid(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()))
}
