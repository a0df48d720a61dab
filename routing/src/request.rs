//! A request as rules see it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// The header fields of a request.
pub trait Fields {
    /// The value of a field, whose name is in lower case; of the first if it is there several times, `None` also where it is no text.
    fn field(&self, name: &str) -> Option<&str>;
    /// All values of a field.
    fn each<'f>(&'f self, name: &str, seen: &mut dyn FnMut(&'f str));
}

impl fmt::Debug for dyn Fields + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields")
    }
}

/// Names in lower case, in the order of the request.
impl Fields for Vec<(String, String)> {
    fn field(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn each<'f>(&'f self, name: &str, seen: &mut dyn FnMut(&'f str)) {
        self.iter().filter(|(known, _)| known == name).for_each(|(_, value)| seen(value));
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The client speaks TLS.
    pub https: bool,
    /// The port that the client came to, as listeners have it: 80, 443.
    pub port: u16,
    /// The name in the TLS handshake.
    pub server_name: Option<&'a str>,
    /// `Host` or `:authority`; a port is ignored.
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
    /// In upper case.
    pub method: &'a str,
    /// Its header fields.
    pub fields: &'a dyn Fields,
    /// Who asks.
    pub client: IpAddr,
}

impl RequestView<'_> {
    /// The value of a cookie; of the first if there are several.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut found = None;
        self.fields.each("cookie", &mut |line| {
            let pairs = line.split(';').filter_map(|pair| pair.trim().split_once('='));
            found =
                found.or_else(|| pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value));
        });
        found
    }

    /// The value of a query parameter, decoded; of the first if there are several.
    pub(crate) fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let pairs = self.query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(known, _)| decoded(known) == name).map(|(_, value)| decoded(value))
    }
}

/// A form's encoding undone; what is no encoding stays as it is.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match (byte, two_digits(&rest)) {
            (b'+', _) => bytes.push(b' '),
            (b'%', Some(value)) => {
                bytes.push(value);
                rest.nth(1);
            }
            (other, _) => bytes.push(other),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The value of the next two bytes, if they are hexadecimal digits.
fn two_digits(rest: &std::str::Bytes<'_>) -> Option<u8> {
    let mut ahead = rest.clone();
    let mut digit = || char::from(ahead.next()?).to_digit(16);
    let (high, low) = (digit()?, digit()?);
    u8::try_from(high * 16 + low).ok()
}

/// A host as rules are compared with it: in lower case, without a port and without the dot at the end.
pub(crate) fn bare_host(host: &str) -> Cow<'_, str> {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// A path as rules are compared with it: with its dot segments resolved (RFC 3986 §5.2.4, also where the dots are encoded), since whoever
/// serves the request may resolve them, and then the rule for what is served is the one that counts. `*` is the whole server.
pub(crate) fn bare_path(path: &str) -> Cow<'_, str> {
    if !path.starts_with('/') {
        return Cow::Borrowed("/");
    }
    if !path.contains("/.") && !path.contains("/%2") {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match dots(segment) {
            Some(up) => {
                if up {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            None => kept.push(segment),
        }
    }
    Cow::Owned(kept.iter().flat_map(|segment| ["/", segment]).collect())
}

/// `.` is false, `..` is true.
fn dots(segment: &str) -> Option<bool> {
    if segment.len() > 6 {
        return None;
    }
    match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
        "." => Some(false),
        ".." => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_port_case_and_last_dot() {
        for (host, bare) in [
            ("foo.com", "foo.com"),
            ("FOO.com:8080", "foo.com"),
            ("foo.com.", "foo.com"),
            ("foo.com.:80", "foo.com"),
            ("[::1]:80", "::1"),
            ("", ""),
        ] {
            assert_eq!(bare_host(host), bare, "{host}");
        }
    }

    #[test]
    fn dot_segments_are_resolved_before_a_path_is_compared() {
        for (path, bare) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/..b/...", "/a/..b/..."),
            ("/a//../b", "/a/b"),
            ("/a/%2f/..", "/a/"),
            ("*", "/"),
            ("", "/"),
        ] {
            assert_eq!(bare_path(path), bare, "{path}");
        }
    }

    #[test]
    fn parameters_and_cookies_are_the_first_of_their_name() {
        let pair = |value: &str| ("cookie".to_owned(), value.to_owned());
        let fields = vec![pair("a=1; b=2"), pair("a=3;c=x=y")];
        let view = RequestView {
            https: false,
            port: 80,
            server_name: None,
            host: "h",
            path: "/",
            query: Some("q=a+b%21&q=2&%61=%zz&flag"),
            method: "GET",
            fields: &fields,
            client: IpAddr::from([127, 0, 0, 1]),
        };
        assert_eq!((view.cookie("a"), view.cookie("c"), view.cookie("d")), (Some("1"), Some("x=y"), None));
        assert_eq!(view.parameter("q").as_deref(), Some("a b!"));
        assert_eq!(view.parameter("a").as_deref(), Some("%zz"));
        assert_eq!((view.parameter("flag").as_deref(), view.parameter("x")), (Some(""), None));
    }
}
