//! Ingresses: their rules, default backends, certificates and canaries.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};
use protocol::ObjectRef;
use protocol::problem::Problem;

use super::report::{Report, missing};
use super::{Objects, ServiceState};
use crate::annotations::{self, Annotations};
use crate::check::CLASS_ANNOTATION;
use crate::condition::Conditions;
use crate::host::HostPattern;
use crate::path::PathPattern;
use crate::policy::Policy;
use crate::router::{Entry, Router};
use crate::rule::{
    Backend, Canary, HeaderEdits, Origin, OriginKind, PathChange, PortRef, Rewrite, Rule, ServicePort, Target,
};

/// The status of the redirect to HTTPS: the method stays.
const HTTPS_REDIRECT: u16 = 308;

type Services<'s> = &'s dyn Fn(&ServicePort) -> ServiceState;
type Place = (HostPattern, PathPattern);

/// Its class; the default one where it names none.
pub(super) fn class<'o>(objects: &'o Objects, ingress: &'o Ingress) -> &'o str {
    let named = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    let annotations = ingress.metadata.annotations.as_ref();
    let annotated = || annotations.and_then(|all| all.get(CLASS_ANNOTATION)).map(String::as_str);
    named.or_else(annotated).unwrap_or_else(|| objects.default_class())
}

pub(super) fn build(objects: &Objects, router: &mut Router, report: &mut Report, services: Services<'_>) {
    let ours = objects.ingresses.iter().filter(|(_, kept)| objects.serves(class(objects, &kept.object)));
    let mut ours: Vec<One<'_>> = ours
        .map(|(name, kept)| {
            let all = kept.object.metadata.annotations.clone().unwrap_or_default();
            let mut problems = Vec::new();
            let annotations = annotations::read(&all, &mut problems);
            let warn = |key: &str| Problem {
                path: format!("metadata.annotations[{key}]"),
                text: "is not supported and does nothing".to_owned(),
            };
            problems.extend(annotations::unknown(&all).map(warn));
            let policy = Arc::new(annotations.policy.clone());
            One { name, created: kept.created, ingress: &kept.object, annotations, policy, problems }
        })
        .collect();
    ours.sort_by_key(|one| (one.created, one.name));
    let mut plan = Plan::default();
    for one in ours.iter_mut().filter(|one| one.annotations.canary.is_none()) {
        plan.certificates(one, objects, router);
        plan.rules(one, services);
    }
    for one in ours.iter_mut().filter(|one| one.annotations.canary.is_some()) {
        plan.canaries(one, services);
    }
    plan.finish(router);
    for one in ours {
        report.ingresses.entry(one.name.clone()).or_default().problems.extend(one.problems);
    }
}

/// An Ingress.
struct One<'o> {
    name: &'o ObjectRef,
    created: u64,
    ingress: &'o Ingress,
    annotations: Annotations,
    policy: Arc<Policy>,
    problems: Vec<Problem>,
}

impl One<'_> {
    fn origin(&self, rule: Option<usize>) -> Origin {
        Origin { created: self.created, object: self.name.clone(), kind: OriginKind::Ingress, rule }
    }

    /// Its paths, numbered through, each with its host and its field.
    fn paths(&self) -> Vec<(HostPattern, String, HTTPIngressPath)> {
        let mut all = Vec::new();
        for (index, rule) in self.ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()).enumerate()
        {
            let host = HostPattern::read(rule.host.as_deref());
            for (at, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                all.push((host.clone(), format!("spec.rules[{index}].http.paths[{at}]"), path.clone()));
            }
        }
        all
    }

    fn hosts(&self) -> Vec<HostPattern> {
        let rules = self.ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        rules.map(|rule| HostPattern::read(rule.host.as_deref())).collect()
    }

    /// Whether requests for a host are to come by HTTPS: its TLS names it, or names none.
    fn redirects(&self, host: &HostPattern) -> bool {
        let mut tls = self.ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        let has_tls = tls.any(|tls| {
            let hosts = tls.hosts.as_deref().unwrap_or_default();
            hosts.is_empty() || hosts.iter().any(|known| HostPattern::read(Some(known)) == *host)
        });
        self.annotations.force_ssl_redirect || has_tls && self.annotations.ssl_redirect.unwrap_or(true)
    }

    fn backend(&mut self, backend: &IngressBackend, at: &str, services: Services<'_>) -> Backend {
        let target = target(self.name, backend);
        let problem = match &target {
            Target::Service(port) => missing(port, services),
            Target::Invalid(why) => Some(why.clone()),
        };
        if let Some(text) = problem {
            self.problems.push(Problem {
                path: format!("{at}.backend"),
                text: format!("{text}: its requests are answered with 500"),
            });
        }
        let none = HeaderEdits::default();
        Backend { weight: 1, target, request_headers: none.clone(), response_headers: none }
    }

    fn rule(&self, host: &HostPattern, rule: Option<usize>, backend: Backend) -> Rule {
        let all = &self.annotations;
        let full = all.rewrite_target.clone().map(PathChange::Full);
        let path = full.or_else(|| all.rewrite_prefix.clone().map(PathChange::Prefix));
        let rewrite = (path.is_some() || all.upstream_host.is_some())
            .then(|| Rewrite { host: all.upstream_host.clone(), path });
        Rule {
            id: 0,
            origin: self.origin(rule),
            https_redirect: self.redirects(host).then_some(HTTPS_REDIRECT),
            redirect: None,
            rewrite,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            mirrors: Vec::new(),
            backends: vec![backend],
            canary: None,
            policy: Arc::clone(&self.policy),
        }
    }
}

fn target(ingress: &ObjectRef, backend: &IngressBackend) -> Target {
    let Some(service) = &backend.service else {
        return Target::Invalid("backends other than services are not supported".to_owned());
    };
    let port = service.port.as_ref();
    let name = port.and_then(|port| port.name.clone()).filter(|name| !name.is_empty());
    let number = port.and_then(|port| u16::try_from(port.number?).ok());
    let port = name.map(PortRef::Name).or(number.map(PortRef::Number));
    match (service.name.parse(), port) {
        (Ok(name), Some(port)) => {
            let service = ObjectRef { namespace: ingress.namespace.clone(), name };
            Target::Service(ServicePort { service, port })
        }
        _ => Target::Invalid(format!("\"{}\" is no service", service.name)),
    }
}

fn pattern(path: &HTTPIngressPath) -> PathPattern {
    let text = path.path.as_deref().unwrap_or("/");
    if path.path_type == "Exact" { PathPattern::Exact(text.to_owned()) } else { PathPattern::prefix(text) }
}

/// Rules before they are put into the router, where no more can be added to them.
#[derive(Default)]
struct Plan {
    rules: Vec<(Place, Rule)>,
    /// Whose a place is, as an index.
    places: BTreeMap<Place, usize>,
    defaults: Vec<(Vec<HostPattern>, Rule)>,
}

impl Plan {
    fn certificates(&mut self, one: &mut One<'_>, objects: &Objects, router: &mut Router) {
        let all = one.ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        for (index, tls) in all.enumerate() {
            let at = format!("spec.tls[{index}]");
            let instead = "the ingress's own certificate is used";
            let mut say = |text: String| one.problems.push(Problem { path: at.clone(), text });
            let Some(name) = tls.secret_name.as_deref().and_then(|name| name.parse().ok()) else { continue };
            let secret = ObjectRef { namespace: one.name.namespace.clone(), name };
            let certificate = match objects.secrets.get(&secret) {
                Some(Ok(certificate)) => certificate,
                Some(Err(error)) => {
                    say(format!("secret {secret}: {error}; {instead}"));
                    continue;
                }
                None => {
                    say(format!("secret {secret} not found; {instead}"));
                    continue;
                }
            };
            let hosts = tls.hosts.as_deref().unwrap_or_default();
            let named = hosts.iter().map(|host| HostPattern::read(Some(host)));
            let any = hosts.is_empty().then_some(HostPattern::Any);
            for host in named.chain(any) {
                if !router.insert_certificate(&host, certificate) {
                    say(format!("an older ingress has another certificate for {host}, which is used"));
                }
            }
        }
    }

    fn rules(&mut self, one: &mut One<'_>, services: Services<'_>) {
        for (number, (host, at, path)) in one.paths().into_iter().enumerate() {
            let place = (host, pattern(&path));
            if let Some((_, older)) = self.places.get(&place).and_then(|index| self.rules.get(*index)) {
                let text = format!(
                    "{}{} is served by {} already; this path is left out",
                    place.0, place.1, older.origin
                );
                one.problems.push(Problem { path: at, text });
                continue;
            }
            let backend = one.backend(&path.backend, &at, services);
            let rule = one.rule(&place.0, Some(number), backend);
            self.places.insert(place.clone(), self.rules.len());
            self.rules.push((place, rule));
        }
        let default = one.ingress.spec.as_ref().and_then(|spec| spec.default_backend.as_ref());
        if let Some(default) = default {
            let backend = one.backend(default, "spec.defaultBackend", services);
            let mut hosts = one.hosts();
            hosts.push(HostPattern::Any);
            let redirects = hosts.iter().any(|host| one.redirects(host));
            let mut rule = one.rule(&HostPattern::Any, None, backend);
            rule.https_redirect = redirects.then_some(HTTPS_REDIRECT);
            self.defaults.push((hosts, rule));
        }
    }

    fn canaries(&mut self, one: &mut One<'_>, services: Services<'_>) {
        let Some(canary) = one.annotations.canary.clone() else { return };
        for (number, (host, at, path)) in one.paths().into_iter().enumerate() {
            let place = (host, pattern(&path));
            let backend = one.backend(&path.backend, &at, services);
            let main = self.places.get(&place).and_then(|index| self.rules.get_mut(*index));
            let text = match main {
                None => format!(
                    "there is no other ingress for {}{} that this could be the canary of",
                    place.0, place.1
                ),
                Some((_, Rule { canary: Some(other), .. })) => {
                    format!("{} is the canary there already", other.origin)
                }
                Some((_, main)) => {
                    main.canary = Some(Canary {
                        origin: one.origin(Some(number)),
                        header: canary.header.clone(),
                        cookie: canary.cookie.clone(),
                        weight: canary.weight,
                        weight_total: canary.weight_total,
                        backend,
                    });
                    continue;
                }
            };
            one.problems.push(Problem { path: at, text });
        }
    }

    fn finish(self, router: &mut Router) {
        for ((host, path), rule) in self.rules {
            let rule = router.add_rule(rule);
            router.insert_ingress(Entry { host, path, conditions: Conditions::default(), rule });
        }
        for (hosts, rule) in self.defaults {
            let rule = router.add_rule(rule);
            for host in hosts {
                let path = PathPattern::prefix("/");
                router.insert_default(Entry {
                    host,
                    path,
                    conditions: Conditions::default(),
                    rule: Arc::clone(&rule),
                });
            }
        }
    }
}
