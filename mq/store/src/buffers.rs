//! Buffers of entries that the window has dropped, for the entries that come next.
//!
//! Entries are larger than what an allocator keeps at hand: each would come in memory that the kernel has to find and to
//! clear first, page by page. In a log that runs, as many bytes leave the window as come in.

use std::fmt;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

/// Buffers kept; more are dropped.
const KEPT_MAX: usize = 64;
/// Smaller ones are cheap to make.
const USEFUL: usize = 16 << 10;
/// Larger ones are rare, and would keep their memory for small entries.
const LARGE: usize = 2 << 20;

/// See the module.
#[derive(Default)]
pub struct Buffers(Mutex<Vec<BytesMut>>);

impl Buffers {
    /// An empty buffer with room for `capacity` bytes.
    pub fn take(&self, capacity: usize) -> BytesMut {
        let kept = match capacity {
            USEFUL..=LARGE => self.0.lock().pop(),
            _ => None,
        };
        let mut buffer = kept.unwrap_or_default();
        buffer.reserve(capacity); // Uses the whole of a dropped buffer if that is large enough.
        buffer
    }

    /// Keeps the memory behind `bytes` if nobody else has a part of it.
    pub(crate) fn give(&self, bytes: Bytes) {
        if let Ok(mut buffer) = bytes.try_into_mut() {
            buffer.clear();
            if !(USEFUL..=LARGE).contains(&buffer.capacity()) {
                return;
            }
            let mut kept = self.0.lock();
            if kept.len() < KEPT_MAX {
                kept.push(buffer);
            }
        }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({})", self.0.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;

    #[test]
    fn the_memory_of_a_frame_is_used_again_once_its_last_entry_is_dropped() {
        let buffers = Buffers::default();
        let mut frame = buffers.take(100_000);
        frame.resize(100_000, 7);
        let at = frame.as_ptr();
        let mut frame = frame.freeze();
        frame.advance(16);
        let (first, last) = (frame.split_to(50_000), frame);
        buffers.give(first);
        assert_eq!(buffers.0.lock().len(), 0, "a part of it is still in use");
        buffers.give(last);
        assert_eq!(buffers.0.lock().len(), 1);
        let again = buffers.take(90_000);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::default();
        for size in [USEFUL - 1, LARGE + 1] {
            buffers.give(BytesMut::zeroed(size).freeze());
        }
        assert_eq!(buffers.0.lock().len(), 0);
        for _ in 0..KEPT_MAX + 5 {
            buffers.give(BytesMut::zeroed(USEFUL).freeze());
        }
        assert_eq!(buffers.0.lock().len(), KEPT_MAX);
    }
}
