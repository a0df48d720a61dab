//! Services: where a connection goes, what it looks like on either side, and when it is refused.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use datapath::Limits;
use etherparse::{PacketBuilder, TransportHeader};
use protocol::link::{
    BackendChanges, BackendConfig, BackendState, ConfigDelta, Frontend, FrontendKind, NodeConfig, Scheduler,
    ServiceConfig, TrafficPolicy, Transport,
};
use protocol::{Mac, PortId, ServiceId};

use crate::common::*;

pub(crate) const VIP: [u8; 4] = [10, 96, 0, 20];
pub(crate) const OTHER_VIP: [u8; 4] = [10, 96, 0, 21];
pub(crate) const WEB: ServiceId = ServiceId(3);
pub(crate) const DNS: ServiceId = ServiceId(4);
pub(crate) const SYN: &str = "S";
pub(crate) const SYN_ACK: &str = "SA";
pub(crate) const ACK: &str = "A";

pub(crate) fn service(id: ServiceId, transport: Transport, port: u16) -> ServiceConfig {
    ServiceConfig {
        id,
        name: format!("default/s{id}:{port}"),
        transport,
        frontends: vec![frontend(FrontendKind::ClusterIp, VIP, port)],
        scheduler: Scheduler::RoundRobin,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    }
}

pub(crate) fn frontend(kind: FrontendKind, address: [u8; 4], port: u16) -> Frontend {
    Frontend { kind, address: ip(address), port }
}

pub(crate) fn backend(address: [u8; 4], port: u16) -> BackendConfig {
    let is_local = address[2] == 0;
    BackendConfig {
        address: ip(address),
        port,
        weight: 1,
        state: BackendState::Ready,
        is_local,
        is_preferred: true,
    }
}

pub(crate) fn put(service: ServiceId, backends: &[BackendConfig]) -> BackendChanges {
    BackendChanges { service, remove: Vec::new(), put: backends.to_vec() }
}

/// Two services at one address: web on TCP 80, dns on UDP 53, with the backends given.
pub(crate) fn with_services(mut h: Harness, backends: &[[u8; 4]]) -> Harness {
    let node = h_node(&h);
    let of = |port| backends.iter().map(|address| backend(*address, port)).collect::<Vec<_>>();
    h.apply(ConfigDelta {
        node: Some(node),
        services: vec![service(WEB, Transport::Tcp, 80), service(DNS, Transport::Udp, 53)],
        backends: vec![put(WEB, &of(8080)), put(DNS, &of(5353))],
        ..ConfigDelta::default()
    });
    h
}

/// The standard node, which has services; with a tunnel if the harness has one.
fn h_node(h: &Harness) -> NodeConfig {
    let tunnel = h.switch.ports().any(|port| port.id == TUNNEL).then(|| tunnel_config(NODE_IP));
    NodeConfig { service_cidr: Some("10.96.0.0/16".parse().unwrap()), tunnel, ..node() }
}

pub(crate) fn segment(path: Path, ports: (u16, u16), flags: &str, payload: &[u8]) -> Vec<u8> {
    let mut builder = PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
        .ipv4(path.from, path.to, path.ttl)
        .tcp(ports.0, ports.1, 1_000, 2_000);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(500),
            'F' => builder.fin(),
            'R' => builder.rst(),
            other => panic!("no flag {other}"),
        };
    }
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// Addresses and ports of a frame whose checksums are right.
#[track_caller]
pub(crate) fn ends(frame: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
    let packet = decode(frame);
    let ip = ipv4_of(&packet);
    let (from, to) = match &packet.transport {
        Some(TransportHeader::Tcp(tcp)) => (tcp.source_port, tcp.destination_port),
        Some(TransportHeader::Udp(udp)) => (udp.source_port, udp.destination_port),
        other => panic!("no ports: {other:?}"),
    };
    ((ip.source.into(), from), (ip.destination.into(), to))
}

pub(crate) fn at(address: [u8; 4], port: u16) -> (Ipv4Addr, u16) {
    (address.into(), port)
}

#[track_caller]
pub(crate) fn only(sent: Vec<(PortId, Vec<u8>)>) -> (PortId, Vec<u8>) {
    let [one] = <[_; 1]>::try_from(sent).unwrap_or_else(|sent| panic!("{} frames", sent.len()));
    one
}

#[test]
fn datagram_goes_to_a_backend_and_its_answer_comes_from_the_service() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    for question in [&b"first"[..], b"second, by the flow table"] {
        let (port, sent) = only(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, question)));
        assert_eq!(port, B);
        assert_eq!(ends(ethernet(&sent)), (at(A_IP, 4000), at(B_IP, 5353)), "the client keeps its address");
        assert_eq!(decode(ethernet(&sent)).payload.slice(), question);
        // The answer is sent to the client's own MAC: the two are on one link.
        let (port, sent) = only(h.send(B, &udp(direct(B_IP, A_IP), 5353, 4000, b"answer")));
        assert_eq!(port, A);
        assert_eq!(ends(ethernet(&sent)), (at(VIP, 53), at(A_IP, 4000)));
        h.assert_deltas([
            (A, Delta { tx: 1, ..Delta::forwarded() }),
            (B, Delta { tx: 1, ..Delta::forwarded() }),
        ]);
    }
}

#[test]
fn tcp_connection_is_translated_from_handshake_to_reset() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let out = |flags, data: &[u8]| segment(routed(A_IP, VIP), (4000, 80), flags, data);
    let back = |flags, data: &[u8]| segment(direct(B_IP, A_IP), (8080, 4000), flags, data);
    for (flags_out, flags_back) in
        [(SYN, SYN_ACK), (ACK, ACK), (ACK, ACK), ("FA", "FA"), (ACK, ACK), (SYN, SYN_ACK), ("R", "RA")]
    {
        let (port, sent) = only(h.send(A, &out(flags_out, b"ping")));
        assert_eq!((port, ends(ethernet(&sent))), (B, (at(A_IP, 4000), at(B_IP, 8080))), "{flags_out}");
        let (port, sent) = only(h.send(B, &back(flags_back, b"pong")));
        assert_eq!((port, ends(ethernet(&sent))), (A, (at(VIP, 80), at(A_IP, 4000))), "{flags_back}");
    }
}

#[test]
fn superframe_is_translated_whole() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b""));
    h.send(B, &segment(direct(B_IP, A_IP), (8080, 4000), SYN_ACK, b""));
    let mut frame = segment(routed(A_IP, VIP), (4000, 80), ACK, &[7; 20_000]);
    make_partial(&mut frame, 16);
    let vnet = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    let (port, sent) = only(h.send_with(A, vnet, &frame));
    assert_eq!((port, Vnet::of(&sent)), (B, vnet));
    let mut wanted = segment(
        Path { from_mac: router_mac(), ttl: 63, ..direct(A_IP, B_IP) },
        (4000, 8080),
        ACK,
        &[7; 20_000],
    );
    make_partial(&mut wanted, 16);
    assert_eq!(ethernet(&sent), wanted, "the partial checksum is that of the new pseudo-header");
}

#[test]
fn connections_are_spread_over_the_backends_and_each_keeps_its_own() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let mut first = std::collections::BTreeMap::new();
    for round in 0..3 {
        for client_port in 4000..4010 {
            let (_, sent) = only(h.send(A, &udp(routed(A_IP, VIP), client_port, 53, b"?")));
            let (_, (server, _)) = ends(ethernet(&sent));
            assert_eq!(*first.entry(client_port).or_insert(server), server, "round {round}");
        }
    }
    let of = |address: [u8; 4]| first.values().filter(|server| **server == Ipv4Addr::from(address)).count();
    assert_eq!((of(B_IP), of(VM_IP)), (5, 5), "round robin");
}

#[test]
fn backend_of_another_node_is_reached_by_the_tunnel() {
    let mut h = with_services(harness_a(), &[C_IP]);
    assert!(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?")).is_empty());
    let train = h.wire.trains.remove(0);
    assert_eq!(ends(inner(&train.datagrams[0])), (at(A_IP, 4000), at(C_IP, 5353)));
    let answer = vxlan(VNI, &udp(from_peer(C_IP, A_IP), 5353, 4000, b"!"));
    let (port, sent) = only(h.receive(TUNNEL, NODE_B_IP, 0, &[answer]));
    assert_eq!((port, ends(ethernet(&sent))), (A, (at(VIP, 53), at(A_IP, 4000))));
}

#[test]
fn node_reaches_a_service_through_its_gateway() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let asked = h.send(GATEWAY, &ArpFrame::request(gateway_mac(), GATEWAY_IP, VIP).bytes());
    assert_eq!(ethernet(&only(asked).1)[6..12], router_mac().0, "the router has service addresses");
    let path = Path { from_mac: gateway_mac(), to_mac: router_mac(), from: GATEWAY_IP, to: VIP, ttl: 64 };
    let (port, sent) = only(h.send(GATEWAY, &udp(path, 4000, 53, b"?")));
    assert_eq!((port, ends(ethernet(&sent))), (B, (at(GATEWAY_IP, 4000), at(B_IP, 5353))));
    let (port, sent) = only(h.send(B, &udp(routed(B_IP, GATEWAY_IP), 5353, 4000, b"!")));
    assert_eq!((port, ends(ethernet(&sent))), (GATEWAY, (at(VIP, 53), at(GATEWAY_IP, 4000))));
}

#[test]
fn pod_that_is_its_own_backend_sees_the_gateway() {
    let mut h = with_services(Harness::new(), &[A_IP]);
    let (port, sent) = only(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?")));
    assert_eq!((port, ends(ethernet(&sent))), (A, (at(GATEWAY_IP, 4000), at(A_IP, 5353))));
    let (port, sent) = only(h.send(A, &udp(routed(A_IP, GATEWAY_IP), 5353, 4000, b"!")));
    assert_eq!((port, ends(ethernet(&sent))), (A, (at(VIP, 53), at(A_IP, 4000))));
}

/// Complaint 25 of kube-proxy's users and Cilium's: one backend behind two services, one client port.
#[test]
fn two_services_with_one_backend_tell_connections_of_one_client_port_apart() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let other = ServiceConfig {
        frontends: vec![frontend(FrontendKind::ClusterIp, OTHER_VIP, 53)],
        ..service(ServiceId(5), Transport::Udp, 53)
    };
    h.apply(ConfigDelta {
        services: vec![other],
        backends: vec![put(ServiceId(5), &[backend(B_IP, 5353)])],
        ..ConfigDelta::default()
    });
    let mut sources = Vec::new();
    for vip in [VIP, OTHER_VIP] {
        let (_, sent) = only(h.send(A, &udp(routed(A_IP, vip), 4000, 53, b"?")));
        let ((address, port), to) = ends(ethernet(&sent));
        assert_eq!((address, to), (A_IP.into(), at(B_IP, 5353)));
        sources.push((vip, port));
    }
    assert_eq!(sources[0].1, 4000);
    assert_ne!(sources[0].1, sources[1].1);
    for (vip, port) in sources {
        let (_, sent) = only(h.send(B, &udp(direct(B_IP, A_IP), 5353, port, b"!")));
        assert_eq!(ends(ethernet(&sent)), (at(vip, 53), at(A_IP, 4000)));
    }
}

/// Complaint 2: UDP that goes on to a pod that is gone.
#[test]
fn datagrams_leave_a_backend_that_is_gone_at_once_and_tcp_stays_with_it() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?"));
    h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b""));
    h.send(B, &segment(direct(B_IP, A_IP), (8080, 4000), SYN_ACK, b""));
    let swap = |service, port| BackendChanges {
        service,
        remove: vec![(ip(B_IP), port)],
        put: vec![backend(VM_IP, port)],
    };
    h.apply(ConfigDelta { backends: vec![swap(DNS, 5353), swap(WEB, 8080)], ..ConfigDelta::default() });
    let (port, sent) = only(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"the next packet")));
    assert_eq!((port, ends(ethernet(&sent)).1), (VM, at(VM_IP, 5353)));
    let (port, sent) = only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), ACK, b"data")));
    assert_eq!((port, ends(ethernet(&sent)).1), (B, at(B_IP, 8080)));
    let (port, _) = only(h.send(A, &segment(routed(A_IP, VIP), (4001, 80), SYN, b"")));
    assert_eq!(port, VM);
}

#[test]
fn node_port_is_at_every_nodes_address_and_led_to_a_backend_where_the_client_is() {
    let mut h = with_services(harness_a(), &[B_IP]);
    let frontends =
        vec![frontend(FrontendKind::ClusterIp, VIP, 53), frontend(FrontendKind::NodePort, [0; 4], 30_053)];
    h.apply(ConfigDelta {
        services: vec![ServiceConfig { frontends, ..service(DNS, Transport::Udp, 53) }],
        ..ConfigDelta::default()
    });
    for node in [NODE_IP, GATEWAY_IP, NODE_B_IP] {
        let (port, sent) = only(h.send(A, &udp(routed(A_IP, node), 4000, 30_053, b"?")));
        let ((client, source_port), server) = ends(ethernet(&sent));
        assert_eq!((port, client, server), (B, A_IP.into(), at(B_IP, 5353)));
        let (_, sent) = only(h.send(B, &udp(direct(B_IP, A_IP), 5353, source_port, b"!")));
        assert_eq!(ends(ethernet(&sent)), (at(node, 30_053), at(A_IP, 4000)));
    }
    let (port, _) = only(h.send(A, &udp(routed(A_IP, NODE_IP), 4000, 30_054, b"another port is the node's")));
    assert_eq!(port, GATEWAY);
}

#[test]
fn who_asks_a_service_in_vain_is_told() {
    let mut h = with_services(Harness::new(), &[]);
    let dropped = Delta::refused_with_error;
    let (_, sent) = only(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?")));
    assert_eq!(ethernet(&sent)[34..36], [3, 3], "port unreachable");
    h.assert_deltas([(A, dropped("service_no_endpoints"))]);

    let (_, sent) = only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b"")));
    assert_reset(&sent, 0, 1001);
    h.assert_deltas([(A, dropped("service_no_endpoints"))]);

    only(h.send(A, &udp(routed(A_IP, VIP), 4000, 54, b"?")));
    h.assert_deltas([(A, dropped("service_port_unknown"))]);
    only(h.send(A, &udp(routed(A_IP, [10, 96, 1, 1]), 4000, 53, b"nobody's yet")));
    h.assert_deltas([(A, dropped("service_port_unknown"))]);
    only(h.send(A, &echo_request(routed(A_IP, VIP), 1, b"ping")));
    h.assert_deltas([(A, dropped("service_port_unknown"))]);

    let (_, sent) = only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), ACK, b"of yore")));
    assert_reset(&sent, 500, 0);
    h.assert_deltas([(A, dropped("no_connection"))]);
    assert!(
        h.send(A, &segment(routed(A_IP, VIP), (4000, 80), "R", b"")).is_empty(),
        "a reset is not answered"
    );
    h.assert_deltas([(A, Delta::dropped("no_connection"))]);
}

#[track_caller]
fn assert_reset(frame: &[u8], sequence: u32, acknowledgment: u32) {
    let packet = decode(ethernet(frame));
    let Some(TransportHeader::Tcp(tcp)) = &packet.transport else { panic!("no TCP") };
    assert!(tcp.rst && tcp.ack == (acknowledgment != 0) && packet.payload.slice().is_empty());
    assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (sequence, acknowledgment));
    assert_eq!(ends(ethernet(frame)), (at(VIP, 80), at(A_IP, 4000)));
}

#[test]
fn local_policy_and_source_ranges_are_silent() {
    let mut h = with_services(harness_a(), &[C_IP]);
    let local = ServiceConfig { internal_policy: TrafficPolicy::Local, ..service(DNS, Transport::Udp, 53) };
    let ranged = ServiceConfig {
        frontends: vec![frontend(FrontendKind::LoadBalancer, [192, 0, 2, 80], 80)],
        source_ranges: vec!["203.0.113.0/24".parse().unwrap()],
        ..service(WEB, Transport::Tcp, 80)
    };
    h.apply(ConfigDelta { services: vec![local, ranged], ..ConfigDelta::default() });
    assert!(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?")).is_empty());
    h.assert_deltas([(A, Delta::dropped("service_no_local_endpoints"))]);
    assert!(h.send(A, &segment(routed(A_IP, [192, 0, 2, 80]), (4000, 80), SYN, b"")).is_empty());
    h.assert_deltas([(A, Delta::dropped("service_source_refused"))]);
}

#[test]
fn segments_that_no_end_sends_are_dropped_by_name() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b"")));
    h.assert_deltas([(A, Delta::forwarded()), (B, Delta::sent())]);
    assert!(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), ACK, b"too early")).is_empty());
    h.assert_deltas([(A, Delta::dropped("tcp_no_handshake"))]);
    assert!(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), "SF", b"")).is_empty());
    h.assert_deltas([(A, Delta::dropped("tcp_flags_invalid"))]);
}

#[test]
fn connection_table_is_bounded_and_shared_out() {
    let limits =
        Limits { connections: 64, connections_per_port: 16, connection_reserve: 8, ..Limits::default() };
    let mut h = with_services(Harness::with(standard_ports(), limits), &[B_IP]);
    let establish = |h: &mut Harness, client: PortId, address: [u8; 4], port: u16| {
        h.send(client, &segment(routed(address, VIP), (port, 80), SYN, b""));
        h.send(B, &segment(direct(B_IP, address), (8080, port), SYN_ACK, b""));
        h.send(client, &segment(routed(address, VIP), (port, 80), ACK, b""));
    };
    for port in 4000..4016 {
        establish(&mut h, A, A_IP, port);
    }
    h.assert_deltas([
        (A, Delta { rx: 32, forwarded: 32, tx: 16, ..Delta::default() }),
        (B, Delta { rx: 16, forwarded: 16, tx: 32, ..Delta::default() }),
    ]);
    assert!(h.send(A, &segment(routed(A_IP, VIP), (5000, 80), SYN, b"")).is_empty());
    h.assert_deltas([(A, Delta::dropped("connection_share_used"))]);
    establish(&mut h, VM, VM_IP, 4000);
    h.assert_deltas([
        (VM, Delta { rx: 2, forwarded: 2, tx: 1, ..Delta::default() }),
        (B, Delta { rx: 1, forwarded: 1, tx: 2, ..Delta::default() }),
    ]);
}

#[test]
fn full_connection_table_refuses_the_newcomer_and_keeps_what_is_established() {
    let limits =
        Limits { connections: 8, connections_per_port: 8, connection_reserve: 0, ..Limits::default() };
    let mut h = with_services(Harness::with(standard_ports(), limits), &[B_IP]);
    for port in 4000..4008 {
        h.send(A, &segment(routed(A_IP, VIP), (port, 80), SYN, b""));
        h.send(B, &segment(direct(B_IP, A_IP), (8080, port), SYN_ACK, b""));
        h.send(A, &segment(routed(A_IP, VIP), (port, 80), ACK, b""));
    }
    h.deltas();
    assert!(h.send(VM, &segment(routed(VM_IP, VIP), (4000, 80), SYN, b"")).is_empty());
    h.assert_deltas([(VM, Delta::dropped("connection_table_full"))]);
    let (port, _) = only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), ACK, b"still there")));
    assert_eq!(port, B);
}

/// One client port to one backend by thousands of addresses: each needs a source port of its own.
#[test]
fn source_ports_run_out_by_name() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let vip = |number: u16| {
        let [high, low] = number.to_be_bytes();
        [10, 96, 128 + high, low]
    };
    for chunk in 0..20_u16 {
        let numbers = (chunk * 250..(chunk + 1) * 250).map(|n| frontend(FrontendKind::ClusterIp, vip(n), 53));
        let id = ServiceId(100 + u32::from(chunk));
        let config = ServiceConfig { frontends: numbers.collect(), ..service(id, Transport::Udp, 53) };
        h.apply(ConfigDelta {
            services: vec![config],
            backends: vec![put(id, &[backend(B_IP, 5353)])],
            ..ConfigDelta::default()
        });
    }
    let mut ports = std::collections::BTreeSet::new();
    for number in 0..5000 {
        let sent = h.send(A, &udp(routed(A_IP, vip(number)), 4000, 53, b"?"));
        let Some((_, frame)) = sent.first() else { break };
        let ((_, port), _) = ends(ethernet(frame));
        assert!(port == 4000 || port >= 61_000, "{port}");
        assert!(ports.insert(port), "{port} is taken");
    }
    assert!((1000..4538).contains(&ports.len()), "{}", ports.len());
    assert_eq!(h.deltas().remove(&A).unwrap().drops, [("nat_ports_exhausted".to_owned(), 1)].into());
}

#[test]
fn silent_connections_are_forgotten() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?"));
    let rows = |h: &Harness| h.switch.connections_page(0, 9, h.now).0.len();
    assert_eq!(rows(&h), 1);
    h.wait(Duration::from_secs(31));
    h.sweep();
    assert_eq!(rows(&h), 0);
    // What answers too late is what it is: the backend's own packet.
    let (_, sent) = only(h.send(B, &udp(direct(B_IP, A_IP), 5353, 4000, b"!")));
    assert_eq!(ends(ethernet(&sent)).0, at(B_IP, 5353));
}

#[test]
fn pods_may_not_speak_as_a_service() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let path = Path { from_mac: pod_mac(VM_IP), ..direct(VIP, A_IP) };
    assert!(h.send(VM, &udp(Path { from_mac: Mac(path.from_mac.0), ..path }, 53, 4000, b"lie")).is_empty());
    h.assert_deltas([(VM, Delta::dropped("spoofed_ip"))]);
}

#[test]
fn connections_as_rows_name_both_sides() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b""));
    let (rows, next) = h.switch.connections_page(0, 9, h.now);
    assert_eq!((rows.len(), next), (1, None));
    let row = &rows[0];
    assert_eq!((row.owner, row.owner_name.as_str(), row.is_service), (A, "default/a", true));
    assert_eq!((row.original.source, row.original.destination_port), (ip(A_IP), 80));
    assert_eq!((row.reply.source, row.reply.source_port), (IpAddr::from(B_IP), 8080));
}
