//! Who may go out, and where both ends have a say.

use serde_json::{Value, json};

use super::{Bed, holds, is_a, ns, pod, to_a};
use crate::Protocol;

fn from_a(to: &Value) -> Value {
    json!({ "podSelector": pod("a"), "policyTypes": ["Egress"], "egress": [{ "to": to }] })
}

pub(super) fn should_deny_egress_from_pods_based_on_pod_selector(bed: &mut dyn Bed) {
    let spec = json!({ "podSelector": pod("a"), "policyTypes": ["Egress"], "egress": [] });
    holds(bed, &[spec], |p| !is_a(p.from));
}

pub(super) fn should_deny_egress_from_all_pods_in_a_namespace(bed: &mut dyn Bed) {
    let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"] });
    holds(bed, &[spec], |p| p.from.0 != "x");
}

pub(super) fn should_work_with_ingress_egress_specified_together(bed: &mut dyn Bed) {
    let spec = json!({
        "podSelector": pod("a"),
        "ingress": [{ "from": [{ "podSelector": pod("b") }] }],
        "egress": [{ "ports": [{ "port": 80 }] }],
    });
    holds(bed, &[spec], |p| {
        let goes = !is_a(p.from) || (p.port == 80 && p.protocol == Protocol::TCP);
        goes && (!is_a(p.to) || p.from == ("x", "b"))
    });
}

pub(super) fn should_support_denying_of_egress_traffic_on_the_client_side_even_if_the_server_explicitly_allows_this_traffic(
    bed: &mut dyn Bed,
) {
    bed.reset();
    let client = json!([{ "namespaceSelector": ns("y"), "podSelector": pod("a") }]);
    bed.set_policy("x", "client", &from_a(&client));
    let server = json!([{ "namespaceSelector": ns("x"), "podSelector": pod("a") }]);
    for name in ["a", "b"] {
        let spec = json!({ "podSelector": pod(name), "ingress": [{ "from": server }] });
        bed.set_policy("y", name, &spec);
    }
    bed.check(&|p| {
        let goes = !is_a(p.from) || p.to == ("y", "a");
        let comes = (p.to != ("y", "a") && p.to != ("y", "b")) || is_a(p.from);
        goes && comes
    });
}

pub(super) fn should_enforce_egress_policy_allowing_traffic_to_a_server_in_a_different_namespace_based_on_pod_selector_and_namespace_selector(
    bed: &mut dyn Bed,
) {
    let spec = from_a(&json!([{ "namespaceSelector": ns("y"), "podSelector": pod("a") }]));
    holds(bed, &[spec], |p| !is_a(p.from) || p.to == ("y", "a"));
}

pub(super) fn should_enforce_multiple_egress_policies_with_egress_allow_all_policy_taking_precedence(
    bed: &mut dyn Bed,
) {
    let one = from_a(&json!([{ "podSelector": pod("b") }]));
    holds(bed, &[one, from_a(&json!([]))], |_| true);
}

pub(super) fn should_allow_egress_access_to_server_in_cidr_block(bed: &mut dyn Bed) {
    let cidr = format!("{}/32", bed.address("y", "b"));
    holds(bed, &[from_a(&json!([{ "ipBlock": { "cidr": cidr } }]))], |p| !is_a(p.from) || p.to == ("y", "b"));
}

pub(super) fn should_enforce_except_clause_while_egress_access_to_server_in_cidr_block(bed: &mut dyn Bed) {
    let except = format!("{}/32", bed.address("y", "b"));
    let spec = from_a(&json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": [except] } }]));
    holds(bed, &[spec], |p| !is_a(p.from) || p.to != ("y", "b"));
}

pub(super) fn should_ensure_an_ip_overlapping_both_ip_block_cidr_and_ip_block_except_is_allowed(
    bed: &mut dyn Bed,
) {
    let one = format!("{}/32", bed.address("y", "b"));
    let except = from_a(&json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": [one] } }]));
    let allow = from_a(&json!([{ "ipBlock": { "cidr": one } }]));
    holds(bed, &[except, allow], |_| true);
}

pub(super) fn should_enforce_policies_to_check_ingress_and_egress_policies_can_be_controlled_independently_based_on_pod_selector(
    bed: &mut dyn Bed,
) {
    let to_b = from_a(&json!([{ "podSelector": pod("b") }]));
    let nobody = json!({ "podSelector": pod("a"), "ingress": [] });
    holds(bed, &[to_b.clone(), nobody], |p| !is_a(p.to) && (!is_a(p.from) || p.to == ("x", "b")));
    let from_b = to_a(&json!([{ "podSelector": pod("b") }]));
    holds(bed, &[to_b, from_b], |p| {
        (!is_a(p.to) || p.from == ("x", "b")) && (!is_a(p.from) || p.to == ("x", "b"))
    });
}
