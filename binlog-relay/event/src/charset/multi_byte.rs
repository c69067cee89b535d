//! The East Asian charsets: encoding_rs's tables, and where MySQL's differ, MySQL's.
//!
//! All codes of two bytes, those of three (ujis, eucjpms) and 170,000 of four (gb18030) were compared with a server.
//! Codes that MySQL stores but knows no character for are no text here either: a SELECT would show `?`.

mod exceptions;

use super::{Charset, ascii};
use encoding_rs::Encoding;
use exceptions::Run;
use std::borrow::Cow;

struct Rules {
    encoding: &'static Encoding,
    /// Length of the character in front, if it is well-formed.
    width: fn(&[u8]) -> Option<usize>,
    exceptions: &'static [Run],
    /// The place of a last byte among those of one row, and how many there are.
    place: fn(u8) -> u32,
    places: u32,
}

pub(super) fn decode(charset: Charset, bytes: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(text) = ascii(bytes) {
        return Some(Cow::Borrowed(text));
    }
    let rules = rules(charset)?;
    let mut text = String::with_capacity(bytes.len() * 3 / 2);
    // What lies before `at` and is not in `text` yet, from `from` on, is encoding_rs's.
    let (mut from, mut at) = (0, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let width = if rest[0] < 0x80 { 1 } else { (rules.width)(rest)? };
        if width > 1
            && let Some(character) = rules.exception(&rest[..width])
        {
            text.push_str(&rules.usual(&bytes[from..at])?);
            text.push(character?);
            from = at + width;
        }
        at += width;
    }
    match from {
        0 => rules.usual(bytes),
        _ => {
            text.push_str(&rules.usual(&bytes[from..])?);
            Some(Cow::Owned(text))
        }
    }
}

impl Rules {
    fn usual<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        self.encoding.decode_without_bom_handling_and_without_replacement(bytes)
    }

    /// `None`: not an exception. `Some(None)`: no character.
    fn exception(&self, code: &[u8]) -> Option<Option<char>> {
        let number = crate::reader::big_endian(code) as u32;
        let after = self.exceptions.partition_point(|(first, _, _)| *first <= number);
        let (first, last, character) = *self.exceptions.get(after.checked_sub(1)?)?;
        if number > last {
            return None;
        }
        if character == 0 {
            return Some(None);
        }
        let order = |code: u32| (code >> 8) * self.places + (self.place)(code as u8);
        Some(char::from_u32(character + order(number) - order(first)))
    }
}

fn rules(charset: Charset) -> Option<Rules> {
    let euc = |encoding, exceptions| Rules {
        encoding,
        width: euc_jp,
        exceptions,
        place: |last| u32::from(last) - 0xa1,
        places: 94,
    };
    // Runs of these do not go beyond one row, nor beyond a gap in it.
    let rows = |encoding, width, exceptions| Rules {
        encoding,
        width,
        exceptions,
        place: u32::from,
        places: 256,
    };
    Some(match charset {
        Charset::Big5 => Rules {
            encoding: encoding_rs::BIG5,
            width: |bytes| two(bytes, 0xa1..=0xf9, |last| matches!(last, 0x40..=0x7e | 0xa1..=0xfe)),
            exceptions: exceptions::BIG5,
            place: |last| match last {
                0xa1.. => u32::from(last) - 0xa1 + 63,
                _ => u32::from(last) - 0x40,
            },
            places: 157,
        },
        Charset::Cp932 => rows(encoding_rs::SHIFT_JIS, shift_jis, &[]),
        Charset::Sjis => rows(encoding_rs::SHIFT_JIS, shift_jis, exceptions::SJIS),
        Charset::Eucjpms => euc(encoding_rs::EUC_JP, exceptions::EUCJPMS),
        Charset::Ujis => euc(encoding_rs::EUC_JP, exceptions::UJIS),
        Charset::Euckr => {
            fn last(last: u8) -> bool {
                matches!(last, 0x41..=0x5a | 0x61..=0x7a | 0x81..=0xfe)
            }
            rows(encoding_rs::EUC_KR, |bytes| two(bytes, 0x81..=0xfe, last), &[])
        }
        Charset::Gb2312 => rows(
            encoding_rs::GBK,
            |bytes| two(bytes, 0xa1..=0xf7, |last| matches!(last, 0xa1..=0xfe)),
            exceptions::GB2312,
        ),
        Charset::Gbk => rows(
            encoding_rs::GBK,
            |bytes| two(bytes, 0x81..=0xfe, gbk_last),
            exceptions::GBK,
        ),
        Charset::Gb18030 => rows(encoding_rs::GB18030, gb18030, exceptions::GB18030),
        _ => return None,
    })
}

fn two(bytes: &[u8], first: std::ops::RangeInclusive<u8>, last: fn(u8) -> bool) -> Option<usize> {
    match bytes {
        [lead, trail, ..] if first.contains(lead) && last(*trail) => Some(2),
        _ => None,
    }
}

fn gbk_last(last: u8) -> bool {
    matches!(last, 0x40..=0x7e | 0x80..=0xfe)
}

fn shift_jis(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xa1..=0xdf, ..] => Some(1),
        [0x81..=0x9f | 0xe0..=0xfc, 0x40..=0x7e | 0x80..=0xfc, ..] => Some(2),
        _ => None,
    }
}

fn euc_jp(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0x8e, 0xa1..=0xdf, ..] | [0xa1..=0xfe, 0xa1..=0xfe, ..] => Some(2),
        [0x8f, 0xa1..=0xfe, 0xa1..=0xfe, ..] => Some(3),
        _ => None,
    }
}

fn gb18030(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0x81..=0xfe, 0x30..=0x39, 0x81..=0xfe, 0x30..=0x39, ..] => Some(4),
        _ => two(bytes, 0x81..=0xfe, gbk_last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_mysql_differs_from_the_web() {
        for (charset, bytes, text) in [
            (Charset::Sjis, &b"\x81\x5f"[..], Some("\\")),
            (Charset::Cp932, b"\x81\x5f", Some("＼")),
            (Charset::Sjis, b"\x82\xa0\x81\x60a\x82\xa0", Some("あ〜aあ")),
            (Charset::Ujis, b"\xf5\xa1", Some("\u{e000}")),
            (Charset::Ujis, b"\xf6\xa2", Some("\u{e05f}")),
            (Charset::Eucjpms, b"\x8f\xa2\xc3", Some("￤")),
            (Charset::Big5, b"\xc6\xa6", Some("あ")),
            (Charset::Gb2312, b"\xa1\xa4", Some("・")),
            (Charset::Gb18030, b"\xfe\x59", Some("\u{e81e}")),
            // Well-formed, but without a character.
            (Charset::Gbk, b"\xa1\x40", None),
            // Not well-formed, whatever the web makes of it.
            (Charset::Gbk, b"\x80", None),
            (Charset::Big5, b"\x87\x40", None),
            (Charset::Euckr, b"\xff\x41", None),
        ] {
            assert_eq!(decode(charset, bytes).as_deref(), text, "{charset:?} {bytes:x?}");
        }
    }
}
