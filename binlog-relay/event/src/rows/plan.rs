//! How the rows of one table are cut and written: made once per table map, used for every row.

use crate::charset::Charset;
use crate::collation;
use crate::decimal::Shape;
use crate::table::{Column, ColumnType, TableMap, fixed_bytes};

/// How values become text, where there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextPolicy {
    /// Of BINARY, VARBINARY, BLOB, GEOMETRY and VECTOR.
    pub binary: BinaryText,
}

/// The text of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BinaryText {
    /// Each byte is the character of that number (Canal's way; readers encode it as ISO-8859-1).
    #[default]
    Latin1,
    /// Two upper-case hex digits for each byte.
    Hex,
}

/// A table that cannot be read: one of its columns is of a type that this crate does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}; leave the table out, or change the column")]
pub struct Unsupported {
    /// The column's name, or its number from 1 on if the event has no names.
    pub column: String,
    /// What is wrong with it.
    pub what: String,
}

/// How to cut and write the rows of one table.
#[derive(Debug, Clone)]
pub struct Plan {
    columns: Vec<ColumnPlan>,
}

/// How to cut and write the values of one column.
#[derive(Debug, Clone, Copy)]
pub struct ColumnPlan {
    pub(super) cut: Cut,
    pub(crate) form: Form,
    pub(crate) policy: TextPolicy,
}

/// Where a value ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    Fixed(u8),
    /// One byte with the length before the value: by far the most frequent prefix.
    Prefix1,
    /// So many bytes with the length before the value.
    Prefix(u8),
}

/// What the bytes of a value mean.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Signed,
    Unsigned,
    /// Big-endian.
    Bits,
    Float,
    Double,
    Decimal(Shape),
    Text(Charset),
    /// At least so many bytes: zeros at the end are not stored.
    Bytes(u16),
    Date,
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    OldTime,
    OldDateTime,
    OldTimestamp,
    Year,
    Json,
}

impl Plan {
    /// Refuses the table if a column has an unknown type or a collation whose charset is not known here.
    pub fn new(table: &TableMap, policy: &TextPolicy) -> Result<Self, Unsupported> {
        let columns = table.columns.iter().enumerate().map(|(at, column)| {
            ColumnPlan::new(column, policy).map_err(|what| Unsupported {
                column: match column.name.as_str() {
                    "" => format!("number {}", at + 1),
                    name => name.to_owned(),
                },
                what,
            })
        });
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    /// In the order of the table map.
    pub fn columns(&self) -> &[ColumnPlan] {
        &self.columns
    }

    /// The column at this place, from 0. Panics if there is none: places come from the table map.
    pub fn column(&self, at: usize) -> &ColumnPlan {
        &self.columns[at]
    }
}

impl ColumnPlan {
    /// For values of one column, wherever they come from. The error is what is wrong with the column.
    pub fn new(column: &Column, policy: &TextPolicy) -> Result<Self, String> {
        let by_length = |bytes_max: u16| if bytes_max > 255 { Cut::Prefix(2) } else { Cut::Prefix1 };
        let by_prefix = |length_bytes: u8| {
            if length_bytes == 1 {
                Cut::Prefix1
            } else {
                Cut::Prefix(length_bytes)
            }
        };
        let fixed = match fixed_bytes(&column.kind) {
            Some(bytes) => Cut::Fixed(bytes as u8),
            None => Cut::Prefix(4),
        };
        let (cut, form) = match &column.kind {
            ColumnType::Int { unsigned: false, .. } => (fixed, Form::Signed),
            ColumnType::Int { .. } | ColumnType::Enum { .. } | ColumnType::Set { .. } => (fixed, Form::Unsigned),
            ColumnType::Bit { .. } => (fixed, Form::Bits),
            ColumnType::Float { .. } => (fixed, Form::Float),
            ColumnType::Double { .. } => (fixed, Form::Double),
            ColumnType::Decimal { precision, scale, .. } => match Shape::new(*precision, *scale) {
                Some(shape) => (fixed, Form::Decimal(shape)),
                None => return Err(format!("there is no decimal({precision},{scale})")),
            },
            ColumnType::Char { bytes_max, collation } | ColumnType::VarChar { bytes_max, collation } => {
                (by_length(*bytes_max), text(*collation)?)
            }
            ColumnType::Text {
                length_bytes,
                collation,
            } => (by_prefix(*length_bytes), text(*collation)?),
            ColumnType::Binary { bytes } => (by_length(*bytes), Form::Bytes(*bytes)),
            ColumnType::VarBinary { bytes_max } => (by_length(*bytes_max), Form::Bytes(0)),
            ColumnType::Blob { length_bytes }
            | ColumnType::Geometry { length_bytes, .. }
            | ColumnType::Vector { length_bytes, .. } => (by_prefix(*length_bytes), Form::Bytes(0)),
            ColumnType::Date => (fixed, Form::Date),
            ColumnType::Time { fsp } => (fixed, Form::Time(*fsp)),
            ColumnType::DateTime { fsp } => (fixed, Form::DateTime(*fsp)),
            ColumnType::Timestamp { fsp } => (fixed, Form::Timestamp(*fsp)),
            ColumnType::OldTime => (fixed, Form::OldTime),
            ColumnType::OldDateTime => (fixed, Form::OldDateTime),
            ColumnType::OldTimestamp => (fixed, Form::OldTimestamp),
            ColumnType::Year => (fixed, Form::Year),
            ColumnType::Json { length_bytes } => (by_prefix(*length_bytes), Form::Json),
            ColumnType::TypedArray => (Cut::Prefix(4), Form::Json),
            ColumnType::Unknown { code: 140 | 141 } => return Err("a compressed column of MariaDB".into()),
            ColumnType::Unknown { code } => return Err(format!("type {code} is not known")),
        };
        Ok(Self {
            cut,
            form,
            policy: *policy,
        })
    }
}

fn text(number: u64) -> Result<Form, String> {
    match collation::charset(number) {
        Some(Charset::Binary) => Ok(Form::Bytes(0)),
        Some(charset) => Ok(Form::Text(charset)),
        None => Err(format!("the charset of collation {number} is not known")),
    }
}
