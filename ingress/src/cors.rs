//! Cross-origin requests, answered for the service (Fetch standard §3.2).

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use crate::outgoing::Content;
use crate::plan::Cors;

impl Cors {
    /// The answer to a preflight request; `None` if it is none.
    pub(crate) fn preflight(&self, parts: &Parts) -> Option<Response<Content>> {
        if parts.method != Method::OPTIONS {
            return None;
        }
        let origin = parts.headers.get(ORIGIN)?;
        let method = parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        let mut response = Response::new(Content::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.answer(origin, headers);
        if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return Some(response);
        }
        let cors = &self.0;
        let methods = if any(&cors.methods) { Some(method.clone()) } else { join(&cors.methods) };
        let asked = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let allowed = if any(&cors.headers) { asked.cloned() } else { join(&cors.headers) };
        if let Some(methods) = methods {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(allowed) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
        if let Some(seconds) = cors.max_age_seconds {
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
        }
        Some(response)
    }

    /// Says in a response that this origin may read it, if it may.
    pub(crate) fn answer(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        let cors = &self.0;
        let allowed =
            origin.to_str().is_ok_and(|origin| cors.origins.iter().any(|pattern| fits(pattern, origin)));
        headers.append(VARY, HeaderValue::from_static("origin"));
        if !allowed {
            return;
        }
        // With credentials the star is not taken for any origin.
        let value = if any(&cors.origins) && !cors.credentials {
            HeaderValue::from_static("*")
        } else {
            origin.clone()
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
        if cors.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = join(&cors.expose) {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose);
        }
    }
}

/// `https://*.example.com` fits `https://a.example.com`; the star is one or more labels.
fn fits(pattern: &str, origin: &str) -> bool {
    if pattern == "*" || pattern.eq_ignore_ascii_case(origin) {
        return true;
    }
    let Some((before, after)) = pattern.split_once("*.") else { return false };
    let origin = origin.to_ascii_lowercase();
    let middle = origin
        .strip_prefix(&before.to_ascii_lowercase())
        .and_then(|rest| rest.strip_suffix(&format!(".{}", after.to_ascii_lowercase())));
    middle.is_some_and(|m| {
        !m.is_empty() && m.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    })
}

fn any(words: &[String]) -> bool {
    words.iter().any(|word| word == "*")
}

fn join(words: &[String]) -> Option<HeaderValue> {
    if words.is_empty() { None } else { HeaderValue::try_from(words.join(", ")).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_fit_patterns() {
        let cases = [
            ("*", "https://a", true),
            ("https://a.example", "https://A.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://*.example", "https://a.example", true),
            ("https://*.example", "https://a.b.example", true),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://.example", false),
            ("https://*.example", "https://evil.com/.example", false),
            ("https://*.example", "https://a.example.evil", false),
        ];
        for (pattern, origin, expected) in cases {
            assert_eq!(fits(pattern, origin), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn a_star_with_credentials_names_the_origin() {
        let origin = HeaderValue::from_static("https://a.example");
        for (credentials, expected) in [(false, "*"), (true, "https://a.example")] {
            let cors = Cors(routing::Cors {
                origins: vec!["*".to_owned()],
                credentials,
                ..routing::Cors::default()
            });
            let mut headers = HeaderMap::new();
            cors.answer(&origin, &mut headers);
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], expected);
        }
        let mut headers = HeaderMap::new();
        Cors::default().answer(&origin, &mut headers);
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
