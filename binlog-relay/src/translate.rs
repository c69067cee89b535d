//! Events in, messages out: follows transactions, chooses rows, and knows at each moment which position the messages so far amount to.
//!
//! It reads nothing and sends nothing. [`Translator::event`] takes one event after the other; [`Translator::cut`] hands out what has been
//! gathered, with the position behind it.

use crate::ddl::{self, Kind as Statement};
use crate::message::{Barrier, Kind, Limits, Origin, Row, Writer};
use crate::position::{Partial, Position, SnapshotState};
use crate::route::Routes;
use crate::shape::{Cell, ColumnText, RowValues, Shape};
use crate::sink::{Batch, Topics};
use crate::snapshot::Window;
use crate::source::SourceError;
use anyhow::{Context, Result, anyhow, bail};
use binlog_relay_event::gtid::GtidEvent;
use binlog_relay_event::header;
use binlog_relay_event::query::QueryEvent;
use binlog_relay_event::rows::{self, ColumnPlan, Plan, RowReader, RowsEvent, RowsKind, TextPolicy};
use binlog_relay_event::table::TableMap;
use binlog_relay_event::text::Written;
use bytes::Bytes;
use mq_base::env::clock;
use mq_client::Message;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What the state machine needs to know of its relay.
pub struct Options {
    /// The rules.
    pub routes: Arc<Routes>,
    /// Limits of messages.
    pub limits: Limits,
    /// Topic of the progress messages.
    pub progress_topic: Arc<str>,
    /// Epoch of the producer.
    pub epoch: u64,
}

/// See the module.
pub struct Translator {
    options: Options,
    /// Complete transactions, barriers, snapshots: what is behind the last whole transaction.
    position: Position,
    /// `position.gtids` and the transaction at hand.
    seen: crate::gtid::GtidSet,
    transaction: Option<Transaction>,
    /// By table id; ids mean something until the next file.
    tables: HashMap<u64, Known>,
    writer: Writer,
    batch: u64,
    /// Commit time of the newest transaction, ms.
    es: i64,
    /// Transactions taken in since the last cut.
    transactions: u64,
    /// The chunk of a snapshot that is being read, and the keys that changed meanwhile.
    pub(crate) window: Option<Window>,
    scratch: Scratch,
}

struct Transaction {
    gtid: binlog_relay_event::gtid::Gtid,
    text: String,
    es: i64,
    /// Rows of captured tables so far.
    rows: u64,
    /// Of these, the first so many are in the queue already.
    skip: u64,
    /// Whether the writer knows of this transaction.
    announced: bool,
}

struct Known {
    /// The event, to see whether it says the same again.
    raw: Vec<u8>,
    table: Option<Arc<Table>>,
}

/// A captured table.
struct Table {
    shape: Arc<Shape>,
    plan: Plan,
    columns: usize,
}

/// Memory that is used again and again.
#[derive(Default)]
struct Scratch {
    before: rows::Row<'static>,
    after: rows::Row<'static>,
    buffers: Buffers,
}

#[derive(Default)]
struct Buffers {
    changed: Vec<bool>,
    key: Vec<u8>,
    old_key: Vec<u8>,
    text: Vec<u8>,
}

/// A row image as the writer sees it.
struct Image<'a> {
    plan: &'a Plan,
    row: &'a rows::Row<'a>,
}

impl Image<'_> {
    fn value(&self, number: usize) -> Result<Option<(&ColumnPlan, &[u8])>> {
        match self.row.raw(number) {
            rows::Value::Null => Ok(None),
            rows::Value::Absent => {
                bail!("a column is missing from the row image: binlog_row_image must be FULL for every session")
            }
            rows::Value::Raw(raw) => Ok(Some((&self.plan.columns()[number], raw))),
        }
    }
}

impl RowValues for Image<'_> {
    fn write_json(&self, column: usize, out: &mut Vec<u8>) -> Result<Cell> {
        match self.value(column)? {
            None => {
                out.extend_from_slice(b"null");
                Ok(Cell::Null)
            }
            Some((column, raw)) => Ok(cell(column.write_json(raw, out)?)),
        }
    }

    fn write_text(&self, column: usize, out: &mut Vec<u8>) -> Result<Cell> {
        match self.value(column)? {
            None => Ok(Cell::Null),
            Some((column, raw)) => Ok(cell(column.write_text(raw, out)?)),
        }
    }
}

fn cell(written: Written) -> Cell {
    match written {
        Written::Text => Cell::Text,
        Written::Hex => Cell::Hex,
    }
}

impl Translator {
    /// Goes on from a position; `batch` is the number that the next batch will have.
    pub fn new(options: Options, position: Position, batch: u64) -> Translator {
        Translator {
            seen: held(&position),
            writer: Writer::new(options.limits, position.next_id),
            options,
            position,
            transaction: None,
            tables: HashMap::new(),
            batch,
            es: 0,
            transactions: 0,
            window: None,
            scratch: Scratch::default(),
        }
    }

    /// Where the stream has to begin.
    pub fn wanted_from(&self) -> &Position {
        &self.position
    }

    /// Everything that is in the queue, a half written transaction too.
    pub fn held(&self) -> crate::gtid::GtidSet {
        held(&self.position)
    }

    /// Complete transactions and the one at hand: everything that has been looked at.
    pub fn seen(&self) -> &crate::gtid::GtidSet {
        &self.seen
    }

    /// Transactions that have been taken in whole.
    pub fn complete(&self) -> &crate::gtid::GtidSet {
        &self.position.gtids
    }

    /// The state of table copies.
    pub fn snapshots(&mut self) -> &mut BTreeMap<String, SnapshotState> {
        &mut self.position.snapshots
    }

    /// Whether the messages so far end with a whole transaction.
    pub fn is_between(&self) -> bool {
        self.transaction.is_none()
    }

    /// Bytes gathered since the last cut.
    pub fn bytes(&self) -> usize {
        self.writer.bytes()
    }

    /// Whether a cut would say nothing new.
    pub fn is_empty(&self) -> bool {
        self.writer.is_empty() && self.transactions == 0
    }

    /// Takes one event, whose checksum has been verified; of a compressed transaction, one of the events in it.
    ///
    /// # Errors
    /// [`SourceError::Stop`]: the event is one that the relay does not support, or cannot read. Nothing of it was taken.
    pub async fn event(&mut self, kind: u8, body: &[u8], topics: &mut Topics) -> Result<(), SourceError> {
        let taken = self.plain(kind, body, topics).await;
        taken.map_err(|error| self.refuse(&error))
    }

    async fn plain(&mut self, kind: u8, body: &[u8], topics: &mut Topics) -> Result<()> {
        match kind {
            header::GTID | header::GTID_TAGGED | header::ANONYMOUS_GTID => self.begin(GtidEvent::parse(kind, body)?),
            header::QUERY => self.query(&QueryEvent::parse(body)?, topics).await,
            header::TABLE_MAP => self.table_map(body, topics).await,
            header::XID => {
                self.end();
                Ok(())
            }
            header::ROTATE | header::FORMAT_DESCRIPTION => {
                self.tables.clear();
                Ok(())
            }
            kind if header::has_rows(kind) => self.rows(kind, body),
            kind => match header::refusal(kind) {
                Some(why) => bail!("{why}"),
                None => Ok(()),
            },
        }
    }

    fn begin(&mut self, event: GtidEvent) -> Result<()> {
        let gtid = event
            .gtid
            .context("a transaction has no GTID: gtid_mode was not ON at the source")?;
        if let Some(unfinished) = &self.transaction {
            bail!("transaction {} begins, and {} has not ended", gtid, unfinished.text);
        }
        let text = gtid.to_string();
        self.seen.add(gtid.source, &gtid.tag, gtid.number);
        let mut skip = 0;
        if let Some(partial) = self.position.partial.as_ref().filter(|partial| partial.gtid == text) {
            if partial.rules != self.options.routes.fingerprint() {
                bail!(
                    "the rules were changed while transaction {text} was half in the queue: start the relay once with the old rules"
                );
            }
            skip = partial.rows;
        }
        let committed_us = if event.original_commit_us > 0 {
            event.original_commit_us
        } else {
            event.immediate_commit_us
        };
        self.transaction = Some(Transaction {
            gtid,
            text,
            es: (committed_us / 1000) as i64,
            rows: 0,
            skip,
            announced: false,
        });
        Ok(())
    }

    fn end(&mut self) {
        let Some(transaction) = self.transaction.take() else {
            return;
        };
        let gtid = &transaction.gtid;
        self.position.gtids.add(gtid.source, &gtid.tag, gtid.number);
        // Another server may give transactions in another order: the half one may still be to come.
        if self
            .position
            .partial
            .as_ref()
            .is_some_and(|partial| partial.gtid == transaction.text)
        {
            self.position.partial = None;
        }
        self.es = self.es.max(transaction.es);
        self.transactions += 1;
    }

    /// Makes the writer say which transaction its next messages belong to.
    fn announce(&mut self) -> Result<()> {
        let transaction = self.transaction.as_mut().context("a row outside of a transaction")?;
        if !transaction.announced {
            transaction.announced = true;
            self.writer.begin(Origin {
                gtid: transaction.text.clone(),
                gtid_set: self.seen.to_string(),
                es: transaction.es,
            });
        }
        Ok(())
    }

    async fn table_map(&mut self, body: &[u8], topics: &mut Topics) -> Result<()> {
        let id = body.get(..6).context("a table map is cut short")?;
        let id = id.iter().rev().fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
        if self.tables.get(&id).is_some_and(|known| known.raw == body) {
            return Ok(());
        }
        let map = TableMap::parse(body)?;
        let table = match self.options.routes.find(&map.database, &map.table) {
            None => None,
            Some(route) => {
                let queues = topics.ensure(&route.topic, route.queues).await?;
                let table = self.table(&map, &route, queues);
                Some(Arc::new(
                    table.with_context(|| format!("table {}.{}", map.database, map.table))?,
                ))
            }
        };
        self.tables.insert(
            id,
            Known {
                raw: body.to_vec(),
                table,
            },
        );
        Ok(())
    }

    fn table(&self, map: &TableMap, route: &crate::route::Route, queues: u32) -> Result<Table> {
        if !map.has_full_metadata {
            bail!("its table map has no names: binlog_row_metadata was not FULL when this transaction was written");
        }
        let columns: Vec<ColumnText> = map
            .columns
            .iter()
            .map(|column| ColumnText {
                name: column.name.clone(),
                mysql_type: column.mysql_type(),
                sql_type: column.sql_type(),
            })
            .collect();
        let key = map.primary_key.iter().map(|part| part.column).collect();
        let shape = Shape::new(
            &map.database,
            &map.table,
            &columns,
            key,
            &self.options.routes,
            route,
            queues,
        )?;
        Ok(Table {
            shape: Arc::new(shape),
            plan: Plan::new(map, &TextPolicy::default())?,
            columns: columns.len(),
        })
    }

    fn rows(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let event = RowsEvent::parse(kind, body)?;
        let Some(known) = self.tables.get(&event.table_id) else {
            // An event without rows only ends a statement.
            if event.data.is_empty() {
                return Ok(());
            }
            bail!("rows of table number {} without a table map", event.table_id);
        };
        let Some(table) = known.table.clone() else {
            return Ok(());
        };
        self.announce()?;
        let forward = !matches!(
            self.position.snapshots.get(&table.shape.name),
            Some(SnapshotState::Wanted)
        );
        let scratch = std::mem::take(&mut self.scratch);
        let (mut before, mut after, mut buffers) = (scratch.before.recycle(), scratch.after.recycle(), scratch.buffers);
        let mut reader = RowReader::new(&table.plan, &event)?;
        let mut done = Ok(());
        while done.is_ok() && reader.next(&mut before, &mut after)? {
            let transaction = self.transaction.as_mut().context("a row outside of a transaction")?;
            let number = transaction.rows;
            transaction.rows += 1;
            if number < transaction.skip || !forward {
                // Not written now: what a window has read may be older than what was written before, or be made from it twice.
                if let Some(window) = &mut self.window {
                    window.pass(&table.shape.name, number < transaction.skip);
                }
            } else {
                done = self.one_row(event.kind, &table, number, (&before, &after), &mut buffers);
            }
        }
        self.scratch = Scratch {
            before: before.recycle(),
            after: after.recycle(),
            buffers,
        };
        done.with_context(|| format!("a row of {}", table.shape.name))
    }

    fn one_row(
        &mut self,
        event: RowsKind,
        table: &Table,
        number: u64,
        (before, after): (&rows::Row<'_>, &rows::Row<'_>),
        buffers: &mut Buffers,
    ) -> Result<()> {
        let Buffers {
            changed,
            key,
            old_key,
            text,
        } = buffers;
        let shape = &table.shape;
        let image = |row| Image { plan: &table.plan, row };
        let (before, after) = (image(before), image(after));
        let simple = |kind, image, queue, link| Row {
            shape,
            queue,
            kind,
            image,
            old: None,
            number,
            link,
            snapshot: None,
        };
        let main = if event == RowsKind::Delete { &before } else { &after };
        shape.write_key(main, key, text)?;
        if let Some(window) = &mut self.window {
            window.strike(&shape.name, key);
        }
        let queue = shape.queue(key);
        if event != RowsKind::Update {
            let kind = if event == RowsKind::Delete {
                Kind::Delete
            } else {
                Kind::Insert
            };
            return self.writer.add(simple(kind, main, queue, None));
        }
        changed.clear();
        changed.extend((0..table.columns).map(|n| before.row.raw(n) != after.row.raw(n)));
        if shape.key.iter().all(|n| !changed[*n]) {
            return self.writer.add(Row {
                old: Some((&before, changed)),
                ..simple(Kind::Update, &after, queue, None)
            });
        }
        // The key has changed: the old one goes, the new one comes, each in its own queue and naming the other.
        shape.write_key(&before, old_key, text)?;
        if let Some(window) = &mut self.window {
            window.strike(&shape.name, old_key);
        }
        let (new, old) = (key_text(shape, &after)?, key_text(shape, &before)?);
        self.writer.add(simple(
            Kind::Delete,
            &before,
            shape.queue(old_key),
            Some(("keyTo", &new)),
        ))?;
        self.writer
            .add(simple(Kind::Insert, &after, queue, Some(("keyFrom", &old))))
    }

    async fn query(&mut self, event: &QueryEvent<'_>, topics: &mut Topics) -> Result<()> {
        let sql = event
            .text()
            .context("a statement is not readable in its character set")?;
        let ansi_quotes = event.sql_mode.is_some_and(|mode| mode & 4 != 0);
        let statement = ddl::read(&sql, event.database, ansi_quotes);
        match statement.kind {
            Statement::Transaction => self.transaction_word(&sql),
            Statement::Server => {
                self.end();
                Ok(())
            }
            Statement::Dml => {
                let tables = &statement.tables;
                let captured = tables.iter().any(|(d, t)| self.options.routes.find(d, t).is_some());
                if captured || tables.is_empty() {
                    bail!(
                        "a change in statement format ('{}'): binlog_format must be ROW for every session",
                        head(&sql)
                    );
                }
                Ok(())
            }
            _ => {
                self.definition(&sql, event.database, &statement, topics).await?;
                // CREATE TABLE … SELECT is one transaction: its rows follow, and an XID ends it.
                if ddl::without_start_transaction(&sql).len() == sql.len() {
                    self.end();
                }
                Ok(())
            }
        }
    }

    fn transaction_word(&mut self, sql: &str) -> Result<()> {
        let word = sql.split_whitespace().next().unwrap_or_default();
        if word.eq_ignore_ascii_case("XA") {
            bail!("XA transactions are not supported yet: '{}'", head(sql));
        }
        // What was rolled back to a savepoint is not in the binlog; a whole ROLLBACK ends what only changed tables that cannot roll back.
        let ends = word.eq_ignore_ascii_case("COMMIT")
            || (word.eq_ignore_ascii_case("ROLLBACK") && sql.split_whitespace().nth(1).is_none());
        if ends {
            self.end();
        }
        Ok(())
    }

    /// A DDL statement: a barrier in every queue of the topics of its tables.
    async fn definition(
        &mut self,
        sql: &str,
        database: &str,
        statement: &ddl::Statement,
        topics: &mut Topics,
    ) -> Result<()> {
        let mut affected: Vec<(Arc<str>, u32, String, String)> = Vec::new();
        let names: Vec<(String, String)> = match &statement.database {
            // A whole schema is gone.
            Some(gone) => {
                let known = self.position.snapshots.keys().filter_map(|name| name.split_once('.'));
                known
                    .filter(|(d, _)| d == gone)
                    .map(|(d, t)| (d.to_owned(), t.to_owned()))
                    .collect()
            }
            None => statement.tables.clone(),
        };
        for (database, table) in &names {
            let Some(route) = self.options.routes.find(database, table) else {
                continue;
            };
            let queues = topics.ensure(&route.topic, route.queues).await?;
            if let Some(window) = &mut self.window {
                window.spoil(&format!("{database}.{table}"));
            }
            if !affected.iter().any(|(topic, ..)| **topic == *route.topic) {
                affected.push((route.topic.as_str().into(), queues, database.clone(), table.clone()));
            }
        }
        if affected.is_empty() {
            return Ok(());
        }
        self.keep_snapshots_true(sql, statement, &names);
        // It counts as a row: of CREATE … SELECT it may be in the queue while its rows are not.
        let transaction = self
            .transaction
            .as_mut()
            .context("a DDL statement outside of a transaction")?;
        transaction.rows += 1;
        if transaction.rows <= transaction.skip {
            return Ok(());
        }
        self.announce()?;
        let number = self.position.next_barrier;
        self.position.next_barrier += 1;
        for (topic, queues, table_database, table) in &affected {
            self.writer.barrier(&Barrier {
                topic,
                queues: *queues,
                number,
                kind: statement.kind.message_type().unwrap_or("QUERY"),
                // The statement's own default schema, if its table is there; else that of the table.
                database: if names.len() > 1 { database } else { table_database },
                table,
                sql,
                snapshot: None,
            })?;
        }
        Ok(())
    }

    /// New tables need no copy, dropped ones none any more; one that comes in under a captured name has to be copied.
    fn keep_snapshots_true(&mut self, sql: &str, statement: &ddl::Statement, names: &[(String, String)]) {
        let captured = |name: &(String, String)| self.options.routes.find(&name.0, &name.1).is_some();
        let key = |name: &(String, String)| format!("{}.{}", name.0, name.1);
        match statement.kind {
            Statement::Create => {
                if let Some(name) = names.first().filter(|name| captured(name)) {
                    self.position
                        .snapshots
                        .entry(key(name))
                        .or_insert(SnapshotState::Done(0));
                }
            }
            Statement::Drop => {
                for name in names {
                    self.position.snapshots.remove(&key(name));
                }
            }
            Statement::Rename | Statement::Alter => {
                // Rows move without row events.
                if sql.to_ascii_uppercase().contains("EXCHANGE") {
                    for name in names.iter().filter(|name| captured(name)) {
                        self.position.snapshots.insert(key(name), SnapshotState::Again);
                    }
                    return;
                }
                // The order of the key may be another now: the copy begins anew.
                if let [name] = names
                    && let Some(state @ SnapshotState::Running { .. }) = self.position.snapshots.get_mut(&key(name))
                {
                    *state = SnapshotState::Again;
                }
                for pair in names.chunks_exact(2) {
                    let state = self.position.snapshots.remove(&key(&pair[0]));
                    if captured(&pair[1]) {
                        let state = state.unwrap_or(SnapshotState::Wanted);
                        self.position.snapshots.insert(key(&pair[1]), state);
                    }
                }
            }
            _ => {}
        }
    }

    /// Writes a barrier of the snapshot itself.
    ///
    /// # Errors
    /// The definition does not fit into a message.
    pub(crate) fn snapshot_barrier(
        &mut self,
        place: (&Arc<str>, u32),
        name: (&str, &str),
        kind: &str,
        sql: &str,
        mark: &str,
    ) -> Result<()> {
        self.outside();
        let number = self.position.next_barrier;
        self.position.next_barrier += 1;
        self.writer.barrier(&Barrier {
            topic: place.0,
            queues: place.1,
            number,
            kind,
            database: name.0,
            table: name.1,
            sql,
            snapshot: Some(mark),
        })
    }

    /// Writes a row of the snapshot.
    ///
    /// # Errors
    /// A value cannot be read.
    pub(crate) fn snapshot_row<R: RowValues>(&mut self, row: Row<'_, R>) -> Result<()> {
        self.writer.add(row)
    }

    /// Tells the writer that what follows belongs to no transaction.
    pub(crate) fn outside(&mut self) {
        self.writer.begin(Origin {
            gtid: String::new(),
            gtid_set: self.position.gtids.to_string(),
            es: clock::wall_ms(),
        });
    }

    /// Hands out what has been gathered. The progress message is added, and the position is the one behind it.
    ///
    /// # Errors
    /// The position is too long.
    pub fn cut(&mut self) -> Result<Batch> {
        let cut = self.writer.cut()?;
        self.position.next_id = self.writer.next_id();
        if let Some(transaction) = &mut self.transaction {
            // Rows that were there before count on; with none there is nothing half done.
            let rows = transaction.rows.max(transaction.skip);
            if rows > 0 {
                let other = self
                    .position
                    .partial
                    .as_ref()
                    .filter(|partial| partial.gtid != transaction.text);
                if let Some(other) = other {
                    bail!(
                        "transactions {} and {} would both be half in the queue: the source is another server, which has another order. \
                         Let the relay read from the server it knew until {} is complete",
                        other.gtid,
                        transaction.text,
                        other.gtid
                    );
                }
                self.position.partial = Some(Partial {
                    gtid: transaction.text.clone(),
                    rows,
                    rules: self.options.routes.fingerprint(),
                });
            }
        }
        let gtids = self.position.gtids.to_string();
        let counts: Vec<_> = cut
            .counts
            .iter()
            .map(|((topic, queue), count)| (&**topic, queue, count))
            .collect();
        let partial = self.position.partial.as_ref();
        let progress = serde_json::json!({
            "batch": self.batch,
            "epoch": self.options.epoch,
            "gtid": gtids,
            "partial": partial.map(|partial| serde_json::json!({ "gtid": partial.gtid, "rows": partial.rows })),
            "messages": counts,
            "next": self.position.next_id,
            "es": self.es,
        });
        let mut messages = cut.messages;
        messages.push((
            Message::new(self.options.progress_topic.clone(), progress.to_string()),
            0,
        ));
        self.batch += 1;
        Ok(Batch {
            messages,
            transactions: std::mem::take(&mut self.transactions),
            position: Bytes::from(self.position.encode()?),
            rows: cut.rows,
            bytes: cut.bytes,
            gtids,
            es: self.es,
        })
    }

    /// The stream is asked for anew: what is half read comes again from its beginning. Only right after a cut.
    pub fn restart(&mut self) {
        self.transaction = None;
        self.seen = held(&self.position);
        self.tables.clear();
    }

    pub(crate) fn refuse(&self, error: &anyhow::Error) -> SourceError {
        let place = match &self.transaction {
            Some(transaction) => format!("in transaction {}", transaction.text),
            None => format!("after {}", self.position.gtids),
        };
        SourceError::stop(
            format!("{error:#} ({place})"),
            "Nothing was skipped. Mend the cause, or take the table out of the rules; then start the relay again",
        )
    }
}

/// Complete transactions, and the one that is in the queue in part.
pub fn held(position: &Position) -> crate::gtid::GtidSet {
    let mut held = position.gtids.clone();
    if let Some(partial) = &position.partial
        && let Ok(partial) = crate::gtid::GtidSet::parse(&partial.gtid)
    {
        held.add_all(&partial);
    }
    held
}

/// The key as a JSON array of texts.
fn key_text(shape: &Shape, row: &impl RowValues) -> Result<String> {
    let mut parts = Vec::new();
    for number in &shape.key {
        let mut text = Vec::new();
        row.write_text(*number, &mut text)?;
        parts.push(String::from_utf8(text).map_err(|_| anyhow!("a key is not UTF-8"))?);
    }
    Ok(serde_json::Value::from(parts).to_string())
}

/// Its first word: what follows may be secret.
fn head(sql: &str) -> &str {
    sql.split_whitespace().next().unwrap_or_default()
}
