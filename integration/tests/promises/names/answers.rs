//! What the cluster's DNS answers, asked by real resolvers in real pods: `dig`, glibc, a static program, and as Go does.

use integration::{Cluster, ClusterOptions, NodeOptions, TestNode, TestPod, wait};
use nix::time::{ClockId, clock_gettime};

use super::ready_system_pod;
use crate::services::{Backend, apply, create_service, labelled};

/// With the real program.
const DNS: &str = "[dns]\nenabled = true\npod_records = \"verified\"\nupstreams = [\"192.0.2.53\"]\n";

pub(super) fn node() -> TestNode {
    let node = NodeOptions::default().sections(DNS).start();
    ready_system_pod(&node, "vpod-dns");
    node
}

/// A pod with a container, so that it is entered as programs are started: with its own `resolv.conf`.
#[track_caller]
pub(super) fn client(node: &TestNode) -> TestPod {
    let pod = node.create_pod_running("client", &["sleep", "600"]);
    until(node, "kubernetes.default", &["10.96.0.1"]);
    pod
}

/// What a program prints that runs in pod `client`, its lines sorted.
#[track_caller]
pub(super) fn said(node: &TestNode, words: &[&str]) -> Vec<String> {
    let all = [&["exec", "client", "--"][..], words].concat();
    let mut lines: Vec<String> = node.vpodctl_words(&all).stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// As `dig` finds it with the pod's search list.
#[track_caller]
pub(super) fn dig(node: &TestNode, words: &str) -> Vec<String> {
    let script = format!("dig +search +short +tries=1 +time=2 {words}");
    said(node, &["sh", "-c", &script])
}

/// The status that `dig` is told, and the number of answers.
#[track_caller]
pub(super) fn status(node: &TestNode, words: &str) -> String {
    let script =
        format!("dig +tries=1 +time=2 {words} | grep -oE 'status: [A-Z]+|ANSWER: [0-9]+' | tr '\\n' ' '");
    said(node, &["sh", "-c", &script]).join(" ")
}

#[track_caller]
pub(super) fn until(node: &TestNode, words: &str, expected: &[&str]) {
    wait::until(&format!("{words} is {expected:?}"), || (dig(node, words) == expected).then_some(()));
}

/// A service with a port named `http`; returns its address.
#[track_caller]
pub(super) fn named_service(node: &TestNode, name: &str) -> String {
    apply(
        node,
        &format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default}}, spec: {{ports: [{{name: http, port: 80}}]}}}}"
        ),
    );
    crate::services::cluster_ip(node, name).to_string()
}

pub(super) fn headless(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default}}, spec: {{clusterIP: None, \
         selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}}}"
    )
}

/// sig-network 8: DNS should provide DNS for the cluster.
#[test]
fn provides_dns_for_the_cluster() {
    let node = node();
    let _client = client(&node);
    for name in ["kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"] {
        for transport in ["+notcp", "+tcp"] {
            assert_eq!(dig(&node, &format!("{name} {transport}")), ["10.96.0.1"], "{name} {transport}");
        }
        let hosts = said(&node, &["getent", "ahostsv4", name]);
        assert!(
            hosts.iter().all(|line| line.starts_with("10.96.0.1 ")) && !hosts.is_empty(),
            "{name}: {hosts:?}"
        );
        let found = said(&node, &["busybox", "nslookup", &format!("{}.", name.trim_end_matches('.'))]);
        if name.ends_with("cluster.local") {
            assert!(found.iter().any(|line| line.contains("10.96.0.1")), "{name}: {found:?}");
        }
    }
    assert_eq!(dig(&node, "-x 10.96.0.1"), ["kubernetes.default.svc.cluster.local."]);
    assert_eq!(dig(&node, "dns-version.cluster.local TXT"), ["\"1.1.0\""]);
}

/// sig-network 7: DNS should provide DNS for services; services by short and full names, reverse, and by ports.
#[test]
fn provides_dns_for_services() {
    let node = node();
    let _client = client(&node);
    let service = named_service(&node, "test-service-2");
    apply(&node, &headless("dns-test-service"));
    let pod = node.create(&labelled("backend", "dns-test-service"));
    let address = pod.ip.to_string();
    let dashed = address.replace('.', "-");
    for transport in ["+notcp", "+tcp"] {
        for name in ["test-service-2", "test-service-2.default", "test-service-2.default.svc.cluster.local"] {
            until(&node, &format!("{name} {transport}"), &[&service]);
        }
        for name in ["dns-test-service", "dns-test-service.default.svc"] {
            until(&node, &format!("{name} {transport}"), &[&address]);
        }
        let srv = format!("_http._tcp.test-service-2.default.svc.cluster.local SRV {transport}");
        assert!(dig(&node, &srv)[0].ends_with(" 80 test-service-2.default.svc.cluster.local."), "{srv}");
        let srv = format!("_http._tcp.dns-test-service.default.svc.cluster.local SRV {transport}");
        let target = format!(" 8080 {dashed}.dns-test-service.default.svc.cluster.local.");
        assert!(dig(&node, &srv)[0].ends_with(&target), "{srv}: {:?}", dig(&node, &srv));
    }
    assert_eq!(dig(&node, &format!("-x {service}")), ["test-service-2.default.svc.cluster.local."]);
    let reverse = format!("{dashed}.dns-test-service.default.svc.cluster.local.");
    assert_eq!(dig(&node, &format!("-x {address}")), [reverse]);
}

/// sig-network 5 and 6: DNS should provide DNS for pods for Hostname and for Subdomain.
#[test]
fn provides_dns_for_hostname_and_subdomain() {
    let node = node();
    let _client = client(&node);
    apply(&node, &headless("dns-test-service-2"));
    let mut request = labelled("querier", "dns-test-service-2");
    request.hostname = Some("dns-querier-1".to_owned());
    request.subdomain = Some("dns-test-service-2".to_owned());
    let pod = node.create(&request);
    let full = "dns-querier-1.dns-test-service-2.default.svc.cluster.local";
    until(&node, full, &[&pod.ip.to_string()]);
    until(&node, "dns-querier-1.dns-test-service-2", &[&pod.ip.to_string()]);
    assert_eq!(dig(&node, &format!("-x {}", pod.ip)), [format!("{full}.")]);
    node.delete_pod(&pod);
    wait::until("it is gone", || status(&node, full).contains("NXDOMAIN").then_some(()));
}

/// sig-network 4 and 34: DNS should provide DNS for ExternalName services; and as it becomes another one, and one with an address.
#[test]
fn provides_dns_for_external_name_services() {
    let node = node();
    let _client = client(&node);
    let external = |spec: &str| {
        apply(
            &node,
            &format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: alias, namespace: default}}, spec: {{{spec}}}}}"
            ),
        );
    };
    let cname = |expected: &str| until(&node, "alias.default.svc.cluster.local CNAME", &[expected]);
    external("type: ExternalName, externalName: foo.example.com");
    cname("foo.example.com.");
    external("type: ExternalName, externalName: bar.example.com");
    cname("bar.example.com.");
    // One that leads back into the cluster is followed.
    external("type: ExternalName, externalName: kubernetes.default.svc.cluster.local");
    until(&node, "alias", &["10.96.0.1", "kubernetes.default.svc.cluster.local."]);
    external("type: ClusterIP, clusterIP: 10.96.7.7, ports: [{port: 80}]");
    until(&node, "alias", &["10.96.7.7"]);
}

/// sig-network 9: DNS should resolve DNS of partial qualified names for services and for the cluster. glibc, a static
/// program, and both families from one socket at once, as musl asks.
#[test]
fn resolves_partial_names_by_any_resolver() {
    let node = node();
    let _client = client(&node);
    let service = create_service(&node, "web", "--tcp 80").to_string();
    until(&node, "web", &[&service]);
    for name in ["web", "web.default", "web.default.svc"] {
        let hosts = said(&node, &["getent", "ahosts", name]);
        assert!(
            hosts.iter().all(|line| line.starts_with(&service)) && !hosts.is_empty(),
            "{name}: {hosts:?}"
        );
        // Fetches by name: the library that it was linked with resolves, and the connection is refused, for there is no endpoint.
        let ran = node.vpodctl_words(&[
            "exec",
            "client",
            "--",
            "busybox",
            "wget",
            "-O-",
            &format!("http://{name}/"),
        ]);
        assert!(ran.stderr.contains(&service), "{name}: {ran}");
    }
    let both = format!(
        "exec /usr/bin/python3 -B {}/tests/promises/names/both_families.py",
        env!("CARGO_MANIFEST_DIR")
    );
    let full = "web.default.svc.cluster.local";
    assert_eq!(
        said(&node, &["sh", "-c", &format!("{both} 10.96.0.10 {full}")]),
        [format!("A {service}"), "AAAA NODATA".to_owned()]
    );
    assert_eq!(
        said(&node, &["sh", "-c", &format!("{both} 10.96.0.10 nope.default.svc.cluster.local")]),
        ["A NXDOMAIN", "AAAA NXDOMAIN"]
    );
}

/// What clients depend on where there is nothing (`plugin/kubernetes` of CoreDNS).
#[test]
fn what_is_missing_is_told_apart_from_what_is_empty() {
    let node = node();
    let _client = client(&node);
    create_service(&node, "web", "--tcp 80");
    apply(&node, &headless("empty"));
    until(&node, "WEB.Default.SVC.cluster.LOCAL", &[&crate::services::cluster_ip(&node, "web").to_string()]);
    for (name, expected) in [
        ("web.default.svc.cluster.local AAAA", "NOERROR"),
        ("web.default.svc.cluster.local TXT", "NOERROR"),
        ("default.svc.cluster.local", "NOERROR"),
        ("svc.cluster.local", "NOERROR"),
        ("pod.cluster.local NS", "NOERROR"),
        ("nope.default.svc.cluster.local", "NXDOMAIN"),
        ("web.nope.svc.cluster.local", "NXDOMAIN"),
        ("nope.svc.cluster.local", "NXDOMAIN"),
        ("foo.cluster.local", "NXDOMAIN"),
        ("empty.default.svc.cluster.local", "NXDOMAIN"),
        ("x.web.default.svc.cluster.local", "NXDOMAIN"),
    ] {
        let status = status(&node, name);
        assert!(status.contains(expected) && status.contains("ANSWER: 0"), "{name}: {status}");
    }
}

/// sig-network 30 as far as it is about names, and the figure: a name is answered within 100 ms of being active. A pod asks all the
/// time; the least of five rounds counts, for a loaded machine makes single ones slow.
#[test]
fn a_change_is_answered_soon_after_it_is_active() {
    let node = node();
    let client = client(&node);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promises/names/until_answered.py");
    let late = |round: usize| {
        let name = format!("round{round}");
        let mut asking = client.spawn(&format!(
            "exec /usr/bin/python3 -B {program} 10.96.0.10 {name}.default.svc.cluster.local"
        ));
        asking.wait_for_output("ready\n");
        named_service(&node, &name);
        node.vpodctl(&format!("wait service/{name} --for=active --timeout 10s")).ok();
        let active = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is such a clock");
        let answered = asking.wait().ok().trim().lines().last().and_then(|line| line.parse::<u64>().ok());
        let active = active.tv_sec() * 1_000_000_000 + active.tv_nsec();
        answered.expect("a time").saturating_sub(u64::try_from(active).expect("it is positive"))
    };
    let all: Vec<u64> = (0..5).map(late).collect();
    assert!(all.iter().any(|nanos| *nanos < 100_000_000), "{all:?}");
}

/// A dead program's clients ask another node's until it is started again, which is at once.
#[test]
fn another_node_answers_while_ones_own_is_away() {
    let cluster: Cluster = ClusterOptions::new(2).on_etcd().allow_log("etcd").section(DNS).start();
    for node in cluster.nodes() {
        ready_system_pod(node, "vpod-dns");
    }
    let node = cluster.node(0);
    let _client = client(node);
    let _backend = Backend::start(cluster.node(1), "backend", "web", "tcp:80");
    let service = create_service(cluster.node(1), "web", "--tcp 80").to_string();
    until(node, "web", &[&service]);
    let program = super::pid(&ready_system_pod(node, "vpod-dns"));
    for signal in ["STOP", "KILL"] {
        node.sh(&format!("kill -{signal} {program}")).ok();
        until(node, "web", &[&service]);
    }
    let again = wait::until("it is started again", || {
        Some(super::pid(&ready_system_pod(node, "vpod-dns"))).filter(|again| *again != program)
    });
    assert_ne!(again, program);
}

/// The explanation and what is answered are the same.
#[test]
fn dns_query_explains_what_a_pod_is_answered() {
    let node = node();
    let _client = client(&node);
    let service = named_service(&node, "web");
    until(&node, "web", &[&service]);
    let told = node.vpodctl("dns query web --from client").ok();
    for part in
        ["server 10.96.0.10", "web.default.svc.cluster.local. A: 1 record", &service, "ports http 80/TCP"]
    {
        assert!(told.contains(part), "no {part}: {told}");
    }
    let told = node.vpodctl("dns query nope --from client");
    assert_eq!(told.status.code(), Some(1), "{told}");
    assert!(told.stdout.contains("there is no service default/nope"), "{told}");
    let told = node.vpodctl("dns query _http._tcp.web.default.svc.cluster.local -t SRV").ok();
    assert!(told.contains("port http of service default/web"), "{told}");
}
