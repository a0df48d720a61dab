//! `ClusterNetworkPolicy`: tiers, order, actions, and the cluster's default.

use serde_json::{Value, json};

use super::world::{World, flow, labels};
use super::{cluster_policy, good, network_policy};
use crate::Protocol;

/// What becomes of `y/b` → `x/a`, TCP 80, and by which rule of ingress.
#[track_caller]
fn decided(policies: &[Value], expected: &str) {
    let mut world = World::default();
    world.pod("x/a", "10.0.0.1", &[("app", "a")], &[]);
    world.pod("y/b", "10.0.0.2", &[("app", "b")], &[]);
    world.set_namespace(&"y".parse().unwrap(), labels(&[("team", "b")]));
    policies.iter().for_each(|object| world.set_policy(&good(object).policy));
    world.commit();
    let explained = world.explain(&flow("10.0.0.2", "10.0.0.1", Protocol::TCP, 80));
    assert_eq!(explained.ingress.to_string(), expected);
}

fn cluster(name: &str, tier: u16, order: u32, action: &str) -> Value {
    cluster_policy(name, &json!({ "tier": tier, "order": order, "ingress": [{ "action": action }] }))
}

fn isolating() -> Value {
    network_policy("n", &json!({}))
}

fn allowing() -> Value {
    network_policy("n", &json!({ "ingress": [{}] }))
}

#[test]
fn the_first_tier_decides_then_order_then_name() {
    decided(
        &[cluster("a", 1, 0, "Allow"), cluster("b", 0, 9, "Deny")],
        "denied: ClusterNetworkPolicy b ingress[0]",
    );
    decided(
        &[cluster("a", 1, 9, "Allow"), cluster("b", 1, 0, "Deny")],
        "denied: ClusterNetworkPolicy b ingress[0]",
    );
    decided(
        &[cluster("b", 1, 0, "Deny"), cluster("a", 1, 0, "Allow")],
        "allowed: ClusterNetworkPolicy a ingress[0]",
    );
}

#[test]
fn early_tiers_overrule_network_policies_and_late_ones_do_not() {
    decided(&[cluster("a", 49, 0, "Deny"), allowing()], "denied: ClusterNetworkPolicy a ingress[0]");
    decided(&[cluster("a", 49, 0, "Allow"), isolating()], "allowed: ClusterNetworkPolicy a ingress[0]");
    decided(&[cluster("a", 50, 0, "Deny"), allowing()], "allowed: NetworkPolicy x/n ingress[0]");
    decided(
        &[cluster("a", 50, 0, "Allow"), isolating()],
        "denied: no rule allows it, and the pod is isolated by NetworkPolicy x/n",
    );
}

#[test]
fn pass_leaves_the_tier_and_asks_the_next() {
    decided(
        &[cluster("a", 0, 0, "Pass"), cluster("b", 0, 1, "Deny"), cluster("c", 1, 0, "Allow")],
        "allowed: ClusterNetworkPolicy c ingress[0]",
    );
    decided(
        &[cluster("a", 0, 0, "Pass"), cluster("b", 0, 1, "Allow"), isolating()],
        "denied: no rule allows it, and the pod is isolated by NetworkPolicy x/n",
    );
    decided(&[cluster("a", 99, 0, "Pass")], "allowed: no policy restricts it");
}

#[test]
fn the_clusters_default_is_a_late_tier() {
    let default = cluster("default-deny", 99, 0, "Deny");
    decided(std::slice::from_ref(&default), "denied: ClusterNetworkPolicy default-deny ingress[0]");
    decided(&[default, allowing()], "allowed: NetworkPolicy x/n ingress[0]");
}

#[test]
fn a_tier_without_a_match_leaves_it_to_the_next() {
    let rules = json!([
        { "action": "Deny", "name": "no telnet", "ports": [{ "port": 23 }] },
        { "action": "Deny", "from": [{ "podSelector": { "matchLabels": { "app": "a" } } }] },
    ]);
    let policy = |subject: Value| {
        let mut spec = json!({ "tier": 0, "order": 0, "ingress": rules });
        spec.as_object_mut().unwrap().extend(subject.as_object().unwrap().clone());
        cluster_policy("c", &spec)
    };
    decided(&[policy(json!({}))], "allowed: no policy restricts it");
    let mut open = policy(json!({}));
    open["spec"]["ingress"][0]["ports"][0]["port"] = json!(80);
    decided(&[open], "denied: ClusterNetworkPolicy c ingress[0] \"no telnet\"");
}

#[test]
fn subjects_and_peers_are_of_all_namespaces_unless_selected() {
    let policy = |spec: Value| {
        let mut whole = json!({ "tier": 0, "order": 0 });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        [cluster_policy("c", &whole)]
    };
    let denied = "denied: ClusterNetworkPolicy c ingress[0]";
    let from = |peer: Value| json!([{ "action": "Deny", "from": [peer] }]);
    let b = json!({ "matchLabels": { "app": "b" } });
    decided(&policy(json!({ "ingress": from(json!({ "podSelector": b })) })), denied);
    let team = json!({ "matchLabels": { "team": "b" } });
    decided(&policy(json!({ "ingress": from(json!({ "namespaceSelector": team })) })), denied);
    decided(
        &policy(json!({ "namespaceSelector": team, "ingress": [{ "action": "Deny" }] })),
        "allowed: no policy restricts it",
    );
    let by_name = json!({ "matchLabels": { "kubernetes.io/metadata.name": "x" } });
    decided(&policy(json!({ "namespaceSelector": by_name, "ingress": [{ "action": "Deny" }] })), denied);
}
