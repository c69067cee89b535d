//! Stored records, batch bodies and atomic batches.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mq_message::atomic::{AtomicBatch, BatchApplied, ProducerOpened};
use mq_message::{batch, record};

fuzz_target!(|data: &[u8]| {
    for view in record::records(data).flatten() {
        let mut again = BytesMut::new();
        view.to_spec()
            .encode_into(&mut again)
            .expect("what was read can be written");
        let _ = (view.tags_code(), view.body_is_intact());
    }
    let _ = batch::items(data).count();
    let _ = BatchApplied::decode(data);
    let _ = ProducerOpened::decode(data);
    if let Ok(batch) = AtomicBatch::decode(data) {
        let mut again = BytesMut::new();
        batch.encode_into(&mut again).expect("what was read can be written");
        assert_eq!(&again[..], data);
    }
});
