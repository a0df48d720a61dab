//! Each pod's `/etc/resolv.conf`, `/etc/hosts` and host name.

use integration::TestNode;

use crate::services::{apply, manifest};

/// sig-network 10: DNS should support configurable pod DNS nameservers.
#[test]
fn dns_config_is_what_the_pod_sees() {
    let node = TestNode::start();
    apply(
        &node,
        r#"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, command: [sleep, "600"]}],
            dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1], searches: [resolv.conf.local],
            options: [{name: ndots, value: "2"}]}}}"#,
    );
    let text = node.vpodctl("exec a -- cat /etc/resolv.conf").ok();
    assert_eq!(text, "search resolv.conf.local\nnameserver 1.1.1.1\noptions ndots:2\n");
    node.vpodctl("create-pod b --dns-policy Default -- sleep 600").ok();
    let of_node = node.sh("cat /etc/resolv.conf").ok();
    let server = of_node.lines().find(|line| line.starts_with("nameserver")).unwrap_or_default();
    assert!(node.vpodctl("exec b -- cat /etc/resolv.conf").ok().contains(server));
    node.vpodctl("create-pod c --dns-config search=corp.example --dns-config option=ndots:3 -- sleep 600")
        .ok();
    let text = node.vpodctl("exec c -- cat /etc/resolv.conf").ok();
    assert!(text.contains("default.svc.cluster.local") && text.contains("corp.example"), "{text}");
    assert!(text.contains("options ndots:3\n"), "{text}");
}

/// More than six search paths of more than 256 characters (`[sig-network] DNS should …ConfigurableDNS… expanded`).
#[test]
fn long_search_lists_are_taken_and_bad_configs_refused_by_field() {
    let node = TestNode::start();
    let searches: Vec<String> = (0..25).map(|n| format!("{}{n}.example", "a".repeat(40))).collect();
    let flags: Vec<String> = searches.iter().map(|search| format!("--dns-config search={search}")).collect();
    node.vpodctl(&format!("create-pod a {} -- sleep 600", flags.join(" "))).ok();
    let text = node.vpodctl("exec a -- cat /etc/resolv.conf").ok();
    assert!(searches.iter().all(|search| text.contains(search)), "{text}");
    let refused = node.vpodctl("create-pod b --dns-policy None").fails(1);
    assert!(refused.contains("spec.dnsConfig.nameservers: Required value"), "{refused}");
    let refused = node.vpodctl("create-pod b --dns-config search=a..b").fails(1);
    assert!(refused.contains("spec.dnsConfig.searches[0]"), "{refused}");
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {containers: [{name: b}], dnsPolicy: Cluster}}";
    let refused = manifest(&node, "apply", text).fails(1);
    assert!(refused.contains("spec.dnsPolicy: Unsupported value"), "{refused}");
}

/// sig-network 5 and 6, as far as they are about the pod itself: its host name, and its full name in `/etc/hosts`.
#[test]
fn hostname_and_subdomain_name_the_pod() {
    let node = TestNode::start();
    apply(
        &node,
        r#"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, command: [sleep, "600"]}],
            hostname: querier-1, subdomain: db}}"#,
    );
    assert_eq!(node.vpodctl("exec a -- hostname").ok(), "querier-1\n");
    let hosts = node.vpodctl("exec a -- cat /etc/hosts").ok();
    let full = "\tquerier-1.db.default.svc.cluster.local\tquerier-1\n";
    assert!(hosts.contains(full), "{hosts}");
    let refused = node.vpodctl("create-pod b --hostname Bad_Name").fails(1);
    assert!(refused.contains("spec.hostname"), "{refused}");
    let described = node.vpodctl("get pod a -o yaml").ok();
    assert!(described.contains("hostname: querier-1") && described.contains("subdomain: db"), "{described}");
}
