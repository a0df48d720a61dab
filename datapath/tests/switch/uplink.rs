//! The uplink as a port: what comes in there, what is the kernel's, and what a configuration must be like.

use datapath::{ConfigError, Limits, UplinkError};
use etherparse::PacketBuilder;
use protocol::link::{ConfigDelta, EgressRule, NodeConfig, PortConfig, UplinkConfig};
use protocol::{Mac, PortId};

use crate::common::*;
use crate::services::*;
use crate::uplink_services::with_uplink_services;

/// A frame from outside that leaves no trace but its name.
#[track_caller]
fn assert_not_ours(h: &mut Harness, frame: &[u8]) {
    h.assert_dropped(UPLINK, frame, "not_for_switch");
}

#[test]
fn what_is_the_kernels_is_left_to_it_without_a_word() {
    let mut h = with_uplink_services(&[B_IP]);
    let to_node = outside(CLIENT_IP, NODE_IP);
    assert_not_ours(&mut h, &segment(to_node, (4000, 22), SYN, b""));
    assert_not_ours(&mut h, &segment(to_node, (4000, 22), ACK, b"of a session"));
    assert_not_ours(&mut h, &udp(to_node, 4000, 68, b"dhcp"));
    assert_not_ours(&mut h, &udp(to_node, 4000, 31_999, b"a node port that is none"));
    assert_not_ours(&mut h, &echo_request(to_node, 7, b"ping the node"));
    assert_not_ours(&mut h, &ipv4(to_node, 132, &[0; 16]));
    assert_not_ours(&mut h, &ipv4(to_node, 1, &[3, 3, 0, 0, 0, 0, 0, 0]));
    // For others: by address, by MAC, or for everybody.
    assert_not_ours(&mut h, &udp(outside(CLIENT_IP, [192, 0, 2, 99]), 4000, 53, b"x"));
    assert_not_ours(&mut h, &udp(Path { to_mac: HOST, ..to_node }, 4000, 30_053, b"x"));
    assert_not_ours(&mut h, &udp(Path { to_mac: Mac::BROADCAST, ..to_node }, 4000, 30_053, b"x"));
    assert_not_ours(
        &mut h,
        &udp(Path { to_mac: Mac::BROADCAST, ..outside(HOST_IP, [255; 4]) }, 68, 67, b"x"),
    );
    // What is the cluster's is reached by node ports and load balancers, not by itself.
    for inside in [A_IP, GATEWAY_IP, VIP, C_IP, [10, 96, 9, 9]] {
        assert_not_ours(&mut h, &udp(outside(CLIENT_IP, inside), 4000, 53, b"x"));
    }
    // Neither IPv4 nor ARP.
    for ether_type in [0x86dd, 0x8100, 0x88cc] {
        let frame = [ethernet_header(NIC, ROUTER, ether_type), vec![0x60; 60]].concat();
        assert_not_ours(&mut h, &frame);
    }
}

#[test]
fn sources_that_cannot_be_outside_are_refused_in_silence() {
    let mut h = with_uplink_services(&[B_IP]);
    let node_port = |from| udp(outside(from, NODE_IP), 4000, 30_053, b"?");
    for inside in [A_IP, GATEWAY_IP, C_IP, VIP, NODE_IP, LB_IP, EGRESS_IP, [10, 244, 77, 1], [10, 96, 9, 9]] {
        h.assert_dropped(UPLINK, &node_port(inside), "spoofed_ip");
    }
    for martian in [[127, 0, 0, 1], [0, 0, 0, 0], [169, 254, 1, 1], [224, 0, 0, 1], [255; 4], [240, 0, 0, 1]]
    {
        h.assert_dropped(UPLINK, &node_port(martian), "martian_source");
    }
    let path = outside(CLIENT_IP, NODE_IP);
    for mac in [NIC, pod_mac(A_IP), router_mac(), gateway_mac()] {
        h.assert_dropped(UPLINK, &udp(Path { from_mac: mac, ..path }, 4000, 30_053, b"?"), "spoofed_mac");
    }
    for mac in [Mac([0; 6]), Mac::BROADCAST] {
        h.assert_dropped(
            UPLINK,
            &udp(Path { from_mac: mac, ..path }, 4000, 30_053, b"?"),
            "invalid_source_mac",
        );
    }
    let mut header = etherparse::Ipv4Header::new(0, 60, 17.into(), path.from, path.to).unwrap();
    header.options = [131, 3, 4, 0].into();
    let question = [&4000_u16.to_be_bytes()[..], &30_053_u16.to_be_bytes(), &[0, 8, 0, 0]].concat();
    h.assert_dropped(UPLINK, &ipv4_with(path, header, &question), "source_routed");
}

#[test]
fn nothing_is_flooded_to_the_uplink_and_no_frame_reaches_it_by_its_mac() {
    let mut h = harness_uplink();
    let everybody = |sent: Vec<(PortId, Vec<u8>)>| sent.into_iter().map(|(port, _)| port).collect::<Vec<_>>();
    let broadcast = udp(Path { to_mac: Mac::BROADCAST, ..direct(A_IP, [255; 4]) }, 1, 2, b"all");
    assert_eq!(everybody(h.send(A, &broadcast)), [GATEWAY, B, VM]);
    let to_nic = Path { to_mac: NIC, ..direct(A_IP, [8, 8, 8, 8]) };
    assert_eq!(everybody(h.send(A, &udp(to_nic, 1, 2, b"by MAC"))), [GATEWAY, VM], "unknown here");
    let question = ArpFrame::request(pod_mac(VM_IP), VM_IP, [10, 244, 0, 77]).bytes();
    assert_eq!(everybody(h.send(VM, &question)), [GATEWAY]);
    h.deltas();
    // Nor may a station behind a learning port seem to be the node's interface.
    h.assert_dropped(
        VM,
        &udp(Path { from_mac: NIC, ..direct([10, 244, 0, 50], A_IP) }, 1, 2, b"x"),
        "spoofed_mac",
    );
    let reply = ArpFrame::reply(pod_mac(VM_IP), VM_IP, NIC, NODE_IP).bytes();
    h.assert_dropped(VM, &reply, "arp_absorbed");
}

#[test]
fn no_station_outside_is_learned() {
    let mut h = with_uplink_services(&[B_IP]);
    let before = (h.switch.fdb_page(0, 99, h.now), h.switch.summary().fdb_entries);
    h.send(UPLINK, &udp(outside(CLIENT_IP, NODE_IP), 4000, 30_053, b"?"));
    h.send(UPLINK, &ArpFrame::request(HOST, HOST_IP, NODE_IP).bytes());
    assert_eq!((h.switch.fdb_page(0, 99, h.now), h.switch.summary().fdb_entries), before);
}

#[test]
fn arp_is_answered_for_what_the_switch_stands_for_and_nothing_else() {
    let mut h = harness_uplink();
    for address in [LB_IP, EGRESS_IP] {
        for request in [
            ArpFrame::request(HOST, HOST_IP, address),
            ArpFrame { destination: NIC, ..ArpFrame::request(ROUTER, ROUTER_IP, address) },
            // RFC 5227 §2.1: whoever probes must hear that the address is taken.
            ArpFrame::request(HOST, [0; 4], address),
        ] {
            let (port, sent) = only(h.send(UPLINK, &request.bytes()));
            let wanted = ArpFrame::reply(NIC, address, request.sender_mac, request.sender_ip);
            assert_eq!((port, ethernet(&sent)), (UPLINK, &wanted.bytes()[..]));
            h.assert_deltas([(UPLINK, Delta::answered())]);
        }
    }
    for address in [NODE_IP, [192, 0, 2, 99], A_IP, GATEWAY_IP, VIP] {
        assert_not_ours(&mut h, &ArpFrame::request(HOST, HOST_IP, address).bytes());
    }
    let others = ArpFrame { destination: ROUTER, ..ArpFrame::request(HOST, HOST_IP, LB_IP) };
    assert_not_ours(&mut h, &others.bytes());
    for lie in [
        ArpFrame { sender_mac: ROUTER, ..ArpFrame::request(HOST, HOST_IP, LB_IP) },
        ArpFrame::request(HOST, LB_IP, LB_IP),
        ArpFrame::reply(HOST, EGRESS_IP, NIC, NODE_IP),
    ] {
        h.assert_dropped(UPLINK, &lie.bytes(), "arp_spoofed");
    }
}

/// Whatever is inside goes out only as the node allows.
#[test]
fn only_pods_and_answers_leave() {
    let mut h = harness_uplink();
    let known = Path { from_mac: gateway_mac(), to_mac: router_mac(), ..from_node(KNOWN_IP) };
    h.assert_dropped(GATEWAY, &udp(known, 1, 2, b"the node has the interface itself"), "hairpin");
    let known = vxlan(VNI, &udp(from_peer(C_IP, KNOWN_IP), 1, 2, b"another node's"));
    assert!(h.receive(TUNNEL, NODE_B_IP, 0, &[known]).is_empty());
    h.assert_deltas([(TUNNEL, Delta::dropped("hairpin"))]);
    // Addresses of the cluster that nobody has stay inside, and what the switch stands for is not outside.
    for nowhere in [[10, 244, 99, 1], LB_IP] {
        h.send(A, &udp(routed(A_IP, nowhere), 1, 2, b"x"));
        h.assert_deltas([(A, Delta::refused_with_error("no_route"))]);
    }
    h.assert_dropped(A, &udp(routed(A_IP, EGRESS_IP), 1, 2, b"x"), "no_mapping");
    for group in [[192, 0, 2, 255], [192, 0, 2, 0]] {
        h.assert_dropped(A, &udp(routed(A_IP, group), 1, 2, b"x"), "group_packet_routed");
    }
    let stranger = Path { from_mac: pod_mac(VM_IP), ..routed([8, 8, 4, 4], KNOWN_IP) };
    h.assert_dropped(VM, &udp(stranger, 1, 2, b"as somebody else"), "spoofed_ip");
}

#[test]
fn uplink_that_is_not_attached_leads_nowhere() {
    let mut h = Harness::new();
    h.apply(ConfigDelta {
        node: Some(NodeConfig { tunnel: None, ..uplink_node() }),
        ..ConfigDelta::default()
    });
    h.send(A, &udp(routed(A_IP, KNOWN_IP), 1, 2, b"x"));
    h.assert_deltas([(A, Delta::refused_with_error("no_route"))]);
    h.apply(ConfigDelta { attach: vec![uplink_port()], node: Some(node()), ..ConfigDelta::default() });
    assert_not_ours(&mut h, &udp(outside(CLIENT_IP, NODE_IP), 1, 30_053, b"a port without a configuration"));
}

#[track_caller]
fn assert_refused(change: impl FnOnce(&mut UplinkConfig), wanted: &str) {
    let mut uplink = uplink_config();
    change(&mut uplink);
    let node = NodeConfig { uplink: Some(uplink), ..uplink_node() };
    let delta = ConfigDelta { node: Some(node), epoch: 1, commit: true, ..uplink_delta() };
    let mut h = Harness::bare(Limits::default());
    let error = h.switch.apply(&delta, h.now).unwrap_err();
    assert!(matches!(error, ConfigError::Uplink(_)));
    assert_eq!(error.to_string(), wanted);
    assert_eq!(h.switch.epoch(), 0);
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
fn uplinks_that_cannot_be_are_refused_by_name() {
    assert_refused(|u| u.source_ports = 9..=8, "uplink: source ports 9-8 are no ports");
    assert_refused(|u| u.node_ports = 0..=8, "uplink: node ports 0-8 are no ports");
    assert_refused(
        |u| u.node_ports = 30_000..=61_000,
        "uplink: source ports 61000-65535 overlap node ports 30000-61000",
    );
    assert_refused(
        |u| u.address = [224, 0, 0, 1].into(),
        "uplink: address 224.0.0.1 is not the address of a station",
    );
    assert_refused(
        |u| u.address = A_IP.into(),
        "uplink: address 10.244.0.2 lies in 10.244.0.0/16 of the cluster",
    );
    assert_refused(|u| u.address = [192, 0, 3, 2].into(), "uplink: 192.0.3.2 does not lie in 192.0.2.0/24");
    assert_refused(|u| u.gateway = Some(NODE_IP.into()), "uplink: gateway 192.0.2.2 belongs to the node");
    assert_refused(
        |u| u.gateway = Some(VIP.into()),
        "uplink: gateway 10.96.0.20 lies in 10.96.0.0/16 of the cluster",
    );
    assert_refused(
        |u| u.announced = vec![[255; 4].into()],
        "uplink: announced address 255.255.255.255 is not the address of a station",
    );
    assert_refused(
        |u| u.announced = vec![NODE_IP.into()],
        "uplink: announced address 192.0.2.2 belongs to the node",
    );
    assert_refused(
        |u| u.announced = vec![NODE_B_IP.into()],
        "uplink: announced address 192.0.2.3 belongs to node-b",
    );
    assert_refused(
        |u| u.announced = vec![ROUTER_IP.into()],
        "uplink: announced address 192.0.2.1 belongs to the uplink's gateway",
    );
    assert_refused(
        |u| u.announced = vec![VIP.into()],
        "uplink: announced address 10.96.0.20 lies in 10.96.0.0/16 of the cluster",
    );
    assert_refused(
        |u| u.announced = vec![EGRESS_IP.into()],
        "uplink: egress address 192.0.2.70 belongs to the load balancers",
    );
    let rule = |address: [u8; 4]| EgressRule { sources: Vec::new(), address: address.into() };
    assert_refused(
        |u| u.egress = vec![rule(NODE_IP)],
        "uplink: egress address 192.0.2.2 belongs to the node",
    );
    let many = (0..5000).map(|n| std::net::Ipv4Addr::from_bits(0xc612_0000 + n)).collect();
    assert_refused(
        |u| u.announced = many,
        "uplink: 5001 addresses are more than the 4096 that one node can stand for",
    );
}

#[test]
fn there_is_one_uplink_and_its_mac_is_nobody_elses() {
    let mut h = harness_uplink();
    let mut refused = |attach: PortConfig| {
        let epoch = h.switch.epoch() + 1;
        let delta = ConfigDelta { attach: vec![attach], epoch, commit: true, ..ConfigDelta::default() };
        h.switch.apply(&delta, h.now).unwrap_err()
    };
    let second = PortConfig { id: PortId(6), mac: HOST, ..uplink_port() };
    let wanted = ConfigError::SecondUplink { port: PortId(6), name: "uplink".to_owned(), other: UPLINK };
    assert_eq!(refused(second), wanted);
    let twin = PortConfig { mac: NIC, ..port(PortId(6), "default/c", [10, 244, 0, 9]) };
    assert!(matches!(refused(twin), ConfigError::DuplicateMac { .. }));
    let error = UplinkError::TooManyAddresses(1);
    assert_eq!(ConfigError::from(error.clone()), ConfigError::Uplink(error));
}

#[test]
fn egress_address_is_no_services() {
    let mut h = harness_uplink();
    let frontends = vec![frontend(protocol::link::FrontendKind::ExternalIp, EGRESS_IP, 53)];
    let service =
        protocol::link::ServiceConfig { frontends, ..service(DNS, protocol::link::Transport::Udp, 53) };
    let epoch = h.switch.epoch() + 1;
    let delta = ConfigDelta { services: vec![service], epoch, commit: true, ..ConfigDelta::default() };
    let error = h.switch.apply(&delta, h.now).unwrap_err().to_string();
    assert!(error.contains("frontend address 192.0.2.70 belongs to an egress rule"), "{error}");
}

#[test]
fn errors_of_the_kernels_packets_are_not_answered() {
    let mut h = harness_uplink();
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(ROUTER.0, NIC.0).ipv4(CLIENT_IP, NODE_IP, 1).udp(4000, 61_500);
    builder.write(&mut frame, b"to a source port without a mapping, with no hop left").unwrap();
    assert!(h.send(UPLINK, &frame).is_empty());
    h.assert_deltas([(UPLINK, Delta::dropped("no_mapping"))]);
}
