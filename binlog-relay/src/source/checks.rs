//! What must hold on the server before a relay starts. Everything missing is found at once and said as SQL to paste.

use super::{PURGED, SourceError};
use crate::gtid::GtidSet;
use crate::mysql;
use crate::route::Routes;
use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

/// A requirement that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// SQL, or an advice, that mends it.
    pub remedy: String,
}

/// A table that the rules choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its schema.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Whether it has a primary key.
    pub has_key: bool,
    /// Rows, as the server estimates.
    pub rows: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// The server's version.
    pub version: String,
    /// What prevents a start.
    pub problems: Vec<Problem>,
    /// What the binlog will not show.
    pub warnings: Vec<String>,
    /// Tables that the rules choose.
    pub tables: Vec<Found>,
    /// What the server has executed.
    pub executed: GtidSet,
    /// What its binlogs no longer hold.
    pub purged: GtidSet,
}

/// Variables, what they must be, and how they get there.
const VARIABLES: &[(&str, &str, &str)] = &[
    (
        "log_bin",
        "1",
        "log_bin = binlog   # in my.cnf, then restart the server",
    ),
    ("binlog_format", "ROW", "SET PERSIST binlog_format = 'ROW';"),
    ("binlog_row_image", "FULL", "SET PERSIST binlog_row_image = 'FULL';"),
    (
        "binlog_row_metadata",
        "FULL",
        "SET PERSIST binlog_row_metadata = 'FULL';",
    ),
    (
        "binlog_row_value_options",
        "",
        "SET PERSIST binlog_row_value_options = '';",
    ),
    (
        "gtid_mode",
        "ON",
        "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = OFF_PERMISSIVE; SET PERSIST gtid_mode = ON_PERMISSIVE; SET PERSIST gtid_mode = ON;",
    ),
];

/// Looks at everything.
///
/// # Errors
/// The server cannot be asked.
pub async fn check(conn: &mut Conn, routes: &Routes) -> Result<Report> {
    let mut report = Report {
        version: conn.query_first("SELECT VERSION()").await?.unwrap_or_default(),
        ..Report::default()
    };
    if report.version.contains("MariaDB") {
        report.problems.push(Problem {
            what: format!("the server is {}: MariaDB is not supported yet", report.version),
            remedy: "use MySQL 8.0 or later as the source".to_owned(),
        });
        return Ok(report);
    }
    let major = report.version.split('.').next().and_then(|n| n.parse::<u32>().ok());
    if major.is_none_or(|major| major < 8) {
        report.problems.push(Problem {
            what: format!("the server is MySQL {}", report.version),
            remedy: "MySQL 8.0 or later is wanted".to_owned(),
        });
        return Ok(report);
    }
    // Before the tables are listed: one that is made in between is then in the list and in the stream, which does no harm.
    let (executed, purged): (String, String) = conn
        .query_first("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged")
        .await?
        .context("read the server's GTID sets")?;
    report.executed = GtidSet::parse(&executed)?;
    report.purged = GtidSet::parse(&purged)?;
    variables(conn, &mut report).await?;
    grants(conn, &mut report).await?;
    tables(conn, routes, &mut report).await?;
    cascades(conn, routes, &mut report).await?;
    Ok(report)
}

async fn variables(conn: &mut Conn, report: &mut Report) -> Result<()> {
    for (name, wanted, remedy) in VARIABLES {
        let found: Option<Row> = conn
            .query_first(format!("SELECT CAST(@@GLOBAL.{name} AS CHAR)"))
            .await
            .with_context(|| format!("read @@{name}"))?;
        let value: String = found
            .and_then(|row| row.get::<Option<String>, _>(0).flatten())
            .unwrap_or_default();
        if !value.eq_ignore_ascii_case(wanted) {
            report.problems.push(Problem {
                what: format!("{name} is '{value}', must be '{wanted}'"),
                remedy: (*remedy).to_owned(),
            });
        }
    }
    Ok(())
}

async fn grants(conn: &mut Conn, report: &mut Report) -> Result<()> {
    let account: String = conn.query_first("SELECT CURRENT_USER()").await?.unwrap_or_default();
    let roles: String = conn.query_first("SELECT CURRENT_ROLE()").await?.unwrap_or_default();
    let using = if roles == "NONE" {
        String::new()
    } else {
        format!(" USING {roles}")
    };
    let lines: Vec<String> = conn.query(format!("SHOW GRANTS FOR CURRENT_USER(){using}")).await?;
    let everywhere = lines.iter().filter(|line| line.contains(" ON *.* "));
    let may = |privilege: &str| {
        let mut all = everywhere.clone();
        all.any(|line| line.contains(privilege) || line.contains("ALL PRIVILEGES"))
    };
    if !may("REPLICATION SLAVE") {
        let (user, host) = account.split_once('@').unwrap_or((&account, "%"));
        report.problems.push(Problem {
            what: format!("{account} may not read the binlog"),
            remedy: format!("GRANT REPLICATION SLAVE ON *.* TO '{user}'@'{host}';"),
        });
    }
    Ok(())
}

async fn tables(conn: &mut Conn, routes: &Routes, report: &mut Report) -> Result<()> {
    let account: String = conn.query_first("SELECT CURRENT_USER()").await?.unwrap_or_default();
    let (user, host) = account.split_once('@').unwrap_or((&account, "%"));
    let found: Vec<(String, String, Option<u64>, i64)> = conn
        .query(
            "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.TABLE_ROWS, (SELECT COUNT(*) FROM information_schema.TABLE_CONSTRAINTS c
               WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME AND c.CONSTRAINT_TYPE = 'PRIMARY KEY')
             FROM information_schema.TABLES t WHERE t.TABLE_TYPE = 'BASE TABLE' ORDER BY 1, 2",
        )
        .await?;
    for (database, table, rows, keys) in found {
        if routes.find(&database, &table).is_none() {
            continue;
        }
        let readable = conn
            .query_drop(format!(
                "SELECT 1 FROM {}.{} LIMIT 0",
                quoted(&database),
                quoted(&table)
            ))
            .await;
        if let Err(error) = readable {
            report.problems.push(Problem {
                what: format!("{database}.{table} cannot be read ({error})"),
                remedy: format!(
                    "GRANT SELECT ON {}.{} TO '{user}'@'{host}';",
                    quoted(&database),
                    quoted(&table)
                ),
            });
        }
        report.tables.push(Found {
            database,
            table,
            has_key: keys > 0,
            rows: rows.unwrap_or(0),
        });
    }
    Ok(())
}

/// Before 9.6 rows that a foreign key changes by itself are in no binlog.
async fn cascades(conn: &mut Conn, routes: &Routes, report: &mut Report) -> Result<()> {
    let mut numbers = report.version.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (9, 6) {
        return Ok(());
    }
    let found: Vec<(String, String, String)> = conn
        .query(
            "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
             WHERE DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL')",
        )
        .await?;
    for (database, table, name) in found {
        if routes.find(&database, &table).is_some() {
            report.warnings.push(format!(
                "{database}.{table}: rows that foreign key {name} changes or deletes by itself are in no binlog of MySQL {}; they will be missing",
                report.version
            ));
        }
    }
    Ok(())
}

/// Whether the server has everything that we have, and can still give everything that we have not.
///
/// # Errors
/// [`SourceError::Stop`] if not: then a jump would be the only way on.
pub async fn reachable(conn: &mut Conn, ours: &GtidSet) -> Result<(), SourceError> {
    // A commit is in the binlog a moment before the server counts it as executed.
    let late: Option<i64> = conn
        .exec_first("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 3)", (ours.to_string(),))
        .await?;
    let (executed, purged): (String, String) = conn
        .query_first("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged")
        .await?
        .unwrap_or_default();
    let parse = |text: &str| GtidSet::parse(text).map_err(|error| SourceError::Lost(error.to_string()));
    let surplus = ours.minus(&parse(&executed)?);
    if late != Some(0) && !surplus.is_empty() {
        return Err(SourceError::stop(
            format!("the queue holds transactions that the source does not have: {surplus}"),
            "The server was restored from an older state, or is another one. Decide which is right; to take the server's state, copy the tables \
             again: binlog-relay run --copy-again",
        ));
    }
    let gone = parse(&purged)?.minus(ours);
    if !gone.is_empty() {
        return Err(SourceError::stop(
            format!("the source has purged the binlog of {gone}"),
            PURGED,
        ));
    }
    Ok(())
}

/// Whether the account may still do what the relay needs.
///
/// # Errors
/// [`SourceError::Stop`] if not.
pub async fn allowed(conn: &mut Conn) -> Result<(), SourceError> {
    let mut report = Report::default();
    grants(conn, &mut report).await.map_err(mysql::source_error)?;
    match report.problems.pop() {
        None => Ok(()),
        Some(problem) => Err(SourceError::stop(problem.what, problem.remedy)),
    }
}

/// A name in backticks.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
