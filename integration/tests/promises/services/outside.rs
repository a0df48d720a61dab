//! The way out of the cluster and into it, by the nodes' own interfaces. The network between the nodes plays the Internet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use integration::{Background, Cluster, ClusterOptions, wait};

use super::{At, Backend, MANY, PEER, apply, names, node_port, tcp, udp, until_answer};
use crate::nodes::address;
use crate::stream::Place;

pub(super) const BALANCER: &str = "192.0.2.200";
/// Where the network between the nodes asks from.
pub(super) const OUTSIDER: &str = "192.0.2.254";

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Two nodes whose default route leads to the network between them, which has the address 203.0.113.10 besides.
pub(crate) fn cluster() -> Cluster {
    let pool = format!("[[load_balancer.pool]]\nname = \"test\"\naddresses = [\"{BALANCER}-192.0.2.203\"]\n");
    let cluster = ClusterOptions::new(2).on_etcd().section(&pool).allow_log("etcd").start();
    cluster.underlay().sh("ip address add 203.0.113.10/32 dev lo && ip link set lo up").ok();
    for node in cluster.nodes() {
        node.sh(&format!("ip route replace default via {OUTSIDER}")).ok();
        // It was started before there was a way out.
        wait::until("the uplink is open", || node.sh("nft list table netdev vpod").succeeded().then_some(()));
    }
    cluster
}

pub(super) fn serve_outside(cluster: &Cluster) -> Background {
    let mut server = cluster.underlay().spawn(&format!("{PEER} serve internet tcp:80 udp:80"));
    server.wait_for_output("ready\n");
    server
}

pub(super) fn ask_from_outside(cluster: &Cluster, at: At, count: usize) -> Vec<String> {
    let At { protocol, address, port } = at;
    let ran = cluster.underlay().spawn(&format!("{PEER} ask {protocol} {address} {port} {count}")).wait();
    ran.ok().lines().map(str::to_owned).collect()
}

/// Waits until exactly these answer.
#[track_caller]
pub(super) fn until_answered_outside(cluster: &Cluster, at: At, expected: &[&str]) {
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    wait::until(&format!("{at:?} is answered by {expected:?} only"), || {
        (names(&ask_from_outside(cluster, at, MANY)) == expected).then_some(())
    });
}

pub(super) fn balanced(policy: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  type: LoadBalancer\n  \
         loadBalancerIP: {BALANCER}\n  externalTrafficPolicy: {policy}\n  selector: {{app: web}}\n  \
         ports: [{{name: t, protocol: TCP, port: 80}}, {{name: u, protocol: UDP, port: 80}}]\n"
    )
}

#[test]
fn a_pod_goes_out_as_its_node() {
    let cluster = cluster();
    let _server = serve_outside(&cluster);
    for (node, pod) in cluster.nodes().iter().zip(cluster.create_pods("client")) {
        let seen = format!("internet {}", address(node));
        for at in [tcp(ip("203.0.113.10"), 80), tcp(ip(OUTSIDER), 80), udp(ip(OUTSIDER), 80)] {
            until_answer(Place::Pod(&pod), at, &seen);
        }
        assert!(pod.pings(ip("203.0.113.10")));
    }
}

/// sig-network 37's way from outside.
#[test]
fn node_ports_and_load_balancers_are_reached_from_outside() {
    let cluster = cluster();
    let _backends = [(0, "a"), (1, "b")]
        .map(|(number, name)| Backend::start(cluster.node(number), name, "web", "tcp:80 udp:80"));
    apply(cluster.node(0), &balanced("Cluster"));
    let port = node_port(cluster.node(0), "web");
    for kind in [tcp, udp] {
        until_answered_outside(&cluster, kind(ip(BALANCER), 80), &["a", "b"]);
    }
    for node in cluster.nodes() {
        until_answered_outside(&cluster, tcp(address(node), port), &["a", "b"]);
    }
}

#[test]
fn a_local_policy_keeps_the_clients_address_and_the_node() {
    let cluster = cluster();
    let _backend = Backend::start(cluster.node(1), "b", "web", "tcp:80 udp:80");
    apply(cluster.node(0), &balanced("Local"));
    for kind in [tcp, udp] {
        let at = kind(ip(BALANCER), 80);
        until_answered_outside(&cluster, at, &["b"]);
        let seen = format!("b {OUTSIDER}");
        assert!(ask_from_outside(&cluster, at, 3).iter().all(|answer| *answer == seen), "the client is seen");
    }
}

#[test]
fn the_nodes_own_services_go_on() {
    let cluster = cluster();
    let node = cluster.node(0);
    let _backend = Backend::start(node, "a", "web", "tcp:80 udp:80");
    apply(node, &balanced("Cluster"));
    let port = node_port(node, "web");
    until_answered_outside(&cluster, tcp(address(node), port), &["a"]);
    // One of them where a service could have a port, but has none.
    let free = if port == 30_999 { 31_000 } else { 30_999 };
    let mut own = node.spawn(&format!("{PEER} serve node tcp:8080 tcp:{free} udp:8080"));
    own.wait_for_output("ready\n");
    for at in [tcp(address(node), 8080), tcp(address(node), free), udp(address(node), 8080)] {
        let seen = format!("node {OUTSIDER}");
        assert_eq!(ask_from_outside(&cluster, at, 1), [seen], "{at:?}");
    }
}
