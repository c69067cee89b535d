//! A relay within a test, and what it has written.

use anyhow::Result;
use binlog_relay::relay::{self, Beginning};
use binlog_relay::settings::Settings;
use binlog_relay::status::Status;
use binlog_relay_stage::{Mysql, Stage};
use mq_base::stop::{Stop, StopSource};
use mq_client::consumer::LitePullConsumer;
use mq_client::{ClientConfig, ClientInstance, MessageExt};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A relay that runs within the test.
pub struct Running {
    pub status: Arc<Status>,
    stop: StopSource,
    pub task: tokio::task::JoinHandle<Result<()>>,
}

impl Running {
    pub async fn start(stage: &Stage, source: &Mysql, name: &str, rules: &str) -> Running {
        let running = Running::spawn(stage, &source.url(), name, rules);
        let deadline = Instant::now() + Duration::from_secs(20);
        while running.status.to_json()["state"] != "active" {
            assert!(
                Instant::now() < deadline && !running.task.is_finished(),
                "the relay does not start"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running
    }

    pub fn spawn(stage: &Stage, url: &str, name: &str, rules: &str) -> Running {
        let file = stage.folder().join(format!("{name}.toml"));
        let namesrv = stage.cluster().namesrv_addr();
        let text = format!("name = '{name}'\nsource.url = '{url}'\nqueue.namesrv = '{namesrv}'\n{rules}");
        std::fs::write(&file, text).unwrap();
        let settings = Settings::read(&file).unwrap();
        let status = Arc::new(Status::default());
        let (stop, listener): (StopSource, Stop) = StopSource::new();
        // The sender is kept by nobody: there are no wishes.
        let (_, wishes) = mpsc::channel(1);
        let task = tokio::spawn(relay::run(
            settings,
            Beginning::default(),
            status.clone(),
            wishes,
            listener,
        ));
        Running { status, stop, task }
    }

    /// Waits until everything that the source has executed is in the queue.
    pub async fn through(&self, source: &Mysql) {
        let executed = source
            .run("SELECT @@GLOBAL.gtid_executed")
            .unwrap()
            .replace(['\n', ' '], "");
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.status.gtids() != executed || self.status.to_json()["snapshot"] != serde_json::json!({}) {
            assert!(!self.task.is_finished(), "the relay has ended");
            assert!(Instant::now() < deadline, "{} of {executed}", self.status.to_json());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn end(self) {
        self.stop.stop();
        self.task.await.unwrap().unwrap();
    }
}

/// All messages of a topic, by `id`.
pub async fn read(stage: &Stage, topic: &str) -> Vec<(MessageExt, Value)> {
    let instance = ClientInstance::start(ClientConfig::new(&stage.cluster().namesrv_addr())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let queues = loop {
        match instance.subscribe_queues(topic).await {
            Ok(queues) => break queues,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let reader = LitePullConsumer::builder("test_reader")
        .auto_commit(None)
        .start_on(&instance)
        .await
        .unwrap();
    reader.assign(&queues).await.unwrap();
    let mut left = 0;
    for queue in &queues {
        reader.seek_to_begin(queue).await.unwrap();
        left += instance.max_offset(queue).await.unwrap().get();
    }
    let mut found = Vec::new();
    while (found.len() as u64) < left {
        found.extend(reader.poll(Duration::from_secs(1)).await);
    }
    reader.shutdown().await;
    let mut read: Vec<(MessageExt, Value)> = found
        .into_iter()
        .map(|message| {
            let value = serde_json::from_slice(message.body()).unwrap_or(Value::Null);
            (message, value)
        })
        .collect();
    let id = |(message, value): &(MessageExt, Value)| match message.get("id") {
        Some(id) => id.parse().unwrap(),
        None => value["id"].as_u64().unwrap(),
    };
    read.sort_by_key(id);
    read
}

/// Waits until copies of tables are through: only then changes of theirs are written.
pub async fn copied(stage: &Stage, topic: &str, tables: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let ends = read(stage, topic).await;
        let ended = ends
            .iter()
            .filter(|(m, _)| m.get("snapshot").is_some_and(|s| s.ends_with("/end")));
        if ended.count() >= tables {
            return;
        }
        assert!(Instant::now() < deadline, "no copy within 30 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
