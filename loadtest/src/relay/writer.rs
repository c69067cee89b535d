//! A changing database: inserts, updates, deletes and key changes at a rate, with a journal of them kept by triggers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, TxOpts};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Tables that are captured, in this schema.
pub const SCHEMA: &str = "shop";
/// Tables whose journal is kept. The second has a key of two columns, one of them a text.
pub const TABLES: [&str; 2] = ["orders", "items"];

/// The key of a row as the journal writes it; also a function for the auditor.
const KEYS: [&str; 2] = ["CAST({}.id AS CHAR)", "CONCAT({}.shop, '/', {}.number)"];

/// How many keys there are to choose from; few enough that keys come again.
const KEY_SPACE: u64 = 4000;

/// Makes the schema, the journal and its triggers.
pub async fn prepare(url: &str) -> Result<()> {
    let mut conn = binlog_relay::mysql::connect(url).await?;
    let mut sql: Vec<String> = vec![
        format!("CREATE DATABASE {SCHEMA}"),
        "CREATE DATABASE audit".into(),
        "CREATE TABLE audit.journal (seq BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, tab TINYINT, k VARCHAR(100) COLLATE utf8mb4_bin, op CHAR(1), mark BIGINT)".into(),
        format!(
            "CREATE TABLE {SCHEMA}.orders (id BIGINT UNSIGNED PRIMARY KEY, user_id INT NOT NULL, amount DECIMAL(10,2), state ENUM('new','paid','sent'),
             note VARCHAR(200), at DATETIME(3), mark BIGINT NOT NULL)"
        ),
        format!(
            "CREATE TABLE {SCHEMA}.items (shop VARCHAR(20) COLLATE utf8mb4_bin, number INT, price FLOAT, flags SET('a','b','c'), body JSON, mark BIGINT NOT NULL,
             PRIMARY KEY (shop, number))"
        ),
    ];
    for (number, table) in TABLES.iter().enumerate() {
        let key = |row: &str| KEYS[number].replace("{}", row);
        let note = |row: &str, op: &str| {
            format!(
                "INSERT INTO audit.journal (tab, k, op, mark) VALUES ({number}, {}, '{op}', {row}.mark)",
                key(row)
            )
        };
        sql.push(format!(
            "CREATE TRIGGER {SCHEMA}.{table}_i AFTER INSERT ON {SCHEMA}.{table} FOR EACH ROW {}",
            note("NEW", "I")
        ));
        sql.push(format!(
            "CREATE TRIGGER {SCHEMA}.{table}_d AFTER DELETE ON {SCHEMA}.{table} FOR EACH ROW {}",
            note("OLD", "D")
        ));
        sql.push(format!(
            "CREATE TRIGGER {SCHEMA}.{table}_u AFTER UPDATE ON {SCHEMA}.{table} FOR EACH ROW
             BEGIN IF {} = {} THEN {}; ELSE {}; {}; END IF; END",
            key("OLD"),
            key("NEW"),
            note("NEW", "U"),
            note("OLD", "D"),
            note("NEW", "I")
        ));
    }
    for statement in sql {
        let short = statement.split('(').next().unwrap_or_default().to_owned();
        conn.query_drop(statement)
            .await
            .with_context(|| format!("prepare the source: {short}"))?;
    }
    Ok(())
}

/// Writers, until stopped.
pub struct Writers {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
    slowest_us: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    /// Starts so many connections that together change about `rate` rows a second.
    pub fn start(url: &str, connections: u64, rate: u64, seed: u64) -> Writers {
        Writers::over(url, connections, rate, seed, KEY_SPACE)
    }

    /// The same over so many keys.
    pub fn over(url: &str, connections: u64, rate: u64, seed: u64, keys: u64) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let changes = Arc::new(AtomicU64::new(0));
        let slowest_us = Arc::new(AtomicU64::new(0));
        let tasks = (0..connections)
            .map(|number| {
                let writer = Writer {
                    url: url.to_owned(),
                    rng: StdRng::seed_from_u64(seed * 1000 + number),
                    number,
                    keys,
                    marks: 0,
                    stop: stop.clone(),
                    changes: changes.clone(),
                    slowest_us: slowest_us.clone(),
                };
                let pause = Duration::from_secs_f64(connections as f64 * 1.25 / rate as f64);
                tokio::spawn(writer.run(pause))
            })
            .collect();
        Writers {
            stop,
            changes,
            slowest_us,
            tasks,
        }
    }

    /// Statements that were carried out.
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// The longest time that one transaction took, while the server was up.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_us.load(Relaxed))
    }

    /// Ends them.
    pub async fn stop(self) {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

struct Writer {
    url: String,
    rng: StdRng,
    number: u64,
    keys: u64,
    marks: i64,
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
    slowest_us: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self, pause: Duration) {
        let mut conn: Option<Conn> = None;
        let mut next = Instant::now();
        while !self.stop.load(Relaxed) {
            next += pause;
            if conn.is_none() {
                conn = binlog_relay::mysql::connect(&self.url).await.ok();
                next = Instant::now() + pause;
            }
            if let Some(open) = &mut conn {
                let begun = Instant::now();
                match self.transaction(open).await {
                    Ok(()) => {
                        self.slowest_us.fetch_max(begun.elapsed().as_micros() as u64, Relaxed);
                    }
                    // Deadlocks and key conflicts are the server's to answer; anything else is a new connection.
                    Err(mysql_async::Error::Server(_)) => {}
                    Err(_) => conn = None,
                }
            }
            tokio::time::sleep_until(next.into()).await;
        }
    }

    async fn transaction(&mut self, conn: &mut Conn) -> mysql_async::Result<()> {
        let mut transaction = conn.start_transaction(TxOpts::default()).await?;
        let mut changes = 0;
        for _ in 0..self.rng.random_range(1..=3) {
            let sql = self.statement();
            transaction.query_drop(sql).await?;
            changes += transaction.affected_rows();
        }
        if self.rng.random_ratio(1, 50) {
            return transaction.rollback().await;
        }
        transaction.commit().await?;
        self.changes.fetch_add(changes, Relaxed);
        Ok(())
    }

    fn statement(&mut self) -> String {
        self.marks += 1;
        let mark = self.marks * 1000 + self.number as i64;
        let key = self.rng.random_range(0..self.keys);
        let other = self.rng.random_range(0..self.keys);
        let dice = self.rng.random_range(0..100);
        if self.rng.random_bool(0.5) {
            let note =
                ["plain", "grüße \\\"x\\\"", "tab\\there", "日本語", "line\\nbreak"][self.rng.random_range(0..5)];
            match dice {
                0..35 => format!(
                    "INSERT INTO {SCHEMA}.orders VALUES ({key}, {}, {}.{:02}, '{}', '{note}', NOW(3), {mark})
                     ON DUPLICATE KEY UPDATE note = VALUES(note), at = VALUES(at), mark = VALUES(mark)",
                    key % 97,
                    key % 1000,
                    mark % 100,
                    ["new", "paid", "sent"][(mark % 3) as usize]
                ),
                35..70 => format!(
                    "UPDATE {SCHEMA}.orders SET amount = amount + 1.01, note = '{note}', mark = {mark} WHERE id = {key}"
                ),
                70..75 => format!(
                    "UPDATE {SCHEMA}.orders SET state = 'sent', mark = {mark} WHERE id BETWEEN {key} AND {}",
                    key + 9
                ),
                75..88 => format!("DELETE FROM {SCHEMA}.orders WHERE id = {key}"),
                _ => format!("UPDATE IGNORE {SCHEMA}.orders SET id = {other}, mark = {mark} WHERE id = {key}"),
            }
        } else {
            let (shop, number) = (["Süd", "nord", "West"][(key % 3) as usize], key / 3);
            match dice {
                0..35 => format!(
                    "INSERT INTO {SCHEMA}.items VALUES ('{shop}', {number}, {}, 'a,c', '{{\\\"n\\\": {key}}}', {mark})
                     ON DUPLICATE KEY UPDATE price = VALUES(price), mark = VALUES(mark)",
                    key as f64 / 3.0
                ),
                35..75 => format!(
                    "UPDATE {SCHEMA}.items SET price = price * 1.1, mark = {mark} WHERE shop = '{shop}' AND number = {number}"
                ),
                75..88 => format!("DELETE FROM {SCHEMA}.items WHERE shop = '{shop}' AND number = {number}"),
                _ => format!(
                    "UPDATE IGNORE {SCHEMA}.items SET number = {}, mark = {mark} WHERE shop = '{shop}' AND number = {number}",
                    other / 3
                ),
            }
        }
    }
}
