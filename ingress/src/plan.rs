//! What is to be done with a request: the seam between the rules, as the crate `routing` finds them, and the proxy.
//!
//! Texts of the rules are turned into what the HTTP library wants once, when the tables are built ([`Plans::new`]), beside the router
//! and by the rules' numbers; a request then only clones handles.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use routing::{Decision, Fields, Matched, RequestView, Router};

mod compiled;

pub(crate) use compiled::{Affinity, Compiled, Cors, HeaderEdits, Rule, ServiceKey, joined};

/// A request as the rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a Parts,
    /// In lower case, without port.
    pub(crate) host: &'a str,
    /// The client came by HTTPS, to us or to a trusted proxy.
    pub(crate) https: bool,
    /// TLS ends here.
    pub(crate) tls: bool,
    /// The port it came to.
    pub(crate) port: u16,
    /// The name in the TLS handshake.
    pub(crate) server_name: Option<&'a str>,
    pub(crate) client: std::net::IpAddr,
    /// Chooses among weights.
    pub(crate) random: u64,
}

/// The decision.
#[derive(Debug)]
pub(crate) enum Plan {
    /// No rule fits (404), a rule cannot be served (500), the host is not served on this connection (421).
    Answer(StatusCode),
    /// Another address.
    Redirect { status: StatusCode, location: HeaderValue, edits: Arc<HeaderEdits> },
    /// A service.
    Forward(Box<Forward>),
}

/// How a request is forwarded.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) to: Arc<ServiceKey>,
    /// Replaces the request's.
    pub(crate) path_and_query: Option<PathAndQuery>,
    /// Replaces the request's.
    pub(crate) host: Option<HeaderValue>,
    /// Of the rule, then of the backend.
    pub(crate) request_edits: [Arc<HeaderEdits>; 2],
    pub(crate) response_edits: [Arc<HeaderEdits>; 2],
    pub(crate) mirrors: Vec<Arc<ServiceKey>>,
    /// The path that the rule is for.
    pub(crate) path: String,
    /// What is the same for all requests of the rule.
    pub(crate) rule: Arc<Rule>,
}

/// The rules, and what they mean to the proxy.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    pub(crate) router: Arc<Router>,
    by_rule: Vec<Compiled>,
}

impl Plans {
    pub(crate) fn new(router: Arc<Router>) -> Self {
        let by_rule = router.rules().iter().map(|rule| Compiled::new(rule)).collect();
        Self { router, by_rule }
    }

    /// The port as listeners have it: it may be another that leads to it, as 8443 to 443.
    pub(crate) fn port(&self, local: u16, tls: bool) -> u16 {
        if self.router.listeners().any(|listener| listener.port == local) {
            local
        } else if tls {
            443
        } else {
            80
        }
    }

    /// Decides.
    pub(crate) fn decide(&self, asked: &Asked<'_>) -> Plan {
        let fields = HeaderFields(&asked.parts.headers);
        let view = asked.view(&fields);
        match self.router.route(&view) {
            Decision::NotFound => Plan::Answer(StatusCode::NOT_FOUND),
            Decision::Misdirected => Plan::Answer(StatusCode::MISDIRECTED_REQUEST),
            Decision::Rule(matched) => match self.by_rule.get(matched.rule.id) {
                Some(compiled) => plan(&matched, compiled, &view, asked),
                None => Plan::Answer(StatusCode::INTERNAL_SERVER_ERROR),
            },
        }
    }
}

fn plan(matched: &Matched<'_>, compiled: &Compiled, view: &RequestView<'_>, asked: &Asked<'_>) -> Plan {
    let from_client = RequestView { https: asked.https, ..*view };
    if let Some((status, location)) = matched.redirect(&from_client) {
        return match (StatusCode::from_u16(status), HeaderValue::try_from(location)) {
            (Ok(status), Ok(location)) => {
                Plan::Redirect { status, location, edits: Arc::clone(&compiled.response_edits) }
            }
            _ => Plan::Answer(StatusCode::BAD_REQUEST),
        };
    }
    let backend =
        matched.backend(view, asked.random).and_then(|backend| compiled.backend(matched.rule, backend));
    let Some(backend) = backend else { return Plan::Answer(StatusCode::INTERNAL_SERVER_ERROR) };
    let Some(to) = &backend.to else { return Plan::Answer(StatusCode::INTERNAL_SERVER_ERROR) };
    let path_and_query = match matched.path_and_query(view).map(PathAndQuery::try_from) {
        Some(Err(_)) => return Plan::Answer(StatusCode::BAD_REQUEST),
        Some(Ok(changed)) => Some(changed),
        None => None,
    };
    let draw = asked.random.rotate_left(17);
    let mirrors =
        compiled.mirrors.iter().filter(|(mirror, _)| mirror.is_drawn(draw)).map(|(_, to)| Arc::clone(to));
    Plan::Forward(Box::new(Forward {
        to: Arc::clone(to),
        path_and_query,
        host: matched.host().and_then(|host| HeaderValue::from_str(host).ok()),
        request_edits: [Arc::clone(&compiled.request_edits), Arc::clone(&backend.request_edits)],
        response_edits: [Arc::clone(&compiled.response_edits), Arc::clone(&backend.response_edits)],
        mirrors: mirrors.collect(),
        path: if compiled.rule.affinity.is_some() { matched.path.to_string() } else { String::new() },
        rule: Arc::clone(&compiled.rule),
    }))
}

impl<'a> Asked<'a> {
    pub(crate) fn view(&self, fields: &'a dyn Fields) -> RequestView<'a> {
        RequestView {
            https: self.tls,
            port: self.port,
            server_name: self.server_name,
            host: self.host,
            path: self.parts.uri.path(),
            query: self.parts.uri.query(),
            method: self.parts.method.as_str(),
            fields,
            client: self.client,
        }
    }
}

/// Header fields as the rules read them.
#[derive(Debug)]
pub(crate) struct HeaderFields<'a>(pub(crate) &'a HeaderMap);

impl Fields for HeaderFields<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    fn each<'f>(&'f self, name: &str, seen: &mut dyn FnMut(&'f str)) {
        self.0.get_all(name).iter().filter_map(|value| value.to_str().ok()).for_each(seen);
    }
}
