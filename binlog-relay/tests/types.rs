//! Every type, by both ways: the rows of the corner list are copied by the snapshot, and the same statements run again under the relay. The texts of both must be
//! equal byte for byte, and equal to what the server itself selects.
//!
//! The statements are those of the event crate's golden binlogs, and tables with keys of all kinds, which the snapshot reads row by row. The server is
//! the one of `scripts/mysql`, MySQL 9.7; `make soak` repeats it with 8.4 and 8.0 (`FOREBAY_MYSQL_SUITE=questing` or `noble`).
#![allow(clippy::disallowed_methods)]

mod running;

use binlog_relay_stage::{Mysql, Stage};
use mq_client::MessageExt;
use running::{Running, copied, read};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;

/// Keys of each kind of type; none of them is in the order of `id`. The copy has to find its way behind each of the rows.
const KEYS: &str = "
SET sql_mode = '', time_zone = '+00:00';
SET NAMES utf8mb4;
CREATE TABLE key_words (word VARCHAR(20) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, id INT);
INSERT INTO key_words VALUES ('b', 1), ('A', 2), ('c', 3), ('É', 4), ('d', 5), ('f ', 6), ('f', 7), ('', 8), ('z\"''\\\\', 9), ('漢字', 10), ('😀', 11), ('Zz', 12), ('ß', 13);
CREATE TABLE key_padded (word CHAR(10) CHARACTER SET latin1 COLLATE latin1_german2_ci PRIMARY KEY, id INT);
INSERT INTO key_padded VALUES ('b', 1), ('Ä', 2), ('a', 3), ('É', 4), ('D', 5), ('ö', 6), ('', 7), ('€', 8), ('z', 9);
CREATE TABLE key_chinese (word VARCHAR(20) CHARACTER SET gbk, id INT, PRIMARY KEY (word(2)));
INSERT INTO key_chinese VALUES ('你好', 1), ('世界', 2), ('abc', 3), ('BBD', 4), ('新', 5), ('Aa', 6), ('一', 7), ('丁', 8);
CREATE TABLE key_pairs (n BIGINT UNSIGNED, b VARBINARY(20), id INT, PRIMARY KEY (n, b));
INSERT INTO key_pairs VALUES (18446744073709551615, x'FF', 1), (18446744073709551615, x'FE', 2), (18446744073709551614, x'00', 3), (18446744073709551614, '', 4),
  (0, x'27', 5), (0, x'5C', 6), (0, x'80', 7), (0, x'C3A9', 8), (9007199254740993, 'a', 9), (9007199254740992, 'a', 10), (9007199254740992, 'A', 11),
  (9223372036854775808, x'6100', 12), (9223372036854775808, x'61', 13), (9223372036854775807, x'', 14);
CREATE TABLE key_signed (n BIGINT PRIMARY KEY, id INT);
INSERT INTO key_signed VALUES (-9223372036854775808, 1), (-9223372036854775807, 2), (9223372036854775807, 3), (9223372036854775806, 4), (0, 5), (-1, 6), (1, 7);
CREATE TABLE key_decimals (n DECIMAL(38,10) PRIMARY KEY, id INT);
INSERT INTO key_decimals VALUES (1234567890123456789012345678.0000000001, 1), (1234567890123456789012345678.0000000002, 2), (1234567890123456789012345678.0000000003, 3),
  (1234567890123456789012345678.0000000004, 4), (-1234567890123456789012345678.0000000001, 5), (-1234567890123456789012345678.0000000002, 6),
  (-1234567890123456789012345678.0000000003, 7), (-1234567890123456789012345678.0000000004, 8), (0, 9), (-0.5, 10), (0.5, 11), (7, 12);
CREATE TABLE key_whole_decimals (n DECIMAL(30,0) PRIMARY KEY, id INT);
INSERT INTO key_whole_decimals VALUES (123456789012345678901234567890, 1), (123456789012345678901234567891, 2), (123456789012345678901234567892, 3),
  (123456789012345678901234567893, 4), (-123456789012345678901234567890, 5), (-123456789012345678901234567891, 6), (-123456789012345678901234567892, 7), (5, 8);
CREATE TABLE key_floats (n FLOAT PRIMARY KEY, id INT);
INSERT INTO key_floats VALUES (0.1, 1), (0.2, 2), (0.3, 3), (-0.1, 4), (16777216, 5), (1e30, 6), (1e-30, 7), (-0.7, 8), (1.1, 9), (3.4028235e38, 10);
CREATE TABLE key_doubles (n DOUBLE PRIMARY KEY, id INT);
INSERT INTO key_doubles VALUES (0.1, 1), (0.2, 2), (0.30000000000000004, 3), (0.3, 4), (-0.1, 5), (9007199254740993, 6), (1e300, 7), (5e-324, 8), (1.1, 9), (1e22, 10);
CREATE TABLE key_dates (d DATE PRIMARY KEY, id INT);
SET sql_mode = 'ALLOW_INVALID_DATES';
INSERT INTO key_dates VALUES ('0000-00-00', 1), ('2023-00-15', 2), ('2023-02-31', 3), ('9999-12-31', 4), ('1000-01-01', 5), ('2023-02-00', 6), ('2023-02-28', 7), ('2023-03-01', 8);
CREATE TABLE key_datetimes (d DATETIME(6) PRIMARY KEY, id INT);
INSERT INTO key_datetimes VALUES ('0000-00-00', 1), ('2023-02-31 01:02:03.4', 2), ('2023-02-28 01:02:03.400001', 3), ('2023-02-28 01:02:03.400002', 4),
  ('2023-02-28 01:02:03.400003', 5), ('9999-12-31 23:59:59.999999', 6), ('1000-01-01', 7), ('2023-00-00', 8);
SET sql_mode = '';
CREATE TABLE key_timestamps (d TIMESTAMP(3) PRIMARY KEY, id INT);
INSERT INTO key_timestamps VALUES ('0000-00-00', 1), ('1970-01-01 00:00:01', 2), ('2038-01-19 03:14:07.999', 3), ('2026-03-29 01:30:00', 4), ('2026-03-29 02:30:00', 5),
  ('2026-10-25 00:30:00.001', 6), ('2026-10-25 01:30:00.001', 7), ('2026-10-25 02:30:00.001', 8);
CREATE TABLE key_times (d TIME(2) PRIMARY KEY, id INT);
INSERT INTO key_times VALUES ('-838:59:59', 1), ('838:59:59', 2), ('-00:00:00.01', 3), ('-00:00:00.02', 4), ('00:00:00', 5), ('24:00:00.5', 6), ('100:00:00', 7), ('99:00:00', 8);
CREATE TABLE key_years (d YEAR, e ENUM('z', 'y', 'x'), s SET('p', 'q'), b BIT(64), id INT, PRIMARY KEY (d, e, s, b));
INSERT INTO key_years VALUES (0, 'z', '', 0, 1), (0, 'z', 'q', 0, 2), (0, 'z', 'p', 0, 3), (0, 'x', 'p', ~0, 4), (0, 'x', 'p', 1 << 63, 5), (0, 'y', 'p,q', 1, 6),
  (2155, 'x', '', 0, 7), (1901, 'x', '', 0, 8), (2155, 'x', '', 256, 9), (1901, 'x', 'p', 0, 10);
CREATE TABLE key_binary (b BINARY(4) PRIMARY KEY, id INT);
INSERT INTO key_binary VALUES (x'00', 1), (x'FF', 2), (x'6100', 3), (x'62', 4), (x'610001', 5), (x'5C27', 6), (x'20', 7), (x'80', 8), (x'C3', 9), (x'00000001', 10);
DELETE FROM key_binary WHERE id = 9;
UPDATE key_pairs SET b = x'FFFF' WHERE id = 1;
UPDATE key_words SET word = 'neu' WHERE id = 3;
UPDATE key_decimals SET n = n + 0.0000000001 WHERE id = 12;
CREATE TABLE labels (id INT PRIMARY KEY, e ENUM('a\\\\b', 'c\\'d', 'e\\nf\\r\\0', 'g,h', ' zerofill', 'é') CHARACTER SET utf8mb4, s SET('x\\\\y', '(', 'ü') CHARACTER SET latin1,
  z INT(5) ZEROFILL, zd DECIMAL(8,2) ZEROFILL, zf FLOAT(9,4) UNSIGNED ZEROFILL, dp DOUBLE(9,4), `weird \"name` INT, `größe` NCHAR(3), x CHAR(0), y VARBINARY(0));
INSERT INTO labels VALUES (1, 'a\\\\b', 'ü,(', 5, 7.5, 2.25, -3.125, 1, 'é', '', ''), (2, 3, 7, 0, 0, 0, 0, NULL, '漢', NULL, NULL);
UPDATE labels SET `größe` = NULL WHERE id = 2;
INSERT INTO documents VALUES (60, CONCAT('[', REPEAT('\"0123456789\",', 30000), '1]'));
CREATE TABLE parted (id INT PRIMARY KEY, v VARCHAR(10)) PARTITION BY HASH (id) PARTITIONS 3;
INSERT INTO parted VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd');
UPDATE parted SET v = 'e' WHERE id > 2;
CREATE TABLE `größe.x'y z` (id INT PRIMARY KEY, v INT);
INSERT INTO `größe.x'y z` VALUES (1, 1), (2, NULL);
";

/// A message of rows.
#[derive(Deserialize)]
struct Body {
    database: String,
    table: String,
    #[serde(rename = "type")]
    kind: String,
    data: Vec<Box<RawValue>>,
    old: Option<Vec<BTreeMap<String, Option<String>>>>,
    #[serde(rename = "mysqlType")]
    mysql_type: Value,
    #[serde(rename = "sqlType")]
    sql_type: Value,
    #[serde(rename = "pkNames")]
    key: Value,
    #[serde(default)]
    hex: Vec<String>,
}

/// A row as it came last.
struct Row {
    /// Byte for byte.
    text: String,
    values: BTreeMap<String, Option<String>>,
    hex: Vec<String>,
    by_snapshot: bool,
}

/// A table made of messages, by `id`.
#[derive(Default)]
struct Copy {
    rows: BTreeMap<String, Row>,
    /// `mysqlType`, `sqlType`, `pkNames` of the newest message.
    shape: [Value; 3],
}

#[derive(Default)]
struct Copies(BTreeMap<(String, String), Copy>);

impl Copies {
    fn apply(&mut self, messages: &[(MessageExt, Value)]) {
        for (message, _) in messages {
            if message.tag() == Some("DDL") {
                continue;
            }
            let body: Body = serde_json::from_slice(message.body())
                .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(message.body())));
            let copy = self.0.entry((body.database.clone(), body.table.clone())).or_default();
            for (number, data) in body.data.iter().enumerate() {
                let values: BTreeMap<String, Option<String>> = serde_json::from_str(data.get()).unwrap();
                let id = values["id"].clone().expect("each row has an id");
                let place = format!("{}.{} {id} by {}", body.database, body.table, body.kind);
                let known = copy.rows.remove(&id);
                match (body.kind.as_str(), &known) {
                    ("INSERT", None) => {}
                    ("UPDATE", Some(known)) => {
                        let old = &body.old.as_ref().expect("an update has former values")[number];
                        // A column that has come in between was NULL.
                        let before = |name: &String| known.values.get(name).cloned().flatten();
                        let changed = values.iter().filter(|(name, value)| **value != before(name));
                        let wanted: BTreeMap<_, _> = changed.map(|(name, _)| (name.clone(), before(name))).collect();
                        assert_eq!(*old, wanted, "{place}");
                    }
                    ("DELETE", Some(known)) => assert_eq!(data.get(), known.text, "{place}"),
                    _ => panic!("{place}: known before: {}", known.is_some()),
                }
                if body.kind != "DELETE" {
                    let row = Row {
                        text: data.get().to_owned(),
                        values,
                        hex: body.hex.clone(),
                        by_snapshot: message.get("snapshot").is_some(),
                    };
                    copy.rows.insert(id, row);
                }
            }
            copy.shape = [body.mysql_type, body.sql_type, body.key];
        }
    }

    fn of(&self, database: &str) -> BTreeMap<&str, &Copy> {
        let of = self.0.iter().filter(|((of, _), _)| of == database);
        of.map(|((_, table), copy)| (table.as_str(), copy)).collect()
    }
}

/// Runs the corner list in a database. `full`: all row images are to be complete, as the relay wants them.
fn corners(source: &Mysql, database: &str, full: bool) {
    source
        .run(&format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"))
        .unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("event/golden");
    let list = ["types", "charsets", "shapes"]
        .map(|name| std::fs::read_to_string(golden.join(format!("{name}.sql"))).unwrap());
    for (number, sql) in list.into_iter().chain([KEYS.to_owned()]).enumerate() {
        let sql = match full {
            true => sql.replace("'MINIMAL'", "'FULL'").replace("'NOBLOB'", "'FULL'"),
            false => sql,
        };
        // These numbers can be used once.
        let sql = sql
            .replace(
                ":9007199254740993'",
                &format!(":900719925474099{number}{}'", u8::from(full)),
            )
            .replace(":77'", &format!(":77{}'", u8::from(full)));
        source.run(&format!("USE {database};\n{sql}")).unwrap();
    }
}

/// Compares each value with the server's own.
fn equal_to_server(source: &Mysql, database: &str, copies: &BTreeMap<&str, &Copy>) -> usize {
    let listed = source
        .run(&format!(
            "SELECT TABLE_NAME, HEX(COLUMN_NAME), DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' ORDER BY TABLE_NAME, ORDINAL_POSITION"
        ))
        .unwrap();
    let mut tables: BTreeMap<&str, Vec<(String, &str)>> = BTreeMap::new();
    for line in listed.lines() {
        let [table, name, kind] = *line.split('\t').collect::<Vec<_>>() else {
            panic!("{line}")
        };
        tables.entry(table).or_default().push((text(name), kind));
    }
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (table, columns) in tables {
        let wanted: Vec<String> = columns.iter().map(|(name, kind)| server_value(name, kind)).collect();
        let rows = source
            .run(&format!(
                "SET time_zone = '+00:00'; SELECT id, {} FROM {database}.`{table}`",
                wanted.join(", ")
            ))
            .unwrap();
        let known = copies.get(table).map_or(0, |copy| copy.rows.len());
        assert_eq!(known, rows.lines().count(), "rows of {table}");
        for line in rows.lines() {
            let (id, values) = line.split_once('\t').unwrap();
            let row = &copies[table].rows[id];
            let values: Vec<&str> = values.split('\t').collect();
            for ((name, kind), server) in columns.iter().zip(values.chunks(2)) {
                let got = row.values[name].as_deref();
                compared += 1;
                if !is_same(got, kind, row.hex.contains(name), (server[0], server[1])) {
                    wrong.push(format!("{table}.{name} of {id}: {got:?}, the server has {server:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    compared
}

/// Two expressions: hex digits of a value's text, or of its bytes if it has no text, and of its bytes.
fn server_value(name: &str, kind: &str) -> String {
    let column = format!("`{name}`");
    let value = match kind {
        "float" | "double" => format!("HEX(CAST(CAST({column} AS DOUBLE) AS CHAR))"),
        "bit" | "enum" | "set" => format!("HEX(CAST(CAST({column} AS UNSIGNED) AS CHAR))"),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            format!("HEX(CONVERT({column} USING utf8mb4))")
        }
        // Without the zeros of ZEROFILL.
        "int" | "decimal" => format!("HEX(CAST({column} + 0 AS CHAR))"),
        _ if is_bytes(kind) => format!("HEX({column})"),
        _ => format!("HEX(CONVERT(CAST({column} AS CHAR) USING utf8mb4))"),
    };
    format!("IFNULL({value}, 'NULL'), IFNULL(HEX(CAST({column} AS BINARY)), 'NULL')")
}

fn is_same(got: Option<&str>, kind: &str, no_text: bool, (wanted, bytes): (&str, &str)) -> bool {
    let Some(got) = got else { return wanted == "NULL" };
    match kind {
        _ if wanted == "NULL" => false,
        _ if no_text => got == bytes,
        // The server's text of a FLOAT or DOUBLE has other digits.
        "float" => got.parse::<f32>().unwrap() == text(wanted).parse::<f64>().unwrap() as f32,
        "double" => got.parse::<f64>().unwrap() == text(wanted).parse::<f64>().unwrap(),
        _ if is_bytes(kind) => hex(got.chars().map(|c| u8::try_from(u32::from(c)).unwrap())) == wanted,
        _ => hex(got.bytes()) == wanted,
    }
}

fn is_bytes(kind: &str) -> bool {
    let spatial = ["geometry", "point", "linestring", "polygon", "vector"];
    kind.ends_with("blob") || kind.ends_with("binary") || spatial.contains(&kind)
}

fn hex(bytes: impl Iterator<Item = u8>) -> String {
    bytes.map(|byte| format!("{byte:02X}")).collect()
}

/// The text of hex digits.
fn text(digits: &str) -> String {
    let bytes = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}

/// Chunks of one row: each key is a place to go on from.
const RULES: &str = r"
[[tables]]
tables = '(shop|again)\..*'
topic = 'all'
[snapshot]
chunk_rows = 1
";

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_stream_write_the_same_as_the_server_has() {
    let stage = Stage::start(1).unwrap();
    let source = stage.mysql("source", &[]).unwrap();
    println!("MySQL {}", source.run("SELECT VERSION()").unwrap());
    corners(&source, "shop", false);
    // Generated invisible keys are in the stream all the same.
    source
        .run("SET GLOBAL show_gipk_in_create_table_and_information_schema = OFF")
        .unwrap();
    let tables: usize = source
        .run("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop'")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let relay = Running::start(&stage, &source, "types", RULES).await;
    copied(&stage, "all", tables * 4).await;
    source
        .run("SET GLOBAL show_gipk_in_create_table_and_information_schema = ON")
        .unwrap();
    corners(&source, "again", true);
    relay.through(&source).await;

    let messages = read(&stage, "all").await;
    let mut copies = Copies::default();
    copies.apply(&messages);
    let (shop, again) = (copies.of("shop"), copies.of("again"));
    assert_eq!(shop.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for (table, copy) in &shop {
        let streamed = again[table];
        if copy.shape != streamed.shape {
            wrong.push(format!("{table}: {:?}, by the stream {:?}", copy.shape, streamed.shape));
        }
        for (id, row) in &copy.rows {
            assert!(row.by_snapshot && !streamed.rows[id].by_snapshot);
            if row.text != streamed.rows[id].text || row.hex != streamed.rows[id].hex {
                wrong.push(format!(
                    "{table} {id}: {}, by the stream {}",
                    row.text, streamed.rows[id].text
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    let compared = equal_to_server(&source, "shop", &shop) + equal_to_server(&source, "again", &again);

    // Deleted by the stream, each row must look as the snapshot has told it.
    for table in shop.keys() {
        source.run(&format!("DELETE FROM shop.`{table}`")).unwrap();
    }
    relay.through(&source).await;
    relay.end().await;
    let rows: usize = shop.values().map(|copy| copy.rows.len()).sum();
    copies.apply(&read(&stage, "all").await[messages.len()..]);
    assert!(copies.of("shop").values().all(|copy| copy.rows.is_empty()));
    println!("{tables} tables, {rows} rows, {compared} values compared");
}
