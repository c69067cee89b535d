//! Real members over loopback TCP, with real files.

mod toy;

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
