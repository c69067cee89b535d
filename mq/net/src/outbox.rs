//! Bytes on their way out: small ones gathered in one buffer, large bodies kept as slices between them.

use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use mq_remoting::Command;

/// Bodies from this size on are written from where they are; copying smaller ones is cheaper than another slice.
const SLICE_BYTES_MIN: usize = 4096;
/// A gathering buffer that grew beyond this is given back once it is empty.
const BUFFER_BYTES_KEPT: usize = 256 << 10;
/// Slices in one vectored write.
pub(crate) const SLICES_MAX: usize = 64;

/// A run of bytes: `buffer` with each cut's body inserted before the buffer position `at`.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buffer: BytesMut,
    cuts: Vec<Cut>,
    len: usize,
}

#[derive(Debug)]
struct Cut {
    at: usize,
    body: Bytes,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, mut command: Command) {
        if command.body.len() >= SLICE_BYTES_MIN {
            let body = std::mem::take(&mut command.body);
            self.push_parts(&command, [body]);
            return;
        }
        let before = self.buffer.len();
        command.encode_into(&mut self.buffer);
        self.len += self.buffer.len() - before;
    }

    /// A command whose body is `parts`, one after the other.
    pub(crate) fn push_parts<P>(&mut self, head: &Command, parts: P)
    where
        P: IntoIterator<Item = Bytes> + AsRef<[Bytes]>,
    {
        let before = self.buffer.len();
        let body_len: usize = parts.as_ref().iter().map(Bytes::len).sum();
        head.encode_head(body_len, &mut self.buffer);
        let mut sliced = 0;
        for part in parts {
            if part.len() >= SLICE_BYTES_MIN {
                sliced += part.len();
                self.cuts.push(Cut {
                    at: self.buffer.len(),
                    body: part,
                });
            } else {
                self.buffer.extend_from_slice(&part);
            }
        }
        self.len += self.buffer.len() - before + sliced;
    }

    /// Empties it but keeps a buffer of moderate size.
    fn clear(&mut self) {
        self.cuts.clear();
        self.buffer.clear();
        self.len = 0;
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = BytesMut::new();
        }
    }
}

/// An outbox that is being written, and how far.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    outbox: Outbox,
    written: usize,
    /// Buffer bytes written, cuts written completely, and bytes written of the cut after those.
    buffer_at: usize,
    cut: usize,
    cut_at: usize,
}

impl Writing {
    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.outbox.len
    }

    /// Takes over what is in `outbox`, and leaves the emptied buffer there. Only when [`Writing::is_empty`].
    pub(crate) fn take(&mut self, outbox: &mut Outbox) {
        debug_assert!(self.is_empty());
        self.outbox.clear();
        std::mem::swap(&mut self.outbox, outbox);
        (self.written, self.buffer_at, self.cut, self.cut_at) = (0, 0, 0, 0);
    }

    /// The next bytes to write, in up to [`SLICES_MAX`] slices; answers how many.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut count = 0;
        let (mut buffer_at, mut cut, mut cut_at) = (self.buffer_at, self.cut, self.cut_at);
        while count < SLICES_MAX {
            let next = self.outbox.cuts.get(cut);
            let buffer_end = next.map_or(self.outbox.buffer.len(), |next| next.at);
            if buffer_at < buffer_end {
                slices[count] = IoSlice::new(&self.outbox.buffer[buffer_at..buffer_end]);
                buffer_at = buffer_end;
            } else if let Some(next) = next {
                slices[count] = IoSlice::new(&next.body[cut_at..]);
                (cut, cut_at) = (cut + 1, 0);
            } else {
                break;
            }
            count += 1;
        }
        count
    }

    /// `n` more bytes were written.
    pub(crate) fn advance(&mut self, mut n: usize) {
        self.written += n;
        while n > 0 {
            let next = self.outbox.cuts.get(self.cut);
            let buffer_end = next.map_or(self.outbox.buffer.len(), |next| next.at);
            if self.buffer_at < buffer_end {
                let part = n.min(buffer_end - self.buffer_at);
                self.buffer_at += part;
                n -= part;
            } else if let Some(next) = next {
                let part = n.min(next.body.len() - self.cut_at);
                self.cut_at += part;
                n -= part;
                if self.cut_at == next.body.len() {
                    (self.cut, self.cut_at) = (self.cut + 1, 0);
                }
            } else {
                return;
            }
        }
    }
}
