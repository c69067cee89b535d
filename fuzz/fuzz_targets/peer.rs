//! What one member reads from another, and its checkpoint; the first byte chooses.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut data = data.to_vec();
    fuzz::seal(&mut data);
    mq_raft::fuzzing::peer(&data);
});
