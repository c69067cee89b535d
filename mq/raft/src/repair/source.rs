//! The answering side: hands entries to a member whose log is damaged. Works from the first moment on, because members
//! that are damaged at different places need each other before any of them can start.

use std::io;
use std::sync::{Arc, OnceLock};

use mq_base::env::task;
use mq_store::{Damage, Log, LogId, RaftIndex};
use tokio::sync::Semaphore;

use crate::peer::message::{Fetch, Fetched, Place};
use crate::state_machine::Shared;

/// Bytes of entries in an answer; a longer entry comes alone.
const ANSWER_BYTES: u64 = 1 << 20;
/// Answers being read at a time.
const READING_MAX: usize = 2;

/// See the module.
pub struct Source {
    log: Log,
    reading: Semaphore,
    /// Once the state is restored: what is applied is committed.
    pub machine: OnceLock<Arc<Shared>>,
}

impl Source {
    /// Answers from this log.
    pub fn new(log: Log) -> Arc<Self> {
        Arc::new(Self {
            log,
            reading: Semaphore::new(READING_MAX),
            machine: OnceLock::new(),
        })
    }

    /// Answers a question; an error is this member's own trouble.
    pub async fn fetch(&self, fetch: Fetch) -> Result<Fetched, String> {
        let _permit = self.reading.acquire().await.map_err(|e| e.to_string())?;
        let committed = self.machine.get().and_then(|machine| *machine.applied.borrow());
        let log = self.log.clone();
        let read = task::spawn_blocking("fetch for a peer", move || look(&log, committed, &fetch));
        let answer = read.await.map_err(|e| e.to_string())?;
        answer.map_err(|e| e.to_string())
    }
}

/// What this log has of what is asked for. Blocks.
pub fn look(log: &Log, committed: Option<LogId>, fetch: &Fetch) -> io::Result<Fetched> {
    let nothing = |place| Fetched {
        place,
        committed,
        anchor: None,
        entries: Vec::new(),
    };
    let index = fetch.after.last.map(|last| last.index);
    if log.base().last.map(|base| base.index) > index {
        return Ok(nothing(Place::Purged));
    }
    match log.has_place(&fetch.after) {
        Ok(true) => {}
        Ok(false) if index > log.tail().last.map(|last| last.index) => return Ok(nothing(Place::Beyond)),
        Ok(false) => return Ok(nothing(Place::Other)),
        Err(error) if Damage::of(&error).is_some() => return Ok(nothing(Place::Damaged)),
        Err(error) => return Err(error),
    }
    let next = index.map_or(log.first(), RaftIndex::next);
    let entries = match read(log, next) {
        Ok(entries) => entries,
        Err(error) if Damage::of(&error).is_some() => return Ok(nothing(Place::Damaged)),
        Err(error) => return Err(error),
    };
    if entries.is_empty() && log.damage().is_some() {
        return Ok(nothing(Place::Damaged));
    }
    let has = |place| log.has_place(place).unwrap_or(false);
    Ok(Fetched {
        place: Place::Here,
        committed,
        anchor: fetch
            .anchors
            .iter()
            .position(has)
            .and_then(|nth| u8::try_from(nth).ok()),
        entries,
    })
}

/// As many entries as an answer may carry; where the own log is damaged a little further on, one.
fn read(log: &Log, next: RaftIndex) -> io::Result<Vec<mq_store::Entry>> {
    match log.read(next..RaftIndex(u64::MAX), ANSWER_BYTES) {
        Err(error) if Damage::of(&error).is_some() => log.read(next..next.next(), ANSWER_BYTES),
        read => read,
    }
}
