//! Bytes nobody of ours would send.

use std::io::{Cursor, Read};

use protocol::codec::{
    self, CODEC, CodecError, CodecId, MAGIC, MAX_ADMIN_FRAME_BYTES, MAX_READ_FRAME_BYTES, VERSION,
};
use protocol::link::{Envelope, FromDatapath, ToDatapath};
use protocol::message::{AdminRequest, ReadRequest, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::samples::{self, Visit};

const CODECS: [CodecId; 2] = [CodecId::Bincode, CodecId::Postcard];

/// Every message cut short at every byte.
struct Truncate;

impl Visit for Truncate {
    fn visit<T>(&mut self, name: &'static str, message: &T)
    where
        T: Serialize + DeserializeOwned + std::fmt::Debug,
    {
        for codec in CODECS {
            let bytes = codec::encode_as(codec, message, MAX_ADMIN_FRAME_BYTES).unwrap();
            for len in 0..bytes.len() {
                let cut = codec::decode_as::<T>(codec, &bytes[..len]);
                assert!(cut.is_err(), "{name} cut to {len} bytes decoded as {cut:?} ({codec:?})");
            }
        }
    }
}

#[test]
fn a_message_cut_short_anywhere_is_refused() {
    samples::each(&mut Truncate);
}

/// Every message with each single bit flipped: another message or an error, never a panic, and
/// whatever still decodes can be printed and encoded.
struct Flip;

impl Visit for Flip {
    fn visit<T>(&mut self, _name: &'static str, message: &T)
    where
        T: Serialize + DeserializeOwned + std::fmt::Debug,
    {
        for codec in CODECS {
            let bytes = codec::encode_as(codec, message, MAX_ADMIN_FRAME_BYTES).unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = codec::decode_as::<T>(codec, &flipped) {
                    let _ = format!("{other:?}");
                    codec::encode_as(codec, &other, MAX_ADMIN_FRAME_BYTES).unwrap();
                }
            }
        }
    }
}

#[test]
fn no_single_bit_flip_panics() {
    samples::each(&mut Flip);
}

/// Every message with something after it.
struct Trail;

impl Visit for Trail {
    fn visit<T>(&mut self, name: &'static str, message: &T)
    where
        T: Serialize + DeserializeOwned + std::fmt::Debug,
    {
        for codec in CODECS {
            let mut bytes = codec::encode_as(codec, message, MAX_ADMIN_FRAME_BYTES).unwrap();
            bytes.push(0);
            match codec::decode_as::<T>(codec, &bytes) {
                Err(CodecError::Malformed(why)) => assert!(why.contains("1 bytes after"), "{name}: {why}"),
                other => panic!("{name} with a byte after it: {other:?} ({codec:?})"),
            }
        }
    }
}

#[test]
fn bytes_after_a_message_are_refused() {
    samples::each(&mut Trail);
}

/// Nine bytes that announce 2^60 elements, after a message's variant number.
fn bomb(variant: u8) -> Vec<u8> {
    // bincode: 253 is "a u64 follows".
    [&[variant, 253][..], &(1_u64 << 60).to_le_bytes()].concat()
}

#[test]
fn a_nine_byte_message_cannot_ask_for_an_exabyte() {
    // A plain allocation of that size would abort this process.
    for variant in 0..13 {
        assert!(codec::decode_as::<AdminRequest>(CodecId::Bincode, &bomb(variant)).is_err());
        assert!(codec::decode_as::<ReadRequest>(CodecId::Bincode, &bomb(variant)).is_err());
        assert!(codec::decode_as::<Response>(CodecId::Bincode, &bomb(variant)).is_err());
    }
    let text = codec::decode_as::<String>(CodecId::Bincode, &bomb(0)[1..]).unwrap_err();
    assert!(text.to_string().contains("Limit"), "refused by the limit and not for want of bytes: {text}");
    let postcard = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(codec::decode_as::<String>(CodecId::Postcard, &postcard).is_err());
    assert!(codec::decode_as::<Vec<u64>>(CodecId::Postcard, &postcard).is_err());
}

/// A socket that must not be read beyond what was checked.
struct NothingMore;

impl Read for NothingMore {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        panic!("read on after the length was refused")
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_a_byte_of_it_is_read() {
    for (announced, limit) in [
        (u32::MAX, MAX_ADMIN_FRAME_BYTES),
        ((1 << 20) + 1, MAX_ADMIN_FRAME_BYTES),
        (65_537, MAX_READ_FRAME_BYTES),
    ] {
        let mut input = Cursor::new(announced.to_le_bytes()).chain(NothingMore);
        match codec::read_frame::<AdminRequest>(&mut input, limit) {
            Err(CodecError::TooLarge { len, limit: named }) => {
                assert_eq!((len, named), (announced as usize, limit));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_message_over_the_limit_is_not_sent() {
    let mut out = Vec::new();
    let request = AdminRequest::SetLogFilter("x".repeat(MAX_READ_FRAME_BYTES));
    let error = codec::write_frame(&mut out, &request, MAX_READ_FRAME_BYTES).unwrap_err();
    assert!(matches!(error, CodecError::TooLarge { .. }), "{error}");
    assert!(out.is_empty());
}

#[test]
fn the_largest_frame_that_is_sent_is_also_taken() {
    // As many bytes as fit: one for the variant, five for the length.
    for codec in CODECS {
        let mut content = MAX_ADMIN_FRAME_BYTES - 6;
        while codec::encode_as(codec, &Response::Bytes(vec![7; content + 1]), MAX_ADMIN_FRAME_BYTES).is_ok() {
            content += 1;
        }
        let bytes =
            codec::encode_as(codec, &Response::Bytes(vec![7; content]), MAX_ADMIN_FRAME_BYTES).unwrap();
        assert!(bytes.len() >= MAX_ADMIN_FRAME_BYTES - 1);
        assert!(codec::decode_as::<Response>(codec, &bytes).is_ok(), "{codec:?}");
        // Numbers below 251 take one byte and count as eight towards bincode's limit.
        let numbers = vec![1_u64; MAX_ADMIN_FRAME_BYTES - 8];
        let bytes = codec::encode_as(codec, &numbers, MAX_ADMIN_FRAME_BYTES).unwrap();
        assert_eq!(codec::decode_as::<Vec<u64>>(codec, &bytes).unwrap(), numbers, "{codec:?}");
    }
}

#[test]
fn an_end_of_file_between_frames_is_a_close_and_inside_one_an_error() {
    let mut frame = Vec::new();
    codec::write_frame(&mut frame, &ReadRequest::Status, MAX_READ_FRAME_BYTES).unwrap();
    for len in 0..frame.len() {
        let error = codec::read_frame::<ReadRequest>(&mut &frame[..len], MAX_READ_FRAME_BYTES).unwrap_err();
        assert_eq!(matches!(error, CodecError::Closed), len == 0, "{len} bytes: {error}");
    }
    let whole: ReadRequest = codec::read_frame(&mut frame.as_slice(), MAX_READ_FRAME_BYTES).unwrap();
    assert_eq!(whole, ReadRequest::Status);
}

#[test]
fn frames_may_arrive_byte_by_byte() {
    struct Drip<'a>(&'a [u8]);
    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let len = out.len().min(1);
            self.0.read(&mut out[..len])
        }
    }
    let mut frame = Vec::new();
    let request = AdminRequest::CreatePod(Box::new(samples::create_pod()));
    codec::write_preamble(&mut frame).unwrap();
    codec::write_frame(&mut frame, &request, MAX_ADMIN_FRAME_BYTES).unwrap();
    let mut drip = Drip(&frame);
    codec::read_preamble(&mut drip).unwrap();
    assert_eq!(codec::read_frame::<AdminRequest>(&mut drip, MAX_ADMIN_FRAME_BYTES).unwrap(), request);
}

#[test]
fn a_mutation_cannot_be_decoded_as_a_read_only_request() {
    let delete = AdminRequest::DeletePod(samples::create_pod().pod);
    for codec in CODECS {
        let bytes = codec::encode_as(codec, &delete, MAX_READ_FRAME_BYTES).unwrap();
        // Its number belongs to a read there, whose fields do not match; never to a mutation.
        let decoded = codec::decode_as::<ReadRequest>(codec, &bytes);
        assert!(!matches!(decoded, Ok(ReadRequest::List { .. })), "{decoded:?}");
    }
}

#[test]
fn garbage_of_any_length_is_refused_or_decoded_without_a_panic() {
    // A fixed xorshift sequence: failures repeat.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..20_000 {
        let bytes: Vec<u8> = (0..round % 64)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        for codec in CODECS {
            let _ = codec::decode_as::<AdminRequest>(codec, &bytes);
            let _ = codec::decode_as::<ReadRequest>(codec, &bytes);
            let _ = codec::decode_as::<Response>(codec, &bytes);
            let _ = codec::decode_as::<Envelope<ToDatapath>>(codec, &bytes);
            let _ = codec::decode_as::<Envelope<FromDatapath>>(codec, &bytes);
        }
    }
}

fn preamble() -> [u8; 8] {
    let mut bytes = Vec::new();
    codec::write_preamble(&mut bytes).unwrap();
    bytes.try_into().unwrap()
}

#[test]
fn the_preamble_is_magic_version_and_codec() {
    let [v0, v1] = VERSION.to_le_bytes();
    let [m0, m1, m2, m3] = MAGIC;
    assert_eq!(preamble(), [m0, m1, m2, m3, v0, v1, CODEC as u8, 0]);
    codec::read_preamble(&mut preamble().as_slice()).unwrap();
}

#[test]
fn another_program_or_release_is_told_apart_by_its_preamble() {
    let read = |bytes: &[u8]| codec::read_preamble(&mut &bytes[..]).unwrap_err();
    assert!(matches!(read(b"GET / HT"), CodecError::NotVpod(begin) if &begin == b"GET "));
    let mut newer = preamble();
    newer[4] += 1;
    let error = read(&newer);
    assert!(matches!(error, CodecError::Version { theirs, .. } if theirs == VERSION + 1), "{error}");
    let mut other_codec = preamble();
    other_codec[6] = CodecId::Postcard as u8;
    assert!(matches!(read(&other_codec), CodecError::Version { codec: 2, .. }));
    assert!(matches!(read(&[]), CodecError::Closed));
    for len in 1..8 {
        assert!(matches!(read(&preamble()[..len]), CodecError::Io(_)), "{len} bytes");
    }
}
