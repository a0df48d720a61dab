//! Rule by rule what networking/v1 says, and what our own kind adds. Every decision is asked of the reference, of the compiled
//! tables and of somebody who was told the changes.

use serde_json::{Value, json};

use super::world::{World, flow, labels};
use super::{cluster_policy, good, network_policy};
use crate::{Decision, Protocol, Reason};

const WEB: &str = "10.0.0.1";
const DB: &str = "10.0.0.2";
const OTHER: &str = "10.0.1.1";
const OUTSIDE: &str = "192.0.2.7";
const OWN_NODE: &str = "172.16.0.1";
const OTHER_NODE: &str = "172.16.0.2";

/// `x/web` and `x/db` in the namespace of policies, `y/other` in another; all on the node `n1`.
fn world(policies: &[Value]) -> World {
    let mut world = World::default();
    let ports = [("http", Protocol::TCP, 80), ("http", Protocol::UDP, 81), ("dns", Protocol::UDP, 53)];
    world.pod("x/web", WEB, &[("app", "web")], &ports);
    world.pod("x/db", DB, &[("app", "db")], &[]);
    world.pod("y/other", OTHER, &[("app", "web")], &[("http", Protocol::TCP, 8080)]);
    world.set_namespace(&"x".parse().unwrap(), labels(&[("team", "a")]));
    world.set_namespace(&"y".parse().unwrap(), labels(&[("team", "b")]));
    world.set_node(&"n1".parse().unwrap(), [OWN_NODE.parse().unwrap()].into());
    world.set_node(&"n2".parse().unwrap(), [OTHER_NODE.parse().unwrap()].into());
    policies.iter().for_each(|object| world.set_policy(&good(object).policy));
    world.commit();
    world
}

fn tcp(world: &World, source: &str, destination: &str, port: u16) -> bool {
    world.explain(&flow(source, destination, Protocol::TCP, port)).allowed()
}

/// Whether `x/web` is reached from the four others: `x/db`, `y/other`, outside, another node.
fn reached(world: &World, port: u16) -> [bool; 4] {
    [DB, OTHER, OUTSIDE, OTHER_NODE].map(|source| tcp(world, source, WEB, port))
}

fn ingress(rules: &Value) -> Vec<Value> {
    vec![network_policy(
        "p",
        &json!({ "podSelector": { "matchLabels": { "app": "web" } }, "ingress": rules }),
    )]
}

#[test]
fn a_pod_that_nothing_selects_is_unrestricted() {
    let world = world(&ingress(&json!([])));
    assert_eq!(reached(&world, 80), [false; 4]);
    for source in [WEB, OTHER, OUTSIDE] {
        assert!(tcp(&world, source, DB, 80), "{source}: the policy is about x/web only");
    }
    assert!(tcp(&world, WEB, OUTSIDE, 443), "it says nothing about egress");
    assert!(tcp(&world, DB, OTHER, 80), "nor about pods with the same label in other namespaces");
}

#[test]
fn empty_and_absent_lists_mean_what_the_specification_says() {
    for (rules, expected) in [
        (json!(null), [false; 4]),
        (json!([]), [false; 4]),
        (json!([{}]), [true; 4]),
        (json!([{ "from": [] }]), [true; 4]),
        (json!([{ "from": [], "ports": [] }]), [true; 4]),
        (json!([{ "from": [{ "podSelector": {} }] }]), [true, false, false, false]),
        (json!([{ "from": [{ "namespaceSelector": {} }] }]), [true, true, false, false]),
        (json!([{ "from": [{ "podSelector": {}, "namespaceSelector": {} }] }]), [true, true, false, false]),
        (json!([{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }]), [true; 4]),
    ] {
        assert_eq!(reached(&world(&ingress(&rules)), 80), expected, "{rules}");
    }
}

#[test]
fn selectors_in_one_item_are_and_in_two_are_or() {
    let team = |team: &str| json!({ "matchLabels": { "team": team } });
    let app = |app: &str| json!({ "matchLabels": { "app": app } });
    for (peers, expected) in [
        (json!([{ "namespaceSelector": team("b"), "podSelector": app("web") }]), [false, true, false, false]),
        (json!([{ "namespaceSelector": team("b"), "podSelector": app("db") }]), [false; 4]),
        (
            json!([{ "namespaceSelector": team("b") }, { "podSelector": app("db") }]),
            [true, true, false, false],
        ),
        (json!([{ "podSelector": app("web") }]), [false; 4]),
    ] {
        assert_eq!(reached(&world(&ingress(&json!([{ "from": peers }]))), 80), expected, "{peers}");
    }
}

#[test]
fn peers_and_ports_of_one_rule_must_both_match() {
    let world = world(&ingress(&json!([
        { "from": [{ "podSelector": {} }], "ports": [{ "port": 80 }] },
        { "from": [{ "namespaceSelector": { "matchLabels": { "team": "b" } } }], "ports": [{ "port": 81 }] },
    ])));
    assert_eq!(reached(&world, 80), [true, false, false, false]);
    assert_eq!(reached(&world, 81), [false, true, false, false]);
}

#[test]
fn ports_are_numbers_ranges_names_and_whole_protocols() {
    for (item, protocol, inside, outside) in [
        (json!({ "port": 80 }), Protocol::TCP, vec![80], vec![79, 81]),
        (json!({ "port": 80, "endPort": 82 }), Protocol::TCP, vec![80, 81, 82], vec![79, 83]),
        (json!({ "port": 65535 }), Protocol::TCP, vec![65535], vec![0, 65534]),
        (json!({ "port": "http" }), Protocol::TCP, vec![80], vec![81, 8080]),
        (json!({ "port": "http", "protocol": "UDP" }), Protocol::UDP, vec![81], vec![80]),
        (json!({ "port": "nosuch" }), Protocol::TCP, vec![], vec![0, 80]),
        (json!({ "protocol": "UDP" }), Protocol::UDP, vec![0, 65535], vec![]),
        (json!({ "protocol": "SCTP", "port": 80 }), Protocol::SCTP, vec![80], vec![81]),
    ] {
        let world = world(&ingress(&json!([{ "ports": [item] }])));
        for (ports, expected) in [(&inside, true), (&outside, false)] {
            for port in ports {
                let explained = world.explain(&flow(DB, WEB, protocol, *port));
                assert_eq!(explained.allowed(), expected, "{item} {port}");
            }
        }
        for other in
            [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP].iter().filter(|p| **p != protocol)
        {
            assert!(!world.explain(&flow(DB, WEB, *other, 80)).allowed(), "{item} {other}");
        }
    }
}

#[test]
fn named_ports_of_egress_are_the_destinations() {
    let egress = |to: &Value| {
        let rule = json!([{ "to": to, "ports": [{ "port": "http" }] }]);
        world(&[network_policy(
            "p",
            &json!({ "podSelector": { "matchLabels": { "app": "db" } }, "egress": rule, "policyTypes": ["Egress"] }),
        )])
    };
    for to in [json!(null), json!([{ "namespaceSelector": {} }])] {
        let world = egress(&to);
        assert!(tcp(&world, DB, WEB, 80) && !tcp(&world, DB, WEB, 8080), "{to}");
        assert!(tcp(&world, DB, OTHER, 8080) && !tcp(&world, DB, OTHER, 80), "{to}");
        assert!(!tcp(&world, DB, OUTSIDE, 80), "{to}: nobody outside has named ports");
    }
    // Ours: behind a block nobody has named ports, pods neither.
    assert!(!tcp(&egress(&json!([{ "ipBlock": { "cidr": "10.0.0.0/8" } }])), DB, WEB, 80));
}

#[test]
fn exceptions_cut_out_of_their_own_block_only() {
    let block = |cidr: &str, except: &[&str]| json!({ "ipBlock": { "cidr": cidr, "except": except } });
    for (peers, expected) in [
        (json!([block("10.0.0.0/8", &["10.0.1.0/24"])]), [true, false, false, false]),
        (json!([block("10.0.0.0/8", &["10.0.0.0/16"])]), [false, false, false, false]),
        (
            json!([block("10.0.0.0/8", &["10.0.0.0/16"]), block("10.0.1.1/32", &[])]),
            [false, true, false, false],
        ),
        (json!([block("0.0.0.0/0", &["10.0.0.0/8", "172.16.0.0/12"])]), [false, false, true, false]),
        (json!([block("::/0", &[])]), [false; 4]),
    ] {
        assert_eq!(reached(&world(&ingress(&json!([{ "from": peers }]))), 80), expected, "{peers}");
    }
}

#[test]
fn a_pods_own_node_and_itself_are_never_kept_out() {
    let deny =
        json!({ "tier": 0, "order": 0, "ingress": [{ "action": "Deny" }], "egress": [{ "action": "Deny" }] });
    let world = world(&[cluster_policy("nothing", &deny)]);
    let reason = |source, destination| {
        let explained = world.explain(&flow(source, destination, Protocol::TCP, 80));
        (explained.egress.reason, explained.ingress.reason)
    };
    assert_eq!(reason(OWN_NODE, WEB), (Reason::NoPod, Reason::OwnNode));
    assert_eq!(reason(WEB, OWN_NODE), (Reason::OwnNode, Reason::NoPod));
    assert_eq!(reason(WEB, WEB), (Reason::Itself, Reason::Itself));
    assert!(!tcp(&world, OTHER_NODE, WEB, 80) && !tcp(&world, WEB, OTHER_NODE, 80));
}

#[test]
fn other_protocols_need_a_rule_without_ports() {
    let icmp = |rules: &Value| world(&ingress(rules)).explain(&flow(DB, WEB, Protocol::ICMP, 0)).allowed();
    assert!(icmp(&json!([{ "from": [{ "podSelector": {} }] }])));
    assert!(!icmp(&json!([{ "ports": [{}, { "protocol": "UDP" }, { "protocol": "SCTP" }] }])));
    let ping = json!([{ "action": "Allow", "ports": [{ "protocol": "ICMP" }] }]);
    let ping = cluster_policy("ping", &json!({ "tier": 0, "order": 0, "ingress": ping }));
    let world = world(&[ingress(&json!([])).remove(0), ping]);
    assert!(world.explain(&flow(DB, WEB, Protocol::ICMP, 0)).allowed() && !tcp(&world, DB, WEB, 80));
}

#[test]
fn a_decision_names_the_policy_and_the_rule() {
    let world = world(&ingress(&json!([{ "ports": [{ "port": 1 }] }, { "ports": [{ "port": 80 }] }])));
    let at = |port| world.explain(&flow(DB, WEB, Protocol::TCP, port));
    assert_eq!(at(80).ingress.to_string(), "allowed: NetworkPolicy x/p ingress[1]");
    let denied = "denied: no rule allows it, and the pod is isolated by NetworkPolicy x/p";
    assert_eq!(at(81).ingress.to_string(), denied);
    assert_eq!(at(81).egress, Decision { allowed: true, reason: Reason::Unrestricted });
    assert_eq!(at(81).source.unwrap().to_string(), "x/db");
    assert_eq!(at(81).destination.unwrap().to_string(), "x/web");
}
