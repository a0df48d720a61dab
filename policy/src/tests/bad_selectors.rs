//! Peers and selectors that are wrong.

use serde_json::{Value, json};

use super::bad_input::network;
use super::network_policy;
use crate::{PolicyKind, read};

#[track_caller]
fn peer(item: &Value, expected: &str) {
    network(&json!({ "egress": [{ "to": [{ "podSelector": {} }, item] }] }), &[expected]);
}

#[track_caller]
fn selector(value: &Value, expected: &str) {
    network(&json!({ "podSelector": value }), &[expected]);
}

#[test]
fn wrong_peers_are_refused() {
    let at = "spec.egress[0].to[1]";
    peer(&json!({}), &format!("{at}: Required value: must specify a peer"));
    peer(&json!({ "podSelector": null }), &format!("{at}: Required value: must specify a peer"));
    peer(&json!({ "ipBlock": {} }), &format!("{at}.ipBlock.cidr: Required value"));
    let both = "may not be specified when both podSelector and namespaceSelector, or one of them, are";
    let item = json!({ "podSelector": {}, "ipBlock": { "cidr": "10.0.0.0/8" } });
    peer(&item, &format!("{at}.ipBlock: Forbidden: {both}"));
    for (cidr, why) in [
        ("10.0.0.1", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ("10.0.0.0/33", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ("010.0.0.0/8", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ("10.0.0.1/8", "must not have bits set beyond the prefix length (should be \"10.0.0.0/8\")"),
        ("2001:db8::1/64", "must not have bits set beyond the prefix length (should be \"2001:db8::/64\")"),
        ("::ffff:10.0.0.0/104", "must not be an IPv4-mapped IPv6 address: write it as IPv4"),
    ] {
        let expected = format!("{at}.ipBlock.cidr: Invalid value: \"{cidr}\": {why}");
        peer(&json!({ "ipBlock": { "cidr": cidr } }), &expected);
    }
    for (except, why) in [
        ("10.0.0.0/8", "must be a strict subset of `cidr`"),
        ("0.0.0.0/0", "must be a strict subset of `cidr`"),
        ("11.0.0.0/16", "must be a strict subset of `cidr`"),
        ("2001:db8::/64", "must be a strict subset of `cidr`"),
        ("10.1.0.1/16", "must not have bits set beyond the prefix length (should be \"10.1.0.0/16\")"),
    ] {
        let expected = format!("{at}.ipBlock.except[1]: Invalid value: \"{except}\": {why}");
        peer(&json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.9.0.0/16", except] } }), &expected);
    }
}

#[test]
fn wrong_selectors_are_refused() {
    let at = "spec.podSelector";
    let expressions = |item: Value| json!({ "matchExpressions": [item] });
    for (value, path, why) in [
        (json!([]), "", "Invalid value: \"[]\": must be an object"),
        (
            json!({ "matchLabels": { "a": true } }),
            ".matchLabels.a",
            "Invalid value: \"true\": must be a string",
        ),
        (expressions(json!({ "operator": "Exists" })), ".matchExpressions[0].key", "Required value"),
        (expressions(json!({ "key": "a" })), ".matchExpressions[0].operator", "Required value"),
        (
            expressions(json!({ "key": "a", "operator": "in", "values": ["b"] })),
            ".matchExpressions[0].operator",
            "Unsupported value: \"in\": supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\"",
        ),
        (
            expressions(json!({ "key": "a", "operator": "In", "values": [] })),
            ".matchExpressions[0].values",
            "Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            expressions(json!({ "key": "a", "operator": "NotIn" })),
            ".matchExpressions[0].values",
            "Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            expressions(json!({ "key": "a", "operator": "Exists", "values": ["b"] })),
            ".matchExpressions[0].values",
            "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        (
            expressions(json!({ "key": "a", "operator": "Exists", "value": "b" })),
            ".matchExpressions[0].value",
            "Unknown field: known fields: key, operator, values",
        ),
    ] {
        selector(&value, &format!("{at}{path}: {why}"));
    }
    for (value, path) in [
        (json!({ "matchLabels": { "-a": "b" } }), ".matchLabels.-a: Invalid value: \"b\""),
        (json!({ "matchLabels": { "a": "b c" } }), ".matchLabels.a: Invalid value: \"b c\""),
        (
            expressions(json!({ "key": "a b", "operator": "Exists" })),
            ".matchExpressions[0].key: Invalid value",
        ),
        (
            expressions(json!({ "key": "a", "operator": "In", "values": ["b", "c d"] })),
            ".matchExpressions[0].values[1]: Invalid value: \"c d\"",
        ),
    ] {
        let object = network_policy("web", &json!({ "podSelector": value }));
        let error = read(PolicyKind::NetworkPolicy, &object).unwrap_err();
        assert!(error.problems[0].to_string().starts_with(&format!("{at}{path}")), "{error}");
    }
}
