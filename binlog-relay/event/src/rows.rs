//! Row events: which columns they bring, and their rows cut into cells.
//!
//! Body: table number 6 bytes, flags u16; in the newer kinds (30 to 32) the length u16 of extra data, itself included,
//! and that data; packed number of columns; a bitmap of the columns in the image, for an update one more for the image
//! after it. Then rows until the end: for each image a bitmap of the NULLs among the columns present, then the values of
//! the others. Source: `Rows_event` in MySQL's `rows_event.h`.
//!
//! A row is cut without being understood: the [`Plan`] of a table knows of each column whether its length is fixed or
//! stands before the value. What a cell says is the business of [`crate::text`]; whether it changed is seen by comparing
//! bytes.

use crate::reader::Reader;
use crate::table::COLUMNS_MAX;
use crate::{Error, header};

mod plan;

use plan::Cut;
pub(crate) use plan::Form;
pub use plan::{BinaryText, ColumnPlan, Plan, TextPolicy, Unsupported};

/// What happened to the rows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    /// Images after.
    Insert,
    /// Images before and after.
    Update,
    /// Images before.
    Delete,
}

/// Which columns an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present<'a> {
    /// Lowest bit first.
    bits: &'a [u8],
    count: usize,
}

impl Present<'_> {
    const NONE: Self = Self { bits: &[], count: 0 };

    /// Whether the column at this place is in the image.
    pub fn has(&self, column: usize) -> bool {
        self.bits
            .get(column / 8)
            .is_some_and(|byte| byte >> (column % 8) & 1 == 1)
    }

    /// How many columns are in the image.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// A row event whose rows are not cut yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsEvent<'a> {
    /// What happened.
    pub kind: RowsKind,
    /// Of the table map that it belongs to. 0xFF_FFFF: of none; it only ends a statement.
    pub table_id: u64,
    /// As in the event.
    pub flags: u16,
    /// The last row event of its statement: table maps end here.
    pub statement_end: bool,
    /// How many columns the table has.
    pub columns: usize,
    /// Columns of the images before; none for an insert.
    pub before: Present<'a>,
    /// Columns of the images after; none for a delete.
    pub after: Present<'a>,
    /// The rows.
    pub data: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    /// Reads the body, without a checksum, of an event of this kind.
    pub fn parse(kind: u8, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body, "a row event");
        let (what, extra) = match kind {
            header::WRITE_ROWS_V1 => (RowsKind::Insert, false),
            header::UPDATE_ROWS_V1 => (RowsKind::Update, false),
            header::DELETE_ROWS_V1 => (RowsKind::Delete, false),
            header::WRITE_ROWS => (RowsKind::Insert, true),
            header::UPDATE_ROWS => (RowsKind::Update, true),
            header::DELETE_ROWS => (RowsKind::Delete, true),
            _ => return Err(Error::Refused(header::refusal(kind).unwrap_or("the event has no rows"))),
        };
        let table_id = reader.uint(6)?;
        let flags = reader.u16()?;
        if extra {
            let bytes = usize::from(reader.u16()?);
            let extra = bytes
                .checked_sub(2)
                .ok_or(Error::Damaged("the extra data of a row event is too short"))?;
            reader.take(extra)?;
        }
        let columns = reader.packed_len()?;
        if columns > COLUMNS_MAX {
            return Err(Error::Damaged("a row event has more columns than a table can have"));
        }
        let first = present(&mut reader, columns)?;
        let (before, after) = match what {
            RowsKind::Insert => (Present::NONE, first),
            RowsKind::Delete => (first, Present::NONE),
            RowsKind::Update => (first, present(&mut reader, columns)?),
        };
        Ok(Self {
            kind: what,
            table_id,
            flags,
            statement_end: flags & 1 == 1,
            columns,
            before,
            after,
            data: reader.rest(),
        })
    }
}

fn present<'a>(reader: &mut Reader<'a>, columns: usize) -> Result<Present<'a>, Error> {
    let bits = reader.take(columns.div_ceil(8))?;
    let count = bits.iter().map(|byte| byte.count_ones() as usize).sum();
    match bits.last() {
        Some(last) if !columns.is_multiple_of(8) && last >> (columns % 8) != 0 => {
            // The server leaves the bits above the last column as they were in a full bitmap.
            let above = (last >> (columns % 8)).count_ones() as usize;
            Ok(Present {
                bits,
                count: count - above,
            })
        }
        _ => Ok(Present { bits, count }),
    }
}

/// A cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// SQL's NULL.
    Null,
    /// Not in the image (`binlog_row_image` is not FULL, or the other image has it): unknown, not NULL.
    Absent,
    /// As stored, without its length.
    Raw(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    /// Or one of the marks.
    bytes: u32,
}

const NULL: Span = Span {
    start: 0,
    bytes: u32::MAX,
};
const ABSENT: Span = Span {
    start: 0,
    bytes: u32::MAX - 1,
};

/// An image of a row: the places of its cells in the event. Reused from row to row, and by [`Row::recycle`] from event
/// to event, so that reading rows does not allocate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row<'a> {
    data: &'a [u8],
    spans: Vec<Span>,
}

impl<'a> Row<'a> {
    /// The cell of this column. All cells of an image that the event does not have are absent.
    pub fn raw(&self, column: usize) -> Value<'a> {
        match self.spans.get(column) {
            None | Some(&ABSENT) => Value::Absent,
            Some(&NULL) => Value::Null,
            Some(span) => {
                let start = span.start as usize;
                match self.data.get(start..start + span.bytes as usize) {
                    Some(raw) => Value::Raw(raw),
                    None => Value::Absent,
                }
            }
        }
    }

    /// The same memory for rows of another event.
    pub fn recycle<'b>(mut self) -> Row<'b> {
        self.spans.clear();
        Row {
            data: &[],
            spans: self.spans,
        }
    }
}

/// Cuts the rows of one event. After an error there are no more rows.
#[derive(Debug)]
pub struct RowReader<'a, 'p> {
    plan: &'p Plan,
    event: RowsEvent<'a>,
    at: usize,
    /// One row of no bytes is still to come.
    without_cells: bool,
}

impl<'a, 'p> RowReader<'a, 'p> {
    /// `plan` is of the table map that the event belongs to; another one is found out only if the numbers of columns
    /// differ.
    pub fn new(plan: &'p Plan, event: &RowsEvent<'a>) -> Result<Self, Error> {
        if plan.columns().len() != event.columns {
            return Err(Error::Damaged(
                "a row event has another number of columns than its table map",
            ));
        }
        if event.data.len() >= ABSENT.bytes as usize {
            return Err(Error::TooLarge {
                what: "a row event",
                bytes: event.data.len() as u64,
                bytes_max: u64::from(ABSENT.bytes) - 1,
            });
        }
        Ok(Self {
            plan,
            event: *event,
            at: 0,
            // With binlog_row_image=MINIMAL, `INSERT INTO t () VALUES ()` is a row without columns and so without bytes.
            // The server writes one such row at most; an event of no table has none.
            without_cells: event.kind == RowsKind::Insert
                && event.after.count() == 0
                && event.data.is_empty()
                && event.columns > 0,
        })
    }

    /// Cuts the next row. `false`: there was none. An image that the event does not have (before an insert, after a
    /// delete) has only absent cells.
    pub fn next(&mut self, before: &mut Row<'a>, after: &mut Row<'a>) -> Result<bool, Error> {
        let start = self.at;
        if std::mem::take(&mut self.without_cells) {
            before.spans.clear();
            after.spans.clear();
            return Ok(true);
        }
        if start >= self.event.data.len() {
            return Ok(false);
        }
        let row = match self.event.kind {
            RowsKind::Insert => self.image(self.event.after, after).map(|()| before.spans.clear()),
            RowsKind::Delete => self.image(self.event.before, before).map(|()| after.spans.clear()),
            RowsKind::Update => self
                .image(self.event.before, before)
                .and_then(|()| self.image(self.event.after, after)),
        };
        let row = match row {
            Ok(()) if self.at == start => Err(Error::Damaged("a row event has rows without columns")),
            row => row,
        };
        if row.is_err() {
            self.at = self.event.data.len();
        }
        row.map(|()| true)
    }

    fn image(&mut self, present: Present<'a>, row: &mut Row<'a>) -> Result<(), Error> {
        const WHAT: &str = "a row";
        let data = self.event.data;
        let columns = self.plan.columns();
        let all = present.count == columns.len();
        let nulls_end = self.at + present.count.div_ceil(8);
        let nulls = data.get(self.at..nulls_end).ok_or(Error::Short(WHAT))?;
        row.data = data;
        if row.spans.len() != columns.len() {
            row.spans.clear();
            row.spans.resize(columns.len(), ABSENT);
        }
        let (mut at, mut nth) = (nulls_end, 0);
        for (place, (column, span)) in columns.iter().zip(&mut row.spans).enumerate() {
            if !all && !present.has(place) {
                *span = ABSENT;
                continue;
            }
            let null = nulls[nth / 8] >> (nth % 8) & 1 == 1;
            nth += 1;
            if null {
                *span = NULL;
                continue;
            }
            let bytes = match column.cut {
                Cut::Fixed(bytes) => usize::from(bytes),
                Cut::Prefix1 => {
                    let bytes = *data.get(at).ok_or(Error::Short(WHAT))?;
                    at += 1;
                    usize::from(bytes)
                }
                Cut::Prefix(prefix) => {
                    let prefix = usize::from(prefix);
                    let bytes = data.get(at..at + prefix).ok_or(Error::Short(WHAT))?;
                    at += prefix;
                    crate::reader::little_endian(bytes) as usize
                }
            };
            // Neither sum overflows: `at` is below the event's length, `bytes` below 2^32.
            let end = at + bytes;
            if end > data.len() {
                return Err(Error::Short(WHAT));
            }
            *span = Span {
                start: at as u32,
                bytes: bytes as u32,
            };
            at = end;
        }
        self.at = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
