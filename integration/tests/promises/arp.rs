//! ARP is answered by the switch from what it knows, never flooded to other pods.

use integration::frames::{self, Arp, Between, CANARY, v4};
use integration::raw::{self, Sniffer};
use integration::{TestNode, TestPod};
use protocol::Mac;

fn arping(pod: &TestPod, target: &str) -> String {
    pod.sh(&format!("arping -c 1 -w 3 -I eth0 {target}")).ok().to_lowercase()
}

#[test]
fn a_pods_address_resolves_to_its_mac() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    let answer = arping(&a, &b.ip.to_string());
    assert!(answer.contains(&b.mac.to_string()), "{answer}");
}

#[test]
fn the_gateway_resolves_to_the_router() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    let gateway = node.status().node.gateway;
    let answer = arping(&pod, &gateway.to_string());
    assert!(answer.contains(&Mac::for_router(gateway).to_string()), "{answer}");
}

#[test]
fn probe_for_the_own_address_is_not_answered() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    // RFC 5227: a host probes its address before use; an answer would mean a conflict.
    a.sh(&format!("arping -D -c 2 -w 2 -I eth0 {}", a.ip)).ok();
    a.sh(&format!("arping -D -c 2 -w 2 -I eth0 {}", b.ip)).fails(1);
}

#[test]
fn requests_do_not_reach_other_pods() {
    let node = TestNode::start();
    let (a, b, c) = (node.create_pod("a"), node.create_pod("b"), node.create_pod("c"));
    let sniffer = Sniffer::start(&c);
    arping(&a, &b.ip.to_string());
    let to_c = Between { from_mac: a.mac, from_ip: v4(a.ip), to_mac: c.mac, to_ip: v4(c.ip) };
    let own = Between { to_mac: Mac([0; 6]), to_ip: v4(b.ip), ..to_c };
    let mut request = frames::arp(Arp::Request, a.mac, own);
    request[..6].copy_from_slice(&Mac::BROADCAST.0);
    raw::send(&a, &[request, frames::ping(to_c, CANARY)]);
    let seen = sniffer.frames();
    assert!(seen.iter().all(|frame| frame[12..14] != [0x08, 0x06]), "{seen:02x?}");
}
