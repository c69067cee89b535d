//! A command: what a frame says.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::{HEADER_BYTES_MAX, PREFIX_BYTES};
use crate::json::{self, Cursor, Malformed, Token};
use crate::{ByteStr, Ext, Header, HeaderError, Language, binary, code, version};

/// Bit of [`Command::flag`]: this is a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of [`Command::flag`]: the sender wants no response.
pub const FLAG_ONEWAY: i32 = 2;
/// Bit of [`Command::flag`], Forebay's own: an earlier try of this send may have been stored. Our clients set it, our brokers then
/// look for the unique keys; others ignore it.
pub const FLAG_RESENT: i32 = 1 << 16;

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderFormat {
    /// JSON, the default of all clients.
    #[default]
    Json,
    /// RocketMQ's own (`ROCKETMQ`); codes must fit 16 bits.
    Binary,
}

/// A request or response.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// Request or response code ([`crate::code`]).
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version of the sender ([`crate::version`]).
    pub version: i32,
    /// Joins a response to its request.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`], [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for people; error text of responses.
    pub remark: Option<ByteStr>,
    /// Fields of the typed header, and free ones.
    pub ext: Ext,
    /// The body; empty for none.
    pub body: Bytes,
    /// How the header came or will be written.
    pub format: HeaderFormat,
    /// The whole frame as it came; empty for a command made here.
    pub(crate) frame: Bytes,
}

impl Command {
    /// A request with opaque 0 (whoever sends it numbers it).
    pub fn request(code: i32, header: &impl Header) -> Self {
        Self::bare_request(code).with_header(header)
    }

    /// A request without `extFields`.
    pub fn bare_request(code: i32) -> Self {
        Self {
            code,
            version: version::CURRENT,
            ..Self::default()
        }
    }

    /// A response without `extFields`, in the form of the request.
    pub fn response(request: &Self, code: i32) -> Self {
        Self {
            code,
            version: version::CURRENT,
            opaque: request.opaque,
            flag: FLAG_RESPONSE,
            format: request.format,
            ..Self::default()
        }
    }

    /// A response that says why a request fails.
    pub fn error(request: &Self, code: i32, remark: impl Into<ByteStr>) -> Self {
        Self::response(request, code).with_remark(remark)
    }

    /// Adds the fields of a typed header.
    #[must_use]
    pub fn with_header(mut self, header: &impl Header) -> Self {
        self.ext.write(self.format, |out| header.encode(out));
        self
    }

    /// Adds one free field.
    #[must_use]
    pub fn with_field(mut self, key: &str, value: &str) -> Self {
        self.ext.write(self.format, |out| out.text(key, value));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<ByteStr>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Marks a request as wanting no response.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= FLAG_ONEWAY;
        self
    }

    /// Marks a send whose earlier try may have been stored.
    #[must_use]
    pub fn resent(mut self) -> Self {
        self.flag |= FLAG_RESENT;
        self
    }

    /// Whether an earlier try of this send may have been stored.
    pub const fn is_resent(&self) -> bool {
        self.flag & FLAG_RESENT != 0
    }

    /// Chooses the form of the header.
    #[must_use]
    pub fn in_format(mut self, format: HeaderFormat) -> Self {
        self.format = format;
        self
    }

    /// Reads the typed header.
    pub fn header<H: Header>(&self) -> Result<H, HeaderError> {
        H::decode(&self.ext)
    }

    /// Whether it is a response.
    pub const fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether it is a request that wants no response.
    pub const fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// The whole frame as it came, to pass it on untouched; `None` for a command made here.
    pub fn frame(&self) -> Option<&Bytes> {
        (!self.frame.is_empty()).then_some(&self.frame)
    }

    /// Appends the frame.
    pub fn encode_into(&self, out: &mut BytesMut) {
        out.reserve(PREFIX_BYTES + 256 + self.body.len());
        self.encode_head(self.body.len(), out);
        out.put_slice(&self.body);
    }

    /// The frame as a buffer of its own.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode_into(&mut out);
        out.freeze()
    }

    /// Appends the frame up to its body, of which `body_len` bytes must follow.
    pub fn encode_head(&self, body_len: usize, out: &mut BytesMut) {
        let start = out.len();
        out.put_u64(0);
        let form: u32 = match self.format {
            HeaderFormat::Binary if binary::can_encode(self) => {
                binary::encode(self, out);
                1
            }
            _ => {
                self.encode_json(out);
                0
            }
        };
        let header = out.len() - start - PREFIX_BYTES;
        if header > HEADER_BYTES_MAX {
            out.truncate(start);
            return self.without_header().encode_head(body_len, out);
        }
        out[start..start + 4].copy_from_slice(&((4 + header + body_len) as u32).to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&(form << 24 | header as u32).to_be_bytes());
    }

    /// What is sent in place of a header of 16 MiB and more, which a frame cannot carry.
    fn without_header(&self) -> Self {
        Self {
            code: if self.is_response() {
                code::response::SYSTEM_ERROR
            } else {
                self.code
            },
            remark: Some(ByteStr::from_static("header too long")),
            ext: Ext::ABSENT,
            body: Bytes::new(),
            frame: Bytes::new(),
            ..self.clone()
        }
    }

    /// The JSON header as fastjson writes it: fields in alphabetical order, nulls left out, no blanks.
    fn encode_json(&self, out: &mut BytesMut) {
        let mut number = itoa::Buffer::new();
        out.put_slice(b"{\"code\":");
        out.put_slice(number.format(self.code).as_bytes());
        if !self.ext.is_absent() {
            out.put_slice(b",\"extFields\":{");
            out.put_slice(&self.ext.json_members());
            out.put_u8(b'}');
        }
        out.put_slice(b",\"flag\":");
        out.put_slice(number.format(self.flag).as_bytes());
        out.put_slice(b",\"language\":\"");
        out.put_slice(self.language.name().as_bytes());
        out.put_slice(b"\",\"opaque\":");
        out.put_slice(number.format(self.opaque).as_bytes());
        if let Some(remark) = &self.remark {
            out.put_slice(b",\"remark\":");
            json::put_string(out, remark);
        }
        out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
        out.put_slice(number.format(self.version).as_bytes());
        out.put_u8(b'}');
    }
}

/// Reads the JSON header that lies at `at` in `frame`. Field values of unexpected kinds are errors for numbers and ignored for texts.
pub(crate) fn decode_json(frame: &Bytes, at: Range<usize>) -> Result<Command, Malformed> {
    let mut command = Command::default();
    let mut cursor = Cursor::new(&frame[at.clone()]);
    cursor.expect(b'{')?;
    let mut first = true;
    while cursor.more(first, b'}')? {
        first = false;
        let (key, _) = cursor.key()?;
        match key {
            b"code" => command.code = number(cursor.value()?)?,
            b"version" => command.version = number(cursor.value()?)?,
            b"opaque" => command.opaque = number(cursor.value()?)?,
            b"flag" => command.flag = number(cursor.value()?)?,
            b"language" => command.language = language(cursor.value()?),
            b"remark" => {
                if let Token::Text(inside, escaped) = cursor.value()? {
                    command.remark = Some(remark(frame, inside, escaped)?);
                }
            }
            b"extFields" => command.ext = ext(frame, at.start, &mut cursor)?,
            _ => {
                cursor.value()?;
            }
        }
    }
    if cursor.peek().is_some() {
        return Err(Malformed);
    }
    Ok(command)
}

fn number(token: Token<'_>) -> Result<i32, Malformed> {
    match token {
        Token::Bare(digits) | Token::Text(digits, false) => json::integer(digits)
            .and_then(|n| i32::try_from(n).ok())
            .ok_or(Malformed),
        Token::Null => Ok(0),
        Token::Text(..) => Err(Malformed),
    }
}

fn language(token: Token<'_>) -> Language {
    match token {
        Token::Text(name, _) => Language::from_name(name),
        Token::Bare(digits) => json::integer(digits)
            .and_then(|n| u8::try_from(n).ok())
            .map_or(Language::Other, Language::from_code),
        Token::Null => Language::Other,
    }
}

fn remark(frame: &Bytes, inside: &[u8], escaped: bool) -> Result<ByteStr, Malformed> {
    if escaped {
        json::unescape(inside).map(ByteStr::from).ok_or(Malformed)
    } else {
        ByteStr::try_from(frame.slice_ref(inside)).map_err(|_| Malformed)
    }
}

/// Walks the fields once, so that [`Ext`] can be walked again without checks.
fn ext(frame: &Bytes, header_at: usize, cursor: &mut Cursor<'_>) -> Result<Ext, Malformed> {
    if cursor.peek() != Some(b'{') {
        return if cursor.value()? == Token::Null {
            Ok(Ext::ABSENT)
        } else {
            Err(Malformed)
        };
    }
    cursor.expect(b'{')?;
    let start = header_at + cursor.position();
    let mut first = true;
    while cursor.more(first, b'}')? {
        first = false;
        cursor.key()?;
        cursor.value()?;
    }
    Ok(Ext::from_json(frame.slice(start..header_at + cursor.position() - 1)))
}
