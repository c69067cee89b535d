//! What the client hosts do: producers of every kind, transactions with commit, rollback and check-back, consumers that
//! commit and query offsets, lockers, atomic batches with two owners, and readers that are given everything.

mod atomic;
mod consumers;
mod producers;
mod readers;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use mq_base::env::{clock, random, task};
use mq_message::property::{self, Properties};
use mq_remoting::body::{self, ConsumerData, HeartbeatData, ProducerData};
use mq_remoting::code::request as code;
use mq_remoting::header::Empty;
use mq_remoting::{Command, body::SubscriptionData};

use crate::history::{History, Phase};
use crate::wire::Wire;

/// A business topic and how many queues it has.
pub const TOPICS: [(&str, u32); 5] = [
    ("plain", 4),
    ("ordered", 4),
    ("delayed", 2),
    ("transactions", 2),
    (ATOMIC, 2),
];
/// Topic of the atomic batches.
const ATOMIC: &str = "atomic";
/// Producer group of all transactions.
const TRANSACTION_GROUP: &str = "transaction-producers";
/// Consumer group whose offsets are committed.
const CONSUMER_GROUP: &str = "consumers";
/// How many client hosts there are.
pub const HOSTS: usize = 3;

/// What every task of a client host has.
#[derive(Clone)]
struct Client {
    host: usize,
    wire: Wire,
    history: Arc<History>,
    /// Longest pause between two operations of a task, ms.
    pause_ms: u64,
}

/// Runs client host `host` until the run is over.
pub async fn run(host: usize, members: Vec<String>, history: Arc<History>, pause_ms: u64) -> anyhow::Result<()> {
    let checks = transactions::Checks::new(history.clone());
    let wire = Wire::new(members, checks.clone())?;
    checks.answer_through(&wire);
    let client = Client {
        host,
        wire,
        history,
        pause_ms,
    };
    task::spawn("heartbeats", client.clone().heartbeats());
    for (topic, queues) in TOPICS {
        for queue in 0..queues {
            // Two hosts read everything; the second is the one that may crash.
            if host < 2 {
                task::spawn("reader", client.clone().reader(topic, queue));
            }
        }
    }
    task::spawn("plain producer", client.clone().plain_producer());
    match host {
        0 => {
            task::spawn("ordered producer", client.clone().ordered_producer());
            task::spawn("batch producer", client.clone().batch_producer());
            task::spawn("atomic owner", client.clone().atomic_owner());
        }
        1 => {
            task::spawn("delayed producer", client.clone().delayed_producer());
            task::spawn("transactions", client.clone().transactions());
            task::spawn("locker", client.clone().locker());
        }
        _ => {
            task::spawn("ordered producer", client.clone().ordered_producer());
            task::spawn("transactions", client.clone().transactions());
            task::spawn("atomic owner", client.clone().atomic_owner());
            task::spawn("locker", client.clone().locker());
        }
    }
    for nth in 0..2 {
        // No two consumers share a queue.
        let (topic, queue) = [("plain", nth), ("plain", 2 + nth), ("ordered", nth)][host % HOSTS];
        task::spawn("consumer", client.clone().consumer(topic, queue));
    }
    while client.history.phase() != Phase::Over {
        clock::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

impl Client {
    fn running(&self) -> bool {
        self.history.phase() == Phase::Running
    }

    async fn pause(&self) {
        clock::sleep(Duration::from_millis(1 + random::below(self.pause_ms))).await;
    }

    /// To every member: each knows its own clients only.
    async fn heartbeats(self) {
        let subscription = |topic: &str| SubscriptionData {
            topic: topic.to_owned(),
            sub_string: SubscriptionData::ALL.to_owned(),
            sub_version: 1,
            ..SubscriptionData::default()
        };
        let data = HeartbeatData {
            client_id: format!("client-{}", self.host),
            producer_data_set: vec![ProducerData {
                group_name: TRANSACTION_GROUP.to_owned(),
            }],
            consumer_data_set: vec![ConsumerData {
                group_name: CONSUMER_GROUP.to_owned(),
                subscription_data_set: TOPICS.iter().map(|(topic, _)| subscription(topic)).collect(),
                ..ConsumerData::default()
            }],
            ..HeartbeatData::default()
        };
        let body = body::to_standard(&data);
        while self.history.phase() != Phase::Over {
            for member in self.wire.members() {
                let heartbeat = Command::request(code::HEART_BEAT, &Empty).with_body(body.clone());
                let _ = self.wire.ask_one(member, heartbeat, Duration::from_millis(500)).await;
            }
            clock::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// The body of message `id`: its number, and some weight.
fn body_of(id: u64) -> Vec<u8> {
    let mut body = format!("{id:016x}").into_bytes();
    body.resize(16 + random::below(700) as usize, b'.');
    body
}

/// The id in a body.
pub fn id_in(body: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(body.get(..16)?).ok()?, 16).ok()
}

/// Properties of message `id`.
fn properties_of(id: u64, more: &[(&str, &str)]) -> String {
    let mut properties = Properties::new();
    properties.push(property::UNIQ_KEY, &format!("{id:032X}"));
    properties.push(property::KEYS, &format!("k{id}"));
    for (name, value) in more {
        properties.push(name, value);
    }
    properties.into_string()
}
