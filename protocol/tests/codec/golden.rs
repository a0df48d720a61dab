//! Golden vectors: `tests/codec/golden.txt` holds the bytes of every message in both codecs.
//!
//! A changed vector is a changed protocol: raise `codec::VERSION` (or `link::LINK_VERSION`) and
//! write the file again with `UPDATE_GOLDEN=1 cargo test -p protocol`.

use std::fmt::Write as _;
use std::path::Path;

use protocol::codec::{self, CodecId, MAX_ADMIN_FRAME_BYTES};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::samples::{self, Visit};

const GOLDEN: &str = include_str!("golden.txt");

struct Render(String);

impl Visit for Render {
    fn visit<T: Serialize>(&mut self, name: &'static str, message: &T) {
        for (label, codec) in [("bincode ", CodecId::Bincode), ("postcard", CodecId::Postcard)] {
            let bytes = codec::encode_as(codec, message, MAX_ADMIN_FRAME_BYTES).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(self.0, "{name:<32} {label} {hex}").unwrap();
        }
    }
}

#[test]
fn the_bytes_of_every_message_are_as_recorded() {
    let mut render = Render(String::new());
    samples::each(&mut render);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codec/golden.txt");
        std::fs::write(path, &render.0).unwrap();
        return;
    }
    for (recorded, now) in GOLDEN.lines().zip(render.0.lines()) {
        assert_eq!(recorded, now, "the encoding changed: see the head of golden.rs");
    }
    assert_eq!(GOLDEN.lines().count(), render.0.lines().count(), "messages were added or removed");
}

struct DecodeRecorded;

impl Visit for DecodeRecorded {
    fn visit<T>(&mut self, name: &'static str, message: &T)
    where
        T: DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        for (label, codec) in [("bincode", CodecId::Bincode), ("postcard", CodecId::Postcard)] {
            let line = GOLDEN
                .lines()
                .find(|line| line[..32].trim_end() == name && line[33..41].trim_end() == label)
                .unwrap_or_else(|| panic!("{name} is not recorded for {label}"));
            let hex = &line[42..];
            let bytes: Vec<u8> =
                (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
            assert_eq!(&codec::decode_as::<T>(codec, &bytes).unwrap(), message, "{name} in {label}");
        }
    }
}

#[test]
fn recorded_bytes_decode_to_the_message_they_were() {
    samples::each(&mut DecodeRecorded);
}
