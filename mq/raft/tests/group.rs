//! Real members over loopback TCP, with real files.

#![allow(clippy::disallowed_methods)] // A test or a bench, never simulated.

mod toy;

use mq_store::Term;
use toy::*;

#[test]
fn one_member_alone_founds_its_group_and_keeps_what_it_wrote() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let member = Member::start(configs(dir.path(), 1).remove(0));
    eventually("leads", || member.leads().then_some(()));
    let places: Vec<_> = (0..100).map(|word| member.write(word)).collect();
    assert!(places.iter().all(|said| matches!(said, Said::At(_))), "{places:?}");
    let before = member.list();
    let member = Member::start(member.stop());
    eventually("leads again", || member.leads().then_some(()));
    assert_eq!(member.list(), before);
    let member = Member::start(member.kill());
    eventually("leads once more", || member.leads().then_some(()));
    assert_eq!(member.list(), before);
}

/// A checkpoint does not hold what an application keeps of the last moments in memory.
#[test]
fn a_member_that_starts_from_a_checkpoint_recalls_what_came_before_it() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let member = Member::start(configs(dir.path(), 1).remove(0));
    eventually("leads", || member.leads().then_some(()));
    (0..20).for_each(|word| assert!(matches!(member.write(word), Said::At(_))));
    let member = Member::start(member.stop()); // The checkpoint of the stop covers everything.
    eventually("leads again", || member.leads().then_some(()));
    assert_eq!(*member.words.heard.lock(), (0..20).collect::<Vec<_>>());
    assert_eq!(member.words.restored.load(std::sync::atomic::Ordering::SeqCst), 1);
    (20..25).for_each(|word| assert!(matches!(member.write(word), Said::At(_))));
    let member = Member::start(member.kill());
    eventually("leads once more", || member.leads().then_some(()));
    assert_eq!(*member.words.heard.lock(), (0..25).collect::<Vec<_>>());
}

#[test]
fn three_members_found_a_group_and_hold_the_same_list() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let members: Vec<_> = configs(dir.path(), 3).into_iter().map(Member::start).collect();
    let leader = leader(&members);
    let answers: Vec<_> = (0..500).map(|word| members[leader].send(word, 100)).collect();
    let said: Vec<_> = answers.into_iter().map(|a| a.blocking_recv().unwrap()).collect();
    let list = same_everywhere(&members, 500);
    let expected = (0..500).map(|w| match said[w as usize] {
        Said::At(offset) => (w, offset),
        other => panic!("{w}: {other:?}"),
    });
    assert_eq!(list, expected.collect::<Vec<_>>());
}

#[test]
fn a_follower_that_was_killed_catches_up() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members: Vec<_> = configs(dir.path(), 3).into_iter().map(Member::start).collect();
    let first = leader(&members);
    (0..50).for_each(|word| assert!(matches!(members[first].write(word), Said::At(_))));
    let follower = (first + 1) % 3;
    let config = members.remove(follower).kill();
    let now = leader(&members);
    (50..300).for_each(|word| assert!(matches!(members[now].write_padded(word, 500), Said::At(_))));
    members.push(Member::start(config));
    let list = same_everywhere(&members, 300);
    assert_eq!(
        list.iter().map(|(word, _)| *word).collect::<Vec<_>>(),
        (0..300).collect::<Vec<_>>()
    );
}

#[test]
fn a_killed_leader_is_replaced_at_once_and_nothing_acknowledged_is_lost() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members: Vec<_> = configs(dir.path(), 3).into_iter().map(Member::start).collect();
    let mut gaps = Vec::new();
    let mut word = 0;
    for _ in 0..5 {
        let leader = leader(&members);
        let term = members[leader].group.leadership().borrow().term;
        eventually("all hold the list", || {
            members.iter().all(|m| m.list().len() >= word as usize).then_some(())
        });
        for _ in 0..40 {
            write_somewhere(&members, word);
            word += 1;
        }
        let killed = std::time::Instant::now();
        let config = members.remove(leader).kill();
        write_somewhere(&members, word);
        word += 1;
        gaps.push(killed.elapsed());
        let now = self::leader(&members);
        assert_eq!(
            members[now].group.leadership().borrow().term.0,
            term.0 + 1,
            "one election is enough"
        );
        members.push(Member::start(config));
    }
    let list = same_everywhere(&members, word as usize);
    let mut words: Vec<u64> = list.iter().map(|(word, _)| *word).collect();
    words.dedup();
    assert_eq!(words, (0..word).collect::<Vec<_>>());
    gaps.sort();
    eprintln!("time to the next accepted write after a kill: {gaps:?}");
    // The timers alone need half a second.
    assert!(gaps[gaps.len() / 2] < std::time::Duration::from_millis(200), "{gaps:?}");
}

fn term(member: &Member) -> Term {
    member.group.leadership().borrow().term
}

/// Whether it takes what is meant for the leader of that term.
fn during(member: &Member, term: Term) -> bool {
    member.group.during(term, || ()).is_some()
}

#[test]
fn leadership_is_handed_over_on_request() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let members: Vec<_> = configs(dir.path(), 3).into_iter().map(Member::start).collect();
    let first = leader(&members);
    write_somewhere(&members, 0);
    let before = term(&members[first]);
    assert!(during(&members[first], before) && !during(&members[first], Term(before.0 + 1)));
    let next = (first + 1) % 3;
    let began = std::time::Instant::now();
    members[first]
        .block_on(members[first].group.transfer_leader(members[next].id()))
        .unwrap();
    eventually("the other leads", || members[next].leads().then_some(()));
    eprintln!("leadership handed over in {:?}", began.elapsed());
    assert!(!members[first].leads());
    write_somewhere(&members, 1);
    let after = term(&members[next]);
    assert!(during(&members[next], after));
    let late = members.iter().any(|member| during(member, before));
    assert!(!late, "nobody decides what was meant for the leadership before");
    let error = members[first].block_on(members[first].group.transfer_leader(members[next].id()));
    assert!(
        matches!(error, Err(mq_raft::ChangeError::NotLeader(Some(_)))),
        "{error:?}"
    );
}

#[test]
fn a_follower_refuses_proposals_and_a_new_leader_begins_a_session() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let members: Vec<_> = configs(dir.path(), 3).into_iter().map(Member::start).collect();
    let first = leader(&members);
    let follower = &members[(first + 1) % 3];
    assert_eq!(follower.write(7), Said::Refused);
    assert_eq!(follower.sessions.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(members[first].sessions.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn members_exchange_messages_of_the_broker() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let members: Vec<_> = configs(dir.path(), 3).into_iter().map(Member::start).collect();
    leader(&members);
    let (a, b) = (&members[0], &members[1]);
    eventually("both know each other", || {
        (a.group.status().members.len() == 3 && b.group.status().members.len() == 3).then_some(())
    });
    let second = std::time::Duration::from_secs(1);
    let answer = a.block_on(a.group.call(b.id(), "hello".into(), second)).unwrap();
    assert_eq!(answer, format!("hello from {:x}", a.id().0));
    let nobody = a.block_on(a.group.call(mq_raft::stored::NodeId(1), "hello".into(), second));
    assert!(matches!(nobody, Err(mq_raft::CallError::Unreachable(_))));
}

#[test]
fn members_come_and_go() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut all = configs(dir.path(), 4);
    let newcomer = all.pop().unwrap();
    // The group is founded by the first three.
    for config in &mut all {
        config.peers.truncate(3);
    }
    let mut members: Vec<_> = all.into_iter().map(Member::start).collect();
    let first = leader(&members);
    write_somewhere(&members, 0);
    // A fourth one asks for a place by itself.
    members.push(Member::start(newcomer));
    let voters = |m: &Member| m.group.status().members.iter().filter(|m| m.voter).count();
    eventually("four voters", || (voters(&members[first]) == 4).then_some(()));
    write_somewhere(&members, 1);
    same_everywhere(&members, 2);
    let gone = (first + 1) % 3;
    members[first]
        .block_on(members[first].group.remove_member(members[gone].id()))
        .unwrap();
    eventually("three voters", || (voters(&members[first]) == 3).then_some(()));
    members.remove(gone).kill();
    write_somewhere(&members, 2);
    same_everywhere(&members, 3);
}

#[test]
fn a_slave_joins_as_learner_and_never_votes() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut all = configs(dir.path(), 2);
    let mut slave = all.pop().unwrap();
    let mut master = all.pop().unwrap();
    master.peers.truncate(1);
    slave.peers.truncate(1);
    slave.join_as = mq_raft::JoinAs::Learner;
    let mut members = vec![Member::start(master)];
    leader(&members);
    write_somewhere(&members, 0);
    members.push(Member::start(slave));
    write_somewhere(&members, 1);
    same_everywhere(&members, 2);
    let status = members[0].group.status();
    assert_eq!(status.members.iter().filter(|m| m.voter).count(), 1);
    assert_eq!(members[1].group.leadership().borrow().role, mq_raft::Role::Learner);
    members.remove(0).kill();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(!members[0].leads());
}

#[test]
fn a_wiped_member_comes_back_under_load_with_a_new_identity() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members: Vec<_> = configs(dir.path(), 3).into_iter().map(Member::start).collect();
    let first = leader(&members);
    (0..20).for_each(|word| write_somewhere(&members, word));
    let victim = (first + 1) % 3;
    let old = members[victim].id();
    let config = members.remove(victim).kill();
    std::fs::remove_dir_all(&config.dir).unwrap();
    members.push(Member::start(config));
    let mut word = 20;
    eventually("the wiped member votes again", || {
        write_somewhere(&members, word);
        word += 1;
        let status = members.iter().find(|m| m.leads())?.group.status();
        let voters: Vec<_> = status.members.iter().filter(|m| m.voter).map(|m| m.member.id).collect();
        (voters.len() == 3 && voters.contains(&members[2].id()) && !voters.contains(&old)).then_some(())
    });
    let list = same_everywhere(&members, word as usize);
    assert_eq!(
        list.iter().map(|(word, _)| *word).collect::<Vec<_>>(),
        (0..word).collect::<Vec<_>>()
    );
}

#[test]
fn a_member_behind_the_purged_log_gets_the_checkpoint() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members: Vec<_> = configs(dir.path(), 3).into_iter().map(Member::start).collect();
    let first = leader(&members);
    write_somewhere(&members, 0);
    let lagging = (first + 1) % 3;
    eventually("the follower has it", || {
        (members[lagging].list().len() == 1).then_some(())
    });
    let config = members.remove(lagging).kill();
    // Several segments of 64 KiB.
    let now = leader(&members);
    (1..400).for_each(|word| assert!(matches!(members[now].write_padded(word, 1000), Said::At(_))));
    same_everywhere(&members, 400);
    let applied = members[now].group.status().applied.unwrap();
    for member in &members {
        member.block_on(member.group.purge(applied)).unwrap();
        eventually("the log begins later", || member.group.status().purged);
    }
    members.push(Member::start(config));
    let list = same_everywhere(&members, 400);
    assert_eq!(
        list.iter().map(|(word, _)| *word).collect::<Vec<_>>(),
        (0..400).collect::<Vec<_>>()
    );
    assert_eq!(members[2].words.installed.load(std::sync::atomic::Ordering::SeqCst), 1);
    // And all of that survives a restart.
    let config = members.pop().unwrap().kill();
    members.push(Member::start(config));
    write_somewhere(&members, 400);
    same_everywhere(&members, 401);
}
