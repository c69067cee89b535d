#![allow(clippy::disallowed_methods)] // A test or a bench, never simulated.
use futures_util::TryStreamExt;
use mq_base::env::disk;
use mq_store::{ItemKind, LogOptions};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{RaftTypeConfig, StorageError};
use tempfile::TempDir;

use super::*;
use crate::types::{LeaderId, Snapshot, SnapshotMeta, StoredMembership};

fn open(dir: &TempDir) -> LogStore {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(disk::real(), dir.path(), options, None).unwrap();
    LogStore::new(log, 0, None)
}

/// The smallest state machine that openraft's suite accepts. Ours needs stored entries; the suite applies made ones.
#[derive(Clone, Default)]
struct Minimal {
    applied: Option<RaftLogId>,
    membership: StoredMembership,
    snapshot: Arc<Mutex<Option<Snapshot>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Minimal {
    type SnapshotData = bytes::Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        let snapshot = Snapshot {
            meta,
            snapshot: bytes::Bytes::new(),
        };
        *self.snapshot.lock() = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<TypeConfig> for Minimal {
    type SnapshotData = bytes::Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, _)) = entries.try_next().await? {
            self.applied = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                self.membership = StoredMembership::new(Some(entry.log_id()), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: bytes::Bytes) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock() = Some(Snapshot {
            meta: meta.clone(),
            snapshot,
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshot.lock().clone())
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Minimal, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Minimal), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir);
        store.purges_beyond = true;
        Ok((dir, store, Minimal::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_passes_openrafts_own_suite() {
    Suite::test_all(Builder).await.unwrap();
}

fn id(term: u64, index: u64) -> RaftLogId {
    RaftLogId::new(LeaderId { term, node_id: 1 }, index)
}

fn batch(term: u64, index: u64, session: u64, sequence: u64) -> LogEntry {
    let mut builder = EntryBuilder::new(64);
    builder.push_effect(format!("{session}.{sequence}").as_bytes());
    let proposal = Proposal {
        builder,
        term,
        session,
        sequence,
        log_time_ms: index as i64,
    };
    RaftEntry::new(id(term, index), EntryPayload::Normal(proposal))
}

async fn append(store: &mut LogStore, entries: Vec<LogEntry>) -> io::Result<()> {
    let (tx, rx) = <TypeConfig as openraft::type_config::TypeConfigExt>::oneshot();
    store.append(entries, IOFlushed::signal(tx)).await?;
    rx.await.map_err(io::Error::other)?
}

fn kinds(store: &LogStore) -> Vec<EntryKind> {
    let all = store.log.read(RaftIndex(0)..RaftIndex(100), u64::MAX).unwrap();
    all.iter().map(Entry::kind).collect()
}

#[tokio::test]
async fn a_batch_that_does_not_follow_its_predecessor_becomes_a_void_entry() {
    use EntryKind::{Batch, Void};
    let cases: [(&str, &[(u64, u64, u64)], &[EntryKind]); 6] = [
        ("in order", &[(1, 1, 0), (1, 1, 1), (1, 1, 2)], &[Batch, Batch, Batch]),
        (
            "one was refused: all behind it are void",
            &[(1, 1, 0), (1, 1, 2), (1, 1, 3)],
            &[Batch, Void, Void],
        ),
        (
            "a new session begins at 0",
            &[(1, 1, 0), (1, 1, 2), (1, 2, 0)],
            &[Batch, Void, Batch],
        ),
        (
            "a new session whose first was refused",
            &[(1, 1, 0), (1, 2, 1)],
            &[Batch, Void],
        ),
        ("an older session", &[(1, 2, 0), (1, 1, 0)], &[Batch, Void]),
        ("decided in another term", &[(1, 1, 0), (9, 1, 1)], &[Batch, Void]),
    ];
    for (what, proposals, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir);
        let mut entries = Vec::new();
        for (i, (term, session, sequence)) in proposals.iter().enumerate() {
            let mut entry = batch(*term, i as u64, *session, *sequence);
            entry.set_log_id(id(1, i as u64));
            entries.push(entry);
        }
        append(&mut store, entries).await.unwrap();
        assert_eq!(kinds(&store), expected, "{what}");
    }
}

#[tokio::test]
async fn what_the_leader_stamps_another_log_takes_verbatim_and_refuses_out_of_place() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut leader, mut follower) = (open(&here), open(&there));
    let blank = RaftEntry::new(id(1, 0), EntryPayload::Blank);
    append(&mut leader, vec![blank, batch(1, 1, 1, 0), batch(1, 2, 1, 1)])
        .await
        .unwrap();
    let stored = || leader.log.read(RaftIndex(0)..RaftIndex(9), u64::MAX).unwrap();
    assert_eq!(
        stored()[1].items().next().map(|i| (i.kind, i.body.to_vec())),
        Some((ItemKind::Effect, b"1.0".to_vec()))
    );
    let sent: Vec<LogEntry> = stored().into_iter().map(LogEntry::stored).collect();
    append(&mut follower, sent).await.unwrap();
    assert_eq!(
        follower.log.read(RaftIndex(0)..RaftIndex(9), u64::MAX).unwrap(),
        stored()
    );

    // The same entry once more, in the place of the next, is not what the chain says.
    let again = LogEntry::stored(stored().remove(2));
    let error = append(&mut follower, vec![again]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn log_time_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let mut first = batch(1, 50, 1, 0);
    first.set_log_id(id(1, 0));
    append(&mut store, vec![first]).await.unwrap();
    store.raise_log_time(70);
    let mut early = batch(1, 51, 1, 1);
    let blank = RaftEntry::new(id(1, 2), EntryPayload::Blank);
    early.set_log_id(id(1, 1));
    append(&mut store, vec![early, blank]).await.unwrap();
    let all = store.log.read(RaftIndex(0)..RaftIndex(60), u64::MAX).unwrap();
    assert_eq!(all.iter().map(Entry::log_time_ms).collect::<Vec<_>>(), [50, 70, 70]);
}

#[tokio::test]
async fn a_vote_is_on_disk_when_save_vote_returns() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let vote: <TypeConfig as RaftTypeConfig>::Vote = Vote::new_committed(7, 9);
    store.save_vote(&vote).await.unwrap();
    // A second look at the same files, without any word from the first.
    let files = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path());
    let copy = tempfile::tempdir().unwrap();
    for file in files.filter(|f| f.is_file()) {
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    assert_eq!(open(&copy).read_vote().await.unwrap(), Some(vote));
}

#[tokio::test]
async fn a_replication_frame_is_bounded_in_bytes_but_carries_at_least_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 16 << 20,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(disk::real(), dir.path(), options, None).unwrap();
    let mut store = LogStore::new(log, 0, None);
    for (i, len) in [3 << 20, 600 << 10, 600 << 10].into_iter().enumerate() {
        let mut builder = EntryBuilder::new(len);
        builder.push_effect(&vec![1; len]);
        let proposal = Proposal {
            builder,
            term: 1,
            session: 1,
            sequence: i as u64,
            log_time_ms: 0,
        };
        append(
            &mut store,
            vec![RaftEntry::new(id(1, i as u64), EntryPayload::Normal(proposal))],
        )
        .await
        .unwrap();
    }
    for (start, expected) in [(0, 1), (1, 1), (2, 1)] {
        assert_eq!(
            store.limited_get_log_entries(start, 3).await.unwrap().len(),
            expected,
            "from {start}"
        );
    }
}

#[tokio::test]
async fn entries_behind_a_snapshot_wait_for_it_in_an_empty_log_too() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut leader, learner) = (open(&here), open(&there));
    append(&mut leader, (0..4).map(|i| batch(1, i, 1, i)).collect())
        .await
        .unwrap();
    let stored = leader.log.read(RaftIndex(0)..RaftIndex(9), u64::MAX).unwrap();
    let behind = LogEntry::stored(stored[3].clone());
    let mut early = learner.clone();
    let mut appending = Box::pin(append(&mut early, vec![behind]));
    assert!(futures_util::poll!(&mut appending).is_pending());
    // An append shows at once, before it is written; this one waits for the snapshot.
    assert_eq!(learner.log.tail().last, None);
    let (done, reset) = promise();
    learner.log.reset(Tail::after(&stored[2]), done);
    reset.await.unwrap();
    learner.installed().notify_waiters();
    appending.await.unwrap();
    assert_eq!(learner.log.tail(), Tail::after(&stored[3]));
}
