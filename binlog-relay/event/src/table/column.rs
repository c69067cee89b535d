//! A column: its type from type byte and metadata, and the names that others give the type.

use crate::reader::Reader;
use crate::{Error, collation, temporal};

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Empty without full metadata.
    pub name: String,
    /// What it holds.
    pub kind: ColumnType,
    /// May be NULL.
    pub nullable: bool,
    /// `SELECT *` does not show it. Known with full metadata.
    pub invisible: bool,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// TINYINT (1 byte), SMALLINT (2), MEDIUMINT (3), INT (4), BIGINT (8).
    Int {
        /// 1, 2, 3, 4 or 8.
        bytes: u8,
        /// Without a sign.
        unsigned: bool,
    },
    /// 4 bytes, IEEE 754.
    Float {
        /// Declared UNSIGNED; the stored form is the same.
        unsigned: bool,
    },
    /// 8 bytes, IEEE 754.
    Double {
        /// Declared UNSIGNED; the stored form is the same.
        unsigned: bool,
    },
    /// Decimal digits.
    Decimal {
        /// Digits in all, 1 to 65.
        precision: u8,
        /// Digits behind the point, 0 to 30.
        scale: u8,
        /// Declared UNSIGNED; the stored form is the same.
        unsigned: bool,
    },
    /// 1 to 64 bits.
    Bit {
        /// 1 to 64.
        bits: u8,
    },
    /// CHAR.
    Char {
        /// Longest value in bytes: characters times bytes of a character.
        bytes_max: u16,
        /// Number of the collation; 0: not in the event (metadata is damaged or of an old server).
        collation: u64,
    },
    /// VARCHAR.
    VarChar {
        /// Longest value in bytes.
        bytes_max: u16,
        /// See `Char`.
        collation: u64,
    },
    /// BINARY. Images lack the zero bytes at the end.
    Binary {
        /// Length of every value in bytes.
        bytes: u16,
    },
    /// VARBINARY.
    VarBinary {
        /// Longest value in bytes.
        bytes_max: u16,
    },
    /// TINYTEXT (1 length byte), TEXT (2), MEDIUMTEXT (3), LONGTEXT (4).
    Text {
        /// 1 to 4.
        length_bytes: u8,
        /// See `Char`.
        collation: u64,
    },
    /// TINYBLOB (1 length byte), BLOB (2), MEDIUMBLOB (3), LONGBLOB (4).
    Blob {
        /// 1 to 4.
        length_bytes: u8,
    },
    /// DATE.
    Date,
    /// TIME.
    Time {
        /// Digits of the fraction, 0 to 6.
        fsp: u8,
    },
    /// DATETIME.
    DateTime {
        /// Digits of the fraction, 0 to 6.
        fsp: u8,
    },
    /// TIMESTAMP.
    Timestamp {
        /// Digits of the fraction, 0 to 6.
        fsp: u8,
    },
    /// TIME in the form of before 5.6, which an old table keeps until it is rebuilt.
    OldTime,
    /// DATETIME in the form of before 5.6.
    OldDateTime,
    /// TIMESTAMP in the form of before 5.6.
    OldTimestamp,
    /// YEAR.
    Year,
    /// ENUM.
    Enum {
        /// 1 or 2: length of the stored index.
        bytes: u8,
        /// In order, from index 1 on. Empty without full metadata.
        labels: Vec<String>,
    },
    /// SET.
    Set {
        /// 1 to 8: length of the stored bit mask.
        bytes: u8,
        /// In order, from the lowest bit on. Empty without full metadata.
        labels: Vec<String>,
    },
    /// JSON.
    Json {
        /// 4.
        length_bytes: u8,
    },
    /// GEOMETRY and its kinds.
    Geometry {
        /// 4.
        length_bytes: u8,
        /// Which kind was declared.
        kind: GeometryKind,
    },
    /// VECTOR: 4-byte floats.
    Vector {
        /// 4.
        length_bytes: u8,
        /// Most numbers; 0: not in the event.
        dimension: u64,
    },
    /// The hidden column of a multi-valued index; stored as a JSON array.
    TypedArray,
    /// A type byte that this crate does not know; its values have no known length.
    Unknown {
        /// The byte.
        code: u8,
    },
}

/// The declared kind of a geometry column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are SQL's")]
pub enum GeometryKind {
    Geometry,
    Point,
    LineString,
    Polygon,
    MultiPoint,
    MultiLineString,
    MultiPolygon,
    GeometryCollection,
}

impl GeometryKind {
    pub(crate) fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Point,
            2 => Self::LineString,
            3 => Self::Polygon,
            4 => Self::MultiPoint,
            5 => Self::MultiLineString,
            6 => Self::MultiPolygon,
            7 => Self::GeometryCollection,
            _ => Self::Geometry,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Geometry => "geometry",
            Self::Point => "point",
            Self::LineString => "linestring",
            Self::Polygon => "polygon",
            Self::MultiPoint => "multipoint",
            Self::MultiLineString => "multilinestring",
            Self::MultiPolygon => "multipolygon",
            Self::GeometryCollection => "geomcollection",
        }
    }
}

impl Column {
    /// The declared type as `SHOW CREATE TABLE` writes it, as far as the event tells: without charset, display width and
    /// default. This is Canal's `mysqlType`.
    pub fn mysql_type(&self) -> String {
        let signed = |name: &str, unsigned: bool| match unsigned {
            true => format!("{name} unsigned"),
            false => name.to_owned(),
        };
        let fraction = |name: &str, fsp: u8| match fsp {
            0 => name.to_owned(),
            _ => format!("{name}({fsp})"),
        };
        let characters = |bytes: u16, of: u64| u64::from(bytes) / collation::bytes_max(of);
        let sized = |length_bytes: u8, name: &str| match length_bytes {
            1 => format!("tiny{name}"),
            3 => format!("medium{name}"),
            4 => format!("long{name}"),
            _ => name.to_owned(),
        };
        match &self.kind {
            ColumnType::Int { bytes, unsigned } => signed(
                match bytes {
                    1 => "tinyint",
                    2 => "smallint",
                    3 => "mediumint",
                    4 => "int",
                    _ => "bigint",
                },
                *unsigned,
            ),
            ColumnType::Float { unsigned } => signed("float", *unsigned),
            ColumnType::Double { unsigned } => signed("double", *unsigned),
            ColumnType::Decimal {
                precision,
                scale,
                unsigned,
            } => signed(&format!("decimal({precision},{scale})"), *unsigned),
            ColumnType::Bit { bits } => format!("bit({bits})"),
            ColumnType::Char { bytes_max, collation } => format!("char({})", characters(*bytes_max, *collation)),
            ColumnType::VarChar { bytes_max, collation } => format!("varchar({})", characters(*bytes_max, *collation)),
            ColumnType::Binary { bytes } => format!("binary({bytes})"),
            ColumnType::VarBinary { bytes_max } => format!("varbinary({bytes_max})"),
            ColumnType::Text { length_bytes, .. } => sized(*length_bytes, "text"),
            ColumnType::Blob { length_bytes } => sized(*length_bytes, "blob"),
            ColumnType::Date => "date".into(),
            ColumnType::Time { fsp } => fraction("time", *fsp),
            ColumnType::DateTime { fsp } => fraction("datetime", *fsp),
            ColumnType::Timestamp { fsp } => fraction("timestamp", *fsp),
            ColumnType::OldTime => "time".into(),
            ColumnType::OldDateTime => "datetime".into(),
            ColumnType::OldTimestamp => "timestamp".into(),
            ColumnType::Year => "year".into(),
            ColumnType::Enum { labels, .. } => list("enum", labels),
            ColumnType::Set { labels, .. } => list("set", labels),
            ColumnType::Json { .. } | ColumnType::TypedArray => "json".into(),
            ColumnType::Geometry { kind, .. } => kind.name().into(),
            ColumnType::Vector { dimension, .. } => format!("vector({dimension})"),
            ColumnType::Unknown { code } => format!("unknown({code})"),
        }
    }

    /// The code of `java.sql.Types` that Canal gives the type. (Canal raises the code of an unsigned number whose value
    /// is above the signed range, row by row; this is the code of all other rows.)
    pub fn sql_type(&self) -> i32 {
        match &self.kind {
            ColumnType::Int { bytes: 1, .. } => -6,
            ColumnType::Int { bytes: 2, .. } => 5,
            ColumnType::Int { bytes: 3 | 4, .. } | ColumnType::Enum { .. } => 4,
            ColumnType::Int { .. } => -5,
            ColumnType::Float { .. } => 7,
            ColumnType::Double { .. } => 8,
            ColumnType::Decimal { .. } => 3,
            ColumnType::Bit { .. } | ColumnType::Set { .. } => -7,
            ColumnType::Char { .. } => 1,
            ColumnType::VarChar { .. } | ColumnType::Year | ColumnType::Json { .. } | ColumnType::TypedArray => 12,
            ColumnType::Text { .. } => 2005,
            ColumnType::Binary { .. }
            | ColumnType::VarBinary { .. }
            | ColumnType::Blob { .. }
            | ColumnType::Geometry { .. }
            | ColumnType::Vector { .. } => 2004,
            ColumnType::Date => 91,
            ColumnType::Time { .. } | ColumnType::OldTime => 92,
            ColumnType::DateTime { .. }
            | ColumnType::Timestamp { .. }
            | ColumnType::OldDateTime
            | ColumnType::OldTimestamp => 93,
            ColumnType::Unknown { .. } => 1111,
        }
    }
}

/// With the escapes that the server uses for labels.
fn list(name: &str, labels: &[String]) -> String {
    let mut text = format!("{name}(");
    for (number, label) in labels.iter().enumerate() {
        text.push_str(if number == 0 { "'" } else { ",'" });
        for char in label.chars() {
            match char {
                '\'' => text.push_str("''"),
                '\\' => text.push_str(r"\\"),
                '\n' => text.push_str(r"\n"),
                '\r' => text.push_str(r"\r"),
                '\0' => text.push_str(r"\0"),
                _ => text.push(char),
            }
        }
        text.push('\'');
    }
    text.push(')');
    text
}

/// Which bitmap or list of the optional metadata a column takes part in.
impl ColumnType {
    /// A number whose sign is told (YEAR is told as unsigned).
    pub(super) fn has_sign(&self) -> bool {
        matches!(
            self,
            Self::Int { .. } | Self::Float { .. } | Self::Double { .. } | Self::Decimal { .. } | Self::Year
        )
    }

    /// Text or bytes whose collation is told.
    pub(super) fn has_collation(&self) -> bool {
        matches!(self, Self::Char { .. } | Self::VarChar { .. } | Self::Text { .. })
    }

    pub(super) fn has_labels(&self) -> bool {
        matches!(self, Self::Enum { .. } | Self::Set { .. })
    }

    /// Text of the collation `binary` is bytes.
    pub(super) fn with_collation(&mut self, told: u64) {
        let binary = told == collation::BINARY;
        match self {
            Self::Char { bytes_max, .. } if binary => *self = Self::Binary { bytes: *bytes_max },
            Self::VarChar { bytes_max, .. } if binary => *self = Self::VarBinary { bytes_max: *bytes_max },
            Self::Text { length_bytes, .. } if binary => {
                *self = Self::Blob {
                    length_bytes: *length_bytes,
                }
            }
            Self::Char { collation, .. } | Self::VarChar { collation, .. } | Self::Text { collation, .. } => {
                *collation = told;
            }
            _ => {}
        }
    }
}

/// The columns, as far as type bytes and metadata tell: text has no collation yet, numbers have signs.
pub(super) fn read(types: &[u8], metadata: &[u8]) -> Result<Vec<Column>, Error> {
    let mut reader = Reader::new(metadata, "the column metadata of a TABLE_MAP event");
    let mut columns = Vec::with_capacity(types.len());
    for code in types {
        columns.push(Column {
            name: String::new(),
            kind: kind(*code, &mut reader)?,
            nullable: true,
            invisible: false,
        });
    }
    Ok(columns)
}

fn kind(code: u8, reader: &mut Reader<'_>) -> Result<ColumnType, Error> {
    let int = |bytes| ColumnType::Int { bytes, unsigned: false };
    Ok(match code {
        1 => int(1),
        2 => int(2),
        3 => int(4),
        8 => int(8),
        9 => int(3),
        4 | 5 => match reader.u8()? {
            4 => ColumnType::Float { unsigned: false },
            8 => ColumnType::Double { unsigned: false },
            _ => return Err(Error::Damaged("a float column has neither 4 nor 8 bytes")),
        },
        7 => ColumnType::OldTimestamp,
        10 | 14 => ColumnType::Date,
        11 => ColumnType::OldTime,
        12 => ColumnType::OldDateTime,
        13 => ColumnType::Year,
        15 | 253 => ColumnType::VarChar {
            bytes_max: reader.u16()?,
            collation: 0,
        },
        16 => {
            let (odd, bytes) = (reader.u8()?, reader.u8()?);
            match u32::from(bytes) * 8 + u32::from(odd) {
                bits @ 1..=64 => ColumnType::Bit { bits: bits as u8 },
                _ => return Err(Error::Damaged("a BIT column has not 1 to 64 bits")),
            }
        }
        17 => ColumnType::Timestamp { fsp: fsp(reader)? },
        18 => ColumnType::DateTime { fsp: fsp(reader)? },
        19 => ColumnType::Time { fsp: fsp(reader)? },
        20 => {
            typed_array(reader)?;
            ColumnType::TypedArray
        }
        242 => ColumnType::Vector {
            length_bytes: length_bytes(reader)?,
            dimension: 0,
        },
        245 => ColumnType::Json {
            length_bytes: length_bytes(reader)?,
        },
        246 => decimal(reader)?,
        247 | 248 => {
            let [real, bytes] = reader.bytes()?;
            label_type(if real == 0 { code } else { real }, bytes)?
        }
        249..=252 => ColumnType::Text {
            length_bytes: length_bytes(reader)?,
            collation: 0,
        },
        254 => string(reader)?,
        255 => ColumnType::Geometry {
            length_bytes: length_bytes(reader)?,
            kind: GeometryKind::Geometry,
        },
        // Its metadata, if it has any, is of unknown length too: what follows it may be misread, and the plan refuses
        // the table because of this column.
        code => ColumnType::Unknown { code },
    })
}

fn fsp(reader: &mut Reader<'_>) -> Result<u8, Error> {
    match reader.u8()? {
        fsp @ 0..=6 => Ok(fsp),
        _ => Err(Error::Damaged("a time column has more than 6 digits of fraction")),
    }
}

fn length_bytes(reader: &mut Reader<'_>) -> Result<u8, Error> {
    match reader.u8()? {
        bytes @ 1..=4 => Ok(bytes),
        _ => Err(Error::Damaged(
            "a BLOB, TEXT or JSON column has not 1 to 4 length bytes",
        )),
    }
}

fn decimal(reader: &mut Reader<'_>) -> Result<ColumnType, Error> {
    let [precision, scale] = reader.bytes()?;
    if crate::decimal::Shape::new(precision, scale).is_none() {
        return Err(Error::Damaged(
            "a DECIMAL column has a precision or scale that no DECIMAL has",
        ));
    }
    Ok(ColumnType::Decimal {
        precision,
        scale,
        unsigned: false,
    })
}

fn label_type(code: u8, bytes: u8) -> Result<ColumnType, Error> {
    match (code, bytes) {
        (247, 1 | 2) => Ok(ColumnType::Enum {
            bytes,
            labels: Vec::new(),
        }),
        (248, 1..=8) => Ok(ColumnType::Set {
            bytes,
            labels: Vec::new(),
        }),
        _ => Err(Error::Damaged("an ENUM or SET column has an impossible length")),
    }
}

/// The first byte is the real type: ENUM, SET or CHAR. A CHAR of more than 255 bytes hides two bits of its length there,
/// inverted.
fn string(reader: &mut Reader<'_>) -> Result<ColumnType, Error> {
    let [real, length] = reader.bytes()?;
    if real & 0x30 != 0x30 {
        return Ok(ColumnType::Char {
            bytes_max: u16::from(length) | u16::from((real & 0x30) ^ 0x30) << 4,
            collation: 0,
        });
    }
    match real {
        247 | 248 => label_type(real, length),
        254 => Ok(ColumnType::Char {
            bytes_max: u16::from(length),
            collation: 0,
        }),
        _ => Err(Error::Damaged("a CHAR column has an unknown real type")),
    }
}

/// Type and metadata of the elements; the value itself is JSON.
fn typed_array(reader: &mut Reader<'_>) -> Result<(), Error> {
    let element = reader.u8()?;
    let metadata = match element {
        15 => 3,
        4 | 5 | 17..=19 | 245 | 249..=252 | 255 => 1,
        16 | 246 | 247 | 248 | 253 | 254 => 2,
        _ => 0,
    };
    reader.take(metadata)?;
    Ok(())
}

/// Length of a stored number or time of this type, `None` if it varies.
pub(crate) fn fixed_bytes(kind: &ColumnType) -> Option<usize> {
    Some(match kind {
        ColumnType::Int { bytes, .. } | ColumnType::Enum { bytes, .. } | ColumnType::Set { bytes, .. } => {
            usize::from(*bytes)
        }
        ColumnType::Float { .. } | ColumnType::OldTimestamp => 4,
        ColumnType::Double { .. } | ColumnType::OldDateTime => 8,
        ColumnType::Decimal { precision, scale, .. } => crate::decimal::Shape::new(*precision, *scale)?.bytes(),
        ColumnType::Bit { bits } => usize::from(bits.div_ceil(8)),
        ColumnType::Date | ColumnType::OldTime => 3,
        ColumnType::Time { fsp } => 3 + temporal::fraction_bytes(*fsp),
        ColumnType::DateTime { fsp } => 5 + temporal::fraction_bytes(*fsp),
        ColumnType::Timestamp { fsp } => 4 + temporal::fraction_bytes(*fsp),
        ColumnType::Year => 1,
        _ => return None,
    })
}
