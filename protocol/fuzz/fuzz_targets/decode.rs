//! Any bytes as any message in either codec: refused, or a message that prints, encodes, and is
//! the same when decoded again.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use protocol::codec::{self, CodecId, MAX_ADMIN_FRAME_BYTES};
use protocol::link::{Envelope, FromDatapath, ToDatapath};
use protocol::message::{AdminRequest, ReadRequest, Response};

fn check<T>(bytes: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug,
{
    for codec in [CodecId::Bincode, CodecId::Postcard] {
        let Ok(message) = codec::decode_as::<T>(codec, bytes) else { continue };
        let _ = format!("{message:?}");
        // Numbers may have been written longer than needed, so the bytes may differ; the message not.
        let encoded =
            codec::encode_as(codec, &message, MAX_ADMIN_FRAME_BYTES).expect("a decoded message encodes");
        assert_eq!(codec::decode_as::<T>(codec, &encoded).expect("an encoded message decodes"), message);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => check::<AdminRequest>(bytes),
        1 => check::<ReadRequest>(bytes),
        2 => check::<Response>(bytes),
        3 => check::<Envelope<ToDatapath>>(bytes),
        _ => check::<Envelope<FromDatapath>>(bytes),
    }
});
