//! Values of messages as literals of SQL, by the type of the column they go to.
//!
//! Rows are written as text statements and not as prepared ones: a statement holds hundreds of rows, and a literal says by itself whether it is a number, text or
//! bytes. The session's sql_mode must not have NO_BACKSLASH_ESCAPES or ANSI_QUOTES, and its character set is utf8mb4.

use crate::ddl::quoted;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write;

/// What a column holds, as far as literals differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Integers, YEAR, BIT, ENUM by its index, SET by its mask: digits.
    Number,
    /// An exact number; the text is `(precision,scale)`.
    Decimal(String),
    Float,
    Double,
    /// Dates and times: text that needs no character set.
    Time,
    Json,
    /// Characters, in this character set.
    Text(String),
    /// Bytes.
    Binary,
}

/// A column of the copy.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// ENUM, SET and BIT are compared as numbers.
    pub(super) indexed: bool,
    /// Computed by the server: nothing may be written to it.
    pub(super) generated: bool,
}

impl Column {
    /// From `information_schema.columns`: COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, EXTRA.
    pub(super) fn new(
        name: String,
        data_type: &str,
        column_type: &str,
        charset: Option<String>,
        extra: &str,
    ) -> Column {
        let data_type = data_type.to_ascii_lowercase();
        let kind = match data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "bit" | "enum" | "set" => Kind::Number,
            "decimal" => {
                let end = column_type.find(')').map_or(column_type.len(), |end| end + 1);
                Kind::Decimal(column_type[column_type.find('(').unwrap_or(end)..end].to_owned())
            }
            "float" => Kind::Float,
            "double" => Kind::Double,
            "date" | "datetime" | "timestamp" | "time" => Kind::Time,
            "json" => Kind::Json,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
                Kind::Text(charset.unwrap_or_else(|| "utf8mb4".to_owned()))
            }
            _ => Kind::Binary,
        };
        Column {
            name,
            kind,
            indexed: matches!(data_type.as_str(), "bit" | "enum" | "set"),
            generated: extra.contains("STORED GENERATED") || extra.contains("VIRTUAL GENERATED"),
        }
    }

    /// The literal to store. `hex`: the value is hex digits of its bytes.
    pub(super) fn literal(&self, out: &mut String, value: Option<&str>, hex: bool) -> Result<()> {
        let Some(value) = value else {
            out.push_str("NULL");
            return Ok(());
        };
        match &self.kind {
            _ if hex => hex_literal(out, value),
            Kind::Binary => bytes(out, value),
            Kind::Number => number(out, value),
            Kind::Decimal(_) => decimal(out, value),
            _ => {
                text(out, value);
                Ok(())
            }
        }
        .with_context(|| format!("read the value of column {}", self.name))
    }

    /// The literal to look a key up with, so that the index is used: it must be comparable with the column without converting that.
    pub(super) fn key_literal(&self, out: &mut String, value: Option<&str>, hex: bool) -> Result<()> {
        match (&self.kind, value) {
            (Kind::Text(charset), Some(_)) if hex => {
                out.push('_');
                out.push_str(charset);
                out.push(' ');
                self.literal(out, value, hex)
            }
            (Kind::Float | Kind::Double, Some(_)) => self.cast(out, value, hex),
            _ => self.literal(out, value, hex),
        }
    }

    /// A condition that holds for exactly this value, bit by bit where collations are more generous.
    pub(super) fn equals(&self, out: &mut String, value: Option<&str>, hex: bool) -> Result<()> {
        let name = quoted(&self.name);
        if value.is_none() {
            out.push_str(&name);
            out.push_str(" IS NULL");
            return Ok(());
        }
        match &self.kind {
            Kind::Text(charset) => {
                let _ = write!(out, "CAST({name} AS BINARY) <=> ");
                if hex {
                    return self.literal(out, value, hex);
                }
                out.push_str("CAST(CONVERT(");
                self.literal(out, value, hex)?;
                let _ = write!(out, " USING {charset}) AS BINARY)");
                Ok(())
            }
            Kind::Binary => {
                let _ = write!(out, "CAST({name} AS BINARY) <=> ");
                self.literal(out, value, hex)
            }
            Kind::Number if self.indexed => {
                let _ = write!(out, "{name} + 0 <=> ");
                self.literal(out, value, hex)
            }
            _ => {
                let _ = write!(out, "{name} <=> ");
                self.cast(out, value, hex)
            }
        }
    }

    fn cast(&self, out: &mut String, value: Option<&str>, hex: bool) -> Result<()> {
        let of = match &self.kind {
            Kind::Float => "FLOAT".to_owned(),
            Kind::Double => "DOUBLE".to_owned(),
            Kind::Decimal(size) => format!("DECIMAL{size}"),
            Kind::Json => "JSON".to_owned(),
            _ => return self.literal(out, value, hex),
        };
        out.push_str("CAST(");
        self.literal(out, value, hex)?;
        let _ = write!(out, " AS {of})");
        Ok(())
    }
}

/// A text in quotes.
pub(super) fn text(out: &mut String, value: &str) {
    out.reserve(value.len() + 2);
    out.push('\'');
    let mut rest = value;
    while let Some(at) = rest.find(['\'', '\\', '\0']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\'' => "''",
            b'\\' => "\\\\",
            _ => "\\0",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('\'');
}

fn number(out: &mut String, value: &str) -> Result<()> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    ensure!(
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
        "{value:?} is no whole number"
    );
    out.push_str(value);
    Ok(())
}

fn decimal(out: &mut String, value: &str) -> Result<()> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    ensure!(
        !whole.is_empty() && !fraction.is_empty() && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()),
        "{value:?} is no decimal number"
    );
    out.push_str(value);
    Ok(())
}

/// One character U+0000–U+00FF for each byte.
fn bytes(out: &mut String, value: &str) -> Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(value.len() * 2 + 3);
    out.push_str("X'");
    for c in value.chars() {
        let Ok(byte) = u8::try_from(u32::from(c)) else {
            bail!("the character {c:?} stands for no byte");
        };
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out.push('\'');
    Ok(())
}

fn hex_literal(out: &mut String, value: &str) -> Result<()> {
    ensure!(
        value.len().is_multiple_of(2) && value.bytes().all(|b| b.is_ascii_hexdigit()),
        "a value that should be hex digits is not"
    );
    out.push_str("X'");
    out.push_str(value);
    out.push('\'');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data_type: &str, column_type: &str, charset: Option<&str>) -> Column {
        Column::new("c".to_owned(), data_type, column_type, charset.map(str::to_owned), "")
    }

    fn stored(data_type: &str, value: &str) -> String {
        let mut out = String::new();
        match column(data_type, data_type, None).literal(&mut out, Some(value), false) {
            Ok(()) => out,
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn literals_follow_the_type() {
        for (data_type, value, expected) in [
            ("bigint", "-9223372036854775808", "-9223372036854775808"),
            ("bit", "18446744073709551615", "18446744073709551615"),
            ("enum", "0", "0"),
            ("year", "0000", "0000"),
            ("decimal", "-0.50", "-0.50"),
            ("double", "1e308", "'1e308'"),
            ("datetime", "2023-02-30 00:00:00", "'2023-02-30 00:00:00'"),
            ("varchar", "it's \\ \0 ä\n", "'it''s \\\\ \\0 ä\n'"),
            ("json", r#"{"a": "\""}"#, r#"'{"a": "\\""}'"#),
            ("blob", "a\u{ff}\0", "X'61FF00'"),
            ("binary", "", "X''"),
            ("geometry", "\u{1}", "X'01'"),
        ] {
            assert_eq!(stored(data_type, value), expected);
        }
    }

    #[test]
    fn values_that_do_not_fit_their_type_are_refused() {
        for (data_type, value) in [
            ("int", ""),
            ("int", "1 OR 1"),
            ("bigint", "--1"),
            ("enum", "'a'"),
            ("decimal", "1e5"),
            ("decimal", "."),
            ("blob", "\u{100}"),
        ] {
            let said = stored(data_type, value);
            assert!(
                said.starts_with("read the value of column c: "),
                "{data_type} {value}: {said}"
            );
        }
        let mut out = String::new();
        assert!(
            column("char", "char(3)", None)
                .literal(&mut out, Some("F"), true)
                .is_err()
        );
        assert!(
            column("char", "char(3)", None)
                .literal(&mut out, Some("'F"), true)
                .is_err()
        );
    }

    #[test]
    fn conditions_are_exact() {
        let said = |column: Column, value: Option<&str>, hex: bool| {
            let mut out = String::new();
            column.equals(&mut out, value, hex).unwrap();
            out
        };
        let latin = || column("varchar", "varchar(9)", Some("latin1"));
        assert_eq!(
            said(latin(), Some("é"), false),
            "CAST(`c` AS BINARY) <=> CAST(CONVERT('é' USING latin1) AS BINARY)"
        );
        assert_eq!(said(latin(), Some("E9"), true), "CAST(`c` AS BINARY) <=> X'E9'");
        assert_eq!(said(latin(), None, false), "`c` IS NULL");
        assert_eq!(
            said(column("decimal", "decimal(65,30) unsigned", None), Some("1.0"), false),
            "`c` <=> CAST(1.0 AS DECIMAL(65,30))"
        );
        assert_eq!(
            said(column("float", "float", None), Some("0.1"), false),
            "`c` <=> CAST('0.1' AS FLOAT)"
        );
        assert_eq!(
            said(column("set", "set('a')", Some("utf8mb4")), Some("1"), false),
            "`c` + 0 <=> 1"
        );
        let mut out = String::new();
        latin().key_literal(&mut out, Some("E9"), true).unwrap();
        assert_eq!(out, "_latin1 X'E9'");
    }

    #[test]
    fn generated_columns_are_known_by_their_extra() {
        for (extra, generated) in [
            ("", false),
            ("auto_increment", false),
            ("DEFAULT_GENERATED", false),
            ("DEFAULT_GENERATED on update CURRENT_TIMESTAMP", false),
            ("STORED GENERATED", true),
            ("VIRTUAL GENERATED INVISIBLE", true),
        ] {
            assert_eq!(
                Column::new(String::new(), "int", "int", None, extra).generated,
                generated,
                "{extra}"
            );
        }
    }
}
