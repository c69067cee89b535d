//! What a load message says: who sent it, its number, and when it was meant to leave. The rest is filling.

/// Bytes of the fixed part.
pub const HEAD: usize = 32;
const MAGIC: u32 = 0x4642_4c54;

/// The fixed part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Number of the run, so that a topic can be used twice.
    pub run: u32,
    /// Which producer.
    pub producer: u32,
    /// The producer's own number of the message, from 0.
    pub number: u64,
    /// When it should have been sent, µs on the run's clock: latency is counted from here.
    pub intended_us: u64,
}

impl Body {
    /// A number that is unique in the run.
    pub fn id(&self) -> u64 {
        (u64::from(self.producer) << 40) | self.number
    }

    /// Bytes of at least [`HEAD`], `size` when that is more.
    pub fn encode(&self, size: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(size.max(HEAD));
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&self.run.to_be_bytes());
        out.extend_from_slice(&self.producer.to_be_bytes());
        out.extend_from_slice(&0_u32.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.intended_us.to_be_bytes());
        // Not one constant: a compressing device or file system must not make the figures look better.
        let mut noise = self.id() | 1;
        while out.len() < size {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let take = (size - out.len()).min(8);
            out.extend_from_slice(&noise.to_be_bytes()[..take]);
        }
        out
    }

    /// The fixed part of a body that [`Body::encode`] made; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Body> {
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        (word(0)? == MAGIC).then_some(())?;
        Some(Body {
            run: word(4)?,
            producer: word(8)?,
            number: long(16)?,
            intended_us: long(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let body = Body {
            run: 3,
            producer: 9,
            number: 77,
            intended_us: 123_456,
        };
        for size in [0, HEAD, 100, 1024] {
            let bytes = body.encode(size);
            assert_eq!(bytes.len(), size.max(HEAD));
            assert_eq!(Body::decode(&bytes), Some(body));
        }
        assert_eq!(Body::decode(b"something else, long enough to hold it"), None);
        assert_eq!(Body::decode(&body.encode(0)[..HEAD - 1]), None);
    }
}
