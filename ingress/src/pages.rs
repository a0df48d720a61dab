//! Answers of our own: errors and redirects.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, SERVER};
use hyper::{Response, StatusCode};

use crate::outgoing::Content;

const NAME: HeaderValue = HeaderValue::from_static("vpod-ingress");

/// A page that says what the status says, and why.
pub(crate) fn error(status: StatusCode, reason: &str) -> Response<Content> {
    let title = status.canonical_reason().unwrap_or_default();
    let mut text = format!("{} {title}\n", status.as_u16());
    if !reason.is_empty() {
        text.push_str(reason);
        text.push('\n');
    }
    let mut response = Response::new(Content::Full(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, NAME);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same, and the connection ends: what follows on it cannot be trusted, or is not wanted.
pub(crate) fn error_and_close(status: StatusCode, reason: &str) -> Response<Content> {
    let mut response = error(status, reason);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Too many requests.
pub(crate) fn slow_down(seconds: u64) -> Response<Content> {
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, "");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Somewhere else.
pub(crate) fn redirect(status: StatusCode, location: HeaderValue) -> Response<Content> {
    let mut response = Response::new(Content::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(SERVER, NAME);
    response.headers_mut().insert(LOCATION, location);
    response
}
