//! The door for `fuzz/`: opens a folder as recovery does, without the threads that would write to it afterwards.

use std::path::Path;

use mq_base::env::disk::real;

use crate::{Known, Log, LogOptions, OpenError, Recovered};

/// Opens the log in `dir`; `from` is what a checkpoint says.
pub fn recover(dir: &Path, options: LogOptions, from: Option<Known>) -> Result<(Log, Recovered), OpenError> {
    Log::open_idle(real(), dir, options, from)
}
