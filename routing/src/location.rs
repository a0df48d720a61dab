//! Where a client is redirected to, and what a backend sees instead of host and path.

use crate::path::PathPattern;
use crate::request::{RequestView, bare_host, bare_path};
use crate::rule::{PathChange, Redirect};

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// The value of `Location`.
pub(crate) fn redirected(redirect: &Redirect, request: &RequestView<'_>, matched: &PathPattern) -> String {
    let https = redirect.https.unwrap_or(request.https);
    let well_known = if https { HTTPS } else { HTTP };
    // A scheme that is given brings its port; else it is that of the listener (`HTTPRequestRedirectFilter.port`).
    let port = redirect.port.unwrap_or(if redirect.https.is_some() { well_known } else { request.port });
    let own = bare_host(request.host);
    let host = redirect.host.as_deref().unwrap_or(&own);
    let scheme = if https { "https" } else { "http" };
    let path = redirect.path.as_ref().map(|change| changed(change, request, matched));
    let path = with_query(path.as_deref().unwrap_or(rooted(request.path)), request);
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == well_known {
        format!("{scheme}://{bracketed}{path}")
    } else {
        format!("{scheme}://{bracketed}:{port}{path}")
    }
}

/// The path with its query after a change.
pub(crate) fn rewritten(change: &PathChange, request: &RequestView<'_>, matched: &PathPattern) -> String {
    with_query(&changed(change, request, matched), request)
}

fn rooted(path: &str) -> &str {
    if path.starts_with('/') { path } else { "/" }
}

fn with_query(path: &str, request: &RequestView<'_>) -> String {
    request.query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

fn changed(change: &PathChange, request: &RequestView<'_>, matched: &PathPattern) -> String {
    let path = bare_path(request.path);
    let (replacement, prefix) = match (change, matched) {
        (PathChange::Full(path), _) => return path.clone(),
        (PathChange::Prefix(replacement), PathPattern::Prefix(prefix)) => (replacement, prefix),
        // The whole path is what matched.
        (PathChange::Prefix(replacement), PathPattern::Exact(path)) => (replacement, path),
    };
    let rest = path.strip_prefix(prefix.as_str()).unwrap_or_default();
    let whole = if rest.is_empty() {
        replacement.clone()
    } else {
        format!("{}{rest}", replacement.trim_end_matches('/'))
    };
    if whole.starts_with('/') { whole } else { format!("/{whole}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(https: bool, port: u16, path: &'a str, query: Option<&'a str>) -> RequestView<'a> {
        const NONE: &Vec<(String, String)> = &Vec::new();
        RequestView {
            https,
            port,
            server_name: None,
            host: "Foo.com:1234",
            path,
            query,
            method: "GET",
            fields: NONE,
            client: [127, 0, 0, 1].into(),
        }
    }

    /// The table at `HTTPPathModifier.replacePrefixMatch`.
    #[test]
    fn a_prefix_is_replaced_as_the_table_of_the_gateway_api_says() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/a/../foo/x", "/foo", "/y", "/y/x"),
        ] {
            let change = PathChange::Prefix(replacement.to_owned());
            let found = rewritten(&change, &request(false, 80, path, None), &PathPattern::prefix(prefix));
            assert_eq!(found, expected, "{path} {prefix} {replacement}");
        }
        let full = PathChange::Full("/one".to_owned());
        let found =
            rewritten(&full, &request(false, 80, "/foo/x", Some("a=b")), &PathPattern::prefix("/foo"));
        assert_eq!(found, "/one?a=b");
    }

    #[test]
    fn a_location_has_a_port_only_where_its_scheme_does_not_say_it() {
        let same = Redirect { status: 302, https: None, host: None, port: None, path: None };
        let to = |https: Option<bool>, port: Option<u16>| Redirect { https, port, ..same.clone() };
        for (redirect, https, port, expected) in [
            (to(None, None), false, 80, "http://foo.com/a?q"),
            (to(None, None), true, 443, "https://foo.com/a?q"),
            (to(None, None), false, 8080, "http://foo.com:8080/a?q"),
            (to(Some(true), None), false, 80, "https://foo.com/a?q"),
            (to(Some(true), None), false, 8080, "https://foo.com/a?q"),
            (to(Some(true), Some(8443)), false, 80, "https://foo.com:8443/a?q"),
            (to(Some(false), Some(80)), true, 443, "http://foo.com/a?q"),
            (to(None, Some(443)), false, 80, "http://foo.com:443/a?q"),
        ] {
            let found =
                redirected(&redirect, &request(https, port, "/a", Some("q")), &PathPattern::prefix("/"));
            assert_eq!(found, expected, "{redirect:?}");
        }
    }
}
