//! A node's own programs reach services where everybody else does: at its address, and at those of load balancers. These packets never
//! cross the uplink.

use std::net::IpAddr;

use integration::{Cluster, TestNode, wait};

use super::outside::{BALANCER, balanced, cluster, ip};
use super::{At, Backend, PEER, apply, ask, node_port, tcp, udp, until_answer, until_answered_by};
use crate::nodes::address;
use crate::stream::Place;

/// Ports of service `web` of type LoadBalancer: of both, the first is TCP's.
fn node_ports(node: &TestNode) -> (u16, u16) {
    let service = super::document(node, protocol::message::Kind::Services, "web").expect("there is one");
    let port = |index: usize| {
        let number = service.pointer(&format!("/spec/ports/{index}/nodePort")).and_then(|port| port.as_u64());
        number.and_then(|number| u16::try_from(number).ok()).expect("it has a NodePort")
    };
    (port(0), port(1))
}

/// Where `web` is on node `number`, for that node.
fn places(cluster: &Cluster, number: usize) -> [At; 4] {
    let (t, u) = node_ports(cluster.node(number));
    let own = address(cluster.node(number));
    [tcp(own, t), udp(own, u), tcp(ip(BALANCER), 80), udp(ip(BALANCER), 80)]
}

#[test]
fn node_reaches_its_own_node_ports_and_load_balancers() {
    let cluster = cluster();
    let a = Backend::start(cluster.node(0), "a", "web", "tcp:80 udp:80");
    apply(cluster.node(0), &balanced("Cluster"));
    for number in [0, 1] {
        // The backend is here, then there; the client is the node.
        let seen = format!("a {}", address(cluster.node(number)));
        for at in places(&cluster, number) {
            until_answer(Place::Node(cluster.node(number)), at, &seen);
        }
    }
    let _b = Backend::start(cluster.node(1), "b", "web", "tcp:80 udp:80");
    for number in [0, 1] {
        for at in places(&cluster, number) {
            until_answered_by(Place::Node(cluster.node(number)), at, &["a", "b"]);
        }
        // As from everywhere, also at the other node.
        let (t, u) = node_ports(cluster.node(0));
        for at in [tcp(address(cluster.node(1 - number)), t), udp(address(cluster.node(1 - number)), u)] {
            until_answered_by(Place::Node(cluster.node(number)), at, &["a", "b"]);
        }
    }
    drop(a);
}

#[test]
fn node_is_refused_where_a_service_has_no_backend() {
    let cluster = cluster();
    apply(cluster.node(0), &balanced("Cluster"));
    for at in places(&cluster, 0) {
        until_answer(Place::Node(cluster.node(0)), at, "error ECONNREFUSED");
    }
}

/// More than one segment, in both directions, by the loopback device's way of 64 KiB packets.
#[test]
fn node_sends_much_to_its_own_node_port() {
    let cluster = cluster();
    let node = cluster.node(0);
    let sink = node.create(&super::labelled("sink", "web"));
    let program = integration::binary("stream");
    let program = program.display();
    let mut receiver = sink.spawn(&format!("exec {program} serve {}:80", sink.ip));
    receiver.wait_for_output("ready\n");
    apply(node, &balanced("Cluster"));
    let port = node_port(node, "web");
    super::until_led_to_a_backend(node, "sink", "web");
    let send = format!("exec {program} send {}:{port} {}", address(node), 8 << 20);
    let sent = node.sh(&send).ok();
    assert_eq!(sent, receiver.wait().ok(), "the stream arrived intact");
}

fn serve_own(node: &TestNode, ports: &str) -> integration::Background {
    let mut own = node.spawn(&format!("{PEER} serve node {ports}"));
    own.wait_for_output("ready\n");
    own
}

fn seen_itself(at: IpAddr) -> String {
    format!("node {at}")
}

#[test]
fn nodes_own_services_go_on_for_the_node_itself() {
    let cluster = cluster();
    let node = cluster.node(0);
    let _backend = Backend::start(node, "a", "web", "tcp:80 udp:80");
    apply(node, &balanced("Cluster"));
    let (t, u) = node_ports(node);
    let own = address(node);
    // A number of a service is that of its protocol only.
    let free = (30_000..).find(|port| ![t, u].contains(port)).expect("there are some");
    let _own = serve_own(node, &format!("tcp:8080 udp:8080 tcp:{free} udp:{free}"));
    until_answered_by(Place::Node(node), tcp(own, t), &["a"]);
    for at in [tcp(own, 8080), udp(own, 8080), tcp(own, free), udp(own, free)] {
        assert_eq!(ask(Place::Node(node), at, 1), [seen_itself(own)], "{at:?}");
    }
    let local = ip("127.0.0.1");
    assert_eq!(ask(Place::Node(node), tcp(local, free), 1), [seen_itself(local)]);
    // The service goes, the port is the node's.
    let _own = serve_own(node, &format!("tcp:{t} udp:{u}"));
    node.vpodctl("delete-service web").ok();
    for at in [tcp(own, t), udp(own, u)] {
        until_answer(Place::Node(node), at, &seen_itself(own));
    }
    let routes = node.sh(&format!("ip route show {BALANCER}")).ok();
    assert_eq!(routes, "", "the node reaches the address as it did before");
}

/// Rules of somebody else's go as well, but that is his business.
#[test]
fn flushed_rules_come_back() {
    let mut cluster = cluster();
    cluster.node_mut(0).allow_log("somebody removed nftables' table");
    let node = cluster.node(0);
    let _backend = Backend::start(node, "a", "web", "tcp:80 udp:80");
    apply(node, &balanced("Cluster"));
    let port = node_port(node, "web");
    until_answered_by(Place::Node(node), tcp(address(node), port), &["a"]);
    node.sh("nft flush ruleset").ok();
    wait::until("the table is there again", || {
        node.sh("nft list table netdev vpod").succeeded().then_some(())
    });
    until_answered_by(Place::Node(node), tcp(address(node), port), &["a"]);
    super::outside::until_answered_outside(&cluster, tcp(address(node), port), &["a"]);
}
