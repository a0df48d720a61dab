//! Generated policies: the switch decides what the specification says, on every path between pods.

use datapath::Limits;
use policy::{Flow, Protocol, reference};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use protocol::link::{ConfigDelta, FrontendKind, NodeConfig, ServiceConfig, Transport};
use protocol::{PortId, ServiceId};
use serde_json::{Value, json};

use super::bed::*;
use crate::common::*;
use crate::services::{SYN, backend, frontend, put, segment, service};

/// The number of sets that issue 7 asks for.
const SETS: u32 = 300;

fn selector() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({ "matchLabels": { "app": "a" } }),
        json!({ "matchLabels": { "app": "b" } }),
        json!({ "matchLabels": { "app": "c" } }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["b", "vm"] }] }),
    ])
}

fn peer() -> impl Strategy<Value = Value> {
    let blocks = ["10.244.0.0/24", "10.244.1.0/24", "10.244.0.2/32", "0.0.0.0/0"];
    prop_oneof![
        selector().prop_map(|pods| json!({ "podSelector": pods })),
        select(blocks.to_vec()).prop_map(|cidr| json!({ "ipBlock": { "cidr": cidr } })),
    ]
}

fn rules(peers: &'static str) -> impl Strategy<Value = Option<Value>> {
    let ports = select(vec![
        json!([]),
        json!([{ "port": 80 }]),
        json!([{ "protocol": "UDP", "port": 53 }, { "port": 80, "endPort": 90 }]),
    ]);
    let rule =
        (vec(peer(), 0..3), ports).prop_map(move |(list, ports)| json!({ peers: list, "ports": ports }));
    prop_oneof![Just(None), vec(rule, 0..3).prop_map(|rules| Some(json!(rules)))]
}

fn policy() -> impl Strategy<Value = Value> {
    (selector(), rules("from"), rules("to")).prop_map(|(subject, ingress, egress)| {
        let mut types = Vec::new();
        let mut spec = json!({ "podSelector": subject });
        for (name, word, rules) in [("ingress", "Ingress", ingress), ("egress", "Egress", egress)] {
            if let Some(rules) = rules {
                types.push(word);
                spec[name] = rules;
            }
        }
        if types.is_empty() {
            types.push("Ingress");
        }
        spec["policyTypes"] = json!(types);
        spec
    })
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    from: usize,
    to: usize,
    protocol: u8,
    port: u16,
    is_routed: bool,
}

fn probe() -> impl Strategy<Value = Probe> {
    (0..4usize, 0..4usize, select(vec![(6, 80), (6, 81), (17, 53), (17, 80), (1, 0)]), any::<bool>())
        .prop_map(|(from, to, (protocol, port), is_routed)| Probe { from, to, protocol, port, is_routed })
}

const ENDS: [(Option<PortId>, [u8; 4]); 4] =
    [(Some(A), A_IP), (Some(B), B_IP), (Some(VM), VM_IP), (None, C_IP)];

/// Where each pod is the only backend of services, by its place among `ENDS`: on the ports that are tried, at others.
fn vip(to: usize) -> [u8; 4] {
    [10, 96, 7, u8::try_from(to).unwrap() + 1]
}

const BEFORE: u16 = 1_000;

fn services() -> ConfigDelta {
    let ports = [(Transport::Tcp, 80), (Transport::Tcp, 81), (Transport::Udp, 53), (Transport::Udp, 80)];
    let pairs = (0..ENDS.len()).flat_map(|to| ports.map(|(transport, port)| (to, transport, port)));
    let mut delta = ConfigDelta::default();
    for (number, (to, transport, port)) in (100..).zip(pairs) {
        let id = ServiceId(number);
        let frontends = vec![frontend(FrontendKind::ClusterIp, vip(to), BEFORE + port)];
        delta.services.push(ServiceConfig { frontends, ..service(id, transport, port) });
        delta.backends.push(put(id, &[backend(ENDS[to].1, port)]));
    }
    delta
}

fn frame(path: Path, probe: Probe, number: u16) -> Vec<u8> {
    match probe.protocol {
        6 => segment(path, (40_000 + number, probe.port), SYN, b""),
        17 => udp(path, 40_000 + number, probe.port, b""),
        _ => echo_request(path, number, b""),
    }
}

/// On which way a probe is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Straight,
    ClusterIp,
}

#[test]
fn the_switch_decides_what_the_specification_says() {
    decides_as_specified(Way::Straight);
}

#[test]
fn the_switch_decides_about_backends_what_the_specification_says() {
    decides_as_specified(Way::ClusterIp);
}

fn decides_as_specified(way: Way) {
    let config = proptest::test_runner::Config { failure_persistence: None, ..cases(SETS) };
    let sets = (vec(policy(), 1..5), vec(probe(), 20));
    TestRunner::new(config)
        .run(&sets, |(policies, probes)| {
            let mut world = World::new();
            for (number, spec) in policies.iter().enumerate() {
                world.policy(&format!("p{number}"), spec);
            }
            // Tables of connections are never given back.
            let limits = Limits { connections: 1 << 8, connection_reserve: 0, ..Limits::default() };
            let mut h = asking_with(&mut world, limits);
            if way == Way::ClusterIp {
                let service_cidr = Some("10.96.0.0/16".parse().unwrap());
                let tunnel = Some(tunnel_config(NODE_IP));
                let node = Some(NodeConfig { service_cidr, tunnel, policies: true, ..node() });
                h.apply(ConfigDelta { node, ..services() });
            }
            // Services have ports, and are for clients of this node.
            let is_sent = |probe: &Probe| {
                probe.from != probe.to && (way == Way::Straight || probe.from != 3 && probe.protocol != 1)
            };
            for (number, probe) in probes.into_iter().enumerate().filter(|(_, probe)| is_sent(probe)) {
                let ((from, source), (to, destination)) = (ENDS[probe.from], ENDS[probe.to]);
                let flow = Flow {
                    source: ip(source),
                    destination: ip(destination),
                    protocol: Protocol(probe.protocol),
                    port: probe.port,
                };
                let explained = reference::explain(&world.cluster, &flow);
                // A node asks for the pods it has.
                let wanted = (from.is_none() || explained.egress.allowed)
                    && (to.is_none() || explained.ingress.allowed);
                let is_routed = probe.is_routed || to.is_none();
                let (path, probe) = match way {
                    Way::Straight if !is_routed => (direct(source, destination), probe),
                    Way::Straight => (routed(source, destination), probe),
                    Way::ClusterIp => {
                        (routed(source, vip(probe.to)), Probe { port: BEFORE + probe.port, ..probe })
                    }
                };
                let path = Path { from_mac: pod_mac(source), ..path };
                let number = u16::try_from(number).unwrap();
                let got = match from {
                    Some(from) => {
                        let sent = h.send(from, &frame(path, probe, number)).len();
                        sent + std::mem::take(&mut h.wire.trains).len()
                    }
                    None => {
                        let inner = frame(from_peer(source, destination), probe, number);
                        h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &inner)]).len()
                    }
                };
                prop_assert_eq!(got, usize::from(wanted), "{:?} {:?}", probe, explained);
            }
            Ok(())
        })
        .unwrap();
}
