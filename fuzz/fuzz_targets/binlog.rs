//! A stream of binlog events without checksums: table maps, the rows of the tables that they describe, and all else.
#![no_main]

use binlog_relay_event::control;
use binlog_relay_event::format::FormatDescription;
use binlog_relay_event::gtid::GtidEvent;
use binlog_relay_event::header::{self, EventHeader};
use binlog_relay_event::payload::TransactionPayload;
use binlog_relay_event::query::QueryEvent;
use binlog_relay_event::rows::{BinaryText, Plan, Row, RowReader, RowsEvent, TextPolicy, Value};
use binlog_relay_event::table::TableMap;
use binlog_relay_event::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut stream = Stream::default();
    let mut rest = data;
    while rest.len() >= header::HEADER_BYTES {
        let said = u32::from_le_bytes([rest[9], rest[10], rest[11], rest[12]]) as usize;
        let (event, after) = rest.split_at(said.clamp(header::HEADER_BYTES, rest.len()));
        // A length that is wrong is found by the header; the body is still worth reading.
        let _ = EventHeader::parse(event);
        stream.event(event[4], &event[header::HEADER_BYTES..]);
        rest = after;
    }
});

#[derive(Default)]
struct Stream {
    table: Option<(TableMap, Plan)>,
    inside: bool,
}

impl Stream {
    fn event(&mut self, kind: u8, body: &[u8]) {
        let _ = header::refusal(kind);
        match kind {
            header::TABLE_MAP => {
                let Ok(map) = TableMap::parse(body) else { return };
                for column in &map.columns {
                    let _ = (column.mysql_type(), column.sql_type());
                }
                let binary = if map.flags & 2 == 0 {
                    BinaryText::Latin1
                } else {
                    BinaryText::Hex
                };
                self.table = Plan::new(&map, &TextPolicy { binary }).ok().map(|plan| (map, plan));
            }
            header::GTID | header::ANONYMOUS_GTID | header::GTID_TAGGED => {
                let _ = GtidEvent::parse(kind, body).map(|event| event.gtid.map(|gtid| gtid.to_string()));
            }
            header::QUERY => drop(QueryEvent::parse(body).map(|event| event.text().map(|text| text.len()))),
            header::FORMAT_DESCRIPTION => drop(FormatDescription::parse(body)),
            header::ROTATE => drop(control::Rotate::parse(body)),
            header::INCIDENT => drop(control::incident(body)),
            header::HEARTBEAT_V2 => drop(control::heartbeat_v2(body)),
            header::XID => drop(control::xid(body)),
            header::ROWS_QUERY => drop(control::rows_query(body)),
            header::TRANSACTION_PAYLOAD if !self.inside => self.payload(body),
            _ => self.rows(kind, body),
        }
    }

    fn payload(&mut self, body: &[u8]) {
        let Ok(mut events) = TransactionPayload::parse(body).and_then(|payload| payload.events(1 << 16)) else {
            return;
        };
        self.inside = true;
        let mut bytes = 0;
        while let Ok(Some(event)) = events.next_event() {
            bytes += event.len();
            self.event(event[4], &event[header::HEADER_BYTES..]);
            if bytes > 1 << 18 {
                break; // a small input may inflate to much; that is no fault
            }
        }
        self.inside = false;
    }

    fn rows(&self, kind: u8, body: &[u8]) {
        let Ok(event) = RowsEvent::parse(kind, body) else {
            return;
        };
        let Some((_, plan)) = &self.table else { return };
        let Ok(mut reader) = RowReader::new(plan, &event) else {
            return;
        };
        let (mut before, mut after) = (Row::default(), Row::default());
        let (mut plain, mut quoted, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        while let Ok(true) = reader.next(&mut before, &mut after) {
            for row in [&before, &after] {
                for (at, column) in plan.columns().iter().enumerate() {
                    let Value::Raw(raw) = row.raw(at) else { continue };
                    plain.clear();
                    quoted.clear();
                    expected.clear();
                    let written = column.write_text(raw, &mut plain);
                    assert_eq!(written, column.write_json(raw, &mut quoted));
                    if written.is_ok() {
                        assert!(std::str::from_utf8(&plain).is_ok());
                        expected.push(b'"');
                        text::escape(&plain, &mut expected);
                        expected.push(b'"');
                        assert_eq!(quoted, expected);
                    }
                }
            }
        }
    }
}
