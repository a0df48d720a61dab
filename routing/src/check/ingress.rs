//! Ingress and IngressClass (Kubernetes' `pkg/apis/networking/validation`).

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressRule};
use protocol::problem::Problem;

use super::words;
use crate::annotations;

/// `kubernetes.io/ingress.class`.
pub(crate) const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Rules in one object, and paths in one rule.
const MAX_RULES: usize = 1024;

pub(super) fn ingress(object: &mut Ingress, problems: &mut Vec<Problem>) {
    object.status = None;
    let empty = || Problem::required("spec", "either `defaultBackend` or `rules` must be specified");
    let Some(spec) = &object.spec else {
        problems.push(empty());
        return;
    };
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        problems.push(empty());
    }
    if rules.len() > MAX_RULES {
        problems.push(Problem::invalid("spec.rules", rules.len(), format!("at most {MAX_RULES} rules")));
        return;
    }
    if let Some(default) = &spec.default_backend {
        backend(default, "spec.defaultBackend", problems);
    }
    if let Some(class) = &spec.ingress_class_name {
        if !words::is_subdomain(class) {
            problems.push(Problem::invalid("spec.ingressClassName", class, "must be a DNS subdomain"));
        }
        let annotation = object.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION));
        if let Some(word) = annotation.filter(|word| *word != class) {
            let path = format!("metadata.annotations[{CLASS_ANNOTATION}]");
            problems.push(Problem::invalid(path, word, "can not be set when the class field is also set"));
        }
    }
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        for (at, host) in tls.hosts.iter().flatten().enumerate() {
            words::host(host, format!("spec.tls[{index}].hosts[{at}]"), problems);
        }
        if let Some(name) = tls.secret_name.as_deref().filter(|name| !words::is_subdomain(name)) {
            problems.push(Problem::invalid(
                format!("spec.tls[{index}].secretName"),
                name,
                "must be a DNS subdomain",
            ));
        }
    }
    for (index, rule) in rules.iter().enumerate() {
        self::rule(rule, &format!("spec.rules[{index}]"), problems);
    }
    annotations::check(object.metadata.annotations.as_ref(), problems);
}

fn rule(rule: &IngressRule, at: &str, problems: &mut Vec<Problem>) {
    if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
        words::host(host, format!("{at}.host"), problems);
    }
    let Some(http) = &rule.http else { return };
    if http.paths.is_empty() {
        problems.push(Problem::required(format!("{at}.http.paths"), ""));
    }
    if http.paths.len() > MAX_RULES {
        let why = format!("at most {MAX_RULES} paths");
        problems.push(Problem::invalid(format!("{at}.http.paths"), http.paths.len(), why));
        return;
    }
    for (index, path) in http.paths.iter().enumerate() {
        self::path(path, &format!("{at}.http.paths[{index}]"), problems);
    }
}

fn path(path: &HTTPIngressPath, at: &str, problems: &mut Vec<Problem>) {
    let text = path.path.as_deref().unwrap_or_default();
    match path.path_type.as_str() {
        "" => problems.push(Problem::required(format!("{at}.pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => words::path(text, format!("{at}.path"), problems),
        "ImplementationSpecific" if text.is_empty() => {}
        "ImplementationSpecific" => words::path(text, format!("{at}.path"), problems),
        other => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            problems.push(Problem::unsupported(format!("{at}.pathType"), other, &known));
        }
    }
    backend(&path.backend, &format!("{at}.backend"), problems);
}

fn backend(backend: &IngressBackend, at: &str, problems: &mut Vec<Problem>) {
    let service = match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => {
            problems.push(Problem::invalid(at, "", "cannot set both resource and service backends"));
            return;
        }
        (None, None) => {
            problems.push(Problem::required(at, "a service or a resource must be specified"));
            return;
        }
        (None, Some(_)) => return,
        (Some(service), None) => service,
    };
    if service.name.parse::<protocol::Namespace>().is_err() {
        let why = "a DNS-1035 label must consist of lower case alphanumeric characters or '-'";
        problems.push(Problem::invalid(format!("{at}.service.name"), &service.name, why));
    }
    let port = service.port.as_ref();
    let name = port.and_then(|port| port.name.as_deref()).filter(|name| !name.is_empty());
    let number = port.and_then(|port| port.number).filter(|number| *number != 0);
    match (name, number) {
        (None, None) => {
            problems.push(Problem::required(format!("{at}.service.port"), "port name or number is required"));
        }
        (Some(_), Some(_)) => {
            let why = "cannot set both port name & port number";
            problems.push(Problem::invalid(format!("{at}.service.port"), "", why));
        }
        (None, Some(number)) => {
            words::port(number, format!("{at}.service.port.number"), problems);
        }
        (Some(name), None) => {
            if name.parse::<protocol::Namespace>().is_err() || name.len() > 15 {
                let why = "must be a port's name: at most 15 lower case letters, digits and '-'";
                problems.push(Problem::invalid(format!("{at}.service.port.name"), name, why));
            }
        }
    }
}

pub(super) fn class(object: &mut IngressClass, problems: &mut Vec<Problem>) {
    let Some(controller) = object.spec.as_ref().and_then(|spec| spec.controller.as_deref()) else {
        problems.push(Problem::required("spec.controller", ""));
        return;
    };
    controller_name(controller, "spec.controller", problems);
}

/// A domain and a path, as in `vpod.io/ingress`.
pub(super) fn controller_name(text: &str, path: &str, problems: &mut Vec<Problem>) {
    let is_good =
        text.split_once('/').is_some_and(|(domain, rest)| words::is_subdomain(domain) && !rest.is_empty());
    if !is_good || text.len() > 250 {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        problems.push(Problem::invalid(path, text, why));
    }
}
