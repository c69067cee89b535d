//! Golden events cut at every byte, and with bytes changed: an error or other values, never a panic, never without end.

use crate::replay;
use binlog_relay_event::format::FormatDescription;
use binlog_relay_event::gtid::GtidEvent;
use binlog_relay_event::header::{self, EventHeader};
use binlog_relay_event::payload::TransactionPayload;
use binlog_relay_event::query::QueryEvent;
use binlog_relay_event::rows::{Plan, Row, RowReader, RowsEvent, TextPolicy, Value};
use binlog_relay_event::table::TableMap;
use binlog_relay_event::{Error, control};

/// The map of the table that the next row events are of.
type Table = Option<(TableMap, Plan)>;

fn plan(body: &[u8]) -> Table {
    let map = TableMap::parse(body).ok()?;
    for column in &map.columns {
        let _ = (column.mysql_type(), column.sql_type());
    }
    let plan = Plan::new(&map, &TextPolicy::default()).ok()?;
    Some((map, plan))
}

fn read(kind: u8, body: &[u8], table: &Table) -> Result<(), Error> {
    match kind {
        header::FORMAT_DESCRIPTION => FormatDescription::parse(body).map(drop),
        header::QUERY => QueryEvent::parse(body).map(|event| drop(event.text())),
        header::ROTATE => control::Rotate::parse(body).map(drop),
        header::XID => control::xid(body).map(drop),
        header::ROWS_QUERY => control::rows_query(body).map(drop),
        header::GTID | header::ANONYMOUS_GTID | header::GTID_TAGGED => GtidEvent::parse(kind, body).map(drop),
        header::TRANSACTION_PAYLOAD => {
            let mut events = TransactionPayload::parse(body)?.events(1 << 20)?;
            let mut inner = None;
            while let Some(event) = events.next_event()? {
                let (header, body) = EventHeader::parse(event)?;
                if header.kind == header::TABLE_MAP {
                    inner = plan(body);
                } else {
                    let _ = read(header.kind, body, &inner);
                }
            }
            Ok(())
        }
        kind if header::has_rows(kind) => {
            let event = RowsEvent::parse(kind, body)?;
            let Some((_, plan)) = table else { return Ok(()) };
            let mut reader = RowReader::new(plan, &event)?;
            let (mut before, mut after) = (Row::default(), Row::default());
            let mut out = Vec::new();
            while reader.next(&mut before, &mut after)? {
                for row in [&before, &after] {
                    for (at, column) in plan.columns().iter().enumerate() {
                        if let Value::Raw(raw) = row.raw(at) {
                            out.clear();
                            let _ = column.write_text(raw, &mut out);
                            assert!(out.len() <= 40 * raw.len() + 600, "{} of {}", out.len(), raw.len());
                            assert!(column.write_json(raw, &mut out).is_err() || std::str::from_utf8(&out).is_ok());
                        }
                    }
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Calls `damage` with each event of a file: kind, body, and the table in force.
fn each(mut damage: impl FnMut(u8, &[u8], &Table)) {
    for name in ["types.9.7", "shapes.9.7", "charsets.9.7"] {
        let path = format!("{}/golden/{name}.binlog", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(path).unwrap();
        let mut table = None;
        for event in replay::events(&file) {
            let (header, body) = EventHeader::parse(event).unwrap();
            let body = match header.kind {
                header::FORMAT_DESCRIPTION => body,
                _ => &body[..body.len() - 4],
            };
            damage(header.kind, body, &table);
            if header.kind == header::TABLE_MAP {
                table = plan(body);
            }
        }
    }
}

#[test]
fn cut_at_every_byte() {
    let mut refused = 0;
    each(|kind, body, table| {
        // Long events repeat themselves: every byte at both ends, some between.
        for cut in (0..body.len()).filter(|cut| *cut < 500 || body.len() - cut < 100 || cut % 97 == 0) {
            if kind == header::TABLE_MAP {
                refused += usize::from(plan(&body[..cut]).is_none());
            } else {
                refused += usize::from(read(kind, &body[..cut], table).is_err());
            }
        }
    });
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn with_changed_bytes() {
    let mut rows_of_last: Option<(u8, Vec<u8>)> = None;
    each(|kind, body, table| {
        let mut changed = body.to_vec();
        for at in (0..body.len()).filter(|at| *at < 150 || at % 61 == 0) {
            for with in [0x01, 0x80, 0xff] {
                changed[at] ^= with;
                if kind == header::TABLE_MAP {
                    // Read with a map that is not theirs, the last rows are nonsense.
                    if let (table @ Some(_), Some((kind, rows))) = (plan(&changed), &rows_of_last) {
                        let _ = read(*kind, rows, &table);
                    }
                } else {
                    let _ = read(kind, &changed, table);
                }
                changed[at] = body[at];
            }
        }
        if header::has_rows(kind) && body.len() < 2000 {
            rows_of_last = Some((kind, body.to_vec()));
        }
    });
}
