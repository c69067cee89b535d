//! Row changes, gathered and turned into few statements.
//!
//! Of a keyed table only the last change of each key counts: gathered changes are written as one DELETE of the keys that are gone and one REPLACE of the rows that
//! are there. Deletes come first, and a row that a REPLACE removes because it stands in the way of another unique key is written again by the same REPLACE: in the
//! end all rows are as at the source, where they did not conflict. Changes of a table without a key keep their order.

use super::literal::Column;
use super::message::{Flat, Row};
use super::table::{Name, Table};
use crate::ddl::quoted;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Longest statement, unless a single row is longer.
const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// Most rows of a statement.
const STATEMENT_ROWS_MAX: usize = 2_000;

/// What is to be done, table by table.
#[derive(Default)]
pub(super) struct Rows {
    tables: BTreeMap<Name, Changes>,
    /// Rows gathered.
    pub(super) count: usize,
    /// Their size as text.
    pub(super) bytes: usize,
}

/// A statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sql: String,
    /// It must find exactly one row.
    pub(super) one_row: bool,
}

enum Changes {
    Keyed(Keyed),
    Unkeyed(Vec<Unkeyed>),
}

/// The last change of each key.
struct Keyed {
    table: String,
    /// Key columns, as SQL.
    key: String,
    /// Columns of the rows, as SQL.
    columns: String,
    /// Where a key's change lies in `last`.
    at: HashMap<String, usize>,
    /// Key and row, in SQL; no row: deleted.
    last: Vec<(String, Option<String>)>,
}

enum Unkeyed {
    /// Beginning of the statement, and a row.
    Insert(String, String),
    One(String),
}

/// A column of a message, and what it is in the copy.
struct Field<'m> {
    name: &'m str,
    column: Arc<Column>,
    hex: bool,
}

impl Field<'_> {
    /// The column, unless the server computes it.
    fn written(&self) -> Option<&Column> {
        (!self.column.generated).then_some(&*self.column)
    }
}

/// The columns of a message.
struct Fields<'m>(Vec<Field<'m>>);

impl<'m> Fields<'m> {
    fn of(flat: &'m Flat<'_>, first: &'m Row<'_>, table: &Table) -> Result<Fields<'m>> {
        let fields = first.0.iter().map(|(name, _)| {
            let column = table.column(&name.0).with_context(|| {
                format!(
                    "the copy's table {} has no column {}: its definition is not that of the source; take a new snapshot of the table",
                    table.sql(),
                    name.0
                )
            })?;
            Ok(Field {
                name: &name.0,
                column: column.clone(),
                hex: flat.hex.iter().any(|hex| *hex == name.0),
            })
        });
        Ok(Fields(fields.collect::<Result<_>>()?))
    }

    /// Names of the columns that are written, as SQL.
    fn names(&self) -> String {
        let names = self.0.iter().filter_map(|field| Some(quoted(&field.written()?.name)));
        format!("({})", names.collect::<Vec<_>>().join(","))
    }

    /// Values of a row with a field's number; rows of a message have the same columns, mostly in the same order.
    fn value<'r>(&self, row: &'r Row<'_>, number: usize) -> Result<Option<&'r str>> {
        let name = self.0[number].name;
        match row.0.get(number) {
            Some((there, value)) if there.0 == name => Ok(value.as_ref().map(|value| &*value.0)),
            _ => row
                .get(name)
                .with_context(|| format!("a row has no column {name}, others of its message have")),
        }
    }

    /// The row as SQL.
    fn row(&self, row: &Row<'_>) -> Result<String> {
        let mut out = String::with_capacity(64);
        out.push('(');
        for (number, field) in self.0.iter().enumerate() {
            let Some(column) = field.written() else { continue };
            if out.len() > 1 {
                out.push(',');
            }
            column.literal(&mut out, self.value(row, number)?, field.hex)?;
        }
        out.push(')');
        Ok(out)
    }

    /// The key of a row as SQL.
    fn key(&self, row: &Row<'_>, key: &[usize]) -> Result<String> {
        let mut out = String::with_capacity(24);
        out.push('(');
        for (nth, number) in key.iter().enumerate() {
            if nth > 0 {
                out.push(',');
            }
            let field = &self.0[*number];
            field
                .column
                .key_literal(&mut out, self.value(row, *number)?, field.hex)?;
        }
        out.push(')');
        Ok(out)
    }

    /// A condition that only rows equal to this one meet; `old` has the former values of some columns.
    fn equals(&self, row: &Row<'_>, old: Option<&Row<'_>>) -> Result<String> {
        let mut out = String::new();
        for (number, field) in self.0.iter().enumerate() {
            let Some(column) = field.written() else { continue };
            if !out.is_empty() {
                out.push_str(" AND ");
            }
            let value = match old.and_then(|old| old.get(field.name)) {
                Some(former) => former,
                None => self.value(row, number)?,
            };
            column.equals(&mut out, value, field.hex)?;
        }
        Ok(out)
    }

    /// The changed columns of a row, as an UPDATE sets them.
    fn changes(&self, row: &Row<'_>, old: &Row<'_>) -> Result<String> {
        let mut out = String::new();
        for (number, field) in self.0.iter().enumerate() {
            let Some(column) = field.written().filter(|_| old.get(field.name).is_some()) else {
                continue;
            };
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(&quoted(&column.name));
            out.push_str(" = ");
            column.literal(&mut out, self.value(row, number)?, field.hex)?;
        }
        Ok(out)
    }
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Adds the rows of a message. Answers what has to be carried out first, if the message cannot join what was gathered.
    ///
    /// # Errors
    /// The message does not fit the table.
    pub(super) fn add(&mut self, flat: &Flat<'_>, table: &Table) -> Result<Vec<Statement>> {
        let data = flat.data.as_deref().unwrap_or_default();
        let Some(first) = data.first() else {
            return Ok(Vec::new());
        };
        let fields = Fields::of(flat, first, table)?;
        self.count += data.len();
        let keys = flat.pk_names.as_deref().unwrap_or_default();
        if keys.is_empty() {
            self.add_unkeyed(flat, data, table, &fields)?;
            return Ok(Vec::new());
        }
        let key = keys.iter().map(|name| {
            let number = fields.0.iter().position(|field| field.name == name);
            number.with_context(|| format!("the key column {name} is not among the message's columns"))
        });
        let key = key.collect::<Result<Vec<_>>>()?;
        let key_names = keys.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
        let key_names = format!("({key_names})");
        let columns = fields.names();
        let mut first_of_all = Vec::new();
        let fits =
            |changes: &Changes| matches!(changes, Changes::Keyed(k) if k.columns == columns && k.key == key_names);
        if self.tables.get(&table.name).is_some_and(|changes| !fits(changes))
            && let Some(changes) = self.tables.remove(&table.name)
        {
            changes.statements(&mut first_of_all);
        }
        let changes = self.tables.entry(table.name.clone()).or_insert_with(|| {
            Changes::Keyed(Keyed {
                table: table.sql(),
                key: key_names,
                columns,
                at: HashMap::new(),
                last: Vec::new(),
            })
        });
        let Changes::Keyed(keyed) = changes else {
            bail!("changes with and without a key of {} at once", table.sql());
        };
        for row in data {
            let key = fields.key(row, &key)?;
            let row = match flat.kind.as_str() {
                "DELETE" => None,
                "INSERT" | "UPDATE" => Some(fields.row(row)?),
                other => bail!("{other} is no type of row changes"),
            };
            self.bytes += key.len() + row.as_ref().map_or(0, String::len);
            match keyed.at.get(&key) {
                Some(&at) => keyed.last[at].1 = row,
                None => {
                    keyed.at.insert(key.clone(), keyed.last.len());
                    keyed.last.push((key, row));
                }
            }
        }
        Ok(first_of_all)
    }

    fn add_unkeyed(&mut self, flat: &Flat<'_>, data: &[Row<'_>], table: &Table, fields: &Fields<'_>) -> Result<()> {
        let name = table.sql();
        let changes = self
            .tables
            .entry(table.name.clone())
            .or_insert_with(|| Changes::Unkeyed(Vec::new()));
        let Changes::Unkeyed(changes) = changes else {
            bail!("changes with and without a key of {name} at once");
        };
        let old = flat.old.as_deref().unwrap_or_default();
        for (number, row) in data.iter().enumerate() {
            let change = match flat.kind.as_str() {
                "INSERT" => Unkeyed::Insert(
                    format!("INSERT INTO {name} {} VALUES ", fields.names()),
                    fields.row(row)?,
                ),
                "DELETE" => Unkeyed::One(format!(
                    "DELETE FROM {name} WHERE {} LIMIT 1",
                    fields.equals(row, None)?
                )),
                "UPDATE" => {
                    let old = old.get(number).context("an UPDATE has no old values")?;
                    let set = fields.changes(row, old)?;
                    // Only generated columns changed.
                    if set.is_empty() {
                        continue;
                    }
                    Unkeyed::One(format!(
                        "UPDATE {name} SET {set} WHERE {} LIMIT 1",
                        fields.equals(row, Some(old))?
                    ))
                }
                other => bail!("{other} is no type of row changes"),
            };
            self.bytes += match &change {
                Unkeyed::Insert(_, row) => row.len(),
                Unkeyed::One(sql) => sql.len(),
            };
            changes.push(change);
        }
        Ok(())
    }

    /// All statements, and begins anew.
    pub(super) fn take(&mut self) -> Vec<Statement> {
        let mut statements = Vec::new();
        for (_, changes) in std::mem::take(&mut self.tables) {
            changes.statements(&mut statements);
        }
        (self.count, self.bytes) = (0, 0);
        statements
    }
}

impl Changes {
    fn statements(self, out: &mut Vec<Statement>) {
        match self {
            Changes::Keyed(keyed) => {
                let gone = keyed
                    .last
                    .iter()
                    .filter(|(_, row)| row.is_none())
                    .map(|(key, _)| key.as_str());
                let there = keyed.last.iter().filter_map(|(_, row)| row.as_deref());
                join(
                    out,
                    &format!("DELETE FROM {} WHERE {} IN (", keyed.table, keyed.key),
                    gone,
                    ")",
                );
                join(
                    out,
                    &format!("REPLACE INTO {} {} VALUES ", keyed.table, keyed.columns),
                    there,
                    "",
                );
            }
            Changes::Unkeyed(changes) => {
                let mut changes = changes.as_slice();
                while let Some((first, rest)) = changes.split_first() {
                    match first {
                        Unkeyed::One(sql) => {
                            out.push(Statement {
                                sql: sql.clone(),
                                one_row: true,
                            });
                            changes = rest;
                        }
                        Unkeyed::Insert(head, _) => {
                            let same = changes
                                .iter()
                                .take_while(|c| matches!(c, Unkeyed::Insert(other, _) if other == head))
                                .count();
                            let rows = changes[..same].iter().filter_map(|c| match c {
                                Unkeyed::Insert(_, row) => Some(row.as_str()),
                                Unkeyed::One(_) => None,
                            });
                            join(out, head, rows, "");
                            changes = &changes[same..];
                        }
                    }
                }
            }
        }
    }
}

/// Statements of a head, items with commas between, and a tail.
fn join<'a>(out: &mut Vec<Statement>, head: &str, items: impl Iterator<Item = &'a str>, tail: &str) {
    let mut sql = String::new();
    let mut rows = 0;
    let mut end = |sql: &mut String| {
        if !sql.is_empty() {
            sql.push_str(tail);
            out.push(Statement {
                sql: std::mem::take(sql),
                one_row: false,
            });
        }
    };
    for item in items {
        if rows == STATEMENT_ROWS_MAX || sql.len() + item.len() > STATEMENT_BYTES_MAX {
            end(&mut sql);
            rows = 0;
        }
        sql.push_str(if sql.is_empty() { head } else { "," });
        sql.push_str(item);
        rows += 1;
    }
    end(&mut sql);
}
