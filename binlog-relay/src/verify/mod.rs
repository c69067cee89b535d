//! Proof that a copy equals its source: the servers hash their own rows, and the sums are compared.
//!
//! For each table the definitions are compared (columns, types, character sets, key), then part by part the number of rows and the sums of two 64-bit halves of a
//! SHA-256 of each row. Values enter the hash exactly: floats with all digits, texts as their bytes, ENUM, SET and BIT as numbers. Parts that differ are split until the
//! keys can be named. Nothing is locked.
//!
//! While the source is written to, a part that differs is looked at again after the mirror has applied all that the source had: if the source's part stood still
//! meanwhile, the verdict holds; if it changes all the time, it is split, and tried until the time is up. A part that never stands still is reported as undecided, not as equal.

mod canonical;
mod compare;
mod position;

pub use position::MirrorPosition;

use crate::ddl::quoted;
use crate::mysql;
use anyhow::{Context, Result};
use canonical::Column;
use compare::{Pair, Run, Servers};
use mq_base::env::clock;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use position::Copy;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Sessions in which both servers print values alike.
const SESSION: &str = "SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', transaction_isolation = 'READ-COMMITTED', \
    group_concat_max_len = 1048576, sql_select_limit = DEFAULT, div_precision_increment = 4";

/// What to compare.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// URL of the source.
    pub source: String,
    /// URL of the server with the copy.
    pub copy: String,
    /// Database at the source → database of the copy.
    pub databases: BTreeMap<String, String>,
    /// Tables to compare, as (database, table) of the source; none: all tables of the databases.
    pub tables: BTreeSet<(String, String)>,
    /// The mirror that makes the copy; without it the copy is taken as it stands.
    pub mirror: Option<MirrorPosition>,
    /// Rows of a part; 50,000 is right.
    pub chunk_rows: u64,
    /// How many differing keys of a table are named.
    pub keys_max: usize,
    /// How long to wait for the mirror, and to look again at parts that change.
    pub time_limit: Duration,
}

impl VerifyOptions {
    /// The usual settings.
    pub fn new(source: &str, copy: &str, databases: BTreeMap<String, String>) -> VerifyOptions {
        VerifyOptions {
            source: source.to_owned(),
            copy: copy.to_owned(),
            databases,
            tables: BTreeSet::new(),
            mirror: None,
            chunk_rows: 50_000,
            keys_max: 20,
            time_limit: Duration::from_secs(60),
        }
    }
}

/// One way in which a table of the copy differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The copy has no such table.
    NoTable,
    /// The source has no such table.
    ExtraTable,
    /// The definitions differ; the text says how.
    Definition(String),
    /// The copy lacks the row with this key.
    Missing(String),
    /// Only the copy has a row with this key.
    Extra(String),
    /// Both have the row, with different values.
    Changed(String),
    /// A table without a key has different rows; numbers of rows.
    Rows {
        /// At the source.
        source: u64,
        /// In the copy.
        copy: u64,
    },
    /// There are more than were asked for.
    More,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::NoTable => f.write_str("the copy has no such table"),
            Difference::ExtraTable => f.write_str("the source has no such table"),
            Difference::Definition(how) => write!(f, "definition: {how}"),
            Difference::Missing(key) => write!(f, "missing in the copy: {key}"),
            Difference::Extra(key) => write!(f, "only in the copy: {key}"),
            Difference::Changed(key) => write!(f, "different values: {key}"),
            Difference::Rows { source, copy } => {
                write!(f, "different rows, {source} at the source and {copy} in the copy")
            }
            Difference::More => f.write_str("and more"),
        }
    }
}

/// What was found about one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// Database and name at the source (of a table that only the copy has: those it would have there).
    pub table: (String, String),
    /// Rows of the source that were compared.
    pub rows: u64,
    /// How it differs.
    pub differences: Vec<Difference>,
    /// Parts that changed whenever they were looked at.
    pub undecided: u64,
    /// Parts that were found equal only after waiting for the mirror.
    pub settled: u64,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All tables were equal while neither side changed, both at this GTID set.
    EqualAt(String),
    /// All tables were equal, each part at its time; the source was at this GTID set in the end (empty without a mirror).
    Equal(String),
    /// Something differs.
    Different,
    /// Nothing was found to differ, but not everything could be decided; the text says why.
    Undecided(String),
    /// There was nothing to compare.
    NothingExamined,
}

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Each table.
    pub tables: Vec<TableReport>,
    /// What follows.
    pub verdict: Verdict,
}

impl Report {
    /// Whether the copy was found equal.
    pub fn is_equal(&self) -> bool {
        matches!(self.verdict, Verdict::EqualAt(_) | Verdict::Equal(_))
    }

    /// Rows that were compared.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |table: &TableReport| format!("{}.{}", table.table.0, table.table.1);
        let width = self
            .tables
            .iter()
            .map(|table| name(table).chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        writeln!(f, "{:width$}  {:>12}  result", "table", "rows")?;
        for table in &self.tables {
            let result = match (table.differences.len(), table.undecided) {
                (0, 0) => "equal".to_owned(),
                (0, parts) => format!("undecided: {parts} parts changed all the time"),
                (differences, _) => format!("DIFFERENT ({differences})"),
            };
            writeln!(f, "{:width$}  {:>12}  {result}", name(table), table.rows)?;
            for difference in &table.differences {
                writeln!(f, "{:width$}  {:>12}    {difference}", "", "")?;
            }
        }
        let (tables, rows) = (self.tables.len(), self.rows());
        match &self.verdict {
            Verdict::EqualAt(gtid) => write!(f, "equal at GTID {gtid} ({tables} tables, {rows} rows)"),
            Verdict::Equal(gtid) if gtid.is_empty() => write!(f, "equal ({tables} tables, {rows} rows)"),
            Verdict::Equal(gtid) => write!(
                f,
                "equal while writes went on, up to GTID {gtid} ({tables} tables, {rows} rows)"
            ),
            Verdict::Different => write!(f, "DIFFERENT ({tables} tables, {rows} rows)"),
            Verdict::Undecided(why) => write!(f, "undecided: {why} ({tables} tables, {rows} rows)"),
            Verdict::NothingExamined => f.write_str("nothing was examined: no tables"),
        }
    }
}

/// Compares.
///
/// # Errors
/// A server does not answer or refuses; a table vanishes meanwhile.
pub async fn run(options: &VerifyOptions) -> Result<Report> {
    let deadline = clock::now() + options.time_limit;
    let copy = Copy {
        mirror: options.mirror.clone(),
    };
    let mut servers = Servers {
        source: connect(&options.source).await.context("the source")?,
        copy: connect(&options.copy).await.context("the server of the copy")?,
    };
    let caught_up = copy.catch_up(&mut servers, deadline).await?;
    let begin = stand(&copy, &mut servers).await?;
    let compared = Run {
        copy: &copy,
        deadline,
        chunk_rows: options.chunk_rows,
        keys_max: options.keys_max,
    };
    let mut tables = Vec::new();
    for (source, other) in &options.databases {
        tables.extend(database(&mut servers, options, &compared, (source, other)).await?);
    }
    let end = stand(&copy, &mut servers).await?;
    let undecided: u64 = tables.iter().map(|table| table.undecided).sum();
    let verdict = if tables.is_empty() {
        Verdict::NothingExamined
    } else if tables.iter().any(|table| !table.differences.is_empty()) {
        Verdict::Different
    } else if !caught_up {
        Verdict::Undecided(format!(
            "the mirror did not reach the source's position within {} s",
            options.time_limit.as_secs()
        ))
    } else if undecided > 0 {
        Verdict::Undecided(format!(
            "{undecided} parts changed whenever they were looked at; try again with less load or a longer time limit"
        ))
    } else if begin.still && end.still && begin == end {
        Verdict::EqualAt(end.source)
    } else {
        Verdict::Equal(end.source)
    };
    Ok(Report { tables, verdict })
}

/// Where both sides stand.
#[derive(Debug, PartialEq, Eq)]
struct Stand {
    source: String,
    copy: String,
    /// Both at the same transactions.
    still: bool,
}

async fn stand(copy: &Copy, servers: &mut Servers) -> Result<Stand> {
    let Some((gtid, partial)) = copy.gtid(&mut servers.copy).await? else {
        return Ok(Stand {
            source: String::new(),
            copy: String::new(),
            still: false,
        });
    };
    let source = position::executed(&mut servers.source).await?;
    let still = !partial
        && position::contains(&mut servers.source, &gtid, &source).await?
        && position::contains(&mut servers.source, &source, &gtid).await?;
    Ok(Stand {
        source,
        copy: gtid,
        still,
    })
}

async fn connect(url: &str) -> Result<Conn> {
    let mut conn = mysql::connect(url).await?;
    conn.query_drop(SESSION).await.context("prepare the session")?;
    Ok(conn)
}

async fn database(
    servers: &mut Servers,
    options: &VerifyOptions,
    run: &Run<'_>,
    (source, other): (&str, &str),
) -> Result<Vec<TableReport>> {
    let here = tables(&mut servers.source, source).await?;
    let there = tables(&mut servers.copy, other).await?;
    let mut names: BTreeSet<String> = here.union(&there).cloned().collect();
    let asked = options.tables.iter().filter(|(database, _)| database == source);
    let asked: BTreeSet<String> = asked.map(|(_, table)| table.clone()).collect();
    if !options.tables.is_empty() {
        names = asked;
    }
    let mut reports = Vec::new();
    for name in names {
        let mut report = TableReport {
            table: (source.to_owned(), name.clone()),
            rows: 0,
            differences: Vec::new(),
            undecided: 0,
            settled: 0,
        };
        let one = (source.to_owned(), name.clone());
        let two = (other.to_owned(), name.clone());
        let mine = definition(&mut servers.source, &one).await?;
        let theirs = definition(&mut servers.copy, &two).await?;
        if mine.columns.is_empty() {
            report.differences.push(Difference::ExtraTable);
        } else if theirs.columns.is_empty() {
            report.differences.push(Difference::NoTable);
        } else if let Some(how) = mine.differs(&theirs) {
            report.differences.push(Difference::Definition(how));
        } else {
            let key = mine
                .key
                .iter()
                .filter_map(|name| mine.columns.iter().find(|column| column.name == *name).cloned());
            let key: Vec<Column> = key.collect();
            let pair = Pair {
                columns: &mine.columns,
                key: &key,
                source: format!("{}.{}", quoted(source), quoted(&name)),
                copy: format!("{}.{}", quoted(other), quoted(&name)),
            };
            let outcome = pair.compare(servers, run).await?;
            report.rows = outcome.rows;
            report.differences = outcome.differences;
            report.undecided = outcome.undecided;
            report.settled = outcome.settled;
        }
        reports.push(report);
    }
    Ok(reports)
}

/// The tables of a database, a mirror's own left out.
async fn tables(conn: &mut Conn, database: &str) -> Result<BTreeSet<String>> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'BASE TABLE' AND LEFT(TABLE_NAME, 9) <> '_forebay_'",
        crate::mirror::quote(database)
    );
    let names: Vec<String> = conn
        .query(sql)
        .await
        .with_context(|| format!("list the tables of {database}"))?;
    Ok(names.into_iter().collect())
}

/// A table's definition, as far as rows depend on it.
struct Definition {
    columns: Vec<Column>,
    /// Names of the columns of the primary key.
    key: Vec<String>,
}

impl Definition {
    fn differs(&self, other: &Definition) -> Option<String> {
        let names = |columns: &[Column]| {
            columns
                .iter()
                .map(|column| column.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        if names(&self.columns) != names(&other.columns) {
            return Some(format!(
                "columns {} at the source, {} in the copy",
                names(&self.columns),
                names(&other.columns)
            ));
        }
        if let Some((one, two)) = self.columns.iter().zip(&other.columns).find(|(one, two)| one != two) {
            return Some(format!(
                "column {}: {} at the source, {} in the copy",
                one.name,
                one.told(),
                two.told()
            ));
        }
        (self.key != other.key).then(|| {
            format!(
                "primary key ({}) at the source, ({}) in the copy",
                self.key.join(", "),
                other.key.join(", ")
            )
        })
    }
}

impl Column {
    fn told(&self) -> String {
        let null = if self.nullable == "YES" { "NULL" } else { "NOT NULL" };
        let collation = self.collation.as_deref().unwrap_or("");
        format!("{} {collation} {null} {}", self.column_type, self.generated)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

async fn definition(conn: &mut Conn, (database, table): &(String, String)) -> Result<Definition> {
    let place = format!(
        "TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        crate::mirror::quote(database),
        crate::mirror::quote(table)
    );
    let sql = format!(
        "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, EXTRA FROM information_schema.COLUMNS \
         WHERE {place} ORDER BY ORDINAL_POSITION"
    );
    type Described = (String, String, String, String, Option<String>, Option<String>, String);
    let columns: Vec<Described> = conn.query(sql).await.context("read the columns of a table")?;
    let columns =
        columns.into_iter().map(
            |(name, data_type, column_type, nullable, charset, collation, extra)| Column {
                name,
                data_type,
                column_type,
                nullable,
                charset,
                collation,
                generated: ["STORED GENERATED", "VIRTUAL GENERATED"]
                    .into_iter()
                    .find(|kind| extra.contains(kind))
                    .unwrap_or("")
                    .to_owned(),
            },
        );
    let sql = format!(
        "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE {place} AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX"
    );
    Ok(Definition {
        columns: columns.collect(),
        key: conn.query(sql).await.context("read the key of a table")?,
    })
}
