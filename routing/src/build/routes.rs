//! HTTPRoutes: which listeners they are at, and their rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::ObjectRef;
use protocol::problem::Problem;

use super::gateways::Open;
use super::report::{ParentVerdict, Report, StatusCondition, missing};
use super::{Kept, Objects, ServiceState};
use crate::check::words;
use crate::condition::{Condition, Conditions};
use crate::gateway_api::{
    BackendRef, Filter, HeaderFilter, HeaderMatch, HttpRoute, MirrorFilter, ParentRef, PathModifier,
    RouteMatch, RouteRule,
};
use crate::host::HostPattern;
use crate::path::PathPattern;
use crate::policy::{Cors, Policy, Retry, Timeouts};
use crate::router::{Entry, Router};
use crate::rule::{
    Backend, HeaderEdits, Mirror, Origin, OriginKind, PathChange, PortRef, Redirect, Rewrite, Rule,
    ServicePort, Target,
};

type Services<'s> = &'s dyn Fn(&ServicePort) -> ServiceState;
type Gateways<'o> = BTreeMap<ObjectRef, Vec<Open<'o>>>;

/// The status of a redirect that names none.
const FOUND: u16 = 302;

pub(super) fn attach(
    objects: &Objects,
    router: &mut Router,
    gateways: &mut Gateways<'_>,
    report: &mut Report,
    services: Services<'_>,
) {
    let mut routes: Vec<(&ObjectRef, &Kept<Box<HttpRoute>>)> = objects.routes.iter().collect();
    routes.sort_by_key(|(name, kept)| (kept.created, *name));
    for (name, kept) in routes {
        let route = &kept.object;
        let is_ours = |parent: &&ParentRef| {
            parent_of(name, parent).is_some_and(|gateway| gateways.contains_key(&gateway))
        };
        let ours: Vec<&ParentRef> = route.spec.parent_refs.iter().filter(is_ours).collect();
        if ours.is_empty() {
            continue;
        }
        let mut compiler =
            Compiler { name, created: kept.created, services, unresolved: None, unsupported: None };
        let default = [RouteRule::default()];
        let written = if route.spec.rules.is_empty() { default.as_slice() } else { &route.spec.rules };
        let rules: Vec<(Rule, Vec<Way>)> =
            written.iter().enumerate().map(|(index, rule)| compiler.rule(index, rule)).collect();
        let Compiler { unresolved, unsupported, .. } = compiler;
        // A route that is not understood whole is not followed in part.
        let is_sound = unsupported.is_none();
        let rules: Vec<_> = rules
            .into_iter()
            .filter(|_| is_sound)
            .map(|(rule, ways)| (router.add_rule(rule), ways))
            .collect();
        let verdict = report.routes.entry(name.clone()).or_default();
        for parent in ours {
            let accepted = match &unsupported {
                Some(problem) => {
                    StatusCondition::new("Accepted", false, "UnsupportedValue", problem.to_string())
                }
                None => at_parent(name, route, parent, gateways, &rules),
            };
            let resolved = unresolved.as_ref().map_or_else(
                || StatusCondition::new("ResolvedRefs", true, "ResolvedRefs", ""),
                |(reason, text)| StatusCondition::new("ResolvedRefs", false, reason, text),
            );
            verdict
                .parents
                .push(ParentVerdict { parent: parent.clone(), conditions: vec![accepted, resolved] });
        }
        verdict.problems.extend(unsupported);
        let unresolved = unresolved.map(|(_, text)| Problem { path: "spec.rules".to_owned(), text });
        verdict.problems.extend(unresolved);
    }
}

/// One of the ways into a rule: a path and what else a request must have.
type Way = (PathPattern, Conditions);

/// The Gateway that a route names, if it is one.
fn parent_of(route: &ObjectRef, parent: &ParentRef) -> Option<ObjectRef> {
    let group = parent.group.as_deref().unwrap_or(crate::gateway_api::GROUP);
    if group != crate::gateway_api::GROUP || parent.kind.as_deref().unwrap_or("Gateway") != "Gateway" {
        return None;
    }
    let namespace = match &parent.namespace {
        Some(namespace) => namespace.parse().ok()?,
        None => route.namespace.clone(),
    };
    Some(ObjectRef { namespace, name: parent.name.parse().ok()? })
}

fn at_parent(
    name: &ObjectRef,
    route: &HttpRoute,
    parent: &ParentRef,
    gateways: &mut Gateways<'_>,
    rules: &[(Arc<Rule>, Vec<Way>)],
) -> StatusCondition {
    let refused = |reason, text: &str| StatusCondition::new("Accepted", false, reason, text);
    let listeners = parent_of(name, parent).and_then(|gateway| gateways.get_mut(&gateway));
    let is_named = |one: &Open<'_>| {
        parent.section_name.as_ref().is_none_or(|section| *section == one.written.name)
            && parent.port.is_none_or(|port| port == one.written.port)
    };
    let mut named: Vec<&mut Open<'_>> = listeners.into_iter().flatten().filter(|one| is_named(one)).collect();
    if named.is_empty() {
        return refused("NoMatchingParent", "the gateway has no such listener");
    }
    named.retain(|one| allows(one, name));
    if named.is_empty() {
        return refused(
            "NotAllowedByListeners",
            "no listener allows routes of this kind from this namespace",
        );
    }
    let mut hosts_at = 0;
    for one in named {
        let hosts = hosts(route, &one.listener.host);
        if hosts.is_empty() {
            continue;
        }
        hosts_at += 1;
        one.attached += 1;
        for host in &hosts {
            for (rule, ways) in rules {
                for (path, conditions) in ways {
                    let (host, path, conditions) = (host.clone(), path.clone(), conditions.clone());
                    one.rules.insert(Entry { host, path, conditions, rule: Arc::clone(rule) });
                }
            }
        }
    }
    if hosts_at == 0 {
        return refused("NoMatchingListenerHostname", "no listener is for any host of the route");
    }
    StatusCondition::new("Accepted", true, "Accepted", "")
}

/// The hosts of a route at a listener.
fn hosts(route: &HttpRoute, listener: &HostPattern) -> BTreeSet<HostPattern> {
    if route.spec.hostnames.is_empty() {
        return BTreeSet::from([listener.clone()]);
    }
    let all = route.spec.hostnames.iter().map(|host| HostPattern::read(Some(host)));
    all.filter_map(|host| host.intersection(listener)).collect()
}

fn allows(one: &Open<'_>, route: &ObjectRef) -> bool {
    let allowed = one.written.allowed_routes.as_ref();
    let kinds = allowed.and_then(|allowed| allowed.kinds.as_deref()).unwrap_or_default();
    let is_kind = kinds.is_empty() || kinds.iter().any(|kind| kind.kind == "HTTPRoute");
    let namespaces = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    let is_here = one.listener.gateway.namespace == route.namespace;
    is_kind
        && match namespaces.and_then(|namespaces| namespaces.from.as_deref()) {
            Some("All") => true,
            Some("None") => false,
            Some("Selector") => {
                // Of the labels of namespaces, the name is the one that is known here.
                let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
                selector.is_some_and(|selector| selects(selector, route.namespace.as_str()))
            }
            _ => is_here,
        }
}

fn selects(
    selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    namespace: &str,
) -> bool {
    const NAME: &str = "kubernetes.io/metadata.name";
    let labels = selector.match_labels.iter().flatten().all(|(key, value)| key == NAME && value == namespace);
    let mut expressions = selector.match_expressions.iter().flatten();
    labels
        && expressions.all(|one| {
            let is_among = one.values.iter().flatten().any(|value| value == namespace);
            one.key == NAME
                && match one.operator.as_str() {
                    "In" => is_among,
                    "NotIn" => !is_among,
                    "Exists" => true,
                    _ => false,
                }
        })
}

/// Makes rules of what is written, and collects what is wrong.
struct Compiler<'a> {
    name: &'a ObjectRef,
    created: u64,
    services: Services<'a>,
    unresolved: Option<(&'static str, String)>,
    unsupported: Option<Problem>,
}

impl Compiler<'_> {
    fn rule(&mut self, index: usize, written: &RouteRule) -> (Rule, Vec<Way>) {
        let any = [RouteMatch::default()];
        let matches = if written.matches.is_empty() { any.as_slice() } else { &written.matches };
        let ways = matches.iter().enumerate();
        let ways =
            ways.map(|(at, one)| self.way(one, &format!("spec.rules[{index}].matches[{at}]"))).collect();
        let filters = self.filters(&written.filters);
        let backends = written.backend_refs.iter().map(|backend| self.backend(backend)).collect();
        let rule = Rule {
            id: 0,
            origin: Origin {
                created: self.created,
                object: self.name.clone(),
                kind: OriginKind::HttpRoute,
                rule: Some(index),
            },
            https_redirect: None,
            redirect: filters.redirect,
            rewrite: filters.rewrite,
            request_headers: filters.request_headers,
            response_headers: filters.response_headers,
            mirrors: filters.mirrors,
            backends,
            canary: None,
            policy: Arc::new(policy(written, filters.cors)),
        };
        (rule, ways)
    }

    fn way(&mut self, wanted: &RouteMatch, at: &str) -> Way {
        let path = wanted.path.as_ref();
        let text = path.and_then(|path| path.value.as_deref()).unwrap_or("/");
        let pattern = match path.and_then(|path| path.type_.as_deref()) {
            Some("Exact") => PathPattern::Exact(text.to_owned()),
            Some("RegularExpression") => {
                self.unsupported(&format!("{at}.path.type"));
                PathPattern::prefix(text)
            }
            _ => PathPattern::prefix(text),
        };
        let mut headers = self.named(&wanted.headers, &format!("{at}.headers"));
        for header in &mut headers {
            header.name.make_ascii_lowercase();
        }
        let query = self.named(&wanted.query_params, &format!("{at}.queryParams"));
        let conditions = Conditions {
            method: wanted.method.clone(),
            headers: first_of_each(headers),
            query: first_of_each(query),
        };
        (pattern, conditions)
    }

    fn named(&mut self, all: &[HeaderMatch], at: &str) -> Vec<Condition> {
        if all.iter().any(|one| one.type_.as_deref() == Some("RegularExpression")) {
            self.unsupported(at);
        }
        all.iter().map(|one| Condition { name: one.name.clone(), value: one.value.clone() }).collect()
    }

    fn unsupported(&mut self, path: &str) {
        self.unsupported.get_or_insert(Problem::unsupported(
            path,
            "RegularExpression",
            &["Exact", "PathPrefix"],
        ));
    }

    fn filters(&mut self, all: &[Filter]) -> Filters {
        let mut filters = Filters::default();
        for filter in all {
            if let Some(edits) = &filter.request_header_modifier {
                filters.request_headers = header_edits(edits);
            }
            if let Some(edits) = &filter.response_header_modifier {
                filters.response_headers = header_edits(edits);
            }
            if let Some(mirror) = &filter.request_mirror {
                filters.mirrors.push(self.mirror(mirror));
            }
            if let Some(redirect) = &filter.request_redirect {
                filters.redirect = Some(Redirect {
                    status: redirect.status_code.unwrap_or(FOUND),
                    https: redirect.scheme.as_ref().map(|scheme| scheme == "https"),
                    host: redirect.hostname.clone(),
                    port: redirect.port.and_then(|port| port.try_into().ok()),
                    path: redirect.path.as_ref().and_then(path_change),
                });
            }
            if let Some(rewrite) = &filter.url_rewrite {
                let path = rewrite.path.as_ref().and_then(path_change);
                filters.rewrite = Some(Rewrite { host: rewrite.hostname.clone(), path });
            }
            if let Some(cors) = &filter.cors {
                filters.cors = Some(Cors {
                    origins: cors.allow_origins.clone(),
                    methods: cors.allow_methods.clone(),
                    headers: cors.allow_headers.clone(),
                    expose: cors.expose_headers.clone(),
                    credentials: cors.allow_credentials.unwrap_or(false),
                    max_age_seconds: cors.max_age,
                });
            }
        }
        filters
    }

    fn mirror(&mut self, written: &MirrorFilter) -> Mirror {
        let (numerator, denominator) = match (&written.fraction, written.percent) {
            (Some(fraction), _) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
            (None, percent) => (percent.unwrap_or(100), 100),
        };
        Mirror { target: self.target(&written.backend_ref), numerator, denominator }
    }

    fn backend(&mut self, written: &BackendRef) -> Backend {
        let target = self.target(written);
        let filters = self.filters(&written.filters);
        Backend {
            weight: u32::try_from(written.weight.unwrap_or(1)).unwrap_or_default(),
            target,
            request_headers: filters.request_headers,
            response_headers: filters.response_headers,
        }
    }

    fn target(&mut self, backend: &BackendRef) -> Target {
        let mut invalid = |reason: &'static str, text: String| {
            self.unresolved.get_or_insert((reason, text.clone()));
            Target::Invalid(text)
        };
        let is_service = matches!(backend.group.as_deref(), None | Some(""))
            && matches!(backend.kind.as_deref(), None | Some("Service"));
        if !is_service {
            return invalid("InvalidKind", format!("backend {} is no Service", backend.name));
        }
        if backend.namespace.as_deref().is_some_and(|namespace| namespace != self.name.namespace.as_str()) {
            let text =
                format!("service {} is in another namespace, and there are no ReferenceGrants", backend.name);
            return invalid("RefNotPermitted", text);
        }
        let (Ok(name), Some(port)) =
            (backend.name.parse(), backend.port.and_then(|port| u16::try_from(port).ok()))
        else {
            return invalid("BackendNotFound", format!("service {} has no such port", backend.name));
        };
        let service = ObjectRef { namespace: self.name.namespace.clone(), name };
        let port = ServicePort { service, port: PortRef::Number(port) };
        if let Some(text) = missing(&port, self.services) {
            self.unresolved.get_or_insert(("BackendNotFound", text));
        }
        Target::Service(port)
    }
}

#[derive(Default)]
struct Filters {
    redirect: Option<Redirect>,
    rewrite: Option<Rewrite>,
    request_headers: HeaderEdits,
    response_headers: HeaderEdits,
    mirrors: Vec<Mirror>,
    cors: Option<Cors>,
}

/// Of several with one name the first counts.
fn first_of_each(all: Vec<Condition>) -> Vec<Condition> {
    let mut seen = BTreeSet::new();
    all.into_iter().filter(|one| seen.insert(one.name.clone())).collect()
}

fn header_edits(written: &HeaderFilter) -> HeaderEdits {
    let lower = |pair: &crate::gateway_api::NameValue| (pair.name.to_ascii_lowercase(), pair.value.clone());
    HeaderEdits {
        set: written.set.iter().map(lower).collect(),
        add: written.add.iter().map(lower).collect(),
        remove: written.remove.iter().map(|name| name.to_ascii_lowercase()).collect(),
    }
}

fn path_change(written: &PathModifier) -> Option<PathChange> {
    let full = written.replace_full_path.clone().map(PathChange::Full);
    full.or_else(|| written.replace_prefix_match.clone().map(PathChange::Prefix))
}

fn policy(written: &RouteRule, cors: Option<Cors>) -> Policy {
    let timeouts = written.timeouts.as_ref();
    let read = |text: Option<&String>| text.and_then(|text| words::duration(text));
    let retry = written.retry.as_ref().map(|retry| Retry {
        attempts: retry.attempts.unwrap_or(1),
        codes: retry.codes.clone(),
        backoff: read(retry.backoff.as_ref()).unwrap_or(Duration::ZERO),
    });
    Policy {
        timeouts: Timeouts {
            request: read(timeouts.and_then(|all| all.request.as_ref())),
            backend_request: read(timeouts.and_then(|all| all.backend_request.as_ref())),
            ..Timeouts::default()
        },
        retry,
        cors,
        ..Policy::default()
    }
}
