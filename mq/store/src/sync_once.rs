//! A sync that fails is the last one.
//!
//! The kernel reports a failed write-back once and then takes the pages for clean: the next sync succeeds, and a power
//! cut shows that some of the data never was on the disk. A derived file whose sync has failed may therefore not be
//! covered by any later checkpoint; the next start makes it again from the log, from the last checkpoint on.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Inside of an [`io::Error`]: files were not synced, and never will be by this process.
#[derive(Debug)]
pub struct SyncFailed(String);

impl SyncFailed {
    /// Whether that is what an error says.
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<SyncFailed>())
    }
}

impl fmt::Display for SyncFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SyncFailed {}

/// Guards the syncs of a set of files.
#[derive(Debug, Default)]
pub(crate) struct SyncOnce {
    failed: AtomicBool,
}

impl SyncOnce {
    /// Syncs, unless an earlier sync has failed.
    pub fn sync<T>(&self, sync: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other(SyncFailed("an earlier sync failed".into())));
        }
        sync().map_err(|error| {
            self.failed.store(true, Ordering::Release);
            io::Error::new(error.kind(), SyncFailed(format!("sync: {error}")))
        })
    }
}
