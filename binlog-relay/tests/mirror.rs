//! The mirror against a real MySQL server, fed by hand through a real cluster.
#![allow(clippy::disallowed_methods)]

mod hand;

use binlog_relay::verify::{self, VerifyOptions};
use binlog_relay_stage::{Mysql, Stage};
use hand::{Hand, Rows, Running, options, rows};
use serde_json::{Value, json};

/// The checksums that MySQL itself computes of the stored rows of both tables.
fn checksums(server: &Mysql, one: &str, other: &str) -> (String, String) {
    let said = server.run(&format!("CHECKSUM TABLE {one}, {other} EXTENDED")).unwrap();
    let mut sums = said
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap_or_default().to_owned());
    (sums.next().unwrap(), sums.next().unwrap())
}

fn assert_equal(server: &Mysql, one: &str, other: &str) {
    let (a, b) = checksums(server, one, other);
    assert!(
        a != "NULL" && a == b,
        "{one} and {other} differ: {a} {b}\n{}",
        server
            .run(&format!("SELECT * FROM {one}; SELECT '---'; SELECT * FROM {other}"))
            .unwrap()
    );
}

/// A table's definition as the server shows it, in the form of messages.
fn definition(server: &Mysql, table: &str) -> String {
    let shown = server.run(&format!("SHOW CREATE TABLE {table}")).unwrap();
    shown.split_once('\t').unwrap().1.trim_end().to_owned()
}

async fn pause(ms: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_kinds_arrive_as_they_were() {
    let stage = Stage::start(1).unwrap();
    let server = stage.mysql("db", &[]).unwrap();
    server
        .run(
            "CREATE DATABASE src; SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00';
             CREATE TABLE src.t (id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT, i8 TINYINT, u24 MEDIUMINT UNSIGNED, u64 BIGINT UNSIGNED, d DECIMAL(65,30), f FLOAT, g DOUBLE,
               bits BIT(64), y YEAR, e ENUM('a','b'), s SET('x','y','z'), day DATE, dt DATETIME(6), ts TIMESTAMP(3) NULL, tm TIME(2),
               v VARCHAR(40), l CHAR(5) CHARACTER SET latin1, u VARCHAR(9) CHARACTER SET ucs2, b BINARY(5), vb VARBINARY(9), bl BLOB, j JSON, p POINT SRID 4326,
               gen INT GENERATED ALWAYS AS (i8 + 1) STORED, virt INT GENERATED ALWAYS AS (i8 + 2), inv INT INVISIBLE DEFAULT 7);
             INSERT INTO src.t (id, i8, u24, u64, d, f, g, bits, y, e, s, day, dt, ts, tm, v, l, u, b, vb, bl, j, p, inv) VALUES
               (0, -128, 16777215, 18446744073709551615, -12345678901234567890123456789012345.123456789012345678901234567890, 0.1, 1.7976931348623157e308,
                18446744073709551615, 0, 0, 5, '2023-02-30', '9999-12-31 23:59:59.999999', '1970-01-01 00:00:01.001', '-838:59:59', 'it''s \\\\ ä\u{1F300}', 'é€',
                _ucs2 x'D8000041', x'6100', x'00FF5C27', x'', '{\"a\": [1, null, \"ü\"]}', ST_GeomFromText('POINT(1 2)', 4326), 9),
               (18446744073709551615, 127, 0, 0, 0, '-0', 5e-324, 0, 2155, 'b', '', '0000-00-00', '2023-00-15 00:00:00', NULL, '838:59:59', '', 'a ',
                'x', x'', x'', NULL, 'null', NULL, NULL),
               (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .unwrap();
    let point = server.run("SELECT HEX(p) FROM src.t WHERE id = 0").unwrap();
    let latin = |hex: &str| -> String {
        let pairs = hex
            .trim()
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        pairs.map(char::from).collect()
    };
    let first = |id: &str, u: &str| {
        json!({"id": id, "i8": "-128", "u24": "16777215", "u64": "18446744073709551615", "d": "-12345678901234567890123456789012345.123456789012345678901234567890",
            "f": "0.1", "g": "1.7976931348623157e308", "bits": "18446744073709551615", "y": "0000", "e": "0", "s": "5", "day": "2023-02-30",
            "dt": "9999-12-31 23:59:59.999999", "ts": "1970-01-01 00:00:01.001", "tm": "-838:59:59.00", "v": "it's \\ ä\u{1F300}", "l": "é€", "u": u,
            "b": "a\0\0\0\0", "vb": "\0\u{ff}\\'", "bl": "", "j": "{\"a\": [1, null, \"ü\"]}", "p": latin(&point), "gen": "-127", "virt": "-126", "inv": "9"})
    };
    let second = json!({"id": "18446744073709551615", "i8": "127", "u24": "0", "u64": "0", "d": "0.000000000000000000000000000000", "f": "-0", "g": "5e-324", "bits": "0",
        "y": "2155", "e": "2", "s": "0", "day": "0000-00-00", "dt": "2023-00-15 00:00:00.000000", "ts": null, "tm": "838:59:59.00", "v": "", "l": "a", "u": "x",
        "b": "\0\0\0\0\0", "vb": "", "bl": null, "j": "null", "p": null, "gen": "128", "virt": "129", "inv": null});
    let mut third = first("2", "");
    for (name, value) in third.as_object_mut().unwrap() {
        if name != "id" {
            *value = Value::Null;
        }
    }
    let mut hand = Hand::new(&stage, "values").await;
    let sql = definition(&server, "src.t");
    let unkeyed = sql
        .replace("AUTO_INCREMENT,", ",")
        .replace(",\n  PRIMARY KEY (`id`)", "");
    let columns = "id, i8, u24, u64, d, f, g, bits, y, e, s, day, dt, ts, tm, v, l, u, b, vb, bl, j, p, inv";
    let unkeyed = unkeyed.replace("TABLE `t`", "TABLE `n`");
    let fill = format!("INSERT INTO src.n ({columns}) SELECT {columns} FROM src.t");
    server
        .run(&format!(
            "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; USE src; {unkeyed}; {fill}"
        ))
        .unwrap();
    hand.table("src", "t", &sql).await;
    hand.table("src", "n", &unkeyed).await;
    let options = options(&stage, &server, "values", &[("src", "copy")]);
    for (table, key) in [("t", &["id"][..]), ("n", &[])] {
        let mut batch = hand.batch();
        let mut odd = rows("INSERT", key, json!([first("0", "D8000041")]));
        odd.hex = &["u"];
        batch.rows("src", table, odd).await;
        batch
            .rows(
                "src",
                table,
                rows("INSERT", key, json!([second.clone(), third.clone()])),
            )
            .await;
        batch.send().await;
    }
    let mirror = Running::start(&options);
    mirror.until(hand.last()).await;
    assert_equal(&server, "src.t", "copy.t");
    assert_equal(&server, "src.n", "copy.n");

    let databases = options.databases.clone();
    let compared = verify::run(&VerifyOptions::new(&server.url(), &server.url(), databases))
        .await
        .unwrap();
    assert!(compared.is_equal() && compared.rows() == 6, "{compared}");

    // The same rows are found again by their values, and by their keys.
    for (table, key) in [("t", &["id"][..]), ("n", &[])] {
        let mut batch = hand.batch();
        let mut odd = rows("UPDATE", key, json!([first("0", "D8000042")]));
        (odd.hex, odd.old) = (&["u"], json!([{"u": "D8000041"}]));
        batch.rows("src", table, odd).await;
        let mut changed = second.clone();
        changed["f"] = json!("0.2");
        let update = Rows {
            old: json!([{"f": "-0"}]),
            ..rows("UPDATE", key, json!([changed]))
        };
        batch.rows("src", table, update).await;
        batch.rows("src", table, rows("DELETE", key, json!([third]))).await;
        batch.send().await;
    }
    for table in ["t", "n"] {
        server.run(&format!("UPDATE src.{table} SET u = _ucs2 x'D8000042' WHERE id = 0; UPDATE src.{table} SET f = 0.2 WHERE i8 = 127; DELETE FROM src.{table} WHERE id = 2")).unwrap();
    }
    mirror.until(hand.last()).await;
    assert_equal(&server, "src.t", "copy.t");
    assert_equal(&server, "src.n", "copy.n");
    let mut batch = hand.batch();
    let mut odd = rows("DELETE", &[], json!([first("0", "D8000042")]));
    odd.hex = &["u"];
    batch.rows("src", "n", odd).await;
    batch.send().await;
    mirror.until(hand.last()).await;
    assert_eq!(
        server.run("SELECT COUNT(*), SUM(id) FROM copy.n").unwrap(),
        "1\t18446744073709551615\n"
    );
    let status = mirror.stop().await;
    assert_eq!(
        (status.unmatched, status.skipped, status.retries),
        (0, 0, 0),
        "{status:?}"
    );
    assert_eq!(status.gtid, hand.gtid());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_in_order_and_barriers_once() {
    let stage = Stage::start(1).unwrap();
    let server = stage.mysql("db", &[]).unwrap();
    let mut hand = Hand::new(&stage, "order").await;
    let options = options(&stage, &server, "order", &[("src", "copy"), ("other", "copy2")]);
    let mirror = Running::start(&options);
    let sql = "CREATE TABLE `t` (`id` int NOT NULL, `v` varchar(20) COLLATE utf8mb4_0900_ai_ci DEFAULT NULL, PRIMARY KEY (`id`), UNIQUE KEY `v` (`v`))";
    hand.table("src", "t", sql).await;

    // Unique values change owners, keys change, and of each key the last change counts.
    let mut batch = hand.batch();
    let key = &["id"][..];
    batch
        .rows(
            "src",
            "t",
            rows(
                "INSERT",
                key,
                json!([{"id": "1", "v": "a"}, {"id": "2", "v": "b"}, {"id": "3", "v": "c"}]),
            ),
        )
        .await;
    batch.send().await;
    mirror.until(hand.last()).await;
    let mut batch = hand.batch();
    for (id, old, new) in [
        ("1", "a", "-"),
        ("2", "b", "a"),
        ("1", "-", "b"),
        ("3", "c", "d"),
        ("3", "d", "C"),
    ] {
        let update = Rows {
            old: json!([{"v": old}]),
            ..rows("UPDATE", key, json!([{"id": id, "v": new}]))
        };
        batch.rows("src", "t", update).await;
    }
    batch
        .rows("src", "t", rows("DELETE", key, json!([{"id": "3", "v": "C"}])))
        .await;
    batch
        .rows("src", "t", rows("INSERT", key, json!([{"id": "30", "v": "C"}])))
        .await;
    batch
        .rows("src", "t", rows("INSERT", key, json!([{"id": "4", "v": "x"}])))
        .await;
    batch
        .rows("src", "t", rows("DELETE", key, json!([{"id": "4", "v": "x"}])))
        .await;
    batch.send().await;
    mirror.until(hand.last()).await;
    let content = |table: &str| server.run(&format!("SELECT * FROM {table} ORDER BY 1")).unwrap();
    assert_eq!(content("copy.t"), "1\tb\n2\ta\n30\tC\n");

    // A key becomes one that its collation takes for the same.
    let mut batch = hand.batch();
    batch
        .begin("src", "ci", "CREATE TABLE ci (k VARCHAR(9) PRIMARY KEY, v INT)")
        .await;
    batch
        .rows("src", "ci", rows("INSERT", &["k"], json!([{"k": "a", "v": "1"}])))
        .await;
    batch.send().await;
    let mut batch = hand.batch();
    batch
        .rows("src", "ci", rows("DELETE", &["k"], json!([{"k": "a", "v": "1"}])))
        .await;
    batch
        .rows("src", "ci", rows("INSERT", &["k"], json!([{"k": "A", "v": "1"}])))
        .await;
    batch.send().await;
    mirror.until(hand.last()).await;
    assert_eq!(
        server.run("SELECT * FROM copy.ci; DROP TABLE copy.ci").unwrap(),
        "A\t1\n"
    );

    // A key that is no text: half of a surrogate pair.
    let mut batch = hand.batch();
    batch
        .begin(
            "src",
            "h",
            "CREATE TABLE h (k VARCHAR(9) CHARACTER SET ucs2 PRIMARY KEY)",
        )
        .await;
    for (kind, k) in [("INSERT", "D800"), ("INSERT", "D801")] {
        let odd = Rows {
            hex: &["k"],
            ..rows(kind, &["k"], json!([{"k": k}]))
        };
        batch.rows("src", "h", odd).await;
    }
    batch.send().await;
    mirror.until(hand.last()).await;
    let mut batch = hand.batch();
    let odd = Rows {
        hex: &["k"],
        ..rows("DELETE", &["k"], json!([{"k": "D800"}]))
    };
    batch.rows("src", "h", odd).await;
    batch.send().await;
    mirror.until(hand.last()).await;
    assert_eq!(
        server.run("SELECT HEX(k) FROM copy.h; DROP TABLE copy.h").unwrap(),
        "D801\n"
    );

    // A transaction in two batches becomes visible as a whole.
    let mut batch = hand.batch();
    batch
        .rows("src", "t", rows("INSERT", key, json!([{"id": "5", "v": "e"}])))
        .await;
    batch.send_partial().await;
    pause(500).await;
    assert_eq!(content("copy.t"), "1\tb\n2\ta\n30\tC\n");
    let mut batch = hand.batch();
    batch
        .rows("src", "t", rows("INSERT", key, json!([{"id": "6", "v": "f"}])))
        .await;
    batch.send().await;
    mirror.until(hand.last()).await;
    assert_eq!(content("copy.t"), "1\tb\n2\ta\n5\te\n6\tf\n30\tC\n");

    // A large row in pieces that two batches hold.
    let large = "ä'\\".repeat(700_000);
    let mut batch = hand.batch();
    batch
        .begin("src", "big", "CREATE TABLE big (id INT PRIMARY KEY, v LONGTEXT)")
        .await;
    let row = |id: &str| rows("INSERT", key, json!([{"id": id, "v": large}]));
    let body = row("1").data.to_string().len();
    let pieces = batch.pieces("src", "big", row("1"), body / 3).await;
    assert!(pieces > 3);
    batch.send().await;
    let mut batch = hand.batch();
    batch
        .rows("src", "big", rows("INSERT", key, json!([{"id": "2", "v": "small"}])))
        .await;
    batch.send().await;
    mirror.until(hand.last()).await;
    assert_eq!(
        server
            .run(&format!("SELECT id, v = '{}' FROM copy.big", "small"))
            .unwrap(),
        "1\t0\n2\t1\n"
    );
    assert_eq!(
        server
            .run("SELECT CHAR_LENGTH(v), v = REPEAT('ä\\'\\\\', 700000) FROM copy.big WHERE id = 1")
            .unwrap(),
        "2100000\t1\n"
    );

    // Statements, among rows of the same batch.
    let mut batch = hand.batch();
    batch
        .rows("src", "t", rows("INSERT", key, json!([{"id": "7", "v": "g"}])))
        .await;
    batch
        .ddl(
            "src",
            "t",
            "ALTER",
            "ALTER TABLE `src`.`t` ADD COLUMN w INT DEFAULT 5, DROP KEY v",
        )
        .await;
    batch
        .rows(
            "src",
            "t",
            rows("INSERT", key, json!([{"id": "8", "v": "g", "w": "6"}])),
        )
        .await;
    batch.ddl("src", "t", "CINDEX", "CREATE INDEX iw ON t (w)").await;
    // The session's default database is none of ours.
    batch.ddl("", "t", "RENAME", "RENAME TABLE src.t TO other.t").await;
    batch
        .rows(
            "other",
            "t",
            rows("DELETE", key, json!([{"id": "30", "v": "C", "w": "5"}])),
        )
        .await;
    batch.ddl("src", "big", "TRUNCATE", "TRUNCATE big").await;
    batch
        .ddl("src", "s", "CREATE", "CREATE TABLE src.s (a INT) START TRANSACTION")
        .await;
    batch
        .rows(
            "src",
            "s",
            rows("INSERT", &[], json!([{"a": "1"}, {"a": "1"}, {"a": "2"}])),
        )
        .await;
    batch.rows("src", "s", rows("DELETE", &[], json!([{"a": "1"}]))).await;
    batch.ddl("src", "v", "QUERY", "CREATE VIEW v AS SELECT 1").await;
    batch
        .ddl("src", "unknown", "ALTER", "ALTER TABLE unknown ADD a INT")
        .await;
    batch
        .rows("src", "unknown", rows("INSERT", &[], json!([{"a": "1"}])))
        .await;
    batch.send().await;
    mirror.until(hand.last()).await;
    assert_eq!(
        content("copy2.t"),
        "1\tb\t5\n2\ta\t5\n5\te\t5\n6\tf\t5\n7\tg\t5\n8\tg\t6\n"
    );
    assert_eq!(content("copy.s"), "1\n2\n");
    assert_eq!(
        server
            .run("SELECT COUNT(*) FROM copy.big; SHOW TABLES FROM copy")
            .unwrap(),
        "0\nbig\ns\n"
    );
    // Two topics have a part in one statement, which runs once.
    let mut batch = hand.batch();
    for (table, v) in [("p", "1"), ("q", "2")] {
        batch
            .begin("src", table, &format!("CREATE TABLE {table} (v INT)"))
            .await;
        batch.rows("src", table, rows("INSERT", &[], json!([{"v": v}]))).await;
    }
    batch
        .ddl_of_two("src", ["p", "q"], "RENAME", "RENAME TABLE p TO x, q TO p, x TO q")
        .await;
    batch.send().await;
    mirror.until(hand.last()).await;
    assert_eq!(
        server
            .run("SELECT v FROM copy.p; SELECT v FROM copy.q; DROP TABLE copy.p, copy.q")
            .unwrap(),
        "2\n1\n"
    );

    let mut batch = hand.batch();
    batch
        .ddl("src", "s", "ERASE", "DROP TABLE IF EXISTS s, nowhere.x")
        .await;
    batch.ddl("other", "t", "ERASE", "DROP DATABASE other").await;
    batch
        .begin("src", "big", "CREATE TABLE `big` (a INT PRIMARY KEY)")
        .await;
    batch.send().await;
    mirror.until(hand.last()).await;
    assert_eq!(
        server
            .run("SHOW TABLES FROM copy; SHOW TABLES FROM copy2; SHOW COLUMNS FROM copy.big")
            .unwrap(),
        "big\na\tint\tNO\tPRI\tNULL\t\n"
    );
    let status = mirror.stop().await;
    assert_eq!(
        (status.unmatched, status.skipped, status.retries),
        (0, 1, 0),
        "{status:?}"
    );

    // What cannot be done stops the mirror with a sentence, and it goes on when somebody has done it.
    let mut batch = hand.batch();
    batch
        .ddl("src", "big", "ALTER", "ALTER TABLE big ADD UNIQUE (nothing)")
        .await;
    batch
        .rows("src", "big", rows("INSERT", &["a"], json!([{"a": "1"}])))
        .await;
    batch.send().await;
    let said = Running::start(&options).failure().await;
    assert!(
        said.contains("Carry it out by hand") && said.contains("nothing"),
        "{said}"
    );
    server
        .run("ALTER TABLE copy.big ADD nothing INT, ADD UNIQUE (nothing)")
        .unwrap();
    let mirror = Running::start(&options);
    mirror.until(hand.last()).await;
    assert_eq!(content("copy.big"), "1\tNULL\n");
    // Tables that are not as at the source are noticed.
    let mut batch = hand.batch();
    batch
        .rows("src", "big", rows("INSERT", &["a"], json!([{"a": "1", "zz": "1"}])))
        .await;
    batch.send().await;
    let said = mirror.failure().await;
    assert!(said.contains("no column zz"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_a_hole_is_refused() {
    let stage = Stage::start(1).unwrap();
    let server = stage.mysql("db", &[]).unwrap();
    for (relay, moved, expected) in [
        ("hole", 1, "does not go on"),
        ("again", -1, "does not go on"),
        ("stray", 0, "somebody else"),
    ] {
        let mut hand = Hand::new(&stage, relay).await;
        let database = format!("src_{relay}");
        let options = options(&stage, &server, relay, &[(&database, relay)]);
        hand.table(&database, "t", "CREATE TABLE t (a INT PRIMARY KEY)").await;
        let mirror = Running::start(&options);
        mirror.until(hand.last()).await;
        if moved == 0 {
            hand.stray(&database, "t").await;
        }
        hand.renumber(moved);
        let mut batch = hand.batch();
        batch
            .rows(&database, "t", rows("INSERT", &["a"], json!([{"a": "1"}])))
            .await;
        batch.send().await;
        let said = mirror.failure().await;
        assert!(said.contains(expected), "{said}");
        let count = server.run(&format!("SELECT COUNT(*) FROM {relay}.t")).unwrap();
        assert_eq!(count, "0\n");
    }
}

/// Number of the mirror's connection, once its statement begins so and is in this state.
async fn connection_in(server: &Mysql, statement: &str, state: &str) -> String {
    for _ in 0..400 {
        let sql = format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '{statement}%' AND STATE LIKE '{state}%'"
        );
        let found = server.run(&sql).unwrap();
        if !found.is_empty() {
            return found.trim().to_owned();
        }
        pause(20).await;
    }
    panic!("nothing waits: {}", server.run("SHOW FULL PROCESSLIST").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_is_carried_out_once_whenever_the_mirror_dies() {
    use mysql_async::prelude::Queryable;
    let stage = Stage::start(1).unwrap();
    let server = stage.mysql("db", &[]).unwrap();
    let mut hand = Hand::new(&stage, "crash").await;
    let options = options(&stage, &server, "crash", &[("src", "copy")]);
    for table in ["a", "b"] {
        hand.table(
            "src",
            table,
            &format!("CREATE TABLE {table} (id INT PRIMARY KEY, v INT)"),
        )
        .await;
        let mut batch = hand.batch();
        batch
            .rows(
                "src",
                table,
                rows(
                    "INSERT",
                    &["id"],
                    json!([{"id": if table == "a" { "1" } else { "2" }, "v": "0"}]),
                ),
            )
            .await;
        batch.send().await;
    }
    hand.table("src", "c", "CREATE TABLE c (v INT)").await;
    let mirror = Running::start(&options);
    mirror.until(hand.last()).await;
    let mut reader = binlog_relay::mysql::connect(&server.url()).await.unwrap();
    let mut locker = binlog_relay::mysql::connect(&server.url()).await.unwrap();

    // Killed before the statement ran: it waits for a reader of the table.
    reader.query_drop("BEGIN").await.unwrap();
    reader.query_drop("SELECT * FROM copy.a").await.unwrap();
    let mut batch = hand.batch();
    batch.rows("src", "c", rows("INSERT", &[], json!([{"v": "1"}]))).await;
    batch
        .ddl("src", "a", "ALTER", "ALTER TABLE a ADD x INT DEFAULT 1")
        .await;
    batch.send().await;
    let waiting = connection_in(&server, "ALTER", "Waiting for table metadata lock").await;
    server.run(&format!("KILL {waiting}")).unwrap();
    pause(100).await;
    reader.query_drop("COMMIT").await.unwrap();
    mirror.until(hand.last()).await;
    assert_eq!(
        server.run("SELECT * FROM copy.a; SELECT * FROM copy.c").unwrap(),
        "1\t0\t1\n1\n"
    );

    // Killed after it ran, before the position was written: somebody holds the position. A second ADD of the same column would fail; a second swap of two equal
    // tables would not be noticed but by their rows.
    server.run("ALTER TABLE copy.b ADD x INT DEFAULT 1").unwrap();
    for (kind, sql, expected) in [
        ("ALTER", "ALTER TABLE a ADD y INT DEFAULT 2", "1\t0\t1\t2\n2\t0\t1\n"),
        (
            "ALTER",
            "ALTER TABLE src.b ADD y INT DEFAULT 2",
            "1\t0\t1\t2\n2\t0\t1\t2\n",
        ),
        (
            "RENAME",
            "RENAME TABLE a TO x, b TO a, x TO b",
            "2\t0\t1\t2\n1\t0\t1\t2\n",
        ),
    ] {
        reader.query_drop("BEGIN").await.unwrap();
        reader.query_drop("SELECT * FROM copy.a, copy.b").await.unwrap();
        let mut batch = hand.batch();
        batch.ddl("src", "a", kind, sql).await;
        batch.send().await;
        connection_in(&server, kind, "Waiting for table metadata lock").await;
        locker.query_drop("BEGIN").await.unwrap();
        locker
            .query_drop("SELECT * FROM crash_position._forebay_mirror FOR UPDATE")
            .await
            .unwrap();
        reader.query_drop("COMMIT").await.unwrap();
        let waiting = connection_in(&server, "UPDATE `crash_position`", "").await;
        server.run(&format!("KILL {waiting}")).unwrap();
        pause(100).await;
        locker.query_drop("ROLLBACK").await.unwrap();
        mirror.until(hand.last()).await;
        assert_eq!(
            server.run("SELECT * FROM copy.a; SELECT * FROM copy.b").unwrap(),
            expected,
            "{sql}"
        );
    }

    // Rows and position are one: killed between the two, neither is there.
    locker.query_drop("BEGIN").await.unwrap();
    locker
        .query_drop("SELECT * FROM crash_position._forebay_mirror FOR UPDATE")
        .await
        .unwrap();
    let mut batch = hand.batch();
    batch.rows("src", "c", rows("INSERT", &[], json!([{"v": "2"}]))).await;
    batch.send().await;
    let waiting = connection_in(&server, "UPDATE `crash_position`", "").await;
    server.run(&format!("KILL {waiting}")).unwrap();
    pause(100).await;
    locker.query_drop("ROLLBACK").await.unwrap();
    mirror.until(hand.last()).await;
    assert_eq!(server.run("SELECT v FROM copy.c ORDER BY v").unwrap(), "1\n2\n");
    let status = mirror.stop().await;
    assert!(status.retries >= 4 && status.unmatched == 0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_kills() {
    use rand::{Rng, SeedableRng};
    let stage = Stage::start(3).unwrap();
    let mut server = stage.mysql("db", &[]).unwrap();
    let mut hand = Hand::new(&stage, "kills").await;
    let options = options(&stage, &server, "kills", &[("src", "copy")]);
    hand.table("src", "k", "CREATE TABLE k (id INT PRIMARY KEY, v INT)")
        .await;
    hand.table("src", "u", "CREATE TABLE u (v INT)").await;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    let mut keyed: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
    let mut unkeyed: Vec<u32> = Vec::new();
    let mut mirror = Some(Running::start(&options));
    for round in 0..240 {
        let mut batch = hand.batch();
        for _ in 0..random.random_range(1..12) {
            let (id, v) = (random.random_range(0..40), random.random_range(0..9));
            match (random.random_range(0..4), keyed.get(&id).copied()) {
                (0, _) => {
                    unkeyed.push(v);
                    batch
                        .rows("src", "u", rows("INSERT", &[], json!([{"v": v.to_string()}])))
                        .await;
                }
                (1, _) if !unkeyed.is_empty() => {
                    let gone = unkeyed.swap_remove(random.random_range(0..unkeyed.len()));
                    batch
                        .rows("src", "u", rows("DELETE", &[], json!([{"v": gone.to_string()}])))
                        .await;
                }
                (2, Some(old)) => {
                    keyed.remove(&id);
                    batch
                        .rows(
                            "src",
                            "k",
                            rows("DELETE", &["id"], json!([{"id": id.to_string(), "v": old.to_string()}])),
                        )
                        .await;
                }
                (_, old) => {
                    keyed.insert(id, v);
                    let row = json!([{"id": id.to_string(), "v": v.to_string()}]);
                    let change = match old {
                        None => rows("INSERT", &["id"], row),
                        Some(old) => Rows {
                            old: json!([{"v": old.to_string()}]),
                            ..rows("UPDATE", &["id"], row)
                        },
                    };
                    batch.rows("src", "k", change).await;
                }
            }
        }
        if batch.is_empty() {
            continue;
        }
        batch.send().await;
        match round {
            80 => drop(
                stage
                    .cluster()
                    .kill(
                        &binlog_relay_stage::Target::Leader,
                        binlog_relay_stage::Signal::Kill,
                        None,
                    )
                    .unwrap(),
            ),
            160 => {
                server.kill().unwrap();
                server.restart().unwrap();
            }
            _ if round % 20 == 7 => {
                let ids = server
                    .run("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'root' AND ID <> CONNECTION_ID()")
                    .unwrap();
                for id in ids.split_whitespace() {
                    let _ = server.run(&format!("KILL {id}"));
                }
            }
            _ if round % 20 == 15 => {
                mirror.take().unwrap().kill();
                mirror = Some(Running::start(&options));
            }
            _ => {}
        }
    }
    let mirror = mirror.unwrap();
    mirror.until(hand.last()).await;
    let expected: String = keyed.iter().map(|(id, v)| format!("{id}\t{v}\n")).collect();
    assert_eq!(server.run("SELECT * FROM copy.k ORDER BY id").unwrap(), expected);
    unkeyed.sort_unstable();
    let expected: String = unkeyed.iter().map(|v| format!("{v}\n")).collect();
    assert_eq!(server.run("SELECT * FROM copy.u ORDER BY v").unwrap(), expected);
    assert_eq!(mirror.stop().await.unmatched, 0);
}
