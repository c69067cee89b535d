//! `mqadmin` against a running cluster: topics, groups, messages, leadership, membership.

#![allow(clippy::disallowed_methods)]

use mq_interop::go::GoClient;
use mq_interop::run::Run;
use mq_interop::stage::Stage;
use std::process::Command;
use std::time::{Duration, Instant};

struct Admin {
    stage: Stage,
}

impl Admin {
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let program = mq_cluster::Programs::find()
            .unwrap()
            .mqcluster
            .with_file_name("mqadmin");
        let mut command = Command::new(program);
        command
            .env("NAMESRV_ADDR", self.stage.cluster().namesrv_addr())
            .args(arguments);
        let output = command.output().expect("run mqadmin: build the programs first");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments)
            .unwrap_or_else(|error| panic!("mqadmin {arguments:?}: {error}"))
    }

    /// Until the output holds: name servers hear of changes a moment later.
    fn until(&self, arguments: &[&str], holds: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            let said = self.run(arguments).unwrap_or_else(|error| error);
            if holds(&said) {
                return said;
            }
            assert!(Instant::now() < end, "mqadmin {arguments:?} never said so:\n{said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Slot of the leader, as raftStatus shows it.
    fn leader(&self) -> String {
        let table = self.until(&["raftStatus"], |said| said.contains(" leader "));
        let row = table.lines().find(|row| row.contains(" leader ")).unwrap();
        row.split_whitespace().nth(1).unwrap().to_owned()
    }
}

/// The row that begins with this word, in columns.
fn row<'a>(table: &'a str, first: &str) -> Vec<&'a str> {
    let mut found = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    found
        .rfind(|row| row.first() == Some(&first))
        .unwrap_or_else(|| panic!("no {first} in\n{table}"))
}

#[test]
fn topics_groups_and_messages() {
    let admin = Admin {
        stage: Stage::start().unwrap(),
    };
    admin.ok(&[
        "updateTopic",
        "-c",
        "DefaultCluster",
        "-t",
        "orders",
        "-r",
        "6",
        "-w",
        "6",
    ]);
    admin.until(&["topicList"], |said| said.lines().any(|line| line == "orders"));
    let route = admin.ok(&["topicRoute", "-t", "orders", "-l"]);
    assert_eq!(row(&route, "Total:")[1..], ["1", "6", "6"], "{route}");
    let status = admin.ok(&["topicStatus", "-t", "orders"]);
    assert_eq!(
        status.lines().filter(|line| line.starts_with("broker-a")).count(),
        6,
        "{status}"
    );
    let brokers = admin.until(&["clusterList"], |said| said.matches("broker-a").count() == 3);
    assert!(row(&brokers, "DefaultCluster").contains(&"V5_3_3"), "{brokers}");
    admin.ok(&["updateSubGroup", "-c", "DefaultCluster", "-g", "accounting", "-r", "3"]);

    // Messages and a group of an unmodified client.
    let client = GoClient::prepare().unwrap();
    let mut run = Run::start(client.command(), &admin.stage.cluster().namesrv_addr(), &["sync"]).unwrap();
    run.must_pass(&["sync"], Duration::from_secs(120)).unwrap();
    let topics = admin.ok(&["topicList"]);
    let topic = topics.lines().find(|line| line.starts_with("go-sync-")).unwrap();
    let group = topics
        .lines()
        .find_map(|line| line.strip_prefix("%RETRY%go-sync-consumer-"))
        .unwrap();
    let group = format!("go-sync-consumer-{group}");
    let found = admin.until(&["queryMsgByKey", "-t", topic, "-k", "key-sync-7"], |said| {
        said.lines().count() == 2
    });
    let id = found.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    let message = admin.ok(&["queryMsgById", "-t", topic, "-i", id]);
    assert_eq!(row(&message, "Message")[2..], ["sync-7"], "{message}");
    let offset_id = row(&message, "OffsetID:")[1];
    assert_eq!(admin.ok(&["queryMsgById", "-i", offset_id]), message);
    let progress = admin.ok(&["consumerProgress", "-g", &group]);
    assert!(progress.contains("Consume Diff Total: 0"), "{progress}");
    admin.ok(&["resetOffsetByTime", "-g", &group, "-t", topic, "-s", "0"]);
    admin.until(&["consumerProgress", "-g", &group], |said| {
        said.contains("Consume Diff Total: 41")
    });

    admin.ok(&["deleteTopic", "-c", "DefaultCluster", "-t", "orders"]);
    admin.until(&["topicRoute", "-t", "orders"], |said| {
        said.contains("there is no topic orders")
    });
    let refused = admin
        .run(&["updateTopic", "-c", "DefaultCluster", "-t", "no way"])
        .unwrap_err();
    assert!(refused.contains("illegal characters"), "{refused}");
    admin.stage.nobody_crashed().unwrap();
}

#[test]
fn leadership_and_membership() {
    let admin = Admin {
        stage: Stage::start().unwrap(),
    };
    let old = admin.leader();
    let new = if old == "n1" { "n2" } else { "n1" };
    admin.ok(&["transferLeader", "-b", "broker-a", "-t", new]);
    admin.until(&["raftStatus"], |_| admin.leader() == new);
    admin.stage.cluster().wait_ready(Duration::from_secs(10)).unwrap();

    let layout = admin.stage.cluster().layout();
    let leaves = layout.members.iter().find(|member| member.slot != new).unwrap();
    admin.ok(&["removeMember", "-b", "broker-a", "-s", &leaves.slot]);
    let peer = format!("127.0.0.1:{}", leaves.peer_port);
    let addr = leaves.addr();
    let members = |said: &str| {
        let row = said
            .lines()
            .find(|row| row.contains(" leader "))
            .unwrap_or_default()
            .to_owned();
        ["n0", "n1", "n2"]
            .iter()
            .filter(|slot| row.rsplit("  ").next().unwrap_or_default().contains(**slot))
            .count()
    };
    admin.until(&["raftStatus"], |said| members(said) == 2);
    admin.ok(&[
        "addMember",
        "-b",
        "broker-a",
        "-s",
        &leaves.slot,
        "-p",
        &peer,
        "-a",
        &addr,
    ]);
    admin.until(&["raftStatus"], |said| members(said) == 3);
    let refused = admin
        .run(&["transferLeader", "-b", "broker-a", "-t", "n9"])
        .unwrap_err();
    assert!(refused.contains("has no member n9"), "{refused}");
}
