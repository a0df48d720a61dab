//! A trace says what would happen, and changes nothing.

use datapath::Switch;
use proptest::prelude::*;
use protocol::link::{ConfigDelta, Scheduler, ServiceConfig, TracePacket, TraceProtocol, Transport};
use protocol::object::{ConnTuple, Trace};
use protocol::{PeerId, PortId};

use crate::common::*;
use crate::services::{DNS, OTHER_VIP, SYN, VIP, WEB, ends, segment, service, with_services};

fn packet(protocol: TraceProtocol, to: [u8; 4], port: u16) -> TracePacket {
    TracePacket {
        port: A,
        protocol,
        source: None,
        source_port: 4000,
        destination: to.into(),
        destination_port: port,
        size: 60,
    }
}

#[track_caller]
fn trace(h: &mut Harness, packet: &TracePacket) -> Trace {
    let before = everything(&h.switch, h.now);
    let trace = h.switch.trace(packet, h.now).expect("the question makes sense");
    assert_eq!(everything(&h.switch, h.now), before, "a trace changed something");
    assert_eq!(h.switch.trace(packet, h.now).as_ref(), Ok(&trace), "asked twice");
    trace
}

/// Whatever can be asked of a switch.
fn everything(switch: &Switch, now: datapath::Instant) -> String {
    let ports: Vec<PortId> = switch.ports().map(|port| port.id).collect();
    let counters: Vec<_> = ports.iter().map(|port| switch.port_counters(*port)).collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {counters:?} {:?} {:?}",
        switch.summary(),
        switch.fdb_page(0, 999, now),
        switch.neighbors_page(0, 999, now),
        switch.flows_page(0, 999, now),
        switch.connections_page(0, 999, now),
        switch.services_page(0, 999),
        switch.peers_page(None::<PeerId>, 999, now),
    )
}

fn step<'a>(trace: &'a Trace, step: &str) -> (&'a str, &'a str) {
    let found = trace.steps.iter().find(|found| found.step == step);
    let found = found.unwrap_or_else(|| panic!("no step {step}: {trace:#?}"));
    (&found.result, &found.reason)
}

fn as_ends(tuple: ConnTuple) -> ((std::net::IpAddr, u16), (std::net::IpAddr, u16)) {
    ((tuple.source, tuple.source_port), (tuple.destination, tuple.destination_port))
}

#[test]
fn a_connection_to_a_service_is_explained_step_by_step() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let trace = trace(&mut h, &packet(TraceProtocol::Tcp, VIP, 80));
    let words: Vec<&str> = trace.steps.iter().map(|step| step.step.as_str()).collect();
    let wanted = [
        "port",
        "arp",
        "admission",
        "connection",
        "service",
        "policy",
        "backends",
        "backend",
        "nat",
        "route",
        "mtu",
        "verdict",
    ];
    assert_eq!(words, wanted, "{trace:#?}");
    assert_eq!(step(&trace, "service").0, "default/s3:80");
    assert_eq!(step(&trace, "backends"), ("2 of 2", "10.244.0.3:8080, 10.244.0.4:8080"));
    assert!(step(&trace, "backend").1.starts_with("rr"), "{trace:#?}");
    assert_eq!(trace.egress.as_deref(), Some("default/b"));
    assert_eq!((trace.protocol, trace.size, &*trace.ingress), (6, 60, "default/a"));
}

#[test]
fn a_known_connection_goes_on_and_an_affinity_is_told() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let sticky = ServiceConfig {
        affinity_seconds: Some(60),
        scheduler: Scheduler::Random,
        ..service(WEB, Transport::Tcp, 80)
    };
    h.apply(ConfigDelta { services: vec![sticky], ..ConfigDelta::default() });
    let first = h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b""));
    let known = trace(&mut h, &packet(TraceProtocol::Tcp, VIP, 80));
    assert_eq!(step(&known, "connection").0, "known, SYN_SENT");
    let again = trace(&mut h, &TracePacket { source_port: 4001, ..packet(TraceProtocol::Tcp, VIP, 80) });
    assert!(step(&again, "backend").1.contains("affinity"), "{again:#?}");
    let (_, (backend, _)) = ends(ethernet(&first[0].1));
    assert_eq!(again.becomes.map(|to| to.destination), Some(backend.into()));
}

#[test]
fn a_way_through_the_tunnel_names_the_node() {
    let mut h = with_services(harness_a(), &[C_IP]);
    let trace = trace(&mut h, &packet(TraceProtocol::Udp, VIP, 53));
    assert_eq!(step(&trace, "route").0, "node node-b");
    assert!(step(&trace, "tunnel").0.starts_with("192.0.2.3:4789"), "{trace:#?}");
    assert!(h.wire.trains.is_empty(), "nothing is sent");
    let large = TracePacket { size: 1460, ..packet(TraceProtocol::Udp, VIP, 53) };
    let refused = self::trace(&mut h, &large);
    assert_eq!(refused.drop.as_deref(), Some("packet_too_big"));
    assert_eq!(refused.error.as_deref(), Some("ICMP fragmentation needed, MTU 1450"));
}

#[test]
fn a_refusal_says_what_the_sender_gets() {
    let mut h = with_services(Harness::new(), &[]);
    for (packet, drop, error) in [
        (packet(TraceProtocol::Tcp, VIP, 80), "service_no_endpoints", "a TCP reset (connection refused)"),
        (
            packet(TraceProtocol::Udp, VIP, 99),
            "service_port_unknown",
            "ICMP port unreachable (connection refused)",
        ),
        (packet(TraceProtocol::Udp, [10, 244, 7, 1], 9), "no_route", "ICMP net unreachable"),
    ] {
        let trace = trace(&mut h, &packet);
        assert_eq!((trace.drop.as_deref(), trace.error.as_deref()), (Some(drop), Some(error)), "{trace:#?}");
    }
    let nobody = trace(&mut h, &packet(TraceProtocol::Icmp, [10, 244, 0, 99], 0));
    assert_eq!(nobody.drop.as_deref(), Some("arp_unknown_target"), "{nobody:#?}");
    assert!(
        h.switch
            .trace(&TracePacket { port: PortId(77), ..packet(TraceProtocol::Tcp, VIP, 80) }, h.now)
            .is_err()
    );
}

/// A packet as a trace describes it, as its pod sends it.
fn frame(wanted: &TracePacket) -> Vec<u8> {
    let to = wanted.destination.octets();
    let path = if to[..3] == A_IP[..3] && to != GATEWAY_IP { direct(A_IP, to) } else { routed(A_IP, to) };
    let payload = |headers: u16| vec![0; usize::from(wanted.size - headers)];
    match wanted.protocol {
        TraceProtocol::Tcp => segment(path, (wanted.source_port, wanted.destination_port), SYN, &payload(40)),
        TraceProtocol::Udp => udp(path, wanted.source_port, wanted.destination_port, &payload(28)),
        TraceProtocol::Icmp => echo_request(path, wanted.source_port, &payload(28)),
    }
}

fn any_packet() -> impl Strategy<Value = TracePacket> {
    let protocol = prop_oneof![
        3 => Just(TraceProtocol::Tcp),
        3 => Just(TraceProtocol::Udp),
        1 => Just(TraceProtocol::Icmp),
    ];
    let to = prop_oneof![
        4 => Just(VIP), 1 => Just(OTHER_VIP), 1 => Just(B_IP), 1 => Just(C_IP), 1 => Just(GATEWAY_IP),
        1 => Just(NODE_IP), 1 => Just([10, 244, 9, 9]), 1 => Just([203, 0, 113, 7]),
    ];
    let port = prop_oneof![Just(80), Just(53), Just(99)];
    let size = prop_oneof![3 => Just(60u16), 1 => 1400..=1500u16];
    (protocol, to, 4000..4006u16, port, size).prop_map(|(protocol, to, source_port, port, size)| {
        TracePacket { source_port, size, ..packet(protocol, to, port) }
    })
}

proptest! {
    /// The promise itself: whatever is traced and then sent, meets the fate that the trace told.
    #[test]
    fn what_a_trace_says_is_what_happens(
        packets in proptest::collection::vec(any_packet(), 1..30),
        scheduler in prop_oneof![
            Just(Scheduler::RoundRobin), Just(Scheduler::WeightedRoundRobin), Just(Scheduler::LeastConnections),
            Just(Scheduler::Random), Just(Scheduler::SourceHash), Just(Scheduler::Maglev),
        ],
        affinity in any::<bool>(),
    ) {
        let mut h = with_services(harness_a(), &[B_IP, VM_IP, C_IP]);
        let changed = [(WEB, Transport::Tcp, 80), (DNS, Transport::Udp, 53)].map(|(id, transport, port)| {
            let affinity_seconds = affinity.then_some(60);
            ServiceConfig { scheduler, affinity_seconds, ..service(id, transport, port) }
        });
        h.apply(ConfigDelta { services: changed.into(), ..ConfigDelta::default() });
        for wanted in packets {
            let trace = trace(&mut h, &wanted);
            h.wire.trains.clear();
            let before = h.switch.port_counters(A).unwrap();
            let sent = h.send(A, &frame(&wanted));
            let after = h.switch.port_counters(A).unwrap();
            let dropped: Vec<String> = after.drops.iter().filter(|drop| {
                before.drops.iter().find(|old| old.reason == drop.reason).map_or(0, |old| old.frames) < drop.frames
            }).map(|drop| drop.reason.clone()).collect();
            prop_assert_eq!(trace.drop.iter().cloned().collect::<Vec<_>>(), dropped, "{:#?}", &trace);
            if trace.drop.is_some() {
                continue;
            }
            let (port, bytes) = match h.wire.trains.first() {
                Some(train) => (train.port, inner(&train.datagrams[0]).to_vec()),
                None => (sent[0].0, ethernet(&sent[0].1).to_vec()),
            };
            let name = h.switch.ports().find(|config| config.id == port).map(|config| config.name.clone());
            prop_assert_eq!(&trace.egress, &name, "{:#?}", &trace);
            if wanted.protocol != TraceProtocol::Icmp {
                let (from, to) = ends(&bytes);
                let is = ((from.0.into(), from.1), (to.0.into(), to.1));
                prop_assert_eq!(trace.becomes.map(as_ends), Some(is), "{:#?}", &trace);
            }
        }
    }
}
