//! TABLE_MAP: the shape of a table, in front of the row events that name its number.
//!
//! Body: table number 6 bytes, flags u16; length u8, database, zero; length u8, table, zero; packed number of columns,
//! one type byte for each; packed length and bytes of the types' metadata; a bitmap of the columns that may be NULL. Then
//! optional metadata as (type u8, packed length, value) until the end:
//!
//! | type | value | of which columns |
//! |---|---|---|
//! | 1 | bitmap, highest bit first: unsigned | numbers |
//! | 2, 3 | collations: one and the exceptions / all | text and bytes |
//! | 4 | names | all |
//! | 5, 6 | labels | SET, ENUM |
//! | 7 | kinds of geometry | GEOMETRY |
//! | 8, 9 | key columns, without / with the length of their prefix | primary key |
//! | 10, 11 | as 2, 3 | ENUM and SET |
//! | 12 | bitmap: visible | all |
//! | 13 | dimensions | VECTOR |
//!
//! With `binlog_row_metadata=FULL` all are there; with MINIMAL only 1, 2 or 3, and 7. Source: `Table_map_event` in
//! MySQL's `rows_event.h`.

use crate::reader::Reader;
use crate::{Error, collation};

mod column;
mod metadata;

pub(crate) use column::fixed_bytes;
pub use column::{Column, ColumnType, GeometryKind};

/// More columns than a table of MySQL can have (4,096); hidden ones of functional indexes count too.
pub(crate) const COLUMNS_MAX: usize = 8192;

/// A column of the primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryKeyPart {
    /// Its place among the columns, from 0.
    pub column: usize,
    /// How many characters (bytes if it is binary) the key holds of it; 0: all.
    pub prefix: u64,
}

/// The shape of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// Which row events this map is for; valid until the end of the statement, at most until the end of the file.
    pub table_id: u64,
    /// As in the event.
    pub flags: u16,
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// In the order of the row images. Generated and invisible columns are among them, and so are hidden ones of
    /// functional indexes.
    pub columns: Vec<Column>,
    /// In the order of the key. Empty: no primary key, or no full metadata.
    pub primary_key: Vec<PrimaryKeyPart>,
    /// The server has `binlog_row_metadata=FULL`: columns have names, labels and real charsets. Without it this map
    /// cannot be understood alone.
    pub has_full_metadata: bool,
}

impl TableMap {
    /// Reads the body, without a checksum. Unknown column types are no error here; a
    /// [`Plan`](crate::rows::Plan) refuses them.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body, "a TABLE_MAP event");
        let table_id = reader.uint(6)?;
        let flags = reader.u16()?;
        let database = name(&mut reader)?;
        let table = name(&mut reader)?;
        let count = reader.packed_len()?;
        if count > COLUMNS_MAX {
            return Err(Error::Damaged(
                "a TABLE_MAP event has more columns than a table can have",
            ));
        }
        let types = reader.take(count)?;
        let metadata = reader.packed_bytes()?;
        let nullable = reader.take(count.div_ceil(8))?;
        let mut columns = column::read(types, metadata)?;
        for (at, column) in columns.iter_mut().enumerate() {
            column.nullable = nullable[at / 8] >> (at % 8) & 1 == 1;
        }
        let mut map = Self {
            table_id,
            flags,
            database,
            table,
            columns,
            primary_key: Vec::new(),
            has_full_metadata: false,
        };
        metadata::read(&mut map, reader)?;
        Ok(map)
    }
}

fn name(reader: &mut Reader<'_>) -> Result<String, Error> {
    let bytes = usize::from(reader.u8()?);
    let text = reader.take(bytes)?;
    if reader.u8()? != 0 {
        return Err(Error::Damaged("a name in a TABLE_MAP event does not end with a zero"));
    }
    utf8(text)
}

/// Names of databases, tables and columns are UTF-8 whatever the charset of the data.
fn utf8(text: &[u8]) -> Result<String, Error> {
    std::str::from_utf8(text)
        .map(str::to_owned)
        .map_err(|_| Error::Damaged("a name in a TABLE_MAP event is not UTF-8"))
}

/// Labels are in the charset of their column. Text that is none there is shown as hex digits.
fn label(text: &[u8], of: u64) -> String {
    match collation::charset(of).and_then(|charset| charset.decode(text)) {
        Some(text) => text.into_owned(),
        None => {
            let digits: String = text.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("0x{digits}")
        }
    }
}
