//! What the API server fills in: defaults, and what was allocated to a service before.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ClientIPConfig, Service, ServiceSpec, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Written into a service that does not say otherwise, so that `get -o yaml` shows what is in force.
pub fn fill_in(service: &mut Service) {
    service.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let Some(spec) = service.spec.as_mut() else { return };
    let kind = spec.type_.get_or_insert_with(|| "ClusterIP".to_owned()).clone();
    let affinity = spec.session_affinity.get_or_insert_with(|| "None".to_owned());
    if affinity == "ClientIP" {
        let config = spec.session_affinity_config.get_or_insert_with(SessionAffinityConfig::default);
        let client = config.client_ip.get_or_insert_with(ClientIPConfig::default);
        client.timeout_seconds.get_or_insert(10_800);
    }
    for port in spec.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
        if matches!(port.target_port, None | Some(IntOrString::Int(0))) {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    if kind == "ExternalName" {
        return;
    }
    spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".to_owned());
    if is_external(spec) {
        spec.external_traffic_policy.get_or_insert_with(|| "Cluster".to_owned());
    }
    if kind == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
    spec.ip_family_policy.get_or_insert_with(|| "SingleStack".to_owned());
    spec.ip_families.get_or_insert_with(|| vec!["IPv4".to_owned()]);
    match (&spec.cluster_ip, spec.cluster_ips.as_deref()) {
        (None, Some([first, ..])) => spec.cluster_ip = Some(first.clone()),
        (Some(ip), None) if !ip.is_empty() => spec.cluster_ips = Some(vec![ip.clone()]),
        _ => {}
    }
}

fn is_external(spec: &ServiceSpec) -> bool {
    matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"))
}

/// A manifest that was read from the cluster and given another type still has what belonged to the former one; that
/// goes, where it is as it was.
pub(super) fn drop_former(old: &Service, new: &mut Service) {
    let (Some(old), Some(new)) = (&old.spec, new.spec.as_mut()) else { return };
    if new.type_.as_deref() == Some("ExternalName") && new.cluster_ip == old.cluster_ip {
        new.cluster_ip = None;
        new.cluster_ips = None;
    }
    if is_external(old) && !is_external(new) {
        if new.external_traffic_policy == old.external_traffic_policy {
            new.external_traffic_policy = None;
        }
        for port in new.ports.iter_mut().flatten() {
            if old.ports.iter().flatten().any(|known| known.node_port == port.node_port) {
                port.node_port = None;
            }
        }
    }
    if new.health_check_node_port == old.health_check_node_port && !has_health_port(new) {
        new.health_check_node_port = None;
    }
    if new.type_.as_deref() != Some("LoadBalancer") {
        new.allocate_load_balancer_node_ports = None;
    }
}

fn has_health_port(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// What was allocated to `old` stays with `new`, where `new` needs it and asks for nothing else.
pub(super) fn carry_over(old: &Service, new: &mut Service) {
    new.metadata.uid.clone_from(&old.metadata.uid);
    new.metadata.creation_timestamp.clone_from(&old.metadata.creation_timestamp);
    new.status.clone_from(&old.status);
    let (Some(old), Some(new)) = (&old.spec, new.spec.as_mut()) else { return };
    let named = |spec: &ServiceSpec| spec.type_.as_deref() == Some("ExternalName");
    if !named(old) && !named(new) && new.cluster_ip.as_deref().unwrap_or("").is_empty() {
        new.cluster_ip.clone_from(&old.cluster_ip);
        new.cluster_ips.clone_from(&old.cluster_ips);
    }
    if !is_external(old) || !is_external(new) {
        return;
    }
    let ports = old.ports.iter().flatten();
    let known: BTreeMap<_, _> =
        ports.map(|port| ((port.port, port.protocol.clone()), port.node_port)).collect();
    let wants =
        new.type_.as_deref() == Some("NodePort") || new.allocate_load_balancer_node_ports.unwrap_or(true);
    let mut given: Vec<_> =
        new.ports.iter().flatten().map(|port| (port.node_port, port.protocol.clone())).collect();
    for port in new.ports.iter_mut().flatten() {
        let before = known.get(&(port.port, port.protocol.clone())).copied().flatten();
        let free = !given.contains(&(before, port.protocol.clone()));
        if wants && port.node_port.unwrap_or(0) == 0 && before.is_some() && free {
            port.node_port = before;
            given.push((before, port.protocol.clone()));
        }
    }
    if has_health_port(old) && has_health_port(new) && new.health_check_node_port.unwrap_or(0) == 0 {
        new.health_check_node_port = old.health_check_node_port;
    }
}
