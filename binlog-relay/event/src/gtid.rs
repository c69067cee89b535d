//! The event that starts a transaction: its GTID, its commit times, its length.
//!
//! GTID (33) and ANONYMOUS_GTID (34), little-endian: flags u8, source uuid 16 bytes, number i64; then, each part only if
//! bytes are left: the mark 2, last committed i64, sequence number i64; commit time of this server in microseconds, 7
//! bytes, whose top bit says that 7 bytes with the first server's time follow; packed length of the transaction.
//!
//! GTID_TAGGED (42) is a message of MySQL's serialization library: version, size, number of the last field that must be
//! understood, then fields, each behind its number. All integers are of 1 to 9 bytes: the trailing ones of the first
//! byte count the bytes that follow, signed ones have their sign in the lowest bit.

use crate::Error;
use crate::header;
use crate::reader::Reader;
use std::fmt;

/// A global transaction identifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gtid {
    /// UUID of the server, or of the group, that committed first.
    pub source: [u8; 16],
    /// Lower-case tag of up to 32 characters; empty: none.
    pub tag: String,
    /// From 1 on within source and tag.
    pub number: u64,
}

impl fmt::Display for Gtid {
    /// `uuid:number` or `uuid:tag:number`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.source.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        if !self.tag.is_empty() {
            write!(f, ":{}", self.tag)?;
        }
        write!(f, ":{}", self.number)
    }
}

/// The start of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GtidEvent {
    /// `None`: the server has `gtid_mode=OFF` (ANONYMOUS_GTID).
    pub gtid: Option<Gtid>,
    /// Commit on the server that this stream comes from, microseconds since 1970; 0: unknown.
    pub immediate_commit_us: u64,
    /// Commit on the server where the transaction came from, microseconds since 1970; 0: unknown.
    pub original_commit_us: u64,
    /// Logical clock: every transaction up to this number had committed before this one.
    pub last_committed: u64,
    /// Logical clock: this transaction's number in its file.
    pub sequence_number: u64,
    /// Length of the transaction in the binlog, this event included; 0: unknown.
    pub transaction_bytes: u64,
}

const WHAT: &str = "a GTID event";

impl GtidEvent {
    /// Reads the body, without a checksum, of an event of this kind.
    pub fn parse(kind: u8, body: &[u8]) -> Result<Self, Error> {
        match kind {
            header::GTID | header::ANONYMOUS_GTID => plain(kind, body),
            header::GTID_TAGGED => tagged(body),
            _ => Err(Error::Refused("the event is not a GTID event")),
        }
    }
}

fn number(value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::Damaged("a number in a GTID event is negative"))
}

fn plain(kind: u8, body: &[u8]) -> Result<GtidEvent, Error> {
    let mut reader = Reader::new(body, WHAT);
    reader.u8()?;
    let source = reader.bytes()?;
    let own = number(reader.u64()?.cast_signed())?;
    let mut event = GtidEvent {
        gtid: None,
        immediate_commit_us: 0,
        original_commit_us: 0,
        last_committed: 0,
        sequence_number: 0,
        transaction_bytes: 0,
    };
    if kind == header::GTID {
        if own == 0 {
            return Err(Error::Damaged("the number of a GTID is 0"));
        }
        event.gtid = Some(Gtid {
            source,
            tag: String::new(),
            number: own,
        });
    }
    if reader.is_empty() || reader.u8()? != 2 {
        return Ok(event); // MySQL 5.6
    }
    event.last_committed = number(reader.u64()?.cast_signed())?;
    event.sequence_number = number(reader.u64()?.cast_signed())?;
    if reader.is_empty() {
        return Ok(event); // MySQL 5.7
    }
    const ORIGINAL_FOLLOWS: u64 = 1 << 55;
    let immediate = reader.uint(7)?;
    event.immediate_commit_us = immediate & !ORIGINAL_FOLLOWS;
    event.original_commit_us = match immediate & ORIGINAL_FOLLOWS {
        0 => event.immediate_commit_us,
        _ => reader.uint(7)?,
    };
    if !reader.is_empty() {
        event.transaction_bytes = reader.packed()?;
    }
    Ok(event)
}

fn varint(reader: &mut Reader<'_>) -> Result<u64, Error> {
    let first = reader.u8()?;
    let more = first.trailing_ones() as usize;
    let rest = reader.uint(more)?;
    Ok(match more {
        7 | 8 => rest,
        _ => u64::from(first) >> (more + 1) | rest << (7 - more),
    })
}

fn signed(reader: &mut Reader<'_>) -> Result<u64, Error> {
    let value = varint(reader)?;
    match value & 1 {
        0 => Ok(value >> 1),
        _ => Err(Error::Damaged("a number in a GTID event is negative")),
    }
}

fn tagged(body: &[u8]) -> Result<GtidEvent, Error> {
    let mut reader = Reader::new(body, WHAT);
    // MySQL writes version 1 as the integer 1, whose encoding is the byte 2.
    if varint(&mut reader)? != 1 {
        return Err(Error::Refused("a tagged GTID is serialized in a newer version than 1"));
    }
    let bytes = usize::try_from(varint(&mut reader)?).map_err(|_| Error::Short(WHAT))?;
    let must_understand = varint(&mut reader)?;
    let read = body.len() - reader.rest().len();
    let fields = bytes
        .checked_sub(read)
        .ok_or(Error::Damaged("the size of a tagged GTID event is too small"))?;
    let mut reader = Reader::new(reader.take(fields)?, WHAT);

    let (mut source, mut own, mut tag) = (None, 0, String::new());
    let (mut immediate, mut original) = (0, None);
    let (mut last_committed, mut sequence_number, mut transaction_bytes) = (0, 0, 0);
    while !reader.is_empty() {
        match varint(&mut reader)? {
            0 | 9 | 10 | 11 => drop(varint(&mut reader)?), // flags, server versions, ticket of a commit group
            1 => {
                let mut uuid = [0; 16];
                for byte in &mut uuid {
                    *byte = u8::try_from(varint(&mut reader)?)
                        .map_err(|_| Error::Damaged("a byte of the uuid of a tagged GTID is above 255"))?;
                }
                source = Some(uuid);
            }
            2 => own = signed(&mut reader)?,
            3 => {
                let bytes = usize::try_from(varint(&mut reader)?).map_err(|_| Error::Short(WHAT))?;
                tag = read_tag(reader.take(bytes)?)?;
            }
            4 => last_committed = signed(&mut reader)?,
            5 => sequence_number = signed(&mut reader)?,
            6 => immediate = varint(&mut reader)?,
            7 => original = Some(varint(&mut reader)?),
            8 => transaction_bytes = varint(&mut reader)?,
            newer if newer <= must_understand => {
                return Err(Error::Refused(
                    "a tagged GTID has a field that this version does not know and must",
                ));
            }
            _ => break, // its length is unknown, and so is where the next one starts
        }
    }
    match (source, own) {
        (Some(source), 1..) => Ok(GtidEvent {
            gtid: Some(Gtid {
                source,
                tag,
                number: own,
            }),
            immediate_commit_us: immediate,
            original_commit_us: original.unwrap_or(immediate),
            last_committed,
            sequence_number,
            transaction_bytes,
        }),
        _ => Err(Error::Damaged("a tagged GTID event lacks its uuid or its number")),
    }
}

/// MySQL's rule: a letter or `_`, then letters, digits, `_`; up to 32, lower case.
fn read_tag(bytes: &[u8]) -> Result<String, Error> {
    let legal = |byte: &u8| matches!(byte, b'a'..=b'z' | b'_' | b'0'..=b'9');
    match bytes {
        [] => Ok(String::new()),
        [first, ..] if bytes.len() <= 32 && bytes.iter().all(legal) && !first.is_ascii_digit() => {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => Err(Error::Damaged(
            "the tag of a GTID has characters that a tag cannot have",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_the_serialization_library() {
        let read = |bytes: &[u8]| varint(&mut Reader::new(bytes, WHAT));
        assert_eq!(read(&[0b10]), Ok(1));
        assert_eq!(read(&[0b1111_1110]), Ok(127));
        // 2 bytes: 14 bits, the lowest 6 in the first byte.
        assert_eq!(read(&[0b0000_0001, 0b10]), Ok(128));
        assert_eq!(read(&[0x7f, 1, 2, 3, 4, 5, 6, 7]), Ok(0x07_0605_0403_0201));
        assert_eq!(read(&[0xff, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(0x0807_0605_0403_0201));
        assert!(read(&[0xff, 1]).is_err());
    }

    #[test]
    fn a_gtid_with_the_times_of_two_servers() {
        let mut body = vec![0];
        body.extend([7; 16]);
        body.extend(5u64.to_le_bytes());
        body.push(2);
        body.extend(3u64.to_le_bytes());
        body.extend(4u64.to_le_bytes());
        body.extend([1, 0, 0, 0, 0, 0, 0x80, 2, 0, 0, 0, 0, 0, 0, 252, 0, 1]);
        let event = GtidEvent::parse(header::GTID, &body).unwrap();
        assert_eq!(event.gtid.as_ref().unwrap().number, 5);
        assert_eq!((event.last_committed, event.sequence_number), (3, 4));
        assert_eq!((event.immediate_commit_us, event.original_commit_us), (1, 2));
        assert_eq!(event.transaction_bytes, 256);
        assert_eq!(GtidEvent::parse(header::ANONYMOUS_GTID, &body).unwrap().gtid, None);
        assert!(GtidEvent::parse(header::XID, &body).is_err());
    }

    #[test]
    fn gtids_print_as_the_server_prints_them() {
        let mut gtid = Gtid {
            source: *b"\x3e\x11\xfa\x47\x71\xca\x11\xe1\x9e\x33\xc8\x0a\xa9\x42\x95\x62",
            tag: String::new(),
            number: 23,
        };
        assert_eq!(gtid.to_string(), "3e11fa47-71ca-11e1-9e33-c80aa9429562:23");
        gtid.tag = "audit".into();
        assert_eq!(gtid.to_string(), "3e11fa47-71ca-11e1-9e33-c80aa9429562:audit:23");
    }

    #[test]
    fn tags_are_checked() {
        assert_eq!(read_tag(b"").unwrap(), "");
        assert_eq!(read_tag(b"_a1").unwrap(), "_a1");
        for wrong in [&b"1a"[..], b"A", b"a:b", &[b'a'; 33]] {
            assert!(read_tag(wrong).is_err());
        }
    }
}
