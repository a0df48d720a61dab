//! The way out: pods appear as the node, by mappings.

use datapath::Limits;

use crate::common::*;

/// From whom and from which port a datagram is, and to whom.
fn ends(frame: &[u8]) -> ([u8; 4], u16, [u8; 4], u16) {
    let packet = decode(ethernet(frame));
    let (from, to) = (ipv4_of(&packet).source, ipv4_of(&packet).destination);
    let Some(etherparse::TransportHeader::Udp(udp)) = packet.transport else { panic!("not UDP: {packet:?}") };
    (from, udp.source_port, to, udp.destination_port)
}

#[track_caller]
fn only_one(mut sent: Vec<(protocol::PortId, Vec<u8>)>) -> (protocol::PortId, Vec<u8>) {
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.remove(0)
}

/// Pod A sends a datagram from a port to the outside, and this is what it appears as.
#[track_caller]
fn appears_as(h: &mut Harness, source_port: u16, to: [u8; 4], port: u16) -> (u16, [u8; 4]) {
    let (egress, sent) = only_one(h.send(A, &udp(routed(A_IP, to), source_port, port, b"hello")));
    assert_eq!(egress, UPLINK);
    let (from, appears, destination, destination_port) = ends(&sent);
    assert_eq!((destination, destination_port), (to, port));
    (appears, from)
}

#[test]
fn a_pod_appears_as_the_node_and_gets_the_answer() {
    let mut h = harness_uplink();
    let (port, from) = appears_as(&mut h, 5000, CLIENT_IP, 53);
    assert_eq!(from, NODE_IP);
    assert!(
        (61_000..=65_535).contains(&port) && port % 2 == 0,
        "one of the switch's, of the same parity: {port}"
    );
    let (to, answer) = only_one(h.send(UPLINK, &udp(outside(CLIENT_IP, NODE_IP), 53, port, b"hi")));
    assert_eq!((to, ends(&answer)), (A, (CLIENT_IP, 53, A_IP, 5000)));
}

/// RFC 4787 REQ-1: endpoint-independent mapping.
#[test]
fn a_pods_port_is_mapped_to_the_same_whomever_it_sends_to() {
    let mut h = harness_uplink();
    let first = appears_as(&mut h, 5001, CLIENT_IP, 53);
    assert_eq!(appears_as(&mut h, 5001, [203, 0, 113, 8], 99), first);
    assert_ne!(appears_as(&mut h, 5003, CLIENT_IP, 53), first, "another port is another mapping");
}

/// RFC 4787 REQ-8, and RFC 5382 REQ-4: who was not sent to is not let in, and learns nothing.
#[test]
fn strangers_are_filtered_in_silence() {
    let mut h = harness_uplink();
    let (port, _) = appears_as(&mut h, 5002, CLIENT_IP, 53);
    h.deltas();
    h.assert_dropped(UPLINK, &udp(outside([203, 0, 113, 9], NODE_IP), 53, port, b"x"), "filtered_by_mapping");
    let nobody = if port == 61_000 { 61_002 } else { 61_000 };
    h.assert_dropped(UPLINK, &udp(outside(CLIENT_IP, NODE_IP), 53, nobody, b"x"), "no_mapping");
}

/// RFC 6888 REQ-4: one pod cannot use up the node's ports; it is told (code 13), and what it has goes on.
#[test]
fn a_pod_has_so_many_mappings_and_no_more() {
    let mut h = harness_uplink_cold(Limits { mappings_per_port: 2, ..Limits::default() });
    h.sweep();
    introduce(&mut h, ROUTER, ROUTER_IP);
    h.quiet();
    // Answered, or they would make room for others.
    let kept = [5000, 5002].map(|port| {
        let mapped = appears_as(&mut h, port, CLIENT_IP, 53);
        assert_eq!(h.send(UPLINK, &udp(outside(CLIENT_IP, NODE_IP), 53, mapped.0, b"hi")).len(), 1);
        mapped
    });
    h.deltas();
    h.send(A, &udp(routed(A_IP, CLIENT_IP), 5004, 53, b"one too many"));
    h.assert_deltas([(A, Delta::refused_with_error("nat_quota_used"))]);
    assert_eq!([5000, 5002].map(|port| appears_as(&mut h, port, CLIENT_IP, 53)), kept);
}
