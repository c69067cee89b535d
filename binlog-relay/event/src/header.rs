//! The 19 bytes in front of every event, and the numbers of the kinds of events.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 4 | timestamp | seconds since 1970, of the statement's start |
//! | 1 | kind | below |
//! | 4 | server id | of the server where the change was first made |
//! | 4 | length | of header, body and checksum |
//! | 4 | next position | in the file; wraps above 4 GiB; 0 inside a compressed transaction |
//! | 2 | flags | |
//!
//! Little-endian. Source: MySQL's `libs/mysql/binlog/event/binlog_event.h`.

use crate::Error;
use crate::reader::Reader;

/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 19;

/// A statement, or BEGIN, COMMIT, SAVEPOINT.
pub const QUERY: u8 = 2;
/// The server stopped.
pub const STOP: u8 = 3;
/// The next file's name.
pub const ROTATE: u8 = 4;
/// Integer variable of a statement.
pub const INTVAR: u8 = 5;
/// Random seed of a statement.
pub const RAND: u8 = 13;
/// User variable of a statement.
pub const USER_VAR: u8 = 14;
/// The format of what follows.
pub const FORMAT_DESCRIPTION: u8 = 15;
/// Commit of a transaction.
pub const XID: u8 = 16;
/// Start of LOAD DATA in statement format.
pub const BEGIN_LOAD_QUERY: u8 = 17;
/// End of LOAD DATA in statement format.
pub const EXECUTE_LOAD_QUERY: u8 = 18;
/// The shape of a table.
pub const TABLE_MAP: u8 = 19;
/// Inserted rows, before 5.6.
pub const WRITE_ROWS_V1: u8 = 23;
/// Updated rows, before 5.6.
pub const UPDATE_ROWS_V1: u8 = 24;
/// Deleted rows, before 5.6.
pub const DELETE_ROWS_V1: u8 = 25;
/// The server lost events.
pub const INCIDENT: u8 = 26;
/// Nothing happened; sent when asked for.
pub const HEARTBEAT: u8 = 27;
/// May be skipped by who does not know it.
pub const IGNORABLE: u8 = 28;
/// The statement behind row events.
pub const ROWS_QUERY: u8 = 29;
/// Inserted rows.
pub const WRITE_ROWS: u8 = 30;
/// Updated rows.
pub const UPDATE_ROWS: u8 = 31;
/// Deleted rows.
pub const DELETE_ROWS: u8 = 32;
/// A transaction starts and has this GTID.
pub const GTID: u8 = 33;
/// A transaction starts and has no GTID.
pub const ANONYMOUS_GTID: u8 = 34;
/// GTIDs of the files before this one.
pub const PREVIOUS_GTIDS: u8 = 35;
/// Group Replication's certification.
pub const TRANSACTION_CONTEXT: u8 = 36;
/// Group Replication's members changed.
pub const VIEW_CHANGE: u8 = 37;
/// XA PREPARE: rows before it are not committed.
pub const XA_PREPARE: u8 = 38;
/// Updated rows whose JSON columns are differences.
pub const PARTIAL_UPDATE_ROWS: u8 = 39;
/// A whole transaction, compressed.
pub const TRANSACTION_PAYLOAD: u8 = 40;
/// A heartbeat with a position above 4 GiB.
pub const HEARTBEAT_V2: u8 = 41;
/// A transaction starts and has this GTID with a tag.
pub const GTID_TAGGED: u8 = 42;

/// Set in the flags of the format description while the file is being written.
pub const FLAG_IN_USE: u16 = 0x1;
/// Set in the flags of an event that the server made up for this connection (a rotate at the start).
pub const FLAG_ARTIFICIAL: u16 = 0x20;
/// Set in the flags of an event that may be skipped by who does not know its kind.
pub const FLAG_IGNORABLE: u16 = 0x80;

/// The header of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHeader {
    /// Start of the statement at its first server, seconds since 1970; 0 in events made up for a connection.
    pub timestamp_s: u32,
    /// One of the constants of this module, or a kind that is newer than this crate.
    pub kind: u8,
    /// The server where the change was first made.
    pub server_id: u32,
    /// Length of header, body and checksum in bytes.
    pub event_bytes: u32,
    /// Where the next event starts in the file, modulo 2^32; 0 in inner events of a compressed transaction.
    pub next_position: u32,
    /// See the `FLAG_` constants.
    pub flags: u16,
}

impl EventHeader {
    /// Splits an event into header and body. The checksum may still be at the end (it is then part of the answered body,
    /// see [`Checksum::verify`](crate::format::Checksum::verify)) or be cut already; any other disagreement between the
    /// length in the header and the length of `event` is an error.
    pub fn parse(event: &[u8]) -> Result<(Self, &[u8]), Error> {
        let mut reader = Reader::new(event, "an event header");
        let header = Self {
            timestamp_s: reader.u32()?,
            kind: reader.u8()?,
            server_id: reader.u32()?,
            event_bytes: reader.u32()?,
            next_position: reader.u32()?,
            flags: reader.u16()?,
        };
        let said = header.event_bytes as usize;
        if event.len() != said && event.len() + 4 != said {
            return Err(Error::Damaged("the length of an event is not the one in its header"));
        }
        Ok((header, reader.rest()))
    }
}

/// Whether rows come in events of this kind, in a form that [`RowsEvent`](crate::rows::RowsEvent) reads.
pub fn has_rows(kind: u8) -> bool {
    matches!(kind, WRITE_ROWS_V1..=DELETE_ROWS_V1 | WRITE_ROWS..=DELETE_ROWS)
}

/// Why nobody may go on after an event of this kind as if nothing had happened; `None`: the kind is harmless or is read by
/// this crate. Statement format in a [`QUERY`] is for the caller to judge, and so are the variables before it:
/// they may belong to DDL.
pub fn refusal(kind: u8) -> Option<&'static str> {
    Some(match kind {
        20..=22 => "row events of MySQL 5.1.5 to 5.1.17 cannot be read: replicate through a newer server",
        INCIDENT => "the server reports lost events (INCIDENT): take a new snapshot of all tables",
        XA_PREPARE => {
            "XA PREPARE: the rows before it are not committed yet; XA transactions are not relayed: \
             use ordinary transactions on relayed tables"
        }
        PARTIAL_UPDATE_ROWS => {
            "a partial JSON update: set binlog_row_value_options='' on the server (for its sessions too)"
        }
        BEGIN_LOAD_QUERY | EXECUTE_LOAD_QUERY => {
            "LOAD DATA in statement format: set binlog_format=ROW on the server (for its sessions too)"
        }
        160.. => "an event of MariaDB: only MySQL's binlog is read",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: [u8; 23] = [1, 0, 0, 0, 16, 2, 0, 0, 0, 27, 0, 0, 0, 3, 0, 0, 0, 4, 0, 9, 9, 9, 9];

    #[test]
    fn a_header_with_and_without_its_checksum() {
        let (header, body) = EventHeader::parse(&EVENT).unwrap();
        assert_eq!(
            header,
            EventHeader {
                timestamp_s: 1,
                kind: XID,
                server_id: 2,
                event_bytes: 27,
                next_position: 3,
                flags: 4
            }
        );
        assert_eq!(body, [9; 4]);
        let mut whole = EVENT.to_vec();
        whole.extend([0; 4]);
        assert_eq!(EventHeader::parse(&whole).unwrap().1.len(), 8);
    }

    #[test]
    fn any_other_length_is_an_error() {
        for cut in 0..EVENT.len() {
            assert!(EventHeader::parse(&EVENT[..cut]).is_err());
        }
        assert!(EventHeader::parse(&[&EVENT[..], &[0; 5]].concat()).is_err());
    }

    #[test]
    fn what_is_refused_has_a_reason() {
        for kind in [20, 26, 38, 39, 17, 160, 172, 255] {
            assert!(refusal(kind).is_some());
        }
        for kind in [
            QUERY,
            ROTATE,
            XID,
            TABLE_MAP,
            WRITE_ROWS,
            GTID,
            GTID_TAGGED,
            TRANSACTION_PAYLOAD,
            ROWS_QUERY,
        ] {
            assert!(refusal(kind).is_none());
        }
    }
}
