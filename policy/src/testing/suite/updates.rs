//! What changes while pods run.

use serde_json::json;

use super::{Bed, is_a, ns, pod, to_a};

pub(super) fn should_enforce_updated_policy(bed: &mut dyn Bed) {
    bed.reset();
    bed.set_policy("x", "p", &to_a(&json!([])));
    bed.check(&|_| true);
    bed.set_policy("x", "p", &json!({ "podSelector": pod("a"), "ingress": [] }));
    bed.check(&|p| !is_a(p.to));
    bed.set_policy("x", "p", &json!({ "podSelector": pod("b"), "ingress": [] }));
    bed.check(&|p| p.to != ("x", "b"));
}

pub(super) fn should_allow_ingress_access_from_updated_namespace(bed: &mut dyn Bed) {
    bed.reset();
    let selector = json!({ "matchLabels": { "ns2": "updated" } });
    bed.set_policy("x", "p", &to_a(&json!([{ "namespaceSelector": selector }])));
    bed.check(&|p| !is_a(p.to));
    bed.label_namespace("y", &[("ns", "y"), ("ns2", "updated")]);
    bed.check(&|p| !is_a(p.to) || p.from.0 == "y");
}

pub(super) fn should_allow_ingress_access_from_updated_pod(bed: &mut dyn Bed) {
    bed.reset();
    let selector = json!({ "matchLabels": { "pod2": "updated" } });
    bed.set_policy("x", "p", &to_a(&json!([{ "podSelector": selector }])));
    bed.check(&|p| !is_a(p.to));
    bed.label_pod("x", "b", &[("pod", "b"), ("pod2", "updated")]);
    bed.check(&|p| !is_a(p.to) || p.from == ("x", "b"));
}

pub(super) fn should_deny_ingress_access_to_updated_pod(bed: &mut dyn Bed) {
    bed.reset();
    let spec = json!({ "podSelector": { "matchLabels": { "target": "isolated" } }, "ingress": [] });
    bed.set_policy("x", "p", &spec);
    bed.check(&|_| true);
    bed.label_pod("x", "a", &[("target", "isolated")]);
    bed.check(&|p| !is_a(p.to));
}

pub(super) fn should_stop_enforcing_policies_after_they_are_deleted(bed: &mut dyn Bed) {
    bed.reset();
    let all = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    bed.set_policy("x", "all", &all);
    bed.set_policy("x", "y", &to_a(&json!([{ "namespaceSelector": ns("y") }])));
    bed.check(&|p| p.from.0 != "x" && (p.to.0 != "x" || (is_a(p.to) && p.from.0 == "y")));
    bed.delete_policy("x", "all");
    bed.check(&|p| !is_a(p.to) || p.from.0 == "y");
    bed.delete_policy("x", "y");
    bed.check(&|_| true);
}
