//! Who may go out, and where both ends have a say.

use serde_json::{Value, json};

use super::{address, check, holds, is_a, ns, pod, set_policy, suite, to_a};
use crate::Protocol;

fn from_a(to: &Value) -> Value {
    json!({ "podSelector": pod("a"), "policyTypes": ["Egress"], "egress": [{ "to": to }] })
}

#[test]
fn should_deny_egress_from_pods_based_on_pod_selector() {
    let spec = json!({ "podSelector": pod("a"), "policyTypes": ["Egress"], "egress": [] });
    holds(&[spec], |p| !is_a(p.from));
}

#[test]
fn should_deny_egress_from_all_pods_in_a_namespace() {
    let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"] });
    holds(&[spec], |p| p.from.0 != "x");
}

#[test]
fn should_work_with_ingress_egress_specified_together() {
    let spec = json!({
        "podSelector": pod("a"),
        "ingress": [{ "from": [{ "podSelector": pod("b") }] }],
        "egress": [{ "ports": [{ "port": 80 }] }],
    });
    holds(&[spec], |p| {
        let goes = !is_a(p.from) || (p.port == 80 && p.protocol == Protocol::TCP);
        goes && (!is_a(p.to) || p.from == ("x", "b"))
    });
}

#[test]
fn should_support_denying_of_egress_traffic_on_the_client_side_even_if_the_server_explicitly_allows_this_traffic()
 {
    let mut world = suite();
    let client = json!([{ "namespaceSelector": ns("y"), "podSelector": pod("a") }]);
    set_policy(&mut world, "x", "client", &from_a(&client));
    let server = json!([{ "namespaceSelector": ns("x"), "podSelector": pod("a") }]);
    for name in ["a", "b"] {
        let spec = json!({ "podSelector": pod(name), "ingress": [{ "from": server }] });
        set_policy(&mut world, "y", name, &spec);
    }
    check(&mut world, |p| {
        let goes = !is_a(p.from) || p.to == ("y", "a");
        let comes = (p.to != ("y", "a") && p.to != ("y", "b")) || is_a(p.from);
        goes && comes
    });
}

#[test]
fn should_enforce_egress_policy_allowing_traffic_to_a_server_in_a_different_namespace_based_on_pod_selector_and_namespace_selector()
 {
    let spec = from_a(&json!([{ "namespaceSelector": ns("y"), "podSelector": pod("a") }]));
    holds(&[spec], |p| !is_a(p.from) || p.to == ("y", "a"));
}

#[test]
fn should_enforce_multiple_egress_policies_with_egress_allow_all_policy_taking_precedence() {
    let one = from_a(&json!([{ "podSelector": pod("b") }]));
    holds(&[one, from_a(&json!([]))], |_| true);
}

#[test]
fn should_allow_egress_access_to_server_in_cidr_block() {
    let cidr = format!("{}/32", address("y", "b"));
    holds(&[from_a(&json!([{ "ipBlock": { "cidr": cidr } }]))], |p| !is_a(p.from) || p.to == ("y", "b"));
}

#[test]
fn should_enforce_except_clause_while_egress_access_to_server_in_cidr_block() {
    let except = format!("{}/32", address("y", "b"));
    let spec = from_a(&json!([{ "ipBlock": { "cidr": "10.2.0.0/24", "except": [except] } }]));
    holds(&[spec], |p| !is_a(p.from) || (p.to.0 == "y" && p.to.1 != "b"));
}

#[test]
fn should_ensure_an_ip_overlapping_both_ip_block_cidr_and_ip_block_except_is_allowed() {
    let one = format!("{}/32", address("y", "b"));
    let except = from_a(&json!([{ "ipBlock": { "cidr": "10.2.0.0/24", "except": [one] } }]));
    let allow = from_a(&json!([{ "ipBlock": { "cidr": one } }]));
    holds(&[except, allow], |p| !is_a(p.from) || p.to.0 == "y");
}

#[test]
fn should_enforce_policies_to_check_ingress_and_egress_policies_can_be_controlled_independently_based_on_pod_selector()
 {
    let to_b = from_a(&json!([{ "podSelector": pod("b") }]));
    let nobody = json!({ "podSelector": pod("a"), "ingress": [] });
    holds(&[to_b.clone(), nobody], |p| !is_a(p.to) && (!is_a(p.from) || p.to == ("x", "b")));
    let from_b = to_a(&json!([{ "podSelector": pod("b") }]));
    holds(&[to_b, from_b], |p| {
        (!is_a(p.to) || p.from == ("x", "b")) && (!is_a(p.from) || p.to == ("x", "b"))
    });
}
