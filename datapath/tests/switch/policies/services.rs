//! Through services, from and to the outside: asked after the service's address became a backend's, on the original source.

use protocol::link::{ConfigDelta, FrontendKind, ServiceConfig, Transport};
use serde_json::{Value, json};

use super::bed::*;
use crate::common::*;
use crate::services::{ACK, SYN, SYN_ACK, VIP, WEB, at, backend, ends, frontend, put, segment, service};

const HIGH: u16 = 40_000;
const NODE_PORT: u16 = 30_080;

/// Node a with an uplink and a service of one backend, whose switch asks the policies.
#[track_caller]
fn bed(world: &mut World, server: [u8; 4]) -> Harness {
    let mut h = harness_uplink();
    let frontends = vec![
        frontend(FrontendKind::ClusterIp, VIP, 80),
        frontend(FrontendKind::NodePort, [0, 0, 0, 0], NODE_PORT),
        frontend(FrontendKind::LoadBalancer, LB_IP, 80),
    ];
    let web = ServiceConfig { frontends, ..service(WEB, Transport::Tcp, 80) };
    h.apply(ConfigDelta {
        services: vec![web],
        backends: vec![put(WEB, &[backend(server, 8080)])],
        ..ConfigDelta::default()
    });
    world.tell_all(&mut h, uplink_node());
    h.quiet();
    h
}

#[test]
fn a_service_is_asked_for_as_its_backend() {
    let mut world = World::new();
    world.confine("a", &peers(&["b"]));
    world.isolate("b", &peers(&["a"]));
    let mut h = bed(&mut world, B_IP);
    for (vip, from) in [((VIP, 80), HIGH), ((LB_IP, 80), HIGH + 1), ((NODE_IP, NODE_PORT), HIGH + 2)] {
        passes(&mut h, A, &segment(routed(A_IP, vip.0), (from, vip.1), SYN, b""), B);
        passes(&mut h, B, &segment(routed(B_IP, A_IP), (8080, from), SYN_ACK, b""), A);
        passes(&mut h, A, &segment(routed(A_IP, vip.0), (from, vip.1), ACK, b""), B);
    }
    let vm = |to| Path { from_mac: pod_mac(VM_IP), ..routed(VM_IP, to) };
    h.assert_dropped(VM, &segment(vm(VIP), (HIGH, 80), SYN, b""), "policy_denied_ingress");
    // Established, and cut at both ends.
    world.isolate("b", &Value::Null);
    world.tell(&mut h);
    h.assert_dropped(A, &segment(routed(A_IP, VIP), (HIGH, 80), ACK, b""), "policy_denied_ingress");
    h.assert_dropped(B, &segment(routed(B_IP, A_IP), (8080, HIGH + 1), ACK, b""), "policy_denied_ingress");
}

#[test]
fn a_pod_reaches_itself_and_the_node_reaches_its_pods_through_a_service() {
    let mut world = World::new();
    world.confine("b", &Value::Null);
    world.isolate("b", &Value::Null);
    let mut h = bed(&mut world, B_IP);
    passes(&mut h, B, &segment(routed(B_IP, VIP), (HIGH, 80), SYN, b""), B);
    let node = Path { to_mac: router_mac(), ..from_node(VIP) };
    passes(&mut h, GATEWAY, &segment(node, (HIGH, 80), SYN, b""), B);
}

#[test]
fn clients_outside_are_asked_for_by_their_own_address() {
    let mut world = World::new();
    world.isolate("b", &json!([{ "ipBlock": { "cidr": "203.0.113.0/24" } }]));
    let mut h = bed(&mut world, B_IP);
    let stranger = [198, 18, 0, 1];
    for (address, port) in [(NODE_IP, NODE_PORT), (LB_IP, 80)] {
        passes(&mut h, UPLINK, &segment(outside(CLIENT_IP, address), (HIGH, port), SYN, b""), B);
        let denied = segment(outside(stranger, address), (HIGH, port), SYN, b"");
        h.assert_dropped(UPLINK, &denied, "policy_denied_ingress");
    }
    passes(&mut h, B, &segment(routed(B_IP, CLIENT_IP), (8080, HIGH), SYN_ACK, b""), UPLINK);
    world.isolate("b", &Value::Null);
    world.tell(&mut h);
    let going_on = segment(outside(CLIENT_IP, NODE_IP), (HIGH, NODE_PORT), ACK, b"");
    h.assert_dropped(UPLINK, &going_on, "policy_denied_ingress");
}

#[test]
fn the_ingress_node_asks_for_a_pod_of_another_node() {
    let mut world = World::new();
    world.isolate("c", &json!([{ "ipBlock": { "cidr": "203.0.113.0/24" } }]));
    let mut h = bed(&mut world, C_IP);
    let allowed = segment(outside(CLIENT_IP, LB_IP), (HIGH, 80), SYN, b"");
    assert_eq!(h.send(UPLINK, &allowed), []);
    let train = h.wire.trains.pop().unwrap();
    let (client, server) = ends(inner(&train.datagrams[0]));
    assert_eq!((client.0, server), (GATEWAY_IP.into(), at(C_IP, 8080)));
    assert!(client.1 >= 61_000);
    let stranger = segment(outside([198, 18, 0, 1], LB_IP), (HIGH, 80), SYN, b"");
    h.assert_dropped(UPLINK, &stranger, "policy_denied_ingress");
    // The pod's node takes it for decided, and nothing else of the ingress node.
    let mut b = harness_b();
    world.confine("c", &Value::Null);
    world.tell_all(&mut b, node_b_config());
    let from_a = |port| {
        let path = Path { from_mac: router_mac(), to_mac: router_b(), from: GATEWAY_IP, to: C_IP, ttl: 63 };
        vxlan(VNI, &segment(path, (port, 8080), SYN, b""))
    };
    let ports =
        |sent: Vec<(protocol::PortId, Vec<u8>)>| sent.iter().map(|(port, _)| *port).collect::<Vec<_>>();
    assert_eq!(ports(b.receive(TUNNEL, NODE_IP, 0, &[from_a(client.1)])), [A]);
    assert_eq!(ports(b.receive(TUNNEL, NODE_IP, 0, &[from_a(HIGH)])), []);
    let answer = Path { from_mac: pod_mac(C_IP), to_mac: router_b(), from: C_IP, to: GATEWAY_IP, ttl: 64 };
    leaves(&mut b, A, &segment(answer, (8080, client.1), SYN_ACK, b""));
    // A program of the ingress node cannot say the same.
    let forged = Path { to_mac: router_mac(), ..from_node(C_IP) };
    h.assert_dropped(GATEWAY, &segment(forged, (client.1 - 1, 8080), SYN, b""), "source_port_reserved");
    h.assert_dropped(GATEWAY, &udp(forged, 65_000, 8080, b""), "source_port_reserved");
    leaves(&mut h, GATEWAY, &segment(forged, (HIGH, 8080), SYN, b""));
}

#[test]
fn what_leaves_the_cluster_is_asked_for_translated_or_not() {
    let mut world = World::new();
    let blocks =
        json!([{ "ipBlock": { "cidr": "203.0.113.0/24" } }, { "ipBlock": { "cidr": "192.0.2.9/32" } }]);
    world.confine("a", &blocks);
    let mut h = bed(&mut world, B_IP);
    // It asks for the host's MAC first, and then sends what waited.
    h.send(A, &segment(routed(A_IP, HOST_IP), (HIGH, 80), SYN, b""));
    h.sweep();
    h.send(UPLINK, &ArpFrame::reply(HOST, HOST_IP, NIC, NODE_IP).bytes());
    h.quiet();
    passes(&mut h, A, &segment(routed(A_IP, CLIENT_IP), (HIGH, 80), SYN, b""), UPLINK);
    passes(&mut h, A, &segment(routed(A_IP, HOST_IP), (HIGH, 80), SYN, b""), UPLINK);
    for stranger in [KNOWN_IP, [198, 18, 0, 1]] {
        let frame = segment(routed(A_IP, stranger), (HIGH, 80), SYN, b"");
        h.assert_dropped(A, &frame, "policy_denied_egress");
    }
    world.confine("a", &Value::Null);
    world.tell(&mut h);
    let going_on = segment(routed(A_IP, CLIENT_IP), (HIGH, 80), SYN, b"");
    h.assert_dropped(A, &going_on, "policy_denied_egress");
}
