//! A binlog file played into tables: each row under its `id`, each cell as its canonical text.

use binlog_relay_event::format::{Checksum, FormatDescription};
use binlog_relay_event::gtid::GtidEvent;
use binlog_relay_event::header::{self, EventHeader};
use binlog_relay_event::payload::TransactionPayload;
use binlog_relay_event::query::QueryEvent;
use binlog_relay_event::rows::{Plan, Row, RowReader, RowsEvent, RowsKind, TextPolicy, Value};
use binlog_relay_event::table::TableMap;
use binlog_relay_event::text::Written;
use binlog_relay_event::{Error, control};
use std::collections::{BTreeMap, HashMap};

/// `None` is NULL.
pub type Cells = BTreeMap<String, Option<String>>;

#[derive(Default)]
pub struct Replay {
    checksum: Option<Checksum>,
    maps: HashMap<u64, (TableMap, Plan)>,
    /// Tables, then rows by id.
    pub tables: BTreeMap<String, BTreeMap<String, Cells>>,
    /// The last map of each table.
    pub shapes: BTreeMap<String, TableMap>,
    pub gtids: Vec<GtidEvent>,
    pub statements: Vec<String>,
    pub rows_queries: Vec<String>,
    /// Events by kind; those inside payloads count too.
    pub kinds: BTreeMap<u8, usize>,
    /// Row events in a row without a map between them, at most.
    pub rows_events_of_a_map: usize,
    run: usize,
}

/// The events of a file with their checksums, without the magic number.
pub fn events(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file
        .strip_prefix(b"\xfebin")
        .expect("a binlog starts with its magic number");
    let mut events = Vec::new();
    while rest.len() >= 19 {
        let bytes = u32::from_le_bytes(rest[9..13].try_into().unwrap()) as usize;
        let (event, after) = rest.split_at(bytes);
        events.push(event);
        rest = after;
    }
    assert!(rest.is_empty());
    events
}

#[derive(Debug)]
#[allow(dead_code, reason = "shown when a test fails")]
pub enum Failure {
    Event(Error),
    Table(String),
    /// What the image says and the rows before it do not fit.
    Story(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Event(error)
    }
}

impl Replay {
    pub fn event(&mut self, event: &[u8]) -> Result<(), Failure> {
        let (header, body) = EventHeader::parse(event)?;
        if header.kind == header::FORMAT_DESCRIPTION {
            self.checksum = Some(FormatDescription::parse(body)?.checksum);
            *self.kinds.entry(header.kind).or_default() += 1;
            Checksum::Crc32.verify(event)?;
            return Ok(());
        }
        let event = self.checksum.unwrap_or(Checksum::None).verify(event)?;
        self.inner(event)
    }

    /// Without a checksum.
    pub fn inner(&mut self, event: &[u8]) -> Result<(), Failure> {
        let (header, body) = EventHeader::parse(event)?;
        *self.kinds.entry(header.kind).or_default() += 1;
        if let Some(why) = header::refusal(header.kind) {
            return Err(Error::Refused(why).into());
        }
        match header.kind {
            header::TABLE_MAP => {
                let map = TableMap::parse(body)?;
                let plan =
                    Plan::new(&map, &TextPolicy::default()).map_err(|error| Failure::Table(error.to_string()))?;
                self.shapes.insert(map.table.clone(), map.clone());
                self.maps.insert(map.table_id, (map, plan));
                self.run = 0;
            }
            kind if header::has_rows(kind) => self.rows(kind, body)?,
            header::GTID | header::ANONYMOUS_GTID | header::GTID_TAGGED => {
                self.gtids.push(GtidEvent::parse(header.kind, body)?);
            }
            header::QUERY => {
                let event = QueryEvent::parse(body)?;
                self.statements.extend(event.text().map(|text| text.into_owned()));
            }
            header::XID => drop(control::xid(body)?),
            header::ROTATE => drop(control::Rotate::parse(body)?),
            header::ROWS_QUERY => {
                self.rows_queries
                    .push(String::from_utf8_lossy(control::rows_query(body)?).into_owned());
            }
            header::TRANSACTION_PAYLOAD => {
                let mut events = TransactionPayload::parse(body)?.events(1 << 24)?;
                while let Some(event) = events.next_event()? {
                    self.inner(event)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rows(&mut self, kind: u8, body: &[u8]) -> Result<(), Failure> {
        self.run += 1;
        self.rows_events_of_a_map = self.rows_events_of_a_map.max(self.run);
        let event = RowsEvent::parse(kind, body)?;
        let (map, plan) = self
            .maps
            .get(&event.table_id)
            .ok_or_else(|| Failure::Story(format!("there is no table {}", event.table_id)))?;
        let rows = self.tables.entry(map.table.clone()).or_default();
        let mut reader = RowReader::new(plan, &event)?;
        let (mut before, mut after) = (Row::default(), Row::default());
        while reader.next(&mut before, &mut after)? {
            let (old, new) = (cells(map, plan, &before)?, cells(map, plan, &after)?);
            let mut row = match event.kind {
                RowsKind::Insert => Cells::new(),
                RowsKind::Update | RowsKind::Delete => {
                    let id = old.get("id").cloned().flatten().unwrap_or_default();
                    let mut row = rows
                        .remove(&id)
                        .ok_or_else(|| Failure::Story(format!("there is no row {id}")))?;
                    for (name, cell) in &old {
                        // An ALTER may have added the column.
                        if row.get(name).is_some_and(|known| known != cell) {
                            return Err(Failure::Story(format!(
                                "{}.{name} was {:?}, not {cell:?}",
                                map.table, row[name]
                            )));
                        }
                    }
                    for (name, cell) in old {
                        row.insert(name, cell);
                    }
                    row
                }
            };
            if event.kind != RowsKind::Delete {
                row.extend(new);
                let id = row.get("id").cloned().flatten().unwrap_or_default();
                rows.insert(id, row);
            }
        }
        Ok(())
    }
}

fn cells(map: &TableMap, plan: &Plan, row: &Row<'_>) -> Result<Cells, Failure> {
    let mut cells = Cells::new();
    for (at, column) in map.columns.iter().enumerate() {
        let cell = match row.raw(at) {
            Value::Absent => continue,
            Value::Null => None,
            Value::Raw(raw) => {
                let (mut text, mut quoted) = (Vec::new(), Vec::new());
                let written = plan.column(at).write_text(raw, &mut text)?;
                assert_eq!(plan.column(at).write_json(raw, &mut quoted)?, written);
                let text = String::from_utf8(text).expect("every text is UTF-8");
                assert!(quoted.starts_with(b"\"") && quoted.ends_with(b"\"") && quoted.len() >= text.len() + 2);
                Some(match written {
                    Written::Text => text,
                    Written::Hex => format!("no text: {text}"),
                })
            }
        };
        cells.insert(column.name.clone(), cell);
    }
    Ok(cells)
}
