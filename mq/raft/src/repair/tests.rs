//! What answers prove, and what a log has to give.

use mq_base::env::disk;
use mq_store::{EntryBuilder, EntryKind, LogId, LogOptions, RaftIndex, Tail, Term};
use tempfile::TempDir;

use super::source::look;
use super::verdict::Verdict;
use super::*;

fn id(term: u64, index: u64) -> LogId {
    LogId {
        term: Term(term),
        node: NodeId(1),
        index: RaftIndex(index),
    }
}

/// A chain of entries, one per term given, from index 0.
fn chain(terms: &[u64]) -> Vec<Entry> {
    let mut tail = Tail::default();
    let entry = |(index, term): (usize, &u64)| {
        let mut builder = EntryBuilder::new(64);
        builder.push_effect(format!("{term}.{index}").as_bytes());
        let at = id(*term, index as u64);
        let entry = builder.finish(at, tail.next_offset, tail.previous_hash, 0, EntryKind::Batch);
        tail = Tail::after(&entry);
        entry
    };
    terms.iter().enumerate().map(entry).collect()
}

fn after(entries: &[Entry], index: usize) -> Tail {
    Tail::after(&entries[index])
}

fn log(dir: &TempDir, entries: &[Entry]) -> Log {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(disk::real(), dir.path(), options, None).unwrap();
    let (done, appended) = promise();
    log.append(entries.to_vec(), done);
    appended.wait().unwrap();
    log
}

/// What a log with `theirs`, committed up to an index, proves to one that has `ours` up to `lost`, is interrupted
/// there, and was flushed to its end.
fn proves(ours: &[u64], lost: usize, theirs: &[u64], committed: Option<usize>) -> Verdict {
    let (ours, theirs) = (chain(ours), chain(theirs));
    let dir = tempfile::tempdir().unwrap();
    let gap = Gap {
        after: after(&ours, lost - 1),
        anchors: vec![Tail::after(ours.last().unwrap())],
        generation: 0,
    };
    let fetch = Fetch {
        after: gap.after,
        anchors: gap.anchors.clone(),
    };
    let answer = look(&log(&dir, &theirs), committed.map(|n| theirs[n].id()), &fetch).unwrap();
    judge(&gap, true, &Fetched::decode(answer.encode()).unwrap())
}

#[test]
fn an_answer_proves_as_much_as_raft_allows_and_no_more() {
    let may = |vouched| Verdict { vouched, dead: false };
    let nothing = Verdict::default();
    let dead = Verdict { vouched: 0, dead: true };
    // What, ours, first lost, theirs, committed there, verdict.
    type Case = (
        &'static str,
        &'static [u64],
        usize,
        &'static [u64],
        Option<usize>,
        Verdict,
    );
    let cases: &[Case] = &[
        ("it has our last entry", &[1, 1, 1, 1], 2, &[1, 1, 1, 1], None, may(2)),
        (
            "it has more than we had",
            &[1, 1, 1, 1],
            2,
            &[1, 1, 1, 1, 1],
            None,
            may(2),
        ),
        (
            "it is shorter: only our own chain can tell",
            &[1, 1, 1, 1],
            2,
            &[1, 1, 1],
            None,
            nothing,
        ),
        (
            "shorter, and committed there",
            &[1, 1, 1, 1],
            2,
            &[1, 1, 1],
            Some(2),
            may(1),
        ),
        (
            "it ends where we are damaged",
            &[1, 1, 1, 1],
            3,
            &[1, 1, 1],
            Some(2),
            nothing,
        ),
        (
            "a new leader committed in place of ours",
            &[1, 1, 1, 1],
            2,
            &[1, 1, 2],
            Some(2),
            may(1),
        ),
        (
            "it may be ours or not, and is not committed",
            &[1, 1, 1, 1],
            2,
            &[1, 1, 2, 2],
            Some(1),
            nothing,
        ),
        (
            "what is left has another entry before it, committed",
            &[1, 1, 1, 1],
            3,
            &[1, 1, 2],
            Some(2),
            dead,
        ),
        (
            "another entry, but nobody says committed",
            &[1, 1, 1, 1],
            3,
            &[1, 1, 2],
            None,
            nothing,
        ),
        (
            "another entry, committed only before it",
            &[1, 1, 1, 1],
            3,
            &[1, 1, 2],
            Some(1),
            nothing,
        ),
        ("shorter, but of a later term", &[1, 1, 1, 1], 3, &[1, 2], Some(1), dead),
        (
            "shorter, of a later term, not committed",
            &[1, 1, 1, 1],
            3,
            &[1, 2],
            Some(0),
            nothing,
        ),
        ("ours is the later term", &[1, 3, 3, 3], 3, &[1, 2], Some(1), nothing),
    ];
    for (what, ours, lost, theirs, committed, expected) in cases {
        assert_eq!(proves(ours, *lost, theirs, *committed), *expected, "{what}");
    }
}

#[test]
fn what_was_replaced_by_committed_entries_is_dead() {
    // We took 2.2 in place of 1.2; 1.3 is still marked as flushed.
    let (old, new) = (chain(&[1, 1, 1, 1]), chain(&[1, 1, 2]));
    let gap = Gap {
        after: after(&new, 2),
        anchors: vec![after(&old, 3)],
        generation: 0,
    };
    let answer = |committed| Fetched {
        place: Place::Here,
        committed,
        anchor: None,
        entries: Vec::new(),
    };
    let dead = Verdict { vouched: 0, dead: true };
    assert_eq!(judge(&gap, true, &answer(Some(id(2, 2)))), dead);
    assert_eq!(judge(&gap, true, &answer(Some(id(1, 1)))), Verdict::default());
    assert_eq!(judge(&gap, true, &answer(None)), Verdict::default());
    // A log that is whole gives nothing up.
    assert_eq!(judge(&gap, false, &answer(Some(id(2, 2)))), Verdict::default());
}

#[test]
fn a_log_says_what_it_purged_and_where_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let entries = chain(&[1; 6]);
    let log = log(&dir, &entries);
    let place = |after: Tail| {
        let fetch = Fetch {
            after,
            anchors: Vec::new(),
        };
        let answer = look(&log, None, &fetch).unwrap();
        (answer.place, answer.entries.len())
    };
    assert_eq!(place(Tail::default()), (Place::Here, 6), "from the very beginning");
    assert_eq!(place(after(&entries, 5)), (Place::Here, 0));
    let (done, purged) = promise();
    log.purge(entries[2].id(), done);
    purged.wait().unwrap();
    assert_eq!(place(after(&entries, 1)), (Place::Purged, 0));
    assert_eq!(place(Tail::default()), (Place::Purged, 0));
    assert_eq!(place(after(&entries, 2)), (Place::Here, 3));
    let longer = chain(&[1; 8]);
    assert_eq!(place(after(&longer, 7)), (Place::Beyond, 0));
    let other = chain(&[2; 6]);
    assert_eq!(place(after(&other, 4)), (Place::Other, 0));
}
