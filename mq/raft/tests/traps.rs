//! The known ways to lose or mix up a log with openraft, each with a test that it does not happen here.
//!
//! Prevented by construction, and tested beside the code: settings (1, 3: `start`), the vote's place in the log's queue
//! and its durability (5: `log_adapter`), the bound of a replication frame (12: `log_adapter`), whom an unclean member
//! votes for (2: `caution`). Lease reads (10) do not exist in this crate's interface.

#![allow(clippy::disallowed_methods)] // A test or a bench, never simulated.

mod toy;

use std::sync::atomic::Ordering;
use std::time::Duration;

use mq_raft::GroupConfig;
use toy::*;

fn three(dir: &std::path::Path, change: impl Fn(&mut GroupConfig)) -> Vec<Member> {
    let configs = configs(dir, 3).into_iter().map(|mut config| {
        change(&mut config);
        config
    });
    configs.map(Member::start).collect()
}

fn term(member: &Member) -> u64 {
    member.group.leadership().borrow().term.0
}

/// With `enable_leader_restore` a restarted leader goes on under its old vote and may propose other entries under log
/// ids that its followers have committed already.
#[test]
fn trap_01_a_restarted_leader_never_goes_on_under_its_old_vote() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let member = Member::start(configs(dir.path(), 1).remove(0));
    eventually("leads", || member.leads().then_some(()));
    let before = term(&member);
    let member = Member::start(member.kill());
    eventually("leads", || member.leads().then_some(()));
    assert!(term(&member) > before);
}

#[test]
fn trap_02_after_a_power_failure_unsynced_members_elect_only_when_all_are_there() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let members = three(dir.path(), |config| config.sync = false);
    (0..20).for_each(|word| write_somewhere(&members, word));
    same_everywhere(&members, 20);
    let mut configs: Vec<_> = members.into_iter().map(Member::kill).collect();
    // The machines start again: whatever was not synced may be gone.
    let start = |config| Member::start_on(disk_of_boot("another start").0, config).unwrap();
    let last = configs.pop().unwrap();
    let mut members: Vec<_> = configs.into_iter().map(start).collect();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(
        !members.iter().any(Member::leads),
        "two of three cannot know what the third one holds"
    );
    members.push(start(last));
    write_somewhere(&members, 20);
    assert_eq!(words(&same_everywhere(&members, 21)), (0..21).collect::<Vec<_>>());
}

#[test]
fn trap_03_a_follower_that_lost_its_unsynced_tail_recovers() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members = three(dir.path(), |config| config.sync = false);
    (0..10).for_each(|word| write_somewhere(&members, word));
    same_everywhere(&members, 10);
    let follower = (leader(&members) + 1) % 3;
    let config = members.remove(follower).stop();
    let old = dir.path().join("old");
    copy_dir(&config.dir, &old);
    let again = Member::start(config);
    (10..100).for_each(|word| write_somewhere(&members, word));
    eventually("the follower has all", || (again.list().len() == 100).then_some(()));
    let config = again.kill();
    std::fs::remove_dir_all(&config.dir).unwrap();
    std::fs::rename(&old, &config.dir).unwrap();
    members.push(Member::start(config));
    write_somewhere(&members, 100);
    assert_eq!(words(&same_everywhere(&members, 101)), (0..101).collect::<Vec<_>>());
}

#[test]
fn trap_04_a_checkpoint_ahead_of_the_log_is_not_used_and_deletes_nothing() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members = three(dir.path(), |config| config.sync = false);
    (0..10).for_each(|word| write_somewhere(&members, word));
    same_everywhere(&members, 10);
    let follower = (leader(&members) + 1) % 3;
    let config = members.remove(follower).stop();
    let old = dir.path().join("old");
    copy_dir(&config.dir, &old);
    let again = Member::start(config);
    (10..100).for_each(|word| write_somewhere(&members, word));
    eventually("the follower has all", || (again.list().len() == 100).then_some(()));
    let config = again.stop();
    // The old log under the new state.
    std::fs::copy(config.dir.join("checkpoint"), old.join("checkpoint")).unwrap();
    std::fs::remove_dir_all(&config.dir).unwrap();
    std::fs::rename(&old, &config.dir).unwrap();
    let member = Member::start(config);
    assert_eq!(member.group.status().purged, None);
    members.push(member);
    write_somewhere(&members, 100);
    assert_eq!(words(&same_everywhere(&members, 101)), (0..101).collect::<Vec<_>>());
}

#[test]
fn trap_05_a_vote_survives_a_kill() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::start(configs(dir.path(), 1).remove(0));
    let mut before = 0;
    for _ in 0..3 {
        eventually("leads", || member.leads().then_some(()));
        assert!(term(&member) > before, "a term was led twice");
        before = term(&member);
        member = Member::start(member.kill());
    }
}

#[test]
fn trap_06_a_failed_sync_ends_the_member_and_acknowledges_nothing() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let (disk, broken) = disk_of_boot("here");
    let member = Member::start_on(disk, configs(dir.path(), 1).remove(0)).unwrap();
    eventually("leads", || member.leads().then_some(()));
    assert!(matches!(member.write(0), Said::At(_)));
    broken.store(true, Ordering::SeqCst);
    let answer = member.send(1, 0);
    eventually("the member has failed", || member.group.failed().borrow().clone());
    assert!(!matches!(answer.blocking_recv(), Ok(Said::At(_))));
    assert_eq!(words(&member.list()), [0]);
}

#[test]
fn trap_07_entries_are_readable_before_they_are_written_however_small_the_window() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let members = three(dir.path(), |config| {
        config.window_bytes = 4096;
        config.segment_bytes = 1 << 20;
    });
    let leader = leader(&members);
    let answers: Vec<_> = (0..300).map(|word| members[leader].send(word, 20_000)).collect();
    assert!(
        answers
            .into_iter()
            .all(|a| matches!(a.blocking_recv(), Ok(Said::At(_))))
    );
    same_everywhere(&members, 300);
}

#[test]
fn trap_08_entries_that_never_had_a_majority_are_cut_and_never_shown() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members = three(dir.path(), |_| {});
    (0..10).for_each(|word| write_somewhere(&members, word));
    same_everywhere(&members, 10);
    let first = leader(&members);
    let old_leader = members.remove(first);
    let others: Vec<_> = members.drain(..).map(Member::kill).collect();
    let orphan = old_leader.send(666, 0);
    std::thread::sleep(Duration::from_millis(100));
    let config = old_leader.kill();
    assert!(!matches!(orphan.blocking_recv(), Ok(Said::At(_))));
    let mut members: Vec<_> = others.into_iter().map(Member::start).collect();
    (10..20).for_each(|word| write_somewhere(&members, word));
    members.push(Member::start(config));
    write_somewhere(&members, 20);
    assert_eq!(words(&same_everywhere(&members, 21)), (0..21).collect::<Vec<_>>());
}

#[test]
fn trap_09_without_a_majority_requests_are_refused_not_lost() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members = three(dir.path(), |_| {});
    write_somewhere(&members, 0);
    let first = leader(&members);
    let leader = members.remove(first);
    let others: Vec<_> = members.into_iter().map(Member::kill).collect();
    // Those sent while the lease lives are appended; what becomes of them is unknown.
    let mut word = 0;
    let mut waiting = Vec::new();
    let refused = eventually("a request is refused", || {
        word += 1;
        waiting.push((word, leader.send(word, 0)));
        std::thread::sleep(Duration::from_millis(50));
        let refused = waiting
            .iter_mut()
            .filter_map(|(word, answer)| (answer.try_recv() == Ok(Said::Refused)).then_some(*word));
        let refused: Vec<u64> = refused.collect();
        (!refused.is_empty()).then_some(refused)
    });
    let mut members: Vec<_> = others.into_iter().map(Member::start).collect();
    members.push(leader);
    write_somewhere(&members, 1000);
    let list = words(&same_everywhere(&members, 2));
    assert!(list.ends_with(&[1000]) && list.starts_with(&[0]), "{list:?}");
    assert!(
        !refused.iter().any(|word| list.contains(word)),
        "refused {refused:?}, applied {list:?}"
    );
}

#[test]
fn trap_11_an_emptied_folder_is_a_new_member_and_the_old_id_is_gone() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let member = Member::start(configs(dir.path(), 1).remove(0));
    eventually("leads", || member.leads().then_some(()));
    let old = member.id();
    let config = member.stop();
    std::fs::remove_dir_all(&config.dir).unwrap();
    assert_ne!(Member::start(config).id(), old);
}

#[test]
fn trap_13_a_restart_behind_a_purge_installs_no_snapshot_over_its_own_log() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let member = Member::start(configs(dir.path(), 1).remove(0));
    eventually("leads", || member.leads().then_some(()));
    (0..300).for_each(|word| assert!(matches!(member.write_padded(word, 1000), Said::At(_))));
    let applied = member.group.status().applied.unwrap();
    member.block_on(member.group.purge(applied)).unwrap();
    eventually("the log begins later", || member.group.status().purged);
    let before = member.list();
    // A killed member's files are still being recycled by its threads: they die with a process, not with a runtime.
    std::thread::sleep(Duration::from_millis(500));
    let member = Member::start(member.kill());
    eventually("leads", || member.leads().then_some(()));
    assert_eq!(member.list(), before);
    assert_eq!(member.words.installed.load(Ordering::SeqCst), 0);
    assert!(member.group.status().purged.is_some());
}
