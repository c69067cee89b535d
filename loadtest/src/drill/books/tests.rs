//! Each kind of violation, put into sound books once, is counted under its own name.

use super::*;

fn queue() -> Queue {
    ("T".into(), "a".into(), 0)
}

fn sent(kind: Kind, offset: u64) -> Sent {
    Sent {
        kind,
        place: Some((queue(), offset)),
        due_ms: None,
        decision: None,
    }
}

type Queues = BTreeMap<Queue, BTreeMap<u64, Found>>;

/// 1 plain, 2 and 3 ordered, 4 delayed (due 50), 5 committed, 6 rolled back, 7 without an answer and absent.
fn sound() -> (Books, Queues) {
    let mut books = Books::default();
    books.sent(1, sent(Kind::Plain, 0));
    for (id, offset) in [(2, 1), (3, 2)] {
        books.sent(id, sent(Kind::Ordered, offset));
        books.ordered(1, id);
    }
    books.sent(
        4,
        Sent {
            due_ms: Some(50),
            ..sent(Kind::Delayed, 0)
        },
    );
    books.sent(
        5,
        Sent {
            decision: Some(Decision::Commit),
            ..sent(Kind::Transaction, 0)
        },
    );
    books.sent(
        6,
        Sent {
            decision: Some(Decision::Rollback),
            ..sent(Kind::Transaction, 1)
        },
    );
    books.sent(
        7,
        Sent {
            place: None,
            ..sent(Kind::Plain, 0)
        },
    );
    books.committed("G", &queue(), 2);
    books.queried("G", &queue(), Some(2));
    let found = [1, 2, 3, 4, 5].into_iter().enumerate();
    let records = found
        .map(|(offset, id)| {
            (
                offset as u64,
                Found {
                    id: Some(id),
                    stored_ms: 100,
                },
            )
        })
        .collect();
    (books, BTreeMap::from([(queue(), records)]))
}

fn judged(change: impl FnOnce(&mut Books, &mut BTreeMap<u64, Found>)) -> Verdict {
    let (mut books, mut queues) = sound();
    change(&mut books, queues.get_mut(&queue()).unwrap());
    books.reconcile(&queues)
}

fn put(records: &mut BTreeMap<u64, Found>, offset: u64, id: u64) {
    records.insert(
        offset,
        Found {
            id: Some(id),
            stored_ms: 100,
        },
    );
}

fn take(records: &mut BTreeMap<u64, Found>, offset: u64) {
    records.remove(&offset);
}

#[test]
fn sound_books_balance() {
    let verdict = judged(|_, _| ());
    assert!(verdict.holds(), "{verdict:?}");
    assert_eq!(
        (verdict.sent, verdict.acknowledged, verdict.unknown, verdict.read),
        (7, 6, 1, 5)
    );
}

#[test]
fn empty_books_do_not_hold() {
    assert!(!Books::default().reconcile(&BTreeMap::new()).holds());
}

#[test]
fn a_missing_record_is_missing() {
    let verdict = judged(|_, records| take(records, 4));
    assert_eq!(verdict.missing, 1, "{verdict:?}");
    assert!(!verdict.holds());
}

#[test]
fn a_record_elsewhere_than_its_answer_is_missing() {
    let verdict = judged(|books, _| books.sent(1, sent(Kind::Plain, 1)));
    assert_eq!(verdict.missing, 1, "{verdict:?}");
}

#[test]
fn a_second_copy_is_a_duplicate_unless_an_answer_was_lost() {
    let copy = |records: &mut BTreeMap<u64, Found>| put(records, 5, 1);
    let verdict = judged(|_, records| copy(records));
    assert_eq!((verdict.duplicated, verdict.repeated), (1, 0), "{verdict:?}");
    let verdict = judged(|books, records| {
        copy(records);
        books.resent(1);
    });
    assert_eq!((verdict.duplicated, verdict.repeated), (0, 1));
    assert!(verdict.holds());
}

#[test]
fn a_swapped_pair_is_out_of_order() {
    let verdict = judged(|books, records| {
        books.sent(2, sent(Kind::Ordered, 2));
        books.sent(3, sent(Kind::Ordered, 1));
        records.get_mut(&1).unwrap().id = Some(3);
        records.get_mut(&2).unwrap().id = Some(2);
    });
    assert_eq!((verdict.out_of_order, verdict.missing), (1, 0), "{verdict:?}");
}

#[test]
fn an_early_delivery_is_early() {
    assert_eq!(
        judged(|_, records| records.get_mut(&3).unwrap().stored_ms = 49).early,
        1
    );
}

#[test]
fn a_visible_rollback_and_a_double_commit_are_undecided() {
    let show = |id| move |_: &mut Books, records: &mut BTreeMap<u64, Found>| put(records, 5, id);
    assert_eq!(judged(show(6)).undecided, 1);
    assert_eq!(judged(show(5)).undecided, 1);
}

#[test]
fn a_half_message_that_was_sent_twice_may_be_committed_twice() {
    let verdict = judged(|books, records| {
        books.resent(5);
        put(records, 5, 5);
    });
    assert_eq!((verdict.undecided, verdict.repeated), (0, 1));
}

#[test]
fn a_gap_is_a_gap() {
    assert_eq!(judged(|_, records| put(records, 9, 7)).gaps, 1);
}

#[test]
fn a_record_that_nobody_sent_is_unasked() {
    assert_eq!(judged(|_, records| put(records, 5, 99)).unasked, 1);
}

#[test]
fn an_offset_that_fell_or_vanished_went_back() {
    assert_eq!(judged(|books, _| books.queried("G", &queue(), Some(1))).offsets_back, 1);
    assert_eq!(judged(|books, _| books.queried("G", &queue(), None)).offsets_back, 1);
}
