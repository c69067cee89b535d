//! The East Asian charsets, by encoding_rs's tables and MySQL's rules.

use super::{Charset, ascii};
use encoding_rs::Encoding;
use std::borrow::Cow;

pub(super) fn decode(charset: Charset, bytes: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(text) = ascii(bytes) {
        return Some(Cow::Borrowed(text));
    }
    let encoding: &'static Encoding = match charset {
        Charset::Big5 => encoding_rs::BIG5,
        Charset::Cp932 | Charset::Sjis => encoding_rs::SHIFT_JIS,
        Charset::Eucjpms | Charset::Ujis => encoding_rs::EUC_JP,
        Charset::Euckr => encoding_rs::EUC_KR,
        Charset::Gb2312 | Charset::Gbk => encoding_rs::GBK,
        Charset::Gb18030 => encoding_rs::GB18030,
        _ => return None,
    };
    encoding.decode_without_bom_handling_and_without_replacement(bytes)
}
