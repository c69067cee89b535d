//! What the binlog relay writes, judged by readers that are not ours: RocketMQ's own Java client takes the messages out of the topic, and Flink SQL makes tables of
//! them with its format `canal-json`. The tables must be those of the source.

#![allow(clippy::disallowed_methods)]

use binlog_relay_stage::{Mysql, Stage};
use mq_cluster::{Programs, free_port};
use mq_interop::flink::{Flink, Row, Table};
use mq_interop::java::JavaClient;
use mq_interop::run::Run;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// In the tables before the relay comes: the copy has to bring them.
const BEFORE: &str = r#"
SET time_zone = '+00:00';
CREATE DATABASE shop; USE shop;
CREATE TABLE orders (
  id INT PRIMARY KEY, customer BIGINT UNSIGNED, name VARCHAR(50), note TEXT CHARACTER SET gbk, amount DECIMAL(12,2), rate DECIMAL(30,20), weight DOUBLE, score FLOAT,
  qty SMALLINT, flag BOOL, ordered DATETIME(3), changed TIMESTAMP(6) NULL, due DATE, until_time TIME, colour ENUM('red', 'green'), old INT, extra JSON);
INSERT INTO orders VALUES
  (1, 18446744073709551615, 'quotes "double" and ''single'' \\ back', '你好', -0.01, 0.00000000000000000001, 0.1, 0.1, -32768, 1, '2026-11-28 01:02:03.450',
   '2026-11-28 01:02:03.000001', '2026-02-28', '23:59:59', 'green', 1, '{"a": [1, "x"], "id": 7}'),
  (2, 0, '', '', 0, 0, -1e300, -1e30, 0, 0, '1000-01-01', '1970-01-01 00:00:01', '9999-12-31', '00:00:00', 'red', 0, '[]'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, 4, 'tab	new
line', 'a', 9999999999.99, -9999999999.99999999999999999999, 4, 4, 32767, 1, '2026-03-29 02:30:00', '2026-03-29 02:30:00', '2024-02-29', '12:00:00', 'red', 4, 'null'),
  (5, 5, '😀 ünï 漢字', '漢', 5.50, 5.5, 5.5, 5.5, 5, 0, '2026-11-28 00:00:00', '2038-01-19 03:14:07.999999', '1000-01-01', '05:05:05', 'green', 5, '"text"'),
  (6, 6, 'null', 'null', 6, 6, 6, 6, 6, 0, '2026-11-28 00:00:00', '2026-11-28 00:00:00', '2026-11-28', '06:06:06', 'green', 6, '{}');
CREATE TABLE items (orders_id BIGINT UNSIGNED, sku VARCHAR(20), qty INT, PRIMARY KEY (orders_id, sku));
INSERT INTO items VALUES (18446744073709551615, 'a"b', 1), (1, 'ä', 2), (1, 'b', NULL), (2, 'c', 4);
"#;

/// Under the relay.
const CHANGES: &str = r#"
SET time_zone = '+00:00';
USE shop;
INSERT INTO orders (id, name, amount) VALUES (7, 'seven', 7.70), (8, NULL, NULL), (9, 'nine', 9), (10, 'ten', 10), (11, 'eleven', 11), (12, 'twelve', 12);
-- NULL becomes a value, a value becomes NULL; one column, several columns; the column that is called as a field of the messages.
UPDATE orders SET name = 'was null' WHERE id = 3;
UPDATE orders SET name = NULL, old = NULL WHERE id = 4;
UPDATE orders SET customer = 3, note = '新', amount = 3.33, rate = 1.5, weight = 3.25, score = 0.3, qty = 3, flag = 1, ordered = '2026-11-28 12:00:00.001',
  changed = '2026-11-28 12:00:00.000003', due = '2026-12-24', until_time = '03:03:03', colour = 'red', old = 3, extra = '{"n": null}' WHERE id = 3;
-- Several rows of one statement, of which different columns change, from and to NULL.
UPDATE orders SET note = IF(id % 2, NULL, CONCAT('n', id)), qty = IF(id % 3, qty, id), amount = IF(id = 8, 8.80, amount) WHERE id < 13;
UPDATE orders SET old = IF(id < 6, NULL, id), flag = IF(id < 6, flag, NULL);
-- Keys change, also into one that was just left, and one row takes the place of another.
UPDATE orders SET id = 100 WHERE id = 1;
UPDATE orders SET id = 1, name = 'moved' WHERE id = 2;
UPDATE items SET sku = 'ö', qty = 20 WHERE orders_id = 1 AND sku = 'ä';
UPDATE items SET sku = 'ä' WHERE orders_id = 1 AND sku = 'b';
UPDATE items SET sku = 'C' WHERE sku = 'c';
DELETE FROM orders WHERE id IN (5, 9);
INSERT INTO orders (id, name) VALUES (5, 'again');
REPLACE INTO orders (id, name) VALUES (6, 'replaced');
INSERT INTO items VALUES (1, 'ä', 7) ON DUPLICATE KEY UPDATE qty = 99;
-- A definition in between is a message of another tag.
ALTER TABLE orders ADD COLUMN later VARCHAR(10) AFTER id;
UPDATE orders SET later = 'l' WHERE id IN (100, 7);
BEGIN; DELETE FROM items; INSERT INTO items VALUES (1, 'one', 1), (2, 'two', 2); SAVEPOINT s; INSERT INTO items VALUES (3, 'undone', 3); ROLLBACK TO s;
UPDATE items SET qty = NULL WHERE orders_id = 2; COMMIT;
"#;

const ORDERS: Table<'static> = Table {
    name: "orders",
    columns: "id INT, later STRING, customer DECIMAL(20, 0), name STRING, note STRING, amount DECIMAL(12, 2), rate DECIMAL(30, 20), weight DOUBLE, score FLOAT, \
              qty SMALLINT, flag TINYINT, ordered TIMESTAMP(3), changed TIMESTAMP(6), due DATE, until_time TIME, colour INT, `old` INT, extra STRING",
    key: &["id"],
};
const ITEMS: Table<'static> = Table {
    name: "items",
    columns: "orders_id DECIMAL(20, 0), sku STRING, qty INT",
    key: &["orders_id", "sku"],
};

/// The relay as its users start it. Killed when dropped.
struct Relay {
    child: Child,
    program: std::path::PathBuf,
    settings: std::path::PathBuf,
}

impl Relay {
    fn start(stage: &Stage, source: &Mysql) -> Relay {
        let program = Programs::find().unwrap().mqbroker.with_file_name("binlog-relay");
        let settings = stage.folder().join("relay.toml");
        let text = format!(
            "name = 'judged'\nhttp = '127.0.0.1:{}'\nsource.url = '{}'\nqueue.namesrv = '{}'\ntables = [{{ tables = 'shop\\..*', topic = 'shop', queues = 3 }}]\n",
            free_port().unwrap(),
            source.url(),
            stage.cluster().namesrv_addr()
        );
        std::fs::write(&settings, text).unwrap();
        let log = std::fs::File::create(stage.folder().join("relay.log")).unwrap();
        let child = Command::new(&program)
            .args(["run", "-c"])
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "run {}: {error}; cargo build --release -p binlog-relay builds it",
                    program.display()
                )
            });
        Relay {
            child,
            program,
            settings,
        }
    }

    /// Waits until its status has all of this.
    fn await_status(&mut self, wanted: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let asked = Command::new(&self.program)
                .args(["status", "-c"])
                .arg(&self.settings)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&asked.stdout).replace([' ', '\n'], "");
            if wanted.iter().all(|part| said.contains(part)) {
                return;
            }
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "the relay has ended; its log is relay.log"
            );
            assert!(Instant::now() < deadline, "{wanted:?} within 30 s: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until all that the source has executed is in the queue.
    fn through(&mut self, source: &Mysql) {
        let executed = source.run("SELECT @@GLOBAL.gtid_executed").unwrap();
        self.await_status(&[&format!("\"gtids\":\"{}\"", executed.trim()), "\"snapshot\":{}"]);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn java_reads_the_messages_and_flink_makes_the_tables() {
    let (java, flink) = (JavaClient::prepare("5.3.3").unwrap(), Flink::prepare().unwrap());
    let began = Instant::now();
    let stage = Stage::start(1).unwrap();
    let source = stage.mysql("source", &[]).unwrap();
    source.run(BEFORE).unwrap();
    let mut relay = Relay::start(&stage, &source);
    relay.await_status(&["\"state\":\"active\"", "\"copied\":10", "\"snapshot\":{}"]);
    source.run(CHANGES).unwrap();
    relay.through(&source);

    let bodies = stage.folder().join("bodies.json");
    let mut command = java.command(stage.folder());
    command.env("BODIES_TOPIC", "shop").env("BODIES_FILE", &bodies);
    let mut run = Run::start(command, &stage.cluster().namesrv_addr(), &["bodies"]).unwrap();
    run.must_pass(&["bodies"], Duration::from_secs(120)).unwrap();
    println!("  read after {} s", began.elapsed().as_secs());

    let mut tables = flink.final_rows(&bodies, &[ORDERS, ITEMS]).unwrap();
    for table in [ORDERS, ITEMS] {
        let columns = columns_of(&source, table.name);
        let mut got = tables.remove(table.name).unwrap_or_default();
        let mut wanted = rows_of(&source, table.name, &columns);
        // The first column is a key, and its text is the same on both sides.
        got.sort();
        wanted.sort();
        assert_eq!(
            got.len(),
            wanted.len(),
            "{}: {got:#?}, at the source {wanted:#?}",
            table.name
        );
        for (got, wanted) in got.iter().zip(&wanted) {
            for (((name, kind), cell), wanted) in columns.iter().zip(got).zip(wanted) {
                let same = match kind.as_str() {
                    // Flink writes 1.0E30.
                    "float" | "double" => number(cell) == number(wanted),
                    _ => cell == wanted,
                };
                assert!(
                    same,
                    "{}.{name}: {cell:?}, at the source {wanted:?}, in {got:?}",
                    table.name
                );
            }
        }
        println!("  {}: {} rows are equal", table.name, got.len());
    }
    println!("  judged after {} s", began.elapsed().as_secs());
}

fn number(text: &Option<String>) -> Option<f64> {
    text.as_ref().map(|text| text.parse().unwrap())
}

/// Names and types.
fn columns_of(source: &Mysql, table: &str) -> Vec<(String, String)> {
    let listed = source
        .run(&format!(
            "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
        ))
        .unwrap();
    let pair = |line: &str| {
        line.split_once('\t')
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
    };
    listed.lines().filter_map(pair).collect()
}

/// The source's rows, as texts.
fn rows_of(source: &Mysql, table: &str, columns: &[(String, String)]) -> Vec<Row> {
    let text = |(name, kind): &(String, String)| {
        // Of an ENUM the messages have the index.
        let value = if kind == "enum" {
            format!("`{name}` + 0")
        } else {
            format!("`{name}`")
        };
        format!("IFNULL(HEX(CONVERT(CAST({value} AS CHAR) USING utf8mb4)), '-')")
    };
    let texts: Vec<String> = columns.iter().map(text).collect();
    let rows = source
        .run(&format!(
            "SET time_zone = '+00:00'; SELECT {} FROM shop.{table}",
            texts.join(", ")
        ))
        .unwrap();
    let value = |digits: &str| {
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (digits != "-").then(|| String::from_utf8((0..digits.len()).step_by(2).map(byte).collect()).unwrap())
    };
    rows.lines().map(|line| line.split('\t').map(value).collect()).collect()
}
