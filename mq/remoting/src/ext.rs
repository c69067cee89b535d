//! The free fields of a header (`extFields`), kept in the form they came or will go out in.

use std::borrow::Cow;

use bytes::Bytes;

use crate::json::{self, Cursor, Malformed, Token};
use crate::{ByteStr, HeaderFormat};

/// The free fields of a header. Of a received one it is a slice of the frame, read when asked for.
#[derive(Debug, Clone, Default)]
pub struct Ext {
    form: Form,
}

/// Always well formed: received bytes are checked when the header is, our own are written by [`ExtWriter`].
#[derive(Debug, Clone, Default)]
enum Form {
    /// No `extFields` at all. RocketMQ tells this from an empty map.
    #[default]
    Absent,
    /// The members of a JSON object, without its braces.
    Json(Bytes),
    /// `u16 length, key, u32 length, value` repeated.
    Binary(Bytes),
    /// As `Json`, written here.
    OwnJson(Vec<u8>),
    /// As `Binary`, written here.
    OwnBinary(Vec<u8>),
}

impl Ext {
    /// No fields at all.
    pub const ABSENT: Self = Self { form: Form::Absent };

    /// Takes the members of a JSON object, without its braces; the command's scanner has walked them.
    pub(crate) fn from_json(members: Bytes) -> Self {
        Self {
            form: Form::Json(members),
        }
    }

    /// Takes binary pairs, a part of `frame`, after checking their lengths.
    pub(crate) fn from_binary(frame: &Bytes, pairs: &[u8]) -> Result<Self, Malformed> {
        if pairs.is_empty() {
            return Ok(Self::ABSENT);
        }
        let mut rest = pairs;
        while !rest.is_empty() {
            rest = binary_pair(rest).ok_or(Malformed)?.2;
        }
        Ok(Self {
            form: Form::Binary(frame.slice_ref(pairs)),
        })
    }

    /// Whether there is no `extFields` at all.
    pub fn is_absent(&self) -> bool {
        matches!(self.form, Form::Absent)
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields().next().is_none()
    }

    /// Value of a field, if it is there and is text. Walks the header: for several fields use a typed header.
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        self.value(key)?.text()
    }

    /// Value of a field.
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        self.fields().filter(|(k, _)| k.is(key)).last().map(|(_, value)| value)
    }

    /// All fields in the order they came; those that are not UTF-8 are left out.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.fields()
            .filter_map(|(key, value)| Some((key.text()?, value.text()?)))
    }

    /// All fields as they came. Fields that are `null` are left out.
    pub fn fields(&self) -> Fields<'_> {
        let (walk, shared) = match &self.form {
            Form::Absent => (Walk::Binary(&[]), None),
            Form::Json(bytes) => (Walk::Json(Cursor::new(bytes)), Some(bytes)),
            Form::OwnJson(bytes) => (Walk::Json(Cursor::new(bytes)), None),
            Form::Binary(bytes) => (Walk::Binary(bytes), Some(bytes)),
            Form::OwnBinary(bytes) => (Walk::Binary(bytes), None),
        };
        Fields {
            walk,
            shared,
            first: true,
        }
    }

    /// Adds fields through a writer of the given format; fields there are stay before them.
    pub fn write(&mut self, format: HeaderFormat, write: impl FnOnce(&mut ExtWriter)) {
        let mut out = match (std::mem::take(&mut self.form), format) {
            (Form::OwnJson(bytes), HeaderFormat::Json) | (Form::OwnBinary(bytes), HeaderFormat::Binary) => {
                ExtWriter { out: bytes, format }
            }
            (Form::Absent, _) => ExtWriter {
                out: Vec::with_capacity(128),
                format,
            },
            (other, _) => {
                let mut out = ExtWriter {
                    out: Vec::with_capacity(256),
                    format,
                };
                out.copy(&Ext { form: other });
                out
            }
        };
        write(&mut out);
        self.form = match format {
            HeaderFormat::Json => Form::OwnJson(out.out),
            HeaderFormat::Binary => Form::OwnBinary(out.out),
        };
    }

    /// The members of a JSON object in this form, written anew only if need be.
    pub(crate) fn json_members(&self) -> Cow<'_, [u8]> {
        match &self.form {
            Form::Absent => Cow::Borrowed(&[]),
            Form::Json(bytes) => Cow::Borrowed(bytes),
            Form::OwnJson(bytes) => Cow::Borrowed(bytes),
            Form::Binary(_) | Form::OwnBinary(_) => Cow::Owned(self.rewritten(HeaderFormat::Json)),
        }
    }

    /// The binary pairs in this form, written anew only if need be.
    pub(crate) fn binary_pairs(&self) -> Cow<'_, [u8]> {
        match &self.form {
            Form::Absent => Cow::Borrowed(&[]),
            Form::Binary(bytes) => Cow::Borrowed(bytes),
            Form::OwnBinary(bytes) => Cow::Borrowed(bytes),
            Form::Json(_) | Form::OwnJson(_) => Cow::Owned(self.rewritten(HeaderFormat::Binary)),
        }
    }

    fn rewritten(&self, format: HeaderFormat) -> Vec<u8> {
        let mut out = ExtWriter {
            out: Vec::with_capacity(256),
            format,
        };
        out.copy(self);
        out.out
    }
}

/// Fields from texts, for tests and tools.
impl<'a> FromIterator<(&'a str, &'a str)> for Ext {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(fields: T) -> Self {
        let mut ext = Self::ABSENT;
        ext.write(HeaderFormat::Json, |out| {
            fields.into_iter().for_each(|(key, value)| out.text(key, value))
        });
        ext
    }
}

/// A key or value of a header field, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    bytes: &'a [u8],
    escaped: bool,
    /// The buffer `bytes` lies in, if it is shared: texts are then slices of it.
    shared: Option<&'a Bytes>,
}

impl<'a> Value<'a> {
    /// The bytes as they came; with JSON escapes if there are any.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// The text, if it is UTF-8.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        json::text(self.bytes, self.escaped)
    }

    /// The text as a slice of the frame where possible.
    #[inline]
    pub fn byte_str(&self) -> Option<ByteStr> {
        match self.shared {
            Some(shared) if !self.escaped => ByteStr::try_from(shared.slice_ref(self.bytes)).ok(),
            _ => self.text().map(|text| ByteStr::from(text.into_owned())),
        }
    }

    /// The number.
    #[inline]
    pub fn integer(&self) -> Option<i64> {
        json::integer(self.bytes)
    }

    /// Java's `Boolean.parseBoolean`: `true` in any case, else false.
    #[inline]
    pub fn boolean(&self) -> bool {
        self.bytes == b"true" || self.bytes.eq_ignore_ascii_case(b"true")
    }

    /// Whether it is exactly this text.
    #[inline]
    pub fn is(&self, text: &str) -> bool {
        if self.escaped {
            self.text().is_some_and(|t| t == text)
        } else {
            self.bytes == text.as_bytes()
        }
    }
}

/// Iterator of [`Ext::fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    walk: Walk<'a>,
    shared: Option<&'a Bytes>,
    first: bool,
}

#[derive(Debug, Clone)]
enum Walk<'a> {
    Json(Cursor<'a>),
    Binary(&'a [u8]),
}

impl<'a> Fields<'a> {
    #[inline]
    fn json(&mut self) -> Option<(Value<'a>, Value<'a>)> {
        let Walk::Json(cursor) = &mut self.walk else {
            return None;
        };
        loop {
            cursor.peek()?;
            if !self.first {
                cursor.expect(b',').ok()?;
            }
            self.first = false;
            let (key, key_escaped) = cursor.key().ok()?;
            let (bytes, escaped) = match cursor.value().ok()? {
                Token::Text(bytes, escaped) => (bytes, escaped),
                Token::Bare(bytes) => (bytes, false),
                Token::Null => continue,
            };
            let value = |bytes, escaped| Value {
                bytes,
                escaped,
                shared: self.shared,
            };
            return Some((value(key, key_escaped), value(bytes, escaped)));
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Value<'a>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.walk {
            Walk::Json(_) => self.json(),
            Walk::Binary(rest) => {
                let (key, bytes, after) = binary_pair(rest)?;
                *rest = after;
                let value = |bytes| Value {
                    bytes,
                    escaped: false,
                    shared: self.shared,
                };
                Some((value(key), value(bytes)))
            }
        }
    }
}

#[inline]
fn binary_pair(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((key, value, rest))
}

/// Writes fields straight in their final form.
#[derive(Debug)]
pub struct ExtWriter {
    out: Vec<u8>,
    format: HeaderFormat,
}

impl ExtWriter {
    /// A text field.
    #[inline]
    pub fn text(&mut self, key: &str, value: &str) {
        match self.format {
            HeaderFormat::Json => {
                self.json_key(key);
                json::put_string(&mut self.out, value);
            }
            HeaderFormat::Binary => self.binary(key, value.as_bytes()),
        }
    }

    /// A number field.
    #[inline]
    pub fn integer(&mut self, key: &str, value: i64) {
        self.plain(key, itoa::Buffer::new().format(value));
    }

    /// A boolean field.
    #[inline]
    pub fn boolean(&mut self, key: &str, value: bool) {
        self.plain(key, if value { "true" } else { "false" });
    }

    /// A value that needs no escaping.
    #[inline]
    fn plain(&mut self, key: &str, value: &str) {
        match self.format {
            HeaderFormat::Json => {
                self.json_key(key);
                self.out.push(b'"');
                self.out.extend_from_slice(value.as_bytes());
                self.out.push(b'"');
            }
            HeaderFormat::Binary => self.binary(key, value.as_bytes()),
        }
    }

    #[inline]
    fn json_key(&mut self, key: &str) {
        if !self.out.is_empty() {
            self.out.push(b',');
        }
        json::put_string(&mut self.out, key);
        self.out.push(b':');
    }

    /// Keys beyond 65,535 bytes cannot be said in this form and are left out; ours are constants.
    #[inline]
    fn binary(&mut self, key: &str, value: &[u8]) {
        let (Ok(key_len), Ok(value_len)) = (u16::try_from(key.len()), u32::try_from(value.len())) else {
            return;
        };
        self.out.extend_from_slice(&key_len.to_be_bytes());
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(&value_len.to_be_bytes());
        self.out.extend_from_slice(value);
    }

    fn copy(&mut self, ext: &Ext) {
        for (key, value) in ext.iter() {
            self.text(&key, &value);
        }
    }
}
