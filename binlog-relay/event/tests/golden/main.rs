//! Binlogs of a real server, replayed, and what the server says about the rows at the end (`golden/record` makes both).
#![allow(clippy::disallowed_methods, missing_docs)]

mod damage;
mod replay;

use binlog_relay_event::header;
use replay::{Replay, events};
use std::fs;
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn lines(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(golden(name)).unwrap();
    text.lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn replay(name: &str, version: &str) -> Replay {
    let file = fs::read(golden(&format!("{name}.{version}.binlog"))).unwrap();
    let mut replay = Replay::default();
    for (nth, event) in events(&file).into_iter().enumerate() {
        if let Err(error) = replay.event(event) {
            panic!("{name}: event {nth} of kind {}: {error:?}", event[4]);
        }
    }
    replay
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

/// Our layout of a number, the slow way: digits of Rust's own printer.
fn layout(scientific: &str) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or_else(|| panic!("{scientific}"));
    let exponent: i32 = exponent.parse().unwrap();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    let text = match exponent {
        -5..0 => format!("0.{}{digits}", "0".repeat((-exponent - 1) as usize)),
        0..=20 => {
            let whole = exponent as usize + 1;
            match digits.len().checked_sub(whole) {
                None | Some(0) => format!("{digits}{}", "0".repeat(whole - digits.len())),
                Some(_) => format!("{}.{}", &digits[..whole], &digits[whole..]),
            }
        }
        _ => format!("{mantissa}e{exponent}"),
    };
    format!("{sign}{text}")
}

/// Compares every cell that the server lists, and the number of rows.
fn compare(name: &str, version: &str) -> Replay {
    let replay = replay(name, version);
    let mut wrong = Vec::new();
    let cells = lines(&format!("{name}.cells"));
    for line in &cells {
        let [table, id, column, kind, value] = line.as_slice() else {
            panic!("{line:?}")
        };
        if lacks(version, table, column) || is_wrong(version, table, id) {
            continue;
        }
        let row = &replay.tables[table]
            .get(id)
            .unwrap_or_else(|| panic!("{table} has no row {id}"));
        let Some(got) = row.get(column).map(Option::as_deref) else {
            // The image of a MINIMAL insert does not have what it leaves to defaults.
            assert!(table == "wide" && id == "3", "{table} has no column {column} of {id}");
            continue;
        };
        let got = match (got, value.as_str()) {
            (None, "NULL") => continue,
            (Some(got), value) if value != "NULL" => got,
            _ => {
                wrong.push(format!("{table}.{column} of {id}: {got:?}, expected {value}"));
                continue;
            }
        };
        if column == "no_text" {
            assert_eq!((got, value.as_str()), ("no text: 6181", "613F"));
            continue;
        }
        // The bytes of the server's answer in our form.
        let bytes: Vec<u8> = match kind.as_str() {
            "bytes" => got.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect(),
            _ => got.into(),
        };
        let same = if let Some(sum) = value.strip_prefix("crc32 ") {
            format!("{} {:08x}", bytes.len(), crc32fast::hash(&bytes)) == *sum
        } else if kind == "number" {
            let server: f64 = String::from_utf8(unhex(value)).unwrap().parse().unwrap();
            let column = replay.shapes[table]
                .columns
                .iter()
                .find(|known| known.name == *column)
                .unwrap();
            let expected = match column.mysql_type().starts_with("float") {
                true => layout(&format!("{:e}", server as f32)),
                false => layout(&format!("{server:e}")),
            };
            got == expected
        } else {
            bytes == unhex(value)
        };
        if !same {
            let expected = match value.strip_prefix("crc32") {
                Some(_) => value.clone(),
                None => String::from_utf8_lossy(&unhex(value)).into_owned(),
            };
            wrong.push(format!("{table}.{column} of {id}: {got:?}, expected {expected:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{name}: {} of {} cells\n{}",
        wrong.len(),
        cells.len(),
        wrong.join("\n")
    );
    for (table, rows) in &replay.tables {
        let ids: std::collections::BTreeSet<_> = cells
            .iter()
            .filter(|line| line[0] == *table)
            .map(|line| &line[1])
            .collect();
        assert_eq!(
            rows.keys().collect::<Vec<_>>(),
            ids.into_iter().collect::<Vec<_>>(),
            "rows of {table}"
        );
    }
    compare_columns(name, version, &replay);
    replay
}

/// Before 9.0 the server itself spoils times of 32 hours and more on their way into JSON.
fn is_wrong(version: &str, table: &str, id: &str) -> bool {
    version.starts_with("8.") && (table, id) == ("documents", "44")
}

/// VECTOR came with 9.0.
fn lacks(version: &str, table: &str, column: &str) -> bool {
    version.starts_with("8.") && (table, column) == ("bytes", "vec")
}

fn compare_columns(name: &str, version: &str, replay: &Replay) {
    let columns = lines(&format!("{name}.columns"));
    for line in &columns {
        let [table, column, kind, invisible, key] = line.as_slice() else {
            panic!("{line:?}")
        };
        if lacks(version, table, column) {
            continue;
        }
        let map = &replay.shapes[table];
        assert!(map.has_full_metadata);
        let at = map.columns.iter().position(|known| known.name == *column).unwrap();
        let known = &map.columns[at];
        let expected = match String::from_utf8(unhex(kind)).unwrap().as_str() {
            "tinyint(1)" => "tinyint".to_owned(),
            "float(7,3)" => "float".to_owned(),
            kind => kind.to_owned(),
        };
        assert_eq!(known.mysql_type(), expected, "{table}.{column}");
        assert_eq!(known.invisible, invisible == "1", "{table}.{column}");
        let place = map
            .primary_key
            .iter()
            .position(|part| part.column == at)
            .map_or(0, |place| place + 1);
        assert_eq!(place.to_string(), *key, "{table}.{column} in the key");
    }
}

#[test]
fn every_type_and_its_corners() {
    for version in ["8.0", "8.4", "9.7"] {
        let replay = compare("types", version);
        assert_eq!(replay.tables.len(), 7);
        assert!(replay.kinds[&header::TRANSACTION_PAYLOAD] >= 1);
        // All of it was inserted, updated and deleted.
        for kind in [header::WRITE_ROWS, header::UPDATE_ROWS, header::DELETE_ROWS] {
            assert!(replay.kinds[&kind] >= 4);
        }
    }
}

#[test]
fn every_charset() {
    compare("charsets", "9.7");
}

#[test]
fn unusual_tables_and_transactions() {
    for version in ["8.0", "8.4", "9.7"] {
        shapes(version);
    }
}

fn shapes(version: &str) {
    let replay = compare("shapes", version);
    assert!(
        replay.rows_events_of_a_map >= 2,
        "an INSERT of many rows is split over several events"
    );
    assert_eq!(replay.rows_queries, ["INSERT INTO keyless VALUES (3, 'three')"]);
    assert_eq!(replay.kinds[&header::TRANSACTION_PAYLOAD], 1);
    let gtids: Vec<String> = replay
        .gtids
        .iter()
        .filter_map(|event| event.gtid.as_ref())
        .map(ToString::to_string)
        .collect();
    assert!(
        gtids
            .iter()
            .any(|gtid| gtid == "3e11fa47-71ca-11e1-9e33-c80aa9429562:77")
    );
    if version != "8.0" {
        let tagged = "3e11fa47-71ca-11e1-9e33-c80aa9429562:a_tag_of_thirty_two_characters__:9007199254740993";
        assert!(gtids.iter().any(|gtid| gtid == tagged), "{gtids:#?}");
        assert!(gtids.iter().any(|gtid| gtid.contains(":audit:")));
    }
    for event in &replay.gtids {
        assert!(event.immediate_commit_us > 1_700_000_000_000_000 && event.transaction_bytes > 0);
        assert_eq!(event.immediate_commit_us, event.original_commit_us);
    }
    let prefix: Vec<u64> = replay.shapes["keyed"]
        .primary_key
        .iter()
        .map(|part| part.prefix)
        .collect();
    assert_eq!(prefix, [10, 0, 3]);
    assert!(
        replay.statements.iter().any(|sql| sql == "COMMIT"),
        "MyISAM commits by a statement"
    );
}
