//! Rules in the types of the HTTP library.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use routing::{BackendProtocol, HashKey, PortRef, RateLimit, RequestView, ServicePort, Target};

use crate::limit::rate::Rate;
use crate::upstream::Protocol;
use crate::upstream::balance::{Policy, hash_bytes};

/// A service's port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServiceKey {
    /// `namespace/name`: joined once, so that it is looked up as it is.
    pub(crate) service: String,
    pub(crate) port: PortRef,
}

impl From<&ServicePort> for ServiceKey {
    fn from(of: &ServicePort) -> Self {
        Self {
            service: joined(of.service.namespace.as_str(), of.service.name.as_str()),
            port: of.port.clone(),
        }
    }
}

/// How services are told apart.
pub(crate) fn joined(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// A rule, beside the one with the same number in the router.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) rule: Arc<Rule>,
    pub(crate) request_edits: Arc<HeaderEdits>,
    pub(crate) response_edits: Arc<HeaderEdits>,
    pub(crate) mirrors: Vec<(routing::Mirror, Arc<ServiceKey>)>,
    backends: Vec<CompiledBackend>,
    canary: Option<CompiledBackend>,
}

/// See [`Compiled`].
#[derive(Debug)]
pub(crate) struct CompiledBackend {
    /// `None` cannot be served.
    pub(crate) to: Option<Arc<ServiceKey>>,
    pub(crate) request_edits: Arc<HeaderEdits>,
    pub(crate) response_edits: Arc<HeaderEdits>,
}

impl Compiled {
    pub(crate) fn new(rule: &routing::Rule) -> Self {
        let mirrors =
            rule.mirrors.iter().filter_map(|mirror| Some((mirror.clone(), key(&mirror.target)?))).collect();
        Self {
            rule: Arc::new(Rule::new(rule)),
            request_edits: Arc::new(HeaderEdits::new(&rule.request_headers)),
            response_edits: Arc::new(HeaderEdits::new(&rule.response_headers)),
            mirrors,
            backends: rule.backends.iter().map(CompiledBackend::new).collect(),
            canary: rule.canary.as_ref().map(|canary| CompiledBackend::new(&canary.backend)),
        }
    }

    /// That of the rule's backend which was chosen.
    pub(crate) fn backend(
        &self,
        rule: &routing::Rule,
        chosen: &routing::Backend,
    ) -> Option<&CompiledBackend> {
        match rule.backends.iter().position(|backend| std::ptr::eq(backend, chosen)) {
            Some(at) => self.backends.get(at),
            None => self.canary.as_ref(),
        }
    }
}

impl CompiledBackend {
    fn new(backend: &routing::Backend) -> Self {
        Self {
            to: key(&backend.target),
            request_edits: Arc::new(HeaderEdits::new(&backend.request_headers)),
            response_edits: Arc::new(HeaderEdits::new(&backend.response_headers)),
        }
    }
}

fn key(target: &Target) -> Option<Arc<ServiceKey>> {
    match target {
        Target::Service(port) => Some(Arc::new(port.into())),
        Target::Invalid(_) => None,
    }
}

/// What is configured for a rule beside where it leads.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Tells the rules apart, for limits; the same in other versions of the tables.
    pub(crate) id: u64,
    /// What is spoken with endpoints, where the service's port does not say.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) balance: Balance,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) rate: Option<Rate>,
    /// Requests of one client under way at a time.
    pub(crate) max_concurrent: Option<u32>,
    /// `Some(0)` is no limit.
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) timeouts: routing::Timeouts,
    pub(crate) retry: Option<routing::Retry>,
    pub(crate) cors: Option<Cors>,
    pub(crate) allow_from: Vec<ipnet::IpNet>,
    pub(crate) deny_from: Vec<ipnet::IpNet>,
}

impl Rule {
    fn new(rule: &routing::Rule) -> Self {
        let policy = &rule.policy;
        Self {
            id: hash_bytes(rule.origin.to_string().as_bytes()),
            protocol: match policy.protocol {
                BackendProtocol::OfPort => None,
                BackendProtocol::Http1 => Some(Protocol::Http1),
                BackendProtocol::H2c | BackendProtocol::Grpc => Some(Protocol::H2c),
            },
            balance: Balance::new(&policy.balance),
            affinity: policy.affinity.clone().map(Affinity),
            rate: policy.rate.and_then(rate),
            max_concurrent: policy.max_concurrent,
            max_body_bytes: policy.max_body_bytes,
            timeouts: policy.timeouts,
            retry: policy.retry.clone(),
            cors: policy.cors.clone().map(Cors),
            allow_from: policy.allow_from.clone(),
            deny_from: policy.deny_from.clone(),
        }
    }
}

fn rate(limit: RateLimit) -> Option<Rate> {
    let seconds = limit.per.as_secs_f64();
    (seconds > 0.0).then(|| Rate {
        per_second: f64::from(limit.requests) / seconds,
        burst: f64::from(limit.burst) + 1.0,
    })
}

/// How an endpoint is chosen.
#[derive(Debug)]
pub(crate) enum Balance {
    RoundRobin,
    LeastOutstanding,
    Hash(HashKey),
}

impl Balance {
    fn new(balance: &routing::Balance) -> Self {
        match balance {
            routing::Balance::Default | routing::Balance::RoundRobin => Self::RoundRobin,
            routing::Balance::LeastOutstanding => Self::LeastOutstanding,
            routing::Balance::Hash(key) => Self::Hash(key.clone()),
        }
    }

    /// For this request.
    pub(crate) fn policy(&self, request: &RequestView<'_>) -> Policy {
        let key = match self {
            Self::RoundRobin => return Policy::RoundRobin,
            Self::LeastOutstanding => return Policy::LeastOutstanding,
            Self::Hash(key) => key,
        };
        Policy::Hash(match key {
            HashKey::Client => hash_bytes(request.client.to_string().as_bytes()),
            HashKey::Host => hash_bytes(request.host.as_bytes()),
            HashKey::Uri => {
                hash_bytes(request.path.as_bytes()) ^ hash_bytes(request.query.unwrap_or_default().as_bytes())
            }
            HashKey::Header(name) => hash_bytes(request.fields.field(name).unwrap_or_default().as_bytes()),
            HashKey::Cookie(name) => hash_bytes(request.cookie(name).unwrap_or_default().as_bytes()),
        })
    }
}

/// A client stays at its endpoint by a cookie.
#[derive(Debug)]
pub(crate) struct Affinity(pub(crate) routing::SessionCookie);

/// Which pages of other origins may read responses.
#[derive(Debug, Default)]
pub(crate) struct Cors(pub(crate) routing::Cors);

/// Changes of header fields.
#[derive(Debug, Default)]
pub(crate) struct HeaderEdits {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl HeaderEdits {
    fn new(edits: &routing::HeaderEdits) -> Self {
        let field = |(name, value): &(String, String)| {
            Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::try_from(value.as_str()).ok()?))
        };
        Self {
            set: edits.set.iter().filter_map(field).collect(),
            add: edits.add.iter().filter_map(field).collect(),
            remove: edits.remove.iter().filter_map(|name| HeaderName::try_from(name.as_str()).ok()).collect(),
        }
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
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
