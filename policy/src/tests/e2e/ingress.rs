//! Who may come in.

use serde_json::json;

use super::{holds, is_a, ns, pod, to_a};

#[test]
fn should_support_a_default_deny_ingress_policy() {
    holds(&[json!({ "podSelector": {}, "ingress": [] })], |p| p.to.0 != "x");
}

#[test]
fn should_support_a_default_deny_all_policy() {
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    holds(&[spec], |p| p.to.0 != "x" && p.from.0 != "x");
}

#[test]
fn should_enforce_policy_to_allow_traffic_from_pods_within_server_namespace_based_on_pod_selector() {
    let spec = to_a(&json!([{ "podSelector": pod("b") }]));
    holds(&[spec], |p| !is_a(p.to) || p.from == ("x", "b"));
}

#[test]
fn should_enforce_policy_to_allow_ingress_traffic_for_a_target() {
    let deny = json!({ "podSelector": {}, "ingress": [] });
    holds(&[deny, to_a(&json!([]))], |p| p.to.0 != "x" || is_a(p.to));
}

#[test]
fn should_enforce_policy_to_allow_ingress_traffic_from_pods_in_all_namespaces() {
    holds(&[to_a(&json!([{ "namespaceSelector": {} }]))], |_| true);
}

#[test]
fn should_enforce_policy_to_allow_traffic_only_from_a_different_namespace_based_on_namespace_selector() {
    let spec = to_a(&json!([{ "namespaceSelector": ns("y") }]));
    holds(&[spec], |p| !is_a(p.to) || p.from.0 == "y");
}

#[test]
fn should_enforce_policy_based_on_pod_selector_with_match_expressions() {
    let selector = json!({ "matchExpressions": [{ "key": "pod", "operator": "In", "values": ["b"] }] });
    let spec = to_a(&json!([{ "podSelector": selector }]));
    holds(&[spec], |p| !is_a(p.to) || p.from == ("x", "b"));
}

#[test]
fn should_enforce_policy_based_on_namespace_selector_with_match_expressions() {
    let selector = json!({ "matchExpressions": [{ "key": "ns", "operator": "In", "values": ["y"] }] });
    let spec = to_a(&json!([{ "namespaceSelector": selector }]));
    holds(&[spec], |p| !is_a(p.to) || p.from.0 == "y");
}

#[test]
fn should_enforce_policy_based_on_pod_selector_or_namespace_selector() {
    let spec = to_a(&json!([{ "podSelector": pod("b") }, { "namespaceSelector": ns("y") }]));
    holds(&[spec], |p| !is_a(p.to) || p.from.0 == "y" || p.from == ("x", "b"));
}

#[test]
fn should_enforce_policy_based_on_pod_selector_and_namespace_selector() {
    let spec = to_a(&json!([{ "podSelector": pod("b"), "namespaceSelector": ns("y") }]));
    holds(&[spec], |p| !is_a(p.to) || p.from == ("y", "b"));
}

#[test]
fn should_enforce_policy_based_on_multiple_pod_selectors_and_namespace_selectors() {
    let spec = to_a(&json!([{
        "namespaceSelector": { "matchExpressions": [{ "key": "ns", "operator": "NotIn", "values": ["x"] }] },
        "podSelector": { "matchExpressions": [{ "key": "pod", "operator": "In", "values": ["b", "c"] }] },
    }]));
    holds(&[spec], |p| !is_a(p.to) || (p.from.0 != "x" && p.from.1 != "a"));
}

#[test]
fn should_enforce_policy_based_on_any_pod_selectors() {
    let spec = to_a(&json!([{ "podSelector": pod("b") }, { "podSelector": pod("c") }]));
    holds(&[spec], |p| !is_a(p.to) || p.from == ("x", "b") || p.from == ("x", "c"));
}

#[test]
fn should_enforce_policy_to_allow_traffic_only_from_a_pod_in_a_different_namespace_based_on_pod_selector_and_namespace_selector()
 {
    let spec = to_a(&json!([{ "namespaceSelector": ns("y"), "podSelector": pod("a") }]));
    holds(&[spec], |p| !is_a(p.to) || p.from == ("y", "a"));
}

#[test]
fn should_enforce_multiple_stacked_policies_with_overlapping_pod_selectors() {
    let port = |port: u16| json!({ "podSelector": pod("a"), "ingress": [{ "from": [{ "namespaceSelector": ns("y") }], "ports": [{ "port": port }] }] });
    let is_tcp = |p: &super::Probe| p.protocol == crate::Protocol::TCP;
    holds(&[port(80)], |p| !is_a(p.to) || (p.from.0 == "y" && p.port == 80 && is_tcp(p)));
    holds(&[port(80), port(81)], |p| !is_a(p.to) || (p.from.0 == "y" && is_tcp(p)));
}

#[test]
fn should_support_allow_all_policy() {
    holds(&[json!({ "podSelector": {}, "ingress": [{}] })], |_| true);
}

#[test]
fn should_deny_ingress_from_pods_on_other_namespaces() {
    let spec = json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": {} }] }] });
    holds(&[spec], |p| p.to.0 != "x" || p.from.0 == "x");
}

#[test]
fn should_enforce_multiple_ingress_policies_with_ingress_allow_all_policy_taking_precedence() {
    let one = to_a(&json!([{ "podSelector": pod("b") }]));
    holds(&[one, to_a(&json!([]))], |_| true);
}

#[test]
fn should_enforce_policy_to_allow_traffic_based_on_namespace_selector_with_match_labels_using_default_ns_label()
 {
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": "y" } });
    let spec = to_a(&json!([{ "namespaceSelector": selector }]));
    holds(&[spec], |p| !is_a(p.to) || p.from.0 == "y");
}

#[test]
fn should_enforce_policy_based_on_namespace_selector_with_match_expressions_using_default_ns_label() {
    let key = "kubernetes.io/metadata.name";
    let selector = json!({ "matchExpressions": [{ "key": key, "operator": "NotIn", "values": ["y"] }] });
    let spec = to_a(&json!([{ "namespaceSelector": selector }]));
    holds(&[spec], |p| !is_a(p.to) || p.from.0 != "y");
}
