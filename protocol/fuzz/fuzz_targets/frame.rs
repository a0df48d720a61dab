//! Any bytes as a connection: preamble, then requests until one is refused or the bytes end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::codec::{self, MAX_READ_FRAME_BYTES};
use protocol::message::ReadRequest;

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let _ = codec::read_preamble(&mut input);
    while codec::read_frame::<ReadRequest>(&mut input, MAX_READ_FRAME_BYTES).is_ok() {}
});
