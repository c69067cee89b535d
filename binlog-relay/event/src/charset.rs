//! MySQL's character sets: the text of a column's bytes.
//!
//! Decoding is strict: bytes that are no text in the charset give nothing at all, never a replacement character.
//! `swe7` is not decoded. Charsets of several bytes come from encoding_rs, whose tables were compared with a server's
//! (see [`multi_byte`]).

mod multi_byte;
mod single_byte;

use std::borrow::Cow;

/// A character set of MySQL, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Charset {
    /// `armscii8`.
    Armscii8,
    /// `ascii`: 7 bits.
    Ascii,
    /// `big5`.
    Big5,
    /// `binary`: bytes, shown as Latin-1.
    Binary,
    /// `cp1250`.
    Cp1250,
    /// `cp1251`.
    Cp1251,
    /// `cp1256`.
    Cp1256,
    /// `cp1257`.
    Cp1257,
    /// `cp850`.
    Cp850,
    /// `cp852`.
    Cp852,
    /// `cp866`.
    Cp866,
    /// `cp932`.
    Cp932,
    /// `dec8`.
    Dec8,
    /// `eucjpms`.
    Eucjpms,
    /// `euckr`.
    Euckr,
    /// `gb18030`.
    Gb18030,
    /// `gb2312`.
    Gb2312,
    /// `gbk`.
    Gbk,
    /// `geostd8`.
    Geostd8,
    /// `greek`.
    Greek,
    /// `hebrew`.
    Hebrew,
    /// `hp8`.
    Hp8,
    /// `keybcs2`.
    Keybcs2,
    /// `koi8r`.
    Koi8r,
    /// `koi8u`.
    Koi8u,
    /// `latin1`: cp1252; the 5 bytes without a character are U+0081, U+008D, U+008F, U+0090, U+009D.
    Latin1,
    /// `latin2`.
    Latin2,
    /// `latin5`.
    Latin5,
    /// `latin7`.
    Latin7,
    /// `macce`.
    Macce,
    /// `macroman`.
    Macroman,
    /// `sjis`.
    Sjis,
    /// `tis620`.
    Tis620,
    /// `ucs2`.
    Ucs2,
    /// `ujis`.
    Ujis,
    /// `utf16`.
    Utf16,
    /// `utf16le`.
    Utf16le,
    /// `utf32`.
    Utf32,
    /// `utf8mb3`.
    Utf8mb3,
    /// `utf8mb4`.
    Utf8mb4,
}

impl Charset {
    /// Its name in MySQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Armscii8 => "armscii8",
            Self::Ascii => "ascii",
            Self::Big5 => "big5",
            Self::Binary => "binary",
            Self::Cp1250 => "cp1250",
            Self::Cp1251 => "cp1251",
            Self::Cp1256 => "cp1256",
            Self::Cp1257 => "cp1257",
            Self::Cp850 => "cp850",
            Self::Cp852 => "cp852",
            Self::Cp866 => "cp866",
            Self::Cp932 => "cp932",
            Self::Dec8 => "dec8",
            Self::Eucjpms => "eucjpms",
            Self::Euckr => "euckr",
            Self::Gb18030 => "gb18030",
            Self::Gb2312 => "gb2312",
            Self::Gbk => "gbk",
            Self::Geostd8 => "geostd8",
            Self::Greek => "greek",
            Self::Hebrew => "hebrew",
            Self::Hp8 => "hp8",
            Self::Keybcs2 => "keybcs2",
            Self::Koi8r => "koi8r",
            Self::Koi8u => "koi8u",
            Self::Latin1 => "latin1",
            Self::Latin2 => "latin2",
            Self::Latin5 => "latin5",
            Self::Latin7 => "latin7",
            Self::Macce => "macce",
            Self::Macroman => "macroman",
            Self::Sjis => "sjis",
            Self::Tis620 => "tis620",
            Self::Ucs2 => "ucs2",
            Self::Ujis => "ujis",
            Self::Utf16 => "utf16",
            Self::Utf16le => "utf16le",
            Self::Utf32 => "utf32",
            Self::Utf8mb3 => "utf8mb3",
            Self::Utf8mb4 => "utf8mb4",
        }
    }

    /// The charset of the collation with this number (`information_schema.collations`); `None`: not known here.
    pub fn of_collation(number: u64) -> Option<Self> {
        crate::collation::charset(number)
    }

    /// The text of these bytes; `None`: they are not text in this charset.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8mb4 | Self::Utf8mb3 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Ascii => ascii(bytes).map(Cow::Borrowed),
            Self::Binary => Some(Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect())),
            Self::Latin1 => Some(latin1(bytes)),
            Self::Ucs2 => two_bytes(bytes, u16::from_be_bytes)?
                .map(|unit| char::from_u32(u32::from(unit)))
                .collect::<Option<String>>()
                .map(Cow::Owned),
            Self::Utf16 => utf16(two_bytes(bytes, u16::from_be_bytes)?),
            Self::Utf16le => utf16(two_bytes(bytes, u16::from_le_bytes)?),
            Self::Utf32 => {
                let (units, rest) = bytes.as_chunks::<4>();
                let text: Option<String> = units
                    .iter()
                    .map(|unit| char::from_u32(u32::from_be_bytes(*unit)))
                    .collect();
                if rest.is_empty() { text.map(Cow::Owned) } else { None }
            }
            Self::Big5
            | Self::Cp932
            | Self::Eucjpms
            | Self::Euckr
            | Self::Gb18030
            | Self::Gb2312
            | Self::Gbk
            | Self::Sjis
            | Self::Ujis => multi_byte::decode(self, bytes),
            _ => high(bytes, self.high()),
        }
    }

    /// The upper half of a single-byte charset.
    fn high(self) -> &'static single_byte::High {
        match self {
            Self::Armscii8 => &single_byte::ARMSCII8,
            Self::Cp1250 => &single_byte::CP1250,
            Self::Cp1251 => &single_byte::CP1251,
            Self::Cp1256 => &single_byte::CP1256,
            Self::Cp1257 => &single_byte::CP1257,
            Self::Cp850 => &single_byte::CP850,
            Self::Cp852 => &single_byte::CP852,
            Self::Cp866 => &single_byte::CP866,
            Self::Dec8 => &single_byte::DEC8,
            Self::Geostd8 => &single_byte::GEOSTD8,
            Self::Greek => &single_byte::GREEK,
            Self::Hebrew => &single_byte::HEBREW,
            Self::Hp8 => &single_byte::HP8,
            Self::Keybcs2 => &single_byte::KEYBCS2,
            Self::Koi8r => &single_byte::KOI8R,
            Self::Koi8u => &single_byte::KOI8U,
            Self::Latin2 => &single_byte::LATIN2,
            Self::Latin5 => &single_byte::LATIN5,
            Self::Latin7 => &single_byte::LATIN7,
            Self::Macce => &single_byte::MACCE,
            Self::Macroman => &single_byte::MACROMAN,
            Self::Tis620 => &single_byte::TIS620,
            // Not single-byte, or above.
            _ => &single_byte::NOTHING,
        }
    }
}

fn ascii(bytes: &[u8]) -> Option<&str> {
    if bytes.is_ascii() {
        std::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match ascii(bytes) {
        Some(text) => Cow::Borrowed(text),
        // Windows-1252 of the encoding standard maps the five undefined bytes as MySQL does.
        None => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

fn high<'a>(bytes: &'a [u8], table: &single_byte::High) -> Option<Cow<'a, str>> {
    if let Some(text) = ascii(bytes) {
        return Some(Cow::Borrowed(text));
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(match byte {
            0..=0x7f => char::from(*byte),
            0x80.. => match table[usize::from(byte - 0x80)] {
                0 => return None,
                code => char::from_u32(u32::from(code))?,
            },
        });
    }
    Some(Cow::Owned(text))
}

fn two_bytes(bytes: &[u8], number: fn([u8; 2]) -> u16) -> Option<impl Iterator<Item = u16>> {
    let (units, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then(|| units.iter().map(move |unit| number(*unit)))
}

fn utf16<'a>(units: impl Iterator<Item = u16>) -> Option<Cow<'a, str>> {
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .ok()
        .map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(charset: Charset, bytes: &[u8]) -> Option<String> {
        charset.decode(bytes).map(Cow::into_owned)
    }

    #[test]
    fn one_word_in_each_family() {
        for (charset, bytes, text) in [
            (Charset::Utf8mb4, "a😀".as_bytes(), "a😀"),
            (Charset::Latin1, b"\x80\x81\xe9", "€\u{81}é"),
            (Charset::Cp1251, b"\xcf\xf0", "Пр"),
            (Charset::Koi8r, b"\xf0\xd2", "Пр"),
            (Charset::Ucs2, b"\x00a\x4f\x60", "a你"),
            (Charset::Utf16, b"\xd8\x3d\xde\x00", "😀"),
            (Charset::Utf16le, b"\x3d\xd8\x00\xde", "😀"),
            (Charset::Utf32, b"\x00\x01\xf6\x00", "😀"),
            (Charset::Gbk, b"\xc4\xe3", "你"),
            (Charset::Gb18030, b"\x94\x39\xfc\x36", "😀"),
            (Charset::Big5, b"\xa7\x41", "你"),
            (Charset::Sjis, b"\x82\xa0\xb1", "あｱ"),
            (Charset::Ujis, b"\xa4\xa2", "あ"),
            (Charset::Euckr, b"\xb0\xa1", "가"),
            (Charset::Binary, b"\xff", "ÿ"),
        ] {
            assert_eq!(decode(charset, bytes).as_deref(), Some(text), "{charset:?}");
        }
    }

    #[test]
    fn what_is_no_text_gives_nothing() {
        for (charset, bytes) in [
            (Charset::Utf8mb4, &b"\xff"[..]),
            (Charset::Ascii, b"\x80"),
            (Charset::Cp1250, b"\x81"),
            (Charset::Ucs2, b"\x00"),
            (Charset::Ucs2, b"\xd8\x3d"),
            (Charset::Utf16, b"\xd8\x3d"),
            (Charset::Utf32, b"\x00\x11\x00\x00"),
            (Charset::Utf32, b"\x00\x00\x00"),
            (Charset::Gbk, b"\xc4"),
            (Charset::Sjis, b"\x82"),
        ] {
            assert_eq!(decode(charset, bytes), None, "{charset:?}");
        }
    }
}
