//! GatewayClass and Gateway: what the rules in their CustomResourceDefinitions check.

use std::collections::BTreeSet;

use protocol::problem::Problem;

use super::ingress::controller_name;
use super::words;
use crate::gateway_api::{Gateway, GatewayClass, Listener};

/// The Gateway API's `maxItems`.
const MAX_LISTENERS: usize = 64;

pub(super) fn class(object: &mut GatewayClass, problems: &mut Vec<Problem>) {
    object.status = None;
    controller_name(&object.spec.controller_name, "spec.controllerName", problems);
}

pub(super) fn gateway(object: &mut Gateway, problems: &mut Vec<Problem>) {
    object.status = None;
    let spec = &object.spec;
    if !words::is_subdomain(&spec.gateway_class_name) {
        let why = "must be a DNS subdomain";
        problems.push(Problem::invalid("spec.gatewayClassName", &spec.gateway_class_name, why));
    }
    if spec.listeners.is_empty() {
        problems.push(Problem::required("spec.listeners", "at least one listener"));
    }
    if spec.listeners.len() > MAX_LISTENERS {
        let why = format!("at most {MAX_LISTENERS} listeners");
        problems.push(Problem::invalid("spec.listeners", spec.listeners.len(), why));
        return;
    }
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for (index, listener) in spec.listeners.iter().enumerate() {
        let at = format!("spec.listeners[{index}]");
        if !names.insert(&listener.name) {
            problems.push(Problem::invalid(
                format!("{at}.name"),
                &listener.name,
                "Listener name must be unique within the Gateway",
            ));
        }
        if !places.insert((listener.port, &listener.protocol, &listener.hostname)) {
            let why = "Combination of port, protocol and hostname must be unique for each listener";
            problems.push(Problem::invalid(&at, &listener.name, why));
        }
        self::listener(listener, &at, problems);
    }
}

fn listener(listener: &Listener, at: &str, problems: &mut Vec<Problem>) {
    if !words::is_subdomain(&listener.name) {
        problems.push(Problem::invalid(format!("{at}.name"), &listener.name, "must be a DNS subdomain"));
    }
    words::port(listener.port, format!("{at}.port"), problems);
    if let Some(host) = listener.hostname.as_deref().filter(|host| !host.is_empty()) {
        words::host(host, format!("{at}.hostname"), problems);
    }
    match (listener.protocol.as_str(), &listener.tls) {
        ("HTTP" | "TCP" | "UDP", Some(_)) => {
            let why = format!(
                "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP'], and this is {}",
                listener.protocol
            );
            problems.push(Problem::forbidden(format!("{at}.tls"), why));
        }
        ("HTTPS", None) => problems.push(Problem::required(format!("{at}.tls"), "protocol HTTPS needs it")),
        ("HTTPS", Some(tls)) => {
            match tls.mode.as_deref() {
                None | Some("Terminate") => {}
                Some("Passthrough") => {
                    problems.push(Problem::invalid(
                        format!("{at}.tls.mode"),
                        "Passthrough",
                        "tls mode must be Terminate for protocol HTTPS",
                    ));
                }
                Some(other) => {
                    problems.push(Problem::unsupported(format!("{at}.tls.mode"), other, &["Terminate"]));
                }
            }
            if tls.certificate_refs.as_deref().unwrap_or_default().is_empty() {
                problems.push(Problem::required(
                    format!("{at}.tls.certificateRefs"),
                    "certificateRefs must be specified when mode is Terminate",
                ));
            }
        }
        _ => {}
    }
    let namespaces = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    match namespaces.and_then(|namespaces| namespaces.from.as_deref()) {
        None | Some("Same" | "All" | "Selector" | "None") => {}
        Some(other) => {
            let path = format!("{at}.allowedRoutes.namespaces.from");
            problems.push(Problem::unsupported(path, other, &["All", "None", "Same", "Selector"]));
        }
    }
}
