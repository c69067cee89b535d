//! A JSON header, its typed forms, and bodies in fastjson's dialect.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mq_remoting::body::lenient::to_strict_json;
use mq_remoting::body::{HeartbeatData, RegisterBrokerBody, from_slice};
use mq_remoting::frame::decode_frame;
use mq_remoting::header::{PullMessage, SendMessageHeader};

fuzz_target!(|data: &[u8]| {
    let mut frame = ((4 + data.len()) as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(data.len() as u32).to_be_bytes());
    frame.extend_from_slice(data);
    if let Ok(command) = decode_frame(frame.into()) {
        let _ = command.header::<PullMessage>();
        let _ = SendMessageHeader::decode_for(command.code, &command.ext);
    }
    let _ = to_strict_json(data);
    let _ = from_slice::<HeartbeatData>(data);
    let _ = RegisterBrokerBody::decode(data, 479);
});
