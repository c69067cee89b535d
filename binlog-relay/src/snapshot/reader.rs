//! The task that reads tables in chunks. It owns a connection; the relay owns the queue, so each chunk is handed over and answered.

use super::columns::Columns;
use crate::gtid::GtidSet;
use crate::mysql;
use crate::position::SnapshotState;
use crate::source::checks::quoted;
use anyhow::{Context, Result, bail};
use mq_base::env::clock;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Most rows of a table without a key: they are all in one chunk.
const KEYLESS_ROWS_MAX: u32 = 100_000;
/// About so many bytes are one chunk at most.
const CHUNK_BYTES: u64 = 8 << 20;
/// For a table without a key: a commit is shown by the server at the latest so long after it can be selected.
const SETTLE: Duration = Duration::from_millis(1000);

/// What the reader tells the relay.
pub enum Note {
    /// Which table is next? Answered with its name and state; none: nothing to do now.
    Next(oneshot::Sender<Option<(String, SnapshotState)>>),
    /// Open a window over a table. Answered with everything that the translator has seen.
    Open(String, oneshot::Sender<GtidSet>),
    /// Something to write, once the stream has passed `high`.
    Deliver(Box<Delivery>, oneshot::Sender<Outcome>),
}

/// What was read in a window.
pub struct Delivery {
    /// Schema and table.
    pub name: (String, String),
    /// What the server had executed after the select.
    pub high: GtidSet,
    /// The columns as they were.
    pub columns: Columns,
    /// What is to be written.
    pub what: What,
}

/// See [`Delivery`].
pub enum What {
    /// The beginning: the table's definition.
    Begin(String),
    /// A table without a key, whole: its definition and all its rows.
    Whole(String, Vec<Vec<Value>>),
    /// Rows; whether they are the last.
    Rows(Vec<Vec<Value>>, bool),
    /// The table is not there any more.
    Gone,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the queue, or on its way.
    Written,
    /// The table changed in the window: read again.
    Spoiled,
}

/// Settings of the reader.
#[derive(Debug, Clone)]
pub struct Options {
    /// The source.
    pub url: String,
    /// Rows of a chunk.
    pub chunk_rows: u32,
}

/// Reads what is wanted, until the relay goes away. Connection trouble is tried again.
pub async fn run(options: Options, notes: mpsc::Sender<Note>) {
    loop {
        match session(&options, &notes).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!("snapshot: {error:#}; trying again");
                clock::sleep(Duration::from_secs(1)).await;
            }
        }
        if notes.is_closed() {
            return;
        }
    }
}

async fn session(options: &Options, notes: &mpsc::Sender<Note>) -> Result<()> {
    let mut conn: Option<Conn> = None;
    loop {
        let (reply, next) = oneshot::channel();
        if notes.send(Note::Next(reply)).await.is_err() {
            return Ok(());
        }
        let Ok(next) = next.await else { return Ok(()) };
        let Some((table, state)) = next else {
            conn = None;
            clock::sleep(Duration::from_millis(300)).await;
            continue;
        };
        if conn.is_none() {
            conn = Some(mysql::connect(&options.url).await?);
        }
        let Some(conn) = &mut conn else { continue };
        step(options, conn, notes, &table, state)
            .await
            .with_context(|| format!("copy {table}"))?;
    }
}

/// Reads one chunk of a table, or its beginning.
async fn step(
    options: &Options,
    conn: &mut Conn,
    notes: &mpsc::Sender<Note>,
    table: &str,
    state: SnapshotState,
) -> Result<()> {
    let (database, name) = table.split_once('.').context("a table's name without its schema")?;
    let (reply, seen) = oneshot::channel();
    if notes.send(Note::Open(table.to_owned(), reply)).await.is_err() {
        return Ok(());
    }
    let Ok(seen) = seen.await else { return Ok(()) };
    show(conn, &seen).await?;
    let (columns, what) = match read(options, conn, (database, name), &state).await {
        Ok(read) => read,
        Err(error) if is_gone(&error) => (
            Columns {
                all: Vec::new(),
                key: Vec::new(),
            },
            What::Gone,
        ),
        Err(error) => return Err(error),
    };
    if matches!(what, What::Whole(..)) {
        clock::sleep(SETTLE).await;
    }
    let high: String = conn
        .query_first("SELECT @@GLOBAL.gtid_executed")
        .await?
        .context("read the server's GTID set")?;
    let delivery = Delivery {
        name: (database.to_owned(), name.to_owned()),
        high: GtidSet::parse(&high)?,
        columns,
        what,
    };
    let (reply, outcome) = oneshot::channel();
    if notes.send(Note::Deliver(Box::new(delivery), reply)).await.is_err() {
        return Ok(());
    }
    if outcome.await == Ok(Outcome::Spoiled) {
        tracing::info!(table, "the table changed while a chunk was read; reading it again");
    }
    Ok(())
}

async fn read(
    options: &Options,
    conn: &mut Conn,
    name: (&str, &str),
    state: &SnapshotState,
) -> Result<(Columns, What)> {
    let columns = Columns::read(conn, name.0, name.1).await?;
    let running = match state {
        SnapshotState::Running { after, .. } if !columns.key.is_empty() => Some(after),
        _ => None,
    };
    let Some(after) = running else {
        let definition: Option<(String, String)> = conn
            .query_first(format!("SHOW CREATE TABLE {}.{}", quoted(name.0), quoted(name.1)))
            .await?;
        let (_, sql) = definition.context("read the table's definition")?;
        if !columns.key.is_empty() {
            return Ok((columns, What::Begin(sql)));
        }
        let rows = columns.select(conn, name, None, KEYLESS_ROWS_MAX + 1).await?;
        if rows.len() > KEYLESS_ROWS_MAX as usize {
            bail!(
                "it has no primary key and more than {KEYLESS_ROWS_MAX} rows; give it a key, or take it out of the rules"
            );
        }
        return Ok((columns, What::Whole(sql, rows)));
    };
    let limit = rows_at_once(options, conn, name).await?;
    let after = after.as_ref().map(|texts| columns.key_from_texts(texts)).transpose()?;
    let rows = columns.select(conn, name, after.as_deref(), limit).await?;
    let last = rows.len() < limit as usize;
    Ok((columns, What::Rows(rows, last)))
}

/// Rows of a chunk: fewer if they are long.
async fn rows_at_once(options: &Options, conn: &mut Conn, name: (&str, &str)) -> Result<u32> {
    let mean: Option<Option<u64>> = conn
        .exec_first(
            "SELECT AVG_ROW_LENGTH FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            name,
        )
        .await?;
    let mean = mean.flatten().unwrap_or(0).max(1);
    Ok((CHUNK_BYTES / mean).clamp(1, options.chunk_rows.into()) as u32)
}

/// Waits until everything of a set can be selected.
async fn show(conn: &mut Conn, seen: &GtidSet) -> Result<()> {
    let late: Option<i64> = conn
        .exec_first("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 10)", (seen.to_string(),))
        .await?;
    if late != Some(0) {
        bail!("the server has not executed within 10 s what its binlog shows");
    }
    Ok(())
}

/// Unknown table or schema.
fn is_gone(error: &anyhow::Error) -> bool {
    let Some(mysql_async::Error::Server(server)) = error.downcast_ref::<mysql_async::Error>() else {
        return error.to_string().contains("no columns that can be read");
    };
    matches!(server.code, 1146 | 1049)
}
