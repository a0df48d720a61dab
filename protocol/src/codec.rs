//! Frames and their encoding.
//!
//! A connection opens with a preamble from each side ([`write_preamble`]). After it, every frame is a
//! `u32` length (little endian) and that many bytes of payload. The length is checked before a byte
//! is allocated, the payload buffer grows as bytes arrive, the decoder has a limit of its own (a
//! nine-byte bincode message can otherwise ask for an exabyte), and trailing bytes are refused.
//!
//! Messages never recurse (neither codec bounds depth) and have no field whose presence or type
//! the bytes would have to describe. Golden vectors pin both encodings of every message.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// First bytes of a connection.
pub const MAGIC: [u8; 4] = *b"VPOD";
/// Version of the messages; a peer with another one is refused.
pub const VERSION: u16 = 5;
/// Largest frame on the admin socket, and of any response.
pub const MAX_ADMIN_FRAME_BYTES: usize = 1 << 20;
/// Largest request on the read-only socket.
pub const MAX_READ_FRAME_BYTES: usize = 64 << 10;

/// Bytes that bincode's own limit counts for one encoded byte, at most: a number or length below
/// 251 takes one byte and counts as a `u64`.
const COUNTED_PER_BYTE: usize = 8;

/// How payloads are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecId {
    /// bincode 2, standard configuration.
    Bincode = 1,
    /// postcard 1.
    Postcard = 2,
}

/// The codec this build speaks. A swap is this one constant.
pub const CODEC: CodecId = CodecId::Bincode;

/// What went wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The peer closed the connection between frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The socket failed, or the peer closed it inside a frame.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer is not vpod.
    #[error("the peer does not speak the vpod protocol (it began with {0:02x?})")]
    NotVpod([u8; 4]),
    /// The peer is another release.
    #[error("the peer speaks protocol version {theirs} (codec {codec}), this is version {VERSION} (codec {})", CODEC as u8)]
    Version {
        /// The peer's version.
        theirs: u16,
        /// The peer's codec number.
        codec: u8,
    },
    /// The declared length is over the limit.
    #[error("a frame of {len} bytes was announced, the limit is {limit}")]
    TooLarge {
        /// Announced or produced length.
        len: usize,
        /// The limit it broke.
        limit: usize,
    },
    /// The payload is not a message of the expected type.
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// Sends this side's preamble.
///
/// # Errors
/// When the socket fails.
pub fn write_preamble(out: &mut impl Write) -> Result<(), CodecError> {
    let version = VERSION.to_le_bytes();
    out.write_all(&[MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], version[0], version[1], CODEC as u8, 0])?;
    Ok(())
}

/// Reads and checks the peer's preamble.
///
/// # Errors
/// When the peer is not vpod, another version, or gone.
pub fn read_preamble(input: &mut impl Read) -> Result<(), CodecError> {
    let mut bytes = [0; 8];
    read_whole(input, &mut bytes)?;
    let [m0, m1, m2, m3, v0, v1, codec, _reserved] = bytes;
    let magic = [m0, m1, m2, m3];
    if magic != MAGIC {
        return Err(CodecError::NotVpod(magic));
    }
    let theirs = u16::from_le_bytes([v0, v1]);
    if theirs != VERSION || codec != CODEC as u8 {
        return Err(CodecError::Version { theirs, codec });
    }
    Ok(())
}

/// Encodes one message, without the frame's length.
///
/// # Errors
/// When it is longer than `limit`.
pub fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, CodecError> {
    encode_as(CODEC, message, limit)
}

/// [`encode`] with a codec of choice.
///
/// # Errors
/// As [`encode`].
pub fn encode_as<T: Serialize>(codec: CodecId, message: &T, limit: usize) -> Result<Vec<u8>, CodecError> {
    let bytes = match codec {
        CodecId::Bincode => bincode::serde::encode_to_vec(message, bincode::config::standard())
            .map_err(|error| CodecError::Malformed(error.to_string()))?,
        CodecId::Postcard => {
            postcard::to_stdvec(message).map_err(|error| CodecError::Malformed(error.to_string()))?
        }
    };
    if bytes.len() > limit {
        return Err(CodecError::TooLarge { len: bytes.len(), limit });
    }
    Ok(bytes)
}

/// Decodes one message that must fill `bytes`.
///
/// # Errors
/// When it is not a `T`, or bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_as(CODEC, bytes)
}

/// [`decode`] with a codec of choice.
///
/// # Errors
/// As [`decode`].
pub fn decode_as<T: DeserializeOwned>(codec: CodecId, bytes: &[u8]) -> Result<T, CodecError> {
    let (message, left) = match codec {
        // The limit must let through whatever `encode` does, and is a constant to bincode: hence
        // two of them, so that a small frame can only ask for little.
        CodecId::Bincode if bytes.len() <= MAX_READ_FRAME_BYTES => {
            decode_bincode::<T, { COUNTED_PER_BYTE * MAX_READ_FRAME_BYTES }>(bytes)?
        }
        CodecId::Bincode => decode_bincode::<T, { COUNTED_PER_BYTE * MAX_ADMIN_FRAME_BYTES }>(bytes)?,
        CodecId::Postcard => {
            let (message, rest) =
                postcard::take_from_bytes(bytes).map_err(|error| CodecError::Malformed(error.to_string()))?;
            (message, rest.len())
        }
    };
    if left == 0 {
        Ok(message)
    } else {
        Err(CodecError::Malformed(format!("{left} bytes after the message")))
    }
}

/// The message and how many bytes are left after it.
fn decode_bincode<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (message, used) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    Ok((message, bytes.len().saturating_sub(used)))
}

/// Writes one frame.
///
/// # Errors
/// When the message is longer than `limit` or the socket fails.
pub fn write_frame<T: Serialize>(out: &mut impl Write, message: &T, limit: usize) -> Result<(), CodecError> {
    let payload = encode(message, limit)?;
    let len = u32::try_from(payload.len()).map_err(|_| CodecError::TooLarge { len: payload.len(), limit })?;
    let mut frame = Vec::with_capacity(4 + payload.len());
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&payload);
    out.write_all(&frame)?;
    Ok(())
}

/// Reads one frame of at most `limit` bytes.
///
/// # Errors
/// [`CodecError::Closed`] when the peer hung up between frames; otherwise what was wrong.
pub fn read_frame<T: DeserializeOwned>(input: &mut impl Read, limit: usize) -> Result<T, CodecError> {
    let mut len = [0; 4];
    read_whole(input, &mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > limit {
        return Err(CodecError::TooLarge { len, limit });
    }
    let mut payload = Vec::new();
    let got = input.take(len as u64).read_to_end(&mut payload)?;
    if got < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    decode(&payload)
}

/// Fills `bytes`; an end of file before the first one is [`CodecError::Closed`].
///
/// Two reads instead of one: frames are few, and `read_exact` does not say how far it got.
fn read_whole(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), CodecError> {
    let (first, rest) = match bytes.split_first_mut() {
        Some((first, rest)) => (std::slice::from_mut(first), rest),
        None => return Ok(()),
    };
    match input.read_exact(first) {
        Ok(()) => Ok(input.read_exact(rest)?),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(CodecError::Closed),
        Err(error) => Err(error.into()),
    }
}
