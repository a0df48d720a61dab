//! Objects come, change and go. After each step the compiled tables and those of who is told the changes decide as the
//! reference does, for every pair of addresses; and they are what a compiler makes of the same objects at once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::collection::{btree_set, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::world::{World, labels, pod_name};
use super::{cluster_policy, good, network_policy};
use crate::{Direction, Flow, Labels, NamedPort, Pod, Policy, Protocol};

/// The number of histories that issue 7 asks for.
const HISTORIES: u32 = 300;
const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 6] = ["x/a", "x/b", "x/c", "y/a", "y/b", "z/a"];
/// Some of pods, some of nodes, some of neither; few, so that they collide.
const ADDRESSES: [&str; 8] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.1.1",
    "10.0.1.200",
    "10.1.0.1",
    "192.0.2.7",
    "2001:db8::1",
    "2001:db8:0:1::1",
];
const PROBES: [(Protocol, u16); 6] = [
    (Protocol::TCP, 80),
    (Protocol::TCP, 81),
    (Protocol::UDP, 80),
    (Protocol::SCTP, 80),
    (Protocol::TCP, 8080),
    (Protocol::ICMP, 0),
];

#[derive(Debug, Clone)]
enum Step {
    SetPod(&'static str, Pod),
    RemovePod(&'static str),
    SetNamespace(&'static str, Labels),
    RemoveNamespace(&'static str),
    SetNode(&'static str, BTreeSet<IpAddr>),
    RemoveNode(&'static str),
    SetPolicy(Box<Policy>),
    RemovePolicy(u8),
    Commit,
}

fn some_labels() -> impl Strategy<Value = Labels> {
    let sets: [&[(&str, &str)]; 6] = [
        &[],
        &[("app", "web")],
        &[("app", "db")],
        &[("app", "web"), ("env", "prod")],
        &[("env", "test")],
        &[("app", ""), ("env", "prod")],
    ];
    select(sets.map(labels).to_vec())
}

fn addresses(most: usize) -> impl Strategy<Value = BTreeSet<IpAddr>> {
    btree_set(select(ADDRESSES.map(|text| text.parse().unwrap()).to_vec()), 0..=most)
}

fn pod() -> impl Strategy<Value = Pod> {
    let port = |(protocol, port)| NamedPort { name: "web".to_owned(), protocol, port };
    let numbers = [(Protocol::TCP, 80), (Protocol::TCP, 8080), (Protocol::UDP, 80)];
    let node = select(vec![None, Some("n1"), Some("n2")]);
    (some_labels(), addresses(2), btree_set(select(numbers.map(port).to_vec()), 0..=2), node).prop_map(
        |(labels, addresses, ports, node)| Pod {
            labels,
            addresses,
            ports,
            node: node.map(|name| name.parse().unwrap()),
        },
    )
}

fn selector() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({ "matchLabels": { "app": "web" } }),
        json!({ "matchLabels": { "env": "prod" } }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["web"] }] }),
        json!({ "matchExpressions": [{ "key": "env", "operator": "Exists" }] }),
        json!({ "matchExpressions": [
            { "key": "app", "operator": "In", "values": ["web", "db"] },
            { "key": "env", "operator": "DoesNotExist" },
        ] }),
        json!({ "matchLabels": { "kubernetes.io/metadata.name": "y" } }),
    ])
}

fn peer() -> impl Strategy<Value = Value> {
    let blocks = vec![
        json!({ "cidr": "0.0.0.0/0" }),
        json!({ "cidr": "0.0.0.0/0", "except": ["10.0.0.0/16", "10.0.1.0/24"] }),
        json!({ "cidr": "10.0.1.0/24", "except": ["10.0.1.128/25"] }),
        json!({ "cidr": "10.0.0.1/32" }),
        json!({ "cidr": "::/0", "except": ["2001:db8::/64"] }),
    ];
    prop_oneof![
        selector().prop_map(|pods| json!({ "podSelector": pods })),
        selector().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        (selector(), selector())
            .prop_map(|(pods, namespaces)| json!({ "podSelector": pods, "namespaceSelector": namespaces })),
        select(blocks).prop_map(|block| json!({ "ipBlock": block })),
    ]
}

fn ports() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({ "port": 80 }),
        json!({ "port": 80, "endPort": 90 }),
        json!({ "port": "web" }),
        json!({ "port": "web", "protocol": "UDP" }),
        json!({ "protocol": "UDP" }),
        json!({ "protocol": "SCTP", "port": 80 }),
    ])
}

/// Rules with an action, which a `NetworkPolicy` does without. Lists may be empty.
fn rules(peers: &'static str) -> impl Strategy<Value = Option<Vec<Value>>> {
    let action = select(vec!["Allow", "Deny", "Pass"]);
    let rule = (vec(peer(), 0..3), vec(ports(), 0..3), action);
    let rule = rule
        .prop_map(move |(items, ports, action)| json!({ peers: items, "ports": ports, "action": action }));
    prop_oneof![Just(None), vec(rule, 0..3).prop_map(Some)]
}

fn edit_rules(rules: Vec<Value>, edit: fn(&mut serde_json::Map<String, Value>)) -> Value {
    rules
        .into_iter()
        .map(|mut rule| {
            edit(rule.as_object_mut().unwrap());
            rule
        })
        .collect()
}

fn policy() -> impl Strategy<Value = Policy> {
    let network = (0..4_u8, select(NAMESPACES.to_vec()), selector(), rules("from"), rules("to")).prop_map(
        |(name, namespace, selector, ingress, egress)| {
            let mut spec = json!({ "podSelector": selector, "policyTypes": ["Ingress", "Egress"] });
            for (field, rules) in [("ingress", ingress), ("egress", egress)] {
                match rules {
                    Some(rules) => spec[field] = edit_rules(rules, |rule| drop(rule.remove("action"))),
                    None => spec["policyTypes"] = json!(["Egress"]),
                }
            }
            let mut object = network_policy(&format!("p{name}"), &spec);
            object["metadata"]["namespace"] = json!(namespace);
            good(&object).policy
        },
    );
    let tier = select(vec![0, 1, 49, 50, 99]);
    let cluster = (0..4_u8, tier, 0..2_u8, selector(), selector(), rules("from"), rules("to")).prop_map(
        |(name, tier, order, pods, namespaces, ingress, egress)| {
            let mut spec = json!({ "tier": tier, "order": order, "podSelector": pods, "ingress": [] });
            spec["namespaceSelector"] = namespaces;
            for (field, rules) in [("ingress", ingress), ("egress", egress)] {
                if let Some(rules) = rules {
                    spec[field] = edit_rules(rules, |rule| {
                        rule.retain(|_, value| value.as_array().is_none_or(|items| !items.is_empty()));
                    });
                }
            }
            good(&cluster_policy(&format!("c{name}"), &spec)).policy
        },
    );
    prop_oneof![network, cluster]
}

fn step() -> impl Strategy<Value = Step> {
    let nodes = || select(vec!["n1", "n2"]);
    prop_oneof![
        6 => (select(PODS.to_vec()), pod()).prop_map(|(name, pod)| Step::SetPod(name, pod)),
        1 => select(PODS.to_vec()).prop_map(Step::RemovePod),
        2 => (select(NAMESPACES.to_vec()), some_labels()).prop_map(|(name, labels)| Step::SetNamespace(name, labels)),
        1 => select(NAMESPACES.to_vec()).prop_map(Step::RemoveNamespace),
        1 => (nodes(), addresses(2)).prop_map(|(name, addresses)| Step::SetNode(name, addresses)),
        1 => nodes().prop_map(Step::RemoveNode),
        6 => policy().prop_map(|policy| Step::SetPolicy(Box::new(policy))),
        2 => any::<u8>().prop_map(Step::RemovePolicy),
        8 => Just(Step::Commit),
    ]
}

fn take(world: &mut World, step: &Step) {
    match step {
        Step::SetPod(name, pod) => world.set_pod(&pod_name(name), pod),
        Step::RemovePod(name) => world.remove_pod(&pod_name(name)),
        Step::SetNamespace(name, labels) => world.set_namespace(&name.parse().unwrap(), labels.clone()),
        Step::RemoveNamespace(name) => world.remove_namespace(&name.parse().unwrap()),
        Step::SetNode(name, addresses) => world.set_node(&name.parse().unwrap(), addresses.clone()),
        Step::RemoveNode(name) => world.remove_node(&name.parse().unwrap()),
        Step::SetPolicy(policy) => world.set_policy(policy),
        Step::RemovePolicy(which) => {
            let names: Vec<_> = world.cluster.policies.keys().cloned().collect();
            if let Some(name) = names.get(usize::from(*which) % names.len().max(1)) {
                world.remove_policy(name);
            }
        }
        Step::Commit => world.commit(),
    }
}

fn all_agree(world: &World) {
    let ends: Vec<IpAddr> = ADDRESSES.iter().map(|text| text.parse().unwrap()).collect();
    for source in &ends {
        for destination in &ends {
            for (protocol, port) in PROBES {
                world.explain(&Flow { source: *source, destination: *destination, protocol, port });
            }
        }
    }
    for name in world.cluster.pods.keys() {
        for direction in [Direction::Ingress, Direction::Egress] {
            let expected: Vec<_> =
                world.cluster.selecting(name, direction).iter().map(|policy| policy.name.clone()).collect();
            assert_eq!(world.compiler.selecting(name, direction), expected, "{name} {direction}");
        }
    }
}

#[test]
fn compiled_tables_agree_with_the_reference_through_generated_histories() {
    let mut runner =
        TestRunner::new(Config { cases: HISTORIES, failure_persistence: None, ..Config::default() });
    let run = runner.run(&vec(step(), 1..50), |steps| {
        let mut world = World::default();
        for step in &steps {
            take(&mut world, step);
            if matches!(step, Step::Commit) {
                world.equals_from_scratch();
                all_agree(&world);
            }
        }
        world.commit();
        world.equals_from_scratch();
        all_agree(&world);
        assert!(world.compiler.commit().is_empty(), "nothing is left to do");
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}
