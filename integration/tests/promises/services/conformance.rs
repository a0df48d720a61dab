//! Conformance tests of Kubernetes' `[sig-network]` about pods and services, under their own names, TCP and UDP.
//! Each is the Nth of the 47 in `test/conformance/testdata/conformance.yaml` of Kubernetes 1.34. What they ask of names is
//! the cluster DNS's to promise, not the switch's. Those about one feature are beside its other promises: 13 and 14 in
//! `manifests`, 38, 39, 43 and 44 in `affinity`, 45 to 47 in `reach`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use integration::{Cluster, ClusterOptions, TestNode, wait};
use protocol::message::Kind;

use super::{
    Backend, apply, ask, cluster_ip, document, endpoints, node_port, tcp, udp, until_answer,
    until_answered_by,
};
use crate::nodes::address;
use crate::stream::Place;

/// Two pods on each of two nodes, which say their names.
fn pods_on_two_nodes() -> (Cluster, Vec<Backend>) {
    let cluster = Cluster::start(2);
    let backend = |number: usize, name: &str| {
        Backend::start(cluster.node(number), name, "netexec", "tcp:8080 udp:8081")
    };
    let backends = vec![backend(0, "a"), backend(0, "b"), backend(1, "c"), backend(1, "d")];
    (cluster, backends)
}

fn assert_answers(from: Place<'_>, at: super::At, name: &str, seen: IpAddr) {
    // The first packet between two nodes may meet a tunnel that is just being set up.
    until_answer(from, at, &format!("{name} {seen}"));
}

/// "[It] [sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http"
#[test]
fn sig_network_23_intra_pod_communication_http() {
    let (_cluster, pods) = pods_on_two_nodes();
    for from in &pods {
        for to in &pods {
            assert_answers(Place::Pod(&from.pod), tcp(to.pod.ip, 8080), &to.pod.name, from.pod.ip);
        }
    }
}

/// "… should function for intra-pod communication: udp"
#[test]
fn sig_network_24_intra_pod_communication_udp() {
    let (_cluster, pods) = pods_on_two_nodes();
    for from in &pods {
        for to in &pods {
            assert_answers(Place::Pod(&from.pod), udp(to.pod.ip, 8081), &to.pod.name, from.pod.ip);
        }
    }
}

/// "… should function for node-pod communication: http": from the network of each node to the pods of all.
#[test]
fn sig_network_25_node_pod_communication_http() {
    let (cluster, pods) = pods_on_two_nodes();
    for node in cluster.nodes() {
        for to in &pods {
            until_answered_by(Place::Node(node), tcp(to.pod.ip, 8080), &[&to.pod.name]);
        }
    }
}

/// "… should function for node-pod communication: udp"
#[test]
fn sig_network_26_node_pod_communication_udp() {
    let (cluster, pods) = pods_on_two_nodes();
    for node in cluster.nodes() {
        for to in &pods {
            until_answered_by(Place::Node(node), udp(to.pod.ip, 8081), &[&to.pod.name]);
        }
    }
}

/// "[sig-network] Service endpoints latency should not be very high": half of 100 services have their endpoint within 20 s,
/// nine in ten within 50 s of their creation.
#[test]
fn sig_network_30_endpoints_latency() {
    let node = TestNode::start();
    let _backend = Backend::start(&node, "a", "web", "tcp:80");
    let mut latencies = Vec::new();
    for number in 0..100 {
        let name = format!("latency-{number}");
        let begin = Instant::now();
        apply(&node, &service(&name, "ClusterIP", "ports: [{port: 80}]"));
        wait::until("the service has its endpoint", || (endpoints(&node, &name).len() == 1).then_some(()));
        latencies.push(begin.elapsed());
    }
    latencies.sort();
    assert!(latencies[50] <= Duration::from_secs(20), "{latencies:?}");
    assert!(latencies[90] <= Duration::from_secs(50), "{latencies:?}");
}

/// A service over the pods labelled `app=web`.
fn service(name: &str, kind: &str, rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec:\n  type: {kind}\n  selector: {{app: web}}\n  {rest}\n"
    )
}

const PORTS: &str = "ports: [{name: t, protocol: TCP, port: 80}, {name: u, protocol: UDP, port: 80}]";
const EXTERNAL: &str = "externalName: foo.example.com";

/// One node with two pods behind service `web` of type `before`, which then becomes one of type `after`.
struct Changed {
    node: TestNode,
    client: integration::TestPod,
    _backends: [Backend; 2],
}

impl Changed {
    fn start(kind: &str, rest: &str) -> Self {
        let node = TestNode::start();
        let client = node.create_pod("client");
        let backends = ["a", "b"].map(|name| Backend::start(&node, name, "web", "tcp:80 udp:80"));
        apply(&node, &service("web", kind, rest));
        Self { node, client, _backends: backends }
    }

    fn become_of(&self, kind: &str, rest: &str) {
        apply(&self.node, &service("web", kind, rest));
    }

    fn has_no_address(&self) {
        let object = document(&self.node, Kind::Services, "web").expect("the service is there");
        assert_eq!(object.pointer("/spec/clusterIP"), None, "{object}");
        assert_eq!(
            object.pointer("/spec/externalName").and_then(|name| name.as_str()),
            Some("foo.example.com")
        );
    }

    fn is_served_at(&self, address: IpAddr, port: u16) {
        for at in [tcp(address, port), udp(address, port)] {
            until_answered_by(Place::Pod(&self.client), at, &["a", "b"]);
        }
    }

    fn is_refused_at(&self, address: IpAddr, port: u16) {
        for at in [tcp(address, port), udp(address, port)] {
            until_answer(Place::Pod(&self.client), at, "error ECONNREFUSED");
        }
    }
}

/// "[sig-network] Services should be able to change the type from ClusterIP to ExternalName"
#[test]
fn sig_network_33_change_the_type_from_cluster_ip_to_external_name() {
    let bed = Changed::start("ClusterIP", PORTS);
    let before = cluster_ip(&bed.node, "web");
    bed.is_served_at(before, 80);
    bed.become_of("ExternalName", EXTERNAL);
    bed.is_refused_at(before, 80);
    bed.has_no_address();
}

/// "[sig-network] Services should be able to change the type from ExternalName to ClusterIP"
#[test]
fn sig_network_34_change_the_type_from_external_name_to_cluster_ip() {
    let bed = Changed::start("ExternalName", EXTERNAL);
    bed.has_no_address();
    bed.become_of("ClusterIP", PORTS);
    bed.is_served_at(cluster_ip(&bed.node, "web"), 80);
}

/// "[sig-network] Services should be able to change the type from ExternalName to NodePort"
#[test]
fn sig_network_35_change_the_type_from_external_name_to_node_port() {
    let bed = Changed::start("ExternalName", EXTERNAL);
    bed.become_of("NodePort", "ports: [{protocol: TCP, port: 80}]");
    let port = node_port(&bed.node, "web");
    let from = Place::Pod(&bed.client);
    until_answered_by(from, tcp(cluster_ip(&bed.node, "web"), 80), &["a", "b"]);
    until_answered_by(from, tcp(address(&bed.node), port), &["a", "b"]);
}

/// "[sig-network] Services should be able to change the type from NodePort to ExternalName"
#[test]
fn sig_network_36_change_the_type_from_node_port_to_external_name() {
    let bed = Changed::start("NodePort", "ports: [{protocol: TCP, port: 80}]");
    let (before, port) = (cluster_ip(&bed.node, "web"), node_port(&bed.node, "web"));
    let from = Place::Pod(&bed.client);
    until_answered_by(from, tcp(address(&bed.node), port), &["a", "b"]);
    bed.become_of("ExternalName", EXTERNAL);
    until_answer(from, tcp(before, 80), "error ECONNREFUSED");
    until_answer(from, tcp(address(&bed.node), port), "error ECONNREFUSED");
    bed.has_no_address();
    // Somebody else can have the number.
    let ports = format!("ports: [{{protocol: TCP, port: 80, nodePort: {port}}}]");
    apply(&bed.node, &service("other", "NodePort", &ports));
    until_answered_by(from, tcp(address(&bed.node), port), &["a", "b"]);
}

/// "[sig-network] Services should be able to create a functioning NodePort service": at the cluster's address and at every node's
/// from pods of every node, which see who asked.
#[test]
fn sig_network_37_create_a_functioning_node_port_service() {
    let cluster = ClusterOptions::new(2).on_etcd().allow_log("etcd").start();
    let _backends = [(0, "a"), (1, "b")]
        .map(|(number, name)| Backend::start(cluster.node(number), name, "web", "tcp:80 udp:80"));
    let clients = cluster.create_pods("client");
    apply(cluster.node(0), &service("web", "NodePort", "ports: [{protocol: TCP, port: 80}]"));
    let vip = cluster_ip(cluster.node(0), "web");
    let port = node_port(cluster.node(0), "web");
    for client in &clients {
        let from = Place::Pod(client);
        until_answered_by(from, tcp(vip, 80), &["a", "b"]);
        for node in cluster.nodes() {
            until_answered_by(from, tcp(address(node), port), &["a", "b"]);
        }
        let seen = client.ip.to_string();
        assert!(
            ask(from, tcp(vip, 80), 3).iter().all(|answer| answer.ends_with(&seen)),
            "pods see the client"
        );
    }
}
