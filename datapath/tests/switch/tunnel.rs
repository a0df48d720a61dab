//! Packets between nodes: what is on the wire, what is accepted from it, and what is not.

use crate::common::*;
use datapath::{Limits, Transmit};
use proptest::prelude::*;
use protocol::link::{ConfigDelta, PortConfig, TunnelConfig};
use protocol::{Mac, PeerId, PortId};

/// Sets the type of service and repairs the header checksum.
fn with_tos(mut frame: Vec<u8>, tos: u8) -> Vec<u8> {
    frame[15] = tos;
    frame[24..26].fill(0);
    let sum = frame[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// A TCP superframe of pod A, as Linux sends it.
fn superframe(to: [u8; 4], payload: &[u8], mss: u16) -> (Vnet, Vec<u8>) {
    let mut frame = tcp(routed(A_IP, to), 1000, 80, payload);
    frame[20] = 0x40;
    let mut frame = with_tos(frame, 0);
    make_partial(&mut frame, 16);
    (Vnet { gso_type: GSO_TCPV4, gso_size: mss, hdr_len: 54, ..Vnet::partial(16) }, frame)
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 253).unwrap()).collect()
}

#[track_caller]
fn only_train(h: &mut Harness) -> SentTrain {
    let mut trains = std::mem::take(&mut h.wire.trains);
    assert_eq!(trains.len(), 1);
    trains.remove(0)
}

#[test]
fn packet_for_another_nodes_pod_is_routed_into_the_tunnel() {
    let mut h = harness_a();
    let sent = h.send(A, &with_tos(udp(routed(A_IP, C_IP), 5, 6, b"hello"), 0xb9));
    assert!(sent.is_empty());
    let train = only_train(&mut h);
    assert_eq!((train.port, train.to.to_string()), (TUNNEL, "192.0.2.3:4789".to_owned()));
    assert_eq!(train.tos, 0xb9, "DSCP and ECN are copied");
    assert_eq!(train.datagrams.len(), 1);
    let frame = inner(&train.datagrams[0]);
    let expected = with_tos(udp(Path { ttl: 63, ..between_routers() }, 5, 6, b"hello"), 0xb9);
    assert_eq!(frame, expected);
    let bytes = frame.len() as u64;
    h.assert_deltas([(A, Delta::forwarded()), (TUNNEL, Delta::sent())]);
    let health = h.switch.peers_page(None, 9, h.now)[0].1;
    assert_eq!((health.tx_packets, health.tx_bytes), (1, bytes));
}

fn between_routers() -> Path {
    Path { from_mac: router_mac(), to_mac: router_b(), from: A_IP, to: C_IP, ttl: 63 }
}

#[test]
fn partial_checksum_is_complete_on_the_wire() {
    let mut h = harness_a();
    let mut frame = udp(routed(A_IP, C_IP), 5, 6, b"unsummed");
    make_partial(&mut frame, 6);
    h.send_with(A, Vnet::partial(6), &frame);
    decode(inner(&only_train(&mut h).datagrams[0]));
}

#[test]
fn node_reaches_pods_of_other_nodes_by_the_gateway_and_its_addresses_by_pods() {
    let mut h = harness_a();
    h.send(GATEWAY, &udp(Path { to_mac: router_mac(), ..from_node(C_IP) }, 5, 6, b"node"));
    assert_eq!(only_train(&mut h).datagrams.len(), 1);
    h.send(A, &udp(routed(A_IP, NODE_B_IP), 5, 6, b"to the node"));
    assert_eq!(only_train(&mut h).datagrams.len(), 1);
}

#[test]
fn superframe_becomes_one_train_of_complete_packets() {
    let mut h = harness_a();
    let (vnet, frame) = superframe(C_IP, &payload(3000), 1398);
    h.send_with(A, vnet, &frame);
    let train = only_train(&mut h);
    let lengths: Vec<_> = train.datagrams.iter().map(Vec::len).collect();
    assert_eq!(lengths, [8 + 54 + 1398, 8 + 54 + 1398, 8 + 54 + 204]);
    let mut got = Vec::new();
    for (n, datagram) in train.datagrams.iter().enumerate() {
        let packet = decode(inner(datagram));
        let Some(etherparse::TransportHeader::Tcp(tcp)) = packet.transport else { panic!() };
        assert_eq!(tcp.sequence_number, 1000 + 1398 * u32::try_from(n).unwrap());
        got.extend_from_slice(packet.payload.slice());
    }
    assert_eq!(got, payload(3000));
    h.assert_deltas([(A, Delta::forwarded()), (TUNNEL, Delta { tx: 3, ..Delta::default() })]);
}

#[test]
fn burst_of_small_frames_leaves_as_one_train() {
    let mut h = harness_a();
    let frame = |n: u8| (A, udp(routed(A_IP, C_IP), 5, 6, &[n; 40]));
    h.send(A, &frame(0).1);
    only_train(&mut h);
    h.send_batch(&[frame(1), frame(2), frame(3)]);
    let train = only_train(&mut h);
    let payloads: Vec<_> =
        train.datagrams.iter().map(|d| decode(inner(d)).payload.slice().to_vec()).collect();
    assert_eq!(payloads, [[1; 40], [2; 40], [3; 40]]);
}

#[test]
fn flows_have_entropy_and_packets_of_one_the_same() {
    let mut h = harness_a();
    let mut of = |port: u16| {
        h.send(A, &udp(routed(A_IP, C_IP), port, 6, b"x"));
        only_train(&mut h).entropy
    };
    assert_eq!(of(1), of(1));
    let several: std::collections::BTreeSet<_> = (0..64).map(|port| of(port) % 8).collect();
    assert_eq!(several.len(), 8);
}

#[test]
fn train_reaches_the_pod_as_one_superframe() {
    let mut a = harness_a();
    let mut b = harness_b();
    let (vnet, frame) = superframe(C_IP, &payload(20_000), 1398);
    a.send_with(A, vnet, &frame);
    let train = only_train(&mut a);
    let sent = b.receive(TUNNEL, NODE_IP, 0, &train.datagrams);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, A);
    let vnet = Vnet::of(&sent[0].1);
    assert_eq!((vnet.flags, vnet.gso_type, vnet.gso_size), (NEEDS_CSUM, GSO_TCPV4, 1398));
    let ethernet = ethernet(&sent[0].1);
    assert_eq!(ethernet[54..], payload(20_000));
    assert_eq!((ethernet[22], &ethernet[..6]), (62, &pod_mac(C_IP).0[..]), "two hops");
    let packets = train.datagrams.len() as u64;
    b.assert_deltas([
        (TUNNEL, Delta { rx: packets, forwarded: packets, ..Delta::default() }),
        (A, Delta::sent()),
    ]);
}

#[test]
fn neighbours_of_different_flows_are_kept_apart_and_in_order() {
    let mut h = harness_a();
    let frame = |port: u16, n: u8| vxlan(VNI, &udp(from_peer(C_IP, A_IP), port, 6, &[n; 10]));
    let sent = h.receive(TUNNEL, NODE_B_IP, 0, &[frame(1, 1), frame(1, 2), frame(2, 3), frame(1, 4)]);
    let payloads: Vec<_> = sent.iter().map(|(_, frame)| ethernet(frame)[42..].to_vec()).collect();
    assert_eq!(payloads, [[[1; 10], [2; 10]].concat(), vec![3; 10], vec![4; 10]]);
    h.assert_deltas([
        (TUNNEL, Delta { rx: 4, forwarded: 4, ..Delta::default() }),
        (A, Delta { tx: 3, ..Delta::default() }),
    ]);
}

#[test]
fn segment_that_was_damaged_reaches_the_pod_by_itself_and_wrong() {
    let mut h = harness_a();
    let good = vxlan(VNI, &udp(from_peer(C_IP, A_IP), 1, 6, &[1; 10]));
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let sent = h.receive(TUNNEL, NODE_B_IP, 0, &[good.clone(), bad.clone(), good]);
    assert_eq!(sent.len(), 3);
    assert_eq!(ethernet(&sent[1].1)[34..], inner(&bad)[34..]);
    assert_eq!(Vnet::of(&sent[1].1), Vnet::default(), "the pod's kernel is to verify it");
}

#[test]
fn checksum_that_was_left_to_a_nic_is_completed() {
    let mut h = harness_a();
    for (number, offset) in [(17, 6), (6, 16)] {
        let whole = match number {
            17 => udp(from_peer(C_IP, A_IP), 5, 6, &[7; 33]),
            _ => tcp(from_peer(C_IP, A_IP), 5, 6, &[7; 33]),
        };
        let mut left = whole.clone();
        make_partial(&mut left, offset);
        assert_ne!(left, whole);
        let sent = h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &left)]);
        assert_eq!(ethernet(&sent[0].1)[34..], whole[34..]);
        assert_eq!(Vnet::of(&sent[0].1), Vnet::default());
    }
}

#[test]
fn superframe_that_was_left_to_a_nic_is_cut_to_fit() {
    let mut h = harness_a();
    let mut left = tcp(from_peer(C_IP, A_IP), 5, 6, &payload(20_000));
    let whole = left.clone();
    make_partial(&mut left, 16);
    let sent = h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &left), vxlan(VNI, &whole)]);
    assert_eq!(sent.len(), 1, "a complete checksum says that the packet is meant to be so large");
    let vnet = Vnet::of(&sent[0].1);
    assert_eq!((vnet.flags, vnet.gso_type, vnet.gso_size), (NEEDS_CSUM, GSO_TCPV4, 1410));
    assert_eq!(ethernet(&sent[0].1)[54..], payload(20_000));
    let counters = h.switch.port_counters(TUNNEL).unwrap();
    assert_eq!((counters.rx_frames, counters.forwarded), (2, 1));
}

/// Feeds one datagram that must vanish for this reason, leaving no other trace.
#[track_caller]
fn assert_refused(h: &mut Harness, source: [u8; 4], tos: u8, datagram: &[u8], reason: &str) {
    h.deltas();
    let sent = h.receive(TUNNEL, source, tos, &[datagram.to_vec()]);
    h.assert_deltas([(TUNNEL, Delta::dropped(reason))]);
    assert!(sent.is_empty() && h.wire.trains.is_empty());
}

#[test]
fn what_is_not_a_peers_packet_is_dropped_by_name() {
    let mut h = harness_a();
    let frame = udp(from_peer(C_IP, A_IP), 5, 6, b"x");
    let good = vxlan(VNI, &frame);
    // Cached first, so that no refusal rests on a miss.
    assert_eq!(h.receive(TUNNEL, NODE_B_IP, 0, std::slice::from_ref(&good)).len(), 1);

    assert_refused(&mut h, [192, 0, 2, 99], 0, &good, "unknown_peer");
    assert_refused(&mut h, NODE_IP, 0, &good, "unknown_peer");
    let mut no_flag = good.clone();
    no_flag[0] = 0;
    assert_refused(&mut h, NODE_B_IP, 0, &no_flag, "not_vxlan");
    assert_refused(&mut h, NODE_B_IP, 0, &good[..7], "not_vxlan");
    assert_refused(&mut h, NODE_B_IP, 0, &good[..12], "frame_too_short");
    assert_refused(&mut h, NODE_B_IP, 0, &vxlan(VNI + 1, &frame), "bad_vni");
    let mut tagged = frame.clone();
    tagged.splice(12..12, [0x81, 0, 0, 1]);
    assert_refused(&mut h, NODE_B_IP, 0, &vxlan(VNI, &tagged), "inner_vlan");
    let to_pod = Path { to_mac: pod_mac(A_IP), ..from_peer(C_IP, A_IP) };
    assert_refused(&mut h, NODE_B_IP, 0, &vxlan(VNI, &udp(to_pod, 5, 6, b"x")), "not_for_router");
    for source in [A_IP, B_IP, GATEWAY_IP, NODE_IP, [10, 244, 2, 2], [8, 8, 8, 8]] {
        let spoofed = vxlan(VNI, &udp(from_peer(source, B_IP), 5, 6, b"x"));
        assert_refused(&mut h, NODE_B_IP, 0, &spoofed, "source_not_of_peer");
    }
    let spoofed = Path { from_mac: router_mac(), ..from_peer(C_IP, A_IP) };
    assert_refused(&mut h, NODE_B_IP, 0, &vxlan(VNI, &udp(spoofed, 5, 6, b"x")), "spoofed_mac");
    let elsewhere = vxlan(VNI, &udp(from_peer(C_IP, [10, 244, 1, 9]), 5, 6, b"x"));
    assert_refused(&mut h, NODE_B_IP, 0, &elsewhere, "hairpin");
}

#[test]
fn reserved_bits_of_the_header_are_ignored() {
    let mut h = harness_a();
    let mut datagram = vxlan(VNI, &udp(from_peer(C_IP, A_IP), 5, 6, b"x"));
    (datagram[0], datagram[1], datagram[3], datagram[7]) = (0xff, 1, 2, 3);
    assert_eq!(h.receive(TUNNEL, NODE_B_IP, 0, &[datagram]).len(), 1);
}

#[test]
fn one_peer_cannot_use_what_belongs_to_another_even_where_the_flow_is_known() {
    let mut h = harness_a();
    let other = protocol::link::PeerConfig {
        id: PeerId(8),
        address: [192, 0, 2, 4].into(),
        pod_cidrs: vec!["10.244.2.0/24".parse().unwrap()],
        node_addresses: Vec::new(),
        ..node_b()
    };
    h.apply(ConfigDelta { peers: vec![other], ..ConfigDelta::default() });
    let datagram = vxlan(VNI, &udp(from_peer(C_IP, A_IP), 5, 6, b"x"));
    assert_eq!(h.receive(TUNNEL, NODE_B_IP, 0, std::slice::from_ref(&datagram)).len(), 1);
    assert_refused(&mut h, [192, 0, 2, 4], 0, &datagram, "source_not_of_peer");
}

#[test]
fn congestion_marks_cross_the_tunnel() {
    let mut h = harness_a();
    let datagram = |ecn: u8| vxlan(VNI, &with_tos(udp(from_peer(C_IP, A_IP), 5, 6, b"x"), 0x28 | ecn));
    let sent = h.receive(TUNNEL, NODE_B_IP, 0x03, &[datagram(2)]);
    assert_eq!(ethernet(&sent[0].1)[15], 0x2b, "CE on the way is CE for the pod, the DSCP is its own");
    decode(ethernet(&sent[0].1));
    assert_refused(&mut h, NODE_B_IP, 0x03, &datagram(0), "ecn_not_ect_ce");
}

#[test]
fn pods_cannot_speak_to_tunnels_nor_as_nodes() {
    let mut h = harness_a();
    for node in [NODE_IP, NODE_B_IP, GATEWAY_IP, GATEWAY_B_IP] {
        h.assert_dropped(A, &udp(routed(A_IP, node), 5, UDP_PORT, b"x"), "tunnel_port_protected");
    }
    // Pods may have VXLAN of their own among themselves.
    h.send(A, &udp(routed(A_IP, C_IP), 5, UDP_PORT, b"x"));
    assert_eq!(only_train(&mut h).datagrams.len(), 1);
    h.deltas();
    for source in [NODE_B_IP, C_IP] {
        h.assert_dropped(VM, &udp(Path { from: source, ..routed(VM_IP, B_IP) }, 5, 6, b"x"), "spoofed_ip");
    }
}

#[test]
fn too_big_for_the_tunnel_is_said_with_the_right_mtu() {
    let mut h = harness_a();
    let port = PortConfig { ip_mtu: 9000, ..port(A, "default/a", A_IP) };
    h.update(port);
    let largest = udp(routed(A_IP, C_IP), 5, 6, &[7; 1450 - 28]);
    h.send(A, &largest);
    assert_eq!(only_train(&mut h).datagrams[0].len(), 1450 + 14 + 8);
    h.deltas();
    let sent = h.send(A, &udp(routed(A_IP, C_IP), 5, 6, &[7; 1451 - 28]));
    h.assert_deltas([(A, Delta::refused_with_error("packet_too_big"))]);
    let error = ethernet(&sent[0].1);
    assert_eq!((error[34], error[35]), (3, 4));
    assert_eq!(u16::from_be_bytes([error[40], error[41]]), 1450);
    assert_eq!(error[26..30], GATEWAY_IP);
    // It is cut if it may be.
    h.wire.trains.clear();
    h.send(A, &may_be_cut(udp(routed(A_IP, C_IP), 5, 6, &[7; 1451 - 28])));
    let lens: Vec<_> = h.wire.trains.iter().map(|train| train.datagrams[0].len()).collect();
    assert_eq!(lens, [8 + 14 + 1444, 8 + 14 + 20 + 7]);
    h.wire.trains.clear();
    h.deltas();
    // A superframe is judged by its segments.
    let (vnet, frame) = superframe(C_IP, &payload(3000), 1411);
    h.send_with(A, vnet, &frame);
    h.assert_deltas([(A, Delta::refused_with_error("packet_too_big"))]);
    let (vnet, frame) = superframe(C_IP, &payload(3000), 1410);
    h.send_with(A, vnet, &frame);
    assert_eq!(only_train(&mut h).datagrams.len(), 3);
}

#[test]
fn what_the_nodes_own_network_refuses_is_named() {
    let mut h = harness_a();
    let frame = udp(routed(A_IP, C_IP), 5, 6, b"x");
    for (outcome, reason) in [
        (Transmit::TooBig, "underlay_too_big"),
        (Transmit::Unreachable, "underlay_unreachable"),
        (Transmit::QueueFull, "port_queue_full"),
        (Transmit::Gone, "port_gone"),
    ] {
        h.wire.tunnel = Some(outcome);
        h.send(A, &frame);
        let refused = Delta { refused: 1, ..Delta::default() };
        h.assert_deltas([(A, Delta::dropped(reason)), (TUNNEL, refused)]);
    }
}

/// A SYN with this maximum segment size behind a NOP, so that the option lies oddly.
fn syn(path: Path, mss: u16) -> Vec<u8> {
    let mut tcp = etherparse::TcpHeader::new(1000, 80, 1, 1000);
    tcp.syn = true;
    let [high, low] = mss.to_be_bytes();
    tcp.set_options_raw(&[1, 2, 4, high, low, 0, 0, 0]).unwrap();
    let mut ip = etherparse::Ipv4Header::new(28, path.ttl, 6.into(), path.from, path.to).unwrap();
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).unwrap();
    ip.dont_fragment = true;
    let mut segment = Vec::new();
    tcp.write(&mut segment).unwrap();
    ipv4_with(path, ip, &segment)
}

#[track_caller]
fn mss_of(frame: &[u8]) -> u16 {
    decode(frame);
    u16::from_be_bytes([frame[57], frame[58]])
}

#[test]
fn segment_size_is_clamped_on_request_both_ways() {
    let clamping = TunnelConfig { clamp_mss: true, ..tunnel_config(NODE_IP) };
    for (tunnel, clamped) in [(clamping, 1410), (tunnel_config(NODE_IP), 1460)] {
        let mut h = harness_a_with(tunnel, Limits::default());
        for (mss, wanted) in [(1460, clamped), (536, 536)] {
            h.send(A, &syn(routed(A_IP, C_IP), mss));
            assert_eq!(mss_of(inner(&only_train(&mut h).datagrams[0])), wanted);
            let sent = h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &syn(from_peer(C_IP, A_IP), mss))]);
            assert_eq!(mss_of(ethernet(&sent[0].1)), wanted);
        }
    }
}

#[test]
fn pods_broadcast_reaches_peers_with_pods_within_a_budget() {
    let limits = Limits { bum_per_second: 1, bum_burst: 3, ..Limits::default() };
    let mut h = harness_a_with(tunnel_config(NODE_IP), limits);
    let more = [(1, true), (2, false), (3, true)].map(|(n, has_pods)| protocol::link::PeerConfig {
        id: PeerId(u32::from(n)),
        address: [192, 0, 2, 100 + n].into(),
        pod_cidrs: vec![format!("10.244.{}.0/24", 100 + n).parse().unwrap()],
        node_addresses: Vec::new(),
        has_pods,
        ..node_b()
    });
    h.apply(ConfigDelta { peers: more.to_vec(), ..ConfigDelta::default() });
    let multicast = Mac([1, 0, 0x5e, 0, 0, 251]);
    let frame = udp(Path { to_mac: multicast, ..direct(A_IP, [224, 0, 0, 251]) }, 5353, 5353, b"who");
    assert_eq!(h.send(A, &frame).len(), 3, "local ports");
    let mut to: Vec<_> = std::mem::take(&mut h.wire.trains)
        .into_iter()
        .map(|train| {
            assert_eq!(inner(&train.datagrams[0]), frame, "as it is");
            train.to.ip().octets()[3]
        })
        .collect();
    to.sort_unstable();
    assert_eq!(to, [3, 101, 103]);
    // Nothing left of the budget; local ports get theirs all the same.
    assert_eq!(h.send(A, &frame).len(), 3);
    assert!(h.wire.trains.is_empty());
    // The node's own broadcast stays here.
    let own = udp(Path { to_mac: multicast, ..from_node([224, 0, 0, 251]) }, 5353, 5353, b"node");
    h.wait(std::time::Duration::from_secs(10));
    h.send(GATEWAY, &own);
    assert!(h.wire.trains.is_empty());
}

#[test]
fn peers_broadcast_reaches_local_pods_only() {
    let mut h = harness_a();
    let multicast = Mac([1, 0, 0x5e, 0, 0, 251]);
    let path = Path { to_mac: multicast, from_mac: pod_mac(C_IP), ..from_peer(C_IP, [224, 0, 0, 251]) };
    let frame = udp(path, 5353, 5353, b"who");
    let sent = h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &frame)]);
    assert_eq!(sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [A, B, VM]);
    assert!(h.wire.trains.is_empty(), "split horizon");
}

#[test]
fn router_has_the_addresses_of_other_nodes_pods() {
    let mut h = harness_a();
    let sent = h.send(A, &ArpFrame::request(pod_mac(A_IP), A_IP, C_IP).bytes());
    let answer = ArpFrame::reply(router_mac(), C_IP, pod_mac(A_IP), A_IP).bytes();
    assert_eq!(ethernet(&sent[0].1), answer);
    // What nobody has nobody answers for.
    h.assert_dropped(
        A,
        &ArpFrame::request(pod_mac(A_IP), A_IP, [10, 244, 9, 9]).bytes(),
        "arp_unknown_target",
    );
}

#[test]
fn plain_vxlan_device_that_asks_for_our_pods_is_answered_by_the_router() {
    let mut h = harness_a();
    let ask = |target| vxlan(VNI, &ArpFrame::request(router_b(), GATEWAY_B_IP, target).bytes());
    h.receive(TUNNEL, NODE_B_IP, 0, &[ask(A_IP)]);
    let train = only_train(&mut h);
    assert_eq!(train.to.ip().octets(), NODE_B_IP);
    let answer = ArpFrame::reply(router_mac(), A_IP, router_b(), GATEWAY_B_IP).bytes();
    assert_eq!(inner(&train.datagrams[0]), answer);
    h.deltas();
    assert_refused(&mut h, NODE_B_IP, 0, &ask([10, 244, 0, 99]), "arp_unknown_target");
    let spoofed = vxlan(VNI, &ArpFrame::request(router_b(), B_IP, A_IP).bytes());
    assert_refused(&mut h, NODE_B_IP, 0, &spoofed, "arp_spoofed");
}

#[test]
fn gateway_answers_pods_of_other_nodes_through_the_tunnel() {
    let mut h = harness_a();
    h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &echo_request(from_peer(C_IP, GATEWAY_IP), 1, b"ping"))]);
    let train = only_train(&mut h);
    let packet = decode(inner(&train.datagrams[0]));
    assert!(matches!(packet.transport, Some(etherparse::TransportHeader::Icmpv4(_))));
    assert_eq!(inner(&train.datagrams[0])[..6], router_b().0);
    h.assert_deltas([(TUNNEL, Delta::answered())]);
}

#[test]
fn errors_about_packets_of_other_nodes_go_back_through_the_tunnel() {
    let mut h = harness_a();
    let dead = udp(Path { ttl: 1, ..from_peer(C_IP, A_IP) }, 5, 6, b"x");
    h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &dead)]);
    let train = only_train(&mut h);
    let error = inner(&train.datagrams[0]);
    decode(error);
    assert_eq!((error[34], &error[30..34], &error[..6]), (11, &C_IP[..], &router_b().0[..]));
    h.assert_deltas([(TUNNEL, Delta::refused_with_error("ttl_expired"))]);
    h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &udp(from_peer(C_IP, [10, 244, 0, 99]), 5, 6, b"x"))]);
    assert_eq!(inner(&only_train(&mut h).datagrams[0])[34..36], [3, 1]);
}

#[test]
fn peer_that_is_forgotten_is_unknown_at_once() {
    let mut h = harness_a();
    h.send(A, &udp(routed(A_IP, C_IP), 5, 6, b"x"));
    only_train(&mut h);
    h.apply(ConfigDelta { forget_peers: vec![B_ID], ..ConfigDelta::default() });
    h.deltas();
    h.send(A, &udp(routed(A_IP, C_IP), 5, 6, b"x"));
    h.assert_deltas([(A, Delta::refused_with_error("no_route"))]);
    assert_refused(
        &mut h,
        NODE_B_IP,
        0,
        &vxlan(VNI, &udp(from_peer(C_IP, A_IP), 5, 6, b"x")),
        "unknown_peer",
    );
}

#[test]
fn keep_alive_of_another_version_is_named() {
    let mut h = harness_a();
    let mut frame = ethernet_header(router_mac(), router_b(), 0x88b5);
    frame.extend_from_slice(&[2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_refused(&mut h, NODE_B_IP, 0, &vxlan(VNI, &frame), "keep_alive_invalid");
}

#[test]
fn configuration_that_would_confuse_peers_is_refused() {
    let mut h = harness_a();
    let refused = |h: &mut Harness, peer: protocol::link::PeerConfig| {
        let epoch = h.switch.epoch() + 1;
        let delta = ConfigDelta { epoch, commit: true, peers: vec![peer], ..ConfigDelta::default() };
        h.switch.apply(&delta, h.now).unwrap_err().to_string()
    };
    let other = |n: u8| protocol::link::PeerConfig {
        id: PeerId(8),
        name: "other".to_owned(),
        address: [192, 0, 2, n].into(),
        pod_cidrs: vec!["10.244.2.0/24".parse().unwrap()],
        node_addresses: Vec::new(),
        ..node_b()
    };
    let with_cidr =
        |cidr: &str| protocol::link::PeerConfig { pod_cidrs: vec![cidr.parse().unwrap()], ..other(9) };
    assert_eq!(refused(&mut h, other(3)), "peer 8 (other): address 192.0.2.3 already belongs to peer 7");
    assert_eq!(refused(&mut h, other(2)), "peer 8 (other): 192.0.2.2 is this node's own address");
    for cidr in ["10.244.1.0/25", "10.244.0.0/24", "10.244.0.0/16", "10.244.0.7/32"] {
        let message = refused(&mut h, with_cidr(cidr));
        assert!(message.contains("overlaps"), "{cidr}: {message}");
    }
    assert!(refused(&mut h, with_cidr("fd00::/64")).contains("not IPv4"));
    let beyond = protocol::link::PeerConfig { id: PeerId(PeerId::MAX_PEERS), ..other(9) };
    assert_eq!(refused(&mut h, beyond), "peer 8192 is beyond the last peer number 8191");
}

#[test]
fn worker_uses_the_tunnel_port_that_is_its_own() {
    let second = PortConfig { id: PortId(TUNNEL.0 - 1), name: "tunnel-1".to_owned(), ..tunnel_port() };
    for worker in 0..2 {
        let options = datapath::SwitchOptions { worker, ..datapath::SwitchOptions::default() };
        let mut h = Harness::bare(Limits::default());
        h.switch = datapath::Switch::new(options);
        let attach = [standard_ports(), vec![tunnel_port(), second.clone()]].concat();
        let node = Some(protocol::link::NodeConfig { tunnel: Some(tunnel_config(NODE_IP)), ..node() });
        h.apply(ConfigDelta { node, attach, peers: vec![node_b()], ..ConfigDelta::default() });
        h.send(A, &udp(routed(A_IP, C_IP), 5, 6, b"x"));
        assert_eq!(only_train(&mut h).port, PortId(TUNNEL.0 - worker));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a pod sends as a superframe, the other node's pod gets the same bytes, and whatever the
    /// kernels between make of the train.
    #[test]
    fn superframe_survives_the_way_through_two_nodes(
        len in 1..60_000usize,
        mss in 48..1410u16,
        cut in 1..64usize,
    ) {
        let (mut a, mut b) = (harness_a(), harness_b());
        let (vnet, frame) = superframe(C_IP, &payload(len), mss);
        a.send_with(A, vnet, &frame);
        let train = only_train(&mut a);
        let mut got = Vec::new();
        for part in train.datagrams.chunks(cut) {
            for (port, frame) in b.receive(TUNNEL, NODE_IP, 0, part) {
                prop_assert_eq!(port, A);
                got.extend_from_slice(&ethernet(&frame)[54..]);
            }
        }
        prop_assert_eq!(got, payload(len));
        let packets = train.datagrams.len() as u64;
        let counters = b.switch.port_counters(TUNNEL).unwrap();
        prop_assert_eq!((counters.rx_frames, counters.forwarded), (packets, packets));
    }
}
