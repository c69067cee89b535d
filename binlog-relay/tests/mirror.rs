//! The mirror against a real MySQL server, fed by hand through a real cluster.
#![allow(clippy::disallowed_methods)]

mod hand;

use binlog_relay_stage::{Mysql, Stage};
use hand::{Hand, Rows, Running, options, rows};
use serde_json::{Value, json};
use std::time::Duration;

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
    tokio::time::sleep(Duration::from_millis(ms)).await;
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
    server.run(&format!("USE src; {}; INSERT INTO src.n (id, i8, u24, u64, d, f, g, bits, y, e, s, day, dt, ts, tm, v, l, u, b, vb, bl, j, p, inv) SELECT id, i8, u24, u64, d, f, g, bits, y, e, s, day, dt, ts, tm, v, l, u, b, vb, bl, j, p, inv FROM src.t",
        format!("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; {}", unkeyed.replace("TABLE `t`", "TABLE `n`")))).unwrap();
    hand.table("src", "t", &sql).await;
    hand.table("src", "n", &unkeyed.replace("TABLE `t`", "TABLE `n`")).await;
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
