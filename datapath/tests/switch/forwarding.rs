//! What gets through, and how it looks on the other side.

use std::time::Duration;

use crate::common::*;
use datapath::Limits;
use protocol::Mac;
use protocol::link::{ConfigDelta, PortConfig};
use protocol::object::PortState;

/// One frame, to one port.
#[track_caller]
fn only(sent: Vec<(protocol::PortId, Vec<u8>)>) -> (protocol::PortId, Vec<u8>) {
    let [one] = <[_; 1]>::try_from(sent).unwrap_or_else(|sent| panic!("{} frames", sent.len()));
    one
}

#[test]
fn pods_on_one_segment_exchange_frames_unchanged() {
    let mut h = Harness::new();
    let frame = udp(direct(A_IP, B_IP), 1000, 2000, b"hello");
    for _ in 0..2 {
        let (port, sent) = only(h.send(A, &frame));
        assert_eq!((port, ethernet(&sent)), (B, &frame[..]));
        h.assert_deltas([(A, Delta::forwarded()), (B, Delta::sent())]);
    }
}

#[test]
fn router_rewrites_macs_and_ttl_between_pods() {
    let mut h = Harness::new();
    for payload in [&b"first, by the slow path"[..], b"second, by the flow table"] {
        let (port, sent) = only(h.send(A, &tcp(routed(A_IP, B_IP), 40_000, 80, payload)));
        assert_eq!(port, B);
        let wanted = Path { from_mac: router_mac(), ttl: 63, ..direct(A_IP, B_IP) };
        assert_eq!(ethernet(&sent), tcp(wanted, 40_000, 80, payload));
        decode(ethernet(&sent));
        h.assert_deltas([(A, Delta::forwarded()), (B, Delta::sent())]);
    }
}

#[test]
fn node_address_is_reached_through_the_gateway_with_a_hop_counted() {
    let mut h = Harness::new();
    let (port, sent) = only(h.send(A, &tcp(routed(A_IP, NODE_IP), 1, 22, b"")));
    assert_eq!(port, GATEWAY);
    let wanted = Path { from_mac: router_mac(), to_mac: gateway_mac(), ttl: 63, ..direct(A_IP, NODE_IP) };
    assert_eq!(ethernet(&sent), tcp(wanted, 1, 22, b""));
}

#[test]
fn gateway_address_is_delivered_to_the_node_without_counting_a_hop() {
    let mut h = Harness::new();
    let path = Path { ttl: 1, ..routed(A_IP, GATEWAY_IP) };
    let (port, sent) = only(h.send(A, &tcp(path, 1, 22, b"")));
    assert_eq!(port, GATEWAY);
    let wanted = Path { from_mac: router_mac(), to_mac: gateway_mac(), ..path };
    assert_eq!(ethernet(&sent), tcp(wanted, 1, 22, b""));
}

#[test]
fn node_reaches_a_pod_directly_and_by_the_router() {
    let mut h = Harness::new();
    let frame = tcp(from_node(A_IP), 5000, 80, b"x");
    assert_eq!(only(h.send(GATEWAY, &frame)).0, A);
    let world = Path { from: [203, 0, 113, 9], to_mac: router_mac(), ..from_node(A_IP) };
    let (port, sent) = only(h.send(GATEWAY, &tcp(world, 5000, 80, b"x")));
    assert_eq!(port, A);
    assert_eq!(ipv4_of(&decode(ethernet(&sent))).time_to_live, 63);
}

#[test]
fn router_answers_ping_in_place() {
    let mut h = Harness::new();
    for payload in [&b"abcdefgh"[..], b"odd", b"", &[0xff; 1400]] {
        let (port, sent) = only(h.send(A, &echo_request(routed(A_IP, GATEWAY_IP), 77, payload)));
        assert_eq!(port, A);
        let packet = decode(ethernet(&sent));
        let link = packet.link.clone().and_then(|link| link.ethernet2()).unwrap();
        assert_eq!((Mac(link.destination), Mac(link.source)), (pod_mac(A_IP), router_mac()));
        let ip = ipv4_of(&packet);
        assert_eq!((ip.source, ip.destination, ip.time_to_live), (GATEWAY_IP, A_IP, 64));
        let etherparse::TransportHeader::Icmpv4(icmp) = packet.transport.unwrap() else { panic!() };
        assert_eq!(
            icmp.icmp_type,
            etherparse::Icmpv4Type::EchoReply(etherparse::IcmpEchoHeader { id: 77, seq: 1 })
        );
        assert_eq!(packet.payload.slice(), payload);
        h.assert_deltas([(A, Delta::answered())]);
    }
}

#[test]
fn damaged_ping_is_not_answered_as_if_it_were_whole() {
    let mut h = Harness::new();
    let mut frame = echo_request(routed(A_IP, GATEWAY_IP), 77, b"abcdefgh");
    *frame.last_mut().unwrap() ^= 1;
    let (_, sent) = only(h.send(A, &frame));
    let packet = etherparse::PacketHeaders::from_ethernet_slice(ethernet(&sent)).unwrap();
    let etherparse::TransportHeader::Icmpv4(icmp) = packet.transport.unwrap() else { panic!() };
    assert_ne!(icmp.checksum, icmp.icmp_type.calc_checksum(packet.payload.slice()));
}

#[test]
fn ping_in_fragments_or_with_options_is_the_kernels_to_answer() {
    let mut h = Harness::new();
    let path = routed(A_IP, GATEWAY_IP);
    let whole = echo_request(path, 1, &[0; 64]);
    let mut header = etherparse::Ipv4Header::new(0, 64, 1.into(), path.from, path.to).unwrap();
    header.more_fragments = true;
    assert_eq!(only(h.send(A, &ipv4_with(path, header.clone(), &whole[34..34 + 64]))).0, GATEWAY);
    header.more_fragments = false;
    // Record route.
    header.options = [7, 7, 4, 0, 0, 0, 0, 0].into();
    assert_eq!(only(h.send(A, &ipv4_with(path, header, &whole[34..]))).0, GATEWAY);
}

#[test]
fn padding_is_legal_and_does_not_travel() {
    let mut h = Harness::new();
    let frame = udp(direct(A_IP, B_IP), 1, 2, b"x");
    let mut padded = frame.clone();
    padded.resize(60, 0xaa);
    assert_eq!(ethernet(&only(h.send(A, &padded)).1), frame);
}

#[test]
fn broadcast_and_multicast_reach_every_other_port() {
    let mut h = Harness::new();
    for (mac, to) in [
        (Mac::BROADCAST, [255; 4]),
        (Mac::BROADCAST, [10, 244, 0, 255]),
        (Mac([1, 0, 0x5e, 0, 0, 251]), [224, 0, 0, 251]),
    ] {
        let path = Path { to_mac: mac, ..direct(A_IP, to) };
        let frame = udp(path, 5353, 5353, b"who?");
        let sent = h.send(A, &frame);
        assert_eq!(sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [GATEWAY, B, VM]);
        assert!(sent.iter().all(|(_, bytes)| ethernet(bytes) == frame));
        h.assert_deltas([
            (A, Delta::forwarded()),
            (GATEWAY, Delta::sent()),
            (B, Delta::sent()),
            (VM, Delta::sent()),
        ]);
    }
}

#[test]
fn unknown_unicast_reaches_only_ports_that_learn() {
    let mut h = Harness::new();
    let path = Path { to_mac: Mac([2, 0, 0, 0, 0, 9]), ..direct(A_IP, [10, 244, 0, 99]) };
    let sent = h.send(A, &udp(path, 1, 2, b"x"));
    assert_eq!(sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [GATEWAY, VM]);
}

#[test]
fn flood_is_limited_per_port_and_recovers() {
    let limits = Limits { flood_per_second: 10, flood_burst: 3, ..Limits::default() };
    let mut h = Harness::with(standard_ports(), limits);
    let shout = |ip| udp(Path { to_mac: Mac::BROADCAST, ..direct(ip, [255; 4]) }, 1, 2, b"x");
    let storm = |h: &mut Harness| (0..20).filter(|_| !h.send(A, &shout(A_IP)).is_empty()).count();
    assert_eq!(storm(&mut h), 3);
    assert_eq!(h.deltas()[&A].drops["flood_limited"], 17);
    assert_eq!(h.send(B, &shout(B_IP)).len(), 3, "another port has its own limit");
    h.wait(Duration::from_millis(100));
    assert_eq!(storm(&mut h), 1);
    // Unicast and ARP that the switch answers are not flooded and not limited.
    assert_eq!(h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x")).len(), 1);
}

#[test]
fn flood_that_nobody_takes_is_a_drop() {
    let mut h =
        Harness::with(vec![port(A, "default/a", A_IP), port(B, "default/b", B_IP)], Limits::default());
    let unknown = Path { to_mac: Mac([2, 0, 0, 0, 0, 9]), ..direct(A_IP, B_IP) };
    h.assert_dropped(A, &udp(unknown, 1, 2, b"x"), "unknown_unicast");
    h.apply(ConfigDelta { detach: vec![B], ..ConfigDelta::default() });
    let shout = Path { to_mac: Mac::BROADCAST, ..direct(A_IP, [255; 4]) };
    h.assert_dropped(A, &udp(shout, 1, 2, b"x"), "no_flood_target");
}

#[test]
fn flood_skips_ports_that_are_full_and_counts_as_forwarded_by_the_others() {
    let mut h = Harness::new();
    h.wire.full = vec![GATEWAY];
    let shout = udp(Path { to_mac: Mac::BROADCAST, ..direct(A_IP, [255; 4]) }, 1, 2, b"x");
    assert_eq!(h.send(A, &shout).len(), 2);
    h.assert_deltas([
        (A, Delta::forwarded()),
        (GATEWAY, Delta { refused: 1, ..Delta::default() }),
        (B, Delta::sent()),
        (VM, Delta::sent()),
    ]);
    h.wire.full = vec![GATEWAY, B, VM];
    assert!(h.send(A, &shout).is_empty());
    assert_eq!(h.deltas()[&A], Delta::dropped("port_queue_full"));
}

#[test]
fn refused_frame_is_a_drop_where_it_came_in_and_refused_where_it_went() {
    let mut h = Harness::new();
    let frame = udp(direct(A_IP, B_IP), 1, 2, b"x");
    h.wire.full = vec![B];
    h.send(A, &frame);
    let refused = Delta { refused: 1, ..Delta::default() };
    h.assert_deltas([(A, Delta::dropped("port_queue_full")), (B, refused.clone())]);
    (h.wire.full, h.wire.gone) = (vec![], vec![B]);
    h.send(A, &frame);
    h.assert_deltas([(A, Delta::dropped("port_gone")), (B, refused)]);
}

#[test]
fn only_active_ports_forward() {
    let frame = udp(direct(A_IP, B_IP), 1, 2, b"x");
    for (state, from, to) in [
        (PortState::Closed, "port_closed", "egress_closed"),
        (PortState::Detached, "port_detached", "port_gone"),
        (PortState::Quarantined, "port_quarantined", "egress_closed"),
    ] {
        let mut h = Harness::new();
        // Cached while everything is open, so that the state is seen by the fast path as well.
        h.send(A, &frame);
        h.switch.set_port_state(A, state);
        h.assert_dropped(A, &frame, from);
        h.switch.set_port_state(A, PortState::Active);
        h.switch.set_port_state(B, state);
        h.assert_dropped(A, &frame, to);
        h.update(port(B, "default/b", B_IP));
        assert_eq!(h.send(A, &frame).len(), 1, "the configuration has the last word");
        // Nor do they get a copy of a flood.
        h.switch.set_port_state(B, state);
        let shout = udp(Path { to_mac: Mac::BROADCAST, ..direct(A_IP, [255; 4]) }, 1, 2, b"x");
        assert!(h.send(A, &shout).iter().all(|(port, _)| *port != B));
    }
}

#[test]
fn frame_larger_than_the_mtu_of_its_port_is_dropped_when_switched() {
    let mut h = Harness::new();
    assert_eq!(h.send(A, &udp(direct(A_IP, B_IP), 1, 2, &[0; 1450 - 28])).len(), 1);
    h.assert_dropped(A, &udp(direct(A_IP, B_IP), 1, 2, &[0; 1450 - 27]), "frame_too_big");
    let small = PortConfig { ip_mtu: 600, ..port(B, "default/b", B_IP) };
    h.update(small);
    h.assert_dropped(A, &udp(direct(A_IP, B_IP), 1, 2, &[0; 573]), "frame_too_big");
}

#[test]
fn frame_of_an_unknown_port_is_dropped_and_touches_no_counter() {
    let mut h = Harness::new();
    assert!(h.send(protocol::PortId(77), &udp(direct(A_IP, B_IP), 1, 2, b"x")).is_empty());
    h.assert_deltas([]);
}
