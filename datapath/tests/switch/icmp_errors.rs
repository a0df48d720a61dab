//! ICMP errors the router sends: to whom, about what, with which quote, and when it keeps silent.

use std::time::Duration;

use crate::common::*;
use datapath::Limits;
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, TransportHeader};
use protocol::link::{ConfigDelta, PortConfig};
use protocol::{Mac, PortId};

/// The sender was told this, about its own packet, correctly in every field.
#[track_caller]
fn assert_told(h: &mut Harness, ingress: PortId, frame: &[u8], reason: &str, wanted: Icmpv4Type) {
    h.deltas();
    let sent = h.send(ingress, frame);
    h.assert_deltas([(ingress, Delta::refused_with_error(reason))]);
    assert_error(&sent, ingress, frame, wanted, GATEWAY_IP);
}

#[track_caller]
fn assert_error(sent: &[(PortId, Vec<u8>)], to: PortId, about: &[u8], wanted: Icmpv4Type, from: [u8; 4]) {
    let [(port, frame)] = sent else { panic!("{} frames", sent.len()) };
    assert_eq!((*port, Vnet::of(frame)), (to, Vnet::default()));
    let packet = decode(ethernet(frame));
    let link = packet.link.clone().and_then(|link| link.ethernet2()).unwrap();
    assert_eq!((&link.destination[..], Mac(link.source)), (&about[6..12], router_mac()));
    let ip = ipv4_of(&packet);
    assert_eq!((ip.source, &ip.destination[..], ip.time_to_live), (from, &about[26..30], 64));
    assert!(ip.total_len <= 576);
    let Some(TransportHeader::Icmpv4(icmp)) = &packet.transport else { panic!("not ICMP") };
    assert_eq!(icmp.icmp_type, wanted);
    let quote = packet.payload.slice();
    assert_eq!(quote, &about[14..14 + quote.len()], "the packet as it was sent");
    assert_eq!(quote.len(), (about.len() - 14).min(576 - 28), "as much of it as fits");
}

fn unreachable(header: DestUnreachableHeader) -> Icmpv4Type {
    Icmpv4Type::DestinationUnreachable(header)
}

#[test]
fn errors_name_their_cause() {
    let mut h = Harness::new();
    let small = PortConfig { ip_mtu: 1000, ..port(B, "default/b", B_IP) };
    h.update(small);
    let ttl_exceeded = Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit);
    for payload in [0, 1, 500, 548, 549, 900] {
        let data = vec![0x5a; payload];
        for ttl in [0, 1] {
            let dying = Path { ttl, ..routed(A_IP, B_IP) };
            assert_told(&mut h, A, &udp(dying, 1, 2, &data), "ttl_expired", ttl_exceeded.clone());
        }
        let nowhere = udp(routed(A_IP, [8, 8, 8, 8]), 1, 2, &data);
        assert_told(&mut h, A, &nowhere, "no_route", unreachable(DestUnreachableHeader::Network));
        let nobody = udp(routed(A_IP, [10, 244, 0, 99]), 1, 2, &data);
        assert_told(&mut h, A, &nobody, "no_neighbor", unreachable(DestUnreachableHeader::Host));
        h.wait(Duration::from_secs(10));
    }
    let too_big = udp(routed(A_IP, B_IP), 1, 2, &[0; 973]);
    let wanted = unreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1000 });
    assert_told(&mut h, A, &too_big, "packet_too_big", wanted);
    assert_eq!(h.send(A, &udp(routed(A_IP, B_IP), 1, 2, &[0; 972])).len(), 1);
}

#[test]
fn superframe_is_told_the_mtu_when_its_segments_are_too_big() {
    let mut h = Harness::new();
    h.update(PortConfig { ip_mtu: 1000, ..port(B, "default/b", B_IP) });
    let mut frame = tcp(routed(A_IP, B_IP), 1, 2, &[7; 9000]);
    make_partial(&mut frame, 16);
    let vnet = Vnet { gso_type: GSO_TCPV4, gso_size: 1410, hdr_len: 54, ..Vnet::partial(16) };
    let sent = h.send_with(A, vnet, &frame);
    let wanted = unreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1000 });
    assert_error(&sent, A, &frame, wanted, GATEWAY_IP);
    assert_eq!(h.send_with(A, Vnet { gso_size: 960, ..vnet }, &frame)[0].0, B);
}

#[test]
fn cached_flow_still_checks_ttl_and_mtu() {
    let mut h = Harness::new();
    h.update(PortConfig { ip_mtu: 1000, ..port(B, "default/b", B_IP) });
    for ttl in [64, 1, 64, 1] {
        let sent = h.send(A, &udp(Path { ttl, ..routed(A_IP, B_IP) }, 1, 2, b"x"));
        assert_eq!(sent[0].0, if ttl == 1 { A } else { B });
    }
    assert_eq!(h.send(A, &udp(routed(A_IP, B_IP), 1, 2, &[0; 1200]))[0].0, A);
}

#[test]
fn node_is_told_from_the_address_it_asked_for() {
    let mut h = Harness::new();
    let path = Path { to_mac: router_mac(), ..from_node([10, 244, 0, 99]) };
    let frame = udp(path, 1, 2, b"x");
    let sent = h.send(GATEWAY, &frame);
    assert_error(&sent, GATEWAY, &frame, unreachable(DestUnreachableHeader::Host), [10, 244, 0, 99]);
}

#[test]
fn no_error_about_errors_fragments_or_groups() {
    let mut h = Harness::new();
    let nowhere = routed(A_IP, [8, 8, 8, 8]);
    // ICMP errors, and types that may be errors.
    for kind in [3, 4, 11, 12, 1, 2, 6, 99, 255] {
        h.assert_dropped(A, &ipv4(nowhere, 1, &[kind, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]), "no_route");
    }
    // But about queries.
    for kind in [0, 8, 13] {
        h.deltas();
        h.send(A, &ipv4(nowhere, 1, &[kind, 0, 0, 0, 0, 0, 0, 0]));
        h.assert_deltas([(A, Delta::refused_with_error("no_route"))]);
    }
    let mut header = etherparse::Ipv4Header::new(0, 64, 17.into(), nowhere.from, nowhere.to).unwrap();
    header.fragment_offset = 9.try_into().unwrap();
    h.assert_dropped(A, &ipv4_with(nowhere, header, b"later"), "no_route");
    for to in [[224, 0, 0, 5], [255; 4], [10, 244, 0, 255], [10, 244, 0, 0]] {
        h.assert_dropped(A, &udp(routed(A_IP, to), 1, 2, b"x"), "group_packet_routed");
    }
    // At layer 2 nobody speaks for the network.
    h.assert_dropped(A, &udp(direct(A_IP, B_IP), 1, 2, &[0; 1450]), "frame_too_big");
}

#[test]
fn errors_are_limited_per_port() {
    let limits = Limits { icmp_errors_per_second: 10, icmp_error_burst: 4, ..Limits::default() };
    let mut h = Harness::with(standard_ports(), limits);
    let told = |h: &mut Harness, port, ip| {
        (0..20).filter(|_| !h.send(port, &udp(routed(ip, [8, 8, 8, 8]), 1, 2, b"x")).is_empty()).count()
    };
    assert_eq!(told(&mut h, A, A_IP), 4);
    assert_eq!(h.deltas()[&A].drops["no_route"], 20, "the verdict is the same without the error");
    assert_eq!(told(&mut h, B, B_IP), 4);
    h.wait(Duration::from_millis(200));
    assert_eq!(told(&mut h, A, A_IP), 2);
}

#[test]
fn error_that_the_port_refuses_is_not_counted_as_made() {
    let mut h = Harness::new();
    h.wire.full = vec![A];
    h.send(A, &udp(routed(A_IP, [8, 8, 8, 8]), 1, 2, b"x"));
    h.assert_deltas([(A, Delta { refused: 1, ..Delta::dropped("no_route") })]);
}

#[test]
fn error_fits_the_mtu_of_the_port_it_goes_to() {
    let mut h = Harness::new();
    h.update(PortConfig { ip_mtu: 100, ..port(A, "default/a", A_IP) });
    let sent = h.send(A, &udp(routed(A_IP, [8, 8, 8, 8]), 1, 2, &[0; 400]));
    assert_eq!(ethernet(&sent[0].1).len(), 114);
    decode(ethernet(&sent[0].1));
}

#[test]
fn missing_gateway_port_is_a_missing_neighbor() {
    let mut h = Harness::new();
    h.apply(ConfigDelta { detach: vec![GATEWAY], ..ConfigDelta::default() });
    for to in [GATEWAY_IP, NODE_IP] {
        let frame = tcp(routed(A_IP, to), 1, 22, b"");
        assert_told(&mut h, A, &frame, "no_neighbor", unreachable(DestUnreachableHeader::Host));
    }
    // The router itself is still there.
    assert_eq!(h.send(A, &echo_request(routed(A_IP, GATEWAY_IP), 1, b"x"))[0].0, A);
}
