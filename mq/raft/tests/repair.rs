//! Damaged logs come back from the other members: real files, real sockets.

#![allow(clippy::disallowed_methods)] // A test or a bench, never simulated.

mod toy;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use mq_raft::GroupConfig;
use mq_raft::StartError;
use mq_raft::stored::{Entry, RaftIndex};
use mq_store::inspect::{InspectOptions, inspect};
use toy::*;

const SEGMENT: u64 = 64 << 10;
const HEADER: u64 = 64;

/// Three members, stopped, with so many words in their logs; and the entries of these logs.
fn three_stopped(dir: &Path, words: u64) -> (Vec<GroupConfig>, Vec<Entry>) {
    let members: Vec<_> = configs(dir, 3).into_iter().map(Member::start).collect();
    (0..words).for_each(|word| write_padded_somewhere(&members, word));
    same_everywhere(&members, words as usize);
    eventually("the logs end alike", || {
        let ends: Vec<_> = members.iter().map(|m| m.group.log().tail()).collect();
        ends.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    });
    let entries = log_of(&members[0]);
    (members.into_iter().map(Member::stop).collect(), entries)
}

fn write_padded_somewhere(members: &[Member], word: u64) {
    eventually("a word is taken", || {
        let leader = members.iter().find(|m| m.leads())?;
        matches!(leader.write_padded(word, 700), Said::At(_)).then_some(())
    });
}

/// All entries; waits for repairs.
fn log_of(member: &Member) -> Vec<Entry> {
    let log = member.group.log();
    eventually("the whole log can be read", || {
        log.read(log.first()..RaftIndex(u64::MAX), u64::MAX).ok()
    })
}

/// Restarts look at the whole log.
fn forget_checkpoints(config: &GroupConfig) {
    for file in fs::read_dir(&config.dir).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("checkpoint") {
            fs::remove_file(file.path()).unwrap();
        }
    }
}

fn overwrite(config: &GroupConfig, offset: u64, change: impl Fn(u8) -> u8, len: u64) {
    let base = offset - offset % SEGMENT;
    let path = config.dir.join("commitlog").join(format!("{base:020}"));
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; len as usize];
    file.seek(SeekFrom::Start(offset - base)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    bytes.iter_mut().for_each(|byte| *byte = change(*byte));
    file.seek(SeekFrom::Start(offset - base)).unwrap();
    file.write_all(&bytes).unwrap();
}

fn flip(config: &GroupConfig, offset: u64) {
    overwrite(config, offset, |byte| byte ^ 4, 1);
}

fn header(entry: &Entry) -> u64 {
    entry.offset().get() + 17
}

fn body(entry: &Entry) -> u64 {
    entry.offset().get() + HEADER + 100
}

/// Starts members at the same time: none may wait for another to be up.
fn start_all(configs: Vec<GroupConfig>) -> Vec<Member> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = configs
            .into_iter()
            .map(|config| scope.spawn(move || Member::start(config)))
            .collect();
        starting.into_iter().map(|member| member.join().unwrap()).collect()
    })
}

/// Every member has the same list, and byte for byte the same log, on disk, too.
fn all_alike(members: Vec<Member>, words: u64) {
    write_padded_somewhere(&members, words);
    let list = toy::words(&same_everywhere(&members, words as usize + 1));
    assert_eq!(list, (0..=words).collect::<Vec<_>>());
    let logs: Vec<_> = members.iter().map(log_of).collect();
    let shortest = logs.iter().map(Vec::len).min().unwrap();
    for log in &logs[1..] {
        assert!(log[..shortest] == logs[0][..shortest], "the logs differ");
    }
    for config in members.into_iter().map(Member::stop) {
        let mut lines = Vec::new();
        let options = InspectOptions {
            entries: true,
            records: true,
            ..InspectOptions::default()
        };
        let found = inspect(mq_base::env::disk::real(), &config.dir, options, &mut |line| {
            lines.push(line.to_owned());
        });
        assert!(found.unwrap().damage.is_empty(), "{}", lines.join("\n"));
    }
}

#[test]
fn damage_of_any_kind_comes_back_from_the_others() {
    logging();
    type Damage = fn(&GroupConfig, &[Entry]);
    let kinds: [(&str, Damage); 8] = [
        ("a header", |config, entries| flip(config, header(&entries[80]))),
        ("a body", |config, entries| flip(config, body(&entries[80]))),
        ("the first entry", |config, entries| flip(config, header(&entries[0]))),
        ("the last entry", |config, entries| {
            flip(config, header(entries.last().unwrap()))
        }),
        ("the last body", |config, entries| {
            flip(config, body(entries.iter().rfind(|entry| entry.len() > 700).unwrap()));
        }),
        ("two places", |config, entries| {
            flip(config, header(&entries[30]));
            flip(config, header(&entries[120]));
        }),
        ("a torn sector", |config, entries| {
            let sector = entries[100].offset().get() / 4096 * 4096;
            overwrite(config, sector, |_| 0, 4096);
        }),
        ("a lost segment", |config, _| {
            fs::remove_file(config.dir.join("commitlog").join(format!("{SEGMENT:020}"))).unwrap();
        }),
    ];
    for (what, damage) in kinds {
        eprintln!("{what}");
        let dir = tempfile::tempdir().unwrap();
        let (mut configs, entries) = three_stopped(dir.path(), 250);
        let victim = configs.remove(1);
        forget_checkpoints(&victim);
        damage(&victim, &entries);
        // The others go on without it.
        let mut members = start_all(configs);
        (250..260).for_each(|word| write_padded_somewhere(&members, word));
        members.push(Member::start(victim));
        all_alike(members, 260);
    }
}

#[test]
fn members_that_are_all_damaged_at_different_places_start_by_each_others_help() {
    logging();
    for place in [header, body] {
        let dir = tempfile::tempdir().unwrap();
        let (configs, entries) = three_stopped(dir.path(), 200);
        for (nth, config) in configs.iter().enumerate() {
            forget_checkpoints(config);
            flip(config, place(&entries[30 + 60 * nth]));
            flip(config, place(&entries[50 + 60 * nth]));
        }
        all_alike(start_all(configs), 200);
    }
}

#[test]
fn old_damage_is_found_by_who_reads_there_and_repaired_while_running() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let (mut configs, entries) = three_stopped(dir.path(), 250);
    let victim = configs.remove(2);
    let mut members = start_all(configs);
    for place in [header(&entries[20]), body(&entries[100])] {
        flip(&victim, place);
    }
    // Its checkpoint is behind the damage: it starts as if nothing were wrong.
    members.push(Member::start(victim));
    let log = members[2].group.log().clone();
    let whole = || log.read(log.first()..RaftIndex(u64::MAX), u64::MAX);
    assert!(whole().is_err(), "damaged bytes are not handed out");
    eventually("the mender has repaired it", || whole().ok());
    all_alike(members, 250);
}

#[test]
fn a_damaged_member_waits_for_the_others_and_takes_no_part_meanwhile() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let (mut configs, entries) = three_stopped(dir.path(), 100);
    let (third, second, first) = (configs.pop().unwrap(), configs.pop().unwrap(), configs.pop().unwrap());
    forget_checkpoints(&first);
    flip(&first, header(&entries[40]));
    // In the place of the second: somebody who takes calls and answers none.
    let deaf = TcpListener::bind(&second.peer_addr).unwrap();
    let starting = std::thread::spawn(move || Member::start(first));
    for _ in 0..3 {
        drop(deaf.accept().unwrap());
    }
    assert!(
        !starting.is_finished(),
        "it goes on asking as long as nobody can repair it"
    );
    drop(deaf);
    // One sound member is enough for the bytes, and both together for a leader.
    let mut members = vec![Member::start(second)];
    members.insert(0, starting.join().unwrap());
    leader(&members);
    members.push(Member::start(third));
    all_alike(members, 100);
}

#[test]
fn without_anybody_who_has_the_bytes_a_start_is_refused_with_a_sentence() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let member = Member::start(configs(dir.path(), 1).remove(0));
    (0..50).for_each(|word| write_padded_somewhere(std::slice::from_ref(&member), word));
    let entries = log_of(&member);
    let config = member.stop();
    forget_checkpoints(&config);
    for place in [header(&entries[20]), body(&entries[20])] {
        flip(&config, place);
        let error = Member::try_start(config.clone()).err().expect("it must not start");
        assert!(matches!(error, StartError::Damaged(_)), "{error:?}");
        let text = error.to_string();
        let at = format!("offset {}", entries[20].offset());
        for part in [
            at.as_str(),
            "commitlog/00000000000000000000",
            "no other member",
            "mqstore inspect",
        ] {
            assert!(text.contains(part), "{text}");
        }
        // Back as it was: nothing was cut meanwhile.
        flip(&config, place);
    }
    let member = Member::start(config);
    eventually("everything is there", || (member.list().len() == 50).then_some(()));
}

#[test]
fn three_damaged_at_the_same_place_refuse_until_one_is_restored() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let (configs, entries) = three_stopped(dir.path(), 60);
    for config in &configs {
        forget_checkpoints(config);
        flip(config, header(&entries[30]));
    }
    let (tell, told) = std::sync::mpsc::channel();
    let start = |nth: usize| {
        let (tell, config) = (tell.clone(), configs[nth].clone());
        std::thread::spawn(move || drop(tell.send((nth, Member::try_start(config)))));
    };
    (0..3).for_each(start);
    let patience = Duration::from_secs(60);
    let (refused, said) = told.recv_timeout(patience).unwrap();
    let said = said.err().expect("nobody has these bytes").to_string();
    assert!(said.contains("damaged there, too"), "{said}");
    // Restored from a copy; nothing was cut meanwhile, so the others have all that they need, too.
    flip(&configs[refused], header(&entries[30]));
    start(refused);
    let mut members = Vec::new();
    while members.len() < 3 {
        match told.recv_timeout(patience).unwrap() {
            (_, Ok(member)) => members.push(member),
            (nth, Err(_)) => start(nth),
        }
    }
    all_alike(members, 60);
}

#[test]
fn an_entry_that_was_never_committed_is_not_missed() {
    logging();
    let dir = tempfile::tempdir().unwrap();
    let mut members = start_all(configs(dir.path(), 3));
    (0..10).for_each(|word| write_padded_somewhere(&members, word));
    same_everywhere(&members, 10);
    let first = leader(&members);
    let old_leader = members.remove(first);
    let others: Vec<_> = members.drain(..).map(Member::stop).collect();
    // Nobody takes these.
    let orphans: Vec<_> = (0..5).map(|n| old_leader.send(666 + n, 700)).collect();
    let last_before = eventually("it holds the orphans", || {
        let entries = log_of(&old_leader);
        let orphan = entries
            .iter()
            .position(|entry| entry.items().any(|item| item.body[..8] == 666u64.to_be_bytes()))?;
        Some(entries[orphan].clone())
    });
    let config = old_leader.stop();
    drop(orphans);
    forget_checkpoints(&config);
    flip(&config, header(&last_before));
    let mut members = start_all(others);
    (10..20).for_each(|word| write_padded_somewhere(&members, word));
    members.push(Member::start(config));
    all_alike(members, 20);
}
