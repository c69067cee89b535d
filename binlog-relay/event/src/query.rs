//! QUERY: a statement and the session that ran it.
//!
//! Body: thread u32, seconds u32, length of the database u8, error u16, length of the variables u16; then the variables
//! (number u8 and a value whose length the number tells), the database, a zero byte, the statement.

use crate::charset::Charset;
use crate::reader::Reader;
use crate::{Error, collation};
use std::borrow::Cow;

/// A statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryEvent<'a> {
    /// Connection number on the first server.
    pub thread_id: u32,
    /// The error that the statement ended with there; 0: none.
    pub error_code: u16,
    /// The session's default database; empty: none.
    pub database: &'a str,
    /// The statement, in the charset of [`client_collation`](Self::client_collation).
    pub sql: &'a [u8],
    /// Bits of `sql_mode`; `None`: not logged.
    pub sql_mode: Option<u64>,
    /// Number of the collation of `character_set_client`; `None`: not logged.
    pub client_collation: Option<u16>,
    /// Name of the session's time zone; empty: not logged.
    pub time_zone: &'a str,
    /// Number of the transaction of a DDL statement, by which a crash recovery knows it; `None`: not such a statement.
    pub ddl_xid: Option<u64>,
}

/// `ANSI_QUOTES` in [`QueryEvent::sql_mode`]: `"a"` is a name.
pub const MODE_ANSI_QUOTES: u64 = 0x4;
/// `NO_BACKSLASH_ESCAPES` in [`QueryEvent::sql_mode`].
pub const MODE_NO_BACKSLASH_ESCAPES: u64 = 0x10_0000;

const WHAT: &str = "a QUERY event";

impl<'a> QueryEvent<'a> {
    /// Reads the body, without a checksum.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body, WHAT);
        let thread_id = reader.u32()?;
        reader.u32()?;
        let database_bytes = usize::from(reader.u8()?);
        let error_code = reader.u16()?;
        let variable_bytes = usize::from(reader.u16()?);
        let variables = reader.take(variable_bytes)?;
        let database = utf8(reader.take(database_bytes)?)?;
        if reader.u8()? != 0 {
            return Err(Error::Damaged("the database of a QUERY event does not end with a zero"));
        }
        let mut event = Self {
            thread_id,
            error_code,
            database,
            sql: reader.rest(),
            sql_mode: None,
            client_collation: None,
            time_zone: "",
            ddl_xid: None,
        };
        event.read_variables(Reader::new(variables, WHAT))?;
        Ok(event)
    }

    /// Numbers and lengths: `Query_event` in MySQL's `statement_events.h`.
    fn read_variables(&mut self, mut reader: Reader<'a>) -> Result<(), Error> {
        while !reader.is_empty() {
            match reader.u8()? {
                0 | 3 | 10 => drop(reader.take(4)?), // flags2, auto_increment, bytes of the master's event
                1 => self.sql_mode = Some(reader.u64()?),
                2 => {
                    let bytes = usize::from(reader.u8()?); // catalog with a zero behind it
                    reader.take(bytes + 1)?;
                }
                4 => {
                    self.client_collation = Some(reader.u16()?);
                    reader.take(4)?;
                }
                5 => {
                    let bytes = usize::from(reader.u8()?);
                    self.time_zone = utf8(reader.take(bytes)?)?;
                }
                6 => {
                    let bytes = usize::from(reader.u8()?); // catalog
                    reader.take(bytes)?;
                }
                7 | 8 | 18 => drop(reader.take(2)?), // lc_time_names, database's and utf8mb4's default collation
                9 => drop(reader.take(8)?),          // tables of a multi-table update
                11 => {
                    for _ in 0..2 {
                        let bytes = usize::from(reader.u8()?); // invoker: user, host
                        reader.take(bytes)?;
                    }
                }
                12 => {
                    let count = reader.u8()?; // databases that a multi-threaded replica must order
                    if count != 254 {
                        for _ in 0..count {
                            while reader.u8()? != 0 {}
                        }
                    }
                }
                13 => drop(reader.take(3)?),           // microseconds
                16 | 19 | 20 => drop(reader.take(1)?), // explicit_defaults_for_timestamp, require key, encrypt
                17 => self.ddl_xid = Some(reader.u64()?),
                _ => return Ok(()), // newer: its length is unknown, and nothing behind it is needed
            }
        }
        Ok(())
    }

    /// The statement as text. `None`: its bytes are not text in the session's charset, or the charset is unknown.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let charset = match self.client_collation {
            Some(number) => collation::charset(u64::from(number))?,
            None => Charset::Utf8mb4,
        };
        charset.decode(self.sql)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Damaged("a name in a QUERY event is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Vec<u8> {
        let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0];
        let variables: &[&[u8]] = &[
            &[0, 0, 0, 0, 0],
            &[1, 4, 0, 0, 0, 0, 0, 0, 0],
            &[6, 3, b's', b't', b'd'],
            &[4, 28, 0, 28, 0, 255, 0],
            &[5, 3, b'U', b'T', b'C'],
            &[12, 1, b'd', 0],
            &[17, 9, 0, 0, 0, 0, 0, 0, 0],
            &[99, 1, 2, 3],
        ];
        let variables = variables.concat();
        body[11] = variables.len() as u8;
        body.extend(variables);
        body.extend(b"d\0SELECT '\xc4\xe3'");
        body
    }

    #[test]
    fn a_query_with_its_variables() {
        let body = body();
        let event = QueryEvent::parse(&body).unwrap();
        assert_eq!((event.thread_id, event.error_code, event.database), (7, 2, "d"));
        assert_eq!(event.sql_mode, Some(MODE_ANSI_QUOTES));
        assert_eq!(
            (event.client_collation, event.time_zone, event.ddl_xid),
            (Some(28), "UTC", Some(9))
        );
        assert_eq!(event.text().unwrap(), "SELECT '你'");
        // By its charset, also where the bytes happen to be UTF-8.
        let sql = "é".as_bytes();
        assert_eq!(
            QueryEvent {
                sql,
                client_collation: Some(8),
                ..event
            }
            .text()
            .unwrap(),
            "Ã©"
        );
        assert_eq!(
            QueryEvent {
                client_collation: None,
                ..event
            }
            .text(),
            None
        );
        let start = body.len() - event.sql.len();
        for cut in 0..start {
            assert!(QueryEvent::parse(&body[..cut]).is_err(), "{cut}");
        }
    }
}
