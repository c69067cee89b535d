//! The mirror: rebuilds the captured tables in another MySQL server, from the topics alone.
//!
//! It reads the progress topic batch by batch, takes just the messages that a batch names, and applies them in the order of their `id`, which is that of the
//! source. Rows and position are written in one transaction, so each message takes effect exactly once, whoever is killed when. A transaction of the mirror is one
//! or more batches; it ends where no transaction of the source is half applied, as long as that has at most [`PARTIAL_ROWS_MAX`] rows.
//!
//! Start reading at [`run`]; then `rows.rs` (changes become statements), `barrier.rs` (DDL) and `position.rs` (what is kept, and where).

mod barrier;
mod feed;
mod literal;
mod message;
mod position;
mod rows;
mod table;

use crate::mysql;
use anyhow::{Context, Result, ensure};
use barrier::{Barrier, Databases};
use feed::Feed;
use message::{Flat, Pieces, Progress};
use mq_base::env::clock;
use mq_base::stop::Stop;
use mq_client::{ClientConfig, ClientInstance, MessageExt};
use mq_message::topic;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use position::{Pending, Position};
use rows::Rows;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use table::Tables;
pub(crate) use table::quote;

/// Rows that are gathered before they are written.
const GATHER_ROWS_MAX: usize = 5_000;
const GATHER_BYTES_MAX: usize = 8 << 20;
/// Rows of a transaction of the mirror, under backlog.
const UNIT_ROWS_MAX: usize = 20_000;
/// Transactions of the source with at most so many rows become visible as a whole.
pub const PARTIAL_ROWS_MAX: usize = 100_000;
/// How long the rest of a transaction is waited for with the copy's transaction open.
const REST_WAIT: Duration = Duration::from_secs(2);
/// How often an idle mirror looks around.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Pauses after failures that pass: they double up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// What the session of the copy is like: no value is too odd, and no foreign key has a say, because the source has decided.
const SESSION: &str = "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0, \
    sql_safe_updates = 0, innodb_lock_wait_timeout = 10, transaction_isolation = 'READ-COMMITTED'";
/// Not every account may set these; where it matters, the DDL fails with a sentence.
const SESSION_IF_ALLOWED: &[&str] = &[
    "SET sql_require_primary_key = OFF",
    "SET sql_generate_invisible_primary_key = OFF",
];

/// Settings of a mirror.
#[derive(Debug, Clone)]
pub struct MirrorOptions {
    /// Name of the mirror: its position is kept under it. At most 100 characters of those that a consumer group may have.
    pub name: String,
    /// Name of the relay: its progress topic is `<relay>-progress`.
    pub relay: String,
    /// Name servers, `host:port;…`.
    pub name_servers: String,
    /// The server of the copy, `mysql://user:password@host:port`. Not that of the source: each of the mirror's commits would be news to the relay, for ever.
    /// The account needs ALL on the databases of the copy; with PROCESS a crash in the middle of
    /// an exchange of partitions or tables of one definition is resolved too.
    pub target: String,
    /// Database of the copy where the position is kept.
    pub schema: String,
    /// Database at the source → database of the copy. Rows of other databases stop the mirror. Databases of the copy are created if need be, with the server's default
    /// character set: where the source's database has another, create them by hand with that, because CREATE TABLE may rely on it.
    pub databases: BTreeMap<String, String>,
    /// Where to tell how it goes.
    pub status: StatusHandle,
}

/// How the mirror stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it reads and writes at the moment; else it waits for a server or a broker.
    pub connected: bool,
    /// Rows applied by this process.
    pub rows: u64,
    /// Atomic batches applied by this process.
    pub batches: u64,
    /// DDL statements carried out by this process.
    pub barriers: u64,
    /// Rows of tables that the copy does not have; their snapshot is still to come, or nobody has asked for one.
    pub skipped: u64,
    /// Changes of rows of tables without a key for which the copy had no equal row: more than none means that the copy differs.
    pub unmatched: u64,
    /// `id` of the last message whose effect is in the copy.
    pub applied: u64,
    /// The last batch applied.
    pub batch: u64,
    /// The source's transactions that are complete in the copy.
    pub gtid: String,
    /// Whether a part of a further transaction is there too.
    pub partial: bool,
    /// Commit time of the newest transaction applied, unix ms.
    pub es: i64,
    /// How long the mirror has been behind, as far as it knows: the age of `es` when there is more to read, else 0; ms.
    pub lag_ms: i64,
    /// Failures that passed, since the start.
    pub retries: u64,
    /// The last of them.
    pub last_failure: Option<String>,
}

/// Where a mirror tells how it stands. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct StatusHandle(Arc<Mutex<Status>>);

impl StatusHandle {
    /// How it stands now.
    pub fn snapshot(&self) -> Status {
        self.0.lock().map(|status| status.clone()).unwrap_or_default()
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        if let Ok(mut status) = self.0.lock() {
            change(&mut status);
        }
    }
}

/// A failure that passes: trying again from the stored position is right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lost(String);

impl Lost {
    fn new(what: impl ToString) -> Lost {
        Lost(what.to_string())
    }
}

/// Mirrors until it is told to stop.
///
/// # Errors
/// Something that will not pass by itself: a refused account, messages that are gone, a statement that fails on the copy, rows that do not fit it. The copy is left as of
/// the last commit, with its position; running again goes on there.
pub async fn run(options: MirrorOptions, stop: Stop) -> Result<()> {
    ensure!(
        !options.databases.is_empty(),
        "the mirror has no databases: name at least one, source=copy"
    );
    topic::check_group(&group(&options)).with_context(|| format!("use {:?} as the mirror's name", options.name))?;
    let mut pause = PAUSE_FIRST;
    while !stop.is_stopped() {
        let applied = options.status.snapshot().applied;
        let outcome = tokio::select! {
            outcome = attempt(&options, &stop) => outcome,
            // Dropping everything is safe at any point: what was not committed has not happened.
            () = stop.wait() => return Ok(()),
        };
        options.status.update(|status| status.connected = false);
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) if passes(&error) => {
                tracing::warn!("mirror {}: {error:#}; going on from the stored position", options.name);
                options.status.update(|status| {
                    status.retries += 1;
                    status.last_failure = Some(format!("{error:#}"));
                });
                if options.status.snapshot().applied > applied {
                    pause = PAUSE_FIRST;
                }
                tokio::select! { () = clock::sleep(pause) => {}, () = stop.wait() => {} }
                pause = (pause * 2).min(PAUSE_LONGEST);
            }
            Err(error) => return Err(error.context(format!("mirror {} has stopped", options.name))),
        }
    }
    Ok(())
}

/// The consumer group that brokers know the mirror by.
fn group(options: &MirrorOptions) -> String {
    format!("mirror-{}", options.name)
}

/// Whether a failure passes by itself.
fn passes(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        if cause.is::<Lost>() {
            return true;
        }
        match cause.downcast_ref::<mysql_async::Error>() {
            Some(mysql_async::Error::Io(_)) => true,
            Some(mysql_async::Error::Driver(error)) => {
                use mysql_async::DriverError::{ConnectionClosed, PacketOutOfOrder, PoolDisconnected};
                matches!(error, ConnectionClosed | PacketOutOfOrder | PoolDisconnected)
            }
            // Too many connections, shutting down, lock wait, deadlock, killed, server gone; read-only during a fail-over.
            Some(mysql_async::Error::Server(error)) => {
                matches!(
                    error.code,
                    1040 | 1053 | 1077 | 1158..=1161 | 1205 | 1213 | 1290 | 1317 | 1836 | 1927 | 3169 | 4031
                )
            }
            _ => false,
        }
    })
}

async fn attempt(options: &MirrorOptions, stop: &Stop) -> Result<()> {
    let mut conn = connect(options).await?;
    position::lock(&mut conn, &options.schema, &options.name).await?;
    let position = Position::load(&mut conn, &options.schema, &options.name).await?;
    let config = ClientConfig::new(&options.name_servers);
    let instance = ClientInstance::start(config).context("start a client")?;
    let feed = Feed::start(&instance, &group(options), &options.relay, &position, stop).await?;
    let mut mirror = Mirror {
        options,
        conn,
        feed,
        seen: position.applied,
        fresh: true,
        position,
        tables: Tables::default(),
        rows: Rows::default(),
        pieces: Pieces::default(),
        open_rows: 0,
        in_transaction: false,
        missing: BTreeSet::new(),
    };
    mirror.tell(true);
    let outcome = mirror.follow(stop).await;
    if outcome.is_ok() {
        mirror.feed.shutdown().await;
    }
    outcome
}

async fn connect(options: &MirrorOptions) -> Result<Conn> {
    let opts: Opts = mysql::options(&options.target)?.client_found_rows(true).into();
    let place = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
    let mut conn = Conn::new(opts)
        .await
        .with_context(|| format!("connect to the copy at {place}"))?;
    conn.query_drop(SESSION)
        .await
        .context("prepare the session of the copy")?;
    for setting in SESSION_IF_ALLOWED {
        if let Err(error) = conn.query_drop(*setting).await {
            tracing::debug!(%error, setting, "not set");
        }
    }
    for schema in options
        .databases
        .values()
        .chain([&options.schema])
        .collect::<BTreeSet<_>>()
    {
        let there = format!(
            "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
            table::quote(schema)
        );
        if conn
            .query_first::<u8, _>(there)
            .await
            .context("look for the databases of the copy")?
            .is_none()
        {
            let create = format!("CREATE DATABASE IF NOT EXISTS {}", crate::ddl::quoted(schema));
            conn.query_drop(create)
                .await
                .with_context(|| format!("create the database {schema} of the copy"))?;
        }
    }
    Ok(conn)
}

/// A mirror at work.
struct Mirror<'a> {
    options: &'a MirrorOptions,
    conn: Conn,
    feed: Feed,
    position: Position,
    /// `id` of the last message read. It is ahead of the position's `applied` while pieces are missing.
    seen: u64,
    /// No batch has been read since the start.
    fresh: bool,
    tables: Tables,
    rows: Rows,
    pieces: Pieces,
    /// Rows of the open transaction, gathered or written.
    open_rows: usize,
    in_transaction: bool,
    /// Tables that were missed and said so.
    missing: BTreeSet<table::Name>,
}

impl Mirror<'_> {
    async fn follow(&mut self, stop: &Stop) -> Result<()> {
        let mut uncommitted = false;
        while !stop.is_stopped() {
            let wait = if uncommitted { REST_WAIT } else { IDLE_WAIT };
            let Some(message) = self.feed.progress(wait).await? else {
                if uncommitted && !self.pieces.is_open() {
                    self.commit().await?;
                    uncommitted = false;
                }
                self.options.status.update(|status| status.lag_ms = 0);
                continue;
            };
            let progress = Progress::read(message.body())
                .with_context(|| format!("read message {} of the progress topic", message.queue_offset()))?;
            self.batch(&progress).await?;
            self.position.progress_offset = message.queue_offset().0 + 1;
            let wants_more = if progress.partial.is_some() {
                self.open_rows < PARTIAL_ROWS_MAX
            } else {
                self.feed.has_progress() && self.open_rows < UNIT_ROWS_MAX
            };
            uncommitted = true;
            if !wants_more && !self.pieces.is_open() {
                self.commit().await?;
                uncommitted = false;
            }
        }
        Ok(())
    }

    /// Applies a batch, without committing its end.
    async fn batch(&mut self, progress: &Progress) -> Result<()> {
        let first = progress
            .next
            .checked_sub(progress.count())
            .context("a batch has more messages than there are")?;
        // Only the first batch after a start may have been applied in part.
        let begun = std::mem::take(&mut self.fresh) && first <= self.seen && self.seen < progress.next;
        let follows = first == self.seen + 1 || begun;
        ensure!(
            follows && self.position.batch < progress.batch,
            "batch {} begins with message {first}, but the copy has {} of batch {}: the progress topic does not go on where the copy stands; make a new copy, from \
             new snapshots",
            progress.batch,
            self.seen,
            self.position.batch
        );
        let mut messages = Vec::new();
        for (topic, queue, count) in &progress.messages {
            let queue = (topic.clone(), *queue);
            messages.extend(self.feed.take(&queue, self.position.next(&queue), *count).await?);
        }
        let mut entries = Vec::with_capacity(messages.len());
        for message in &messages {
            entries.push(Entry::read(message).with_context(|| place(message))?);
        }
        entries.sort_unstable_by_key(Entry::id);
        let numbers = entries.iter().map(Entry::id);
        ensure!(
            numbers.eq(first..progress.next),
            "the messages of batch {} are not those numbered {first} to {}: has somebody else written to these topics?",
            progress.batch,
            progress.next
        );
        for entry in entries {
            if entry.id() > self.seen {
                let message = entry.message();
                self.seen = entry.id();
                self.apply(entry).await.with_context(|| place(message))?;
            }
            if !self.pieces.is_open() {
                self.position.applied = self.seen;
            }
        }
        for (topic, queue, count) in &progress.messages {
            self.position.advance(&(topic.clone(), *queue), *count);
        }
        self.position.batch = progress.batch;
        self.position.gtid.clone_from(&progress.gtid);
        self.position.partial = progress.partial.is_some();
        self.position.es = progress.es;
        self.options.status.update(|status| {
            status.batches += 1;
            status.lag_ms = (clock::wall_ms() - progress.es).max(0);
        });
        Ok(())
    }

    async fn apply(&mut self, entry: Entry<'_>) -> Result<()> {
        match entry {
            Entry::Whole(message, flat) => self.apply_message(message, &flat).await,
            Entry::Piece(_, message) => {
                let label = message.get("piece").context("a piece has no property piece")?;
                let Some(whole) = self.pieces.add(label, message.body())? else {
                    return Ok(());
                };
                let flat = Flat::read(&whole)?;
                self.apply_message(message, &flat).await
            }
        }
    }

    async fn apply_message(&mut self, message: &MessageExt, flat: &Flat<'_>) -> Result<()> {
        if flat.is_ddl {
            return self.apply_barrier(message, flat).await;
        }
        let name = (self.database(&flat.database)?, flat.table.clone());
        let rows = flat.data.as_ref().map_or(0, Vec::len);
        let Some(table) = self.tables.get(&mut self.conn, &name).await? else {
            if self.missing.insert(name.clone()) {
                tracing::warn!(
                    "the copy has no table {}: its rows are skipped until a snapshot or CREATE TABLE begins it",
                    table::sql(&name)
                );
            }
            self.options.status.update(|status| status.skipped += rows as u64);
            return Ok(());
        };
        let first = self.rows.add(flat, &table)?;
        self.carry_out(first).await?;
        self.open_rows += rows;
        self.options.status.update(|status| status.rows += rows as u64);
        if self.rows.count >= GATHER_ROWS_MAX || self.rows.bytes >= GATHER_BYTES_MAX {
            self.flush().await?;
        }
        Ok(())
    }

    async fn apply_barrier(&mut self, message: &MessageExt, flat: &Flat<'_>) -> Result<()> {
        let label = message
            .get("barrier")
            .context("a DDL message has no property barrier")?;
        // A statement about tables of several topics has copies in all of them, and those may have different numbers of queues.
        let number = label.split('/').next().unwrap_or(label);
        if number == self.position.barrier {
            return Ok(());
        }
        let barrier = Barrier {
            sql: &flat.sql,
            database: &flat.database,
            table: &flat.table,
            snapshot: message.get("snapshot"),
        };
        let id = self.seen;
        // What was gathered belongs before it, and is committed with it; the position stays before it.
        self.flush().await?;
        let plan = barrier::plan(&mut self.conn, barrier, &self.options.databases).await?;
        if let Some(why) = &plan.skipped {
            tracing::warn!("barrier {number} does nothing here: {why}");
        }
        if !plan.statements.is_empty() {
            let resolved = self.position.pending.take_if(|pending| pending.id == id);
            let done = match &resolved {
                // Fingerprint of the state before, from before the crash.
                Some(pending) if !plan.fingerprinted.is_empty() => {
                    barrier::fingerprint(&mut self.conn, &plan.fingerprinted).await? != pending.before
                }
                _ => false,
            };
            if !done {
                let before = match resolved {
                    Some(pending) => pending.before,
                    None => barrier::fingerprint(&mut self.conn, &plan.fingerprinted).await?,
                };
                self.position.pending = Some(Pending { id, before });
                self.commit().await?;
                barrier::run(&mut self.conn, &plan).await?;
            }
            self.options.status.update(|status| status.barriers += 1);
        }
        self.tables.forget();
        self.missing.clear();
        number.clone_into(&mut self.position.barrier);
        self.position.pending = None;
        self.position.applied = id;
        self.commit().await
    }

    fn database(&self, source: &str) -> Result<String> {
        let databases: &Databases = &self.options.databases;
        let found = databases.get(source).cloned();
        found.with_context(|| {
            format!("rows of the database {source} have come, which is not among the mirror's databases: name it there")
        })
    }

    /// Writes what was gathered.
    async fn flush(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let statements = self.rows.take();
        self.carry_out(statements).await
    }

    async fn carry_out(&mut self, statements: Vec<rows::Statement>) -> Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        for statement in statements {
            self.conn.query_drop(&statement.sql).await.with_context(|| {
                let shown: String = statement.sql.chars().take(300).collect();
                format!("write to the copy: {shown}")
            })?;
            if statement.one_row && self.conn.affected_rows() != 1 {
                self.options.status.update(|status| status.unmatched += 1);
                let shown: String = statement.sql.chars().take(300).collect();
                tracing::warn!("the copy has no such row, it differs from the source: {shown}");
            }
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<()> {
        if !self.in_transaction {
            self.conn.query_drop("START TRANSACTION").await?;
            self.in_transaction = true;
        }
        Ok(())
    }

    /// Writes what was gathered and the position, as one.
    async fn commit(&mut self) -> Result<()> {
        self.flush().await?;
        self.begin().await?;
        self.position.store(&mut self.conn).await?;
        self.conn.query_drop("COMMIT").await.context("commit to the copy")?;
        self.in_transaction = false;
        self.position.committed();
        self.open_rows = 0;
        self.tell(true);
        Ok(())
    }

    fn tell(&self, connected: bool) {
        let position = &self.position;
        self.options.status.update(|status| {
            status.connected = connected;
            status.applied = position.applied;
            status.batch = position.batch;
            status.gtid.clone_from(&position.gtid);
            status.partial = position.partial;
            status.es = position.es;
        });
    }
}

/// A message with its number.
enum Entry<'m> {
    Whole(&'m MessageExt, Flat<'m>),
    Piece(u64, &'m MessageExt),
}

impl<'m> Entry<'m> {
    fn read(message: &'m MessageExt) -> Result<Entry<'m>> {
        if message.tag() == Some("PIECE") {
            let id = message.get("id").and_then(|id| id.parse().ok());
            return Ok(Entry::Piece(id.context("a piece has no property id")?, message));
        }
        Ok(Entry::Whole(message, Flat::read(message.body())?))
    }

    fn id(&self) -> u64 {
        match self {
            Entry::Whole(_, flat) => flat.id,
            Entry::Piece(id, _) => *id,
        }
    }

    fn message(&self) -> &'m MessageExt {
        match self {
            Entry::Whole(message, _) | Entry::Piece(_, message) => message,
        }
    }
}

fn place(message: &MessageExt) -> Cow<'static, str> {
    format!("message {} of {}", message.queue_offset(), message.queue()).into()
}
