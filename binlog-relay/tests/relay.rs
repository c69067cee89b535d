//! The relay against a real MySQL server and a real broker: what it writes, what it hides, and what it refuses.
#![allow(clippy::disallowed_methods)]

mod running;

use binlog_relay_stage::Stage;
use mq_client::MessageExt;
use running::{Running, copied, read};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Waits for a relay to stop by itself, and answers what it says.
async fn refusal(relay: Running, within: Duration) -> String {
    let ended = tokio::time::timeout(within, relay.task)
        .await
        .expect("the relay goes on");
    format!("{:#}", ended.unwrap().expect_err("the relay ended without an error"))
}

const RULES: &str = r"
[[tables]]
tables = 'shop\..*'
topic = 'all'
queues = 3
exclude = 'internal'
mask = [{ columns = 'phone', with = 'hash', salt = 'a long enough salt' }, { columns = 'pin', with = 'stars' }]
";

#[tokio::test(flavor = "multi_thread")]
async fn rows_keys_definitions_and_secrets() {
    let stage = Stage::start(1).unwrap();
    let source = stage.mysql("source", &[]).unwrap();
    source
        .run(
            "CREATE DATABASE shop;
             CREATE TABLE shop.users (id INT UNSIGNED PRIMARY KEY, name VARCHAR(30), phone VARCHAR(30), pin CHAR(8), internal INT);
             INSERT INTO shop.users VALUES (1, 'before \"it\"', 'PHONE-8761-SECRET', 'PIN-4421', 5);
             CREATE TABLE shop.loose (a INT, b VARCHAR(9)); INSERT INTO shop.loose VALUES (1, 'x'), (1, 'x');",
        )
        .unwrap();
    let relay = Running::start(&stage, &source, "written", RULES).await;
    copied(&stage, "all", 2 * 3).await;
    source
        .run(
            "USE shop; INSERT INTO users VALUES (2, 'MARKER-IN-THE-CLEAR', 'PHONE-8761-SECRET', 'PIN-4421', 6), (3, NULL, NULL, NULL, NULL);
             UPDATE users SET name = 'after', phone = 'PHONE-9999-SECRET' WHERE id = 2;
             UPDATE users SET id = 7 WHERE id = 3;
             DELETE FROM users WHERE id = 1;
             UPDATE loose SET b = 'y' LIMIT 1;
             ALTER TABLE users ADD COLUMN extra INT DEFAULT 4;
             BEGIN; INSERT INTO users (id, name) VALUES (20, 'kept'); SAVEPOINT s; INSERT INTO users (id, name) VALUES (21, 'undone'); ROLLBACK TO s; COMMIT;
             SET SESSION binlog_transaction_compression = ON; INSERT INTO users (id, name) VALUES (30, 'zstd'), (31, 'zstd'); SET SESSION binlog_transaction_compression = OFF;
             CREATE TABLE copy SELECT id, name FROM users WHERE id >= 30;
             TRUNCATE TABLE loose;
             CREATE TABLE big (id INT PRIMARY KEY, body LONGTEXT); INSERT INTO big VALUES (1, REPEAT('0123456789', 700000));
             INSERT INTO users (id, name) VALUES (40, 'last')",
        )
        .unwrap();
    relay.through(&source).await;
    let metrics = relay.status.to_prometheus();
    let status = relay.status.to_json().to_string();
    relay.end().await;
    // A transaction with a tag, and a relay that goes on behind one.
    source
        .run("SET gtid_next = 'AUTOMATIC:night'; INSERT INTO shop.users (id, name) VALUES (50, 'tagged'); SET gtid_next = 'AUTOMATIC'")
        .unwrap();
    let relay = Running::start(&stage, &source, "written", RULES).await;
    relay.through(&source).await;
    relay.end().await;
    let relay = Running::start(&stage, &source, "written", RULES).await;
    source
        .run("INSERT INTO shop.users (id, name) VALUES (51, 'after it')")
        .unwrap();
    relay.through(&source).await;
    relay.end().await;
    let all = read(&stage, "all").await;
    let ids: Vec<u64> = all
        .iter()
        .map(|(m, v)| {
            m.get("id")
                .map_or_else(|| v["id"].as_u64().unwrap(), |id| id.parse().unwrap())
        })
        .collect();
    assert_eq!(ids, (1..=all.len() as u64).collect::<Vec<_>>());
    let tagged = |tag: &'static str| all.iter().filter(move |(m, _)| m.tag() == Some(tag));
    let of = |kind: &'static str, table: &'static str| -> Vec<&(MessageExt, Value)> {
        tagged(kind).filter(|(_, v)| v["table"] == table).collect()
    };

    // The copy, then the changes.
    let (first, copied) = of("INSERT", "users")[0];
    assert_eq!(first.get("snapshot"), Some("users/1"));
    assert_eq!(copied["data"][0]["name"], "before \"it\"");
    assert_eq!(copied["pkNames"], serde_json::json!(["id"]));
    assert_eq!(copied["mysqlType"]["id"], "int unsigned");
    assert_eq!(copied["sqlType"]["name"], 12);
    assert!(copied["data"][0].get("internal").is_none() && copied["mysqlType"].get("internal").is_none());
    assert_eq!(copied["data"][0]["pin"], "****");
    let hashed = copied["data"][0]["phone"].as_str().unwrap();
    assert_eq!(hashed.len(), 32);
    let rows: Vec<&Value> = of("INSERT", "users")
        .iter()
        .flat_map(|(_, v)| v["data"].as_array().unwrap())
        .collect();
    let row = |id: &str| {
        *rows
            .iter()
            .find(|row| row["id"] == id)
            .unwrap_or_else(|| panic!("no row {id}"))
    };
    assert_eq!(row("2")["phone"], hashed, "the same value must give the same hash");
    assert_eq!(row("3")["phone"], Value::Null);
    assert_eq!(row("20")["extra"], "4");
    for id in ["50", "51"] {
        assert_eq!(rows.iter().filter(|row| row["id"] == id).count(), 1, "row {id}");
    }
    assert!(
        rows.iter().all(|row| row["id"] != "21"),
        "what was rolled back is there"
    );
    assert_eq!(
        (&row("30")["name"], &row("31")["name"]),
        (&Value::from("zstd"), &Value::from("zstd"))
    );
    let update = &of("UPDATE", "users")[0].1;
    assert_eq!(update["old"][0]["name"], "MARKER-IN-THE-CLEAR");
    assert_eq!(update["old"][0]["phone"], hashed);
    assert_eq!(
        update["old"][0].as_object().unwrap().len(),
        2,
        "only what changed is old"
    );
    // A key change: each half in the queue of its key, naming the other.
    let gone = of("DELETE", "users");
    let gone = gone.iter().find(|(m, _)| m.get("keyTo").is_some()).unwrap();
    assert_eq!(
        (gone.0.get("keyTo"), &gone.1["data"][0]["id"]),
        (Some("[\"7\"]"), &Value::from("3"))
    );
    let come = of("INSERT", "users");
    let come = come.iter().find(|(m, _)| m.get("keyFrom").is_some()).unwrap();
    assert_eq!(
        (come.0.get("keyFrom"), &come.1["data"][0]["id"]),
        (Some("[\"3\"]"), &Value::from("7"))
    );
    for (message, value) in tagged("INSERT").chain(tagged("DELETE")).chain(tagged("UPDATE")) {
        for data in value["data"].as_array().unwrap() {
            let mut key = Vec::new();
            if value["pkNames"] != Value::Null {
                binlog_relay::route::put_key_part(&mut key, data["id"].as_str().unwrap().as_bytes());
            }
            let wanted = if key.is_empty() {
                0
            } else {
                binlog_relay::route::queue_of(&key, 3)
            };
            assert_eq!(message.queue().queue_id.get(), wanted, "{value}");
        }
    }
    // Without a key everything is in queue 0.
    assert_eq!(of("UPDATE", "loose")[0].1["old"][0]["b"], "x");
    // Definitions are in every queue, the same barrier in each.
    for kind in ["ALTER", "TRUNCATE"] {
        let copies: Vec<_> = tagged("DDL").filter(|(_, v)| v["type"] == kind).collect();
        let queues: std::collections::BTreeSet<u32> = copies.iter().map(|(m, _)| m.queue().queue_id.get()).collect();
        assert_eq!((copies.len(), queues.len()), (3, 3), "{kind}");
        assert!(
            copies
                .iter()
                .all(|(m, _)| m.get("barrier") == copies[0].0.get("barrier"))
        );
    }
    assert_eq!(of("INSERT", "copy").len(), 1, "rows of CREATE … SELECT");
    // A row of 7 MB travels in pieces.
    let pieces: Vec<_> = tagged("PIECE").collect();
    assert_eq!(pieces.len(), 3);
    let whole: Vec<u8> = pieces.iter().flat_map(|(m, _)| m.body().to_vec()).collect();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(whole["data"][0]["body"].as_str().unwrap().len(), 7_000_000);
    assert_eq!(pieces[0].0.get("piece"), Some("1/3"));

    // What is masked or excluded is on no disk but the source's own, and in no metric; what is not masked is found by the same search.
    let places = vec![stage.folder().join("cluster"), stage.folder().join("written.toml")];
    assert!(found_in(&places, b"MARKER-IN-THE-CLEAR"));
    for secret in ["PHONE-8761-SECRET", "PHONE-9999-SECRET", "PIN-4421"] {
        assert!(!found_in(&places, secret.as_bytes()), "{secret} is on a disk");
        assert!(!metrics.contains(secret) && !status.contains(secret));
    }
}

fn found_in(places: &[std::path::PathBuf], wanted: &[u8]) -> bool {
    let mut left = places.to_vec();
    while let Some(place) = left.pop() {
        if place.is_dir() {
            left.extend(std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else if std::process::Command::new("grep")
            .args(["-qaF", std::str::from_utf8(wanted).unwrap()])
            .arg(&place)
            .status()
            .unwrap()
            .success()
        {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_or_lost_stops_it_loudly() {
    let stage = Stage::start(1).unwrap();
    let source = stage.mysql("source", &[]).unwrap();
    let within = Duration::from_secs(10);
    source
        .run("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(20), j JSON); INSERT INTO shop.t VALUES (1, 'a', '{\"a\": 1, \"b\": \"long enough to be worth a diff\"}')")
        .unwrap();
    let rules = r"tables = [{ tables = 'shop\..*' }]
        snapshot.initial = false";
    // In the stream: each names the transaction, and what to do.
    let cases = [
        (
            "SET SESSION binlog_format = 'STATEMENT'; UPDATE shop.t SET v = 's'",
            "statement format",
        ),
        (
            "SET SESSION binlog_row_image = 'MINIMAL'; UPDATE shop.t SET v = 'm'",
            "binlog_row_image",
        ),
        (
            "XA START 'x'; INSERT INTO shop.t VALUES (50, 'x', NULL); XA END 'x'; XA PREPARE 'x'; XA ROLLBACK 'x'",
            "XA",
        ),
        (
            "SET SESSION binlog_row_value_options = 'PARTIAL_JSON'; UPDATE shop.t SET j = JSON_SET(j, '$.a', 2)",
            "JSON",
        ),
    ];
    for (n, (sql, wanted)) in cases.iter().enumerate() {
        let relay = Running::start(&stage, &source, &format!("refuses{n}"), rules).await;
        source.run(sql).unwrap();
        let said = refusal(relay, within).await;
        assert!(
            said.contains(wanted) && said.contains("Nothing was skipped"),
            "{sql}: {said}"
        );
    }
    // At the start: what is missing, as SQL.
    source.run("SET GLOBAL binlog_row_image = 'MINIMAL'").unwrap();
    let said = refusal(Running::spawn(&stage, &source.url(), "unready", rules), within).await;
    assert!(said.contains("SET PERSIST binlog_row_image = 'FULL'"), "{said}");
    source
        .run("SET GLOBAL binlog_row_image = 'FULL'; CREATE USER 'poor'@'%' IDENTIFIED BY 'poor'; GRANT SELECT ON shop.* TO 'poor'@'%'")
        .unwrap();
    let said = refusal(
        Running::spawn(&stage, &source.url_as("poor", "poor"), "poor", rules),
        within,
    )
    .await;
    assert!(said.contains("GRANT REPLICATION SLAVE ON *.* TO 'poor'@'%'"), "{said}");
    // While it runs: a grant is taken away.
    source.run("GRANT REPLICATION SLAVE ON *.* TO 'poor'@'%'").unwrap();
    let relay = Running::spawn(&stage, &source.url_as("poor", "poor"), "revoked", rules);
    let deadline = Instant::now() + within;
    while relay.status.to_json()["state"] != "active" {
        assert!(
            !relay.task.is_finished() && Instant::now() < deadline,
            "the relay does not start"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    source.run("REVOKE REPLICATION SLAVE ON *.* FROM 'poor'@'%'").unwrap();
    let said = refusal(relay, within).await;
    assert!(said.contains("GRANT REPLICATION SLAVE"), "{said}");
    // While it was away its binlog was purged.
    let relay = Running::start(&stage, &source, "purged", rules).await;
    source.run("INSERT INTO shop.t VALUES (60, 'p', NULL)").unwrap();
    relay.through(&source).await;
    relay.end().await;
    source
        .run("INSERT INTO shop.t VALUES (61, 'p', NULL); FLUSH BINARY LOGS; INSERT INTO shop.t VALUES (62, 'p', NULL); FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE '2100-01-01'")
        .unwrap();
    let said = refusal(Running::spawn(&stage, &source.url(), "purged", rules), within).await;
    assert!(said.contains("purged") && said.contains("--copy-again"), "{said}");
    // The server's history was reset under it.
    let relay = Running::start(&stage, &source, "reset", rules).await;
    source.run("INSERT INTO shop.t VALUES (70, 'r', NULL)").unwrap();
    relay.through(&source).await;
    source.run("RESET BINARY LOGS AND GTIDS").unwrap();
    let said = refusal(relay, within).await;
    assert!(said.contains("--copy-again"), "{said}");
}

/// What rows a table without a key has after all messages, as the source's own text of them.
fn rows_without_key(messages: &[(MessageExt, Value)]) -> Vec<String> {
    let text = |row: &Value| format!("{}\t{}", row["a"].as_str().unwrap(), row["b"].as_str().unwrap());
    let mut rows: Vec<String> = Vec::new();
    let remove = |rows: &mut Vec<String>, gone: &str| {
        let place = rows
            .iter()
            .position(|row| row == gone)
            .unwrap_or_else(|| panic!("{gone} goes, and was not there"));
        rows.swap_remove(place);
    };
    for (message, value) in messages {
        if message.get("snapshot").is_some_and(|mark| mark.ends_with("/begin")) {
            rows.clear();
        }
        let data = value["data"].as_array().map_or(&[][..], Vec::as_slice);
        for (n, row) in data.iter().enumerate() {
            match value["type"].as_str().unwrap() {
                "INSERT" => rows.push(text(row)),
                "DELETE" => remove(&mut rows, &text(row)),
                _ => {
                    let mut before = row.clone();
                    for (name, old) in value["old"][n].as_object().unwrap() {
                        before[name] = old.clone();
                    }
                    remove(&mut rows, &text(&before));
                    rows.push(text(row));
                }
            }
        }
    }
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_without_a_key_and_a_source_that_falls_silent() {
    let stage = Stage::start(1).unwrap();
    let source = stage.mysql("source", &[]).unwrap();
    source
        .run(
            "CREATE DATABASE shop; CREATE TABLE shop.loose (a INT, b VARCHAR(9));
             INSERT INTO shop.loose VALUES (1, 'x'), (1, 'x'), (2, 'y');
             CREATE TABLE shop.money (amount DECIMAL(30,10) PRIMARY KEY);
             INSERT INTO shop.money WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
               SELECT 12345678901234567890.0000000001 + i * 0.0000000001 FROM n",
        )
        .unwrap();
    let rules = r"
        snapshot.chunk_rows = 3
        tables = [{ tables = 'shop\..*' }]";
    let relay = Running::start(&stage, &source, "loose", rules).await;
    // It changes all the time while it is to be copied, and for a while the copy has to wait.
    for n in 0..40 {
        source.run(&format!("INSERT INTO shop.loose VALUES ({n}, 'new'); UPDATE shop.loose SET b = 'z' WHERE a = 1 LIMIT 1; DELETE FROM shop.loose WHERE a = 2 LIMIT 1")).unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    copied(&stage, "shop_loose", 4).await;
    source.run("INSERT INTO shop.loose VALUES (99, 'last')").unwrap();
    relay.through(&source).await;
    let wanted: Vec<String> = {
        let mut rows: Vec<String> = source
            .run("SELECT a, b FROM shop.loose")
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        rows.sort();
        rows
    };
    assert_eq!(rows_without_key(&read(&stage, "shop_loose").await), wanted);
    // Keys that differ only behind the digits of a DOUBLE.
    let money = read(&stage, "shop_money").await;
    let amounts: std::collections::BTreeSet<&str> = money
        .iter()
        .flat_map(|(_, v)| v["data"].as_array().into_iter().flatten())
        .map(|row| row["amount"].as_str().unwrap())
        .collect();
    assert_eq!(amounts.len(), 50, "rows of a DECIMAL key");

    // Frozen: sockets stay open and silent.
    source.signal(rustix::process::Signal::STOP).unwrap();
    let frozen = Instant::now();
    while relay.status.to_json()["state"] != "connecting" {
        assert!(frozen.elapsed() < Duration::from_secs(8), "silence is not noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    source.signal(rustix::process::Signal::CONT).unwrap();
    source.run("INSERT INTO shop.loose VALUES (100, 'awake')").unwrap();
    relay.through(&source).await;
    relay.end().await;
}
