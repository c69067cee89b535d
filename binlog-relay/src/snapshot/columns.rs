//! The columns of a table as SELECT gives them: how each is asked for, and how its value becomes the same text as from the binlog.

use crate::shape::{Cell, ColumnText, RowValues};
use crate::source::checks::quoted;
use anyhow::{Context, Result, bail};
use binlog_relay_event::{Charset, text};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};

/// How the value of a column is asked for and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Integers and DECIMAL: as they come.
    Number,
    /// Of 4 bytes.
    Float,
    /// Of 8 bytes.
    Double,
    /// ENUM, SET and BIT: as an unsigned number.
    Unsigned,
    Year,
    Date,
    DateTime(u8),
    Time(u8),
    /// Bytes in the column's character set.
    Text(Charset),
    /// Text in UTF-8 already: JSON.
    Utf8,
    /// One character for each byte.
    Bytes,
}

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// For the shape of messages.
    pub text: ColumnText,
    form: Form,
}

/// A table as SELECT sees it.
#[derive(Debug, Clone)]
pub struct Columns {
    /// In the order of the row image.
    pub all: Vec<Column>,
    /// Numbers of the key columns, in key order.
    pub key: Vec<usize>,
}

impl Columns {
    /// Asks the server.
    ///
    /// # Errors
    /// The server does not answer, the table is gone, or a column has a type or character set that is not supported.
    pub async fn read(conn: &mut Conn, database: &str, table: &str) -> Result<Columns> {
        let rows: Vec<(String, String, String, Option<u64>, Option<u8>)> = conn
            .exec(
                "SELECT c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, l.ID, c.DATETIME_PRECISION
                 FROM information_schema.COLUMNS c LEFT JOIN information_schema.COLLATIONS l ON l.COLLATION_NAME = c.COLLATION_NAME
                 WHERE c.TABLE_SCHEMA = ? AND c.TABLE_NAME = ? ORDER BY c.ORDINAL_POSITION",
                (database, table),
            )
            .await?;
        if rows.is_empty() {
            bail!("{database}.{table} has no columns that can be read: it is gone, or SELECT is not granted");
        }
        let mut all = Vec::new();
        for (name, data_type, column_type, collation, fraction) in rows {
            let (form, sql_type) = form(&data_type, collation, fraction.unwrap_or(0))
                .with_context(|| format!("{database}.{table}: column {name} ({column_type}) is not supported"))?;
            let mysql_type = normal_type(&data_type, column_type);
            all.push(Column {
                text: ColumnText {
                    name,
                    mysql_type,
                    sql_type,
                },
                form,
            });
        }
        let names: Vec<String> = conn
            .exec(
                "SELECT COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE
                 WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND CONSTRAINT_NAME = 'PRIMARY' ORDER BY ORDINAL_POSITION",
                (database, table),
            )
            .await?;
        let place = |name: &String| all.iter().position(|column| column.text.name == *name);
        let key = names
            .iter()
            .map(|name| place(name).context("a key column that is no column"))
            .collect::<Result<_>>()?;
        Ok(Columns { all, key })
    }

    /// The next rows behind a key, in key order. A table without a key is selected whole, up to `limit` rows.
    ///
    /// # Errors
    /// The server does not answer; the table has changed.
    pub async fn select(
        &self,
        conn: &mut Conn,
        name: (&str, &str),
        after: Option<&[Value]>,
        limit: u32,
    ) -> Result<Vec<Vec<Value>>> {
        let wanted: Vec<String> = self.all.iter().map(Column::expression).collect();
        let key: Vec<String> = self.key.iter().map(|n| quoted(&self.all[*n].text.name)).collect();
        let mut sql = format!("SELECT {} FROM {}.{}", wanted.join(","), quoted(name.0), quoted(name.1));
        let mut values = Vec::new();
        if let Some(after) = after {
            // (a, b) > (x, y), in the form whose index the server uses.
            let mut branches = Vec::new();
            for last in (0..key.len()).rev() {
                let mut terms: Vec<String> = key[..last].iter().map(|column| format!("{column} = ?")).collect();
                values.extend_from_slice(&after[..last]);
                terms.push(format!("{} > ?", key[last]));
                values.push(after[last].clone());
                branches.push(format!("({})", terms.join(" AND ")));
            }
            sql.push_str(&format!(" WHERE {}", branches.join(" OR ")));
        }
        if !key.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", key.join(",")));
        }
        sql.push_str(&format!(" LIMIT {limit}"));
        let params = if values.is_empty() {
            Params::Empty
        } else {
            Params::Positional(values)
        };
        let rows: Vec<mysql_async::Row> = conn.exec(sql, params).await?;
        Ok(rows.into_iter().map(mysql_async::Row::unwrap).collect())
    }

    /// The key of a row as values to select behind.
    ///
    /// # Errors
    /// A text of the key is not valid in its character set.
    pub fn key_values(&self, row: &[Value]) -> Result<Vec<Value>> {
        let texts = self.key_texts(row)?;
        self.key_from_texts(&texts)
    }

    /// The key of a row as texts, to be kept in the position.
    ///
    /// # Errors
    /// A text of the key is not valid in its character set.
    pub fn key_texts(&self, row: &[Value]) -> Result<Vec<String>> {
        let values = SelectedRow { columns: self, row };
        let mut texts = Vec::new();
        for number in &self.key {
            let mut text = Vec::new();
            if values.write_text(*number, &mut text)? == Cell::Hex {
                bail!("a key is not valid in its character set; mend the row, or take the table out of the rules");
            }
            texts.push(String::from_utf8(text)?);
        }
        Ok(texts)
    }

    /// Key texts as values to select behind. Their types matter: a number compared as text would be compared as a DOUBLE.
    ///
    /// # Errors
    /// There are not as many as key columns, or one is malformed.
    pub fn key_from_texts(&self, texts: &[String]) -> Result<Vec<Value>> {
        if texts.len() != self.key.len() {
            bail!(
                "the key of the table has changed since its copy began; start the copy again (binlog-relay snapshot)"
            );
        }
        let pairs = self.key.iter().zip(texts);
        let values = pairs.map(|(number, text)| {
            Ok(match self.all[*number].form {
                Form::Number => match (text.parse::<i64>(), text.parse::<u64>()) {
                    (Ok(signed), _) => Value::Int(signed),
                    (_, Ok(unsigned)) => Value::UInt(unsigned),
                    _ => Value::Bytes(text.clone().into_bytes()),
                },
                // In full: as the shortest text of 4 bytes it would be compared with as 8 bytes, and be smaller or greater than itself.
                Form::Float => Value::Double(text.parse::<f32>().context("read a key")?.into()),
                Form::Double => Value::Double(text.parse().context("read a key")?),
                Form::Unsigned | Form::Year => Value::UInt(text.parse().context("read a key")?),
                Form::Bytes => Value::Bytes(text.chars().map(|c| u32::from(c) as u8).collect()),
                _ => Value::Bytes(text.clone().into_bytes()),
            })
        });
        values.collect()
    }
}

impl Column {
    fn expression(&self) -> String {
        let name = quoted(&self.text.name);
        match self.form {
            Form::Unsigned => format!("CAST({name} AS UNSIGNED)"),
            Form::Text(_) => format!("CAST({name} AS BINARY)"),
            Form::Utf8 => format!("CAST({name} AS CHAR)"),
            _ => name,
        }
    }
}

fn form(data_type: &str, collation: Option<u64>, fraction: u8) -> Result<(Form, i32)> {
    let charset = || {
        let number = collation.context("it has no collation")?;
        Charset::of_collation(number).with_context(|| format!("collation number {number} is unknown"))
    };
    Ok(match data_type {
        "tinyint" => (Form::Number, -6),
        "smallint" => (Form::Number, 5),
        "mediumint" | "int" => (Form::Number, 4),
        "bigint" => (Form::Number, -5),
        "decimal" => (Form::Number, 3),
        "float" => (Form::Float, 7),
        "double" => (Form::Double, 8),
        "bit" => (Form::Unsigned, -7),
        "enum" => (Form::Unsigned, 4),
        "set" => (Form::Unsigned, -7),
        "year" => (Form::Year, 12),
        "date" => (Form::Date, 91),
        "time" => (Form::Time(fraction), 92),
        "datetime" | "timestamp" => (Form::DateTime(fraction), 93),
        "char" => (Form::Text(charset()?), 1),
        "varchar" => (Form::Text(charset()?), 12),
        "tinytext" | "text" | "mediumtext" | "longtext" => (Form::Text(charset()?), 2005),
        "json" => (Form::Utf8, 12),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => (Form::Bytes, 2004),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geomcollection" | "geometrycollection" => (Form::Bytes, 2004),
        _ => bail!("this relay does not know the type"),
    })
}

/// Without what the binlog does not say: display widths, ZEROFILL. Labels with characters beyond U+FFFF are not whole: the server itself tells them with `?`.
fn normal_type(data_type: &str, declared: String) -> String {
    match data_type {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "float" | "double" | "year" => {
            let unsigned = if declared.contains(" unsigned") {
                " unsigned"
            } else {
                ""
            };
            format!("{data_type}{unsigned}")
        }
        "decimal" => declared.replace(" zerofill", ""),
        _ => declared,
    }
}

/// A number's digits as they would be without ZEROFILL.
fn without_zerofill(digits: &[u8]) -> &[u8] {
    let zeros = digits
        .windows(2)
        .take_while(|two| two[0] == b'0' && two[1] != b'.')
        .count();
    &digits[zeros..]
}

/// A selected row.
pub struct SelectedRow<'a> {
    /// Its columns.
    pub columns: &'a Columns,
    /// Its values.
    pub row: &'a [Value],
}

impl RowValues for SelectedRow<'_> {
    fn write_json(&self, column: usize, out: &mut Vec<u8>) -> Result<Cell> {
        let mut plain = Vec::new();
        let cell = self.write_text(column, &mut plain)?;
        match cell {
            Cell::Null => out.extend_from_slice(b"null"),
            _ => {
                out.push(b'"');
                text::escape(&plain, out);
                out.push(b'"');
            }
        }
        Ok(cell)
    }

    fn write_text(&self, column: usize, out: &mut Vec<u8>) -> Result<Cell> {
        let form = self.columns.all.get(column).context("a column that is not there")?.form;
        let value = self.row.get(column).context("a value that is not there")?;
        match (form, value) {
            (_, Value::NULL) => return Ok(Cell::Null),
            (Form::Number, Value::Bytes(digits)) => out.extend_from_slice(without_zerofill(digits)),
            (Form::Number | Form::Unsigned, Value::Int(n)) => {
                out.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes())
            }
            (Form::Number | Form::Unsigned, Value::UInt(n)) => {
                out.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes())
            }
            (Form::Float, Value::Float(n)) => text::write_float(*n, out),
            (Form::Double, Value::Double(n)) => text::write_double(*n, out),
            (Form::Year, Value::Int(n)) => text::write_year(u16::try_from(*n)?, out),
            (Form::Year, Value::UInt(n)) => text::write_year(u16::try_from(*n)?, out),
            (Form::Date, Value::Date(year, month, day, ..)) => text::write_date(*year, *month, *day, out),
            (Form::DateTime(fraction), Value::Date(year, month, day, hour, minute, second, micro)) => {
                let parts = text::DateTime {
                    year: *year,
                    month: *month,
                    day: *day,
                    hour: *hour,
                    minute: *minute,
                    second: *second,
                    micro: *micro,
                };
                text::write_datetime(&parts, fraction, out);
            }
            (Form::Time(fraction), Value::Time(negative, days, hours, minutes, seconds, micro)) => {
                let parts = text::Time {
                    negative: *negative,
                    hour: u16::try_from(days * 24 + u32::from(*hours))?,
                    minute: *minutes,
                    second: *seconds,
                    micro: *micro,
                };
                text::write_time(&parts, fraction, out);
            }
            (Form::Text(charset), Value::Bytes(bytes)) => match charset.decode(bytes) {
                Some(decoded) => out.extend_from_slice(decoded.as_bytes()),
                None => {
                    text::write_hex(bytes, out);
                    return Ok(Cell::Hex);
                }
            },
            (Form::Utf8, Value::Bytes(bytes)) => out.extend_from_slice(bytes),
            (Form::Bytes, Value::Bytes(bytes)) => out.extend(bytes.iter().flat_map(|byte| {
                let mut utf8 = [0; 2];
                let length = char::from(*byte).encode_utf8(&mut utf8).len();
                utf8.into_iter().take(length)
            })),
            _ => bail!("the server sent another type than the column has"),
        }
        Ok(Cell::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_binlog_does_not_say_is_left_out() {
        for (data_type, declared, wanted) in [
            ("tinyint", "tinyint(1)", "tinyint"),
            ("int", "int(5) unsigned zerofill", "int unsigned"),
            ("float", "float(7,3)", "float"),
            ("double", "double(9,4) unsigned", "double unsigned"),
            ("decimal", "decimal(8,2) unsigned zerofill", "decimal(8,2) unsigned"),
            ("enum", "enum('int(5)',' zerofill')", "enum('int(5)',' zerofill')"),
            ("year", "year(4)", "year"),
        ] {
            assert_eq!(normal_type(data_type, declared.to_owned()), wanted);
        }
        for (told, wanted) in [
            ("000007.50", "7.50"),
            ("000000.00", "0.00"),
            ("0000", "0"),
            ("-0.5", "-0.5"),
            ("100", "100"),
            ("", ""),
        ] {
            assert_eq!(without_zerofill(told.as_bytes()), wanted.as_bytes());
        }
    }
}
