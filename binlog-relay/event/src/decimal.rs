//! DECIMAL as it is stored: groups of nine digits in four bytes, big-endian, shorter groups at both ends.
//!
//! The sign is the inverted top bit of the first byte; all bits of a negative number are inverted. Source: `decimal2bin`
//! in MySQL's `strings/decimal.cc`.

use crate::Error;
use crate::reader::big_endian;

/// Bytes that 0 to 9 digits take.
const BYTES_OF_DIGITS: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// One more than the greatest number of so many digits.
const LIMITS: [u32; 10] = [
    1,
    10,
    100,
    1000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// Digits before and behind the point; MySQL's bounds are 65 digits in all, 30 behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    integer: u8,
    fraction: u8,
}

impl Shape {
    /// `None`: no DECIMAL of MySQL has this precision and scale.
    pub(crate) fn new(precision: u8, scale: u8) -> Option<Self> {
        if precision <= 65 {
            Self::in_json(precision, scale)
        } else {
            None
        }
    }

    /// As [`Shape::new`]; but JSON counts zeros in front, up to whole groups of nine digits, into the precision.
    pub(crate) fn in_json(precision: u8, scale: u8) -> Option<Self> {
        (precision <= 81 && scale <= 30 && scale <= precision && precision > 0).then(|| Self {
            integer: precision - scale,
            fraction: scale,
        })
    }

    /// Length of the stored number.
    pub(crate) fn bytes(self) -> usize {
        let part = |digits: u8| usize::from(digits / 9) * 4 + BYTES_OF_DIGITS[usize::from(digits % 9)];
        part(self.integer) + part(self.fraction)
    }

    /// Appends the number as MySQL prints it: no zeros in front, all digits of the scale behind the point.
    pub(crate) fn write(self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if raw.len() != self.bytes() {
            return Err(Error::Damaged("a DECIMAL has another length than its type says"));
        }
        let negative = raw[0] & 0x80 == 0;
        let mut groups = Groups {
            raw,
            mask: if negative { u32::MAX } else { 0 },
            first: true,
        };
        if negative {
            out.push(b'-');
        }
        let start = out.len();
        let written = |value: u32, digits: u8, out: &mut Vec<u8>| match (value, out.len() - start) {
            (0, 0) => {}
            (_, 0) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            _ => padded(value, digits, out),
        };
        let head = self.integer % 9;
        if head > 0 {
            written(groups.next(head)?, head, out);
        }
        for _ in 0..self.integer / 9 {
            written(groups.next(9)?, 9, out);
        }
        if out.len() == start {
            out.push(b'0');
        }
        if self.fraction > 0 {
            out.push(b'.');
            for _ in 0..self.fraction / 9 {
                padded(groups.next(9)?, 9, out);
            }
            let tail = self.fraction % 9;
            if tail > 0 {
                padded(groups.next(tail)?, tail, out);
            }
        }
        Ok(())
    }
}

struct Groups<'a> {
    raw: &'a [u8],
    mask: u32,
    first: bool,
}

impl Groups<'_> {
    fn next(&mut self, digits: u8) -> Result<u32, Error> {
        let bytes = BYTES_OF_DIGITS[usize::from(digits)];
        let (group, raw) = self.raw.split_at_checked(bytes).ok_or(Error::Short("a DECIMAL"))?;
        self.raw = raw;
        let bits = 8 * bytes as u32;
        let mut value = big_endian(group) as u32 ^ (self.mask >> (32 - bits));
        if std::mem::take(&mut self.first) {
            value ^= 1 << (bits - 1);
        }
        if value < LIMITS[usize::from(digits)] {
            Ok(value)
        } else {
            Err(Error::Damaged("a group of a DECIMAL has too many digits"))
        }
    }
}

fn padded(value: u32, digits: u8, out: &mut Vec<u8>) {
    let mut text = [b'0'; 9];
    let text = &mut text[..usize::from(digits)];
    let mut rest = value;
    for place in text.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(precision: u8, scale: u8, raw: &[u8]) -> Result<String, Error> {
        let mut out = Vec::new();
        Shape::new(precision, scale).unwrap().write(raw, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// The slow way: digits as text, grouped from the point.
    fn store(precision: u8, scale: u8, negative: bool, digits: &str) -> Vec<u8> {
        assert_eq!(digits.len(), usize::from(precision));
        let (integer, fraction) = digits.split_at(usize::from(precision - scale));
        let mut raw: Vec<u8> = Vec::new();
        let mut group = |text: &str| {
            let bytes = BYTES_OF_DIGITS[text.len()];
            if bytes > 0 {
                raw.extend(&text.parse::<u32>().unwrap().to_be_bytes()[4 - bytes..]);
            }
        };
        let (head, nines) = integer.split_at(integer.len() % 9);
        group(head);
        for at in (0..nines.len()).step_by(9) {
            group(&nines[at..at + 9]);
        }
        for at in (0..fraction.len()).step_by(9) {
            group(&fraction[at..fraction.len().min(at + 9)]);
        }
        if negative {
            raw.iter_mut().for_each(|byte| *byte = !*byte);
        }
        raw[0] ^= 0x80;
        raw
    }

    proptest! {
        #[test]
        fn as_the_slow_model_writes_it(
            (precision, scale) in (1u8..=65).prop_flat_map(|p| (Just(p), 0..=p.min(30))),
            negative: bool,
            digits in "[0-9]{65}",
            zeros in 0usize..66,
        ) {
            let mut digits = digits[..usize::from(precision)].to_owned();
            let zeros = zeros.min(digits.len());
            digits.replace_range(..zeros, &"0".repeat(zeros));
            let (integer, fraction) = digits.split_at(usize::from(precision - scale));
            let mut expected = if negative { "-".to_owned() } else { String::new() };
            expected += match integer.trim_start_matches('0') { "" => "0", text => text };
            if scale > 0 {
                expected += ".";
                expected += fraction;
            }
            let raw = store(precision, scale, negative, &digits);
            prop_assert_eq!(read(precision, scale, &raw), Ok(expected));
        }

        #[test]
        fn never_panics(precision in 1u8..=65, scale in 0u8..=30, raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(shape) = Shape::new(precision, scale) {
                let _ = shape.write(&raw, &mut Vec::new());
            }
        }
    }

    #[test]
    fn too_many_digits_are_damage() {
        assert!(read(2, 0, &[0x80 | 100]).is_err());
        assert!(read(2, 0, &[]).is_err());
        assert!(Shape::new(66, 0).is_none() && Shape::new(5, 6).is_none() && Shape::new(0, 0).is_none());
    }
}
