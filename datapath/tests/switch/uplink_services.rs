//! Clients outside: node ports, load balancers and external addresses, with backends here, elsewhere and nowhere.

use std::time::Duration;

use protocol::link::{
    ConfigDelta, FrontendKind, NodeConfig, ServiceConfig, TrafficPolicy, Transport, UplinkConfig,
};
use protocol::{PortId, ServiceId};

use crate::common::*;
use crate::services::*;

const EXTERNAL_IP: [u8; 4] = [198, 18, 0, 8];

/// Two services at a cluster address, node ports, a load balancer and an external address: web on TCP 80, dns on UDP 53.
fn of_kinds(id: ServiceId, transport: Transport, port: u16) -> ServiceConfig {
    let frontends = vec![
        frontend(FrontendKind::ClusterIp, VIP, port),
        frontend(FrontendKind::NodePort, [0; 4], 30_000 + port),
        frontend(FrontendKind::LoadBalancer, LB_IP, port),
        frontend(FrontendKind::ExternalIp, EXTERNAL_IP, port),
    ];
    ServiceConfig { frontends, ..service(id, transport, port) }
}

/// The node with an uplink and both services, whose backends are at these addresses.
pub(crate) fn with_uplink_services(backends: &[[u8; 4]]) -> Harness {
    let mut h = harness_uplink();
    let of = |port| backends.iter().map(|address| backend(*address, port)).collect::<Vec<_>>();
    h.apply(ConfigDelta {
        services: vec![of_kinds(WEB, Transport::Tcp, 80), of_kinds(DNS, Transport::Udp, 53)],
        backends: vec![put(WEB, &of(8080)), put(DNS, &of(5353))],
        ..ConfigDelta::default()
    });
    h.quiet();
    h
}

fn change(h: &mut Harness, change: impl Fn(ServiceConfig) -> ServiceConfig) {
    let services = vec![change(of_kinds(WEB, Transport::Tcp, 80)), change(of_kinds(DNS, Transport::Udp, 53))];
    h.apply(ConfigDelta { services, ..ConfigDelta::default() });
}

fn ask(h: &mut Harness, to: [u8; 4], port: u16) -> Vec<(PortId, Vec<u8>)> {
    h.send(UPLINK, &udp(outside(CLIENT_IP, to), 4000, port, b"?"))
}

#[track_caller]
fn assert_to_router(frame: &[u8]) {
    assert_eq!((&ethernet(frame)[..6], &ethernet(frame)[6..12]), (&ROUTER.0[..], &NIC.0[..]));
}

#[test]
fn pod_here_sees_the_client_and_its_answer_comes_from_where_the_client_asked() {
    let mut h = with_uplink_services(&[B_IP]);
    for (address, port) in [(NODE_IP, 30_053), (LB_IP, 53), (EXTERNAL_IP, 53)] {
        for _ in 0..2 {
            let (to, sent) = only(ask(&mut h, address, port));
            let (client, server) = ends(ethernet(&sent));
            assert_eq!((to, client.0, server), (B, CLIENT_IP.into(), at(B_IP, 5353)));
            assert_eq!(ipv4_of(&decode(ethernet(&sent))).time_to_live, 59);
            let (to, sent) = only(h.send(B, &udp(routed(B_IP, CLIENT_IP), 5353, client.1, b"!")));
            assert_eq!((to, ends(ethernet(&sent))), (UPLINK, (at(address, port), at(CLIENT_IP, 4000))));
            assert_to_router(&sent);
        }
    }
    assert_eq!(h.switch.flows_page(0, 99, h.now).0.len(), 6, "remembered both ways");
    let hit = Delta { rx: 6, forwarded: 6, tx: 6, ..Delta::default() };
    h.assert_deltas([(B, hit.clone()), (UPLINK, hit)]);
}

#[test]
fn tcp_connection_from_outside_runs_its_course() {
    let mut h = with_uplink_services(&[B_IP]);
    let (to, sent) = only(h.send(UPLINK, &segment(outside(CLIENT_IP, LB_IP), (4000, 80), SYN, b"")));
    assert_eq!((to, ends(ethernet(&sent))), (B, (at(CLIENT_IP, 4000), at(B_IP, 8080))));
    let (to, sent) = only(h.send(B, &segment(routed(B_IP, CLIENT_IP), (8080, 4000), SYN_ACK, b"")));
    assert_eq!((to, ends(ethernet(&sent))), (UPLINK, (at(LB_IP, 80), at(CLIENT_IP, 4000))));
    for data in [&b"one"[..], b"two"] {
        let (to, _) = only(h.send(UPLINK, &segment(outside(CLIENT_IP, LB_IP), (4000, 80), ACK, data)));
        assert_eq!(to, B);
    }
    // A superframe, as the interface's receive offload makes them.
    let mut frame = segment(outside(CLIENT_IP, LB_IP), (4000, 80), ACK, &[7; 20_000]);
    make_partial(&mut frame, 16);
    let gso = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    let (to, sent) = only(h.send_with(UPLINK, gso, &frame));
    assert_eq!((to, Vnet::of(&sent).gso_size), (B, 1400));
    // The middle of a connection that nobody knows is refused: the client begins anew.
    let (to, sent) = only(h.send(UPLINK, &segment(outside(CLIENT_IP, LB_IP), (4001, 80), ACK, b"of yore")));
    assert_eq!((to, ends(ethernet(&sent))), (UPLINK, (at(LB_IP, 80), at(CLIENT_IP, 4001))));
    assert_to_router(&sent);
}

#[test]
fn pod_of_another_node_sees_this_nodes_gateway() {
    let mut h = with_uplink_services(&[C_IP]);
    h.wire.trains.clear();
    assert!(ask(&mut h, NODE_IP, 30_053).is_empty());
    let train = h.wire.trains.remove(0);
    let ((client, port), server) = ends(inner(&train.datagrams[0]));
    assert_eq!((client, server), (GATEWAY_IP.into(), at(C_IP, 5353)));
    assert!((61_000..=65_535).contains(&port), "{port} is the node's kernel's");
    let answer = vxlan(VNI, &udp(from_peer(C_IP, GATEWAY_IP), 5353, port, b"!"));
    let (to, sent) = only(h.receive(TUNNEL, NODE_B_IP, 0, &[answer]));
    assert_eq!((to, ends(ethernet(&sent))), (UPLINK, (at(NODE_IP, 30_053), at(CLIENT_IP, 4000))));
    assert_to_router(&sent);
}

#[test]
fn backend_that_is_the_node_itself_sees_an_address_it_answers_through_the_switch() {
    let mut h = with_uplink_services(&[NODE_IP]);
    let (to, sent) = only(ask(&mut h, LB_IP, 53));
    let ((client, port), server) = ends(ethernet(&sent));
    assert_eq!((to, client, server), (GATEWAY, [10, 96, 0, 0].into(), at(NODE_IP, 5353)));
    // Its kernel asks who has that address, and answers there.
    let question = ArpFrame::request(gateway_mac(), GATEWAY_IP, [10, 96, 0, 0]).bytes();
    assert_eq!(ethernet(&only(h.send(GATEWAY, &question)).1)[6..12], router_mac().0);
    let path = Path { from_mac: gateway_mac(), to_mac: router_mac(), ..from_node([10, 96, 0, 0]) };
    let (to, sent) = only(h.send(GATEWAY, &udp(Path { from: NODE_IP, ..path }, 5353, port, b"!")));
    assert_eq!((to, ends(ethernet(&sent))), (UPLINK, (at(LB_IP, 53), at(CLIENT_IP, 4000))));
}

/// Its kernel takes nothing that comes from its own address, and would answer there by itself.
#[test]
fn node_that_is_its_own_backend_sees_that_address_too() {
    let mut h = with_uplink_services(&[NODE_IP]);
    let path = Path { from_mac: gateway_mac(), to_mac: router_mac(), ..from_node(VIP) };
    let (to, sent) = only(h.send(GATEWAY, &udp(path, 4000, 53, b"?")));
    let ((client, port), server) = ends(ethernet(&sent));
    assert_eq!((to, client, server), (GATEWAY, [10, 96, 0, 0].into(), at(NODE_IP, 5353)));
    let path = Path { from: NODE_IP, to: [10, 96, 0, 0], ..path };
    let (to, sent) = only(h.send(GATEWAY, &udp(path, 5353, port, b"!")));
    assert_eq!((to, ends(ethernet(&sent))), (GATEWAY, (at(VIP, 53), at(GATEWAY_IP, 4000))));
}

/// Another node's process asks a node port here, by the network both are on: the answer must not come by the tunnel.
#[test]
fn other_node_is_answered_by_the_way_it_asked() {
    let mut h = with_uplink_services(&[B_IP]);
    let path = Path { from_mac: HOST, ..outside(NODE_B_IP, NODE_IP) };
    let (_, sent) = only(h.send(UPLINK, &udp(path, 4000, 30_053, b"?")));
    assert_eq!(ends(ethernet(&sent)).0, at(NODE_B_IP, 4000));
    h.wire.trains.clear();
    assert!(h.send(B, &udp(routed(B_IP, NODE_B_IP), 5353, 4000, b"!")).is_empty());
    assert!(h.wire.trains.is_empty(), "not by the tunnel");
    assert!(h.run_timers().contains(&ArpFrame::request(NIC, NODE_IP, NODE_B_IP).bytes()));
    introduce(&mut h, HOST, NODE_B_IP);
    h.sweep();
    let (to, sent) = only(std::mem::take(&mut h.wire.sent));
    assert_eq!((to, ends(ethernet(&sent))), (UPLINK, (at(NODE_IP, 30_053), at(NODE_B_IP, 4000))));
    assert_eq!(ethernet(&sent)[..6], HOST.0);
    // What the pod sends that node of its own accord takes the tunnel.
    assert!(h.send(B, &udp(routed(B_IP, NODE_B_IP), 5353, 4001, b"x")).is_empty());
    assert_eq!(h.wire.trains.len(), 1);
}

#[test]
fn clients_outside_are_subject_to_the_external_policy() {
    let mut h = with_uplink_services(&[B_IP, C_IP]);
    change(&mut h, |service| ServiceConfig { external_policy: TrafficPolicy::Local, ..service });
    for port in 4000..4010 {
        let (to, sent) = only(h.send(UPLINK, &udp(outside(CLIENT_IP, LB_IP), port, 53, b"?")));
        assert_eq!((to, ends(ethernet(&sent)).0), (B, at(CLIENT_IP, port)), "never the other node's");
    }
    h.apply(ConfigDelta {
        backends: vec![protocol::link::BackendChanges {
            service: DNS,
            remove: vec![(ip(B_IP), 5353)],
            put: Vec::new(),
        }],
        ..ConfigDelta::default()
    });
    h.quiet();
    assert!(h.send(UPLINK, &udp(outside(CLIENT_IP, LB_IP), 5000, 53, b"?")).is_empty());
    h.assert_deltas([(UPLINK, Delta::dropped("service_no_local_endpoints"))]);
    // Pods are not: as if they had gone out and come back in.
    assert!(h.send(A, &udp(routed(A_IP, LB_IP), 5000, 53, b"?")).is_empty());
    assert_eq!(h.wire.trains.len(), 1);
}

#[test]
fn source_ranges_hold_for_load_balancers_only() {
    let mut h = with_uplink_services(&[B_IP]);
    let ranges = vec!["198.18.0.0/15".parse().unwrap()];
    change(&mut h, |service| ServiceConfig { source_ranges: ranges.clone(), ..service });
    h.quiet();
    assert!(ask(&mut h, LB_IP, 53).is_empty());
    h.assert_deltas([(UPLINK, Delta::dropped("service_source_refused"))]);
    only(ask(&mut h, NODE_IP, 30_053));
    only(h.send(UPLINK, &udp(outside([198, 18, 3, 3], LB_IP), 4000, 53, b"?")));
}

#[test]
fn affinity_keeps_a_client_outside_with_its_backend() {
    let mut h = with_uplink_services(&[A_IP, B_IP, VM_IP]);
    change(&mut h, |service| ServiceConfig { affinity_seconds: Some(60), ..service });
    let mut first = None;
    for port in 4000..4012 {
        let (to, _) = only(h.send(UPLINK, &udp(outside(CLIENT_IP, NODE_IP), port, 30_053, b"?")));
        assert_eq!(*first.get_or_insert(to), to);
    }
}

#[test]
fn who_asks_in_vain_is_told_where_this_node_alone_would_answer() {
    let mut h = with_uplink_services(&[]);
    let told = Delta::refused_with_error;
    for (address, port) in [(NODE_IP, 30_053), (LB_IP, 53)] {
        let (to, sent) = only(ask(&mut h, address, port));
        let error = decode(ethernet(&sent));
        assert_eq!((to, &ethernet(&sent)[34..36]), (UPLINK, &[3, 3][..]), "port unreachable");
        assert_eq!((ipv4_of(&error).source, ipv4_of(&error).destination), (address, CLIENT_IP));
        assert_to_router(&sent);
        h.assert_deltas([(UPLINK, told("service_no_endpoints"))]);
        let syn = segment(outside(CLIENT_IP, address), (4000, port + 27), SYN, b"");
        let (to, sent) = only(h.send(UPLINK, &syn));
        assert_eq!((to, ends(ethernet(&sent))), (UPLINK, (at(address, port + 27), at(CLIENT_IP, 4000))));
        h.assert_deltas([(UPLINK, told("service_no_endpoints"))]);
    }
    for unknown in [
        udp(outside(CLIENT_IP, LB_IP), 4000, 54, b"no such port"),
        segment(outside(CLIENT_IP, LB_IP), (4000, 22), SYN, b""),
        echo_request(outside(CLIENT_IP, LB_IP), 7, b"ping"),
    ] {
        only(h.send(UPLINK, &unknown));
        h.assert_deltas([(UPLINK, told("service_port_unknown"))]);
    }
    // Another node may serve it: some router led it here.
    assert!(ask(&mut h, EXTERNAL_IP, 53).is_empty());
    h.assert_deltas([(UPLINK, Delta::dropped("service_no_endpoints"))]);
    assert!(ask(&mut h, EXTERNAL_IP, 54).is_empty());
    h.assert_deltas([(UPLINK, Delta::dropped("not_for_switch"))]);
}

#[test]
fn load_balancer_that_moves_away_goes_on_serving_and_refuses_nobody() {
    let mut h = with_uplink_services(&[B_IP]);
    only(h.send(UPLINK, &segment(outside(CLIENT_IP, LB_IP), (4000, 80), SYN, b"")));
    let uplink = Some(UplinkConfig { announced: Vec::new(), ..uplink_config() });
    h.apply(ConfigDelta { node: Some(NodeConfig { uplink, ..uplink_node() }), ..ConfigDelta::default() });
    h.quiet();
    let question = ArpFrame::request(HOST, HOST_IP, LB_IP).bytes();
    h.assert_dropped(UPLINK, &question, "not_for_switch");
    let (to, _) = only(h.send(B, &segment(routed(B_IP, CLIENT_IP), (8080, 4000), SYN_ACK, b"")));
    assert_eq!(to, UPLINK, "connections end by themselves");
    let unknown = segment(outside(CLIENT_IP, LB_IP), (5000, 80), ACK, b"the new one's");
    h.assert_dropped(UPLINK, &unknown, "no_connection");
}

#[test]
fn datagrams_from_outside_leave_a_backend_that_is_gone() {
    let mut h = with_uplink_services(&[B_IP]);
    assert_eq!(only(ask(&mut h, NODE_IP, 30_053)).0, B);
    let swap = protocol::link::BackendChanges {
        service: DNS,
        remove: vec![(ip(B_IP), 5353)],
        put: vec![backend(A_IP, 5353)],
    };
    h.apply(ConfigDelta { backends: vec![swap], ..ConfigDelta::default() });
    assert_eq!(only(ask(&mut h, NODE_IP, 30_053)).0, A);
}

#[test]
fn fragments_from_outside_follow_the_first_of_their_datagram() {
    let mut h = with_uplink_services(&[B_IP]);
    let fragment = |to_port: u16, identification: u16, offset: u16| {
        let path = outside(CLIENT_IP, NODE_IP);
        let mut header = etherparse::Ipv4Header::new(0, 60, 17.into(), path.from, path.to).unwrap();
        header.identification = identification;
        header.more_fragments = true;
        header.fragment_offset = offset.try_into().unwrap();
        let head = [&4000_u16.to_be_bytes()[..], &to_port.to_be_bytes(), &[0, 200, 0, 0], &[0; 8]].concat();
        ipv4_with(path, header, &head)
    };
    for offset in [0, 2] {
        let (to, sent) = only(h.send(UPLINK, &fragment(30_053, 1, offset)));
        assert_eq!((to, ipv4_of(&decode(ethernet(&sent))).destination), (B, B_IP), "at {offset}");
    }
    // What the node's kernel has the original of.
    for offset in [0, 2] {
        h.assert_dropped(UPLINK, &fragment(9, 2, offset), "not_for_switch");
    }
}

#[test]
fn packet_too_big_for_a_pod_is_reported_as_from_where_it_was_sent() {
    let mut h = with_uplink_services(&[B_IP]);
    let (to, sent) = only(h.send(UPLINK, &udp(outside(CLIENT_IP, LB_IP), 4000, 53, &[0; 1440])));
    let error = decode(ethernet(&sent));
    assert_eq!((to, &ethernet(&sent)[34..36], ipv4_of(&error).source), (UPLINK, &[3, 4][..], LB_IP));
    assert_eq!(u16::from_be_bytes([ethernet(&sent)[40], ethernet(&sent)[41]]), MTU);
    h.assert_deltas([(UPLINK, Delta::refused_with_error("packet_too_big"))]);
    let sent = h.send(UPLINK, &may_be_cut(udp(outside(CLIENT_IP, LB_IP), 4000, 53, &[0; 1440])));
    assert!(sent.len() == 2 && sent.iter().all(|(to, _)| *to == B), "what may be cut is: {sent:?}");
    h.assert_deltas([(UPLINK, Delta::forwarded()), (B, Delta { tx: 2, ..Delta::default() })]);
}

#[test]
fn nothing_passes_from_outside_to_outside() {
    let mut h = with_uplink_services(&[[203, 0, 113, 99]]);
    assert!(ask(&mut h, LB_IP, 53).is_empty());
    h.assert_deltas([(UPLINK, Delta::dropped("hairpin"))]);
    assert!(h.switch.connections_page(0, 9, h.now).0.is_empty());
}

#[test]
fn backend_outside_is_reached_by_pods_and_the_node_as_the_node() {
    let server = [203, 0, 113, 99];
    let mut h = with_uplink_services(&[server]);
    let node = Path { from_mac: gateway_mac(), to_mac: router_mac(), ..from_node(VIP) };
    for (ingress, path, client) in [(A, routed(A_IP, VIP), A_IP), (GATEWAY, node, GATEWAY_IP)] {
        let (to, sent) = only(h.send(ingress, &udp(path, 4000, 53, b"?")));
        let ((address, port), there) = ends(ethernet(&sent));
        assert_eq!((to, address, there), (UPLINK, NODE_IP.into(), at(server, 5353)));
        assert!((61_000..=65_535).contains(&port));
        assert_to_router(&sent);
        let (to, sent) = only(h.send(UPLINK, &udp(outside(server, NODE_IP), 5353, port, b"!")));
        assert_eq!((to, ends(ethernet(&sent))), (ingress, (at(VIP, 53), at(client, 4000))));
    }
    // Somebody else is not let in by the same port.
    let (rows, _) = h.switch.connections_page(0, 9, h.now);
    let other = udp(outside(CLIENT_IP, NODE_IP), 5353, rows[0].reply.destination_port, b"!");
    h.quiet();
    assert!(h.send(UPLINK, &other).is_empty());
    assert_eq!(h.deltas()[&UPLINK].drops.values().sum::<u64>(), 1);
}

#[test]
fn source_ports_are_those_that_the_node_keeps_for_the_switch() {
    let mut h = with_uplink_services(&[C_IP]);
    let uplink = Some(UplinkConfig { source_ports: 50_000..=50_001, ..uplink_config() });
    h.apply(ConfigDelta { node: Some(NodeConfig { uplink, ..uplink_node() }), ..ConfigDelta::default() });
    h.wire.trains.clear();
    for port in 4000..4003 {
        h.send(UPLINK, &udp(outside(CLIENT_IP, NODE_IP), port, 30_053, b"?"));
    }
    let mut ports: Vec<u16> =
        h.wire.trains.iter().map(|train| ends(inner(&train.datagrams[0])).0.1).collect();
    ports.sort_unstable();
    assert_eq!(ports, [50_000, 50_001]);
    assert_eq!(h.deltas()[&UPLINK].drops, [("nat_ports_exhausted".to_owned(), 1)].into());
}

#[test]
fn connections_from_outside_are_forgotten_as_others_are() {
    let mut h = with_uplink_services(&[B_IP]);
    ask(&mut h, NODE_IP, 30_053);
    assert_eq!(h.switch.connections_page(0, 9, h.now).0.len(), 1);
    for _ in 0..10 {
        h.wait(Duration::from_secs(5));
        h.sweep();
        h.wire.sent.clear();
    }
    assert!(h.switch.connections_page(0, 9, h.now).0.is_empty());
}
