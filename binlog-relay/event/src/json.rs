//! JSON columns: MySQL's binary form, written as `SELECT` prints it.
//!
//! A document is a type byte and a value. Types: 0 and 1 object, 2 and 3 array (even: offsets of 2 bytes, odd: of 4), 4
//! literal, 5 to 10 integers (i16, u16, i32, u32, i64, u64), 11 double, 12 text, 15 opaque: a value of a column type.
//! Objects and arrays: number of elements, length in bytes, for an object the keys' (offset, length u16), then the values'
//! (type u8, offset; or the value itself if it fits there), then keys and values. Offsets count from the number of
//! elements on. Texts are UTF-8 behind a length of 7 bits a byte. Source: MySQL's `json_binary.h`.
//!
//! Spaces, order of keys (by length, then bytes: the order in which they are stored), and the texts of decimals, dates
//! and bytes are the server's.

use crate::decimal::Shape;
use crate::reader::{Reader, big_endian, little_endian};
use crate::{Error, temporal, text};

/// MySQL allows 100 levels.
const DEPTH_MAX: usize = 101;
const WHAT: &str = "a JSON value";
const DAMAGED: Error = Error::Damaged("a JSON value");

/// Appends the document as the server prints it. No bytes at all are the document `null`, which is what MySQL makes of a
/// column that never got a value. After an error `out` ends with an undefined part of the text.
pub fn write(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let Some((kind, value)) = raw.split_first() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    Writer {
        out,
        // Values never overlap, so all texts and elements together are no more than the document. A damaged one could
        // name one value many times, on many levels.
        budget: raw.len() + 1,
        depth: 0,
    }
    .value(*kind, value)
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    budget: usize,
    depth: usize,
}

impl Writer<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or(Error::Damaged("a JSON value overlaps itself"))?;
        Ok(())
    }

    fn value(&mut self, kind: u8, value: &[u8]) -> Result<(), Error> {
        self.spend(1)?;
        let mut reader = Reader::new(value, WHAT);
        match kind {
            0..=3 => {
                if self.depth == DEPTH_MAX {
                    return Err(Error::Damaged("a JSON value is nested more deeply than MySQL allows"));
                }
                self.depth += 1;
                self.container(value, kind & 2 == 0, if kind & 1 == 0 { 2 } else { 4 })?;
                self.depth -= 1;
            }
            4 => self.out.extend_from_slice(match reader.u8()? {
                0 => b"null",
                1 => b"true",
                2 => b"false",
                _ => return Err(DAMAGED),
            }),
            5 => text::write_int(i64::from(reader.u16()?.cast_signed()), self.out),
            6 => text::write_uint(u64::from(reader.u16()?), self.out),
            7 => text::write_int(i64::from(reader.u32()?.cast_signed()), self.out),
            8 => text::write_uint(u64::from(reader.u32()?), self.out),
            9 => text::write_int(reader.u64()?.cast_signed(), self.out),
            10 => text::write_uint(reader.u64()?, self.out),
            11 => write_double(f64::from_le_bytes(reader.bytes()?), self.out)?,
            12 => {
                let bytes = length(&mut reader)?;
                self.string(reader.take(bytes)?)?;
            }
            15 => self.opaque(reader)?,
            _ => return Err(Error::Damaged("a JSON value has an unknown type")),
        }
        Ok(())
    }

    /// `wide`: bytes of an offset.
    fn container(&mut self, value: &[u8], object: bool, wide: usize) -> Result<(), Error> {
        let mut reader = Reader::new(value, WHAT);
        let count = reader.uint(wide)? as usize;
        let bytes = reader.uint(wide)? as usize;
        let value = value.get(..bytes).ok_or(Error::Short(WHAT))?;
        let keys = if object {
            count.checked_mul(wide + 2).ok_or(DAMAGED)?
        } else {
            0
        };
        let mut keys = Reader::new(reader.take(keys)?, WHAT);
        let mut entries = Reader::new(reader.take(count.checked_mul(wide + 1).ok_or(DAMAGED)?)?, WHAT);
        self.out.push(if object { b'{' } else { b'[' });
        for nth in 0..count {
            if nth > 0 {
                self.out.extend_from_slice(b", ");
            }
            if object {
                let (start, bytes) = (keys.uint(wide)? as usize, usize::from(keys.u16()?));
                self.string(value.get(start..start + bytes).ok_or(Error::Short(WHAT))?)?;
                self.out.extend_from_slice(b": ");
            }
            let kind = entries.u8()?;
            let place = entries.take(wide)?;
            if is_inline(kind, wide) {
                self.value(kind, place)?;
            } else {
                self.value(
                    kind,
                    value.get(little_endian(place) as usize..).ok_or(Error::Short(WHAT))?,
                )?;
            }
        }
        self.out.push(if object { b'}' } else { b']' });
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Result<(), Error> {
        self.spend(text.len())?;
        if std::str::from_utf8(text).is_err() {
            return Err(Error::Damaged("a text in a JSON value is not UTF-8"));
        }
        self.out.push(b'"');
        text::escape(text, self.out);
        self.out.push(b'"');
        Ok(())
    }

    fn opaque(&mut self, mut reader: Reader<'_>) -> Result<(), Error> {
        let kind = reader.u8()?;
        let bytes = length(&mut reader)?;
        let raw = reader.take(bytes)?;
        self.spend(bytes)?;
        let packed = || -> Result<i64, Error> {
            let bytes: [u8; 8] = raw.try_into().map_err(|_| DAMAGED)?;
            Ok(i64::from_le_bytes(bytes))
        };
        match kind {
            246 => {
                let (shape, digits) = raw.split_first_chunk::<2>().ok_or(Error::Short(WHAT))?;
                Shape::in_json(shape[0], shape[1])
                    .ok_or(DAMAGED)?
                    .write(digits, self.out)?;
            }
            7 | 10 | 12 => {
                let value = temporal::json_datetime(packed()?)?;
                self.out.push(b'"');
                match kind {
                    10 => temporal::write_date(value.year, value.month, value.day, self.out),
                    _ => temporal::write_datetime(&value, 6, self.out),
                }
                self.out.push(b'"');
            }
            11 => {
                self.out.push(b'"');
                temporal::write_time(&temporal::json_time(packed()?)?, 6, self.out);
                self.out.push(b'"');
            }
            _ => {
                self.out.extend_from_slice(b"\"base64:type");
                text::write_uint(u64::from(kind), self.out);
                self.out.push(b':');
                write_base64(raw, self.out);
                self.out.push(b'"');
            }
        }
        Ok(())
    }
}

/// Whether a value of this type stands in the place of its offset.
fn is_inline(kind: u8, wide: usize) -> bool {
    matches!((kind, wide), (4..=6, _) | (7 | 8, 4))
}

/// 7 bits a byte, the lowest first; the top bit says that one more follows; at most 5.
fn length(reader: &mut Reader<'_>) -> Result<usize, Error> {
    let mut length = 0u64;
    for nth in 0..5 {
        let byte = reader.u8()?;
        length |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return usize::try_from(length).map_err(|_| DAMAGED);
        }
    }
    Err(DAMAGED)
}

/// With MySQL's line breaks after 76 characters, which its printer escapes.
fn write_base64(raw: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (nth, three) in raw.chunks(3).enumerate() {
        if nth > 0 && nth % 19 == 0 {
            out.extend_from_slice(b"\\n");
        }
        let bits = big_endian(three) << (8 * (3 - three.len()));
        for place in 0..4 {
            out.push(match place <= three.len() {
                true => DIGITS[(bits >> (18 - 6 * place) & 63) as usize],
                false => b'=',
            });
        }
    }
}

/// As the server prints a double inside JSON: the fewest digits; a point always; an exponent if the point would be more
/// than 15 digits away.
fn write_double(value: f64, out: &mut Vec<u8>) -> Result<(), Error> {
    if !value.is_finite() {
        return Err(Error::Damaged("a number in a JSON value is not finite"));
    }
    let mut buffer = zmij::Buffer::new();
    let digits = Digits::of(buffer.format_finite(value));
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let text = &digits.text[..digits.count];
    // `point` digits stand before the point.
    match digits.point {
        1..=15 => {
            let point = digits.point as usize;
            let (whole, fraction) = text.split_at(text.len().min(point));
            out.extend_from_slice(whole);
            out.extend(std::iter::repeat_n(b'0', point - whole.len()));
            out.push(b'.');
            out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
        }
        -14..=0 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', digits.point.unsigned_abs() as usize));
            out.extend_from_slice(text);
        }
        _ => {
            let (first, rest) = text.split_at(1);
            out.extend_from_slice(first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
            out.push(b'e');
            text::write_int(i64::from(digits.point) - 1, out);
        }
    }
    Ok(())
}

/// The digits of a number, without zeros at either end (zero itself: one zero), and where its point is.
struct Digits {
    text: [u8; 24],
    count: usize,
    point: i32,
}

impl Digits {
    /// `text`: a number in decimal, perhaps with a point, perhaps with an exponent.
    fn of(text: &str) -> Self {
        let text = text.trim_start_matches('-');
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let whole = mantissa.find('.').unwrap_or(mantissa.len()) as i32;
        let mut digits = Self {
            text: [b'0'; 24],
            count: 0,
            point: whole + exponent.parse::<i32>().unwrap_or(0),
        };
        let mut end = 0;
        for byte in mantissa.bytes().filter(u8::is_ascii_digit) {
            if digits.count == 0 && byte == b'0' {
                digits.point -= 1;
            } else if digits.count < digits.text.len() {
                digits.text[digits.count] = byte;
                digits.count += 1;
                if byte != b'0' {
                    end = digits.count;
                }
            }
        }
        digits.count = end;
        if end == 0 {
            (digits.count, digits.point) = (1, 1);
        }
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_as_the_server_prints_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1.5, "1.5"),
            (-120.25, "-120.25"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (123_456_789_012_345_680.0, "1.2345678901234568e17"),
            (0.001, "0.001"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (1.7976931348623157e308, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn bytes_are_base64_in_lines() {
        let mut out = Vec::new();
        write_base64(&[0; 58], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}\\nAA==", "A".repeat(76)));
    }

    #[test]
    fn nothing_is_null() {
        let mut out = Vec::new();
        write(&[], &mut out).unwrap();
        assert_eq!(out, b"null");
    }

    #[test]
    fn an_array_that_holds_itself_is_found() {
        // Two elements, each of which is the array again.
        let array = [2, 2, 0, 10, 0, 2, 0, 0, 2, 0, 0];
        assert!(write(&array, &mut Vec::new()).is_err());
    }

    #[test]
    fn two_ways_to_each_of_forty_levels_are_found() {
        let mut raw = vec![2];
        for level in 0..40u16 {
            let bytes = 10 * (40 - level) + 4;
            raw.extend([2, 0]);
            raw.extend(bytes.to_le_bytes());
            raw.extend([2, 10, 0, 2, 10, 0]);
        }
        raw.extend([0, 0, 4, 0]);
        let error = write(&raw, &mut Vec::new());
        assert_eq!(error, Err(Error::Damaged("a JSON value overlaps itself")));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_grows_without_bound(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            let _ = write(&raw, &mut out);
            prop_assert!(out.len() <= 40 * raw.len() + 40);
        }

        #[test]
        fn doubles_read_back(value: f64) {
            if value.is_finite() {
                prop_assert_eq!(double(value).parse::<f64>().unwrap(), value);
            }
        }
    }
}
