//! The optional metadata of a table map, spread over its columns.

use super::{Column, ColumnType, GeometryKind, PrimaryKeyPart, TableMap, label, utf8};
use crate::Error;
use crate::reader::Reader;

pub(super) fn read(map: &mut TableMap, mut reader: Reader<'_>) -> Result<(), Error> {
    let mut labels = Labels::default();
    while !reader.is_empty() {
        let field = reader.u8()?;
        let value = Reader::new(reader.packed_bytes()?, "the optional metadata of a TABLE_MAP event");
        match field {
            1 => signs(&mut map.columns, value)?,
            2 => default_collation(&mut map.columns, value)?,
            3 => all_collations(&mut map.columns, value)?,
            4 => {
                names(&mut map.columns, value)?;
                map.has_full_metadata = true;
            }
            5 => labels.sets = label_lists(value)?,
            6 => labels.enums = label_lists(value)?,
            7 => geometries(&mut map.columns, value)?,
            8 | 9 => map.primary_key = key(map.columns.len(), value, field == 9)?,
            10 => labels.collations = Collations::of_default(value)?,
            11 => labels.collations = Collations::List(numbers(value)?),
            12 => visibility(&mut map.columns, value)?,
            13 => dimensions(&mut map.columns, value)?,
            _ => {} // newer than this crate, and optional
        }
    }
    labels.spread(&mut map.columns)
}

fn signs(columns: &mut [Column], value: Reader<'_>) -> Result<(), Error> {
    let bits = value.rest();
    for (at, column) in columns.iter_mut().filter(|column| column.kind.has_sign()).enumerate() {
        let byte = bits.get(at / 8).ok_or(TOO_FEW)?;
        let told = byte >> (7 - at % 8) & 1 == 1;
        if let ColumnType::Int { unsigned, .. }
        | ColumnType::Float { unsigned }
        | ColumnType::Double { unsigned }
        | ColumnType::Decimal { unsigned, .. } = &mut column.kind
        {
            *unsigned = told;
        }
    }
    Ok(())
}

const TOO_FEW: Error = Error::Damaged("the optional metadata of a TABLE_MAP event tells of too few columns");
const TOO_MANY: Error = Error::Damaged("the optional metadata of a TABLE_MAP event tells of too many columns");

/// Packed numbers until the end.
fn numbers(mut value: Reader<'_>) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    while !value.is_empty() {
        numbers.push(value.packed()?);
    }
    Ok(numbers)
}

/// Of the columns that have one, in their order.
enum Collations {
    /// One for all but some, which are (place among them, collation).
    Default(u64, Vec<(u64, u64)>),
    List(Vec<u64>),
}

impl Collations {
    fn of_default(mut value: Reader<'_>) -> Result<Self, Error> {
        let default = value.packed()?;
        let mut others = Vec::new();
        while !value.is_empty() {
            others.push((value.packed()?, value.packed()?));
        }
        Ok(Self::Default(default, others))
    }

    fn get(&self, at: usize) -> Result<u64, Error> {
        match self {
            Self::Default(default, others) => {
                // In rising order of places.
                let found = others.binary_search_by_key(&(at as u64), |(place, _)| *place);
                Ok(found.map_or(*default, |found| others[found].1))
            }
            Self::List(list) => list.get(at).copied().ok_or(TOO_FEW),
        }
    }
}

fn default_collation(columns: &mut [Column], value: Reader<'_>) -> Result<(), Error> {
    collations(columns, &Collations::of_default(value)?)
}

fn all_collations(columns: &mut [Column], value: Reader<'_>) -> Result<(), Error> {
    collations(columns, &Collations::List(numbers(value)?))
}

fn collations(columns: &mut [Column], told: &Collations) -> Result<(), Error> {
    let with_collation = columns.iter_mut().filter(|column| column.kind.has_collation());
    for (at, column) in with_collation.enumerate() {
        column.kind.with_collation(told.get(at)?);
    }
    Ok(())
}

fn names(columns: &mut [Column], mut value: Reader<'_>) -> Result<(), Error> {
    for column in columns {
        column.name = utf8(value.packed_bytes()?)?;
    }
    if value.is_empty() { Ok(()) } else { Err(TOO_MANY) }
}

#[derive(Default)]
struct Labels<'a> {
    sets: Vec<Vec<&'a [u8]>>,
    enums: Vec<Vec<&'a [u8]>>,
    collations: Collations,
}

impl Default for Collations {
    /// utf8mb4; only for servers that tell labels and no charset, which none does.
    fn default() -> Self {
        Self::Default(45, Vec::new())
    }
}

fn label_lists(mut value: Reader<'_>) -> Result<Vec<Vec<&[u8]>>, Error> {
    let mut lists = Vec::new();
    while !value.is_empty() {
        let count = value.packed_len()?;
        // A label takes at least its length byte.
        if count > value.rest().len() {
            return Err(Error::Short("the labels of an ENUM or SET in a TABLE_MAP event"));
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(value.packed_bytes()?);
        }
        lists.push(list);
    }
    Ok(lists)
}

impl Labels<'_> {
    fn spread(self, columns: &mut [Column]) -> Result<(), Error> {
        let (mut sets, mut enums) = (self.sets.into_iter(), self.enums.into_iter());
        let with_labels = columns.iter_mut().filter(|column| column.kind.has_labels());
        for (at, column) in with_labels.enumerate() {
            let collation = self.collations.get(at)?;
            let (list, labels) = match &mut column.kind {
                ColumnType::Enum { labels, .. } => (enums.next(), labels),
                ColumnType::Set { labels, .. } => (sets.next(), labels),
                _ => continue,
            };
            let list = list.unwrap_or_default();
            *labels = list.into_iter().map(|text| label(text, collation)).collect();
        }
        Ok(())
    }
}

fn geometries(columns: &mut [Column], mut value: Reader<'_>) -> Result<(), Error> {
    for column in columns {
        if let ColumnType::Geometry { kind, .. } = &mut column.kind {
            *kind = GeometryKind::from_code(value.packed()?);
        }
    }
    Ok(())
}

fn dimensions(columns: &mut [Column], mut value: Reader<'_>) -> Result<(), Error> {
    for column in columns {
        if let ColumnType::Vector { dimension, .. } = &mut column.kind {
            *dimension = value.packed()?;
        }
    }
    Ok(())
}

fn visibility(columns: &mut [Column], value: Reader<'_>) -> Result<(), Error> {
    for (at, column) in columns.iter_mut().enumerate() {
        let byte = value.rest().get(at / 8).ok_or(TOO_FEW)?;
        column.invisible = byte >> (7 - at % 8) & 1 == 0;
    }
    Ok(())
}

fn key(columns: usize, mut value: Reader<'_>, with_prefix: bool) -> Result<Vec<PrimaryKeyPart>, Error> {
    let mut key = Vec::new();
    while !value.is_empty() {
        let column = value.packed_len()?;
        if column >= columns {
            return Err(Error::Damaged(
                "the primary key of a TABLE_MAP event names a column that is not there",
            ));
        }
        let prefix = if with_prefix { value.packed()? } else { 0 };
        key.push(PrimaryKeyPart { column, prefix });
    }
    Ok(key)
}
