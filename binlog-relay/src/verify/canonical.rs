//! SQL that tells rows apart: hashes of their values, and literals of their keys. The servers compute both; nothing passes through our decoder.

use crate::ddl::quoted;

/// A column, as `information_schema.COLUMNS` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) data_type: String,
    pub(super) column_type: String,
    pub(super) nullable: String,
    pub(super) charset: Option<String>,
    pub(super) collation: Option<String>,
    /// STORED GENERATED, VIRTUAL GENERATED or "".
    pub(super) generated: String,
}

impl Column {
    /// The value as text or bytes that differ when the value differs.
    fn canonical(&self) -> String {
        let name = quoted(&self.name);
        match self.data_type.as_str() {
            "bit" | "enum" | "set" => format!("CAST({name} + 0 AS CHAR)"),
            // As double, printed with the digits that tell it from its neighbours.
            "float" | "double" => format!("CAST({name} + 0e0 AS CHAR)"),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "decimal" | "date" | "datetime"
            | "timestamp" | "time" => {
                format!("CAST({name} AS CHAR)")
            }
            // Texts and bytes of any length are hashed: a row of several would exceed what CONCAT may give.
            "json" => format!("SHA2(CAST({name} AS CHAR CHARACTER SET utf8mb4), 256)"),
            _ => format!("SHA2(CAST({name} AS BINARY), 256)"),
        }
    }

    /// Text to make a literal of, see [`Column::literal`].
    fn bound(&self) -> String {
        let name = quoted(&self.name);
        match self.data_type.as_str() {
            "bit" | "enum" | "set" => format!("CAST({name} + 0 AS CHAR)"),
            "float" | "double" => format!("CAST({name} + 0e0 AS CHAR)"),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "decimal" | "date" | "datetime"
            | "timestamp" | "time" => {
                format!("CAST({name} AS CHAR)")
            }
            _ => format!("HEX(CAST({name} AS BINARY))"),
        }
    }

    /// The literal that stands for such a text: it compares as the column does, and an index can be used.
    fn literal(&self, text: &str) -> String {
        match (self.data_type.as_str(), &self.charset, &self.collation) {
            (
                "bit" | "enum" | "set" | "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "decimal",
                ..,
            ) => text.to_owned(),
            ("float" | "double", ..) => format!("CAST('{text}' AS DOUBLE)"),
            ("date" | "datetime" | "timestamp" | "time", ..) => format!("'{text}'"),
            (_, Some(charset), Some(collation)) => format!("_{charset} X'{text}' COLLATE {collation}"),
            _ => format!("X'{text}'"),
        }
    }

    /// The value for a person to read.
    fn shown(&self) -> String {
        let name = quoted(&self.name);
        match self.charset {
            Some(_) => format!("CONVERT({name} USING utf8mb4)"),
            None if self.bound().starts_with("HEX") => format!("CONCAT('0x', HEX({name}))"),
            None => self.bound(),
        }
    }
}

/// A row's hash, 256 bits as hex digits: of each value, its length and itself.
fn hash(columns: &[Column]) -> String {
    let values = columns.iter().map(|column| {
        let value = column.canonical();
        format!("IFNULL(CONCAT(LENGTH({value}), ':', {value}), 'N')")
    });
    format!("SHA2(CONCAT({}), 256)", values.collect::<Vec<_>>().join(", "))
}

/// Count and sums of two 64-bit halves of the hashes: the same for the same rows in any order, and no pair cancels out.
pub(super) fn sums(columns: &[Column], from: &str, condition: &str) -> String {
    let half = |from: u32| format!("CAST(CONV(SUBSTRING(h, {from}, 16), 16, 10) AS UNSIGNED)");
    format!(
        "SELECT COUNT(*), CAST(IFNULL(SUM({}), 0) AS CHAR), CAST(IFNULL(SUM({}), 0) AS CHAR) FROM (SELECT {} AS h FROM {from} WHERE {condition}) AS hashed",
        half(1),
        half(17),
        hash(columns)
    )
}

/// Key (as texts for [`literals`], joined by blanks), key for a person, and hash of each row, in key order.
pub(super) fn each(columns: &[Column], key: &[Column], from: &str, condition: &str) -> String {
    let shown = key.iter().map(Column::shown).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT {}, CONCAT_WS(', ', {shown}), {} FROM {from} WHERE {condition}",
        joined(key),
        hash(columns)
    )
}

/// The key of the row at a place in key order, counted from 0 within a condition.
pub(super) fn key_at(key: &[Column], from: &str, condition: &str, at: u64) -> String {
    let names = key
        .iter()
        .map(|column| quoted(&column.name))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "SELECT {} FROM {from} WHERE {condition} ORDER BY {names} LIMIT 1 OFFSET {at}",
        joined(key)
    )
}

/// None of the texts has a blank, but dates do, and those never hold a `|`.
fn joined(key: &[Column]) -> String {
    let bounds = key.iter().map(Column::bound).collect::<Vec<_>>().join(", ");
    format!("CONCAT_WS('|', {bounds})")
}

/// Literals of a key that a query gave.
pub(super) fn literals(key: &[Column], joined: &str) -> Vec<String> {
    key.iter()
        .zip(joined.split('|'))
        .map(|(column, text)| column.literal(text))
        .collect()
}

/// Holds for keys beyond a bound.
pub(super) fn beyond(key: &[Column], bound: &[String]) -> String {
    compare(key, bound, ">", ">")
}

/// Holds for keys up to a bound, and for it.
pub(super) fn up_to(key: &[Column], bound: &[String]) -> String {
    compare(key, bound, "<", "<=")
}

/// `a < x OR (a = x AND b <= y)`, and once more as a range of the first column, which the optimizer finds.
fn compare(key: &[Column], bound: &[String], inner: &str, last: &str) -> String {
    let mut condition = String::new();
    for (nth, (column, value)) in key.iter().zip(bound).enumerate().rev() {
        let name = quoted(&column.name);
        condition = if condition.is_empty() {
            format!("{name} {last} {value}")
        } else {
            format!("({name} {inner} {value} OR ({name} = {value} AND {condition}))")
        };
        if nth == 0 && key.len() > 1 {
            condition = format!("({name} {inner}= {value} AND {condition})");
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, data_type: &str, charset: Option<&str>) -> Column {
        Column {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            column_type: data_type.to_owned(),
            nullable: "NO".to_owned(),
            charset: charset.map(str::to_owned),
            collation: charset.map(|charset| format!("{charset}_bin")),
            generated: String::new(),
        }
    }

    #[test]
    fn bounds_of_keys_compare_column_by_column() {
        let key = [
            column("a", "int", None),
            column("b", "varchar", Some("latin1")),
            column("c", "datetime", None),
        ];
        let bound = literals(&key, "5|E9|2020-01-01 00:00:00");
        assert_eq!(
            bound,
            ["5", "_latin1 X'E9' COLLATE latin1_bin", "'2020-01-01 00:00:00'"]
        );
        assert_eq!(
            beyond(&key[..2], &bound[..2]),
            "(`a` >= 5 AND (`a` > 5 OR (`a` = 5 AND `b` > _latin1 X'E9' COLLATE latin1_bin)))"
        );
        assert_eq!(up_to(&key[..1], &bound[..1]), "`a` <= 5");
        assert_eq!(
            up_to(&[key[0].clone(), key[0].clone()], &["1".to_owned(), "2".to_owned()]),
            "(`a` <= 1 AND (`a` < 1 OR (`a` = 1 AND `a` <= 2)))"
        );
    }
}
