//! openraft's log, on `mq_store::Log`.
//!
//! Entries that this member makes as leader get their final form here, because only here is their order final: position,
//! physical offsets, chain, checksums. Entries from a leader are stored as they came; the log refuses one that does not
//! continue the chain, so members cannot diverge silently.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use mq_base::env::bug::{self, Bug};
use mq_base::env::clock;
use mq_store::{Buffers, Entry, EntryBuilder, EntryKind, Log, RaftIndex, Tail, promise};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::codec::{Put, Take};
use crate::repair::Mender;
use crate::types::{Body, LogEntry, Payload, Proposal, RaftLogId, TypeConfig, Vote, from_raft, to_raft};

/// Bytes of entries that one replication frame carries (one entry may be larger). Also caps catching up.
const FRAME_BYTES: u64 = 1 << 20;
/// Bytes of entries read ahead of apply.
const APPLY_BYTES: u64 = 4 << 20;
/// A snapshot that is being installed makes room for entries behind it within this time.
const INSTALL_WITHIN: Duration = Duration::from_secs(120);

/// The log as openraft sees it. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    log: Log,
    stamp: Arc<Mutex<Stamp>>,
    /// Notified when a snapshot was installed.
    installed: Arc<Notify>,
    /// Repairs what reads find damaged.
    mender: Option<Arc<Mender>>,
    /// openraft's suite purges entries that were never there. A member never may: openraft does it when the state is
    /// ahead of the log, and the commit log would be gone.
    #[cfg(test)]
    purges_beyond: bool,
}

/// Where the proposer's numbering and the log's clock stand.
#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    session: u64,
    next_sequence: u64,
    log_time_ms: i64,
}

impl LogStore {
    /// `log_time_ms` is the clock of the last entry.
    pub fn new(log: Log, log_time_ms: i64, mender: Option<Arc<Mender>>) -> Self {
        let stamp = Stamp {
            log_time_ms,
            ..Stamp::default()
        };
        Self {
            log,
            stamp: Arc::new(Mutex::new(stamp)),
            installed: Default::default(),
            mender,
            #[cfg(test)]
            purges_beyond: false,
        }
    }

    /// Where the memory of entries comes from.
    pub fn buffers(&self) -> &Arc<Buffers> {
        self.log.buffers()
    }

    /// See the field.
    pub fn installed(&self) -> Arc<Notify> {
        self.installed.clone()
    }

    /// The clock of the last entry; a leader's first batch is not before it.
    pub fn log_time_ms(&self) -> i64 {
        self.stamp.lock().log_time_ms
    }

    /// Never below the clock of the state's checkpoint.
    pub fn raise_log_time(&self, ms: i64) {
        let mut stamp = self.stamp.lock();
        stamp.log_time_ms = stamp.log_time_ms.max(ms);
    }

    /// Entries behind a snapshot may come before the state machine has installed it.
    async fn wait_for_place(&self, first: u64) -> io::Result<()> {
        let deadline = clock::now() + INSTALL_WITHIN;
        loop {
            let installed = self.installed.notified();
            // A group's log begins with entry 0: in an empty one, another entry waits for a snapshot.
            let next = self.log.tail().last.map_or(0, |last| last.index.0 + 1);
            #[cfg(test)]
            let next = if self.purges_beyond { u64::MAX } else { next };
            if next >= first {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(clock::now());
            if clock::timeout(left, installed).await.is_err() {
                return Err(io::Error::other("an entry came before the entries it follows"));
            }
        }
    }
}

impl Stamp {
    /// Gives an entry its final form at `tail`.
    fn stamp(&mut self, id: RaftLogId, payload: Payload, tail: Tail, segment_bytes: u64) -> Entry {
        let (builder, kind) = match payload {
            EntryPayload::Blank => (EntryBuilder::new(0), EntryKind::Blank),
            EntryPayload::Membership(membership) => {
                let mut bytes = Vec::new();
                bytes.membership(&membership);
                let mut builder = EntryBuilder::new(bytes.len() + 16);
                builder.push_opaque(&bytes);
                (builder, EntryKind::Membership)
            }
            EntryPayload::Normal(proposal) if self.follows(id, &proposal, segment_bytes) => {
                self.session = proposal.session;
                self.next_sequence = proposal.sequence + 1;
                self.log_time_ms = self.log_time_ms.max(proposal.log_time_ms);
                (proposal.builder, EntryKind::Batch)
            }
            EntryPayload::Normal(_) => (EntryBuilder::new(0), EntryKind::Void),
        };
        let offset = mq_store::entry::place(tail.next_offset, builder.len() as u64, segment_bytes);
        builder.finish(from_raft(&id), offset, tail.previous_hash, self.log_time_ms, kind)
    }

    /// Whether the batch was decided on exactly what is in the log before it. openraft may refuse one write and accept
    /// the next; the next was decided on a state that will never be.
    fn follows(&self, id: RaftLogId, proposal: &Proposal, segment_bytes: u64) -> bool {
        let continues = proposal.session == self.session && proposal.sequence == self.next_sequence;
        let begins = proposal.session > self.session && proposal.sequence == 0;
        proposal.term == id.leader_id.term && (continues || begins) && proposal.builder.len() as u64 <= segment_bytes
    }
}

fn indexes(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(n) => *n,
        Bound::Excluded(n) => n + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(n) => n + 1,
        Bound::Excluded(n) => *n,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl LogStore {
    /// What is there of a range.
    fn clip(&self, start: u64, end: u64) -> (u64, u64) {
        let first = self.log.first().0;
        let next = self.log.tail().last.map_or(0, |last| last.index.0 + 1);
        (start.max(first), end.min(next))
    }

    async fn some(&self, start: u64, end: u64, max_bytes: u64) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        loop {
            let read = self.log.read_async(RaftIndex(start)..RaftIndex(end), max_bytes).await;
            // An error would end the member. Nothing damaged is applied or sent; it waits for the repair.
            match (read, &self.mender) {
                (Err(error), Some(mender)) if mender.wait(&error).await => {}
                (read, _) => return read,
            }
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<LogEntry>> {
        let (start, end) = indexes(&range);
        let (mut start, end) = self.clip(start, end);
        let mut out = Vec::new();
        while start < end {
            let entries = self.some(start, end, APPLY_BYTES).await?;
            let Some(last) = entries.last() else { break };
            start = last.index().0 + 1;
            out.extend(entries.into_iter().map(LogEntry::stored));
        }
        Ok(out)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        let entries = self.some(start, end, FRAME_BYTES).await?;
        Ok(entries.into_iter().map(LogEntry::stored).collect())
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<LogEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = indexes(&range);
        let store = self.clone();
        // In pieces: a member that is far behind must not read all it missed into memory.
        let pieces = stream::unfold(start, move |start| {
            let store = store.clone();
            async move {
                if start >= end {
                    return None;
                }
                let entries = store.some(start, end, APPLY_BYTES).await;
                let next = match &entries {
                    Ok(entries) => entries.last().map_or(end, |last| last.index().0 + 1),
                    Err(_) => end,
                };
                Some((entries, next))
            }
        });
        pieces.flat_map(|piece| match piece {
            Ok(entries) => stream::iter(entries.into_iter().map(|e| Ok(LogEntry::stored(e))).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        match self.log.vote() {
            None => Ok(None),
            Some(bytes) => Take(&bytes).vote().map(Some).map_err(io::Error::other),
        }
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let base = self.log.base().last.map(to_raft);
        let last = self.log.tail().last.map(to_raft);
        Ok(LogState {
            last_purged_log_id: base,
            last_log_id: last.or(base),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(17);
        bytes.vote(vote);
        let (done, saved) = promise();
        if bug::is_back(Bug::VoteNotDurable) {
            return Ok(()); // as if a power cut always came before the write
        }
        self.log.save_vote(bytes.into(), done);
        saved.await
    }

    // The committed position is not kept (the defaults of `save_committed` and `read_committed`): it would cost a write per
    // advance, and after a restart the checkpoint is at most seconds behind it.

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        if let Some(first) = entries.first() {
            self.wait_for_place(first.log_id_parts().1).await?;
        }
        let segment_bytes = self.log.segment_bytes();
        let mut tail = self.log.tail();
        let mut stamped = Vec::with_capacity(entries.len());
        {
            let mut stamp = self.stamp.lock();
            for entry in entries {
                let id = entry.log_id();
                let entry = match entry.body {
                    Body::Made(payload) => stamp.stamp(id, payload, tail, segment_bytes),
                    Body::Stored(entry) => {
                        stamp.log_time_ms = stamp.log_time_ms.max(entry.log_time_ms());
                        entry
                    }
                };
                tail = Tail::after(&entry);
                stamped.push(entry);
            }
        }
        self.log
            .append(stamped, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        if last.is_some() && last.map(|last| last.index) >= self.log.tail().last.map(|last| last.index.0) {
            return Ok(()); // Nothing is behind it.
        }
        let (done, cut) = promise();
        self.log.truncate_after(last.as_ref().map(from_raft), done);
        cut.await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        let (done, purged) = promise();
        #[cfg(test)]
        if self.purges_beyond && self.log.tail().last < Some(from_raft(&upto)) {
            self.log.reset(
                Tail {
                    last: Some(from_raft(&upto)),
                    ..self.log.tail()
                },
                done,
            );
            return purged.await;
        }
        #[cfg(test)]
        if self.purges_beyond
            && self
                .log
                .read_recent(RaftIndex(upto.index)..RaftIndex(upto.index + 1), 1)
                .is_none()
        {
            return Ok(());
        }
        self.log.purge(from_raft(&upto), done);
        purged.await
    }
}

#[cfg(test)]
mod tests;
