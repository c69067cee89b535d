//! The binary header (serialisation type ROCKETMQ). All integers big-endian.
//!
//! `i16 code | u8 language | i16 version | i32 opaque | i32 flag | u32 n, remark | u32 n, ext pairs`

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::json::Malformed;
use crate::{ByteStr, Command, Ext, HeaderFormat, Language};

const FIXED_BYTES: usize = 2 + 1 + 2 + 4 + 4;

/// Reads the header that lies at `at` in `frame`.
pub(crate) fn decode(frame: &Bytes, at: Range<usize>) -> Result<Command, Malformed> {
    let mut header = &frame[at];
    if header.len() < FIXED_BYTES {
        return Err(Malformed);
    }
    let mut command = Command {
        format: HeaderFormat::Binary,
        ..Command::default()
    };
    command.code = i32::from(header.get_i16());
    command.language = Language::from_code(header.get_u8());
    command.version = i32::from(header.get_i16());
    command.opaque = header.get_i32();
    command.flag = header.get_i32();
    let remark = part(&mut header)?;
    if !remark.is_empty() {
        command.remark = Some(ByteStr::try_from(frame.slice_ref(remark)).map_err(|_| Malformed)?);
    }
    // Java reads nothing behind the remark as "no fields".
    if !header.is_empty() {
        command.ext = Ext::from_binary(frame, part(&mut header)?)?;
    }
    Ok(command)
}

fn part<'a>(header: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = header.try_get_u32().map_err(|_| Malformed)? as usize;
    let (part, rest) = header.split_at_checked(length).ok_or(Malformed)?;
    *header = rest;
    Ok(part)
}

/// Whether a command can be said in this form: the code must fit 16 bits.
pub(crate) fn can_encode(command: &Command) -> bool {
    i16::try_from(command.code).is_ok() && i16::try_from(command.version).is_ok()
}

pub(crate) fn encode(command: &Command, out: &mut BytesMut) {
    out.put_i16(command.code as i16);
    out.put_u8(command.language as u8);
    out.put_i16(command.version as i16);
    out.put_i32(command.opaque);
    out.put_i32(command.flag);
    put_part(out, command.remark.as_ref().map_or(&[], |remark| remark.as_bytes()));
    put_part(out, &command.ext.binary_pairs());
}

fn put_part(out: &mut BytesMut, part: &[u8]) {
    out.put_u32(part.len() as u32);
    out.put_slice(part);
}
