//! openraft's state machine: feeds committed entries to the [`Application`], answers writers, takes checkpoints.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use mq_base::env::{clock, task};
use mq_base::stop::{Stop, StopSource};
use mq_store::{Entry, EntryKind, Known, Log, LogId, RaftIndex, SyncFailed, promise};
use openraft::OptionalSend;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use crate::application::{Application, SyncDerived};
use crate::checkpoint::{Checkpoint, Files, Kind};
use crate::recall::RecentPlaces;
use crate::types::{
    Body, RaftLogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, Written, membership_of, to_raft,
};

/// Most entries applied before waiters are woken.
const RUN_MAX: usize = 256;

/// How often checkpoints are taken.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// After this many applied bytes ...
    pub bytes: u64,
    /// ... or this long after the last one, when something was applied.
    pub every: Duration,
}

/// What others see of the state machine.
pub struct Shared {
    /// Last applied entry.
    pub applied: watch::Sender<Option<LogId>>,
    files: Files,
    segment_bytes: u64,
    /// The anchor that the next (or current) snapshot is.
    anchor: Mutex<Option<LogId>>,
    /// Derived files could not be synced: no checkpoint can cover them any more.
    unsynced: StopSource,
}

impl Shared {
    /// Pulled when a sync of derived files has failed. The next start makes them again from the log.
    pub fn unsynced(&self) -> Stop {
        self.unsynced.listener()
    }

    /// Chooses the last anchor at or before `upto` as the beginning of the log; false if there is none that is newer.
    /// Blocks.
    pub fn choose_anchor(&self, upto: RaftIndex) -> io::Result<bool> {
        let Some(found) = self.files.anchor_before(upto)? else {
            return Ok(false);
        };
        let found = found.last();
        let mut anchor = self.anchor.lock();
        let newer = anchor.is_none_or(|current| current.index < found.index);
        if newer {
            *anchor = Some(found);
        }
        Ok(newer)
    }

    fn load_anchor(&self) -> io::Result<Option<Snapshot>> {
        let Some(last) = *self.anchor.lock() else {
            return Ok(None);
        };
        let Some(checkpoint) = self.files.anchor_at(last)? else {
            return Ok(None);
        };
        Ok(Some(Snapshot {
            meta: checkpoint.meta.clone(),
            snapshot: checkpoint.encode(),
        }))
    }

    fn save(&self, job: Job) -> io::Result<()> {
        (job.sync)()?;
        self.files.save(job.kind, &job.checkpoint, self.segment_bytes)
    }
}

struct Job {
    kind: Kind,
    sync: SyncDerived,
    checkpoint: Checkpoint,
}

/// See the module.
pub struct StateMachine {
    /// Never locked, only for `Sync`; missing while it restores.
    app: Option<Mutex<Box<dyn Application>>>,
    log: Log,
    shared: Arc<Shared>,
    installed: Arc<Notify>,
    jobs: mpsc::Sender<Job>,
    rhythm: Rhythm,
    /// After the last applied entry.
    at: Option<Known>,
    recent: RecentPlaces,
    log_time_ms: i64,
    membership: StoredMembership,
    bytes_since: u64,
    taken: clock::Instant,
}

impl StateMachine {
    /// Starts from the newest checkpoint that the log covers, or from nothing. Blocks.
    ///
    /// Checkpoints beyond the log (it lost its tail) are dropped. Fails when the log does not reach back to where the
    /// state begins.
    pub fn open(
        mut app: Box<dyn Application>,
        log: Log,
        files: Files,
        rhythm: Rhythm,
        installed: Arc<Notify>,
    ) -> io::Result<Self> {
        let base = log.base();
        files.forget_beyond(log.tail().next_offset)?;
        let anchors = files.anchors()?.map(|(_, anchor)| anchor);
        let newest = files.recent().into_iter().chain(anchors).find(|c| covers(&log, c));
        if newest.is_none() && base.last.is_some() {
            return Err(io::Error::other(
                "the log begins after a checkpoint that is missing: start this member from an empty folder",
            ));
        }
        let begin = newest.as_ref().map_or(Default::default(), |c| c.known.tail.next_offset);
        app.restore(newest.as_ref().map(|c| &c.state[..]), begin, false)?;
        let recent = newest.as_ref().map(|c| RecentPlaces::recall(c, &log, &mut *app));
        let shared = Arc::new(Shared {
            applied: watch::Sender::new(newest.as_ref().map(Checkpoint::last)),
            files,
            segment_bytes: log.segment_bytes(),
            anchor: Mutex::new(base.last),
            unsynced: StopSource::new().0,
        });
        let (jobs, queue) = mpsc::channel(2);
        let writer = task::spawn("checkpoints", write_checkpoints(queue, log.clone(), shared.clone()));
        let machine = Self {
            app: Some(Mutex::new(app)),
            log,
            shared,
            installed,
            jobs,
            rhythm,
            at: newest.as_ref().map(|c| c.known),
            recent: recent.unwrap_or_default(),
            log_time_ms: newest.as_ref().map_or(0, |c| c.log_time_ms),
            membership: newest.map_or_else(Default::default, |c| c.meta.last_membership),
            bytes_since: 0,
            taken: clock::now(),
        };
        drop(writer); // Detached: it ends with the machine.
        Ok(machine)
    }

    /// Clock of the last applied entry.
    pub fn log_time_ms(&self) -> i64 {
        self.log_time_ms
    }

    /// What others see.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    fn app(&mut self) -> io::Result<&mut Box<dyn Application>> {
        self.app
            .as_mut()
            .map(Mutex::get_mut)
            .ok_or_else(|| io::Error::other("the application was lost in an earlier failure"))
    }

    /// Applies a run and answers its writers.
    async fn run(&mut self, run: &mut Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let mut answers: Vec<(ApplyResponder<TypeConfig>, Written)> = Vec::new();
        for (entry, responder) in run.drain(..) {
            let Body::Stored(entry) = entry.body else {
                return Err(io::Error::other("an entry reached the state machine without the log"));
            };
            if self.begins_segment(&entry) {
                self.publish(&mut answers)?;
                self.checkpoint(Kind::Anchor).await?;
            }
            self.apply_one(&entry)?;
            let written = match entry.kind() {
                EntryKind::Void => Written::Void,
                _ => Written::Applied(entry),
            };
            answers.extend(responder.map(|responder| (responder, written)));
        }
        self.publish(&mut answers)
    }

    /// The state before this entry is the state at the end of the segment before.
    fn begins_segment(&self, entry: &Entry) -> bool {
        let size = self.log.segment_bytes();
        self.at
            .is_some_and(|at| at.offset.get() / size < entry.offset().get() / size)
    }

    fn apply_one(&mut self, entry: &Entry) -> io::Result<()> {
        match entry.kind() {
            EntryKind::Batch => self.app()?.apply(entry),
            EntryKind::Membership => {
                let membership = membership_of(entry).ok_or_else(|| io::Error::other("unreadable membership"))?;
                self.membership = StoredMembership::new(Some(to_raft(entry.id())), membership);
            }
            EntryKind::Blank | EntryKind::Void => {}
        }
        let known = Known::of(entry);
        self.recent.applied(known, entry.log_time_ms());
        self.at = Some(known);
        self.log_time_ms = entry.log_time_ms();
        self.bytes_since += entry.len() as u64;
        Ok(())
    }

    fn publish(&mut self, answers: &mut Vec<(ApplyResponder<TypeConfig>, Written)>) -> io::Result<()> {
        let Some(last) = self.at.and_then(|at| at.tail.last) else {
            return Ok(());
        };
        self.app()?.applied(last);
        self.shared.applied.send_replace(Some(last));
        answers
            .drain(..)
            .for_each(|(responder, written)| responder.send(written));
        Ok(())
    }

    fn checkpoint_due(&self) -> bool {
        self.bytes_since >= self.rhythm.bytes || self.bytes_since > 0 && self.taken.elapsed() >= self.rhythm.every
    }

    fn job(&mut self, kind: Kind) -> io::Result<Option<Job>> {
        let Some(known) = self.at else { return Ok(None) };
        let (log_time_ms, last_membership) = (self.log_time_ms, self.membership.clone());
        let app = self.app()?;
        let (state, sync) = (app.checkpoint(), app.prepare_checkpoint());
        let meta = SnapshotMeta {
            last_log_id: known.tail.last.map(to_raft),
            last_membership,
        };
        Ok(Some(Job {
            kind,
            sync,
            checkpoint: Checkpoint {
                known,
                recall: self.recent.first().unwrap_or(known),
                log_time_ms,
                meta,
                state,
            },
        }))
    }

    /// Takes a checkpoint of this moment; it is written in the background. Waits only when two are still being written.
    async fn checkpoint(&mut self, kind: Kind) -> io::Result<()> {
        if let Some(job) = self.job(kind)? {
            self.bytes_since = 0;
            self.taken = clock::now();
            self.jobs
                .send(job)
                .await
                .map_err(|_| io::Error::other("the checkpoint writer has ended"))?;
        }
        Ok(())
    }

    /// Takes the last checkpoint, at shutdown. The returned work blocks.
    pub fn last_checkpoint(&mut self) -> io::Result<Option<SyncDerived>> {
        let shared = self.shared.clone();
        Ok(self
            .job(Kind::Recent)?
            .map(|job| -> SyncDerived { Box::new(move || shared.save(job)) }))
    }
}

/// Whether the log holds the last entry of a checkpoint, or begins or ends with it.
fn covers(log: &Log, checkpoint: &Checkpoint) -> bool {
    let (base, tail, last) = (log.base(), log.tail(), checkpoint.last());
    if base.last == Some(last) || tail.last == Some(last) {
        return true;
    }
    let inside =
        base.last.is_none_or(|base| last.index > base.index) && tail.last.is_some_and(|t| last.index < t.index);
    inside && holds(log, last)
}

/// Whether the log holds exactly this entry. Blocks.
fn holds(log: &Log, id: LogId) -> bool {
    log.header(id.index).is_ok_and(|header| header.id == id)
}

/// Writes checkpoints in the order they were taken: never beyond the flushed log, and after the derived files.
async fn write_checkpoints(mut queue: mpsc::Receiver<Job>, log: Log, shared: Arc<Shared>) {
    while let Some(job) = queue.recv().await {
        let at = job.checkpoint.last();
        if let Err(error) = write_checkpoint(job, &log, &shared).await {
            // The next one may succeed; until then restarts take longer.
            tracing::warn!(%error, index = at.index.0, "write a checkpoint");
            if SyncFailed::is_in(&error) {
                shared.unsynced.stop();
            }
        }
    }
}

async fn write_checkpoint(job: Job, log: &Log, shared: &Arc<Shared>) -> io::Result<()> {
    if log.flushed().next_offset < job.checkpoint.known.tail.next_offset {
        let (done, flushed) = promise();
        log.flush(done);
        flushed.await?;
    }
    if log.flushed().next_offset < job.checkpoint.known.tail.next_offset {
        return Err(io::Error::other("the log is not flushed up to the checkpoint"));
    }
    let shared = shared.clone();
    let base = log.base().next_offset;
    let written = task::spawn_blocking("checkpoint", move || {
        shared.save(job)?;
        shared.files.forget_before(base, shared.segment_bytes)
    });
    written.await.map_err(io::Error::other)?
}

/// Hands openraft the chosen anchor.
pub struct Builder(Arc<Shared>);

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let shared = self.0.clone();
        let load = task::spawn_blocking("load anchor", move || shared.load_anchor());
        let snapshot = load.await.map_err(io::Error::other)??;
        snapshot.ok_or_else(|| io::Error::other("no anchor was chosen"))
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let applied = self.at.and_then(|at| at.tail.last).map(to_raft);
        Ok((applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut entries = entries.fuse();
        let mut run = Vec::with_capacity(RUN_MAX);
        while let Some(first) = entries.next().await {
            run.push(first?);
            while run.len() < RUN_MAX
                && let Some(Some(next)) = entries.next().now_or_never()
            {
                run.push(next?);
            }
            self.run(&mut run).await?;
            if self.checkpoint_due() && self.jobs.capacity() > 0 {
                self.checkpoint(Kind::Recent).await?;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let chosen = self.shared.anchor.lock().is_some();
        (chosen || force).then(|| Builder(self.shared.clone()))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(self.shared.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, payload: Bytes) -> io::Result<()> {
        let checkpoint = Checkpoint::decode(&payload).map_err(io::Error::other)?;
        if checkpoint.meta != *meta {
            return Err(io::Error::other("a snapshot is not what its head says"));
        }
        let last = checkpoint.last();
        // The state first: if this ends half-way, the checkpoint is beyond the log and is not used.
        let app = self
            .app
            .take()
            .ok_or_else(|| io::Error::other("the application was lost"))?;
        let (shared, log) = (self.shared.clone(), self.log.clone());
        let install = checkpoint.clone();
        let work = task::spawn_blocking("install snapshot", move || {
            shared.files.save(Kind::Anchor, &install, shared.segment_bytes)?;
            io::Result::Ok(holds(&log, last))
        });
        let continues = work.await.map_err(io::Error::other)??;
        if !continues {
            let (done, reset) = promise();
            self.log.reset(checkpoint.known.tail, done);
            reset.await?;
        }
        let (log, to) = (self.log.clone(), checkpoint.clone());
        let restore = task::spawn_blocking("restore", move || {
            let mut app = app.into_inner();
            let result = app.restore(Some(&to.state), to.known.tail.next_offset, true);
            let recent = match &result {
                Ok(()) if continues => RecentPlaces::recall(&to, &log, &mut *app),
                _ => RecentPlaces::default(),
            };
            (app, result.map(|()| recent))
        });
        let (app, result) = restore.await.map_err(io::Error::other)?;
        self.app = Some(Mutex::new(app));
        self.recent = result?;
        self.at = Some(checkpoint.known);
        self.log_time_ms = checkpoint.log_time_ms;
        self.membership = checkpoint.meta.last_membership;
        self.bytes_since = 0;
        *self.shared.anchor.lock() = Some(last);
        self.app()?.applied(last);
        self.shared.applied.send_replace(Some(last));
        self.installed.notify_waiters();
        tracing::info!(%last, "installed the leader's checkpoint: the log before it was deleted everywhere");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.shared.load_anchor()
    }
}
