//! What people are told about policies.

use serde_json::Value;

use integration::prober::{Prober, Try};
use integration::{TestNode, wait};

use super::{enforce, isolate, labelled};
use crate::services::manifest;

const GUARD: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guard}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: friend}}}]
    ports: [{port: 80}, {port: nobody-has-it}]
";

#[test]
fn a_test_names_the_rule_that_decides() {
    let node = TestNode::start();
    for (name, app) in [("web", "web"), ("friend", "friend"), ("stranger", "x")] {
        let _ = labelled(&node, name, app);
    }
    let open = node.vpodctl("policy test --from stranger --to web:80").ok();
    assert!(open.contains("allowed") && open.contains("no policy restricts it"), "{open}");
    enforce(&node, GUARD);
    let friend = node.vpodctl("policy test --from friend --to web:80").ok();
    assert!(friend.contains("NetworkPolicy default/guard ingress[0]"), "{friend}");
    let stranger = node.vpodctl("policy test --from stranger --to web:80 -o json");
    assert_eq!(stranger.status.code(), Some(1), "{stranger}");
    let verdict: Value = serde_json::from_str(&stranger.stdout).unwrap();
    let verdict = &verdict["items"][0];
    assert_eq!(verdict["allowed"], false);
    assert_eq!(verdict["flow"]["sourcePod"], "default/stranger");
    let reason = verdict["ingress"]["reason"].as_str().unwrap();
    assert!(reason.contains("isolated by NetworkPolicy default/guard"), "{reason}");
    node.vpodctl("policy test --from friend --to web:81").fails(1);
    node.vpodctl("policy test --from 192.0.2.77 --to web:80").fails(1);
    let error = node.vpodctl("policy test --from nobody --to web:80").fails(1);
    assert!(error.contains("default/nobody"), "{error}");
    let error = node.vpodctl("policy test --from friend --to web").fails(2);
    assert!(error.contains("POD:PORT"), "{error}");
    let _ = node.vpodctl("create-service clusterip web --selector app=web --tcp 8000:80").ok();
    wait::until("the service has its endpoint", || {
        let ran = node.vpodctl("policy test --from friend --to service/web");
        ran.stdout.contains("default/web").then_some(())
    });
    node.vpodctl("policy test --from stranger --to service/web:8000").fails(1);
}

#[test]
fn a_description_says_whom_a_policy_selects_and_what_of_it_is_about_nothing() {
    let node = TestNode::start();
    let _ = labelled(&node, "web", "web");
    enforce(&node, GUARD);
    let table = node.vpodctl("get netpol").ok();
    assert!(table.contains("guard") && table.contains("app=web") && table.contains("Ingress"), "{table}");
    let text = wait::until("the pod is known", || {
        let text = node.vpodctl("describe networkpolicy guard").ok();
        text.contains("default/web").then_some(text)
    });
    assert!(text.contains("Selected pods:    1"), "{text}");
    assert!(text.contains("spec.ingress[0].from[0]: selects no pod"), "{text}");
    assert!(text.contains("spec.ingress[0].ports[1].port"), "{text}");
    let json = node.vpodctl("get networkpolicy guard -o json").ok();
    let object: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["spec"]["policyTypes"][0], "Ingress");
    // As it is shown it can be applied.
    let again = manifest(&node, "apply", &json).ok();
    assert!(again.contains("unchanged"), "{again}");
    node.vpodctl("delete netpol guard").ok();
    assert!(!node.vpodctl("get netpol").succeeded() || !node.vpodctl("get netpol").stdout.contains("guard"));
}

#[test]
fn refused_flows_are_counted_and_listed_with_the_policy() {
    let node = TestNode::start();
    let (web, stranger) = (labelled(&node, "web", "web"), labelled(&node, "stranger", "x"));
    let (_server, mut client) = (Prober::start(&web, &[80]), Prober::start(&stranger, &[80]));
    enforce(&node, GUARD);
    client.begin(&[Try { address: web.ip, protocol: "tcp", port: 80, expected: false }]);
    assert_eq!(client.results(), [false]);
    let rows = wait::until("it is listed", || {
        let rows = node.vpodctl("get denials").ok();
        rows.contains("default/stranger").then_some(rows)
    });
    assert!(
        rows.contains("default/web") && rows.contains("ingress") && rows.contains("default/guard"),
        "{rows}"
    );
    let text = node.vpodctl("describe netpol guard").ok();
    let denied = text.lines().find_map(|line| line.strip_prefix("Denied packets:")).unwrap();
    let denied: u64 = denied.split_whitespace().next().unwrap().parse().unwrap();
    assert!(denied > 0, "{text}");
    assert!(node.drops(&stranger, "policy_denied_ingress") > 0);
    let metrics = node.vpodctl("metrics").ok();
    assert!(metrics.contains("vpod_policy_denied_packets_total"), "{metrics}");
}

#[test]
fn an_audit_says_what_would_be_cut_and_changes_nothing() {
    let node = TestNode::start();
    let (web, stranger) = (labelled(&node, "web", "web"), labelled(&node, "stranger", "x"));
    let (_server, mut client) = (Prober::start(&web, &[80, 81]), Prober::start(&stranger, &[80]));
    let at = |port, protocol, expected| Try { address: web.ip, protocol, port, expected };
    client.begin(&[at(80, "udp", true), at(81, "udp", true)]);
    assert_eq!(client.results(), [true, true]);
    let policy = isolate("guard", "web", "Ingress") + "  ingress: [{ports: [{port: 81, protocol: UDP}]}]\n";
    let audit = manifest(&node, "policy audit", &policy);
    assert_eq!(audit.status.code(), Some(1), "{audit}");
    let cut: Vec<&str> =
        audit.stdout.lines().filter(|line| line.contains("denied") && line.contains('→')).collect();
    assert!(cut.iter().any(|line| line.contains("default/web") && line.contains(":80)")), "{audit}");
    assert!(!cut.iter().any(|line| line.contains(":81)")), "{audit}");
    assert!(audit.stdout.contains("isolated by NetworkPolicy default/guard"), "{audit}");
    client.begin(&[at(80, "udp", true)]);
    assert_eq!(client.results(), [true]);
    let empty = node.vpodctl("get netpol");
    assert!(!empty.stdout.contains("guard"), "{empty}");
    let error =
        manifest(&node, "policy audit", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n").fails(1);
    assert!(error.contains("no policy"), "{error}");
}

#[test]
fn wrong_policies_are_refused_by_their_fields() {
    let node = TestNode::start();
    for (from, to, problem) in [
        ("podSelector: {matchLabels: {app: web}}", "podSelectr: {}", "podSelectr"),
        ("port: 80}", "port: 80, endPort: 70}", "endPort"),
        (
            "from: [{podSelector: {matchLabels: {app: friend}}}]",
            "from: [{ipBlock: {cidr: 10.0.0.1/8}}]",
            "10.0.0.1/8",
        ),
        ("from: [{podSelector: {matchLabels: {app: friend}}}]", "from: [{}]", "from[0]"),
        ("name: guard", "name: Guard", "Guard"),
    ] {
        let text = GUARD.replace(from, to);
        assert_ne!(text, GUARD);
        let error = manifest(&node, "apply", &text).fails(1);
        assert!(error.contains(problem), "{problem}: {error}");
    }
    assert!(!node.vpodctl("get netpol").stdout.contains("guard"));
}

#[test]
fn labels_are_changed_as_kubectl_does() {
    let node = TestNode::start();
    let _ = labelled(&node, "web", "web");
    assert_eq!(node.vpodctl("label pod web tier=front app=web").ok(), "pod/web labeled\n");
    let error = node.vpodctl("label pod/web app=db").fails(1);
    assert!(error.contains("default/web") && error.contains("--overwrite"), "{error}");
    node.vpodctl("label pod web app=db tier- --overwrite").ok();
    let labels = node.pod("web").metadata.labels;
    assert_eq!(labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(), ["app=db"]);
    node.vpodctl("label namespace shop team=ops").ok();
    let shown = node.vpodctl("get namespace shop -o yaml").ok();
    assert!(shown.contains("team: ops"), "{shown}");
    let error = node.vpodctl("label service web a=b").fails(2);
    assert!(error.contains("service"), "{error}");
    let error = node.vpodctl("label pod nobody a=b").fails(1);
    assert!(error.contains("nobody"), "{error}");
}
