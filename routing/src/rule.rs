//! A rule: from which object it is, what is done with a request, and where it goes.

use std::fmt;
use std::sync::Arc;

use protocol::ObjectRef;
use protocol::message::Kind;

use crate::policy::Policy;

/// What is done with the requests that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Dense within its router, for tables beside it.
    pub id: usize,
    /// Where it is from.
    pub origin: Origin,
    /// The client is to come by HTTPS, by a redirect of this status.
    pub https_redirect: Option<u16>,
    /// The client is to go elsewhere.
    pub redirect: Option<Redirect>,
    /// Host and path towards the backend.
    pub rewrite: Option<Rewrite>,
    /// Of the request.
    pub request_headers: HeaderEdits,
    /// Of the response.
    pub response_headers: HeaderEdits,
    /// Who gets a copy.
    pub mirrors: Vec<Mirror>,
    /// Who may serve it; in the order of the manifest.
    pub backends: Vec<Backend>,
    /// Who serves some of the requests instead.
    pub canary: Option<Canary>,
    /// All the rest.
    pub policy: Arc<Policy>,
}

/// Where a rule is from. Ordered as precedence has it: the oldest first, then by name, then as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Of the object, in seconds since 1970.
    pub created: u64,
    /// The object.
    pub object: ObjectRef,
    /// Ingress or HTTPRoute.
    pub kind: OriginKind,
    /// Among the rules of the object; of an Ingress its paths are counted through. `None` is its default backend.
    pub rule: Option<usize>,
}

/// See [`Origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OriginKind {
    /// `networking.k8s.io/v1`.
    Ingress,
    /// `gateway.networking.k8s.io/v1`.
    HttpRoute,
}

impl OriginKind {
    /// As a kind of objects.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Ingress => Kind::Ingresses,
            Self::HttpRoute => Kind::HttpRoutes,
        }
    }
}

impl fmt::Display for Origin {
    /// For logs: `ingress/default/shop[2]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            OriginKind::Ingress => "ingress",
            OriginKind::HttpRoute => "httproute",
        };
        match self.rule {
            Some(rule) => write!(f, "{kind}/{}[{rule}]", self.object),
            None => write!(f, "{kind}/{}[default]", self.object),
        }
    }
}

/// Who may serve a rule's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its share; 0 is none.
    pub weight: u32,
    /// Where they go.
    pub target: Target,
    /// Of requests that go there.
    pub request_headers: HeaderEdits,
    /// Of responses from there.
    pub response_headers: HeaderEdits,
}

/// See [`Backend::target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A service. If there is none of this name, or not with this port: 500. If it has no endpoints: 503.
    Service(ServicePort),
    /// Nothing that can be served: 500. With the reason.
    Invalid(String),
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePort {
    /// The service.
    pub service: ObjectRef,
    /// Which port.
    pub port: PortRef,
}

/// See [`ServicePort`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    /// The service's own port.
    Number(u16),
    /// By its name.
    Name(String),
}

impl Target {
    /// The service, if it is one.
    #[must_use]
    pub const fn service(&self) -> Option<&ServicePort> {
        match self {
            Self::Service(port) => Some(port),
            Self::Invalid(_) => None,
        }
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// Other backends for some requests, decided in this order: header, cookie, weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// The object that says so.
    pub origin: Origin,
    /// A header field (in lower case), and the value that chooses the canary; without a value `always` does, and `never` does not.
    pub header: Option<(String, Option<String>)>,
    /// `always` and `never`.
    pub cookie: Option<String>,
    /// Of all other requests, so many…
    pub weight: u32,
    /// …of so many.
    pub weight_total: u32,
    /// Where they go.
    pub backend: Backend,
}

/// Changes of header fields, names in lower case: those of `set` replace, then `add` adds, then `remove` removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Name and value.
    pub set: Vec<(String, String)>,
    /// Name and value.
    pub add: Vec<(String, String)>,
    /// Names.
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// Nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Where a client is sent. What is `None` stays as it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`.
    pub https: Option<bool>,
    /// Its host.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// Its path.
    pub path: Option<PathChange>,
}

/// What a backend sees instead. What is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The host.
    pub host: Option<String>,
    /// The path.
    pub path: Option<PathChange>,
}

/// Another path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathChange {
    /// This one.
    Full(String),
    /// This instead of the prefix that matched.
    Prefix(String),
}

/// A copy of requests, whose responses nobody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets it.
    pub target: Target,
    /// Of so many requests…
    pub numerator: u32,
    /// …of so many; not 0.
    pub denominator: u32,
}

impl Mirror {
    /// Whether this request is copied; `draw` is any number, evenly spread.
    #[must_use]
    pub fn is_drawn(&self, draw: u64) -> bool {
        draw % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }
}
