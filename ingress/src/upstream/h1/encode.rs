//! A request's head as it goes out.
//!
//! How long the body is, is written here and nowhere else: whatever fields say that came from the client or from a rule's edits is
//! left out, so that head and body cannot disagree.

use bytes::BytesMut;
use hyper::Method;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};

use crate::outbound::Head;
use crate::upstream::body::RequestBody;

/// How a request's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// There is none, or it has all been written.
    Nothing,
    /// So many bytes are still to come.
    Length(u64),
    /// As many chunks as it takes.
    Chunks,
}

impl Coding {
    fn of(head: &Head, body: &RequestBody) -> Self {
        if body.is_empty() {
            return Self::Nothing;
        }
        length(head.headers()).map_or(Self::Chunks, Self::Length)
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Writes the head, and says how the body has to follow.
pub(super) fn head(head: &Head, body: &RequestBody, out: &mut BytesMut) -> Coding {
    let coding = Coding::of(head, body);
    let fields: usize =
        head.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    out.reserve(head.method().as_str().len() + head.path().len() + fields + 64);
    for part in [head.method().as_str(), " ", head.path(), " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in head.headers() {
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING || name == CONNECTION {
            continue;
        }
        field(name.as_str(), value.as_bytes(), out);
    }
    match coding {
        Coding::Chunks => field("transfer-encoding", b"chunked", out),
        Coding::Length(length) => field("content-length", length.to_string().as_bytes(), out),
        // Without, a server may wait for a body, or ask for a length (RFC 9110 §8.6).
        Coding::Nothing if [Method::POST, Method::PUT, Method::PATCH].contains(head.method()) => {
            field("content-length", b"0", out);
        }
        Coding::Nothing => {}
    }
    out.extend_from_slice(b"\r\n");
    coding
}

fn field(name: &str, value: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
