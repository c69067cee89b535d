//! Rows become messages (`docs/binlog-topics.md`): gathers rows of one table, type and queue, and writes Canal's flat message.

use crate::shape::{RowValues, Shape, json};
use anyhow::{Result, ensure};
use bytes::Bytes;
use mq_base::env::clock;
use mq_client::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new row, or one of a snapshot.
    Insert,
    /// Changed values.
    Update,
    /// A row is gone.
    Delete,
}

impl Kind {
    /// As in the message.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Insert => "INSERT",
            Kind::Update => "UPDATE",
            Kind::Delete => "DELETE",
        }
    }
}

/// A DDL statement that goes to every queue of a topic.
pub struct Barrier<'a> {
    /// The topic.
    pub topic: &'a Arc<str>,
    /// Its queues.
    pub queues: u32,
    /// Number of the barrier.
    pub number: u64,
    /// Canal's word for the kind of statement.
    pub kind: &'a str,
    /// Names, and the statement.
    pub database: &'a str,
    /// See `database`.
    pub table: &'a str,
    /// See `database`.
    pub sql: &'a str,
    /// `table/begin` and `table/end` of snapshots.
    pub snapshot: Option<&'a str>,
}

/// Where the rows at hand come from: the same for all rows of a transaction.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The transaction.
    pub gtid: String,
    /// The set up to and including it.
    pub gtid_set: String,
    /// When it was committed, ms.
    pub es: i64,
}

/// Limits of messages.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest body; what is longer is cut into pieces.
    pub message_bytes_max: usize,
    /// Most rows in one message.
    pub message_rows_max: usize,
}

/// Longest JSON of one row's message: all its pieces are in one batch, and a broker takes 16 MiB at once.
const BODY_BYTES_MAX: usize = 12 << 20;
/// About what a message has besides its body: properties, layout of the batch.
const OVERHEAD_BYTES: usize = 250;
/// After so many bytes of rows a message is closed.
const GATHER_BYTES: usize = 128 << 10;

/// Makes messages out of rows and keeps them until a batch is cut.
pub struct Writer {
    limits: Limits,
    next_id: u64,
    origin: Origin,
    open: BTreeMap<(Arc<str>, u32), Open>,
    done: Vec<(Message, u32)>,
    counts: BTreeMap<(Arc<str>, u32), u32>,
    bytes: usize,
    rows: u64,
    /// What could not be written, to be told at the next chance.
    refused: Option<anyhow::Error>,
}

/// A message that rows are added to.
struct Open {
    shape: Arc<Shape>,
    kind: Kind,
    first_row: u64,
    rows: usize,
    changed: Vec<bool>,
    hex: Vec<usize>,
    old_hex: Vec<usize>,
    data: Vec<u8>,
    old: Vec<u8>,
    snapshot: Option<Arc<str>>,
}

/// One row, on its way into a message.
pub struct Row<'a, R> {
    /// The table.
    pub shape: &'a Arc<Shape>,
    /// The queue.
    pub queue: u32,
    /// What happened.
    pub kind: Kind,
    /// The values: after the change, or before it for a delete.
    pub image: &'a R,
    /// For an update: the values before, and which columns changed.
    pub old: Option<(&'a R, &'a [bool])>,
    /// Its number in the transaction.
    pub number: u64,
    /// For a change of the key: the name of the property, and the other key.
    pub link: Option<(&'static str, &'a str)>,
    /// For a row of a snapshot: `table/chunk`.
    pub snapshot: Option<&'a Arc<str>>,
}

/// What a cut gives.
pub struct Cut {
    /// Messages and their queues, in order.
    pub messages: Vec<(Message, u32)>,
    /// How many for each queue.
    pub counts: BTreeMap<(Arc<str>, u32), u32>,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their bodies.
    pub bytes: usize,
}

impl Writer {
    /// A writer whose first message has this id.
    pub fn new(limits: Limits, next_id: u64) -> Writer {
        Writer {
            limits,
            next_id,
            origin: Origin::default(),
            open: BTreeMap::new(),
            done: Vec::new(),
            counts: BTreeMap::new(),
            bytes: 0,
            rows: 0,
            refused: None,
        }
    }

    /// The id that the next message will have.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Bytes gathered since the last cut.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was gathered since the last cut.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.open.is_empty()
    }

    /// Closes what is open and goes on with rows of this origin.
    pub fn begin(&mut self, origin: Origin) {
        self.close_all();
        self.origin = origin;
    }

    /// Adds a row.
    ///
    /// # Errors
    /// A value cannot be read, or the key is too long to be named by a property.
    pub fn add<R: RowValues>(&mut self, row: Row<'_, R>) -> Result<()> {
        let place = (row.shape.topic.clone(), row.queue);
        let changed = row.old.map_or(&[][..], |(_, changed)| changed);
        if let Some(open) = self.open.get(&place)
            && (!open.takes(&row, changed) || row.link.is_some())
        {
            self.close(&place);
        }
        let mut open = self.open.remove(&place).unwrap_or_else(|| Open::of(&row, changed));
        let (data_bytes, old_bytes) = (open.data.len(), open.old.len());
        let (mut hex, mut old_hex) = (Vec::new(), Vec::new());
        if open.rows > 0 {
            open.data.push(b',');
        }
        row.shape.write_row(row.image, |_| true, &mut open.data, &mut hex)?;
        if let Some((before, changed)) = row.old {
            if open.rows > 0 {
                open.old.push(b',');
            }
            let wanted = |number: usize| changed.get(number).copied().unwrap_or(true);
            row.shape.write_row(before, wanted, &mut open.old, &mut old_hex)?;
        }
        hex.sort_unstable();
        old_hex.sort_unstable();
        if open.rows > 0 && (hex != open.hex || old_hex != open.old_hex) {
            // The lists of hex columns hold for all rows of a message: this one begins another.
            let mut next = Open::of(&row, changed);
            next.data.extend_from_slice(&open.data[data_bytes + 1..]);
            open.data.truncate(data_bytes);
            if row.old.is_some() {
                next.old.extend_from_slice(&open.old[old_bytes + 1..]);
                open.old.truncate(old_bytes);
            }
            self.finish(&place, open, None)?;
            open = next;
        } else {
            self.bytes -= data_bytes + old_bytes;
        }
        open.hex = hex;
        open.old_hex = old_hex;
        open.rows += 1;
        self.rows += 1;
        self.bytes += open.data.len() + open.old.len();
        let full = open.rows >= self.limits.message_rows_max || open.data.len() + open.old.len() >= GATHER_BYTES;
        match row.link {
            Some(link) => self.finish(&place, open, Some(link))?,
            None if full => self.finish(&place, open, None)?,
            None => {
                self.open.insert(place, open);
            }
        }
        Ok(())
    }

    /// Adds a copy of a barrier to every queue of its topic.
    ///
    /// # Errors
    /// The statement is longer than a message may be.
    pub fn barrier(&mut self, barrier: &Barrier<'_>) -> Result<()> {
        self.close_all();
        let max = self.limits.message_bytes_max;
        ensure!(
            barrier.sql.len() < max / 2,
            "a DDL statement of {} bytes on {}.{} does not fit into a message",
            barrier.sql.len(),
            barrier.database,
            barrier.table
        );
        for queue in 0..barrier.queues {
            let body = format!(
                "{{\"data\":null,\"database\":{},\"es\":{},\"gtid\":{},\"id\":{},\"isDdl\":true,\"mysqlType\":null,\"old\":null,\"pkNames\":null,\"sql\":{},\"sqlType\":null,\"table\":{},\"ts\":{},\"type\":{}}}",
                json(barrier.database),
                self.origin.es,
                json(&self.origin.gtid_set),
                self.next_id,
                json(barrier.sql),
                json(barrier.table),
                clock::wall_ms(),
                json(barrier.kind),
            );
            let mut message = self
                .with_gtid(Message::new(barrier.topic.clone(), body).tag("DDL"))
                .property("barrier", &format!("{}/{}", barrier.number, barrier.queues));
            if let Some(snapshot) = barrier.snapshot {
                message = message.property("snapshot", snapshot);
            }
            self.next_id += 1;
            self.bytes += message.body().len();
            self.push(&(barrier.topic.clone(), queue), message);
        }
        Ok(())
    }

    /// Closes what is open and hands everything out.
    ///
    /// # Errors
    /// A row is too long to travel.
    pub fn cut(&mut self) -> Result<Cut> {
        self.close_all();
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        Ok(Cut {
            messages: std::mem::take(&mut self.done),
            counts: std::mem::take(&mut self.counts),
            rows: std::mem::take(&mut self.rows),
            bytes: std::mem::take(&mut self.bytes),
        })
    }

    fn close_all(&mut self) {
        // As near to the order of the source as messages of several rows can be.
        let mut places: Vec<(u64, (Arc<str>, u32))> =
            self.open.iter().map(|(p, open)| (open.first_row, p.clone())).collect();
        places.sort_unstable();
        for (_, place) in places {
            self.close(&place);
        }
    }

    fn close(&mut self, place: &(Arc<str>, u32)) {
        if let Some(open) = self.open.remove(place)
            && let Err(error) = self.finish(place, open, None)
        {
            self.refused.get_or_insert(error);
        }
    }

    fn finish(&mut self, place: &(Arc<str>, u32), open: Open, link: Option<(&'static str, &str)>) -> Result<()> {
        let body = self.body(&open);
        ensure!(
            body.len() <= BODY_BYTES_MAX,
            "{}: a row of {} bytes as JSON is longer than the {BODY_BYTES_MAX} that can travel",
            open.shape.name,
            body.len()
        );
        self.bytes += body.len() - open.data.len() - open.old.len() + OVERHEAD_BYTES;
        let pieces = body.len().div_ceil(self.limits.message_bytes_max).max(1);
        let body = Bytes::from(body);
        let step = body.len().div_ceil(pieces);
        for piece in 0..pieces {
            let part = body.slice(piece * step..((piece + 1) * step).min(body.len()));
            let mut message = self
                .with_gtid(Message::new(place.0.clone(), part).tag(if pieces > 1 { "PIECE" } else { open.kind.name() }))
                .property("row", itoa::Buffer::new().format(open.first_row));
            if let Some(snapshot) = &open.snapshot {
                message = message.property("snapshot", snapshot);
            }
            if let Some((name, key)) = link {
                ensure!(
                    key.len() < 16 << 10,
                    "{}: a primary key of {} bytes is too long",
                    open.shape.name,
                    key.len()
                );
                message = message.property(name, key);
            }
            if pieces > 1 {
                message = message
                    .property("piece", &format!("{}/{pieces}", piece + 1))
                    .property("id", itoa::Buffer::new().format(self.next_id));
            }
            self.next_id += 1;
            self.push(place, message);
        }
        Ok(())
    }

    /// Rows of a snapshot belong to no transaction.
    fn with_gtid(&self, message: Message) -> Message {
        match self.origin.gtid.is_empty() {
            true => message,
            false => message.property("gtid", &self.origin.gtid),
        }
    }

    fn push(&mut self, place: &(Arc<str>, u32), message: Message) {
        match self.counts.get_mut(place) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(place.clone(), 1);
            }
        }
        self.done.push((message, place.1));
    }

    fn body(&self, open: &Open) -> Vec<u8> {
        let shape = &open.shape;
        let mut number = itoa::Buffer::new();
        let fixed = shape.database_es.len() + shape.types_old.len() + shape.keys_table_ts.len();
        let mut body = Vec::with_capacity(open.data.len() + open.old.len() + fixed + self.origin.gtid_set.len() + 160);
        body.extend_from_slice(b"{\"data\":[");
        body.extend_from_slice(&open.data);
        body.push(b']');
        body.extend_from_slice(shape.database_es.as_bytes());
        body.extend_from_slice(number.format(self.origin.es).as_bytes());
        body.extend_from_slice(b",\"gtid\":\"");
        body.extend_from_slice(self.origin.gtid_set.as_bytes());
        body.push(b'"');
        put_names(&mut body, b",\"hex\":[", shape, &open.hex);
        body.extend_from_slice(b",\"id\":");
        body.extend_from_slice(number.format(self.next_id).as_bytes());
        body.extend_from_slice(shape.types_old.as_bytes());
        match open.kind {
            Kind::Update => {
                body.push(b'[');
                body.extend_from_slice(&open.old);
                body.push(b']');
            }
            _ => body.extend_from_slice(b"null"),
        }
        put_names(&mut body, b",\"oldHex\":[", shape, &open.old_hex);
        body.extend_from_slice(shape.keys_table_ts.as_bytes());
        body.extend_from_slice(number.format(clock::wall_ms()).as_bytes());
        body.extend_from_slice(b",\"type\":\"");
        body.extend_from_slice(open.kind.name().as_bytes());
        body.extend_from_slice(b"\"}");
        body
    }
}

/// A field with names of columns; none if there are no names.
fn put_names(body: &mut Vec<u8>, field: &[u8], shape: &Shape, columns: &[usize]) {
    for (i, column) in columns.iter().enumerate() {
        body.extend_from_slice(if i == 0 { field } else { b"," });
        body.extend_from_slice(shape.label(*column));
    }
    if !columns.is_empty() {
        body.push(b']');
    }
}

impl Open {
    fn of<R>(row: &Row<'_, R>, changed: &[bool]) -> Open {
        Open {
            shape: row.shape.clone(),
            kind: row.kind,
            first_row: row.number,
            rows: 0,
            changed: changed.to_vec(),
            hex: Vec::new(),
            old_hex: Vec::new(),
            data: Vec::new(),
            old: Vec::new(),
            snapshot: row.snapshot.cloned(),
        }
    }

    /// Whether a row may join: same table, type and changed columns.
    fn takes<R>(&self, row: &Row<'_, R>, changed: &[bool]) -> bool {
        Arc::ptr_eq(&self.shape, row.shape)
            && self.kind == row.kind
            && self.changed == changed
            && self.snapshot.as_ref() == row.snapshot
    }
}
