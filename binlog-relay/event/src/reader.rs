//! Takes numbers and slices off the front of bytes, and says what was being read when they end.

use crate::Error;

#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Named in the error.
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8], what: &'static str) -> Self {
        Self { rest, what }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Error::Short(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Short(self.what))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.array()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A little-endian number of 1 to 8 bytes.
    pub(crate) fn uint(&mut self, bytes: usize) -> Result<u64, Error> {
        Ok(little_endian(self.take(bytes)?))
    }

    /// MySQL's packed length: one byte up to 250, else a mark and 2, 3 or 8 bytes.
    pub(crate) fn packed(&mut self) -> Result<u64, Error> {
        match self.u8()? {
            small @ ..=250 => Ok(u64::from(small)),
            252 => self.uint(2),
            253 => self.uint(3),
            254 => self.uint(8),
            _ => Err(Error::Damaged("a packed length starts with 251 or 255")),
        }
    }

    /// A packed length that counts things or bytes within this event.
    pub(crate) fn packed_len(&mut self) -> Result<usize, Error> {
        usize::try_from(self.packed()?).map_err(|_| Error::Short(self.what))
    }

    /// Bytes behind their packed length.
    pub(crate) fn packed_bytes(&mut self) -> Result<&'a [u8], Error> {
        let bytes = self.packed_len()?;
        self.take(bytes)
    }
}

/// Little-endian number of up to 8 bytes; more are cut.
pub(crate) fn little_endian(bytes: &[u8]) -> u64 {
    // The sizes of integers are most of the calls, and a loop over bytes is slow.
    match *bytes {
        [a] => return u64::from(a),
        [a, b] => return u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => return u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => return u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => {}
    }
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Big-endian number of up to 8 bytes; the last 8 of more.
pub(crate) fn big_endian(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => return u64::from(a),
        [a, b] => return u64::from(u16::from_be_bytes([a, b])),
        [a, b, c] => return u64::from(u32::from_be_bytes([0, a, b, c])),
        [a, b, c, d] => return u64::from(u32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e] => return u64::from_be_bytes([0, 0, 0, a, b, c, d, e]),
        _ => {}
    }
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_lengths_of_every_size() {
        let read = |bytes: &[u8]| Reader::new(bytes, "a test").packed();
        assert_eq!(read(&[250]), Ok(250));
        assert_eq!(read(&[252, 251, 0]), Ok(251));
        assert_eq!(read(&[253, 0, 0, 1]), Ok(65536));
        assert_eq!(read(&[254, 0, 0, 0, 0, 0, 0, 0, 128]), Ok(1 << 63));
        assert!(matches!(read(&[251]), Err(Error::Damaged(_))));
        assert!(matches!(read(&[255]), Err(Error::Damaged(_))));
        assert_eq!(read(&[254, 1]), Err(Error::Short("a test")));
        assert_eq!(read(&[]), Err(Error::Short("a test")));
    }

    #[test]
    fn numbers_of_every_size() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        for size in 0..=8 {
            let (mut little, mut big) = ([0; 8], [0; 8]);
            little[..size].copy_from_slice(&bytes[..size]);
            big[8 - size..].copy_from_slice(&bytes[..size]);
            assert_eq!(little_endian(&bytes[..size]), u64::from_le_bytes(little));
            assert_eq!(big_endian(&bytes[..size]), u64::from_be_bytes(big));
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_an_error() {
        let mut reader = Reader::new(&[254, 255, 255, 255, 255, 255, 255, 255, 255, 1], "a test");
        assert_eq!(reader.packed_bytes(), Err(Error::Short("a test")));
    }
}
