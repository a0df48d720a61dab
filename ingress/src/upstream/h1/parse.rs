//! A response's head as it comes in, and how its body ends (RFC 9112 §6.3).
//!
//! The parser is `httparse`, the one that the HTTP library uses. What could be read in two ways is refused: two lengths, a length
//! beside chunks, a coding other than chunked.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{StatusCode, Version};

use super::Malformed;
use super::chunked::Chunked;

/// Fields of a response.
const MAX_FIELDS: usize = 128;
/// Largest head of a response.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;

/// How a body ends, and what of it is still to come.
#[derive(Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunks(Chunked),
    /// With the connection.
    Close,
}

/// A response's head.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// The connection may be used again.
    pub(super) keep_alive: bool,
}

/// Where a field's name and value are in the head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    name: (usize, usize),
    value: (usize, usize),
}

/// Takes the head off the input, if it is all there. `fields` is scratch space.
pub(super) fn head(
    input: &mut BytesMut,
    to_head: bool,
    fields: &mut Vec<Field>,
) -> Result<Option<ResponseHead>, Malformed> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, input, &mut room);
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD_BYTES => len,
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(_) => return Err(Malformed::Head),
    };
    let begin = input.as_ptr().addr();
    let place = |part: &[u8]| {
        let at = part.as_ptr().addr().saturating_sub(begin);
        (at, at + part.len())
    };
    fields.clear();
    fields.extend(
        response.headers.iter().map(|f| Field { name: place(f.name.as_bytes()), value: place(f.value) }),
    );
    let version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed::Head)?;
    let bytes = input.split_to(len).freeze();
    let mut headers = HeaderMap::with_capacity(fields.len() + ADDED_FIELDS);
    for field in &*fields {
        let name = bytes.get(field.name.0..field.name.1).unwrap_or_default();
        let name = HeaderName::from_bytes(name).map_err(|_| Malformed::Head)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(field.value.0..field.value.1));
        headers.append(name, value.map_err(|_| Malformed::Head)?);
    }
    let keep_alive = keep_alive(version, &headers);
    let framing = framing(version, status, to_head, &headers)?;
    Ok(Some(ResponseHead {
        status,
        keep_alive: keep_alive && !matches!(framing, Framing::Close),
        headers,
        framing,
    }))
}

/// Fields that are added on the way to the client: a map that has room for them does not grow.
const ADDED_FIELDS: usize = 4;

fn keep_alive(version: Version, headers: &HeaderMap) -> bool {
    let says = |option: &str| {
        let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(option))
    };
    if version == Version::HTTP_11 { !says("close") } else { says("keep-alive") && !says("close") }
}

fn framing(
    version: Version,
    status: StatusCode,
    to_head: bool,
    headers: &HeaderMap,
) -> Result<Framing, Malformed> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (coding, length) = (codings.next(), lengths.next());
    if codings.next().is_some() || lengths.next().is_some() || (coding.is_some() && length.is_some()) {
        return Err(Malformed::Framing);
    }
    let length = length.map(number).transpose()?;
    let chunked = match coding {
        Some(coding) if version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            true
        }
        Some(_) => return Err(Malformed::Framing),
        None => false,
    };
    let bodiless = to_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match (bodiless, chunked, length) {
        (true, _, _) => Framing::Length(0),
        (false, true, _) => Framing::Chunks(Chunked::default()),
        (false, false, Some(length)) => Framing::Length(length),
        (false, false, None) => Framing::Close,
    })
}

fn number(value: &HeaderValue) -> Result<u64, Malformed> {
    let digits = value.to_str().map_err(|_| Malformed::Framing)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed::Framing);
    }
    digits.parse().map_err(|_| Malformed::Framing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(wire: &str, to_head: bool) -> Result<Option<ResponseHead>, Malformed> {
        head(&mut BytesMut::from(wire), to_head, &mut Vec::new())
    }

    fn ends(head: &ResponseHead) -> (&'static str, u64) {
        match head.framing {
            Framing::Length(length) => ("length", length),
            Framing::Chunks(_) => ("chunks", 0),
            Framing::Close => ("close", 0),
        }
    }

    #[test]
    fn bodies_end_as_the_standard_says() {
        let cases: &[(&str, bool, (&str, u64), bool)] = &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, ("length", 5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, ("length", 0), true),
            ("HTTP/1.1 204 No Content\r\n\r\n", false, ("length", 0), true),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, ("length", 0), true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", false, ("chunks", 0), true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true, ("length", 0), true),
            ("HTTP/1.1 200 OK\r\n\r\n", false, ("close", 0), false),
            (
                "HTTP/1.1 200\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
                false,
                ("length", 0),
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false, ("length", 1), false),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                false,
                ("length", 1),
                true,
            ),
        ];
        for (wire, to_head, expected, keep_alive) in cases {
            let head = parse(wire, *to_head).unwrap().unwrap();
            assert_eq!((ends(&head), head.keep_alive), (*expected, *keep_alive), "{wire:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X: y\r\n folded\r\n",
            "X : y\r\n",
            "X: a\0b\r\n",
        ] {
            assert!(parse(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false).is_err(), "{fields:?}");
        }
        assert!(parse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false).is_err());
        assert!(parse("HTTP/2 200 OK\r\n\r\n", false).is_err());
        assert!(parse("ICY 200 OK\r\n\r\n", false).is_err());
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD_BYTES));
        assert!(parse(&long, false).is_err() && parse(&format!("{long}\r\n\r\n"), false).is_err());
        assert!(
            parse(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(MAX_FIELDS + 1)), false).is_err()
        );
    }

    #[test]
    fn fields_are_those_of_the_head() {
        let mut input =
            BytesMut::from("HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-Y:  b \r\nset-cookie: c\r\n\r\nbody");
        let head = head(&mut input, false, &mut Vec::new()).unwrap().unwrap();
        let cookies: Vec<_> = head.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a", "c"]);
        assert_eq!(head.headers["x-y"], "b");
        assert_eq!(&input[..], b"body");
        assert!(parse("HTTP/1.1 200 OK\r\nX: y\r\n", false).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut input = BytesMut::from(&bytes[..]);
            let _ = head(&mut input, false, &mut Vec::new());
            let mut input = BytesMut::from(&b"HTTP/1.1 200 OK\r\n"[..]);
            input.extend_from_slice(&bytes);
            let _ = head(&mut input, false, &mut Vec::new());
        }
    }
}
