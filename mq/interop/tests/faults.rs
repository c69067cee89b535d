//! Unmodified clients at default settings while members are killed, restarted in turn, or all killed at once.
//!
//! Everything acknowledged must be consumed, orders must hold. Where a supervisor holds the client sockets and one member
//! at a time goes, no plain send may fail either.

#![allow(clippy::disallowed_methods)]

use mq_cluster::{Signal, Target};
use mq_interop::go::GoClient;
use mq_interop::java::JavaClient;
use mq_interop::run::Run;
use mq_interop::stage::Stage;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const READY_WITHIN: Duration = Duration::from_secs(90);
const END_WITHIN: Duration = Duration::from_secs(150);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Java consumers pause 1 s after a failed pull. Without the tables of clients outliving their members, 4.9.8 is silent until
/// its next heartbeat, which is up to 30 s away.
const SILENCE_MS: u64 = 5_000;

/// After so long a Java client gives up a send by default.
const SEND_TIMEOUT_MS: u64 = 3_000;

struct Faults {
    stage: Stage,
    run: Run,
}

impl Faults {
    fn begin(command: impl FnOnce(&Stage) -> Command) -> Faults {
        let stage = Stage::start().unwrap();
        let command = command(&stage);
        let mut run = Run::start(command, &stage.cluster().namesrv_addr(), &["across-kill"]).unwrap();
        run.await_line("READY", READY_WITHIN).unwrap();
        Faults { stage, run }
    }

    fn java(version: &str) -> Faults {
        let client = JavaClient::prepare(version).unwrap();
        Faults::begin(|stage| client.command(stage.folder()))
    }

    fn hit(&self, target: &Target, signal: Signal) {
        for hit in self.stage.cluster().kill(target, signal, None).unwrap() {
            println!("  {hit}");
            assert!(*target != Target::Leader || hit.led.is_some(), "{hit} did not lead");
        }
    }

    fn settle(&self) {
        self.stage.cluster().wait_ready(SETTLED_WITHIN).unwrap();
    }

    /// Ends the run; nothing may be missing or out of order. Answers how many plain sends failed.
    fn end(&mut self) -> u64 {
        sleep(Duration::from_secs(2));
        self.run.say("stop").unwrap();
        self.run.must_pass(&["across-kill"], END_WITHIN).unwrap();
        let statistics = self.run.statistics("across-kill").unwrap();
        assert!(statistics["acknowledged"] > 500, "too little to judge: {statistics:?}");
        assert_eq!((statistics["missing"], statistics["out_of_order"]), (0, 0));
        statistics["failed_sends"]
    }

    /// As [`Faults::end`]; and consumers were never silent for long.
    fn end_without_silence(&mut self) -> u64 {
        let failed = self.end();
        let silence = self.run.statistics("across-kill").unwrap()["longest_consume_silence_ms"];
        assert!(silence < SILENCE_MS, "consumers were silent for {silence} ms");
        failed
    }
}

/// The leader is killed again and again; its supervisor starts it again at once.
fn leader_killed(faults: &mut Faults) {
    for _ in 0..kills() {
        sleep(Duration::from_millis(2500));
        faults.hit(&Target::Leader, Signal::Kill);
        sleep(Duration::from_millis(1500));
        faults.settle();
        faults.run.say("mark").unwrap();
    }
}

/// How often the leader is killed; `make bench` asks for more.
fn kills() -> usize {
    std::env::var("INTEROP_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(6)
}

#[test]
fn java_5_3_3_across_kills_of_the_leader() {
    let mut faults = Faults::java("5.3.3");
    leader_killed(&mut faults);
    assert_eq!(faults.end_without_silence(), 0, "plain sends failed");
}

/// This client forgets a request that waits on a connection if another thread connects anew in the moment in which it ends
/// (`docs/adr/017-dead-addresses.md`): rarely, and then that send waits for its time-out while the other threads go on.
#[test]
fn java_4_9_8_across_kills_of_the_leader() {
    let mut faults = Faults::java("4.9.8");
    leader_killed(&mut faults);
    let failed = faults.end_without_silence();
    let statistics = faults.run.statistics("across-kill").unwrap();
    let timed_out = statistics["timed_out_sends"];
    assert_eq!(failed, timed_out, "plain sends failed before their time-out");
    assert!(timed_out <= kills() as u64 / 3, "{timed_out} sends timed out");
    assert!(statistics["longest_gap_ms"] < SEND_TIMEOUT_MS, "nobody was served");
}

#[test]
fn java_4_9_8_across_a_rolling_restart() {
    rolling_restart("4.9.8");
}

#[test]
fn go_2_1_2_across_kills_of_the_leader() {
    let client = GoClient::prepare().unwrap();
    let mut faults = Faults::begin(|_| client.command());
    leader_killed(&mut faults);
    faults.end();
}

#[test]
fn java_5_3_3_across_a_rolling_restart() {
    rolling_restart("5.3.3");
}

/// Every member is told to stop, one after the other.
fn rolling_restart(version: &str) {
    let mut faults = Faults::java(version);
    for slot in ["n0", "n1", "n2"] {
        let restarts = || {
            let status = faults.stage.cluster().status().unwrap();
            status
                .members
                .iter()
                .find(|member| member.name == slot)
                .unwrap()
                .restarts
        };
        let before = restarts();
        faults.hit(&Target::Named(slot.to_owned()), Signal::Term);
        let mut waited = 0;
        while restarts() == before {
            assert!(waited < 300, "{slot} did not end on SIGTERM");
            waited += 1;
            sleep(Duration::from_millis(100));
        }
        faults.settle();
        sleep(Duration::from_secs(1));
    }
    assert_eq!(faults.end_without_silence(), 0, "plain sends failed");
}

#[test]
fn java_5_3_3_across_a_kill_of_all_members_at_once() {
    let mut faults = Faults::java("5.3.3");
    for _ in 0..2 {
        sleep(Duration::from_secs(3));
        faults.hit(&Target::All, Signal::Kill);
        sleep(Duration::from_secs(1));
        faults.settle();
    }
    // Without any member sends may fail; what was acknowledged must be there.
    faults.end();
}
