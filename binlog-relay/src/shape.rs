//! The shape of a table's messages: what is the same in each of them, made once for each version of the table.

use crate::route::{Masking, Route, Routes, Treatment, put_key_part, queue_of};
use anyhow::{Result, ensure};
use std::sync::Arc;

/// Columns of functional indexes are in the image under such names, and belong to nobody.
const HIDDEN: &str = "!hidden!";

/// A column, as the shape needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnText {
    /// Its name.
    pub name: String,
    /// Its declared type as text.
    pub mysql_type: String,
    /// Its java.sql.Types code.
    pub sql_type: i32,
}

/// What was written for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// `null`.
    Null,
    /// Its text.
    Text,
    /// Upper-case hex digits of bytes that are no text in the column's character set.
    Hex,
}

/// A row that can write the values of its columns, by number.
pub trait RowValues {
    /// Appends a JSON string, or `null`.
    ///
    /// # Errors
    /// The value cannot be read.
    fn write_json(&self, column: usize, out: &mut Vec<u8>) -> Result<Cell>;

    /// Appends the bare text; nothing for NULL.
    ///
    /// # Errors
    /// The value cannot be read.
    fn write_text(&self, column: usize, out: &mut Vec<u8>) -> Result<Cell>;
}

/// What all messages of a table have in common.
pub struct Shape {
    /// `database.table`
    pub name: String,
    /// Where they go.
    pub topic: Arc<str>,
    /// Queues of the topic.
    pub queues: u32,
    /// Numbers of the key columns, in key order; empty if there is no key.
    pub key: Vec<usize>,
    columns: Vec<Out>,
    /// `,"database":…,"es":` and so on: the text between the fields that change.
    pub(crate) database_es: String,
    pub(crate) types_old: String,
    pub(crate) keys_table_ts: String,
}

struct Out {
    number: usize,
    /// `"name":`
    label: Vec<u8>,
    masking: Option<Masking>,
}

impl Shape {
    /// Makes the shape of a table. `queues` is what the topic has.
    ///
    /// # Errors
    /// A key column is masked or excluded: rows could not be told apart.
    pub fn new(
        database: &str,
        table: &str,
        columns: &[ColumnText],
        key: Vec<usize>,
        routes: &Routes,
        route: &Route,
        queues: u32,
    ) -> Result<Shape> {
        let mut kept = Vec::new();
        let mut mysql_types = Vec::new();
        let mut sql_types = Vec::new();
        for (number, column) in columns
            .iter()
            .enumerate()
            .filter(|(_, column)| !column.name.starts_with(HIDDEN))
        {
            let treatment = routes.treatment(route, &column.name);
            ensure!(
                matches!(treatment, Treatment::Keep) || !key.contains(&number),
                "{database}.{table}: column {} belongs to the primary key and cannot be masked or excluded; change the rule",
                column.name
            );
            let masking = match treatment {
                Treatment::Exclude => continue,
                Treatment::Keep => None,
                Treatment::Mask(masking) => Some(masking),
            };
            let name = json(&column.name);
            mysql_types.push(format!("{name}:{}", json(&column.mysql_type)));
            sql_types.push(format!("{name}:{}", column.sql_type));
            kept.push(Out {
                number,
                label: format!("{name}:").into_bytes(),
                masking,
            });
        }
        let key_names: Vec<String> = key.iter().map(|number| json(&columns[*number].name)).collect();
        let key_names = match key_names.is_empty() {
            true => "null".to_owned(),
            false => format!("[{}]", key_names.join(",")),
        };
        Ok(Shape {
            name: format!("{database}.{table}"),
            topic: route.topic.as_str().into(),
            queues,
            key,
            columns: kept,
            database_es: format!(",\"database\":{},\"es\":", json(database)),
            types_old: format!(",\"isDdl\":false,\"mysqlType\":{{{}}},\"old\":", mysql_types.join(",")),
            keys_table_ts: format!(
                ",\"pkNames\":{key_names},\"sql\":\"\",\"sqlType\":{{{}}},\"table\":{},\"ts\":",
                sql_types.join(","),
                json(table)
            ),
        })
    }

    /// Appends a row as a JSON object, only the columns that `wanted` names, and notes those whose value is hex.
    ///
    /// # Errors
    /// A value cannot be read.
    pub fn write_row(
        &self,
        row: &impl RowValues,
        wanted: impl Fn(usize) -> bool,
        out: &mut Vec<u8>,
        hex: &mut Vec<usize>,
    ) -> Result<()> {
        out.push(b'{');
        let mut first = true;
        for column in self.columns.iter().filter(|column| wanted(column.number)) {
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(&column.label);
            match &column.masking {
                None => {
                    if row.write_json(column.number, out)? == Cell::Hex && !hex.contains(&column.number) {
                        hex.push(column.number);
                    }
                }
                Some(masking) => write_masked(masking, row, column.number, out)?,
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Name of a column that is written, as a JSON string.
    pub fn label(&self, number: usize) -> &[u8] {
        let column = self.columns.iter().find(|column| column.number == number);
        column.map_or(b"\"\"", |column| &column.label[..column.label.len() - 1])
    }

    /// Puts the bytes that name the row's key into `key` (see [`put_key_part`]); nothing if the table has no key.
    ///
    /// # Errors
    /// A value cannot be read.
    pub fn write_key(&self, row: &impl RowValues, key: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<()> {
        key.clear();
        for number in &self.key {
            scratch.clear();
            row.write_text(*number, scratch)?;
            put_key_part(key, scratch);
        }
        Ok(())
    }

    /// The queue of a row with this key.
    pub fn queue(&self, key: &[u8]) -> u32 {
        match self.key.is_empty() {
            true => 0,
            false => queue_of(key, self.queues),
        }
    }
}

fn write_masked(masking: &Masking, row: &impl RowValues, number: usize, out: &mut Vec<u8>) -> Result<()> {
    let mut plain = Vec::new();
    let cell = row.write_text(number, &mut plain)?;
    match masking {
        _ if cell == Cell::Null => out.extend_from_slice(b"null"),
        Masking::Null => out.extend_from_slice(b"null"),
        Masking::Stars => out.extend_from_slice(b"\"****\""),
        Masking::Hash(key) => {
            let tag = ring::hmac::sign(key, &plain);
            out.push(b'"');
            for byte in &tag.as_ref()[..16] {
                out.extend_from_slice(format!("{byte:02x}").as_bytes());
            }
            out.push(b'"');
        }
    }
    Ok(())
}

/// A JSON string.
pub fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
