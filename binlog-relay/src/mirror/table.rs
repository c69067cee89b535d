//! Tables of the copy as the server describes them, remembered until a barrier.

use super::literal::{Column, text};
use crate::ddl::quoted;
use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Database and name of a table of the copy.
pub(super) type Name = (String, String);

/// A table of the copy.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: Name,
    columns: BTreeMap<String, Arc<Column>>,
}

impl Table {
    /// A column by its name.
    pub(super) fn column(&self, name: &str) -> Option<&Arc<Column>> {
        self.columns.get(name)
    }

    /// Its name as SQL.
    pub(super) fn sql(&self) -> String {
        sql(&self.name)
    }
}

/// A table's name as SQL.
pub(super) fn sql(name: &Name) -> String {
    format!("{}.{}", quoted(&name.0), quoted(&name.1))
}

/// Remembers what the server said.
#[derive(Debug, Default)]
pub(super) struct Tables(BTreeMap<Name, Option<Arc<Table>>>);

impl Tables {
    /// A table; `None` if the copy does not have it.
    ///
    /// # Errors
    /// Of the server.
    pub(super) async fn get(&mut self, conn: &mut Conn, name: &Name) -> Result<Option<Arc<Table>>> {
        if let Some(known) = self.0.get(name) {
            return Ok(known.clone());
        }
        let sql = format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, EXTRA FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            quote(&name.0),
            quote(&name.1)
        );
        let rows: Vec<(String, String, String, Option<String>, String)> =
            conn.query(sql).await.context("read the columns of the copy")?;
        let columns: BTreeMap<_, _> = rows
            .into_iter()
            .map(|(name, data_type, column_type, charset, extra)| {
                (
                    name.clone(),
                    Arc::new(Column::new(name, &data_type, &column_type, charset, &extra)),
                )
            })
            .collect();
        let table = (!columns.is_empty()).then(|| {
            Arc::new(Table {
                name: name.clone(),
                columns,
            })
        });
        self.0.insert(name.clone(), table.clone());
        Ok(table)
    }

    /// Definitions may have changed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A text as a literal of SQL, in a session whose sql_mode has neither NO_BACKSLASH_ESCAPES nor ANSI_QUOTES.
pub(crate) fn quote(value: &str) -> String {
    let mut out = String::new();
    text(&mut out, value);
    out
}
