//! The head of a request as an endpoint gets it.

use std::net::IpAddr;

use hyper::header::{CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Uri, Version};

use crate::front::hygiene;
use crate::front::origin::Origin;
use crate::plan::Forward;
use crate::upstream::Protocol;
use crate::upstream::body::RequestBody;

/// What is sent, as often as it must be.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Head {
    /// Makes it of the client's, changed as the plan says.
    pub(crate) fn new(
        mut parts: Parts,
        plan: &Forward,
        origin: &Origin,
        client: IpAddr,
        protocol: Protocol,
        upgrade: Option<&HeaderValue>,
    ) -> Option<Self> {
        let headers = &mut parts.headers;
        hygiene::strip_hop_by_hop(headers, protocol == Protocol::H2c);
        // Answered here already.
        headers.remove(EXPECT);
        if parts.version == Version::HTTP_2 {
            join_cookies(headers);
        }
        if let Some(authority) = parts.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            headers.insert(HOST, host);
        }
        origin.tell(headers, client);
        if let Some(host) = &plan.host {
            headers.insert(HOST, host.clone());
        }
        for edits in &plan.request_edits {
            edits.apply(headers);
        }
        if let Some(upgrade) = upgrade {
            headers.insert(UPGRADE, upgrade.clone());
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let path = plan.path_and_query.clone().or_else(|| parts.uri.path_and_query().cloned());
        let path = path.unwrap_or(PathAndQuery::from_static("/"));
        let (uri, version) = match protocol {
            Protocol::Http1 => (origin_form(path)?, Version::HTTP_11),
            Protocol::H2c => (absolute_form(path, headers)?, Version::HTTP_2),
        };
        Some(Self { method: parts.method, uri, version, headers: parts.headers })
    }

    /// Whether sending it twice does what sending it once does (RFC 9110 §9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// With the query.
    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// With a body, as the HTTP library wants it; the head can be used again.
    pub(crate) fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn origin_form(path: PathAndQuery) -> Option<Uri> {
    let mut parts = hyper::http::uri::Parts::default();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

/// HTTP/2 has the host in the request's target.
fn absolute_form(path: PathAndQuery, headers: &mut HeaderMap) -> Option<Uri> {
    let host = headers.remove(HOST);
    let host = host
        .as_ref()
        .and_then(|host| host.to_str().ok())
        .filter(|host| !host.is_empty())
        .unwrap_or("localhost");
    let mut parts = hyper::http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(host).ok()?);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

/// HTTP/2 may send a field for each cookie; HTTP/1.1 may not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut all = headers.get_all(COOKIE).iter();
    if all.next().is_none() || all.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}
