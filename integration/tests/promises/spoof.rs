//! A pod speaks for itself only. Whatever else it sends, with a packet socket and all the rights
//! of root in its namespace, is dropped by name and reaches nobody.

use std::net::Ipv4Addr;

use integration::frames::{self, Arp, Between, CANARY, EVIL, v4};
use integration::raw::{self, Sniffer};
use integration::{TestNode, TestPod};
use protocol::Mac;

const STRANGER: Mac = Mac([0x02, 0, 0, 0, 0, 0x99]);

/// `attacker` sends `hostile` between two honest pings: the frames must count as dropped for `reason`,
/// and `victim` must see the pings only.
#[track_caller]
fn dropped(node: &TestNode, attacker: &TestPod, victim: &TestPod, reason: &str, hostile: &[Vec<u8>]) {
    let sniffer = Sniffer::start(victim);
    let before = node.drops(attacker, reason);
    // The honest frame before them makes a flow, which must not let the others by.
    let mut all = vec![frames::ping(honest(attacker, victim), b"honest")];
    all.extend_from_slice(hostile);
    all.push(frames::ping(honest(attacker, victim), CANARY));
    raw::send(attacker, &all);
    let seen = sniffer.frames();
    assert!(!seen.iter().any(|frame| raw::contains(frame, EVIL)), "delivered: {seen:02x?}");
    assert_eq!(
        node.drops(attacker, reason) - before,
        hostile.len() as u64,
        "dropped for {reason}; ports: {:#?}",
        node.ports()
    );
}

fn honest(from: &TestPod, to: &TestPod) -> Between {
    Between { from_mac: from.mac, from_ip: v4(from.ip), to_mac: to.mac, to_ip: v4(to.ip) }
}

fn attacker_and_victim(node: &TestNode) -> (TestPod, TestPod) {
    (node.create_pod("attacker"), node.create_pod("victim"))
}

#[test]
fn foreign_source_mac_is_dropped() {
    let node = TestNode::start();
    let (attacker, victim) = attacker_and_victim(&node);
    let mut b = honest(&attacker, &victim);
    let mut hostile = Vec::new();
    for mac in [STRANGER, victim.mac, Mac::for_router(node.status().node.gateway)] {
        b.from_mac = mac;
        hostile.push(frames::ping(b, EVIL));
    }
    dropped(&node, &attacker, &victim, "spoofed_mac", &hostile);
}

#[test]
fn foreign_source_address_is_dropped() {
    let node = TestNode::start();
    let (attacker, victim) = attacker_and_victim(&node);
    let third = node.create_pod("third");
    let mut b = honest(&attacker, &victim);
    let mut hostile = Vec::new();
    for ip in [v4(third.ip), v4(victim.ip), Ipv4Addr::new(10, 244, 0, 1), Ipv4Addr::new(8, 8, 8, 8)] {
        b.from_ip = ip;
        hostile.push(frames::ping(b, EVIL));
    }
    dropped(&node, &attacker, &victim, "spoofed_ip", &hostile);
}

#[test]
fn loopback_source_and_destination_never_cross_a_port() {
    let node = TestNode::start();
    let (attacker, victim) = attacker_and_victim(&node);
    let honest = honest(&attacker, &victim);
    let to = |to_ip| frames::ping(Between { to_ip, ..honest }, EVIL);
    let from = |from_ip| frames::ping(Between { from_ip, ..honest }, EVIL);
    let link_local = Ipv4Addr::new(169, 254, 7, 7);
    let destinations = [to(Ipv4Addr::LOCALHOST), to(link_local), to(Ipv4Addr::UNSPECIFIED)];
    dropped(&node, &attacker, &victim, "martian_destination", &destinations);
    let sources =
        [from(Ipv4Addr::LOCALHOST), from(link_local), from(Ipv4Addr::UNSPECIFIED), from(Ipv4Addr::BROADCAST)];
    dropped(&node, &attacker, &victim, "martian_source", &sources);
}

#[test]
fn arp_lies_are_dropped_and_teach_nobody() {
    let node = TestNode::start();
    let (attacker, victim) = attacker_and_victim(&node);
    let third = node.create_pod("third");
    assert!(victim.pings(third.ip), "the victim knows the third pod");
    let lie = Between { from_ip: v4(third.ip), ..honest(&attacker, &victim) };
    let gateway_lie = Between { from_ip: Ipv4Addr::new(10, 244, 0, 1), ..lie };
    let hostile = [
        frames::arp(Arp::Reply, attacker.mac, lie),
        frames::arp(Arp::Request, attacker.mac, lie),
        frames::arp(Arp::Reply, attacker.mac, gateway_lie),
        // Ethernet header and ARP body disagree.
        frames::arp(Arp::Reply, attacker.mac, Between { from_mac: third.mac, ..lie }),
    ];
    dropped(&node, &attacker, &victim, "arp_spoofed", &hostile);
    let table = victim.sh("ip neighbour show").ok();
    assert!(
        !table.contains(&attacker.mac.to_string()) || table.contains(&attacker.ip.to_string()),
        "{table}"
    );
    assert!(victim.pings(third.ip), "the victim still reaches the third pod");
}

#[test]
fn vlan_tagged_frames_are_dropped() {
    let node = TestNode::start();
    let (attacker, victim) = attacker_and_victim(&node);
    let b = honest(&attacker, &victim);
    dropped(
        &node,
        &attacker,
        &victim,
        "vlan_tagged",
        &[frames::vlan_ping(b, 0, EVIL), frames::vlan_ping(b, 7, EVIL)],
    );
}

#[test]
fn ipv6_router_advertisements_are_dropped() {
    let node = TestNode::start();
    let (attacker, victim) = attacker_and_victim(&node);
    dropped(&node, &attacker, &victim, "ipv6_disabled", &[frames::router_advertisement(attacker.mac)]);
    let routes = victim.sh("ip -6 route show default").ok();
    assert!(routes.is_empty(), "{routes}");
}

#[test]
fn icmp_redirects_are_dropped() {
    let node = TestNode::start();
    let (attacker, victim) = attacker_and_victim(&node);
    let redirect = frames::icmp(honest(&attacker, &victim), 5, 1, EVIL);
    let advertisement = frames::icmp(honest(&attacker, &victim), 9, 0, EVIL);
    dropped(&node, &attacker, &victim, "icmp_router_message", &[redirect, advertisement]);
}

#[test]
fn a_pod_cannot_be_a_dhcp_server() {
    let node = TestNode::start();
    let (attacker, victim) = attacker_and_victim(&node);
    let b = honest(&attacker, &victim);
    let offer = frames::udp(b, (67, 68), EVIL);
    let broadcast = Between { to_mac: Mac::BROADCAST, to_ip: Ipv4Addr::BROADCAST, ..b };
    dropped(&node, &attacker, &victim, "dhcp_server", &[offer, frames::udp(broadcast, (67, 68), EVIL)]);
}
