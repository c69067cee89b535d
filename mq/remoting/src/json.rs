//! Hand-written reading and writing of JSON headers: one pass over the bytes, no tree, no map.
//!
//! Reading is tolerant where peers differ: any order of fields, unknown fields, blanks, numbers for texts and texts for
//! numbers, nulls. It is strict about structure, so that what it lets through can be walked again without checks.

use std::borrow::Cow;

use bytes::BufMut;

/// Deepest nesting that is skipped over.
const DEPTH_MAX: u32 = 64;

/// A header that is not a JSON object of the expected shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A position within a JSON text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A scalar or a skipped value as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// The inside of a string; `true` if it holds escapes.
    Text(&'a [u8], bool),
    /// A number, `true` or `false`, or a whole object or array.
    Bare(&'a [u8]),
    /// `null`.
    Null,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.bytes.get(self.at) == Some(&byte) || self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// After an opening bracket or an item: whether another item follows. Takes the comma or the closing bracket.
    #[inline]
    pub(crate) fn more(&mut self, first: bool, close: u8) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b) if b == close => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// The inside of a string, and whether it holds escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = find_special(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let inside = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok((inside, escaped));
                }
                Some(_) => {
                    escaped = true;
                    self.at += 2;
                }
                None => return Err(Malformed),
            }
        }
    }

    /// The key of a member, with its colon.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Any value.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Token<'a>, Malformed> {
        match self.peek().ok_or(Malformed)? {
            b'"' => self.string().map(|(text, escaped)| Token::Text(text, escaped)),
            b'{' | b'[' => self.nested(),
            _ => self.bare(),
        }
    }

    fn bare(&mut self) -> Result<Token<'a>, Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') = self.bytes.get(self.at) {
            self.at += 1;
        }
        match &self.bytes[start..self.at] {
            b"" => Err(Malformed),
            b"null" => Ok(Token::Null),
            other => Ok(Token::Bare(other)),
        }
    }

    /// Skips an object or array by its brackets.
    fn nested(&mut self) -> Result<Token<'a>, Malformed> {
        let start = self.at;
        let mut depth = 0u32;
        loop {
            match self.peek().ok_or(Malformed)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(Token::Bare(&self.bytes[start..self.at]));
            }
            if depth > DEPTH_MAX {
                return Err(Malformed);
            }
        }
    }
}

/// Position of the next `"` or `\` from `at` on, or the end. Eight bytes at a time.
#[inline]
fn find_special(bytes: &[u8], mut at: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const QUOTES: u64 = LOW * b'"' as u64;
    const SLASHES: u64 = LOW * b'\\' as u64;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let (q, s) = (word ^ QUOTES, word ^ SLASHES);
        // The lowest set bit marks the first zero byte exactly; higher ones may be false.
        let found = ((q.wrapping_sub(LOW) & !q) | (s.wrapping_sub(LOW) & !s)) & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && bytes[at] != b'"' && bytes[at] != b'\\' {
        at += 1;
    }
    at.min(bytes.len())
}

/// Resolves the escapes of a string's inside.
pub(crate) fn unescape(inside: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(inside.len());
    let mut rest = inside;
    loop {
        let at = find_special(rest, 0);
        out.extend_from_slice(&rest[..at]);
        match rest.get(at) {
            None => break,
            // Possible only in a text in single quotes.
            Some(b'"') => {
                out.push(b'"');
                rest = &rest[at + 1..];
                continue;
            }
            Some(_) => {}
        }
        // Property texts are full of these: `\u0001` and `\u0002`.
        if let [b'\\', b'u', b'0', b'0', b'0', digit @ b'0'..=b'9', ..] = &rest[at..] {
            out.push(digit - b'0');
            rest = &rest[at + 6..];
            continue;
        }
        let (&kind, after) = rest[at + 1..].split_first()?;
        rest = after;
        out.push(match kind {
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 12,
            b'r' => b'\r',
            b'v' => 11,
            b'0' => 0,
            b'u' => {
                let (c, after) = unicode(rest)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                continue;
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// What follows `\u`: one unit, or a surrogate pair. A lone surrogate becomes U+FFFD.
fn unicode(rest: &[u8]) -> Option<(char, &[u8])> {
    let (first, rest) = hex4(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest));
    }
    if let Some((second @ 0xdc00..0xe000, after)) = rest.strip_prefix(b"\\u").and_then(hex4) {
        let c = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((char::from_u32(c)?, after));
    }
    Some((char::REPLACEMENT_CHARACTER, rest))
}

fn hex4(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(4)?;
    let value = digits
        .iter()
        .try_fold(0, |n, &d| Some(n << 4 | char::from(d).to_digit(16)?))?;
    Some((value, rest))
}

/// The text of a string's inside.
pub(crate) fn text(inside: &[u8], escaped: bool) -> Option<Cow<'_, str>> {
    if escaped {
        unescape(inside).map(Cow::Owned)
    } else {
        std::str::from_utf8(inside).ok().map(Cow::Borrowed)
    }
}

/// A decimal number as Java's `Long.parseLong` reads it.
#[inline]
pub(crate) fn integer(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut n: u64 = 0;
    for &d in digits {
        let d = d.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        // At most 19 digits: below 10^19, which u64 holds.
        n = n * 10 + u64::from(d);
    }
    if negative {
        if n <= i64::MIN.unsigned_abs() {
            Some((n as i64).wrapping_neg())
        } else {
            None
        }
    } else {
        i64::try_from(n).ok()
    }
}

/// Appends a string in quotes, escaped as fastjson does: control characters by short form or `\u00XX`.
#[inline]
pub(crate) fn put_string(out: &mut impl BufMut, text: &str) {
    out.put_u8(b'"');
    put_escaped(out, text);
    out.put_u8(b'"');
}

/// Appends the inside of a string.
pub(crate) fn put_escaped(out: &mut impl BufMut, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &b) in bytes.iter().enumerate() {
        if b >= b' ' && b != b'"' && b != b'\\' {
            continue;
        }
        out.put_slice(&bytes[done..at]);
        done = at + 1;
        let short = match b {
            b'"' | b'\\' => b,
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            12 => b'f',
            b'\r' => b'r',
            _ => {
                let [high, low] = [b >> 4, b & 15].map(|n| DIGITS[usize::from(n)]);
                out.put_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                continue;
            }
        };
        out.put_slice(&[b'\\', short]);
    }
    out.put_slice(&bytes[done..]);
}
