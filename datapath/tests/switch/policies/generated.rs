//! Generated policies: the switch decides what the specification says, on every path between pods.

use policy::{Flow, Protocol, reference};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use protocol::PortId;
use serde_json::{Value, json};

use super::bed::*;
use crate::common::*;
use crate::services::{SYN, segment};

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

fn frame(path: Path, probe: Probe, number: u16) -> Vec<u8> {
    match probe.protocol {
        6 => segment(path, (40_000 + number, probe.port), SYN, b""),
        17 => udp(path, 40_000 + number, probe.port, b""),
        _ => echo_request(path, number, b""),
    }
}

#[test]
fn the_switch_decides_what_the_specification_says() {
    let config = proptest::test_runner::Config { failure_persistence: None, ..cases(SETS) };
    let sets = (vec(policy(), 1..5), vec(probe(), 20));
    TestRunner::new(config)
        .run(&sets, |(policies, probes)| {
            let mut world = World::new();
            for (number, spec) in policies.iter().enumerate() {
                world.policy(&format!("p{number}"), spec);
            }
            let mut h = asking(&mut world);
            for (number, probe) in probes.into_iter().enumerate().filter(|(_, probe)| probe.from != probe.to)
            {
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
                let path = if is_routed { routed(source, destination) } else { direct(source, destination) };
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
