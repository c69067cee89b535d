//! Three members as processes: any of them serves, and a leader that is killed costs clients some milliseconds.
#![allow(clippy::disallowed_methods)]

mod rig;

use mq_remoting::Header;
use mq_remoting::header::PullMessageResponse;
use rig::{Client, PATIENCE, bodies, consumer_ids, free_ports, heartbeat, message, offset};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Group {
    dir: TempDir,
    peers: String,
    ports: Vec<u16>,
    members: Vec<Option<Child>>,
}

impl Group {
    fn start() -> Group {
        let ports = free_ports(6);
        let peers: Vec<String> = (0..3).map(|n| format!("n{n}-127.0.0.1:{}", ports[3 + n])).collect();
        let mut group = Group {
            dir: tempfile::tempdir().unwrap(),
            peers: peers.join(";"),
            ports,
            members: vec![None, None, None],
        };
        (0..3).for_each(|n| group.run(n));
        group
    }

    fn run(&mut self, n: usize) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("n{n}.log")));
        let mut process = Process::new(env!("CARGO_BIN_EXE_mqbroker"));
        for (key, value) in [
            ("brokerName", "b"),
            ("brokerIP1", "127.0.0.1"),
            ("bindAddress", "127.0.0.1"),
            ("listenPort", &self.ports[n].to_string()),
            ("enableDLegerCommitLog", "true"),
            ("dLegerPeers", &self.peers),
            ("dLegerSelfId", &format!("n{n}")),
            (
                "storePathRootDir",
                &self.dir.path().join(format!("n{n}")).display().to_string(),
            ),
            ("flushDiskType", "SYNC_FLUSH"),
            ("tlsServerMode", "disabled"),
            ("drainSeconds", "1"),
        ] {
            process.args(["--set", &format!("{key}={value}")]);
        }
        self.members[n] = Some(process.stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap());
    }

    fn addr(&self, n: usize) -> String {
        format!("127.0.0.1:{}", self.ports[n])
    }

    fn addrs(&self) -> Vec<String> {
        (0..3).map(|n| self.addr(n)).collect()
    }

    fn kill(&mut self, n: usize) {
        let mut member = self.members[n].take().unwrap();
        member.kill().unwrap();
        member.wait().unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for member in self.members.iter_mut().flatten() {
            let _ = member.kill();
            let _ = member.wait();
        }
        if std::thread::panicking() {
            for n in 0..3 {
                let log = std::fs::read_to_string(self.dir.path().join(format!("n{n}.log"))).unwrap_or_default();
                eprintln!("---- n{n}\n{log}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_serves_and_a_killed_leader_is_not_noticed() {
    let mut group = Group::start();
    let client = Client::new();
    let leader = client.leader(&group.addrs()).await;
    let followers: Vec<usize> = (0..3).filter(|n| *n != leader).collect();

    let mut expected = Vec::new();
    for n in 0..9 {
        let text = format!("m{n}");
        let answer = client.send(&group.addr(n % 3), "T", &text, &text).await;
        assert_eq!(offset(&answer), n as i64, "one queue, whichever member was asked");
        expected.push(text);
    }
    for n in 0..3 {
        assert_eq!(
            bodies(&client.pull(&group.addr(n), "T", 0, 0, 0).await),
            expected,
            "pulled through n{n}"
        );
    }

    // Sends that do not wait for each other keep their order through a follower.
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for n in 9..209 {
        let (text, sender) = (format!("m{n}"), sender.clone());
        let request = message("T", &text, &text);
        client
            .0
            .send_async(&group.addr(followers[1]), request, PATIENCE, move |answer| {
                let _ = sender.send((n, offset(&answer.unwrap())));
            });
        expected.push(text);
    }
    for _ in 9..209 {
        let (n, at) = answers.recv().await.unwrap();
        assert_eq!(at, n, "m{n}");
    }

    // Sends through a follower while the leader dies: each is answered with success, once.
    let through = group.addr(followers[0]);
    let sending = tokio::spawn(async move {
        let client = Client::new();
        let (mut sent, mut slowest) = (Vec::new(), Duration::ZERO);
        let until = Instant::now() + Duration::from_secs(3);
        for n in 209.. {
            let text = format!("m{n}");
            let begun = Instant::now();
            let answer = client.ask(&through, message("T", &text, &text)).await;
            slowest = slowest.max(begun.elapsed());
            assert_eq!(answer.code, 0, "m{n}: {:?}", answer.remark);
            sent.push((text, offset(&answer)));
            if Instant::now() > until {
                break;
            }
        }
        (sent, slowest)
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    group.kill(leader);
    let (sent, slowest) = sending.await.unwrap();
    eprintln!("{} sends, the slowest took {slowest:?}", sent.len());
    expected.extend(sent.iter().map(|(text, _)| text.clone()));

    // Everything acknowledged is there once, in order, through the member that is left out and through the killed one.
    let survivors: Vec<String> = followers.iter().map(|n| group.addr(*n)).collect();
    let begun = Instant::now();
    while client
        .status(&survivors[0])
        .await
        .is_none_or(|status| status.leader.is_none())
    {
        assert!(begun.elapsed() < PATIENCE);
    }
    group.run(leader);
    client.leader(&group.addrs()).await;
    for n in 0..3 {
        let mut found = Vec::new();
        while found.len() < expected.len() {
            let answer = client.pull(&group.addr(n), "T", 0, found.len() as i64, 0).await;
            assert_eq!(answer.code, 0, "{:?} after {}", answer.remark, found.len());
            found.extend(bodies(&answer));
        }
        assert!(found == expected, "n{n} has other messages than were acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_stop_hands_over_and_goes_on_serving() {
    let mut group = Group::start();
    let client = Client::new();
    let leader = client.leader(&group.addrs()).await;
    let through = group.addr(leader);
    offset(&client.send(&through, "T", "m0", "m0").await);
    let mut member = group.members[leader].take().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&member), rustix::process::Signal::TERM).unwrap();
    // The same address goes on taking messages while it drains.
    let begun = Instant::now();
    let mut n = 1;
    while begun.elapsed() < Duration::from_millis(700) {
        assert_eq!(offset(&client.send(&through, "T", &format!("m{n}"), "x").await), n);
        n += 1;
    }
    let ended = tokio::task::spawn_blocking(move || member.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(ended.success(), "{ended}");
    let others: Vec<String> = (0..3).filter(|m| *m != leader).map(|m| group.addr(m)).collect();
    assert_eq!(offset(&client.send(&others[0], "T", "last", "x").await), n);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_has_no_majority_says_so_in_time() {
    let mut group = Group::start();
    let client = Client::new();
    let leader = client.leader(&group.addrs()).await;
    let followers: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    group.kill(leader);
    group.kill(followers[0]);
    let begun = Instant::now();
    let answer = client.send(&group.addr(followers[1]), "T", "K", "x").await;
    assert_eq!(answer.code, 14, "{:?}", answer.remark);
    let waited = begun.elapsed();
    assert!(
        waited > Duration::from_millis(2_000) && waited < Duration::from_secs(20),
        "{waited:?}"
    );
    let answer = client.pull(&group.addr(followers[1]), "T", 0, 7, 0).await;
    let header = PullMessageResponse::decode(&answer.ext).unwrap();
    assert_eq!(
        (answer.code, header.next_begin_offset),
        (20, 7),
        "a pull is told to come again at once, never that its offset is wrong"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_connected_to_different_members_see_one_list_also_after_the_leader_died() {
    let mut group = Group::start();
    let (first, second) = (Client::new(), Client::new());
    let leader = first.leader(&group.addrs()).await;
    let followers: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    let both = Ok(vec!["c1".to_owned(), "c2".to_owned()]);
    first.ask(&group.addr(followers[0]), heartbeat("c1", "G")).await;
    // As every consumer does, this one sends heartbeats to all members: it counts once.
    for n in 0..3 {
        second.ask(&group.addr(n), heartbeat("c2", "G")).await;
    }
    for n in 0..3 {
        // What a follower tells its leader takes a moment.
        let begun = Instant::now();
        while consumer_ids(&first, &group.addr(n), "G").await != both {
            assert!(begun.elapsed() < PATIENCE);
        }
    }
    group.kill(leader);
    // The first list of the new leader is whole: a part of it would make consumers take queues from each other.
    assert_eq!(consumer_ids(&first, &group.addr(followers[0]), "G").await, both);
    assert_eq!(consumer_ids(&second, &group.addr(followers[1]), "G").await, both);
}
