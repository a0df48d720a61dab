//! The rules of all objects, arranged so that the one for a request is found at once.
//!
//! Precedence: of all rules whose host, path and conditions fit, that with the more specific host wins; then Exact before Prefix, the
//! longer path, one with a method, more header fields, more query parameters, the older object, its name, the order within it
//! (Gateway API, `HTTPRouteRule.matches`; networking/v1, `HTTPIngressPath.pathType`). Ingress and HTTPRoute meet in the same order.
//!
//! Of the Gateway API, only the routes of the most specific listener for the host are asked (`Listener.hostname`). A request that
//! came by TLS under the name of another listener is misdirected (RFC 9110 §15.5.20). Rules of Ingress go by the host alone,
//! whichever name TLS was given. Where no rule fits, default backends are left: that of an Ingress with rules for the host, else the oldest.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use protocol::ObjectRef;

use crate::certificate::Certificate;
use crate::condition::Conditions;
use crate::host::{HostPattern, HostRank, HostTable, Star};
use crate::location;
use crate::path::{PathPattern, PathRank, PathTable};
use crate::request::{RequestView, bare_host, bare_path};
use crate::rule::{Backend, Origin, Rule};

/// The ports that rules of Ingress are for.
const INGRESS_PORTS: [u16; 2] = [80, 443];
/// Where certificates of Ingress are for.
const HTTPS: u16 = 443;

/// See the module.
#[derive(Debug)]
pub struct Router {
    pub(crate) rules: Vec<Arc<Rule>>,
    ingress: Rules,
    /// Of Ingress, by the hosts of their rules.
    defaults: HostTable<Entry>,
    listeners: Vec<(Listener, Rules)>,
    ports: HashMap<u16, HostTable<usize>>,
    certificates: HostTable<(HostRank, Arc<Certificate>)>,
}

/// A listener of a Gateway.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Whose it is.
    pub gateway: ObjectRef,
    /// Its name there.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// TLS ends here.
    pub https: bool,
    /// Hosts that it is for.
    pub host: HostPattern,
    /// In the order of the manifest; empty without TLS.
    pub certificates: Vec<Arc<Certificate>>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision<'r> {
    /// This rule.
    Rule(Matched<'r>),
    /// No rule fits: 404.
    NotFound,
    /// The host belongs to another listener than the one that the TLS handshake named: 421.
    Misdirected,
}

/// The rule of a request, and how it was found.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'r> {
    /// The rule.
    pub rule: &'r Arc<Rule>,
    /// The hosts that it is for.
    pub host: &'r HostPattern,
    /// The paths.
    pub path: &'r PathPattern,
    /// What else.
    pub conditions: &'r Conditions,
}

impl Matched<'_> {
    /// Where the client is to go instead, and by which status.
    #[must_use]
    pub fn redirect(&self, request: &RequestView<'_>) -> Option<(u16, String)> {
        if let (Some(status), false) = (self.rule.https_redirect, request.https) {
            let host = bare_host(request.host);
            let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
            return Some((status, format!("https://{host}{}{query}", request.path)));
        }
        let redirect = self.rule.redirect.as_ref()?;
        Some((redirect.status, location::redirected(redirect, request, self.path)))
    }

    /// Path and query that a backend is to see, if they are others.
    #[must_use]
    pub fn path_and_query(&self, request: &RequestView<'_>) -> Option<String> {
        let change = self.rule.rewrite.as_ref()?.path.as_ref()?;
        Some(location::rewritten(change, request, self.path))
    }

    /// The host that a backend is to see, if it is another.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.rule.rewrite.as_ref()?.host.as_deref()
    }

    /// See [`Rule::backend`].
    #[must_use]
    pub fn backend(&self, request: &RequestView<'_>, draw: u64) -> Option<&Backend> {
        self.rule.backend(request, draw)
    }
}

/// One way to a rule.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) host: HostPattern,
    pub(crate) path: PathPattern,
    pub(crate) conditions: Conditions,
    pub(crate) rule: Arc<Rule>,
}

/// Grows with precedence.
pub(crate) type Precedence<'e> = (HostRank, PathRank, (bool, usize, usize), Reverse<&'e Origin>);

impl Entry {
    pub(crate) fn precedence(&self) -> Precedence<'_> {
        (self.host.rank(), self.path.rank(), self.conditions.rank(), Reverse(&self.rule.origin))
    }

    fn matched(&self) -> Matched<'_> {
        Matched { rule: &self.rule, host: &self.host, path: &self.path, conditions: &self.conditions }
    }
}

/// The rules of Ingress, or those of a listener.
#[derive(Debug)]
pub(crate) struct Rules(HostTable<PathTable<Vec<Entry>>>);

impl Rules {
    pub(crate) fn new(star: Star) -> Self {
        Self(HostTable::new(star))
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        let paths = self.0.entry(&entry.host, PathTable::default);
        if let Some(entries) = paths.entry(&entry.path) {
            entries.push(entry);
        }
    }

    fn sort(&mut self) {
        for entries in self.0.values_mut().flat_map(PathTable::values_mut) {
            entries.sort_by(|a, b| b.precedence().cmp(&a.precedence()));
        }
    }

    fn lookup(&self, host: &str, path: &str, request: &RequestView<'_>) -> Option<&Entry> {
        let mut entries = self.0.covering(host).flat_map(|paths| paths.covering(path)).flatten();
        entries.find(|entry| entry.conditions.hold(request))
    }
}

impl Default for Router {
    /// That knows nothing.
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            ingress: Rules::new(Star::OneLabel),
            defaults: HostTable::new(Star::OneLabel),
            listeners: Vec::new(),
            ports: HashMap::new(),
            certificates: HostTable::new(Star::OneLabel),
        }
    }
}

impl Router {
    /// Finds the rule for a request.
    #[must_use]
    pub fn route(&self, request: &RequestView<'_>) -> Decision<'_> {
        let (host, path) = (bare_host(request.host), bare_path(request.path));
        let is_ingress = INGRESS_PORTS.contains(&request.port);
        let of_ingress = if is_ingress { self.ingress.lookup(&host, &path, request) } else { None };
        let found = match self.listener(request, &host) {
            Found::Misdirected(rank) if of_ingress.is_none_or(|entry| entry.host.rank() < rank) => {
                return Decision::Misdirected;
            }
            Found::Misdirected(_) | Found::None => of_ingress,
            Found::Listener(rules) => {
                let of_gateway = rules.lookup(&host, &path, request);
                of_ingress.into_iter().chain(of_gateway).max_by(|a, b| a.precedence().cmp(&b.precedence()))
            }
        };
        let default = || if is_ingress { self.defaults.covering(&host).next() } else { None };
        found.or_else(default).map_or(Decision::NotFound, |entry| Decision::Rule(entry.matched()))
    }

    fn listener(&self, request: &RequestView<'_>, host: &str) -> Found<'_> {
        let Some(listeners) = self.ports.get(&request.port) else { return Found::None };
        let best = |name: &str| listeners.covering(name).next().copied();
        let Some(index) = best(host) else { return Found::None };
        let Some((listener, rules)) = self.listeners.get(index) else { return Found::None };
        if listener.https != request.https {
            return Found::None;
        }
        let named = request.server_name.map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        if listener.https && best(named.trim_end_matches('.')) != Some(index) {
            return Found::Misdirected(listener.host.rank());
        }
        Found::Listener(rules)
    }

    /// The certificate for a name in a TLS handshake at a port; `None` is the ingress's own.
    #[must_use]
    pub fn certificate(&self, port: u16, server_name: Option<&str>) -> Option<&Arc<Certificate>> {
        let name = server_name.unwrap_or_default().to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        let listener = self.ports.get(&port).and_then(|listeners| listeners.covering(name).next());
        let listener = listener.and_then(|index| self.listeners.get(*index)).map(|(listener, _)| listener);
        let of_gateway =
            listener.and_then(|listener| Some((listener.host.rank(), listener.certificates.first()?)));
        let of_ingress = if port == HTTPS { self.certificates.covering(name).next() } else { None };
        match (of_gateway, of_ingress) {
            (Some((gateway, certificate)), Some((ingress, _))) if gateway >= *ingress => Some(certificate),
            (_, Some((_, certificate))) => Some(certificate),
            (of_gateway, None) => of_gateway.map(|(_, certificate)| certificate),
        }
    }

    /// All rules, by their ids.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Those of Gateways; their ports are to be listened on beside 80 and 443.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().map(|(listener, _)| listener)
    }

    pub(crate) fn add_rule(&mut self, mut rule: Rule) -> Arc<Rule> {
        rule.id = self.rules.len();
        let rule = Arc::new(rule);
        self.rules.push(Arc::clone(&rule));
        rule
    }

    pub(crate) fn insert_ingress(&mut self, entry: Entry) {
        self.ingress.insert(entry);
    }

    /// The first one for a host stays.
    pub(crate) fn insert_default(&mut self, entry: Entry) {
        let host = entry.host.clone();
        self.defaults.entry(&host, || entry);
    }

    /// The first one for a host stays; false if there is one.
    pub(crate) fn insert_certificate(&mut self, host: &HostPattern, certificate: &Arc<Certificate>) -> bool {
        let kept = self.certificates.entry(host, || (host.rank(), Arc::clone(certificate)));
        Arc::ptr_eq(&kept.1, certificate)
    }

    /// The first one for a host and port stays.
    pub(crate) fn insert_listener(&mut self, listener: Listener, rules: Rules) {
        let index = self.listeners.len();
        let hosts = self.ports.entry(listener.port).or_insert_with(|| HostTable::new(Star::Labels));
        hosts.entry(&listener.host, || index);
        self.listeners.push((listener, rules));
    }

    pub(crate) fn finish(&mut self) {
        self.ingress.sort();
        for (_, rules) in &mut self.listeners {
            rules.sort();
        }
    }
}

enum Found<'r> {
    None,
    Misdirected(HostRank),
    Listener(&'r Rules),
}
