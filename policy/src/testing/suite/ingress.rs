//! Who may come in.

use serde_json::json;

use super::{Bed, Probe, holds, is_a, ns, pod, to_a};
use crate::Protocol;

pub(super) fn should_support_a_default_deny_ingress_policy(bed: &mut dyn Bed) {
    holds(bed, &[json!({ "podSelector": {}, "ingress": [] })], |p| p.to.0 != "x");
}

pub(super) fn should_support_a_default_deny_all_policy(bed: &mut dyn Bed) {
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    holds(bed, &[spec], |p| p.to.0 != "x" && p.from.0 != "x");
}

pub(super) fn should_enforce_policy_to_allow_traffic_from_pods_within_server_namespace_based_on_pod_selector(
    bed: &mut dyn Bed,
) {
    let spec = to_a(&json!([{ "podSelector": pod("b") }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from == ("x", "b"));
}

pub(super) fn should_enforce_policy_to_allow_ingress_traffic_for_a_target(bed: &mut dyn Bed) {
    let deny = json!({ "podSelector": {}, "ingress": [] });
    holds(bed, &[deny, to_a(&json!([]))], |p| p.to.0 != "x" || is_a(p.to));
}

pub(super) fn should_enforce_policy_to_allow_ingress_traffic_from_pods_in_all_namespaces(bed: &mut dyn Bed) {
    holds(bed, &[to_a(&json!([{ "namespaceSelector": {} }]))], |_| true);
}

pub(super) fn should_enforce_policy_to_allow_traffic_only_from_a_different_namespace_based_on_namespace_selector(
    bed: &mut dyn Bed,
) {
    let spec = to_a(&json!([{ "namespaceSelector": ns("y") }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from.0 == "y");
}

pub(super) fn should_enforce_policy_based_on_pod_selector_with_match_expressions(bed: &mut dyn Bed) {
    let selector = json!({ "matchExpressions": [{ "key": "pod", "operator": "In", "values": ["b"] }] });
    let spec = to_a(&json!([{ "podSelector": selector }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from == ("x", "b"));
}

pub(super) fn should_enforce_policy_based_on_namespace_selector_with_match_expressions(bed: &mut dyn Bed) {
    let selector = json!({ "matchExpressions": [{ "key": "ns", "operator": "In", "values": ["y"] }] });
    let spec = to_a(&json!([{ "namespaceSelector": selector }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from.0 == "y");
}

pub(super) fn should_enforce_policy_based_on_pod_selector_or_namespace_selector(bed: &mut dyn Bed) {
    let spec = to_a(&json!([{ "podSelector": pod("b") }, { "namespaceSelector": ns("y") }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from.0 == "y" || p.from == ("x", "b"));
}

pub(super) fn should_enforce_policy_based_on_pod_selector_and_namespace_selector(bed: &mut dyn Bed) {
    let spec = to_a(&json!([{ "podSelector": pod("b"), "namespaceSelector": ns("y") }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from == ("y", "b"));
}

pub(super) fn should_enforce_policy_based_on_multiple_pod_selectors_and_namespace_selectors(
    bed: &mut dyn Bed,
) {
    let spec = to_a(&json!([{
        "namespaceSelector": { "matchExpressions": [{ "key": "ns", "operator": "NotIn", "values": ["x"] }] },
        "podSelector": { "matchExpressions": [{ "key": "pod", "operator": "In", "values": ["b", "c"] }] },
    }]));
    holds(bed, &[spec], |p| !is_a(p.to) || (p.from.0 != "x" && p.from.1 != "a"));
}

pub(super) fn should_enforce_policy_based_on_any_pod_selectors(bed: &mut dyn Bed) {
    let spec = to_a(&json!([{ "podSelector": pod("b") }, { "podSelector": pod("c") }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from == ("x", "b") || p.from == ("x", "c"));
}

pub(super) fn should_enforce_policy_to_allow_traffic_only_from_a_pod_in_a_different_namespace_based_on_pod_selector_and_namespace_selector(
    bed: &mut dyn Bed,
) {
    let spec = to_a(&json!([{ "namespaceSelector": ns("y"), "podSelector": pod("a") }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from == ("y", "a"));
}

pub(super) fn should_enforce_multiple_stacked_policies_with_overlapping_pod_selectors(bed: &mut dyn Bed) {
    let port = |port: u16| json!({ "podSelector": pod("a"), "ingress": [{ "from": [{ "namespaceSelector": ns("y") }], "ports": [{ "port": port }] }] });
    let is_tcp = |p: &Probe| p.protocol == Protocol::TCP;
    holds(bed, &[port(80)], |p| !is_a(p.to) || (p.from.0 == "y" && p.port == 80 && is_tcp(p)));
    holds(bed, &[port(80), port(81)], |p| !is_a(p.to) || (p.from.0 == "y" && is_tcp(p)));
}

pub(super) fn should_support_allow_all_policy(bed: &mut dyn Bed) {
    holds(bed, &[json!({ "podSelector": {}, "ingress": [{}] })], |_| true);
}

pub(super) fn should_deny_ingress_from_pods_on_other_namespaces(bed: &mut dyn Bed) {
    let spec = json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": {} }] }] });
    holds(bed, &[spec], |p| p.to.0 != "x" || p.from.0 == "x");
}

pub(super) fn should_enforce_multiple_ingress_policies_with_ingress_allow_all_policy_taking_precedence(
    bed: &mut dyn Bed,
) {
    let one = to_a(&json!([{ "podSelector": pod("b") }]));
    holds(bed, &[one, to_a(&json!([]))], |_| true);
}

pub(super) fn should_enforce_policy_to_allow_traffic_based_on_namespace_selector_with_match_labels_using_default_ns_label(
    bed: &mut dyn Bed,
) {
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": "y" } });
    let spec = to_a(&json!([{ "namespaceSelector": selector }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from.0 == "y");
}

pub(super) fn should_enforce_policy_based_on_namespace_selector_with_match_expressions_using_default_ns_label(
    bed: &mut dyn Bed,
) {
    let key = "kubernetes.io/metadata.name";
    let selector = json!({ "matchExpressions": [{ "key": key, "operator": "NotIn", "values": ["y"] }] });
    let spec = to_a(&json!([{ "namespaceSelector": selector }]));
    holds(bed, &[spec], |p| !is_a(p.to) || p.from.0 != "y");
}
