//! What is to be done with a request: the seam between the rules of Ingress and HTTPRoute, and the proxy.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, StatusCode};

use crate::limit::rate::Rate;
use crate::upstream::balance::Policy;

/// A request as the rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a Parts,
    /// In lower case, without port.
    pub(crate) host: &'a str,
    /// The client came by HTTPS.
    pub(crate) https: bool,
    /// The port it came to.
    pub(crate) port: u16,
    /// The name in the TLS handshake, where it ended here.
    pub(crate) server_name: Option<&'a str>,
    pub(crate) client: IpAddr,
    /// Chooses among weights.
    pub(crate) random: u64,
}

/// The rules.
pub(crate) trait Routes: Debug + Send + Sync {
    /// Decides.
    fn decide(&self, asked: &Asked<'_>) -> Plan;
}

/// The decision.
#[derive(Debug)]
pub(crate) enum Plan {
    /// No rule fits (404), a rule cannot be served (500), the host is not served on this connection (421).
    Answer(StatusCode),
    /// Another address.
    Redirect { status: StatusCode, location: HeaderValue, headers: Option<Arc<HeaderEdits>> },
    /// A service.
    Forward(Box<Forward>),
}

/// A service's port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServiceKey {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
}

/// How a request is forwarded.
#[derive(Debug, Default)]
pub(crate) struct Forward {
    pub(crate) to: Option<Arc<ServiceKey>>,
    /// Replaces the request's.
    pub(crate) path_and_query: Option<PathAndQuery>,
    /// Replaces the request's.
    pub(crate) host: Option<HeaderValue>,
    pub(crate) request_headers: Vec<Arc<HeaderEdits>>,
    pub(crate) response_headers: Vec<Arc<HeaderEdits>>,
    pub(crate) mirrors: Vec<Arc<ServiceKey>>,
    /// What is the same for all requests of the rule.
    pub(crate) rule: Arc<Rule>,
}

/// What is configured for a rule beside where it leads.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    /// Tells the rules apart, for limits.
    pub(crate) id: u64,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) policy: Balance,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) rate: Option<Rate>,
    /// Requests under way at a time, per client; no limit without.
    pub(crate) concurrent: Option<u32>,
    /// `Some(0)` is no limit.
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) connect_timeout: Option<Duration>,
    /// Between two reads; `Some(0)` is none.
    pub(crate) read_timeout: Option<Duration>,
    /// For the whole request; `Some(0)` is none.
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) retry: Option<Retry>,
    pub(crate) cors: Option<Cors>,
    /// Addresses that may; all if empty.
    pub(crate) allow_from: Vec<ipnet::IpNet>,
}

/// What is spoken with endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/2 without TLS; gRPC too.
    H2c,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Balance {
    #[default]
    RoundRobin,
    LeastOutstanding,
    /// By the client's address.
    ClientHash,
    /// By a header's value.
    HeaderHash(HeaderName),
    /// By path and query.
    UriHash,
}

impl Balance {
    pub(crate) fn policy(&self, asked: &Asked<'_>) -> Policy {
        use crate::upstream::balance::hash_bytes;
        match self {
            Self::RoundRobin => Policy::RoundRobin,
            Self::LeastOutstanding => Policy::LeastOutstanding,
            Self::ClientHash => Policy::Hash(hash_bytes(asked.client.to_string().as_bytes())),
            Self::HeaderHash(name) => {
                Policy::Hash(hash_bytes(asked.parts.headers.get(name).map_or(b"", |v| v.as_bytes())))
            }
            Self::UriHash => Policy::Hash(hash_bytes(
                asked.parts.uri.path_and_query().map_or("", |p| p.as_str()).as_bytes(),
            )),
        }
    }
}

/// A client stays at its endpoint by a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Affinity {
    pub(crate) cookie: String,
    pub(crate) path: String,
    /// Seconds; a session without.
    pub(crate) max_age: Option<u64>,
}

/// When a request is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Retry {
    /// Times after the first.
    pub(crate) attempts: u32,
    pub(crate) codes: Vec<u16>,
    pub(crate) backoff: Duration,
}

/// Changes of header fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeaderEdits {
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    pub(crate) add: Vec<(HeaderName, HeaderValue)>,
    pub(crate) remove: Vec<HeaderName>,
}

impl HeaderEdits {
    pub(crate) fn apply(&self, headers: &mut hyper::HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// Which pages of other origins may read responses (Fetch standard §3.2).
#[derive(Debug, Clone, Default)]
pub(crate) struct Cors {
    /// `*`, or origins, which may have `*.` for a part of the host.
    pub(crate) origins: Vec<String>,
    pub(crate) methods: Vec<Method>,
    pub(crate) any_method: bool,
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) any_header: bool,
    pub(crate) expose: Vec<String>,
    pub(crate) credentials: bool,
    pub(crate) max_age: Option<u64>,
}
