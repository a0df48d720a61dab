//! Gateways: their listeners, and the routes at them.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ObjectRef;

use super::report::{ListenerVerdict, Report, StatusCondition, Verdict};
use super::{Kept, Objects, ServiceState, routes};
use crate::certificate::Certificate;
use crate::gateway_api::{Gateway, Listener as Written, SecretRef};
use crate::host::{HostPattern, Star};
use crate::router::{Listener, Router, Rules};
use crate::rule::ServicePort;

/// What Ingress has at these ports, so that nothing else can be there.
const TAKEN: [(u16, bool); 2] = [(80, false), (443, true)];

/// Where the ingress says how it is, in its pod.
const ITS_OWN: [u16; 2] = [8181, 9153];

/// A listener before it is in the router.
pub(super) struct Open<'o> {
    pub(super) listener: Listener,
    pub(super) written: &'o Written,
    pub(super) rules: Rules,
    pub(super) attached: usize,
    /// Why it cannot serve, if so.
    pub(super) conditions: Vec<StatusCondition>,
    pub(super) is_open: bool,
}

pub(super) fn build(
    objects: &Objects,
    router: &mut Router,
    report: &mut Report,
    services: &dyn Fn(&ServicePort) -> ServiceState,
) {
    let ours = objects.gateways.iter();
    let mut ours: Vec<(&ObjectRef, &Kept<Box<Gateway>>)> =
        ours.filter(|(_, kept)| objects.serves_gateways(&kept.object.spec.gateway_class_name)).collect();
    ours.sort_by_key(|(name, kept)| (kept.created, *name));
    let mut places = Places::from_iter(TAKEN.map(|(port, https)| (port, (https, BTreeMap::new()))));
    let mut open: BTreeMap<ObjectRef, Vec<Open<'_>>> = BTreeMap::new();
    for (name, kept) in ours {
        let listeners = kept.object.spec.listeners.iter();
        let listeners = listeners.map(|written| self::open(objects, name, written, &mut places)).collect();
        open.insert(name.clone(), listeners);
    }
    routes::attach(objects, router, &mut open, report, services);
    for (name, listeners) in open {
        let programmed = listeners.iter().filter(|one| one.is_open).count();
        let (all, reason) = (listeners.len(), if programmed > 0 { "Programmed" } else { "Invalid" });
        let accepted = if programmed == all { "Accepted" } else { "ListenersNotValid" };
        let message = format!("{programmed} of {all} listeners are served");
        let verdict: &mut Verdict = report.gateways.entry(name).or_default();
        verdict.conditions = vec![
            StatusCondition::new("Accepted", programmed > 0, accepted, &message),
            StatusCondition::new("Programmed", programmed > 0, reason, message),
        ];
        for one in listeners {
            verdict.listeners.push(ListenerVerdict {
                name: one.written.name.clone(),
                attached: one.attached,
                conditions: one.conditions,
            });
            if one.is_open {
                router.insert_listener(one.listener, one.rules);
            }
        }
    }
}

/// Per port its protocol, and whose its hosts are.
type Places = BTreeMap<u16, (bool, BTreeMap<HostPattern, ObjectRef>)>;

fn open<'o>(objects: &Objects, gateway: &ObjectRef, written: &'o Written, places: &mut Places) -> Open<'o> {
    let host = HostPattern::read(written.hostname.as_deref());
    let https = written.protocol == "HTTPS";
    let port = u16::try_from(written.port).unwrap_or_default();
    let (certificates, resolved) = certificates(objects, gateway, written);
    let refused = if !https && written.protocol != "HTTP" {
        Some((
            "UnsupportedProtocol",
            format!("protocol {} is not supported; HTTP and HTTPS are", written.protocol),
        ))
    } else if ITS_OWN.contains(&port) {
        Some(("PortUnavailable", format!("port {port} is one of the ingress's own")))
    } else if let Some(tls) = written.tls.as_ref().filter(|tls| tls.options.iter().flatten().next().is_some())
    {
        let names: Vec<&str> = tls.options.iter().flatten().map(|(name, _)| name.as_str()).collect();
        Some(("UnsupportedValue", format!("tls.options are not supported: {}", names.join(", "))))
    } else {
        let (at_port, hosts) = places.entry(port).or_insert_with(|| (https, BTreeMap::new()));
        if *at_port != https {
            let other = if *at_port { "HTTPS" } else { "HTTP" };
            Some(("ProtocolConflict", format!("port {port} is for {other}")))
        } else if let Some(owner) = hosts.get(&host) {
            Some((
                "HostnameConflict",
                format!("{host} at port {port} is the listener of gateway {owner}, which is older"),
            ))
        } else {
            hosts.insert(host.clone(), gateway.clone());
            None
        }
    };
    let is_conflict = refused.as_ref().is_some_and(|(reason, _)| reason.ends_with("Conflict"));
    let is_open = refused.is_none() && (!https || !certificates.is_empty());
    let (reason, text) = refused.clone().unwrap_or(("Accepted", String::new()));
    let resolved = resolved.map_or_else(
        || StatusCondition::new("ResolvedRefs", true, "ResolvedRefs", ""),
        |(reason, text)| StatusCondition::new("ResolvedRefs", false, reason, text),
    );
    let conflict = if is_conflict { reason } else { "NoConflicts" };
    let programmed = if is_open { "Programmed" } else { "Invalid" };
    let conditions = vec![
        StatusCondition::new("Accepted", refused.is_none(), reason, &text),
        StatusCondition::new(
            "Programmed",
            is_open,
            programmed,
            if is_open { "" } else { "it is not served" },
        ),
        resolved,
        StatusCondition::new(
            "Conflicted",
            is_conflict,
            conflict,
            if is_conflict { text } else { String::new() },
        ),
    ];
    let listener =
        Listener { gateway: gateway.clone(), name: written.name.clone(), port, https, host, certificates };
    Open { listener, written, rules: Rules::new(Star::Labels), attached: 0, conditions, is_open }
}

type Unresolved = Option<(&'static str, String)>;

fn certificates(
    objects: &Objects,
    gateway: &ObjectRef,
    written: &Written,
) -> (Vec<Arc<Certificate>>, Unresolved) {
    let (mut found, mut unresolved) = (Vec::new(), None);
    for wanted in written.tls.iter().flat_map(|tls| tls.certificate_refs.iter().flatten()) {
        match secret(gateway, wanted) {
            Err(problem) => unresolved = Some(problem),
            Ok(name) => match objects.secrets.get(&name) {
                Some(Ok(certificate)) => found.push(Arc::clone(certificate)),
                Some(Err(error)) => {
                    unresolved = Some(("InvalidCertificateRef", format!("secret {name}: {error}")))
                }
                None => unresolved = Some(("InvalidCertificateRef", format!("secret {name} not found"))),
            },
        }
    }
    (found, unresolved)
}

/// The Secret that a listener names.
pub(super) fn secret(gateway: &ObjectRef, wanted: &SecretRef) -> Result<ObjectRef, (&'static str, String)> {
    let is_secret = matches!(wanted.group.as_deref(), None | Some(""))
        && matches!(wanted.kind.as_deref(), None | Some("Secret"));
    if !is_secret {
        return Err(("InvalidCertificateRef", format!("{} is no Secret", wanted.name)));
    }
    if wanted.namespace.as_deref().is_some_and(|namespace| namespace != gateway.namespace.as_str()) {
        let text =
            format!("secret {} is in another namespace, and there are no ReferenceGrants", wanted.name);
        return Err(("RefNotPermitted", text));
    }
    let name = wanted.name.parse();
    let name = name.map_err(|error| ("InvalidCertificateRef", format!("secret {}: {error}", wanted.name)))?;
    Ok(ObjectRef { namespace: gateway.namespace.clone(), name })
}
