//! Everything that is wrong is said, by the path of the field. Peers and selectors are in `bad_selectors`.

use serde_json::{Value, json};

use super::{cluster_policy, network_policy};
use crate::{PolicyKind, read};

#[track_caller]
fn refused(kind: PolicyKind, object: &Value, expected: &[&str]) {
    let error = read(kind, object).expect_err(&object.to_string());
    let texts: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected, "{object}");
}

#[track_caller]
pub(super) fn network(spec: &Value, expected: &[&str]) {
    refused(PolicyKind::NetworkPolicy, &network_policy("web", spec), expected);
}

#[track_caller]
fn cluster(spec: &Value, expected: &[&str]) {
    refused(PolicyKind::ClusterNetworkPolicy, &cluster_policy("web", spec), expected);
}

#[track_caller]
fn port(item: &Value, expected: &str) {
    network(&json!({ "ingress": [{ "ports": [item] }] }), &[expected]);
}

#[test]
fn unknown_fields_are_named_by_path() {
    network(
        &json!({
            "podselector": {},
            "ingress": [{ "to": [], "from": [{ "podSelector": { "matchLabel": {} }, "cidr": "10.0.0.0/8" }] }],
            "egress": [{ "ports": [{ "endport": 1 }], "to": [{ "ipBlock": { "cidr": "::/0", "excepts": [] } }] }],
        }),
        &[
            "spec.podselector: Unknown field: known fields: podSelector, ingress, egress, policyTypes",
            "spec.ingress[0].to: Unknown field: known fields: from, ports",
            "spec.ingress[0].from[0].cidr: Unknown field: known fields: podSelector, namespaceSelector, ipBlock",
            "spec.ingress[0].from[0].podSelector.matchLabel: Unknown field: known fields: matchLabels, matchExpressions",
            "spec.egress[0].to[0].ipBlock.excepts: Unknown field: known fields: cidr, except",
            "spec.egress[0].ports[0].endport: Unknown field: known fields: protocol, port, endPort",
        ],
    );
    let mut object = network_policy("web", &json!({}));
    object["specs"] = json!({});
    object["metadata"]["label"] = json!({});
    let error = read(PolicyKind::NetworkPolicy, &object).unwrap_err().to_string();
    assert!(error.starts_with("The NetworkPolicy \"web\" is invalid: \n* specs: Unknown field"), "{error}");
    assert!(error.contains("\n* metadata.label: Unknown field"), "{error}");
}

#[test]
fn objects_of_another_shape_are_refused() {
    let kind = PolicyKind::NetworkPolicy;
    refused(kind, &json!([]), &["object: Invalid value: \"[]\": must be an object"]);
    refused(
        kind,
        &json!({}),
        &[
            "apiVersion: Required value: must be networking.k8s.io/v1",
            "kind: Required value: must be NetworkPolicy",
            "metadata: Required value",
            "spec: Required value",
        ],
    );
    network(
        &json!({ "ingress": {}, "egress": [7], "policyTypes": "Ingress" }),
        &[
            "spec.ingress: Invalid value: \"{}\": must be a list",
            "spec.egress[0]: Invalid value: \"7\": must be an object",
            "spec.policyTypes: Invalid value: \"Ingress\": must be a list",
        ],
    );
    let mut other = network_policy("web", &json!({}));
    other["apiVersion"] = json!("networking.k8s.io/v1beta1");
    let why = "apiVersion: Invalid value: \"networking.k8s.io/v1beta1\": must be networking.k8s.io/v1";
    refused(kind, &other, &[why]);
}

#[test]
fn names_and_metadata_are_checked() {
    for (field, value, path) in [
        ("name", json!("../etc"), "metadata.name: Invalid value: \"../etc\": name \"../etc\" is invalid"),
        ("name", json!("a\u{0}b"), "metadata.name: Invalid value"),
        ("name", json!(""), "metadata.name: Invalid value: \"\": a name must not be empty"),
        ("name", json!(7), "metadata.name: Invalid value: \"7\": must be a string"),
        ("name", Value::Null, "metadata.name: Required value"),
        ("namespace", json!("a.b"), "metadata.namespace: Invalid value: \"a.b\""),
        ("labels", json!({ "-": "x" }), "metadata.labels: Invalid value: \"-\""),
        ("labels", json!({ "a": 1 }), "metadata.labels.a: Invalid value: \"1\": must be a string"),
        (
            "annotations",
            json!({ "a": [] }),
            "metadata.annotations.a: Invalid value: \"[]\": must be a string",
        ),
    ] {
        let mut object = network_policy("web", &json!({}));
        object["metadata"][field] = value;
        let error = read(PolicyKind::NetworkPolicy, &object).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        assert!(error.problems[0].to_string().starts_with(path), "{error}");
    }
}

#[test]
fn wrong_ports_are_refused() {
    let at = "spec.ingress[0].ports[0]";
    for (item, field, why) in [
        (json!({ "port": 0 }), "port", "Invalid value: \"0\": must be between 1 and 65535, inclusive"),
        (json!({ "port": -1 }), "port", "Invalid value: \"-1\": must be between 1 and 65535, inclusive"),
        (
            json!({ "port": 65536 }),
            "port",
            "Invalid value: \"65536\": must be between 1 and 65535, inclusive",
        ),
        (json!({ "port": 80.5 }), "port", "Invalid value: \"80.5\": must be a whole number"),
        (json!({ "port": true }), "port", "Invalid value: \"true\": must be a whole number"),
        (json!({ "port": "" }), "port", "Invalid value: \"\": must be between 1 and 15 characters"),
        (json!({ "port": "80" }), "port", "Invalid value: \"80\": must contain at least one letter (a-z)"),
        (json!({ "port": "a--b" }), "port", "Invalid value: \"a--b\": must not contain consecutive hyphens"),
        (json!({ "port": "-a" }), "port", "Invalid value: \"-a\": must not begin or end with a hyphen"),
        (
            json!({ "port": "HTTP" }),
            "port",
            "Invalid value: \"HTTP\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (
            json!({ "endPort": 90 }),
            "endPort",
            "Invalid value: \"90\": may not be specified when `port` is not specified",
        ),
        (
            json!({ "port": "web", "endPort": 90 }),
            "endPort",
            "Invalid value: \"90\": may not be specified when `port` is non-numeric",
        ),
        (
            json!({ "port": 81, "endPort": 80 }),
            "endPort",
            "Invalid value: \"80\": must be greater than or equal to `port`",
        ),
        (
            json!({ "port": 81, "endPort": 70000 }),
            "endPort",
            "Invalid value: \"70000\": must be between 1 and 65535, inclusive",
        ),
        (
            json!({ "protocol": "tcp" }),
            "protocol",
            "Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            json!({ "protocol": "ICMP" }),
            "protocol",
            "Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
    ] {
        port(&item, &format!("{at}.{field}: {why}"));
    }
}

#[test]
fn wrong_policy_types_are_refused() {
    let at = "spec.policyTypes";
    network(
        &json!({ "policyTypes": ["ingress"] }),
        &[&format!("{at}[0]: Unsupported value: \"ingress\": supported values: \"Egress\", \"Ingress\"")],
    );
    network(
        &json!({ "policyTypes": ["Ingress", "Egress", "Ingress"] }),
        &[&format!("{at}: Invalid value: \"3\": may not specify more than two policyTypes")],
    );
}

#[test]
fn lists_have_an_end() {
    let many: Vec<Value> = (0..1025).map(|_| json!({})).collect();
    network(&json!({ "ingress": many }), &["spec.ingress: Too many: 1025: must have at most 1024 items"]);
    let long = "x".repeat(1000);
    let error = read(PolicyKind::NetworkPolicy, &network_policy("web", &json!({ "ingress": long })));
    assert!(error.unwrap_err().to_string().len() < 300);
}

#[test]
fn cluster_policies_leave_nothing_to_guess() {
    cluster(
        &json!({}),
        &[
            "spec.tier: Required value",
            "spec.order: Required value",
            "spec: Required value: must have `ingress` or `egress`",
        ],
    );
    cluster(
        &json!({ "tier": 100, "order": -1, "policyTypes": [], "ingress": [
            { "from": [], "ports": [] },
            { "action": "allow", "name": "\u{7}" },
            { "action": "Allow", "ports": [{ "protocol": "ICMP", "port": 8 }] },
        ] }),
        &[
            "spec.policyTypes: Unknown field: known fields: tier, order, namespaceSelector, podSelector, ingress, egress",
            "spec.tier: Invalid value: \"100\": must be between 0 and 99, inclusive",
            "spec.order: Invalid value: \"-1\": must be between 0 and 4294967295, inclusive",
            "spec.ingress[0].from: Invalid value: \"[]\": must have an item: leave it out where everything is meant",
            "spec.ingress[0].ports: Invalid value: \"[]\": must have an item: leave it out where everything is meant",
            "spec.ingress[0].action: Required value",
            "spec.ingress[1].name: Invalid value: \"\\u{7}\": must be 1 to 100 bytes without control characters",
            "spec.ingress[1].action: Unsupported value: \"allow\": supported values: \"Allow\", \"Deny\", \"Pass\"",
            "spec.ingress[2].ports[0].port: Forbidden: ICMP has no ports",
        ],
    );
    let mut object = cluster_policy("web", &json!({ "tier": 0, "order": 0, "ingress": [] }));
    object["metadata"]["namespace"] = json!("x");
    let why = "metadata.namespace: Forbidden: a ClusterNetworkPolicy belongs to no namespace";
    refused(PolicyKind::ClusterNetworkPolicy, &object, &[why]);
}
