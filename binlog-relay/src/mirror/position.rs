//! How far the mirror has come: kept beside the rows, written in the same transaction.
//!
//! Two tables in the position's schema. `_forebay_mirror` has a row for each mirror:
//!
//! | column | meaning |
//! |---|---|
//! | `name` | the mirror |
//! | `applied` | `id` of the last message whose effect is in the copy. This alone decides what is applied again after a crash |
//! | `batch`, `progress_offset` | the last atomic batch that was read to its end, and the offset after its message in the progress topic |
//! | `gtid`, `partial`, `es` | the source's transactions that are complete in the copy after that batch; whether it also has a part of another; its commit time, ms |
//! | `barrier` | the last barrier that was carried out: its other copies are skipped |
//! | `pending` | the barrier that is being carried out, or NULL: JSON of its `id`, and a fingerprint of the tables before it |
//!
//! `_forebay_mirror_queue` has the next offset of each queue, as after that batch: where to read on.

use super::Lost;
use super::table::quote;
use crate::ddl::quoted;
use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Topic and number of a queue.
pub(super) type Queue = (String, u32);

/// A barrier that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// `id` of its first copy.
    pub(super) id: u64,
    /// Fingerprint of the tables that it names, before it.
    pub(super) before: String,
}

/// A position. See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Position {
    name: String,
    schema: String,
    pub(super) applied: u64,
    pub(super) batch: u64,
    pub(super) progress_offset: u64,
    pub(super) gtid: String,
    pub(super) partial: bool,
    pub(super) es: i64,
    pub(super) barrier: String,
    pub(super) pending: Option<Pending>,
    queues: BTreeMap<Queue, u64>,
    /// Queues whose offset is not written yet.
    unwritten: BTreeSet<Queue>,
    /// `applied` and `progress_offset` as they are stored.
    stored: (u64, u64),
}

impl Position {
    /// Reads the position of a mirror; founds its tables if need be.
    ///
    /// # Errors
    /// Of the server.
    pub(super) async fn load(conn: &mut Conn, schema: &str, name: &str) -> Result<Position> {
        let there = quoted(schema);
        let tables = [
            format!(
                "CREATE TABLE IF NOT EXISTS {there}._forebay_mirror (name VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, \
                 applied BIGINT UNSIGNED NOT NULL, batch BIGINT UNSIGNED NOT NULL, progress_offset BIGINT UNSIGNED NOT NULL, gtid LONGTEXT NOT NULL, \
                 partial BOOL NOT NULL, es BIGINT NOT NULL, barrier VARCHAR(190) NOT NULL, pending LONGTEXT) ENGINE=InnoDB"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {there}._forebay_mirror_queue (name VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, \
                 topic VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, queue INT UNSIGNED, next_offset BIGINT UNSIGNED NOT NULL, \
                 PRIMARY KEY (name, topic, queue)) ENGINE=InnoDB"
            ),
        ];
        for table in tables {
            conn.query_drop(table).await.context("found the table of positions")?;
        }
        let columns = "applied, batch, progress_offset, gtid, partial, es, barrier, pending";
        let sql = format!(
            "SELECT {columns} FROM {there}._forebay_mirror WHERE name = {}",
            quote(name)
        );
        type Stored = (u64, u64, u64, String, bool, i64, String, Option<String>);
        let found: Option<Stored> = conn.query_first(sql).await.context("read the position")?;
        let mut position = Position {
            name: name.to_owned(),
            schema: schema.to_owned(),
            ..Position::default()
        };
        let Some((applied, batch, progress_offset, gtid, partial, es, barrier, pending)) = found else {
            let sql = format!(
                "INSERT INTO {there}._forebay_mirror VALUES ({}, 0, 0, 0, '', FALSE, 0, '', NULL)",
                quote(name)
            );
            conn.query_drop(sql).await.context("found the position")?;
            return Ok(position);
        };
        let pending =
            pending.map(|text| serde_json::from_str(&text).context("read the column pending of _forebay_mirror"));
        let sql = format!(
            "SELECT topic, queue, next_offset FROM {there}._forebay_mirror_queue WHERE name = {}",
            quote(name)
        );
        let queues: Vec<(String, u32, u64)> = conn.query(sql).await.context("read the offsets")?;
        position.queues = queues
            .into_iter()
            .map(|(topic, queue, next)| ((topic, queue), next))
            .collect();
        position.pending = pending.transpose()?;
        position.stored = (applied, progress_offset);
        Ok(Position {
            applied,
            batch,
            progress_offset,
            gtid,
            partial,
            es,
            barrier,
            ..position
        })
    }

    /// The next offset of a queue; 0 of one that no batch has named yet.
    pub(super) fn next(&self, queue: &Queue) -> u64 {
        self.queues.get(queue).copied().unwrap_or(0)
    }

    /// All queues that batches have named.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&Queue, u64)> {
        self.queues.iter().map(|(queue, next)| (queue, *next))
    }

    /// So many messages more of a queue have been read.
    pub(super) fn advance(&mut self, queue: &Queue, count: u64) {
        *self.queues.entry(queue.clone()).or_insert(0) += count;
        self.unwritten.insert(queue.clone());
    }

    /// Writes it, within the transaction of the caller.
    ///
    /// # Errors
    /// Of the server; or somebody else has moved the position meanwhile.
    pub(super) async fn store(&mut self, conn: &mut Conn) -> Result<()> {
        let there = quoted(&self.schema);
        if !self.unwritten.is_empty() {
            let rows = self.unwritten.iter().map(|queue| {
                let (topic, number) = queue;
                format!(
                    "({}, {}, {number}, {})",
                    quote(&self.name),
                    quote(topic),
                    self.next(queue)
                )
            });
            let rows = rows.collect::<Vec<_>>().join(", ");
            let sql = format!("REPLACE INTO {there}._forebay_mirror_queue VALUES {rows}");
            conn.query_drop(sql).await.context("write the offsets")?;
        }
        let pending = match &self.pending {
            Some(pending) => quote(&serde_json::to_string(pending)?),
            None => "NULL".to_owned(),
        };
        let sql = format!(
            "UPDATE {there}._forebay_mirror SET applied = {}, batch = {}, progress_offset = {}, gtid = {}, partial = {}, es = {}, barrier = {}, \
             pending = {pending} WHERE name = {} AND applied = {} AND progress_offset = {}",
            self.applied,
            self.batch,
            self.progress_offset,
            quote(&self.gtid),
            self.partial,
            self.es,
            quote(&self.barrier),
            quote(&self.name),
            self.stored.0,
            self.stored.1,
        );
        conn.query_drop(sql).await.context("write the position")?;
        // The connection counts rows that were found, not those that changed.
        ensure!(
            conn.affected_rows() == 1,
            "another mirror named {} has moved the position in {}._forebay_mirror; two may not write to one copy",
            self.name,
            self.schema
        );
        Ok(())
    }

    /// What [`Position::store`] wrote has been committed.
    pub(super) fn committed(&mut self) {
        self.stored = (self.applied, self.progress_offset);
        self.unwritten.clear();
    }
}

/// Takes the name of a mirror for this connection: two that run at once would disturb each other.
///
/// # Errors
/// Another has it; a stand-by may try again and again.
pub(super) async fn lock(conn: &mut Conn, schema: &str, name: &str) -> Result<()> {
    let lock = quote(&format!("forebay mirror {schema} {name}"));
    // Names of locks have at most 64 characters. MySQL 9.7 has neither MD5 nor SHA1 any more.
    let taken: Option<Option<u8>> = conn
        .query_first(format!("SELECT GET_LOCK(SHA2({lock}, 256), 10)"))
        .await
        .context("lock the name of the mirror")?;
    if taken.flatten() != Some(1) {
        return Err(Lost::new(format!("another mirror named {name} is connected to the copy")).into());
    }
    Ok(())
}
