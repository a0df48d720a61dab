//! What is read is what was written: empty and absent differ, and survive every serialisation.

use serde_json::{Value, json};

use super::{cluster_policy, good, network_policy};
use crate::{Labels, Operator, Peer, Place, Pods, Policy, PortRange, Protocol, Scope, Selector};

fn any() -> Selector {
    Selector::default()
}

fn own() -> Scope {
    Scope::Own("x".parse().unwrap())
}

fn peer(item: &Value) -> Peer {
    let policy = good(&network_policy("web", &json!({ "ingress": [{ "from": [item] }] }))).policy;
    policy.ingress.unwrap().remove(0).peers.remove(0)
}

#[test]
fn empty_and_absent_selectors_differ() {
    let pods = |namespaces, selector| Peer::Pods(Pods { namespaces, selector });
    assert_eq!(peer(&json!({ "podSelector": {} })), pods(own(), any()));
    assert_eq!(peer(&json!({ "namespaceSelector": {} })), pods(Scope::Matching(any()), any()));
    let both = json!({ "podSelector": {}, "namespaceSelector": null });
    assert_eq!(peer(&both), pods(own(), any()));
    let both = json!({ "podSelector": {}, "namespaceSelector": {} });
    assert_eq!(peer(&both), pods(Scope::Matching(any()), any()));
    let empty_parts = json!({ "podSelector": { "matchLabels": {}, "matchExpressions": [] } });
    assert_eq!(peer(&empty_parts), pods(own(), any()));
}

#[test]
fn policy_types_follow_the_rules_where_absent() {
    let rule = json!([{}]);
    for (spec, ingress, egress) in [
        (json!({}), true, false),
        (json!({ "policyTypes": [] }), true, false),
        (json!({ "ingress": [], "egress": [] }), true, false),
        (json!({ "egress": rule }), true, true),
        (json!({ "egress": [], "policyTypes": ["Egress"] }), false, true),
        (json!({ "ingress": rule, "policyTypes": ["Egress"] }), false, true),
        (json!({ "egress": rule, "policyTypes": ["Ingress"] }), true, false),
        (json!({ "policyTypes": ["Ingress", "Ingress"] }), true, false),
        (json!({ "policyTypes": ["Egress", "Ingress"] }), true, true),
    ] {
        let policy = good(&network_policy("web", &spec)).policy;
        assert_eq!((policy.ingress.is_some(), policy.egress.is_some()), (ingress, egress), "{spec}");
    }
}

#[test]
fn ports_default_to_tcp_and_to_all() {
    let items =
        json!([{}, { "port": 53, "protocol": "UDP" }, { "port": 1, "endPort": 9 }, { "port": "web" }]);
    let policy = good(&network_policy("web", &json!({ "ingress": [{ "ports": items }] }))).policy;
    let ports = &policy.ingress.unwrap()[0].ports;
    let read: Vec<_> = ports.iter().map(|item| (item.protocol, item.range.clone())).collect();
    assert_eq!(
        read,
        [
            (Protocol::TCP, PortRange::Any),
            (Protocol::UDP, PortRange::Numbers(53, 53)),
            (Protocol::TCP, PortRange::Numbers(1, 9)),
            (Protocol::TCP, PortRange::Named("web".to_owned())),
        ]
    );
}

#[test]
fn the_normal_form_is_stable_and_keeps_what_is_empty() {
    let spec = json!({
        "podSelector": { "matchLabels": {} },
        "ingress": [{ "from": [], "ports": [{ "port": 80 }] }, {}, { "from": [{ "namespaceSelector": {} }] }],
        "egress": [],
    });
    let mut object = network_policy("web", &spec);
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    object["metadata"]["annotations"] = json!({ "note": "kept", "gone": null });
    object["status"] = json!({ "conditions": [] });
    let checked = good(&object);
    let expected = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": "web", "namespace": "default", "annotations": { "note": "kept" } },
        "spec": {
            "podSelector": { "matchLabels": {} },
            "policyTypes": ["Ingress"],
            "ingress": [
                { "from": [], "ports": [{ "port": 80, "protocol": "TCP" }] },
                {},
                { "from": [{ "namespaceSelector": {} }] },
            ],
            "egress": [],
        },
    });
    assert_eq!(checked.object, expected);
    assert_eq!(good(&checked.object), checked);
}

#[test]
fn policies_survive_serialisation() {
    let network = network_policy(
        "web",
        &json!({
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [
                { "to": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }] },
                { "to": [{ "podSelector": {} }, { "namespaceSelector": {} }], "ports": [{ "port": "web" }] },
            ],
        }),
    );
    let cluster = cluster_policy("c", &json!({ "tier": 7, "order": 3, "ingress": [{ "action": "Pass" }] }));
    for object in [network, cluster] {
        let policy = good(&object).policy;
        let bytes = postcard::to_stdvec(&policy).unwrap();
        assert_eq!(postcard::from_bytes::<Policy>(&bytes).unwrap(), policy);
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    }
}

#[test]
fn tiers_of_authors_are_around_the_network_policies() {
    for (tier, early) in [(0, true), (49, true), (50, false), (99, false)] {
        let spec = json!({ "tier": tier, "order": 7, "egress": [] });
        let place = good(&cluster_policy("c", &spec)).policy.place;
        assert_eq!(place.author_tier(), Some(tier));
        assert_eq!(place < Place::NETWORK_POLICIES, early, "{tier}");
        assert_ne!(place.tier, Place::NETWORK_POLICIES.tier);
    }
    assert_eq!(Place::NETWORK_POLICIES.author_tier(), None);
}

#[test]
fn operators_see_absent_labels_as_kubernetes_does() {
    let labels: Labels = [("a".to_owned(), "1".to_owned())].into();
    let values = || vec!["1".to_owned(), "2".to_owned()];
    for (key, operator, expected) in [
        ("a", Operator::In(values()), true),
        ("a", Operator::NotIn(values()), false),
        ("a", Operator::Exists, true),
        ("a", Operator::DoesNotExist, false),
        ("b", Operator::In(values()), false),
        ("b", Operator::NotIn(values()), true),
        ("b", Operator::Exists, false),
        ("b", Operator::DoesNotExist, true),
    ] {
        let requirement = crate::Requirement { key: key.to_owned(), operator };
        let selector = Selector { labels: Labels::new(), expressions: vec![requirement.clone()] };
        assert_eq!(selector.matches(&labels), expected, "{requirement:?}");
    }
}
