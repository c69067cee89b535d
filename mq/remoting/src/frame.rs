//! Frames: how commands follow each other on a connection.
//!
//! | bytes | content |
//! |---|---|
//! | 4 | number of bytes that follow this field |
//! | 4 | high 8 bits: form of the header (0 JSON, 1 binary); low 24 bits: its length |
//! | n | header |
//! | rest | body |

use bytes::{Buf, Bytes, BytesMut};

use crate::{Command, HeaderFormat, binary, command};

/// Largest frame by default, its length field included: RocketMQ's own bound.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a frame before its header.
pub const PREFIX_BYTES: usize = 8;
/// Longest header its 24-bit length can say.
pub(crate) const HEADER_BYTES_MAX: usize = 0xff_ffff;

/// Why a connection's bytes are not a frame. The connection must be closed: there is no way to find the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Larger than the bound.
    #[error("frame of {bytes} bytes is larger than {limit}")]
    TooLong {
        /// Size the frame states.
        bytes: u64,
        /// The bound.
        limit: usize,
    },
    /// The header's length does not fit the frame's.
    #[error("header length {header} does not fit a frame of {total} bytes")]
    HeaderLength {
        /// Header length stated.
        header: usize,
        /// Frame length stated.
        total: usize,
    },
    /// A form other than JSON and binary.
    #[error("unknown header form {0}")]
    Form(u8),
    /// The header cannot be read.
    #[error("malformed {0:?} header")]
    Header(HeaderFormat),
}

/// Cuts received bytes into commands.
#[derive(Debug, Clone)]
pub struct Decoder {
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX)
    }
}

impl Decoder {
    /// With a bound on the size of a whole frame, in bytes.
    pub const fn new(frame_bytes_max: usize) -> Self {
        Self { limit: frame_bytes_max }
    }

    /// Takes the next command off the front of `bytes`; `None` if more bytes are needed (room for them is then set
    /// aside, bounded by the frame's size). Header and body are slices of the same buffer.
    pub fn decode(&self, bytes: &mut BytesMut) -> Result<Option<Command>, FrameError> {
        let Some(size) = self.frame_size(bytes)? else {
            return Ok(None);
        };
        if bytes.len() < size {
            bytes.reserve(size - bytes.len());
            return Ok(None);
        }
        decode_frame(bytes.split_to(size).freeze()).map(Some)
    }

    /// Size of the frame `bytes` begins with, once that can be said.
    pub fn frame_size(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some((total, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let total = u32::from_be_bytes(*total);
        let size = u64::from(total) + 4;
        if size > self.limit as u64 {
            return Err(FrameError::TooLong {
                bytes: size,
                limit: self.limit,
            });
        }
        // Refuse a wrong header length before waiting for the rest of the frame.
        if let Some(word) = rest.first_chunk::<4>() {
            header_of(u32::from_be_bytes(*word), total as usize)?;
        } else if total < 4 {
            return Err(FrameError::HeaderLength {
                header: 0,
                total: total as usize,
            });
        }
        Ok(Some(size as usize))
    }
}

/// Reads one whole frame.
pub fn decode_frame(frame: Bytes) -> Result<Command, FrameError> {
    let total = frame.len().saturating_sub(4);
    let mut prefix = &frame[..];
    let stated = prefix.try_get_u32().map_or(0, |n| n as usize);
    let word = prefix.try_get_u32().unwrap_or(u32::MAX);
    if stated != total {
        return Err(FrameError::HeaderLength {
            header: 0,
            total: stated,
        });
    }
    let (format, length) = header_of(word, total)?;
    let header = PREFIX_BYTES..PREFIX_BYTES + length;
    let mut command = match format {
        HeaderFormat::Json => command::decode_json(&frame, header.clone()),
        HeaderFormat::Binary => binary::decode(&frame, header.clone()),
    }
    .map_err(|_| FrameError::Header(format))?;
    command.body = frame.slice(header.end..);
    command.frame = frame;
    Ok(command)
}

fn header_of(word: u32, total: usize) -> Result<(HeaderFormat, usize), FrameError> {
    let header = (word & 0xff_ffff) as usize;
    if total < 4 || header > total - 4 {
        return Err(FrameError::HeaderLength { header, total });
    }
    match (word >> 24) as u8 {
        0 => Ok((HeaderFormat::Json, header)),
        1 => Ok((HeaderFormat::Binary, header)),
        other => Err(FrameError::Form(other)),
    }
}
