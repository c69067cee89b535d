//! A relay played by hand: writes messages as `docs/binlog-topics.md` describes them, through a real cluster.

use anyhow::Result;
use binlog_relay::mirror::{self, MirrorOptions, StatusHandle};
use binlog_relay_stage::{Mysql, Stage};
use mq_base::env::{clock, task};
use mq_base::stop::StopSource;
use mq_client::{AtomicBatch, AtomicProducer, ClientConfig, ClientInstance, Message, TopicSpec};
use mq_message::QueueId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Queues of each topic of rows.
pub const QUEUES: u32 = 3;

/// The relay.
pub struct Hand {
    pub instance: ClientInstance,
    pub relay: String,
    broker: String,
    producer: AtomicProducer,
    next: u64,
    barriers: u64,
    transactions: u64,
    topics: Vec<String>,
}

/// Messages of one atomic batch.
pub struct Batch<'h> {
    hand: &'h mut Hand,
    messages: Vec<(Message, QueueId)>,
    counts: BTreeMap<(String, u32), u64>,
}

impl Hand {
    pub async fn new(stage: &Stage, relay: &str) -> Hand {
        let cluster = stage.cluster();
        let instance = ClientInstance::start(ClientConfig::new(&cluster.namesrv_addr())).unwrap();
        let broker = cluster.layout().members[0].group.clone();
        let progress = TopicSpec::new(&format!("{relay}-progress"), 1);
        instance.create_topic(&broker, &progress).await.unwrap();
        Hand {
            producer: AtomicProducer::open(&instance, &broker, relay).await.unwrap(),
            instance,
            relay: relay.to_owned(),
            broker,
            next: 1,
            barriers: 0,
            transactions: 0,
            topics: Vec::new(),
        }
    }

    /// `id` of the last message written.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// The source's transactions so far.
    pub fn gtid(&self) -> String {
        format!("{SOURCE}:1-{}", self.transactions)
    }

    /// A mistake: numbers jump.
    pub fn renumber(&mut self, by: i64) {
        self.next = self.next.saturating_add_signed(by);
    }

    /// A mistake: somebody else writes to the topic of a table, a message that a relay might write.
    pub async fn stray(&mut self, database: &str, table: &str) {
        let mut batch = self.batch();
        for _ in 0..QUEUES {
            batch
                .rows(database, table, rows("DELETE", &["a"], json!([{"a": "1"}])))
                .await;
        }
        let mut messages = batch.messages;
        for (queue, (_, id)) in messages.iter_mut().enumerate() {
            *id = QueueId(queue as u32);
        }
        self.next -= u64::from(QUEUES);
        let batch = AtomicBatch {
            messages,
            ..AtomicBatch::default()
        };
        self.producer.send(batch).await.unwrap();
    }

    /// Begins a batch in a new transaction.
    pub fn batch(&mut self) -> Batch<'_> {
        self.transactions += 1;
        Batch {
            hand: self,
            messages: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// A table from its first moment: a snapshot without rows.
    pub async fn table(&mut self, database: &str, table: &str, sql: &str) {
        let mut batch = self.batch();
        batch.begin(database, table, sql).await;
        batch.send().await;
    }

    async fn topic(&mut self, topic: &str) {
        if !self.topics.iter().any(|known| known == topic) {
            self.instance
                .create_topic(&self.broker, &TopicSpec::new(topic, QUEUES))
                .await
                .unwrap();
            self.topics.push(topic.to_owned());
        }
    }
}

const SOURCE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// Rows of one message.
pub struct Rows<'a> {
    pub kind: &'a str,
    pub data: Value,
    pub old: Value,
    pub key: &'a [&'a str],
    pub hex: &'a [&'a str],
}

pub fn rows<'a>(kind: &'a str, key: &'a [&'a str], data: Value) -> Rows<'a> {
    Rows {
        kind,
        data,
        old: Value::Null,
        key,
        hex: &[],
    }
}

impl Batch<'_> {
    pub async fn rows(&mut self, database: &str, table: &str, rows: Rows<'_>) {
        let queue = match rows.key {
            [] => 0,
            key => {
                key.iter()
                    .map(|name| rows.data[0][name].as_str().unwrap().len() as u32)
                    .sum::<u32>()
                    % QUEUES
            }
        };
        let body = self.body(database, table, &rows);
        let message = Message::new("", body.to_string()).tag(rows.kind);
        self.put(database, table, queue, message).await;
    }

    /// The same rows in pieces of so many bytes.
    pub async fn pieces(&mut self, database: &str, table: &str, rows: Rows<'_>, bytes: usize) -> usize {
        let body = self.body(database, table, &rows).to_string();
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(bytes).collect();
        for (k, piece) in pieces.iter().enumerate() {
            let message = Message::new("", piece.to_vec())
                .tag("PIECE")
                .property("piece", &format!("{}/{}", k + 1, pieces.len()))
                .property("id", &self.hand.next.to_string());
            self.put(database, table, 0, message).await;
        }
        pieces.len()
    }

    fn body(&self, database: &str, table: &str, rows: &Rows<'_>) -> Value {
        let mut body = json!({
            "data": rows.data, "database": database, "es": clock::wall_ms(), "gtid": self.hand.gtid(), "id": self.hand.next, "isDdl": false,
            "mysqlType": {}, "sqlType": {}, "old": rows.old, "sql": "", "table": table, "ts": clock::wall_ms(), "type": rows.kind,
            "pkNames": if rows.key.is_empty() { Value::Null } else { json!(rows.key) },
        });
        if !rows.hex.is_empty() {
            body["hex"] = json!(rows.hex);
        }
        body
    }

    /// A barrier: a copy in every queue.
    pub async fn ddl(&mut self, database: &str, table: &str, kind: &str, sql: &str) {
        self.barrier(database, table, kind, sql, None).await;
    }

    /// A barrier in the topics of two tables, of which the second has one queue.
    pub async fn ddl_of_two(&mut self, database: &str, tables: [&str; 2], kind: &str, sql: &str) {
        self.barrier(database, tables[0], kind, sql, None).await;
        let message = self.copy(database, tables[1], kind, sql, &format!("{}/1", self.hand.barriers));
        self.put(database, tables[1], 0, message).await;
    }

    /// The beginning of a snapshot.
    pub async fn begin(&mut self, database: &str, table: &str, sql: &str) {
        self.barrier(database, table, "CREATE", sql, Some("begin")).await;
    }

    async fn barrier(&mut self, database: &str, table: &str, kind: &str, sql: &str, snapshot: Option<&str>) {
        self.hand.barriers += 1;
        let label = format!("{}/{QUEUES}", self.hand.barriers);
        for queue in 0..QUEUES {
            let mut message = self.copy(database, table, kind, sql, &label);
            if let Some(snapshot) = snapshot {
                message = message.property("snapshot", &format!("{table}/{snapshot}"));
            }
            self.put(database, table, queue, message).await;
        }
    }

    fn copy(&self, database: &str, table: &str, kind: &str, sql: &str, label: &str) -> Message {
        let body = json!({
            "data": null, "database": database, "es": clock::wall_ms(), "gtid": self.hand.gtid(), "id": self.hand.next, "isDdl": true, "mysqlType": null,
            "sqlType": null, "old": null, "pkNames": null, "sql": sql, "table": table, "ts": clock::wall_ms(), "type": kind,
        });
        Message::new("", body.to_string()).tag("DDL").property("barrier", label)
    }

    async fn put(&mut self, database: &str, table: &str, queue: u32, message: Message) {
        let topic = format!("{database}_{table}");
        self.hand.topic(&topic).await;
        // A message cannot change its topic: built again with the same body and properties.
        let mut placed = Message::new(topic.as_str(), message.body().clone());
        if let Some(tag) = message.get("TAGS") {
            placed = placed.tag(tag);
        }
        for name in ["piece", "id", "barrier", "snapshot"] {
            if let Some(value) = message.get(name) {
                placed = placed.property(name, value);
            }
        }
        self.messages.push((placed, QueueId(queue)));
        *self.counts.entry((topic, queue)).or_insert(0) += 1;
        self.hand.next += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub async fn send(self) {
        self.finish(false).await;
    }

    /// Sends it as a part of a transaction that goes on.
    pub async fn send_partial(self) {
        self.finish(true).await;
    }

    async fn finish(self, partial: bool) {
        let hand = self.hand;
        let messages: Vec<_> = self
            .counts
            .iter()
            .map(|((topic, queue), count)| json!([topic, queue, count]))
            .collect();
        let complete = if partial {
            hand.transactions - 1
        } else {
            hand.transactions
        };
        let progress = json!({
            "batch": hand.producer.next_sequence(), "epoch": hand.producer.epoch(), "gtid": format!("{SOURCE}:1-{complete}"),
            "partial": if partial { json!({"gtid": format!("{SOURCE}:{}", hand.transactions), "rows": 1}) } else { Value::Null },
            "messages": messages, "next": hand.next, "es": clock::wall_ms(),
        });
        if partial {
            hand.transactions -= 1;
        }
        let mut messages = self.messages;
        let topic = format!("{}-progress", hand.relay);
        messages.push((Message::new(topic.as_str(), progress.to_string()), QueueId(0)));
        let batch = AtomicBatch {
            messages,
            ..AtomicBatch::default()
        };
        hand.producer.send(batch).await.unwrap();
    }
}

/// A mirror at work.
pub struct Running {
    pub status: StatusHandle,
    stop: StopSource,
    task: task::TaskHandle<Result<()>>,
    failure: Arc<Mutex<String>>,
}

pub fn options(stage: &Stage, server: &Mysql, relay: &str, databases: &[(&str, &str)]) -> MirrorOptions {
    MirrorOptions {
        name: relay.to_owned(),
        relay: relay.to_owned(),
        name_servers: stage.cluster().namesrv_addr(),
        target: server.url(),
        schema: format!("{relay}_position"),
        databases: databases
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect(),
        status: StatusHandle::default(),
    }
}

impl Running {
    pub fn start(options: &MirrorOptions) -> Running {
        let (stop, listener) = StopSource::new();
        let options = MirrorOptions {
            status: StatusHandle::default(),
            ..options.clone()
        };
        let failure = Arc::new(Mutex::new(String::new()));
        let told = failure.clone();
        Running {
            status: options.status.clone(),
            stop,
            failure,
            task: task::spawn("mirror", async move {
                let outcome = mirror::run(options, listener).await;
                if let Err(error) = &outcome {
                    *told.lock().unwrap() = format!("{error:#}");
                }
                outcome
            }),
        }
    }

    /// Waits until the message with this number is applied.
    pub async fn until(&self, id: u64) {
        let deadline = clock::now() + Duration::from_secs(40);
        while self.status.snapshot().applied < id {
            assert!(
                !self.task.is_finished(),
                "the mirror ended: {}",
                self.failure.lock().unwrap()
            );
            assert!(
                clock::now() < deadline,
                "message {id} is not applied: {:?}",
                self.status.snapshot()
            );
            clock::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn stop(self) -> mirror::Status {
        self.stop.stop();
        self.task.join().await.unwrap().unwrap();
        self.status.snapshot()
    }

    /// Ends it at once, as a killed process.
    pub fn kill(self) {
        self.task.abort();
    }

    /// Waits for its end by itself, which must be a failure.
    pub async fn failure(self) -> String {
        let ended = clock::timeout(Duration::from_secs(20), self.task.join()).await;
        format!("{:#}", ended.expect("the mirror goes on").unwrap().unwrap_err())
    }
}
