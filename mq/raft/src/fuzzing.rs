//! The door for `fuzz/`: the decoders of what members say to each other and keep of their state are private otherwise.

use bytes::{Buf, Bytes, BytesMut};
use openraft::entry::RaftEntry;

use crate::checkpoint::Checkpoint;
use crate::codec::{Malformed, Put, Take};
use crate::peer::frame::{self, MESSAGE_MAX};
use crate::peer::message::{self, Ask, Fetched, Hello};
use crate::types::Body;

/// Reads `data` as what its first byte says. What can be read must be written again, and read again as the same.
pub fn peer(data: &[u8]) {
    let Some((what, bytes)) = data.split_first() else {
        return;
    };
    let bytes = Bytes::copy_from_slice(bytes);
    match what % 10 {
        0 => frames(&bytes),
        1 => exact(bytes, |b| Hello::decode(&b), |hello| hello.encode()),
        2 => exact(bytes, message::decode_append, |request| {
            let mut out = message::encode_append(&request);
            for entry in &request.entries {
                let _ = entry.get_membership();
                let Body::Stored(entry) = &entry.body else {
                    unreachable!("an entry from a peer is stored")
                };
                let _ = entry.verify_items();
                out.extend_from_slice(entry.bytes());
            }
            out.into()
        }),
        3 => exact(
            bytes,
            |b| message::decode_appended(&b),
            |r| message::encode_appended(&r),
        ),
        4 => settled(bytes, Ask::decode, |ask| ask.encode().concat().into()),
        5 => exact(bytes, Fetched::decode, |fetched| fetched.encode()),
        6 => exact(
            bytes,
            |b| message::decode_vote_response(&b),
            |r| message::encode_vote_response(&r),
        ),
        7 => exact(
            bytes,
            |b| message::decode_transfer_response(&b),
            |r| message::encode_transfer_response(&r),
        ),
        8 => exact(
            bytes,
            |b| message::decode_lost_answer(&b),
            |(lost, last)| message::encode_lost_answer(lost, last),
        ),
        _ => {
            settled(
                bytes.clone(),
                |b| Checkpoint::decode(&b),
                |checkpoint| checkpoint.encode(),
            );
            let membership = |bytes: Bytes| Take(&bytes).membership();
            settled(bytes, membership, |membership| {
                let mut out = Vec::new();
                out.membership(&membership);
                out.into()
            });
        }
    }
}

fn frames(bytes: &[u8]) {
    let mut buf = BytesMut::from(bytes);
    loop {
        match frame::decode(&mut buf, MESSAGE_MAX) {
            Ok(Ok(got)) => {
                let mut pieces = frame::encode(got.kind, got.id, [got.body.clone()]);
                let mut again = BytesMut::from(&pieces.copy_to_bytes(pieces.remaining())[..]);
                assert_eq!(frame::decode(&mut again, MESSAGE_MAX), Ok(Ok(got)));
                assert!(again.is_empty());
            }
            Ok(Err(missing)) => {
                assert!(
                    (1..=4 + MESSAGE_MAX).contains(&missing),
                    "asks for {missing} bytes more"
                );
                return;
            }
            Err(_) => return,
        }
    }
}

/// For what has one form only: the bytes that were read are written.
fn exact<T>(bytes: Bytes, decode: impl Fn(Bytes) -> Result<T, Malformed>, encode: impl Fn(T) -> Bytes) {
    if let Ok(got) = decode(bytes.clone()) {
        assert_eq!(encode(got), bytes);
    }
}

/// For what may be said in several ways (members in another order, say): what is written is read, and written alike.
fn settled<T>(bytes: Bytes, decode: impl Fn(Bytes) -> Result<T, Malformed>, encode: impl Fn(T) -> Bytes) {
    if let Ok(got) = decode(bytes) {
        let once = encode(got);
        let got = decode(once.clone()).expect("what was written is read");
        assert_eq!(encode(got), once);
    }
}
