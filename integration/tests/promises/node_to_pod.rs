//! The node reaches every pod and every pod reaches the node, both without NAT.

use std::net::IpAddr;

use integration::TestNode;

use crate::stream::{Place, Stream, datagrams};

fn address(node: &TestNode) -> IpAddr {
    node.address().parse().expect("the node's address is one")
}

#[test]
fn node_pings_a_pod() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    node.sh(&format!("ping -n -c 2 -i 0.2 -W 2 {}", pod.ip)).ok();
}

#[test]
fn pod_pings_the_gateway_and_the_node() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    assert!(pod.pings(node.status().node.gateway), "the gateway");
    assert!(pod.pings(address(&node)), "the node's own address");
}

#[test]
fn tcp_streams_pass_both_ways() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    Stream::start(Place::Node(&node), Place::Pod(&pod), pod.ip, 16 << 20, None).complete();
    Stream::start(Place::Pod(&pod), Place::Node(&node), address(&node), 16 << 20, None).complete();
}

#[test]
fn large_datagrams_pass_both_ways() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    datagrams(Place::Node(&node), Place::Pod(&pod), pod.ip, 60_000, 10);
    datagrams(Place::Pod(&pod), Place::Node(&node), address(&node), 60_000, 10);
}

#[test]
fn the_pods_address_is_seen_unchanged_on_the_node() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    let script = "import socket; s = socket.socket(); s.bind(('0.0.0.0', 7002)); s.listen(); print('ready', flush=True); print(s.accept()[1][0])";
    let mut server = node.spawn(&format!("/usr/bin/python3 -c \"{script}\""));
    server.wait_for_output("ready\n");
    pod.sh(&format!(
        "/usr/bin/python3 -c \"import socket; socket.create_connection(('{}', 7002), 5)\"",
        node.address()
    ))
    .ok();
    assert_eq!(server.wait().ok().trim(), pod.ip.to_string());
}

#[test]
fn the_gateway_sends_nothing_that_no_pod_understands() {
    let node = TestNode::start();
    assert_eq!(node.sh("cat /proc/sys/net/ipv6/conf/vpod0/disable_ipv6").ok().trim(), "1");
}
