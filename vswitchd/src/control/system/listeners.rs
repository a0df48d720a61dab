//! Ports of the ingress's service for listeners of Gateways that are at other ports than 80 and 443.
//!
//! They are called `listener-<port>` and are the only ones that are changed here: the others are the user's, like the rest of the service.
//! Every node wants the same, so it does not matter which is first.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use protocol::ObjectRef;

use super::super::node::Control;
use super::super::services;
use super::{NAMESPACE, Role};

/// What the names of ours begin with.
const PREFIX: &str = "listener-";
/// Those that the service has anyway.
const OF_INGRESS: [u16; 2] = [80, 443];
/// As many as the ingress opens.
const MAX_PORTS: usize = 64;

/// Brings them up to date.
pub(super) fn keep(control: &Control) {
    let Some(ports) = control.ingress.listener_ports() else { return };
    let Some(object) = ObjectRef::parse(&format!("{NAMESPACE}/{}", Role::Ingress.name())) else { return };
    let wanted: BTreeSet<u16> =
        ports.into_iter().filter(|port| !OF_INGRESS.contains(port)).take(MAX_PORTS).collect();
    let is_so = {
        let table = control.services.table();
        let Some(spec) = table.spec(&object) else { return };
        let (ours, others): (Vec<_>, Vec<_>) =
            spec.ports.iter().partition(|port| port.name.starts_with(PREFIX));
        let others: BTreeSet<u16> = others.into_iter().map(|port| port.number).collect();
        ours.into_iter().map(|port| port.number).collect::<BTreeSet<_>>() == &wanted - &others
    };
    if is_so {
        return;
    }
    match services::change(control, &object, |service| set(service, &wanted)) {
        Ok(_) => tracing::info!(service = %object, ?wanted, "its ports are those of listeners"),
        Err(error) => tracing::debug!(service = %object, "its ports are not those of listeners yet: {error}"),
    }
}

fn set(service: &mut Service, wanted: &BTreeSet<u16>) {
    let Some(spec) = service.spec.as_mut() else { return };
    let known = spec.ports.take().unwrap_or_default();
    let is_ours = |port: &ServicePort| port.name.as_ref().is_some_and(|name| name.starts_with(PREFIX));
    let others: BTreeSet<i32> = known.iter().filter(|port| !is_ours(port)).map(|port| port.port).collect();
    let stays =
        |port: &ServicePort| !is_ours(port) || wanted.iter().any(|&number| i32::from(number) == port.port);
    let mut ports: Vec<ServicePort> = known.into_iter().filter(stays).collect();
    for number in wanted.iter().map(|&number| i32::from(number)) {
        if others.contains(&number) || ports.iter().any(|port| port.port == number) {
            continue;
        }
        ports.push(ServicePort {
            name: Some(format!("{PREFIX}{number}")),
            port: number,
            protocol: Some("TCP".to_owned()),
            target_port: Some(IntOrString::Int(number)),
            ..ServicePort::default()
        });
    }
    spec.ports = Some(ports);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ports: &str, wanted: &[u16]) -> Vec<(String, i32)> {
        let mut service: Service =
            serde_json::from_str(&format!("{{\"spec\":{{\"ports\":{ports}}}}}")).unwrap();
        set(&mut service, &wanted.iter().copied().collect());
        let ports = service.spec.unwrap().ports.unwrap();
        ports.into_iter().map(|port| (port.name.unwrap_or_default(), port.port)).collect()
    }

    #[test]
    fn ports_of_listeners_come_and_go_and_others_stay() {
        let pair = |name: &str, port| (name.to_owned(), port);
        let http = "[{\"name\":\"http\",\"port\":80},{\"name\":\"own\",\"port\":9000},{\"name\":\"listener-1\",\"port\":1}]";
        assert_eq!(
            after(http, &[8080, 9000]),
            [pair("http", 80), pair("own", 9000), pair("listener-8080", 8080)]
        );
        assert_eq!(after(http, &[1]), [pair("http", 80), pair("own", 9000), pair("listener-1", 1)]);
        assert_eq!(after(http, &[]), [pair("http", 80), pair("own", 9000)]);
    }
}
