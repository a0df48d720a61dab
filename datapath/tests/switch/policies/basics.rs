//! Who is asked, pod to pod: at layer 2, routed, through the tunnel, with every protocol; and what is noted of it.

use protocol::link::NodeConfig;
use protocol::link::policy::DeniedBy;
use protocol::object::PolicyDirection;
use serde_json::{Value, json};

use super::bed::*;
use crate::common::*;
use crate::nat_bed::echo_reply;
use crate::services::{ACK, SYN, SYN_ACK, segment};

const HIGH: u16 = 40_000;

#[test]
fn nothing_passes_a_pod_whose_policies_are_not_known() {
    let mut h = harness_a();
    let node = NodeConfig { tunnel: Some(tunnel_config(NODE_IP)), policies: true, ..node() };
    commit(&mut h, protocol::link::ConfigDelta { node: Some(node.clone()), ..<_>::default() }, Vec::new());
    for path in [direct(A_IP, B_IP), routed(A_IP, B_IP), routed(A_IP, C_IP), routed(A_IP, GATEWAY_IP)] {
        h.assert_dropped(A, &udp(path, 1, 2, b""), "policy_not_ready");
    }
    h.assert_dropped(A, &echo_request(routed(A_IP, GATEWAY_IP), 1, b""), "policy_not_ready");
    h.assert_dropped(GATEWAY, &tcp(from_node(A_IP), HIGH, 80, b""), "policy_not_ready");
    is_kept_out(&mut h, &udp(from_peer(C_IP, A_IP), 1, 2, b""), "policy_not_ready");
    let mut world = World::new();
    world.tell_all(&mut h, node);
    passes(&mut h, A, &udp(direct(A_IP, B_IP), 1, 2, b""), B);
    // State that is lost closes the ports again, and what was going on ends.
    let lost = protocol::link::ConfigDelta { reset_policies: true, ..<_>::default() };
    commit(&mut h, lost, Vec::new());
    h.assert_dropped(A, &udp(direct(A_IP, B_IP), 1, 2, b""), "policy_not_ready");
}

#[test]
fn a_flow_between_pods_is_decided_at_both_ends_and_its_answers_pass() {
    let mut world = World::new();
    world.isolate("b", &peers(&["a"]));
    world.confine("b", &Value::Null);
    let mut h = asking(&mut world);
    for path in [direct as fn(_, _) -> Path, routed] {
        let port = if path(A_IP, B_IP).to_mac == router_mac() { 1 } else { 2 };
        passes(&mut h, A, &segment(path(A_IP, B_IP), (HIGH + port, 80), SYN, b""), B);
        passes(&mut h, B, &segment(path(B_IP, A_IP), (80, HIGH + port), SYN_ACK, b""), A);
        for _ in 0..2 {
            passes(&mut h, A, &segment(path(A_IP, B_IP), (HIGH + port, 80), ACK, b"x"), B);
            passes(&mut h, B, &segment(path(B_IP, A_IP), (80, HIGH + port), ACK, b"y"), A);
        }
        passes(&mut h, A, &udp(path(A_IP, B_IP), 1000, 53, b""), B);
        passes(&mut h, B, &udp(path(B_IP, A_IP), 53, 1000, b""), A);
        h.assert_dropped(B, &udp(path(B_IP, A_IP), 53, 1001, b""), "policy_denied_egress");
        h.assert_dropped(B, &segment(path(B_IP, A_IP), (HIGH, 80), SYN, b""), "policy_denied_egress");
        let vm = |to| Path { from_mac: pod_mac(VM_IP), ..path(VM_IP, to) };
        h.assert_dropped(VM, &udp(vm(B_IP), 1, 2, b""), "policy_denied_ingress");
    }
    passes(&mut h, A, &echo_request(direct(A_IP, B_IP), 7, b""), B);
    passes(&mut h, B, &echo_reply(direct(B_IP, A_IP), 7, b""), A);
    h.assert_dropped(B, &echo_reply(direct(B_IP, A_IP), 8, b""), "policy_denied_egress");
    h.assert_dropped(B, &echo_request(direct(B_IP, A_IP), 7, b""), "policy_denied_egress");
}

#[test]
fn pods_without_rules_are_as_if_there_were_no_policy() {
    let mut world = World::new();
    world.isolate("vm", &Value::Null);
    let mut h = asking(&mut world);
    passes(&mut h, A, &tcp(direct(A_IP, B_IP), HIGH, 80, b""), B);
    passes(&mut h, B, &udp(routed(B_IP, A_IP), 5, 6, b""), A);
    leaves(&mut h, A, &tcp(routed(A_IP, C_IP), HIGH, 80, b""));
    assert_eq!(h.switch.summary().connections, 0);
}

#[test]
fn a_pod_and_its_own_node_always_reach_each_other() {
    let mut world = World::new();
    world.isolate("b", &Value::Null);
    world.confine("b", &Value::Null);
    let mut h = asking(&mut world);
    passes(&mut h, GATEWAY, &segment(from_node(B_IP), (HIGH, 80), SYN, b""), B);
    passes(&mut h, B, &segment(routed(B_IP, GATEWAY_IP), (80, HIGH), SYN_ACK, b""), GATEWAY);
    passes(&mut h, B, &udp(routed(B_IP, NODE_IP), 5, 6, b""), GATEWAY);
    passes(&mut h, B, &echo_request(routed(B_IP, GATEWAY_IP), 1, b""), B);
    assert_eq!(h.switch.summary().connections, 0);
    // Another node is a stranger.
    is_kept_out(&mut h, &udp(from_peer(GATEWAY_B_IP, B_IP), 5, 6, b""), "policy_denied_ingress");
}

#[test]
fn the_tunnel_is_no_way_round_either_end() {
    let mut world = World::new();
    world.isolate("b", &peers(&["c"]));
    world.confine("a", &peers(&["b"]));
    let mut h = asking(&mut world);
    comes(&mut h, &segment(from_peer(C_IP, B_IP), (HIGH, 80), SYN, b""), B);
    leaves(&mut h, B, &segment(routed(B_IP, C_IP), (80, HIGH), SYN_ACK, b""));
    let stranger = [10, 244, 1, 77];
    is_kept_out(&mut h, &segment(from_peer(stranger, B_IP), (HIGH, 80), SYN, b""), "policy_denied_ingress");
    h.assert_dropped(A, &segment(routed(A_IP, C_IP), (HIGH, 80), SYN, b""), "policy_denied_egress");
    // What comes to a confined pod may be answered.
    comes(&mut h, &segment(from_peer(C_IP, A_IP), (HIGH, 80), SYN, b""), A);
    leaves(&mut h, A, &segment(routed(A_IP, C_IP), (80, HIGH), SYN_ACK, b""));
}

#[test]
fn somebodys_mac_with_another_address_does_not_get_round_him() {
    let mut world = World::new();
    world.isolate("b", &Value::Null);
    let mut h = asking(&mut world);
    let forged = Path { to_mac: pod_mac(B_IP), ..direct(A_IP, VM_IP) };
    h.assert_dropped(A, &udp(forged, 5, 6, b""), "policy_denied_ingress");
    h.assert_dropped(A, &segment(forged, (HIGH, 80), SYN, b""), "policy_denied_ingress");
}

#[test]
fn an_answers_right_is_not_one_to_begin() {
    let mut world = World::new();
    // B may not begin anything to A, but A to B.
    world.isolate("a", &Value::Null);
    let mut h = asking(&mut world);
    passes(&mut h, A, &segment(direct(A_IP, B_IP), (HIGH, 80), SYN, b""), B);
    passes(&mut h, B, &segment(direct(B_IP, A_IP), (80, HIGH), SYN_ACK, b""), A);
    passes(&mut h, A, &segment(direct(A_IP, B_IP), (HIGH, 80), ACK, b""), B);
    passes(&mut h, B, &segment(direct(B_IP, A_IP), (80, HIGH), ACK, b""), A);
    h.assert_dropped(B, &segment(direct(B_IP, A_IP), (80, HIGH), SYN, b""), "policy_denied_ingress");
    passes(&mut h, B, &segment(direct(B_IP, A_IP), (80, HIGH), ACK, b""), A);
    // Nor is a segment in the middle, of which nobody can say who began.
    h.assert_dropped(B, &segment(direct(B_IP, A_IP), (81, 80), ACK, b""), "policy_denied_ingress");
}

#[test]
fn sctp_has_ports_and_what_has_none_is_asked_for_each_packet() {
    let mut world = World::new();
    let to_80 = json!([{ "ports": [{ "protocol": "SCTP", "port": 80 }] }]);
    let subject = json!({ "matchLabels": { "app": "b" } });
    world.policy("sctp", &json!({ "podSelector": subject, "ingress": to_80, "egress": [], "policyTypes": ["Ingress", "Egress"] }));
    let mut h = asking(&mut world);
    let sctp = |path, from: u16, to: u16| {
        ipv4(path, 132, &[&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 12]].concat())
    };
    passes(&mut h, A, &sctp(direct(A_IP, B_IP), 9, 80), B);
    passes(&mut h, B, &sctp(direct(B_IP, A_IP), 80, 9), A);
    h.assert_dropped(B, &sctp(direct(B_IP, A_IP), 80, 10), "policy_denied_egress");
    h.assert_dropped(A, &sctp(direct(A_IP, B_IP), 9, 81), "policy_denied_ingress");
    h.assert_dropped(A, &ipv4(direct(A_IP, B_IP), 47, &[0; 8]), "policy_denied_ingress");
    let mut world = World::new();
    world.isolate("b", &peers(&["a"]));
    let mut h = asking(&mut world);
    passes(&mut h, A, &ipv4(direct(A_IP, B_IP), 47, &[0; 8]), B);
    assert_eq!(h.switch.summary().connections, 0);
}

#[test]
fn groups_are_asked_for_at_the_sender_and_at_each_receiver() {
    let group = [224, 0, 0, 251];
    let to_group = |from| Path { to_mac: protocol::Mac([1, 0, 0x5e, 0, 0, 0xfb]), ..direct(from, group) };
    let mut world = World::new();
    world.isolate("vm", &peers(&["b"]));
    world.confine("b", &json!([{ "ipBlock": { "cidr": "10.0.0.0/8" } }]));
    let mut h = asking(&mut world);
    let ports =
        |sent: Vec<(protocol::PortId, Vec<u8>)>| sent.iter().map(|(port, _)| *port).collect::<Vec<_>>();
    assert_eq!(ports(h.send(A, &udp(to_group(A_IP), 5353, 5353, b""))), [GATEWAY, B]);
    h.assert_dropped(B, &udp(to_group(B_IP), 5353, 5353, b""), "policy_denied_egress");
    world.confine("b", &json!([{ "ipBlock": { "cidr": "224.0.0.0/4" } }]));
    world.tell(&mut h);
    assert_eq!(ports(h.send(B, &udp(to_group(B_IP), 5353, 5353, b""))), [GATEWAY, A, VM]);
}

#[test]
fn what_is_denied_is_counted_and_noted_with_its_policy() {
    let mut world = World::new();
    world.isolate("b", &Value::Null);
    let mut h = asking(&mut world);
    for _ in 0..3 {
        h.assert_dropped(A, &udp(direct(A_IP, B_IP), 5, 6, b""), "policy_denied_ingress");
    }
    h.assert_dropped(A, &segment(direct(A_IP, B_IP), (HIGH, 80), SYN, b""), "policy_denied_ingress");
    let (rows, next) = h.switch.policies_page(0, 10);
    assert_eq!((rows.len(), rows[0].denied, rows[0].allowed, next), (1, 4, 0, None));
    let (notes, unnoted) = h.switch.denials(0, 10);
    assert_eq!((notes.len(), unnoted), (2, 0));
    assert_eq!((notes[0].number, notes[0].packets, notes[0].ingress), (1, 3, A));
    assert_eq!((notes[0].source, notes[0].destination), (A_IP.into(), B_IP.into()));
    assert_eq!((notes[0].protocol, notes[0].source_port, notes[0].destination_port), (17, 5, 6));
    assert_eq!(notes[0].direction, PolicyDirection::Ingress);
    assert_eq!(notes[0].by, Some(DeniedBy { policy: rows[0].policy, rule: None }));
    assert_eq!(h.switch.denials(1, 10).0, notes[1..]);
    // Too many at a time are only counted.
    for port in 0..500 {
        h.assert_dropped(A, &udp(direct(A_IP, B_IP), 5, 1000 + port, b""), "policy_denied_ingress");
    }
    let (notes, unnoted) = h.switch.denials(0, 5000);
    assert_eq!((notes.len(), unnoted), (198, 304));
    assert_eq!(h.switch.policies_page(0, 10).0[0].denied, 504);
}
