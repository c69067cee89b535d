//! DDL, carried out on the copy exactly once.
//!
//! A DDL commits by itself, so it cannot be in one transaction with the position. Instead the mirror first writes down that it is about to carry out the barrier,
//! with a fingerprint of the tables before it. After a crash a different fingerprint says that the statement was carried out (MySQL's DDL is atomic); the same one
//! says that it was not, or that it leaves the tables as they are, and then it may run again. Statements that may always run again need no fingerprint.

use super::table::{Name, quote, sql};
use crate::ddl::{self, Kind, quoted};
use anyhow::{Context, Result, bail};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What a barrier means for the copy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Statements, in order.
    pub(super) statements: Vec<String>,
    /// The database they run in, if it is one of the copy's; else they name theirs.
    pub(super) database: Option<String>,
    /// Tables whose fingerprint tells whether the (single) statement has run; empty: it may always run again.
    pub(super) fingerprinted: Vec<Name>,
    /// Why nothing is to be done, if somebody should know.
    pub(super) skipped: Option<String>,
}

/// A barrier's message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Barrier<'a> {
    pub(super) sql: &'a str,
    pub(super) database: &'a str,
    pub(super) table: &'a str,
    /// Its property `snapshot`.
    pub(super) snapshot: Option<&'a str>,
}

/// Source database → database of the copy.
pub(super) type Databases = BTreeMap<String, String>;

/// Decides what to do.
///
/// # Errors
/// The statement cannot be carried out on the copy; the text says what to do.
pub(super) async fn plan(conn: &mut Conn, barrier: Barrier<'_>, databases: &Databases) -> Result<Plan> {
    let there = |database: &str| {
        let found = databases.get(database).cloned();
        found.with_context(|| {
            format!(
                "the statement names the database {database}, which is not mirrored; name it among the mirror's databases, or carry out by hand what it means for \
                 the copy: {}",
                barrier.sql
            )
        })
    };
    let database = databases.get(barrier.database).cloned();
    let nothing = |why: Option<String>| Plan {
        skipped: why,
        ..Plan::default()
    };
    if barrier.sql.trim().is_empty() {
        return Ok(nothing(None));
    }
    // A message does not say whether the session had ANSI_QUOTES.
    let renamed = || {
        ddl::rename_database(ddl::without_start_transaction(barrier.sql), false, |name| {
            databases.get(name).cloned()
        })
    };
    let whatever = |statements: Vec<String>| Plan {
        statements,
        database: database.clone(),
        ..Plan::default()
    };
    if barrier.snapshot.is_some() {
        let name = (there(barrier.database)?, barrier.table.to_owned());
        return Ok(whatever(vec![
            format!("DROP TABLE IF EXISTS {}", sql(&name)),
            renamed(),
        ]));
    }
    let statement = ddl::read(barrier.sql, barrier.database, false);
    if let Some(gone) = &statement.database {
        let names = tables_of(conn, &there(gone)?).await?;
        return Ok(whatever(
            names
                .iter()
                .map(|name| format!("DROP TABLE IF EXISTS {}", sql(name)))
                .collect(),
        ));
    }
    let named = || -> Result<Vec<Name>> {
        let names = statement.tables.iter();
        names
            .map(|(database, table)| Ok((there(database)?, table.clone())))
            .collect()
    };
    let not_here = |name: &Name| nothing(Some(format!("the copy has no table {}", sql(name))));
    match statement.kind {
        Kind::Drop => {
            // Tables of other databases are none of ours.
            let names = statement
                .tables
                .iter()
                .filter_map(|(database, table)| Some((databases.get(database)?.clone(), table.clone())));
            Ok(whatever(
                names
                    .map(|name| format!("DROP TABLE IF EXISTS {}", sql(&name)))
                    .collect(),
            ))
        }
        Kind::Truncate => {
            let names = named()?;
            let name = names.first().context("read the table of a TRUNCATE")?;
            match exists(conn, name).await? {
                true => Ok(whatever(vec![format!("TRUNCATE TABLE {}", sql(name))])),
                false => Ok(not_here(name)),
            }
        }
        Kind::Rename => {
            let names = named()?;
            let mut present = BTreeSet::new();
            for name in &names {
                if exists(conn, name).await? {
                    present.insert(name.clone());
                }
            }
            Ok(match renaming(&names, present) {
                Some(statement) => Plan {
                    fingerprinted: names,
                    ..whatever(vec![statement])
                },
                None => nothing(Some("the copy has none of the tables that are renamed".to_owned())),
            })
        }
        Kind::Create | Kind::Alter | Kind::CreateIndex | Kind::DropIndex => {
            let names = named()?;
            let name = names.first().context("read the table of the statement")?;
            if statement.kind != Kind::Create && !exists(conn, name).await? {
                return Ok(not_here(name));
            }
            Ok(Plan {
                fingerprinted: names,
                ..whatever(vec![renamed()])
            })
        }
        Kind::Dml => bail!(
            "a statement changed rows without row events (binlog_format): take a new snapshot of the table; it was: {}",
            barrier.sql
        ),
        Kind::Transaction | Kind::Server | Kind::Other => Ok(nothing(Some(format!(
            "not known as a change of a table: {}",
            barrier.sql
        )))),
    }
}

/// One statement that does the renamings (old, new, old, new, …) whose tables are there. Tables that are not come with a snapshot of their own.
fn renaming(names: &[Name], mut present: BTreeSet<Name>) -> Option<String> {
    let mut pairs = Vec::new();
    for pair in names.chunks_exact(2) {
        if present.remove(&pair[0]) {
            present.insert(pair[1].clone());
            pairs.push(format!("{} TO {}", sql(&pair[0]), sql(&pair[1])));
        }
    }
    (!pairs.is_empty()).then(|| format!("RENAME TABLE {}", pairs.join(", ")))
}

async fn exists(conn: &mut Conn, name: &Name) -> Result<bool> {
    let sql = format!(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        quote(&name.0),
        quote(&name.1)
    );
    let found: Option<u8> = conn.query_first(sql).await.context("look for a table of the copy")?;
    Ok(found.is_some())
}

/// The tables of a database of the copy, the mirror's own left out.
async fn tables_of(conn: &mut Conn, database: &str) -> Result<Vec<Name>> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'BASE TABLE' AND LEFT(TABLE_NAME, 9) <> '_forebay_'",
        quote(database)
    );
    let names: Vec<String> = conn.query(sql).await.context("list the tables of the copy")?;
    Ok(names.into_iter().map(|name| (database.to_owned(), name)).collect())
}

/// What tells tables before a statement from the same tables after it: their definitions, and where the account may see them (PROCESS) InnoDB's numbers, which
/// change when tables or partitions of one definition are exchanged.
///
/// # Errors
/// Of the server.
pub(super) async fn fingerprint(conn: &mut Conn, names: &[Name]) -> Result<String> {
    let mut print = String::new();
    for name in names.iter().collect::<BTreeSet<_>>() {
        if !exists(conn, name).await? {
            let _ = writeln!(print, "{} is not there", sql(name));
            continue;
        }
        let shown: Option<(String, String)> = conn
            .query_first(format!("SHOW CREATE TABLE {}", sql(name)))
            .await
            .context("read the definition of a table of the copy")?;
        let _ = writeln!(print, "{}", shown.map(|(_, text)| text).unwrap_or_default());
        let inside = format!("{}/{}", name.0, name.1);
        let numbers = format!(
            "SELECT CONCAT_WS(' ', NAME, TABLE_ID) FROM information_schema.INNODB_TABLES WHERE NAME = {} OR LEFT(NAME, {}) = {} ORDER BY 1",
            quote(&inside),
            inside.chars().count() + 3,
            quote(&format!("{inside}#p#"))
        );
        match conn.query::<String, _>(numbers).await {
            Ok(numbers) => print.extend(numbers),
            Err(mysql_async::Error::Server(error)) => tracing::debug!(%error, "read InnoDB's numbers"),
            Err(error) => return Err(error).context("read InnoDB's numbers"),
        }
    }
    Ok(print)
}

/// Runs the statements.
///
/// # Errors
/// Of the server.
pub(super) async fn run(conn: &mut Conn, plan: &Plan) -> Result<()> {
    if plan.statements.is_empty() {
        return Ok(());
    }
    if let Some(database) = &plan.database {
        conn.query_drop(format!("USE {}", quoted(database)))
            .await
            .context("use a database of the copy")?;
    }
    for statement in &plan.statements {
        if let Err(error) = conn.query_drop(statement).await {
            let what = format!(
                "a statement fails on the copy. Carry it out by hand in a form that works, and start the mirror again: it sees that the tables have changed and goes \
                 on after it. Or take a new snapshot of the table. The statement: {statement}"
            );
            return Err(anyhow::Error::new(error).context(what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str) -> Name {
        ("d".to_owned(), table.to_owned())
    }

    #[test]
    fn renamings_of_tables_that_are_not_there_are_left_out() {
        let said = |names: &[&str], present: &[&str]| {
            let names: Vec<Name> = names.iter().map(|n| name(n)).collect();
            renaming(&names, present.iter().map(|n| name(n)).collect())
        };
        assert_eq!(said(&["a", "b"], &["a"]).unwrap(), "RENAME TABLE `d`.`a` TO `d`.`b`");
        assert_eq!(said(&["a", "b"], &[]), None);
        // As gh-ost does it: the new table was never captured.
        assert_eq!(
            said(&["t", "_t_del", "_t_gho", "t"], &["t"]).unwrap(),
            "RENAME TABLE `d`.`t` TO `d`.`_t_del`"
        );
        // A swap, the third table being there only in between.
        assert_eq!(
            said(&["a", "x", "b", "a", "x", "b"], &["a", "b"]).unwrap(),
            "RENAME TABLE `d`.`a` TO `d`.`x`, `d`.`b` TO `d`.`a`, `d`.`x` TO `d`.`b`"
        );
    }
}
