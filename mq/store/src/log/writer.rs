//! The one writer. It takes everything that waits, writes runs of entries with one call each, syncs each touched
//! segment once, and only then reports, in order.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mq_base::env::{
    self,
    bug::{self, Bug},
};

use super::job::{Chore, Done, Job};
use super::repair;
use super::segment::Segment;
use super::{PAGE_BYTES_MAX, Proof, Shared, Tail};
use crate::entry::{Entry, HEADER_LEN};
use crate::mailbox::Taken;

/// Bytes taken into one round of write and sync, so that a long queue does not wait for one giant sync.
const ROUND_BYTES_MAX: usize = 16 << 20;
/// Fills up the last page of a write.
static ZEROS: [u8; PAGE_BYTES_MAX as usize] = [0; PAGE_BYTES_MAX as usize];
/// How long a full disk is left alone before the next try.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);
/// Unsynced or unmarked bytes that do not wait for the flush interval.
pub(super) const LAG_BYTES_MAX: u64 = 64 << 20;

/// What [`Writer::run_batch`] left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing waits.
    Idle,
    /// The disk is full and the next entry needs a new segment: run again later.
    Stalled,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// End of what was written.
    end: u64,
    backlog: VecDeque<Job>,
    run: Vec<Entry>,
    run_bytes: usize,
    dones: Vec<Done>,
    /// In the simulator outcomes are told only after the time that the disk would have taken.
    held: Option<Vec<(Done, io::Result<()>)>>,
}

/// Starts the writer's thread, or its task in the simulator.
pub(super) fn start(shared: &Arc<Shared>) {
    let mut writer = Writer::new(shared.clone());
    let shared = shared.clone();
    if env::is_simulated() {
        writer.held = Some(Vec::new());
        env::task::spawn("log-writer", async move {
            let mut step = Step::Idle;
            loop {
                let taken = shared.jobs.take_async(patience(step)).await;
                let closed = taken.closed;
                step = writer.run_batch(taken.items);
                while let delay = shared.disk.take_delay()
                    && !delay.is_zero()
                {
                    env::clock::sleep(delay).await;
                }
                writer.tell_held();
                if closed {
                    return shared.chores.close();
                }
                if step == Step::Stalled {
                    env::clock::sleep(FULL_DISK_PAUSE).await;
                }
            }
        });
        return;
    }
    env::thread::spawn("log-writer", move || {
        let mut step = Step::Idle;
        loop {
            let Taken { items, closed, .. } = shared.jobs.take(patience(step));
            step = writer.run_batch(items);
            // With the last handle gone nobody waits for a full disk any more.
            if closed {
                return shared.chores.close();
            }
        }
    });
}

fn patience(step: Step) -> Option<Duration> {
    (step == Step::Stalled).then_some(FULL_DISK_PAUSE)
}

impl Writer {
    pub fn new(shared: Arc<Shared>) -> Writer {
        let end = shared.durable.lock().written.next_offset.get();
        Writer {
            shared,
            end,
            backlog: VecDeque::new(),
            run: Vec::new(),
            run_bytes: 0,
            dones: Vec::new(),
            held: None,
        }
    }

    fn tell(&mut self, done: Done, outcome: io::Result<()>) {
        match &mut self.held {
            Some(held) => held.push((done, outcome)),
            None => done(outcome),
        }
    }

    fn tell_held(&mut self) {
        for (done, outcome) in self.held.iter_mut().flat_map(std::mem::take) {
            done(outcome);
        }
    }

    fn tell_appended(&mut self) {
        for done in std::mem::take(&mut self.dones) {
            self.tell(done, Ok(()));
        }
    }

    /// Does `jobs` after what an earlier call left.
    pub fn run_batch(&mut self, jobs: Vec<Job>) -> Step {
        self.backlog.extend(jobs);
        loop {
            if let Err(error) = self.shared.check() {
                self.fail_all(&error);
                return Step::Idle;
            }
            let appends = matches!(self.backlog.front(), Some(Job::Append(..)));
            if appends
                && self.run_bytes < ROUND_BYTES_MAX
                && let Some(Job::Append(entries, done)) = self.backlog.pop_front()
            {
                self.run_bytes += entries.iter().map(Entry::len).sum::<usize>();
                self.run.extend(entries);
                self.dones.push(done);
                continue;
            }
            match self.write_out() {
                Err(error) if is_full(&error) => return Step::Stalled,
                Err(error) => self.shared.poison("write the log", &error),
                Ok(()) if appends => {}
                Ok(()) => match self.backlog.pop_front() {
                    Some(job) => self.perform(job),
                    None => return Step::Idle,
                },
            }
        }
    }

    fn fail_all(&mut self, error: &io::Error) {
        let again = || io::Error::new(error.kind(), error.to_string());
        self.run.clear();
        self.run_bytes = 0;
        for done in std::mem::take(&mut self.dones) {
            self.tell(done, Err(again()));
        }
        for job in std::mem::take(&mut self.backlog) {
            self.tell(job.into_done(), Err(again()));
        }
    }

    /// Writes the collected entries and reports them. A full disk changes nothing; any other error is final.
    fn write_out(&mut self) -> io::Result<()> {
        if self.run.is_empty() {
            self.tell_appended();
            return Ok(());
        }
        // All segments first: running out of space must leave nothing half done.
        for entry in &self.run {
            let base = self.shared.segments.base_of(entry.offset().get());
            if !self.shared.segments.exists(base) {
                self.shared.segments.create(base)?;
                self.shared.chores.nudge();
            }
        }
        let run = std::mem::take(&mut self.run);
        self.run_bytes = 0;
        let touched = self.write_entries(&run)?;
        if self.shared.options.sync {
            for segment in &touched {
                let synced = segment.file.sync_data();
                if synced.is_err() && !bug::is_back(Bug::SyncRetried) {
                    return synced;
                }
            }
        }
        if let Some(last) = run.last() {
            self.written(Tail::after(last), &touched);
        }
        self.tell_appended();
        Ok(())
    }

    fn write_entries(&mut self, entries: &[Entry]) -> io::Result<Vec<Arc<Segment>>> {
        let segments = &self.shared.segments;
        let mut touched: Vec<Arc<Segment>> = Vec::new();
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let offset = first.offset().get();
            let base = segments.base_of(offset);
            if offset != self.end
                && let Some(left) = self.blank(self.end)?
            {
                touched.push(left);
            }
            let mut end = offset;
            let count = rest
                .iter()
                .take_while(|entry| {
                    let follows = entry.offset().get() == end && end - base < segments.segment_bytes;
                    if follows {
                        end = entry.end().get();
                    }
                    follows
                })
                .count();
            let segment = segments
                .get(base)?
                .ok_or_else(|| io::Error::other("a segment went away"))?;
            let (run, others) = rest.split_at(count);
            let mut bufs: Vec<&[u8]> = run.iter().map(|entry| &entry.bytes()[..]).collect();
            let page = self.shared.options.page_bytes.clamp(1, PAGE_BYTES_MAX);
            let whole = end.next_multiple_of(page).min(base + segments.segment_bytes);
            bufs.push(&ZEROS[..(whole - end) as usize]);
            segment.file.write_all_vectored_at(&bufs, offset - base)?;
            if !touched.iter().any(|other| other.base == base) {
                touched.push(segment);
            }
            self.end = end;
            rest = others;
        }
        Ok(touched)
    }

    /// Zeroes the header at a place that the log skips or ends at, so that no older entry there can be taken for the
    /// next one of the chain.
    fn blank(&self, offset: u64) -> io::Result<Option<Arc<Segment>>> {
        let size = self.shared.segments.segment_bytes;
        let base = self.shared.segments.base_of(offset);
        let room = base + size - offset;
        if room < HEADER_LEN as u64 {
            return Ok(None);
        }
        let Some(segment) = self.shared.segments.get(base)? else {
            return Ok(None);
        };
        segment.file.write_all_vectored_at(&[&[0; HEADER_LEN]], offset - base)?;
        Ok(Some(segment))
    }

    fn written(&self, tail: Tail, touched: &[Arc<Segment>]) {
        let shared = &self.shared;
        let lag = {
            let mut durable = shared.durable.lock();
            durable.written = tail;
            if shared.options.sync {
                durable.flushed = tail;
            } else {
                for segment in touched {
                    if !durable.unsynced.contains(&segment.base) {
                        durable.unsynced.push(segment.base);
                    }
                }
            }
            let marked = durable.marked.next_offset.get();
            tail.next_offset.get().saturating_sub(marked)
        };
        shared.state.write().window.evict(tail.next_offset, &shared.buffers);
        // The second nudge of an already dirty flusher is the urgent one.
        if !shared.dirty.swap(true, Ordering::AcqRel) || lag >= LAG_BYTES_MAX {
            shared.chores.nudge();
        }
    }

    fn perform(&mut self, job: Job) {
        let (what, done, result) = match job {
            Job::Append(entries, done) => {
                debug_assert!(false, "appends are collected");
                self.run.extend(entries);
                return self.dones.push(done);
            }
            Job::Fail(error, done) => return self.tell(done, Err(error)),
            Job::Flush(done) => return self.shared.chores.push(Chore::Flush(done)),
            Job::Vote(vote, done) => return self.vote(vote, done),
            Job::Repair(entries, proof, done) => return self.repair(&entries, proof, done),
            Job::EndAtDamage(done) => ("end the log", done, self.end_at_damage()),
            Job::Truncate { tail, cut, done } => ("truncate", done, self.truncate(tail, cut)),
            Job::Reset(tail, done) => ("reset", done, self.reset(tail)),
            Job::Close(done) => ("close", done, self.close()),
        };
        if let Err(error) = &result {
            self.shared.poison(what, error);
        }
        self.tell(done, result);
    }

    fn vote(&mut self, vote: Vec<u8>, done: Done) {
        let shared = self.shared.clone();
        let mut small = shared.small.lock();
        let saved = small.vote.save(&vote);
        if let Err(error) = &saved {
            self.shared.poison("save the vote", error);
        } else {
            *self.shared.vote.lock() = Some(vote.into());
        }
        let mirror = saved.is_ok();
        self.tell(done, saved);
        // The copy protects against a damaged sector; nobody waits for it.
        if mirror && let Err(error) = small.vote.mirror() {
            self.shared.poison("save the vote", &error);
        }
    }

    /// The order matters: the mark must never promise what the log no longer holds.
    fn truncate(&mut self, tail: Tail, cut: u64) -> io::Result<()> {
        self.lower(tail)?;
        if let Some(segment) = self.blank(cut)? {
            segment.file.sync_data()?;
        }
        self.end = tail.next_offset.get();
        Ok(())
    }

    /// Lowers `written`, `flushed` and the flush mark to `tail`.
    fn lower(&self, tail: Tail) -> io::Result<()> {
        let mut small = self.shared.small.lock();
        let marked = {
            let mut guard = self.shared.durable.lock();
            let durable = &mut *guard;
            durable.generation += 1;
            for place in [&mut durable.written, &mut durable.flushed] {
                if place.next_offset > tail.next_offset {
                    *place = tail;
                }
            }
            durable.marked
        };
        if marked.next_offset > tail.next_offset {
            small.mark.save(&tail.encode())?;
            self.shared.durable.lock().marked = tail;
        }
        Ok(())
    }

    fn reset(&mut self, base: Tail) -> io::Result<()> {
        self.lower(Tail::default())?;
        {
            let mut small = self.shared.small.lock();
            small.base.save(&base.encode())?;
            small.base.mirror()?;
            small.base_saved = base;
            // Not recycled: at the same place again, old entries would be at home.
            self.shared.segments.remove(|_| true, false)?;
            small.mark.save(&base.encode())?;
            let mut durable = self.shared.durable.lock();
            durable.generation += 1;
            durable.written = base;
            durable.flushed = base;
            durable.marked = base;
            durable.unsynced.clear();
        }
        self.end = base.next_offset.get();
        Ok(())
    }

    fn repair(&mut self, entries: &[Entry], proof: Proof, done: Done) {
        match repair::repair(&self.shared, entries, proof) {
            Ok(written) => {
                if let Some(tail) = written {
                    self.end = tail.next_offset.get();
                    let mut durable = self.shared.durable.lock();
                    durable.written = tail;
                    durable.flushed = tail;
                }
                self.tell(done, Ok(()));
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::InvalidInput {
                    self.shared.poison("repair the log", &error);
                }
                self.tell(done, Err(error));
            }
        }
    }

    fn end_at_damage(&mut self) -> io::Result<()> {
        let tail = self.shared.state.read().tail;
        self.lower(tail)?;
        repair::end_at_damage(&self.shared)?;
        self.end = tail.next_offset.get();
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.shared.sync_written()?;
        self.shared.save_mark()?;
        let mut identity = super::Identity::peek(&*self.shared.disk, &self.shared.dir)?
            .ok_or_else(|| io::Error::other("the identity file is gone"))?;
        identity.clean = self.shared.state.read().damage.is_none();
        identity.save(&*self.shared.disk, &self.shared.dir)?;
        self.shared.closed();
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
