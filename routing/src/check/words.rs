//! Values of single fields.

use std::net::IpAddr;

use protocol::problem::Problem;

/// In a host name (RFC 1123 §2.1).
const MAX_HOST_LEN: usize = 253;

/// RFC 1123 names joined by dots.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_HOST_LEN && text.split('.').all(|label| label.parse::<protocol::Namespace>().is_ok())
}

/// An exact host, or `*.` and one.
pub(crate) fn host(text: &str, path: impl Into<String>, problems: &mut Vec<Problem>) {
    let why = if text.parse::<IpAddr>().is_ok() {
        "must be a DNS name, not an IP address"
    } else if let Some(parent) = text.strip_prefix("*.") {
        if is_subdomain(parent) {
            return;
        }
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of \
         lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    } else if is_subdomain(text) {
        return;
    } else {
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
         and end with an alphanumeric character"
    };
    problems.push(Problem::invalid(path, text, why));
}

/// An exact host.
pub(crate) fn exact_host(text: &str, path: impl Into<String>, problems: &mut Vec<Problem>) {
    if text.starts_with('*') {
        problems.push(Problem::invalid(path, text, "must not be a wildcard"));
    } else {
        host(text, path, problems);
    }
}

/// What a path may not have anywhere, or at its end: whoever serves it would see another one.
const NOT_INSIDE: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const NOT_AT_END: [&str; 2] = ["/..", "/."];
/// The Gateway API's `maxLength`.
const MAX_PATH_LEN: usize = 1024;

/// A path that requests are compared with.
pub(crate) fn path(text: &str, at: impl Into<String>, problems: &mut Vec<Problem>) {
    let why = if !text.starts_with('/') {
        "must be an absolute path".to_owned()
    } else if let Some(bad) = NOT_INSIDE.iter().find(|bad| text.contains(**bad)) {
        format!("must not contain '{bad}'")
    } else if let Some(bad) = NOT_AT_END.iter().find(|bad| text.ends_with(**bad)) {
        format!("cannot end with '{bad}'")
    } else if text.len() > MAX_PATH_LEN {
        format!("may not be more than {MAX_PATH_LEN} bytes")
    } else if text.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#')) {
        "may have only characters of a path; others are to be encoded as in %20".to_owned()
    } else {
        return;
    };
    problems.push(Problem::invalid(at, text, why));
}

pub(crate) fn port(number: i32, path: impl Into<String>, problems: &mut Vec<Problem>) -> Option<u16> {
    let checked = u16::try_from(number).ok().filter(|number| *number > 0);
    if checked.is_none() {
        problems.push(Problem::invalid(path, number, "must be between 1 and 65535, inclusive"));
    }
    checked
}

/// A name of a header field (RFC 9110 §5.1).
pub(crate) fn is_field_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A value of a header field (RFC 9110 §5.5) that can be written as it is.
pub(crate) fn is_field_value(text: &str) -> bool {
    text.bytes().all(|b| b == b' ' || b == b'\t' || b.is_ascii_graphic()) && text.trim() == text
}

/// RFC 9110 §9.1, those that the Gateway API has.
pub(crate) const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// `1h`, `10s`, `500ms`, also joined (GEP-2257).
pub(crate) fn duration(text: &str) -> Option<std::time::Duration> {
    let mut left = text;
    let mut total = 0u64;
    let mut parts = 0;
    while !left.is_empty() {
        let digits = left.len() - left.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = left.split_at_checked(digits)?;
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, rest) = rest.split_at_checked(letters)?;
        let factor: u64 = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        if number.len() > 5 || parts == 4 {
            return None;
        }
        total += number.parse::<u64>().ok()? * factor;
        parts += 1;
        left = rest;
    }
    (parts > 0).then(|| std::time::Duration::from_millis(total))
}
