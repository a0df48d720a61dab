//! What a port may not send: each refusal by its exact name, and with no other effect.

use crate::common::*;
use protocol::link::{
    ConfigDelta, Frontend, FrontendKind, NodeConfig, PortConfig, Scheduler, ServiceConfig, TrafficPolicy,
    Transport,
};
use protocol::{Mac, ServiceId};

fn with_type(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet_header(pod_mac(B_IP), pod_mac(A_IP), ether_type);
    frame.extend_from_slice(payload);
    frame
}

/// A valid packet with bytes of its IP header replaced and the checksum made right again.
fn patched_ip(patches: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = udp(direct(A_IP, B_IP), 1, 2, &[7; 32]);
    for (at, value) in patches {
        frame[14 + at] = *value;
    }
    fix_ip_checksum(&mut frame);
    frame
}

fn fix_ip_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum: u32 = frame[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn frame_that_is_none_is_dropped_by_name() {
    let mut h = Harness::new();
    for len in 0..14 {
        h.assert_dropped(A, &vec![0; len], "frame_too_short");
    }
    for len in 0..12 {
        h.deltas();
        assert!(h.send_raw(A, &vec![0; len]).is_empty());
        h.assert_deltas([(A, Delta::dropped("frame_too_short"))]);
    }
    h.assert_dropped(A, &with_type(0x0800, &[]), "ipv4_header_invalid");
    h.assert_dropped(A, &with_type(0x0800, &[0x45; 19]), "ipv4_header_invalid");
    h.assert_dropped(A, &patched_ip(&[(0, 0x55)]), "ipv4_header_invalid");
    h.assert_dropped(A, &patched_ip(&[(0, 0x44)]), "ipv4_header_invalid");
    h.assert_dropped(A, &patched_ip(&[(2, 0), (3, 19)]), "ipv4_length_invalid");
    h.assert_dropped(A, &patched_ip(&[(2, 0), (3, 0)]), "ipv4_length_invalid");
    h.assert_dropped(A, &patched_ip(&[(2, 0), (3, 61)]), "ipv4_length_invalid");
    let mut frame = udp(direct(A_IP, B_IP), 1, 2, b"x");
    frame[24] ^= 1;
    h.assert_dropped(A, &frame, "ipv4_checksum_wrong");
}

#[test]
fn truncated_transport_headers_are_dropped_by_name() {
    let mut h = Harness::new();
    let path = direct(A_IP, B_IP);
    for len in 0..20 {
        h.assert_dropped(A, &ipv4(path, 6, &[0x50; 20][..len]), "tcp_header_invalid");
    }
    let mut header = [0; 20];
    header[12] = 0x40;
    h.assert_dropped(A, &ipv4(path, 6, &header), "tcp_header_invalid");
    header[12] = 0x60;
    h.assert_dropped(A, &ipv4(path, 6, &header), "tcp_header_invalid");
    for len in 0..8 {
        h.assert_dropped(A, &ipv4(path, 17, &[0; 8][..len]), "udp_header_invalid");
        h.assert_dropped(A, &ipv4(path, 1, &[0; 8][..len]), "icmp_header_invalid");
    }
    h.assert_dropped(A, &ipv4(path, 17, &[0, 1, 0, 2, 0, 7, 0, 0]), "udp_header_invalid");
    h.assert_dropped(A, &ipv4(path, 17, &[0, 1, 0, 2, 0, 9, 0, 0]), "udp_header_invalid");
    // Surplus behind a UDP datagram is legal (RFC 9868).
    assert_eq!(h.send(A, &ipv4(path, 17, &[0, 1, 0, 2, 0, 8, 0, 0, 9, 9])).len(), 1);
}

#[test]
fn fragments_that_could_fool_a_receiver_are_dropped() {
    let mut h = Harness::new();
    let path = direct(A_IP, B_IP);
    let fragment = |protocol: u8, units: u16, more: bool, payload: &[u8]| {
        let mut header = etherparse::Ipv4Header::new(0, 64, protocol.into(), path.from, path.to).unwrap();
        header.fragment_offset = units.try_into().unwrap();
        header.more_fragments = more;
        ipv4_with(path, header, payload)
    };
    let tcp_header = [0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9];
    assert_eq!(h.send(A, &fragment(6, 0, true, &tcp_header)).len(), 1);
    assert_eq!(h.send(A, &fragment(6, 3, false, b"tail")).len(), 1);
    assert_eq!(h.send(A, &fragment(17, 0, true, &[0, 1, 0, 2, 0xff, 0, 0, 0])).len(), 1);
    h.assert_dropped(A, &fragment(6, 0, true, &tcp_header[..16]), "tcp_header_invalid");
    h.assert_dropped(A, &fragment(6, 1, true, &[0; 16]), "fragment_invalid");
    h.assert_dropped(A, &fragment(6, 1, false, &[0; 16]), "fragment_invalid");
    h.assert_dropped(A, &fragment(17, 5, true, &[0; 15]), "fragment_invalid");
    h.assert_dropped(A, &fragment(17, 5, false, &[]), "fragment_invalid");
    h.assert_dropped(A, &fragment(17, 8191, false, &[0; 16]), "fragment_invalid");
    assert!(h.switch.flows_page(0, 9, h.now).0.is_empty(), "fragments are decided one by one");
}

#[test]
fn other_ethertypes_are_dropped_by_name() {
    let mut h = Harness::new();
    h.assert_dropped(A, &with_type(0x86dd, &[0x60; 40]), "ipv6_disabled");
    for tag in [0x8100, 0x88a8, 0x9100] {
        h.assert_dropped(A, &with_type(tag, &[0; 46]), "vlan_tagged");
    }
    for ether_type in [0, 0x05dc, 0x0842, 0x88cc, 0x8847, 0xffff] {
        h.assert_dropped(A, &with_type(ether_type, &[0; 46]), "unsupported_ethertype");
    }
}

#[test]
fn pod_cannot_speak_with_another_mac() {
    let mut h = Harness::new();
    for mac in [Mac([0; 6]), Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let path = Path { from_mac: mac, ..direct(A_IP, B_IP) };
        h.assert_dropped(A, &udp(path, 1, 2, b"x"), "invalid_source_mac");
        h.assert_dropped(VM, &udp(path, 1, 2, b"x"), "invalid_source_mac");
    }
    for mac in [pod_mac(B_IP), router_mac(), gateway_mac(), Mac([2, 0, 0, 0, 0, 1])] {
        let path = Path { from_mac: mac, ..direct(A_IP, B_IP) };
        h.assert_dropped(A, &udp(path, 1, 2, b"x"), "spoofed_mac");
    }
    // Without port security a station may have any MAC that is nobody's.
    for mac in [pod_mac(A_IP), router_mac(), gateway_mac()] {
        let path = Path { from_mac: mac, from: VM_IP, ..direct(A_IP, B_IP) };
        h.assert_dropped(VM, &udp(path, 1, 2, b"x"), "spoofed_mac");
    }
    let path = Path { from_mac: pod_mac(A_IP), ..from_node(B_IP) };
    h.assert_dropped(GATEWAY, &udp(path, 1, 2, b"x"), "spoofed_mac");
}

#[test]
fn pod_cannot_speak_with_another_address() {
    let mut h = Harness::new();
    for from in [B_IP, GATEWAY_IP, NODE_IP, [10, 244, 0, 99], [10, 244, 1, 2], [8, 8, 8, 8]] {
        let path = Path { from, ..direct(A_IP, B_IP) };
        h.assert_dropped(A, &udp(path, 1, 2, b"x"), "spoofed_ip");
    }
    // Without port security: nobody else's, and nothing the node or another node answers for.
    let stranger = |from| Path { from, from_mac: Mac([2, 0, 0, 0, 0, 1]), ..direct(VM_IP, B_IP) };
    for from in [A_IP, GATEWAY_IP, NODE_IP, [10, 244, 1, 2], [10, 244, 0, 0], [10, 244, 0, 255]] {
        h.assert_dropped(VM, &udp(stranger(from), 1, 2, b"x"), "spoofed_ip");
    }
    for from in [VM_IP, [10, 244, 0, 99], [172, 16, 0, 1]] {
        assert_eq!(h.send(VM, &udp(stranger(from), 1, 2, b"x")).len(), 1);
    }
    // Behind the gateway is the world, but not this node's pods.
    for from in [A_IP, VM_IP, [10, 244, 0, 255]] {
        h.assert_dropped(GATEWAY, &udp(Path { from, ..from_node(B_IP) }, 1, 2, b"x"), "spoofed_ip");
    }
    for from in [GATEWAY_IP, NODE_IP, [10, 244, 7, 7], [8, 8, 8, 8]] {
        assert_eq!(h.send(GATEWAY, &udp(Path { from, ..from_node(B_IP) }, 1, 2, b"x")).len(), 1);
    }
}

#[test]
fn nobody_speaks_with_an_address_of_services() {
    let mut h = Harness::new();
    let frontend = |kind, address| Frontend { kind, address: ip(address), port: 80 };
    let service = ServiceConfig {
        id: ServiceId(1),
        name: "default/web:80".to_owned(),
        transport: Transport::Tcp,
        frontends: vec![
            frontend(FrontendKind::ClusterIp, [10, 97, 0, 1]),
            frontend(FrontendKind::LoadBalancer, [203, 0, 113, 1]),
            frontend(FrontendKind::NodePort, [0; 4]),
        ],
        scheduler: Scheduler::Random,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    };
    let stranger = |from| Path { from, from_mac: Mac([2, 0, 0, 0, 0, 1]), ..direct(VM_IP, B_IP) };
    let of_services = [[10, 97, 0, 1], [203, 0, 113, 1], [10, 96, 200, 3]];
    for from in of_services {
        assert_eq!(h.send(VM, &udp(stranger(from), 1, 2, b"x")).len(), 1, "not yet");
    }
    let node = NodeConfig { service_cidr: Some("10.96.0.0/16".parse().unwrap()), ..node() };
    h.apply(ConfigDelta { node: Some(node), services: vec![service], ..ConfigDelta::default() });
    for from in of_services {
        h.assert_dropped(VM, &udp(stranger(from), 1, 2, b"x"), "spoofed_ip");
        h.assert_dropped(A, &udp(Path { from, ..direct(A_IP, B_IP) }, 1, 2, b"x"), "spoofed_ip");
        h.assert_dropped(GATEWAY, &udp(Path { from, ..from_node(B_IP) }, 1, 2, b"x"), "spoofed_ip");
        let claim = ArpFrame::request(Mac([2, 0, 0, 0, 0, 1]), from, B_IP).bytes();
        h.assert_dropped(VM, &claim, "arp_spoofed");
    }
    h.apply(ConfigDelta { forget_services: vec![ServiceId(1)], ..ConfigDelta::default() });
    assert_eq!(h.send(VM, &udp(stranger([203, 0, 113, 1]), 1, 2, b"x")).len(), 1);
    h.assert_dropped(VM, &udp(stranger([10, 96, 0, 1]), 1, 2, b"x"), "spoofed_ip");
}

#[test]
fn node_keeps_its_addresses_while_its_port_is_away() {
    let mut h = Harness::new();
    h.apply(ConfigDelta { detach: vec![GATEWAY], ..ConfigDelta::default() });
    for from in [GATEWAY_IP, NODE_IP] {
        h.assert_dropped(VM, &udp(Path { from, ..direct(VM_IP, B_IP) }, 1, 2, b"x"), "spoofed_ip");
    }
}

#[test]
fn spoofed_frame_never_rides_on_a_cached_flow() {
    let mut h = Harness::new();
    let honest = udp(direct(A_IP, B_IP), 1, 2, b"x");
    assert_eq!(h.send(A, &honest).len(), 1);
    // The same frame from the wrong port, and the right port with one address changed.
    h.assert_dropped(B, &honest, "spoofed_mac");
    h.assert_dropped(A, &udp(Path { from: GATEWAY_IP, ..direct(A_IP, B_IP) }, 1, 2, b"x"), "spoofed_ip");
    h.assert_dropped(
        A,
        &udp(Path { from_mac: pod_mac(B_IP), ..direct(A_IP, B_IP) }, 1, 2, b"x"),
        "spoofed_mac",
    );
}

#[test]
fn martians_are_dropped_in_both_directions() {
    let mut h = Harness::new();
    for from in [
        [127, 0, 0, 1],
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [169, 254, 1, 1],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [255; 4],
    ] {
        for port in [A, VM, GATEWAY] {
            let from_mac = h.switch.ports().find(|p| p.id == port).unwrap().mac;
            let path = Path { from, from_mac, ..direct(A_IP, B_IP) };
            h.assert_dropped(port, &udp(path, 1, 2, b"x"), "martian_source");
        }
    }
    for to in [[127, 0, 0, 1], [0, 0, 0, 0], [169, 254, 169, 254], [240, 0, 0, 1], [255, 255, 255, 254]] {
        h.assert_dropped(A, &udp(routed(A_IP, to), 1, 2, b"x"), "martian_destination");
        h.assert_dropped(A, &udp(Path { to, ..direct(A_IP, B_IP) }, 1, 2, b"x"), "martian_destination");
    }
}

#[test]
fn unicast_packet_in_a_group_frame_is_dropped() {
    let mut h = Harness::new();
    for mac in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let path = Path { to_mac: mac, ..direct(A_IP, B_IP) };
        h.assert_dropped(A, &udp(path, 1, 2, b"x"), "group_frame_unicast_ip");
    }
}

#[test]
fn link_local_bridge_groups_are_never_forwarded() {
    let mut h = Harness::new();
    for last in 0..=0x0f {
        let path = Path { to_mac: Mac([0x01, 0x80, 0xc2, 0, 0, last]), ..direct(A_IP, [224, 0, 0, 1]) };
        h.assert_dropped(A, &udp(path, 1, 2, b"x"), "reserved_multicast");
        h.assert_dropped(VM, &udp(path, 1, 2, b"x"), "reserved_multicast");
    }
    let path = Path { to_mac: Mac([0x01, 0x80, 0xc2, 0, 0, 0x10]), ..direct(A_IP, [224, 0, 0, 1]) };
    assert_eq!(h.send(A, &udp(path, 1, 2, b"x")).len(), 3);
}

#[test]
fn source_routes_are_refused_and_other_options_pass() {
    let mut h = Harness::new();
    let path = direct(A_IP, B_IP);
    let with_options = |options: [u8; 8]| {
        let mut header = etherparse::Ipv4Header::new(0, 64, 17.into(), path.from, path.to).unwrap();
        header.options = options.into();
        ipv4_with(path, header, &[0, 1, 0, 2, 0, 8, 0, 0])
    };
    for options in [[131, 7, 4, 1, 2, 3, 4, 0], [1, 137, 7, 4, 1, 2, 3, 4], [7, 99, 0, 0, 0, 0, 0, 0]] {
        h.assert_dropped(A, &with_options(options), "source_routed");
    }
    assert_eq!(h.send(A, &with_options([148, 4, 0, 0, 1, 1, 1, 0])).len(), 1);
    assert!(h.switch.flows_page(0, 9, h.now).0.is_empty(), "packets with options are decided one by one");
}

#[test]
fn configuration_traffic_from_pods_is_dropped() {
    let mut h = Harness::new();
    for (port, ip) in [(A, A_IP), (VM, VM_IP)] {
        let path = direct(ip, B_IP);
        h.assert_dropped(port, &udp(path, 67, 68, b"offer"), "dhcp_server");
        h.assert_dropped(port, &ipv4(path, 1, &[5, 1, 0, 0, 0, 0, 0, 0]), "icmp_router_message");
        h.assert_dropped(port, &ipv4(path, 1, &[9, 0, 0, 0, 0, 0, 0, 0]), "icmp_router_message");
    }
    assert_eq!(h.send(GATEWAY, &udp(from_node(B_IP), 67, 68, b"offer")).len(), 1);
    assert_eq!(h.send(A, &udp(direct(A_IP, B_IP), 68, 67, b"relayed")).len(), 1);
}

#[test]
fn frame_to_its_own_port_is_dropped() {
    let mut h = Harness::new();
    h.assert_dropped(A, &udp(direct(A_IP, A_IP), 1, 2, b"x"), "hairpin");
    h.assert_dropped(A, &udp(routed(A_IP, A_IP), 1, 2, b"x"), "hairpin");
    let path = Path { to_mac: router_mac(), to: NODE_IP, ..from_node(B_IP) };
    h.assert_dropped(GATEWAY, &udp(path, 1, 2, b"x"), "hairpin");
    // Two stations behind one port may talk through the router.
    let stranger = Path { from_mac: Mac([2, 0, 0, 0, 0, 1]), from: [10, 244, 0, 50], ..routed(A_IP, VM_IP) };
    assert_eq!(h.send(VM, &udp(stranger, 1, 2, b"x"))[0].0, VM);
}

#[test]
fn pod_with_several_addresses_may_use_each() {
    let second = [10, 244, 0, 42];
    let mut h = Harness::new();
    h.update(PortConfig { addresses: vec![ip(A_IP), ip(second)], ..port(A, "default/a", A_IP) });
    for from in [A_IP, second] {
        assert_eq!(h.send(A, &udp(Path { from, ..direct(A_IP, B_IP) }, 1, 2, b"x")).len(), 1);
    }
    assert_eq!(h.send(B, &udp(routed(B_IP, second), 1, 2, b"x"))[0].0, A);
}
