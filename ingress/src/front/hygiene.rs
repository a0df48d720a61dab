//! What a request must look like before anything is decided about it.
//!
//! The HTTP library has refused what cannot be parsed (400), is too long (414, 431) or is malformed in HTTP/2 (a
//! stream error). Here goes what can be parsed and is still ambiguous: such a request is answered, never forwarded,
//! and its connection closed, for what follows on it may be part of an attack.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use super::head_scan::Seen;

/// Longest host name (RFC 1035 §2.3.4), with a port.
const MAX_HOST_BYTES: usize = 255 + 6;

/// Why a request is not looked at any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// For the client.
    pub(crate) reason: &'static str,
}

const fn bad(reason: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, reason }
}

/// Checks a request, and returns the host it is for: in lower case, without port, empty if it names none.
pub(crate) fn check(parts: &Parts, seen: Seen) -> Result<String, Refusal> {
    if !seen.is_clean() {
        return Err(bad(if seen.bare_lf {
            "a line of the head ends without a carriage return"
        } else {
            "both Content-Length and Transfer-Encoding"
        }));
    }
    check_method(&parts.method)?;
    check_framing(parts)?;
    check_path(parts)?;
    host(parts)
}

fn check_method(method: &Method) -> Result<(), Refusal> {
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, reason: "this method is not served" });
    }
    Ok(())
}

/// RFC 9112 §6: one length, or the one transfer coding that everybody understands.
fn check_framing(parts: &Parts) -> Result<(), Refusal> {
    let headers = &parts.headers;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() {
            return Err(bad("several Transfer-Encoding fields"));
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            let reason = "a transfer coding other than chunked";
            return Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, reason });
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if lengths.next().is_some() || !digits {
            return Err(bad("more than one Content-Length, or one that is no number"));
        }
    }
    Ok(())
}

fn check_path(parts: &Parts) -> Result<(), Refusal> {
    let path = parts.uri.path();
    let ok = path.starts_with('/') || (parts.method == Method::OPTIONS && matches!(path, "*" | ""));
    if ok { Ok(()) } else { Err(bad("the request target is no path")) }
}

fn host(parts: &Parts) -> Result<String, Refusal> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(bad("several Host fields"));
    }
    let field = match field {
        Some(value) => Some(value.to_str().map_err(|_| bad("the Host field is not text"))?),
        None => None,
    };
    let target = parts.uri.authority().map(|authority| authority.as_str());
    let named = match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => {
            return Err(bad("the request target and the Host field name different hosts"));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) if parts.version >= Version::HTTP_11 => return Err(bad("no Host field")),
        (None, None) => "",
    };
    bare_host(named).ok_or(bad("the host is no host name"))
}

/// `Example.com:8080` is for `example.com`.
fn bare_host(named: &str) -> Option<String> {
    if named.len() > MAX_HOST_BYTES {
        return None;
    }
    let (name, port) = match named.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (named.get(..=address.len() + 1)?, port)
        }
        None => match named.split_once(':') {
            Some((name, _)) => (name, named.get(name.len()..)?),
            None => (named, ""),
        },
    };
    if let Some(port) = port.strip_prefix(':') {
        if !port.is_empty() {
            port.parse::<u16>().ok()?;
        }
    } else if !port.is_empty() {
        return None;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !name.starts_with('[') && !name.bytes().all(plain) {
        return None;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    Some(name.to_ascii_lowercase())
}

/// Whether the client asks to upgrade to something that can be tunnelled. `h2c` cannot: what is inside would pass
/// unseen (RFC 9113 §3.1 has done away with it).
pub(crate) fn wanted_upgrade(parts: &Parts) -> Option<HeaderValue> {
    if parts.version != Version::HTTP_11 || !names(&parts.headers, "upgrade") {
        return None;
    }
    let mut fields = parts.headers.get_all(UPGRADE).iter();
    let wanted = fields.next()?;
    let text = wanted.to_str().ok()?;
    let tunnelled =
        fields.next().is_none() && !text.split(',').any(|p| p.trim().to_ascii_lowercase().starts_with("h2"));
    tunnelled.then(|| wanted.clone())
}

/// Whether `Connection` lists an option.
fn names(headers: &HeaderMap, option: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case(option))
}

/// Fields that are about one connection (RFC 9110 §7.6.1) beside those that `Connection` lists.
const HOP_BY_HOP: [HeaderName; 4] = [TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
const OLD_HOP_BY_HOP: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];
/// Fields that `Connection` cannot take away: the message would be another.
const KEPT: [HeaderName; 2] = [HOST, CONTENT_LENGTH];

/// Removes what is about this connection. `TE: trailers` stays where HTTP/2 follows, as gRPC wants it.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, keep_te_trailers: bool) {
    let trailers = keep_te_trailers
        && headers
            .get_all(TE)
            .iter()
            .any(|v| v.to_str().is_ok_and(|v| v.split(',').any(|t| t.trim() == "trailers")));
    if headers.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            .filter(|name| !KEPT.contains(name))
            .collect();
        for name in listed {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in HOP_BY_HOP.iter().chain(&OLD_HOP_BY_HOP) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method("POST").uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn verdict(target: &str, headers: &[(&str, &str)]) -> Result<String, u16> {
        check(&parts(target, headers), Seen::default()).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn requests_are_for_one_host_or_refused() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Result<&'a str, u16>);
        let cases: &[Case<'_>] = &[
            ("/", &[("host", "a.example")], Ok("a.example")),
            ("/", &[("host", "A.Example:8080")], Ok("a.example")),
            ("/", &[("host", "a.example.")], Ok("a.example")),
            ("/", &[("host", "[2001:DB8::1]:80")], Ok("[2001:db8::1]")),
            ("/", &[("host", "")], Ok("")),
            ("http://a.example/x", &[("host", "a.example")], Ok("a.example")),
            ("http://a.example/x", &[], Ok("a.example")),
            ("http://a.example/x", &[("host", "b.example")], Err(400)),
            ("/", &[], Err(400)),
            ("/", &[("host", "a"), ("host", "a")], Err(400)),
            ("/", &[("host", "a b")], Err(400)),
            ("/", &[("host", "a/b")], Err(400)),
            ("/", &[("host", "user@a")], Err(400)),
            ("/", &[("host", "a:99999")], Err(400)),
            ("/", &[("host", "a:b")], Err(400)),
            ("/", &[("host", "[::1")], Err(400)),
            ("/", &[("host", "[::1]x")], Err(400)),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked")], Ok("a")),
            ("/", &[("host", "a"), ("transfer-encoding", "Chunked")], Ok("a")),
            ("/", &[("host", "a"), ("transfer-encoding", "gzip, chunked")], Err(501)),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked, chunked")], Err(501)),
            ("/", &[("host", "a"), ("transfer-encoding", "\x0bchunked")], Err(501)),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "x")], Err(400)),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "1")], Err(400)),
            ("/", &[("host", "a"), ("content-length", "1"), ("content-length", "1")], Err(400)),
            ("/", &[("host", "a"), ("content-length", "+1")], Err(400)),
            ("/", &[("host", "a"), ("content-length", "1, 1")], Err(400)),
        ];
        for (target, headers, expected) in cases {
            if headers.iter().any(|(_, v)| v.contains('\x0b')) {
                continue; // no such value can be built
            }
            assert_eq!(verdict(target, headers), expected.map(str::to_owned), "{target} {headers:?}");
        }
    }

    #[test]
    fn what_was_seen_on_the_wire_counts() {
        let p = parts("/", &[("host", "a")]);
        let both = Seen { content_length: true, transfer_encoding: true, bare_lf: false };
        assert!(check(&p, both).is_err());
        assert!(check(&p, Seen { bare_lf: true, ..Seen::default() }).is_err());
    }

    #[test]
    fn websockets_may_upgrade_and_h2c_may_not() {
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[("connection", "Upgrade"), ("upgrade", "websocket")], true),
            (&[("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")], true),
            (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "websocket, h2c")], false),
            (&[("upgrade", "websocket")], false),
            (&[("connection", "upgrade")], false),
        ];
        for (headers, expected) in cases {
            assert_eq!(wanted_upgrade(&parts("/", headers)).is_some(), *expected, "{headers:?}");
        }
    }

    #[test]
    fn fields_of_the_connection_end_here() {
        let mut headers = parts(
            "/",
            &[
                ("connection", "close, X-Secret, Host, Content-Length"),
                ("x-secret", "1"),
                ("host", "a"),
                ("content-length", "3"),
                ("te", "gzip, trailers"),
                ("keep-alive", "timeout=5"),
                ("upgrade", "h2c"),
                ("http2-settings", "x"),
                ("accept", "y"),
            ],
        )
        .headers;
        strip_hop_by_hop(&mut headers, true);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host", "te"]);
        assert_eq!(headers.get("te").unwrap(), "trailers");
    }
}
