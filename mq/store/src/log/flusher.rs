//! What the log does beside the way of a message: background sync, flush mark, the next segment, purge.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mq_base::env;

use super::job::Chore;
use super::{Shared, Tail};
use crate::mailbox::Taken;

/// How often a full disk is asked again for the next segment.
const FULL_DISK_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Flusher {
    shared: Arc<Shared>,
    /// Something is to be flushed or marked when the interval has passed.
    due: bool,
    /// What is below has been taken out of the page cache.
    uncached: u64,
}

/// The page cache is trimmed in steps of at least this.
const UNCACHE_STEP: u64 = 4 << 20;

/// Starts the flusher's thread, or its task in the simulator.
pub(super) fn start(shared: &Arc<Shared>) {
    let mut flusher = Flusher::new(shared.clone());
    let shared = shared.clone();
    if env::is_simulated() {
        env::task::spawn("log-flusher", async move {
            loop {
                let taken = shared.chores.take_async(flusher.patience()).await;
                if !flusher.turn(taken) {
                    return;
                }
            }
        });
        return;
    }
    env::thread::spawn("log-flusher", move || {
        loop {
            let taken = shared.chores.take(flusher.patience());
            if !flusher.turn(taken) {
                return;
            }
        }
    });
}

impl Flusher {
    pub fn new(shared: Arc<Shared>) -> Flusher {
        let uncached = shared.state.read().tail.next_offset.get();
        Flusher {
            shared,
            due: false,
            uncached,
        }
    }

    fn patience(&self) -> Option<Duration> {
        if self.due {
            Some(self.shared.options.flush_interval)
        } else if self.shared.no_room.load(Ordering::Relaxed) {
            Some(FULL_DISK_RETRY)
        } else {
            None
        }
    }

    /// Whether to go on.
    fn turn(&mut self, taken: Taken<Chore>) -> bool {
        // A nudge while nothing was due starts the interval; another one, its end, or a chore ends it.
        let starts = taken.nudged && !self.due && taken.items.is_empty() && !taken.closed;
        if starts {
            self.due = true;
            self.shared.ensure_next_segment();
        } else {
            self.due = false;
            self.tick(taken.items);
        }
        !taken.closed
    }

    /// Everything that is due.
    pub fn tick(&mut self, chores: Vec<Chore>) {
        let shared = &self.shared;
        if let Err(error) = shared.check() {
            for chore in chores {
                chore.into_done()(Err(io::Error::new(error.kind(), error.to_string())));
            }
            return;
        }
        shared.dirty.store(false, Ordering::Release);
        let synced = shared.sync_written().and_then(|()| shared.save_mark());
        if let Err(error) = &synced {
            shared.poison("sync the log", error);
        }
        for chore in chores {
            match chore {
                Chore::Flush(done) => done(match &synced {
                    Ok(()) => Ok(()),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                }),
                Chore::Purge(base, done) => {
                    let purged = shared.purge_segments(base);
                    if let Err(error) = &purged {
                        shared.poison("purge the log", error);
                    }
                    done(purged);
                }
            }
        }
        shared.ensure_next_segment();
        self.trim_cache();
    }

    /// Takes what is further back than `cached_bytes` out of the page cache. Consumers that are further behind read the
    /// disk; in return a log that is written for hours goes on using the same warm pages.
    fn trim_cache(&mut self) {
        let keep = self.shared.options.cached_bytes;
        let flushed = self.shared.durable.lock().flushed.next_offset.get();
        let segments = &self.shared.segments;
        let upto = flushed.saturating_sub(keep);
        if keep == 0 || upto < self.uncached + UNCACHE_STEP {
            self.uncached = self.uncached.min(flushed); // The log may have been cut, or begun anew.
            return;
        }
        while self.uncached < upto {
            let base = segments.base_of(self.uncached);
            let end = upto.min(base + segments.segment_bytes);
            // Without a file there is nothing cached either.
            if let Ok(Some(segment)) = segments.get(base) {
                segment.file.uncache(self.uncached - base, end - self.uncached);
            }
            self.uncached = end;
        }
    }
}

impl Shared {
    /// Syncs what is written and not synced. Who comes second waits: what the first one is syncing still counts as
    /// unsynced, but is not in the list any more.
    pub(super) fn sync_written(&self) -> io::Result<()> {
        let _syncing = self.syncing.lock();
        let (generation, written, bases) = {
            let mut durable = self.durable.lock();
            if durable.flushed == durable.written {
                return Ok(());
            }
            let bases = std::mem::take(&mut durable.unsynced);
            (durable.generation, durable.written, bases)
        };
        for base in bases {
            if let Some(segment) = self.segments.get(base)? {
                segment.file.sync_data()?;
            }
        }
        let mut durable = self.durable.lock();
        if durable.generation == generation && durable.flushed.next_offset < written.next_offset {
            durable.flushed = written;
        }
        Ok(())
    }

    /// Makes the flush mark as high as what is flushed.
    pub(super) fn save_mark(&self) -> io::Result<()> {
        let mut small = self.small.lock();
        let (flushed, marked) = {
            let durable = self.durable.lock();
            (durable.flushed, durable.marked)
        };
        if flushed.next_offset <= marked.next_offset {
            return Ok(());
        }
        small.mark.save(&flushed.encode())?;
        self.durable.lock().marked = flushed;
        Ok(())
    }

    fn purge_segments(&self, base: Tail) -> io::Result<()> {
        let mut small = self.small.lock();
        if base.next_offset <= small.base_saved.next_offset {
            return Ok(());
        }
        // First what the log begins after, then the files: never the other way round.
        small.base.save(&base.encode())?;
        small.base.mirror()?;
        small.base_saved = base;
        drop(small); // A vote must not wait for an unlink.
        let size = self.segments.segment_bytes;
        self.segments
            .remove(|start| start + size <= base.next_offset.get(), true)
    }

    /// Allocates the next segment once the current one is half full, so that an append never meets a full disk
    /// unannounced: half a segment is left for state entries when [`super::Log::room`] says so.
    pub(super) fn ensure_next_segment(&self) {
        let size = self.segments.segment_bytes;
        let tail = self.state.read().tail.next_offset.get();
        if tail % size < size / 2 || self.segments.exists(tail - tail % size + size) {
            self.no_room.store(false, Ordering::Relaxed);
            return;
        }
        match self.segments.create(tail - tail % size + size) {
            Ok(_) => self.no_room.store(false, Ordering::Relaxed),
            Err(error) => {
                let free = self.segments.free_space().unwrap_or(0);
                if !self.no_room.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, free, "no room for the next segment: messages are refused");
                }
            }
        }
    }

    /// After a clean close nothing may be written any more.
    pub(super) fn closed(&self) {
        let mut poison = self.poison.lock();
        poison.get_or_insert((io::ErrorKind::BrokenPipe, "the log is closed".to_owned()));
    }
}
