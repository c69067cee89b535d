//! Each judge is shown one run in which everything holds and one in which exactly its property is broken.

use std::collections::BTreeMap;

use mq_sim::facts::*;
use mq_sim::invariants::ALL;

fn queue() -> Queue {
    ("T".into(), 0)
}

fn read(id: u64, offset: u64, stored_ms: i64) -> Read {
    Read {
        queue: queue(),
        offset,
        id,
        stored_ms,
    }
}

fn send(id: u64, purpose: Purpose, offset: u64) -> Send {
    Send {
        id,
        producer: 1,
        topic: "T".into(),
        purpose,
        outcome: Outcome::Acked { queue: 0, offset },
    }
}

fn step(deed: OffsetDeed, offset: u64) -> OffsetStep {
    OffsetStep {
        group: "G".into(),
        queue: queue(),
        deed,
        offset,
    }
}

/// Messages 1 and 2 are plain, 3 is a committed transaction, 4 a delayed message, 5 a transaction that was rolled back.
fn sound() -> Facts {
    let stored: BTreeMap<u64, Read> = (0..4).map(|offset| (offset, read(offset + 1, offset, 100))).collect();
    let member = |name: &str| MemberEnd {
        name: name.into(),
        entries: BTreeMap::from([(1, 11), (2, 22)]),
        applied: 2,
        queues: BTreeMap::from([(queue(), stored.clone())]),
        minimums: BTreeMap::from([(queue(), 0)]),
        derived: 7,
        rebuilt: Some(7),
        leaked: vec![],
    };
    Facts {
        sends: vec![
            send(1, Purpose::Plain, 0),
            send(2, Purpose::Plain, 1),
            send(3, Purpose::Transaction { commit: Some(true) }, 0),
            send(4, Purpose::Delayed { due_ms: 90 }, 0),
            send(5, Purpose::Transaction { commit: Some(false) }, 1),
        ],
        reads: stored.values().cloned().collect(),
        offsets: vec![vec![
            step(OffsetDeed::Committed, 1),
            step(OffsetDeed::Read, 1),
            step(OffsetDeed::Committed, 2),
            step(OffsetDeed::Read, 2),
        ]],
        members: vec![member("n0"), member("n1")],
        leading: vec![leading(1, 9, 0), leading(2, 8, 0), leading(2, 9, 0)],
        healing: Healing {
            accepted_after_ms: Some(300),
            agreeing: 2,
            members: 2,
        },
    }
}

fn leading(term: u64, node: u64, process: u64) -> Leading {
    Leading { term, node, process }
}

fn broken(facts: &Facts) -> Vec<&'static str> {
    ALL.iter().filter(|i| !(i.judge)(facts).holds()).map(|i| i.id).collect()
}

#[test]
fn a_sound_run_passes_every_judge() {
    assert_eq!(broken(&sound()), Vec::<&str>::new());
}

#[test]
fn a_run_without_facts_passes_no_judge_but_that_of_healing() {
    let facts = Facts {
        healing: sound().healing,
        ..Facts::default()
    };
    assert_eq!(broken(&facts).len(), ALL.len() - 1, "none examined must be red");
}

/// Breaks a sound run in one way and says which judges see it.
fn seen_by(break_it: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = sound();
    break_it(&mut facts);
    broken(&facts)
}

#[test]
fn a_lost_message_is_seen() {
    let lose = |facts: &mut Facts| {
        for member in &mut facts.members {
            member.queues.get_mut(&queue()).unwrap().get_mut(&1).unwrap().id = 99;
        }
        facts.reads[1].id = 99;
    };
    assert_eq!(seen_by(lose), ["I1", "I4"]);
}

#[test]
fn what_readers_were_given_may_be_taken_by_retention() {
    let take = |facts: &mut Facts| {
        for member in &mut facts.members {
            member
                .queues
                .get_mut(&queue())
                .unwrap()
                .retain(|offset, _| *offset >= 2);
            member.minimums.insert(queue(), 2);
        }
    };
    assert_eq!(seen_by(take), Vec::<&str>::new());
    let unseen = |facts: &mut Facts| {
        take(facts);
        facts.reads.remove(0);
    };
    assert_eq!(seen_by(unseen), ["I1", "I4"]);
}

#[test]
fn an_offset_that_names_two_messages_is_seen() {
    assert_eq!(seen_by(|facts| facts.reads.push(read(77, 0, 100))), ["I2"]);
}

#[test]
fn a_gap_in_a_queue_is_seen() {
    let gap = |facts: &mut Facts| {
        for member in &mut facts.members {
            member.queues.get_mut(&queue()).unwrap().insert(9, read(50, 9, 100));
        }
    };
    assert_eq!(seen_by(gap), ["I2"]);
}

#[test]
fn logs_that_differ_are_seen() {
    assert_eq!(
        seen_by(|facts| *facts.members[1].entries.get_mut(&2).unwrap() = 23),
        ["I3"]
    );
}

#[test]
fn a_message_that_no_reader_got_is_seen() {
    assert_eq!(seen_by(|facts| facts.reads.retain(|r| r.id != 2)), ["I4"]);
}

#[test]
fn two_copies_of_a_message_sent_once_are_seen() {
    assert_eq!(seen_by(|facts| facts.reads.push(read(2, 8, 100))), ["I4"]);
}

#[test]
fn answers_out_of_order_are_seen() {
    let swap = |facts: &mut Facts| facts.sends.swap(0, 1);
    assert_eq!(seen_by(swap), ["I5"]);
}

#[test]
fn an_offset_that_fell_is_seen() {
    let fell = |facts: &mut Facts| facts.offsets[0].push(step(OffsetDeed::Read, 1));
    assert_eq!(seen_by(fell), ["I6"]);
}

#[test]
fn only_a_late_commit_and_what_arrives_behind_it_takes_an_offset_back() {
    use OffsetDeed::*;
    let seen = |steps: &[(OffsetDeed, u64)]| {
        seen_by(|facts| facts.offsets[0].extend(steps.iter().map(|(deed, offset)| step(*deed, *offset))))
    };
    assert!(seen(&[(Open, 3), (OneWay, 4), (Committed, 9), (Read, 3), (Read, 4)]).is_empty());
    assert!(seen(&[(Open, 3), (OneWay, 4), (Committed, 9), (Read, 4), (Read, 4)]).is_empty());
    assert_eq!(seen(&[(OneWay, 4), (Committed, 9), (Read, 4)]), ["I6"]);
    assert_eq!(seen(&[(OneWay, 4), (Open, 5), (Committed, 9), (Read, 4)]), ["I6"]);
    assert_eq!(seen(&[(Open, 3), (OneWay, 4), (Committed, 9), (Read, 6)]), ["I6"]);
    assert_eq!(
        seen(&[(Open, 3), (Read, 3), (Committed, 9), (Read, 3)]),
        ["I6"],
        "it comes once"
    );
    assert_eq!(
        seen(&[(Open, 3), (OneWay, 4), (Read, 3), (Committed, 9), (Read, 4)]),
        ["I6"],
        "it was there before the greater one"
    );
}

#[test]
fn a_rolled_back_transaction_that_shows_is_seen() {
    assert_eq!(
        seen_by(|facts| facts.sends[2].purpose = Purpose::Transaction { commit: Some(false) }),
        ["I7"]
    );
}

#[test]
fn a_committed_transaction_that_is_missing_is_seen() {
    assert_eq!(
        seen_by(|facts| facts.sends[4].purpose = Purpose::Transaction { commit: Some(true) }),
        ["I7"]
    );
}

#[test]
fn an_early_delivery_is_seen() {
    assert_eq!(
        seen_by(|facts| facts.sends[3].purpose = Purpose::Delayed { due_ms: 101 }),
        ["I8"]
    );
}

#[test]
fn two_leaders_of_a_term_are_seen() {
    assert_eq!(seen_by(|facts| facts.leading.push(leading(2, 8, 0))), ["I9"]);
    assert_eq!(
        seen_by(|facts| facts.leading.push(leading(2, 9, 1))),
        ["I9"],
        "a restarted process goes on"
    );
}

#[test]
fn a_group_that_does_not_heal_is_seen() {
    assert_eq!(seen_by(|facts| facts.healing.accepted_after_ms = None), ["I10"]);
    assert_eq!(seen_by(|facts| facts.members[1].applied = 1), ["I10"]);
}

#[test]
fn a_leak_is_seen() {
    assert_eq!(
        seen_by(|facts| facts.members[0].leaked.push("3 parked pulls".into())),
        ["I11"]
    );
}

#[test]
fn derived_state_that_drifted_is_seen() {
    assert_eq!(seen_by(|facts| facts.members[0].rebuilt = Some(8)), ["I12"]);
}
