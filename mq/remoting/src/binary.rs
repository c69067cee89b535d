//! The binary header (serialisation type ROCKETMQ). All integers big-endian.
//!
//! `i16 code | u8 language | i16 version | i32 opaque | i32 flag | u32 n, remark | u32 n, ext pairs`

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::json::Malformed;
use crate::{ByteStr, Command, Ext, HeaderFormat, Language};

const FIXED_BYTES: usize = 2 + 1 + 2 + 4 + 4;

pub(crate) fn decode(mut header: Bytes) -> Result<Command, Malformed> {
    if header.len() < FIXED_BYTES {
        return Err(Malformed);
    }
    let code = i32::from(header.get_i16());
    let language = Language::from_code(header.get_u8());
    let version = i32::from(header.get_i16());
    let opaque = header.get_i32();
    let flag = header.get_i32();
    let remark = part(&mut header)?;
    let remark = if remark.is_empty() {
        None
    } else {
        Some(ByteStr::try_from(remark).map_err(|_| Malformed)?)
    };
    // Java reads nothing behind the remark as "no fields".
    let ext = if header.is_empty() {
        Ext::ABSENT
    } else {
        Ext::from_binary(part(&mut header)?)?
    };
    Ok(Command {
        code,
        language,
        version,
        opaque,
        flag,
        remark,
        ext,
        format: HeaderFormat::Binary,
        ..Command::default()
    })
}

fn part(header: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = header.try_get_u32().map_err(|_| Malformed)? as usize;
    if length > header.len() {
        Err(Malformed)
    } else {
        Ok(header.split_to(length))
    }
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
