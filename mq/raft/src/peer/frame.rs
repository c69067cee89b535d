//! Frames between members.
//!
//! ```text
//! 0 u32 length of what follows (12 ..= bound)   4 u8 kind   5 u8 0   6 u16 0   8 u64 id   16 body
//! ```
//! All integers big-endian. The id pairs an answer with its question; for appends it is session (high half) and number
//! within the session (low half).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use mq_base::env::net::{OwnedReadHalf, OwnedWriteHalf};
use mq_store::Buffers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes before the body.
pub const HEAD: usize = 16;
/// Bound of a frame that is neither an append nor a snapshot.
pub const MESSAGE_MAX: usize = 20 << 20;
/// Bound of an append frame: one entry may be as large as the largest message batch.
pub const APPEND_MAX: usize = 72 << 20;
/// Bound of a snapshot: a checkpoint of all replicated state.
pub const SNAPSHOT_MAX: usize = 512 << 20;
/// Bound of the first frame of a connection, before the other side has said who it is.
pub const HELLO_MAX: usize = 16 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First frame of a connection.
    Hello = 1,
    /// Its acceptance.
    Welcome = 2,
    /// Its refusal; the body is the reason.
    Refuse = 3,
    /// Entries (or none: a heartbeat) from the leader.
    Append = 4,
    /// Their result.
    Appended = 5,
    /// A question; the body begins with its subject.
    Ask = 6,
    /// Its answer.
    Answer = 7,
    /// A message without an answer.
    Tell = 8,
    /// The question could not be answered; the body is the reason.
    Failed = 9,
}

impl Kind {
    fn decode(byte: u8) -> Option<Kind> {
        use Kind::*;
        [Hello, Welcome, Refuse, Append, Appended, Ask, Answer, Tell, Failed]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }
}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// See the module.
    pub id: u64,
    /// The rest.
    pub body: Bytes,
}

/// Why bytes are not a frame; the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than this connection may send, or shorter than a head.
    #[error("peer frame of {length} bytes where at most {max} are allowed")]
    Length {
        /// What the frame says.
        length: usize,
        /// The bound.
        max: usize,
    },
    /// Not a kind of ours.
    #[error("unknown peer frame kind {0}")]
    Kind(u8),
}

/// Takes the first frame off `buf`, or says how many more bytes are needed at least.
pub fn decode(buf: &mut BytesMut, max: usize) -> Result<Result<Frame, usize>, FrameError> {
    if buf.len() < 4 {
        return Ok(Err(4 - buf.len()));
    }
    let length = u32::from_be_bytes([buf[0], buf[1], buf[2], buf[3]]) as usize;
    if length < HEAD - 4 || length > max {
        return Err(FrameError::Length { length, max });
    }
    let kind = match buf.get(4) {
        Some(byte) => Kind::decode(*byte).ok_or(FrameError::Kind(*byte))?,
        None => return Ok(Err(length)),
    };
    if buf.len() < 4 + length {
        return Ok(Err(4 + length - buf.len()));
    }
    let mut frame = buf.split_to(4 + length).freeze();
    frame.advance(8);
    let id = frame.get_u64();
    Ok(Ok(Frame { kind, id, body: frame }))
}

/// Writes the head of a frame whose body will have `body_len` bytes.
pub fn head(kind: Kind, id: u64, body_len: usize) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    out[0..4].copy_from_slice(&((HEAD - 4 + body_len) as u32).to_be_bytes());
    out[4] = kind as u8;
    out[8..16].copy_from_slice(&id.to_be_bytes());
    out
}

/// A frame as the pieces to write.
pub fn encode(kind: Kind, id: u64, body: impl IntoIterator<Item = Bytes>) -> Pieces {
    let mut pieces: VecDeque<Bytes> = body.into_iter().filter(|b| !b.is_empty()).collect();
    let len = pieces.iter().map(Bytes::len).sum();
    pieces.push_front(Bytes::copy_from_slice(&head(kind, id, len)));
    Pieces(pieces)
}

/// Slices to be written one after the other, without joining them.
#[derive(Debug, Default)]
pub struct Pieces(VecDeque<Bytes>);

impl Pieces {
    /// Adds another frame behind.
    pub fn append(&mut self, mut other: Pieces) {
        self.0.append(&mut other.0);
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
    fn has_remaining(&self) -> bool {
        !self.0.is_empty()
    }
    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |b| b)
    }
    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let n = dst.len().min(self.0.len());
        for (slot, piece) in dst.iter_mut().zip(&self.0) {
            *slot = IoSlice::new(piece);
        }
        n
    }
    fn advance(&mut self, mut n: usize) {
        while let Some(front) = self.0.front_mut() {
            if front.len() > n {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.0.pop_front();
        }
    }
}

/// Reads frames. Dropping a pending [`Reader::next`] loses nothing.
#[derive(Debug)]
pub struct Reader {
    socket: OwnedReadHalf,
    buf: BytesMut,
    max: usize,
    /// Where the memory of large frames comes from.
    buffers: Option<Arc<Buffers>>,
    /// Bytes of the last frame: the next one is likely to need as many.
    last: usize,
}

/// A read buffer is asked for in steps of at least this.
const READ_STEP: usize = 32 << 10;

impl Reader {
    /// Reads frames of at most `max` bytes.
    pub fn new(socket: OwnedReadHalf, max: usize) -> Self {
        Self {
            socket,
            buf: BytesMut::new(),
            max,
            buffers: None,
            last: 0,
        }
    }

    /// Takes the memory of frames from there.
    pub fn set_buffers(&mut self, buffers: Arc<Buffers>) {
        self.buffers = Some(buffers);
    }

    /// Changes the bound, after the hello.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// The next frame; `None` at a clean end of the stream.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let missing = match decode(&mut self.buf, self.max).map_err(io::Error::other)? {
                Ok(frame) => {
                    self.last = HEAD + frame.body.len();
                    return Ok(Some(frame));
                }
                Err(missing) => missing,
            };
            if self.buf.capacity() - self.buf.len() < missing {
                self.grow(missing);
            }
            if self.socket.read_buf(&mut self.buf).await? == 0 {
                return if self.buf.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

impl Reader {
    /// Makes room for at least `missing` bytes more.
    fn grow(&mut self, missing: usize) {
        match &self.buffers {
            None => self.buf.reserve(missing.max(READ_STEP)),
            Some(buffers) => {
                let room = self.buf.len() + missing;
                let mut buf = buffers.take(room.max(self.last).max(READ_STEP));
                buf.extend_from_slice(&self.buf);
                self.buf = buf;
            }
        }
    }
}

/// Writes all pieces.
pub async fn write(socket: &mut OwnedWriteHalf, mut pieces: Pieces) -> io::Result<()> {
    socket.write_all_buf(&mut pieces).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(mut pieces: Pieces) -> Vec<u8> {
        let mut out = Vec::new();
        while pieces.has_remaining() {
            let n = pieces.chunk().len().min(3);
            out.extend_from_slice(&pieces.chunk()[..n]);
            pieces.advance(n);
        }
        out
    }

    #[test]
    fn a_frame_has_these_bytes() {
        let bytes = flat(encode(
            Kind::Ask,
            0x0102,
            [Bytes::from_static(b"ab"), Bytes::from_static(b"c")],
        ));
        assert_eq!(bytes, b"\0\0\0\x0f\x06\0\0\0\0\0\0\0\0\0\x01\x02abc");
    }

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let mut wire = flat(encode(Kind::Append, 1, [Bytes::from(vec![7; 1000])]));
        wire.extend(flat(encode(Kind::Tell, 2, [])));
        for cut in 0..wire.len() {
            let mut buf = BytesMut::from(&wire[..cut]);
            let mut frames = Vec::new();
            for rest in [&wire[cut..], &[]] {
                while let Ok(frame) = decode(&mut buf, 4096).unwrap() {
                    frames.push(frame);
                }
                buf.extend_from_slice(rest);
            }
            while let Ok(frame) = decode(&mut buf, 4096).unwrap() {
                frames.push(frame);
            }
            assert_eq!(frames.len(), 2, "cut at {cut}");
            assert_eq!(
                (frames[0].id, frames[0].body.len(), frames[1].kind),
                (1, 1000, Kind::Tell)
            );
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_read() {
        let mut buf = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
        assert_eq!(
            decode(&mut buf, 100),
            Err(FrameError::Length {
                length: u32::MAX as usize,
                max: 100
            })
        );
        let mut buf = BytesMut::from(&[0, 0, 0, 11][..]);
        assert_eq!(decode(&mut buf, 100), Err(FrameError::Length { length: 11, max: 100 }));
        let mut buf = BytesMut::from(&[0, 0, 0, 12, 99][..]);
        assert_eq!(decode(&mut buf, 100), Err(FrameError::Kind(99)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Ok(_)) = decode(&mut buf, 150) {}
        }
    }
}
