//! Writes JSON as fastjson 1 does: keys that are numbers or objects stand in the text without quotes.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

/// A key text that begins with this character is an object, to be written as it is.
/// Real keys are names of topics, groups and settings; none begins with a control character.
pub(super) const OBJECT_KEY: char = '\u{1}';

/// Writes a body in fastjson's dialect, as Java brokers and clients do.
///
/// # Panics
/// Never for the types of this module: their keys are texts, numbers or message queues.
pub fn to_fastjson<T: Serialize>(value: &T) -> Bytes {
    let mut out = Vec::with_capacity(256);
    let mut serializer = Serializer::with_formatter(&mut out, Fastjson { key: Key::None });
    value
        .serialize(&mut serializer)
        .expect("the bodies of this module can be written");
    out.into()
}

struct Fastjson {
    key: Key,
}

/// Where in a key the writer is. The opening quote waits until it is known what kind of key it is.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    None,
    Start,
    Pending,
    Text,
    Number,
    Object,
}

impl Fastjson {
    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Pending {
            self.key = Key::Text;
            writer.write_all(b"\"")?;
        }
        Ok(())
    }

    fn number<W: ?Sized + io::Write>(&mut self, writer: &mut W, digits: &str) -> io::Result<()> {
        if self.key == Key::Pending {
            self.key = Key::Number;
        }
        writer.write_all(digits.as_bytes())
    }
}

macro_rules! numbers {
    ($($method:ident($int:ty)),*) => {$(
        fn $method<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: $int) -> io::Result<()> {
            self.number(writer, itoa::Buffer::new().format(value))
        }
    )*};
}

impl Formatter for Fastjson {
    numbers!(
        write_i8(i8),
        write_i16(i16),
        write_i32(i32),
        write_i64(i64),
        write_u8(u8),
        write_u16(u16),
        write_u32(u32),
        write_u64(u64)
    );

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.key = Key::Start;
        CompactFormatter.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.key = Key::None;
        Ok(())
    }

    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Start {
            self.key = Key::Pending;
            return Ok(());
        }
        writer.write_all(b"\"")
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer)?;
        if matches!(self.key, Key::Number | Key::Object) {
            return Ok(());
        }
        writer.write_all(b"\"")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        self.open(writer)?;
        writer.write_all(text.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match (self.key, &escape) {
            (Key::Pending, CharEscape::AsciiControl(c)) if u32::from(*c) == OBJECT_KEY as u32 => {
                self.key = Key::Object;
                Ok(())
            }
            // The object's text has been escaped already; quotes and backslashes are all that is escaped again.
            (Key::Object, CharEscape::Quote) => writer.write_all(b"\""),
            (Key::Object, CharEscape::ReverseSolidus) => writer.write_all(b"\\"),
            _ => {
                self.open(writer)?;
                CompactFormatter.write_char_escape(writer, escape)
            }
        }
    }
}
