//! The one canonical text of a value, the same whether it came from a row event or from a SELECT.
//!
//! | type | text |
//! |---|---|
//! | integers, BIT, ENUM (its index), SET (its bit mask) | decimal |
//! | DECIMAL | as MySQL prints it: all digits of the scale, no zeros in front |
//! | FLOAT, DOUBLE | the fewest digits that read back as the same 4-byte or 8-byte number; see [`write_double`] |
//! | DATE, DATETIME, TIME | `yyyy-MM-dd`, `yyyy-MM-dd HH:mm:ss.f`, `-HHH:mm:ss.f` with exactly as many digits as declared |
//! | TIMESTAMP | as DATETIME, in UTC; zero is the zero date |
//! | YEAR | four digits |
//! | CHAR, VARCHAR, TEXT | in UTF-8, decoded from the column's charset |
//! | BINARY, VARBINARY, BLOB, GEOMETRY, VECTOR | each byte as one Latin-1 character; BINARY filled up with zero bytes |
//! | JSON | as the server prints it ([`crate::json`]) |
//!
//! Text that is none in its column's charset is written as upper-case hex digits, and the answer says so.

use crate::reader::{big_endian, little_endian};
use crate::rows::Form;
use crate::rows::{BinaryText, ColumnPlan};
use crate::{Error, json, temporal};

pub use crate::temporal::{DateTime, Time, write_date, write_datetime, write_time, write_year};

/// How a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// As its type says.
    Text,
    /// As upper-case hex digits: the bytes are no text in the column's charset. Tell the reader which column it was.
    Hex,
}

impl ColumnPlan {
    /// Appends the canonical text of a stored value, in UTF-8 and without quotes. After an error `out` ends with an
    /// undefined part of it.
    pub fn write_text(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Written, Error> {
        match self.form {
            Form::Text(charset) => match charset.decode(raw) {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => {
                    write_hex(raw, out);
                    return Ok(Written::Hex);
                }
            },
            Form::Bytes(bytes_min) => match self.policy.binary {
                BinaryText::Latin1 => {
                    out.reserve(raw.len() + raw.len() / 2);
                    for byte in padded(raw, bytes_min) {
                        push_latin1(byte, out);
                    }
                }
                BinaryText::Hex => {
                    write_hex(raw, out);
                    out.extend(std::iter::repeat_n(
                        b'0',
                        2 * usize::from(bytes_min).saturating_sub(raw.len()),
                    ));
                }
            },
            Form::Json => json::write(raw, out)?,
            _ => self.write_plain(raw, out)?,
        }
        Ok(Written::Text)
    }

    /// Appends the same as a JSON string, with quotes and escapes. After an error `out` ends with an undefined part of
    /// it.
    pub fn write_json(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Written, Error> {
        out.push(b'"');
        let mut written = Written::Text;
        match self.form {
            Form::Text(charset) => match charset.decode(raw) {
                Some(text) => escape(text.as_bytes(), out),
                None => {
                    write_hex(raw, out);
                    written = Written::Hex;
                }
            },
            Form::Bytes(bytes_min) if self.policy.binary == BinaryText::Latin1 => {
                out.reserve(raw.len() + raw.len() / 2);
                for byte in padded(raw, bytes_min) {
                    match byte {
                        0x80.. => push_latin1(byte, out),
                        _ => escape_one(byte, out),
                    }
                }
            }
            Form::Bytes(_) => written = self.write_text(raw, out)?,
            Form::Json => {
                let mut text = Vec::with_capacity(2 * raw.len());
                json::write(raw, &mut text)?;
                escape(&text, out);
            }
            _ => self.write_plain(raw, out)?,
        }
        out.push(b'"');
        Ok(written)
    }

    /// Numbers and times: ASCII without anything to escape.
    fn write_plain(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        const WHAT: &str = "a value";
        match self.form {
            Form::Signed => write_int(signed(raw), out),
            Form::Unsigned => write_uint(little_endian(raw), out),
            Form::Bits => write_uint(big_endian(raw), out),
            Form::Float => {
                let bytes = raw.try_into().map_err(|_| Error::Short(WHAT))?;
                write_float(finite(f32::from_le_bytes(bytes))?, out);
            }
            Form::Double => {
                let bytes = raw.try_into().map_err(|_| Error::Short(WHAT))?;
                write_double(finite(f64::from_le_bytes(bytes))?, out);
            }
            Form::Decimal(shape) => shape.write(raw, out)?,
            Form::Date => {
                let date = temporal::date(raw)?;
                write_date(date.year, date.month, date.day, out);
            }
            Form::Time(fsp) => write_time(&temporal::time(raw)?, fsp, out),
            Form::DateTime(fsp) => write_datetime(&temporal::datetime(raw)?, fsp, out),
            Form::Timestamp(fsp) => write_datetime(&temporal::timestamp(raw)?, fsp, out),
            Form::OldTime => write_time(&temporal::time_old(raw)?, 0, out),
            Form::OldDateTime => write_datetime(&temporal::datetime_old(raw)?, 0, out),
            Form::OldTimestamp => {
                let seconds = little_endian(raw).to_be_bytes();
                write_datetime(&temporal::timestamp(&seconds[4..])?, 0, out);
            }
            Form::Year => match raw {
                [0] => write_year(0, out),
                [year] => write_year(1900 + u16::from(*year), out),
                _ => return Err(Error::Short(WHAT)),
            },
            Form::Text(_) | Form::Bytes(_) | Form::Json => {}
        }
        Ok(())
    }
}

fn finite<F: Into<f64> + Copy>(value: F) -> Result<F, Error> {
    match value.into().is_finite() {
        true => Ok(value),
        false => Err(Error::Damaged("a FLOAT or DOUBLE is not finite")),
    }
}

fn padded(raw: &[u8], bytes_min: u16) -> impl Iterator<Item = u8> {
    let missing = usize::from(bytes_min).saturating_sub(raw.len());
    raw.iter().copied().chain(std::iter::repeat_n(0, missing))
}

fn push_latin1(byte: u8, out: &mut Vec<u8>) {
    if byte < 0x80 {
        out.push(byte);
    } else {
        out.extend_from_slice(&[0xc0 | byte >> 6, 0x80 | byte & 0x3f]);
    }
}

/// Little-endian of 1 to 8 bytes.
fn signed(raw: &[u8]) -> i64 {
    let unused = 64 - 8 * raw.len().clamp(1, 8) as u32;
    (little_endian(raw) << unused).cast_signed() >> unused
}

/// Appends a number in decimal.
pub fn write_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a number in decimal.
pub fn write_uint(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends upper-case hex digits.
pub fn write_hex(raw: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(2 * raw.len());
    for byte in raw {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Appends a FLOAT: as [`write_double`], with the fewest digits that read back as the same 4-byte number.
pub fn write_float(value: f32, out: &mut Vec<u8>) {
    write_digits(zmij::Buffer::new().format(value), out);
}

/// Appends a DOUBLE with the fewest digits that read back as the same number: `0.1`, `-0`, `1500`, `0.00001`; below
/// 0.00001 and from 1e21 on with an exponent: `1e30`, `1.5e-7`.
pub fn write_double(value: f64, out: &mut Vec<u8>) {
    write_digits(zmij::Buffer::new().format(value), out);
}

/// Our own layout of the same digits.
fn write_digits(text: &str, out: &mut Vec<u8>) {
    let Some((mantissa, exponent)) = text.split_once('e') else {
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
        return;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = if fraction == "0" { "" } else { fraction };
    out.extend_from_slice(sign.as_bytes());
    match exponent {
        0..=20 => {
            let exponent = exponent as usize;
            let (shifted, rest) = fraction.split_at(fraction.len().min(exponent));
            out.extend_from_slice(whole.as_bytes());
            out.extend_from_slice(shifted.as_bytes());
            out.extend(std::iter::repeat_n(b'0', exponent - shifted.len()));
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest.as_bytes());
            }
        }
        -5..0 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
            out.extend_from_slice(whole.as_bytes());
            out.extend_from_slice(fraction.as_bytes());
        }
        _ => {
            out.extend_from_slice(whole.as_bytes());
            if !fraction.is_empty() {
                out.push(b'.');
                out.extend_from_slice(fraction.as_bytes());
            }
            out.push(b'e');
            out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
        }
    }
}

/// Appends text with the escapes of a JSON string, without quotes. `text` is UTF-8.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len());
    let mut rest = text;
    loop {
        let clean = clean_prefix(rest);
        let (run, after) = rest.split_at(clean);
        out.extend_from_slice(run);
        let Some((byte, after)) = after.split_first() else {
            return;
        };
        escape_one(*byte, out);
        rest = after;
    }
}

/// Length of the part in front that needs no escape. Looks at eight bytes at a time: a byte is found by borrowing from
/// its top bit.
fn clean_prefix(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let (words, _) = text.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let found = control | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            // A borrow can only mark bytes above a true one, so the lowest mark is true.
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let tail = text[at..]
        .iter()
        .position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
    tail.map_or(text.len(), |tail| at + tail)
}

/// One byte below 0x80.
fn escape_one(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        0..0x20 => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            return;
        }
        _ => {
            out.push(byte);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests;
