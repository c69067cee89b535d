//! FORMAT_DESCRIPTION, the first event of every file, and the checksum that it announces.
//!
//! Body: version u16, server version 50 bytes padded with zeros, creation time u32, header length u8 (19), then one byte
//! for each kind of event from 1 on: the length of its fixed part. Since 5.6.1 the last 5 bytes of the event are the
//! checksum's algorithm (0 none, 1 CRC32) and a CRC32, the latter present even if the algorithm is none.

use crate::Error;
use crate::header::HEADER_BYTES;
use crate::reader::Reader;

/// What stands behind each event of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing.
    None,
    /// CRC-32/IEEE of header and body, 4 bytes, little-endian.
    Crc32,
}

impl Checksum {
    /// Checks a whole event (header, body, checksum) and answers it without the checksum.
    pub fn verify(self, event: &[u8]) -> Result<&[u8], Error> {
        match self {
            Self::None => Ok(event),
            Self::Crc32 => {
                let (event, stored) = event
                    .split_last_chunk()
                    .ok_or(Error::Short("the checksum of an event"))?;
                let (computed, stored) = (crc32fast::hash(event), u32::from_le_bytes(*stored));
                if computed == stored {
                    Ok(event)
                } else {
                    Err(Error::Checksum { computed, stored })
                }
            }
        }
    }
}

/// The format of the events of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatDescription {
    /// 4 since MySQL 5.0.
    pub binlog_version: u16,
    /// The server's version text, such as `9.7.4-log`.
    pub server_version: String,
    /// What stands behind the events after this one. Inner events of a compressed transaction have none in any case.
    pub checksum: Checksum,
    /// Length of the fixed part of each kind of event; kind 1 is the first.
    pub post_header_lengths: Vec<u8>,
}

impl FormatDescription {
    /// Reads the body, with the algorithm and the CRC32 still at its end (this event has both whatever it announces).
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body, "a FORMAT_DESCRIPTION event");
        let binlog_version = reader.u16()?;
        if binlog_version != 4 {
            return Err(Error::Refused(
                "the binlog's version is not 4: only binlogs of MySQL 5.6 and later are read",
            ));
        }
        let version = reader.take(50)?;
        let end = version.iter().position(|byte| *byte == 0).unwrap_or(version.len());
        let server_version = String::from_utf8_lossy(&version[..end]).into_owned();
        reader.u32()?;
        if usize::from(reader.u8()?) != HEADER_BYTES {
            return Err(Error::Damaged(
                "the header length of a FORMAT_DESCRIPTION event is not 19",
            ));
        }
        let (rest, _crc) = reader
            .rest()
            .split_last_chunk::<4>()
            .ok_or(Error::Short("a FORMAT_DESCRIPTION event"))?;
        let (algorithm, lengths) = rest.split_last().ok_or(Error::Short("a FORMAT_DESCRIPTION event"))?;
        let checksum = match algorithm {
            0 => Checksum::None,
            1 => Checksum::Crc32,
            _ => {
                return Err(Error::Damaged(
                    "the checksum algorithm of a FORMAT_DESCRIPTION event is unknown",
                ));
            }
        };
        Ok(Self {
            binlog_version,
            server_version,
            checksum,
            post_header_lengths: lengths.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(algorithm: u8) -> Vec<u8> {
        let mut body = vec![4, 0];
        body.extend(b"9.7.4");
        body.extend([0; 45]);
        body.extend([0, 0, 0, 0, 19, 56, 13, algorithm, 1, 2, 3, 4]);
        body
    }

    #[test]
    fn a_format_description() {
        let format = FormatDescription::parse(&body(1)).unwrap();
        assert_eq!(format.server_version, "9.7.4");
        assert_eq!(format.checksum, Checksum::Crc32);
        assert_eq!(format.post_header_lengths, [56, 13]);
        assert_eq!(FormatDescription::parse(&body(0)).unwrap().checksum, Checksum::None);
        assert!(FormatDescription::parse(&body(2)).is_err());
        for cut in 0..62 {
            assert!(FormatDescription::parse(&body(1)[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_found() {
        let mut event = b"123456789".to_vec();
        event.extend(0xcbf4_3926u32.to_le_bytes());
        assert_eq!(Checksum::Crc32.verify(&event), Ok(&b"123456789"[..]));
        assert_eq!(Checksum::None.verify(&event), Ok(&event[..]));
        event[3] ^= 1;
        assert!(matches!(Checksum::Crc32.verify(&event), Err(Error::Checksum { .. })));
        assert!(Checksum::Crc32.verify(&event[..3]).is_err());
    }
}
