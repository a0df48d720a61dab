//! Ports, names of ports, and protocols.

use serde_json::{Value, json};

use super::{Bed, PROTOCOLS, holds, is_a, ns, pod};
use crate::Protocol;

/// Lets in to `a` at these ports, from whoever it is.
fn at(ports: &Value) -> Value {
    json!({ "podSelector": pod("a"), "ingress": [{ "ports": ports }] })
}

/// Lets in to `a` from the namespace `y` at this port.
fn from_y(port: &Value) -> Value {
    json!({ "podSelector": pod("a"), "ingress": [{ "from": [{ "namespaceSelector": ns("y") }], "ports": [port] }] })
}

pub(super) fn should_enforce_policy_based_on_ports(bed: &mut dyn Bed) {
    // As the suite has it for TCP, UDP and SCTP.
    for protocol in PROTOCOLS {
        let spec = from_y(&json!({ "port": 81, "protocol": protocol.to_string() }));
        holds(bed, &[spec], |p| !is_a(p.to) || (p.from.0 == "y" && p.port == 81 && p.protocol == protocol));
    }
}

pub(super) fn should_allow_ingress_access_on_one_named_port(bed: &mut dyn Bed) {
    let spec = at(&json!([{ "port": "serve-81-tcp" }]));
    holds(bed, &[spec], |p| !is_a(p.to) || (p.port == 81 && p.protocol == Protocol::TCP));
    // The protocol belongs to the name: it is a port of TCP that is called so.
    holds(bed, &[at(&json!([{ "port": "serve-81-tcp", "protocol": "UDP" }]))], |p| !is_a(p.to));
}

pub(super) fn should_allow_ingress_access_from_namespace_on_one_named_port(bed: &mut dyn Bed) {
    let spec = from_y(&json!({ "port": "serve-80-tcp" }));
    holds(bed, &[spec], |p| !is_a(p.to) || (p.from.0 == "y" && p.port == 80 && p.protocol == Protocol::TCP));
}

pub(super) fn should_allow_egress_access_on_one_named_port(bed: &mut dyn Bed) {
    let spec = json!({ "podSelector": pod("a"), "policyTypes": ["Egress"], "egress": [{ "ports": [{ "port": "serve-80-tcp" }] }] });
    holds(bed, &[spec], |p| !is_a(p.from) || (p.port == 80 && p.protocol == Protocol::TCP));
}

pub(super) fn should_support_creating_network_policy_api_with_endport_field(bed: &mut dyn Bed) {
    bed.reset();
    let range = |first: u16, last: u16| at(&json!([{ "port": first, "endPort": last }]));
    for (first, last) in [(1, 79), (80, 80), (80, 81), (81, 65535)] {
        bed.set_policy("x", "range", &range(first, last));
        bed.check(&|p| !is_a(p.to) || (p.protocol == Protocol::TCP && (first..=last).contains(&p.port)));
    }
}

pub(super) fn should_enforce_ingress_policy_allowing_any_port_traffic_to_a_server_on_a_specific_protocol(
    bed: &mut dyn Bed,
) {
    // As the suite has it for TCP, UDP and SCTP.
    for protocol in PROTOCOLS {
        let spec = at(&json!([{ "protocol": protocol.to_string() }]));
        holds(bed, &[spec], |p| !is_a(p.to) || p.protocol == protocol);
    }
}

pub(super) fn should_not_allow_access_by_tcp_when_a_policy_specifies_only_udp(bed: &mut dyn Bed) {
    let spec = at(&json!([{ "protocol": "UDP", "port": 81 }]));
    holds(bed, &[spec], |p| !is_a(p.to) || (p.protocol == Protocol::UDP && p.port == 81));
}

pub(super) fn should_not_mistakenly_treat_protocol_sctp_as_protocol_tcp(bed: &mut dyn Bed) {
    let spec = at(&json!([{ "protocol": "SCTP", "port": 80 }]));
    holds(bed, &[spec], |p| !is_a(p.to) || (p.protocol == Protocol::SCTP && p.port == 80));
}

pub(super) fn should_properly_isolate_pods_that_are_selected_by_a_policy_allowing_sctp(bed: &mut dyn Bed) {
    let sctp = at(&json!([{ "protocol": "SCTP", "port": 80 }]));
    let tcp = at(&json!([{ "protocol": "TCP", "port": 81 }]));
    holds(bed, &[sctp, tcp], |p| {
        let sctp = p.protocol == Protocol::SCTP && p.port == 80;
        !is_a(p.to) || sctp || (p.protocol == Protocol::TCP && p.port == 81)
    });
}

pub(super) fn should_enforce_policy_to_allow_traffic_only_from_a_pod_in_a_different_namespace_for_udp_and_sctp(
    bed: &mut dyn Bed,
) {
    // As the suite has it for TCP, UDP and SCTP.
    for protocol in PROTOCOLS {
        let spec = json!({ "podSelector": pod("a"), "ingress": [{
            "from": [{ "namespaceSelector": ns("y"), "podSelector": pod("a") }],
            "ports": [{ "protocol": protocol.to_string() }],
        }] });
        holds(bed, &[spec], |p| !is_a(p.to) || (p.from == ("y", "a") && p.protocol == protocol));
    }
}
