//! TRANSACTION_PAYLOAD: a whole transaction compressed into one event (`binlog_transaction_compression=ON`).
//!
//! Body: fields of (packed type, packed length, value) until type 0: 1 length of the payload, 2 compression (0 zstd,
//! 255 none), 3 length when inflated, all packed; then the payload: events with headers and without checksums. Source:
//! `Transaction_payload_event` in MySQL's `codecs`.
//!
//! Inflating goes event by event, so that memory is bounded by the greatest event, not by the transaction. Anything that
//! does not add up is an error: lost rows are worse than a stop.

use crate::Error;
use crate::header::HEADER_BYTES;
use crate::reader::Reader;
use std::io::{BufReader, Read};

/// A compressed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionPayload<'a> {
    /// `None`: stored as it is.
    pub compression: Option<Compression>,
    /// Length of all inner events together.
    pub inflated_bytes: u64,
    /// Inner events, compressed.
    pub payload: &'a [u8],
}

/// How a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard.
    Zstd,
}

const WHAT: &str = "a TRANSACTION_PAYLOAD event";

impl<'a> TransactionPayload<'a> {
    /// Reads the body, without a checksum.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body, WHAT);
        let (mut bytes, mut compression, mut inflated) = (None, None, None);
        loop {
            let field = reader.packed()?;
            if field == 0 {
                break;
            }
            let mut value = Reader::new(reader.packed_bytes()?, WHAT);
            match field {
                1 => bytes = Some(value.packed()?),
                2 => compression = Some(value.packed()?),
                3 => inflated = Some(value.packed()?),
                _ => {} // newer than this crate
            }
        }
        let payload = reader.rest();
        if bytes != Some(payload.len() as u64) {
            return Err(Error::Damaged(
                "the payload of a TRANSACTION_PAYLOAD event is longer or shorter than it says",
            ));
        }
        let compression = match compression {
            Some(0) => Some(Compression::Zstd),
            Some(255) => None,
            _ => {
                return Err(Error::Refused(
                    "a transaction is compressed in a way that this version does not know",
                ));
            }
        };
        // MySQL leaves the field out if nothing is compressed.
        let inflated_bytes = match (compression, inflated) {
            (_, Some(bytes)) => bytes,
            (None, None) => payload.len() as u64,
            (Some(_), None) => {
                return Err(Error::Damaged(
                    "a compressed transaction does not tell its inflated length",
                ));
            }
        };
        Ok(Self {
            compression,
            inflated_bytes,
            payload,
        })
    }

    /// The inner events. `event_bytes_max` bounds one event, and so the memory that reading takes (besides the window of
    /// the decompressor, 8 MiB for MySQL's default level, never more than 128 MiB). Events of a server are at most 1 GiB.
    pub fn events(&self, event_bytes_max: usize) -> Result<Events<'a>, Error> {
        let source = match self.compression {
            None => Source::Stored(self.payload),
            Some(Compression::Zstd) => {
                let decoder = zstd::Decoder::with_buffer(self.payload).map_err(|_| CORRUPT)?;
                // Inner events are mostly some KiB, and a call of the decompressor has its price.
                Source::Zstd(Box::new(BufReader::with_capacity(1 << 17, decoder)))
            }
        };
        Ok(Events {
            source,
            left: self.inflated_bytes,
            event_bytes_max,
            event: Vec::new(),
        })
    }
}

const CORRUPT: Error = Error::Damaged("a compressed transaction cannot be inflated");

enum Source<'a> {
    Stored(&'a [u8]),
    Zstd(Box<BufReader<zstd::Decoder<'static, &'a [u8]>>>),
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Stored(bytes) => bytes.read(into),
            Self::Zstd(decoder) => decoder.read(into),
        }
    }
}

/// Reads inner events one by one.
pub struct Events<'a> {
    source: Source<'a>,
    /// Inflated bytes that are still to come.
    left: u64,
    event_bytes_max: usize,
    event: Vec<u8>,
}

impl Events<'_> {
    /// The next event with its header, as [`EventHeader::parse`](crate::header::EventHeader::parse) takes it; `None` after
    /// the last. It has no checksum, and its position is 0: the outer event's position counts. After an error the
    /// transaction is lost to this reader.
    pub fn next_event(&mut self) -> Result<Option<&[u8]>, Error> {
        self.event.clear();
        if self.left == 0 {
            // Everything came; a longer stream, or one that does not end well, is damage too.
            let mut one = [0];
            return match self.source.read(&mut one) {
                Ok(0) => Ok(None),
                Ok(_) => Err(Error::Damaged("a compressed transaction is longer than it says")),
                Err(_) => Err(CORRUPT),
            };
        }
        self.fill(HEADER_BYTES)?;
        let said = u32::from_le_bytes([self.event[9], self.event[10], self.event[11], self.event[12]]);
        let bytes = said as usize;
        if bytes > self.event_bytes_max {
            self.left = 0;
            return Err(Error::TooLarge {
                what: "an event of a compressed transaction",
                bytes: u64::from(said),
                bytes_max: self.event_bytes_max as u64,
            });
        }
        let body = bytes
            .checked_sub(HEADER_BYTES)
            .ok_or(Error::Damaged("an inner event is shorter than its header"))?;
        self.fill(body)?;
        Ok(Some(&self.event))
    }

    /// Takes exactly so many bytes. Memory grows as they come, not as a header promises them.
    fn fill(&mut self, bytes: usize) -> Result<(), Error> {
        let wanted = bytes as u64;
        self.left = self
            .left
            .checked_sub(wanted)
            .ok_or(Error::Short("a compressed transaction"))?;
        let got = (&mut self.source)
            .take(wanted)
            .read_to_end(&mut self.event)
            .map_err(|_| CORRUPT)?;
        if got == bytes {
            Ok(())
        } else {
            Err(Error::Short("a compressed transaction"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> Vec<u8> {
        let mut event: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        event[9..13].copy_from_slice(&(bytes as u32).to_le_bytes());
        event
    }

    fn body(compression: u8, inflated: usize, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![2, 3, 252, compression, 0];
        body.extend([3, 3, 252]);
        body.extend((inflated as u16).to_le_bytes());
        body.extend([1, 3, 252]);
        body.extend((payload.len() as u16).to_le_bytes());
        body.push(0);
        body.extend(payload);
        body
    }

    fn read(body: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut events = TransactionPayload::parse(body)?.events(1000)?;
        let mut all = Vec::new();
        while let Some(event) = events.next_event()? {
            all.push(event.to_vec());
        }
        Ok(all)
    }

    #[test]
    fn events_come_one_by_one() {
        let inner = [event(19), event(300), event(40)];
        let flat = inner.concat();
        let packed = zstd::encode_all(&flat[..], 3).unwrap();
        assert_eq!(read(&body(0, flat.len(), &packed)).unwrap(), inner);
        assert_eq!(read(&body(255, flat.len(), &flat)).unwrap(), inner);
    }

    #[test]
    fn damage_is_never_skipped() {
        let flat = [event(19), event(300), event(40)].concat();
        let packed = zstd::encode_all(&flat[..], 3).unwrap();
        let whole = body(0, flat.len(), &packed);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "{cut}");
        }
        for cut in 1..packed.len() {
            assert!(read(&body(0, flat.len(), &packed[..cut])).is_err(), "{cut}");
        }
        assert!(read(&body(0, flat.len() - 40, &packed)).is_err());
        assert!(read(&body(0, flat.len() + 19, &packed)).is_err());
        assert!(read(&body(1, flat.len(), &packed)).is_err());
        // One byte more than it says, of which the decompressor knows nothing.
        let mut longer = body(255, flat.len(), &flat);
        longer.push(0);
        assert!(TransactionPayload::parse(&longer).is_err());
        let large = event(1001);
        assert!(matches!(
            read(&body(255, large.len(), &large)),
            Err(Error::TooLarge { .. })
        ));
        assert!(read(&body(255, 19, &event(19)[..18])).is_err());
    }
}
