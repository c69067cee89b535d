//! Every scenario with every client, on three members with `SYNC_FLUSH`.

#![allow(clippy::disallowed_methods)]

use anyhow::Result;
use mq_interop::go::GoClient;
use mq_interop::java::JavaClient;
use mq_interop::run::Run;
use mq_interop::stage::Stage;
use std::process::Command;
use std::time::Duration;

const JAVA: &[&str] = &[
    "retry-dlq",
    "tx-checkback",
    "tx-rollback",
    "tx-commit",
    "ordered",
    "delay",
    "broadcast",
    "offsets",
    "sync",
    "async",
    "oneway",
    "batch",
    "refused",
    "query",
    "tags",
    "pull",
    "lite-pull",
];
/// What older systems live on.
const JAVA_SHORT: &[&str] = &[
    "sync",
    "async",
    "oneway",
    "batch",
    "tags",
    "ordered",
    "pull",
    "tx-commit",
    "retry-dlq",
];
const GO: &[&str] = &[
    "retry-dlq",
    "tx-checkback",
    "tx-rollback",
    "tx-commit",
    "ordered",
    "delay",
    "broadcast",
    "offsets",
    "sync",
    "async",
    "oneway",
    "batch",
    "tags",
    "pull",
    "poll",
];
const WITHIN: Duration = Duration::from_secs(240);

fn all_pass(command: impl FnOnce(&Stage) -> Result<Command>, scenarios: &[&str]) {
    let stage = Stage::start().unwrap();
    let command = command(&stage).unwrap();
    let mut run = Run::start(command, &stage.cluster().namesrv_addr(), scenarios).unwrap();
    run.must_pass(scenarios, WITHIN).unwrap();
    stage.nobody_crashed().unwrap();
}

fn java(version: &str, scenarios: &[&str]) {
    all_pass(
        |stage| Ok(JavaClient::prepare(version)?.command(stage.folder())),
        scenarios,
    );
}

#[test]
fn java_5_3_3() {
    java("5.3.3", JAVA);
}

#[test]
fn java_4_9_8() {
    java("4.9.8", JAVA);
}

#[test]
fn java_4_5_1_in_short() {
    java("4.5.1", JAVA_SHORT);
}

#[test]
fn go_2_1_2() {
    all_pass(|_| Ok(GoClient::prepare()?.command()), GO);
}
