//! What changes while pods run.

use serde_json::json;

use super::{check, is_a, labels, ns, pod, set_pod, set_policy, suite, to_a};

#[test]
fn should_enforce_updated_policy() {
    let mut world = suite();
    set_policy(&mut world, "x", "p", &to_a(&json!([])));
    check(&mut world, |_| true);
    set_policy(&mut world, "x", "p", &json!({ "podSelector": pod("a"), "ingress": [] }));
    check(&mut world, |p| !is_a(p.to));
    set_policy(&mut world, "x", "p", &json!({ "podSelector": pod("b"), "ingress": [] }));
    check(&mut world, |p| p.to != ("x", "b"));
    world.equals_from_scratch();
}

#[test]
fn should_allow_ingress_access_from_updated_namespace() {
    let mut world = suite();
    let selector = json!({ "matchLabels": { "ns2": "updated" } });
    set_policy(&mut world, "x", "p", &to_a(&json!([{ "namespaceSelector": selector }])));
    check(&mut world, |p| !is_a(p.to));
    world.set_namespace(&"y".parse().unwrap(), labels(&[("ns", "y"), ("ns2", "updated")]));
    check(&mut world, |p| !is_a(p.to) || p.from.0 == "y");
    world.equals_from_scratch();
}

#[test]
fn should_allow_ingress_access_from_updated_pod() {
    let mut world = suite();
    let selector = json!({ "matchLabels": { "pod2": "updated" } });
    set_policy(&mut world, "x", "p", &to_a(&json!([{ "podSelector": selector }])));
    check(&mut world, |p| !is_a(p.to));
    set_pod(&mut world, "x", "b", &[("pod", "b"), ("pod2", "updated")]);
    check(&mut world, |p| !is_a(p.to) || p.from == ("x", "b"));
    world.equals_from_scratch();
}

#[test]
fn should_deny_ingress_access_to_updated_pod() {
    let mut world = suite();
    let spec = json!({ "podSelector": { "matchLabels": { "target": "isolated" } }, "ingress": [] });
    set_policy(&mut world, "x", "p", &spec);
    check(&mut world, |_| true);
    set_pod(&mut world, "x", "a", &[("target", "isolated")]);
    check(&mut world, |p| !is_a(p.to));
    world.equals_from_scratch();
}

#[test]
fn should_stop_enforcing_policies_after_they_are_deleted() {
    let mut world = suite();
    let all = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    let all = set_policy(&mut world, "x", "all", &all);
    let y = set_policy(&mut world, "x", "y", &to_a(&json!([{ "namespaceSelector": ns("y") }])));
    check(&mut world, |p| p.from.0 != "x" && (p.to.0 != "x" || (is_a(p.to) && p.from.0 == "y")));
    world.remove_policy(&all);
    check(&mut world, |p| !is_a(p.to) || p.from.0 == "y");
    world.remove_policy(&y);
    check(&mut world, |_| true);
    world.equals_from_scratch();
    assert_eq!(world.compiler.tables().counts()[0], 2, "one empty table per direction is left");
}
