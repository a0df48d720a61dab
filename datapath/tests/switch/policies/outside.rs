//! Whom mappings, external addresses and ports of the node let in, and what the ingress node knows of the pods of others.

use protocol::link::{
    ConfigDelta, Filtering, FrontendKind, NodeConfig, PeerConfig, ServiceConfig, Transport,
};
use serde_json::{Value, json};

use super::bed::*;
use crate::common::*;
use crate::nat_bed::{OTHER, SERVER, answer, asks, reaches};
use crate::services::{SYN, VIP, WEB, at, backend, ends, frontend, only, put, segment, service};

const EXTERNAL_IP: [u8; 4] = [198, 18, 5, 5];
const STAND_IN: [u8; 4] = [10, 96, 0, 0];
const HIGH: u16 = 40_000;
/// From where only the switch makes connections.
const RESERVED: u16 = 62_000;

fn open_node(filtering: Filtering) -> NodeConfig {
    let mut node = uplink_node();
    if let Some(uplink) = &mut node.uplink {
        uplink.filtering = filtering;
    }
    node
}

fn block(cidr: &str) -> Value {
    json!([{ "ipBlock": { "cidr": cidr } }])
}

#[test]
fn whom_a_mapping_lets_in_is_asked_for() {
    let mut world = World::new();
    world.isolate("a", &block("203.0.113.7/32"));
    let mut h = harness_uplink();
    world.tell_all(&mut h, open_node(Filtering::EndpointIndependent));
    h.quiet();
    let stranger = ([198, 18, 0, 1], 53);
    let mapped = asks(&mut h, (A, A_IP), 4000, stranger);
    // It answers.
    reaches(&mut h, &answer(stranger, mapped), A);
    // Others begin.
    reaches(&mut h, &answer((SERVER, 99), mapped), A);
    h.deltas();
    h.assert_dropped(UPLINK, &answer((OTHER, 53), mapped), "policy_denied_ingress");
    h.assert_dropped(UPLINK, &answer((stranger.0, 54), mapped), "policy_denied_ingress");
    world.isolate("a", &Value::Null);
    world.tell(&mut h);
    h.assert_dropped(UPLINK, &answer((SERVER, 99), mapped), "policy_denied_ingress");
    reaches(&mut h, &answer(stranger, mapped), A);
}

#[test]
fn pods_that_meet_by_their_mappings_are_asked_for_as_themselves() {
    for filtering in [Filtering::EndpointIndependent, Filtering::AddressAndPortDependent] {
        let mut world = World::new();
        let mut h = harness_uplink();
        world.tell_all(&mut h, open_node(filtering));
        h.quiet();
        let a = asks(&mut h, (A, A_IP), 4000, (SERVER, 53));
        let b = asks(&mut h, (B, B_IP), 5000, (SERVER, 53));
        let from_a = udp(routed(A_IP, b.0.octets()), 4000, b.1, b"peer");
        let from_b = udp(routed(B_IP, a.0.octets()), 5000, a.1, b"peer");
        // Nobody may come to B but VM, and nobody to A but B: not even once both have sent.
        world.isolate("b", &peers(&["vm"]));
        world.isolate("a", &peers(&["b"]));
        world.tell(&mut h);
        h.deltas();
        let refusal = match filtering {
            Filtering::EndpointIndependent => "policy_denied_ingress",
            Filtering::AddressAndPortDependent => "filtered_by_mapping",
        };
        h.assert_dropped(A, &from_a, refusal);
        if filtering == Filtering::AddressAndPortDependent {
            // It would answer what A may not begin.
            h.assert_dropped(B, &from_b, "policy_denied_ingress");
            h.assert_dropped(B, &from_b, "filtered_by_mapping");
        } else {
            passes(&mut h, B, &from_b, A);
            passes(&mut h, A, &from_a, B);
        }
        // Their own addresses are what policies speak of, not those that they appear as.
        world.isolate("a", &block(&format!("{}/32", b.0)));
        world.tell(&mut h);
        h.deltas();
        // B has begun, as far as it could.
        h.assert_dropped(A, &from_a, "policy_denied_ingress");
    }
}

/// A service that is reached in every way there is from outside.
#[track_caller]
fn bed(world: &mut World, server: [u8; 4]) -> Harness {
    let mut h = harness_uplink();
    let frontends = vec![
        frontend(FrontendKind::ClusterIp, VIP, 80),
        frontend(FrontendKind::ExternalIp, EXTERNAL_IP, 80),
        frontend(FrontendKind::HostLocal, STAND_IN, 8080),
        frontend(FrontendKind::HostPort, NODE_IP, 8080),
    ];
    h.apply(ConfigDelta {
        services: vec![ServiceConfig { frontends, ..service(WEB, Transport::Tcp, 80) }],
        backends: vec![put(WEB, &[backend(server, 8080)])],
        ..ConfigDelta::default()
    });
    world.tell_all(&mut h, uplink_node());
    h.quiet();
    h
}

#[test]
fn external_addresses_and_ports_of_the_node_are_asked_for_as_their_pod() {
    let mut world = World::new();
    world.isolate("b", &json!([{ "ipBlock": { "cidr": "203.0.113.0/24" } }, peers(&["a"])[0]]));
    let mut h = bed(&mut world, B_IP);
    for (number, to) in [(EXTERNAL_IP, 80), (NODE_IP, 8080)].into_iter().enumerate() {
        let from = HIGH + u16::try_from(number).unwrap();
        passes(&mut h, UPLINK, &segment(outside(CLIENT_IP, to.0), (from, to.1), SYN, b""), B);
        let stranger = segment(outside([198, 18, 0, 1], to.0), (from, to.1), SYN, b"");
        h.assert_dropped(UPLINK, &stranger, "policy_denied_ingress");
        passes(&mut h, A, &segment(routed(A_IP, to.0), (from, to.1), SYN, b""), B);
        let vm = Path { from_mac: pod_mac(VM_IP), ..routed(VM_IP, to.0) };
        h.assert_dropped(VM, &segment(vm, (from, to.1), SYN, b""), "policy_denied_ingress");
    }
    // The node's own programs, whatever policies say.
    let node = Path { to_mac: router_mac(), ..from_node(STAND_IN) };
    passes(&mut h, GATEWAY, &segment(node, (HIGH, 8080), SYN, b""), B);
}

#[track_caller]
fn goes_to_c(h: &mut Harness, from: protocol::PortId, frame: &[u8]) -> (std::net::Ipv4Addr, u16) {
    assert_eq!(h.send(from, frame), []);
    let train = h.wire.trains.pop().unwrap();
    let (client, server) = ends(inner(&train.datagrams[0]));
    assert_eq!(server, at(C_IP, 8080));
    h.deltas();
    client
}

#[test]
fn the_ingress_node_lets_nothing_to_pods_that_it_does_not_know() {
    let mut world = World::new();
    let mut h = bed(&mut world, C_IP);
    let from_outside = |port| segment(outside(CLIENT_IP, EXTERNAL_IP), (port, 80), SYN, b"");
    goes_to_c(&mut h, UPLINK, &from_outside(HIGH));
    // Its node would take this node's word for it.
    commit(&mut h, ConfigDelta { reset_policies: true, ..<_>::default() }, Vec::new());
    h.assert_dropped(UPLINK, &from_outside(HIGH), "policy_not_ready");
    h.assert_dropped(UPLINK, &from_outside(HIGH + 1), "policy_not_ready");
    // What was going on goes on, once it is known.
    world.tell_all(&mut h, uplink_node());
    goes_to_c(&mut h, UPLINK, &from_outside(HIGH));
    // A node's own addresses are no pod's.
    h.apply(ConfigDelta { backends: vec![put(WEB, &[backend(NODE_B_IP, 8080)])], ..ConfigDelta::default() });
    assert_eq!(h.send(UPLINK, &from_outside(HIGH + 2)), []);
    assert_eq!(std::mem::take(&mut h.wire.trains).len(), 1);
}

#[test]
fn a_program_of_the_ingress_node_is_asked_for_where_the_switch_speaks_for_it() {
    let mut world = World::new();
    world.isolate("c", &Value::Null);
    let mut h = bed(&mut world, C_IP);
    let node = Path { to_mac: router_mac(), ..from_node(VIP) };
    // The pod's node would take this port's connections for decided; it is not the pod's own node.
    let reserved = segment(node, (RESERVED, 80), SYN, b"");
    h.assert_dropped(GATEWAY, &reserved, "policy_denied_ingress");
    let own = segment(node, (HIGH, 80), SYN, b"");
    assert_eq!(goes_to_c(&mut h, GATEWAY, &own), at(GATEWAY_IP, HIGH), "which that node decides");
    world.isolate("c", &block("10.244.0.1/32"));
    world.tell(&mut h);
    assert_eq!(goes_to_c(&mut h, GATEWAY, &reserved), at(GATEWAY_IP, RESERVED));
}

#[test]
fn nodes_that_do_not_know_each_others_pods_decide_themselves() {
    let alone = |peer: PeerConfig| PeerConfig { shares_policies: false, ..peer };
    // Node a, which knows its own pods only, sends on what it knows nothing of.
    let mut world = World::new();
    world.isolate("c", &Value::Null);
    let mut h = bed(&mut World::default(), C_IP);
    h.apply(ConfigDelta {
        peers: vec![alone(PeerConfig { keep_alive: false, ..node_b() })],
        ..ConfigDelta::default()
    });
    let syn = segment(outside(CLIENT_IP, EXTERNAL_IP), (HIGH, 80), SYN, b"");
    let client = goes_to_c(&mut h, UPLINK, &syn);
    assert!(client.0 == std::net::Ipv4Addr::from(GATEWAY_IP) && client.1 >= 61_000);
    // The pod's node judges it by the address that it has.
    let mut b = harness_b();
    b.apply(ConfigDelta { peers: vec![alone(node_a())], ..ConfigDelta::default() });
    world.tell_all(&mut b, node_b_config());
    let path = Path { from_mac: router_mac(), to_mac: router_b(), from: GATEWAY_IP, to: C_IP, ttl: 63 };
    let frame = vxlan(VNI, &segment(path, (client.1, 8080), SYN, b""));
    b.deltas();
    assert_eq!(b.receive(TUNNEL, NODE_IP, 0, std::slice::from_ref(&frame)), []);
    assert_eq!(b.deltas()[&TUNNEL].drops, [("policy_denied_ingress".to_owned(), 1)].into());
    world.isolate("c", &block("10.244.0.1/32"));
    world.tell(&mut b);
    assert_eq!(only(b.receive(TUNNEL, NODE_IP, 0, &[frame])).0, A);
}
