//! How a rule's requests are treated, apart from where they go.

use std::time::Duration;

use ipnet::IpNet;

/// What is configured; the ingress's own defaults hold where nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// What is spoken with endpoints.
    pub protocol: BackendProtocol,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Clients stay at their endpoint by a cookie.
    pub affinity: Option<SessionCookie>,
    /// Of request bodies, in bytes; `Some(0)` is no limit.
    pub max_body_bytes: Option<u64>,
    /// Requests of one client.
    pub rate: Option<RateLimit>,
    /// Requests of one client under way at a time.
    pub max_concurrent: Option<u32>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When a request is sent again.
    pub retry: Option<Retry>,
    /// Who may read responses from pages of other origins.
    pub cors: Option<Cors>,
    /// Who may ask at all; all if empty.
    pub allow_from: Vec<IpNet>,
    /// Who may not.
    pub deny_from: Vec<IpNet>,
}

/// See [`Policy::protocol`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendProtocol {
    /// As the service's port says (`appProtocol`), HTTP/1.1 without.
    #[default]
    OfPort,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    H2c,
    /// gRPC: HTTP/2 without TLS, with trailers.
    Grpc,
}

/// See [`Policy::balance`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Balance {
    /// As the ingress is configured.
    #[default]
    Default,
    /// One after the other.
    RoundRobin,
    /// That with the fewest requests under way.
    LeastOutstanding,
    /// The same for the same key, as far as endpoints stay.
    Hash(HashKey),
}

/// See [`Balance::Hash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Client,
    /// Path and query.
    Uri,
    /// The host.
    Host,
    /// A header field, in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
}

/// See [`Policy::affinity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    /// Its name.
    pub name: String,
    /// Its path; that of the rule without.
    pub path: Option<String>,
    /// Its domain.
    pub domain: Option<String>,
    /// In seconds; until the browser closes without.
    pub max_age_seconds: Option<u64>,
    /// Only by HTTPS; where the client uses it without.
    pub secure: Option<bool>,
    /// `None`, `Lax` or `Strict`.
    pub same_site: Option<String>,
}

/// See [`Policy::rate`]: as many in any such time, and so many more at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests.
    pub requests: u32,
    /// In this time.
    pub per: Duration,
    /// At once.
    pub burst: u32,
}

/// See [`Policy::timeouts`]; `Some(0)` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect to an endpoint.
    pub connect: Option<Duration>,
    /// Between two reads from an endpoint.
    pub read: Option<Duration>,
    /// Between two writes to one.
    pub send: Option<Duration>,
    /// From the request to the end of its response, all tries together.
    pub request: Option<Duration>,
    /// Of one try.
    pub backend_request: Option<Duration>,
}

/// See [`Policy::retry`]. Connections that fail are tried again in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// After the first try.
    pub attempts: u32,
    /// Responses that are no answer.
    pub codes: Vec<u16>,
    /// Before the next try.
    pub backoff: Duration,
}

/// See [`Policy::cors`] (Fetch standard §3.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    /// `*`, or origins such as `https://foo.com`, `https://*.foo.com`.
    pub origins: Vec<String>,
    /// `*`, or methods.
    pub methods: Vec<String>,
    /// `*`, or fields of requests.
    pub headers: Vec<String>,
    /// Fields of responses.
    pub expose: Vec<String>,
    /// Cookies may go along.
    pub credentials: bool,
    /// How long a browser may remember, in seconds.
    pub max_age_seconds: Option<u64>,
}
