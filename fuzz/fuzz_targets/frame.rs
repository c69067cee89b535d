//! A connection's bytes: commands come off, encode again, and mean the same.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mq_remoting::Decoder;
use mq_remoting::frame::decode_frame;

fuzz_target!(|data: &[u8]| {
    let mut bytes = BytesMut::from(data);
    while let Ok(Some(command)) = Decoder::new(1 << 20).decode(&mut bytes) {
        let again = decode_frame(command.encode()).expect("what was decoded encodes to a frame");
        assert_eq!(
            (again.code, again.opaque, again.flag),
            (command.code, command.opaque, command.flag)
        );
        assert_eq!(again.body, command.body);
    }
});
