//! The small events: rotate, commit, incident, heartbeat, the statement behind rows.

use crate::Error;
use crate::reader::Reader;

/// ROTATE: the stream goes on in another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotate<'a> {
    /// Where in that file.
    pub position: u64,
    /// The file's name, without a folder.
    pub file: &'a str,
}

impl<'a> Rotate<'a> {
    /// Reads the body, without a checksum.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body, "a ROTATE event");
        let position = reader.u64()?;
        let file = std::str::from_utf8(reader.rest())
            .map_err(|_| Error::Damaged("the file name of a ROTATE event is not UTF-8"))?;
        Ok(Self { position, file })
    }
}

/// XID: the transaction's number in its storage engine, local to one run of the server.
pub fn xid(body: &[u8]) -> Result<u64, Error> {
    Reader::new(body, "an XID event").u64()
}

/// INCIDENT: the server's words about what it lost.
pub fn incident(body: &[u8]) -> Result<String, Error> {
    let mut reader = Reader::new(body, "an INCIDENT event");
    let _number = reader.u16()?;
    let bytes = usize::from(reader.u8()?);
    Ok(String::from_utf8_lossy(reader.take(bytes)?).into_owned())
}

/// HEARTBEAT: the file that the server is in; the position is in the header.
pub fn heartbeat_file(body: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(body).map_err(|_| Error::Damaged("the file name of a HEARTBEAT event is not UTF-8"))
}

/// ROWS_QUERY: the statement behind the next row events, in the charset of its client.
pub fn rows_query(body: &[u8]) -> Result<&[u8], Error> {
    let mut reader = Reader::new(body, "a ROWS_QUERY event");
    reader.u8()?; // a length that is too small for long statements; the text goes to the end
    Ok(reader.rest())
}

/// HEARTBEAT_V2: file and position, the latter of 64 bits.
pub fn heartbeat_v2(body: &[u8]) -> Result<(&str, u64), Error> {
    let mut reader = Reader::new(body, "a HEARTBEAT_V2 event");
    let (mut file, mut position) = ("", 0);
    loop {
        match reader.packed()? {
            0 => return Ok((file, position)),
            1 => file = heartbeat_file(reader.packed_bytes()?)?,
            2 => {
                let mut inner = Reader::new(reader.packed_bytes()?, "a HEARTBEAT_V2 event");
                position = inner.packed()?;
            }
            _ => drop(reader.packed_bytes()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_events() {
        let mut body = 4u64.to_le_bytes().to_vec();
        body.extend(b"binlog.000002");
        assert_eq!(
            Rotate::parse(&body),
            Ok(Rotate {
                position: 4,
                file: "binlog.000002"
            })
        );
        assert!(Rotate::parse(&body[..7]).is_err());
        assert_eq!(xid(&7u64.to_le_bytes()), Ok(7));
        assert!(xid(&[1; 7]).is_err());
        assert_eq!(incident(b"\x01\x00\x04LOST").unwrap(), "LOST");
        assert!(incident(b"\x01\x00\x05LOST").is_err());
        assert_eq!(rows_query(b"\x01INSERT"), Ok(&b"INSERT"[..]));
        assert!(rows_query(b"").is_err());
        assert_eq!(heartbeat_v2(b"\x01\x01f\x02\x01\x09\x00"), Ok(("f", 9)));
        assert!(heartbeat_v2(b"\x01\x01f").is_err());
    }
}
