//! The flow table changes speed, never outcome.

use std::time::Duration;

use crate::common::*;
use datapath::Limits;
use proptest::prelude::*;
use protocol::link::FlowEvictions;
use protocol::link::{ConfigDelta, PortConfig};
use protocol::object::PortState;
use protocol::{Mac, PortId};

#[test]
fn rows_say_what_is_forwarded() {
    let mut h = Harness::new();
    for _ in 0..3 {
        h.send(A, &tcp(routed(A_IP, B_IP), 40_000, 80, b"0123456789"));
    }
    h.send(A, &echo_request(direct(A_IP, B_IP), 77, b""));
    h.wait(Duration::from_millis(40));
    let (mut rows, next) = h.switch.flows_page(0, 10, h.now);
    rows.sort_by_key(|row| row.protocol);
    assert_eq!((rows.len(), next), (2, None));
    let [ping, tcp] = &rows[..] else { panic!() };
    assert_eq!(
        (tcp.ingress, tcp.egress, tcp.protocol, tcp.source_port, tcp.destination_port),
        (A, B, 6, 40_000, 80)
    );
    assert_eq!((tcp.source, tcp.destination), (ip(A_IP), ip(B_IP)));
    assert_eq!((tcp.ingress_name.as_str(), tcp.egress_name.as_str()), ("default/a", "default/b"));
    assert_eq!((tcp.frames, tcp.bytes, tcp.idle_ms), (3, 3 * 64, 40));
    assert_eq!((ping.source_port, ping.destination_port), (77, 0));
    assert_eq!(h.switch.summary().flows, 2);
}

#[test]
fn refused_frames_are_not_counted_as_forwarded_by_the_flow() {
    let mut h = Harness::new();
    h.wire.full = vec![B];
    h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x"));
    assert_eq!(h.switch.flows_page(0, 10, h.now).0[0].frames, 0);
}

#[test]
fn change_of_configuration_voids_every_flow_at_once() {
    let mut h = Harness::new();
    let frame = udp(routed(A_IP, B_IP), 1, 2, b"x");
    assert_eq!(h.send(A, &frame)[0].0, B);
    // B's address moves to a new port.
    let new = PortConfig { addresses: vec![ip(B_IP)], ..port(PortId(9), "default/new", [10, 244, 0, 9]) };
    h.apply(ConfigDelta { detach: vec![B], attach: vec![new], ..ConfigDelta::default() });
    assert!(h.switch.flows_page(0, 10, h.now).0.is_empty());
    assert_eq!(h.send(A, &frame)[0].0, PortId(9));
    // Closed for good: refused although it was cached.
    h.update(PortConfig { addresses: vec![], ..port(A, "default/a", A_IP) });
    h.assert_dropped(A, &frame, "spoofed_ip");
}

#[test]
fn idle_flow_is_forgotten_and_nothing_is_due_on_an_idle_switch() {
    let mut h = Harness::new();
    assert_eq!(h.switch.next_deadline(), None);
    let frame = udp(direct(A_IP, B_IP), 1, 2, b"x");
    h.send(A, &frame);
    assert!(h.switch.next_deadline().is_some());
    for _ in 0..15 {
        h.wait(Duration::from_secs(1));
        h.send(A, &frame);
        h.sweep();
    }
    assert_eq!(h.switch.summary().flows, 1);
    h.wait(Duration::from_secs(10));
    h.sweep();
    assert_eq!(h.switch.summary().flows, 0);
    assert_eq!(h.switch.next_deadline(), None);
}

#[test]
fn sweeping_is_done_in_bounded_steps() {
    let mut h = Harness::with(standard_ports(), Limits { sweep_entries: 10, ..Limits::default() });
    for source_port in 0..95 {
        h.send(A, &udp(direct(A_IP, B_IP), source_port, 2, b"x"));
    }
    h.wait(Duration::from_secs(60));
    let mut steps = 0;
    while h.switch.next_deadline().is_some_and(|due| due <= h.now) {
        let before = h.switch.summary().flows;
        h.switch.on_deadline(h.now, &mut h.wire);
        assert!(before - h.switch.summary().flows <= 10);
        steps += 1;
    }
    assert_eq!((steps, h.switch.summary().flows), (10, 0));
}

#[test]
fn port_scan_evicts_only_the_scanner() {
    let limits = Limits { flows: 64, flows_per_port: 16, ..Limits::default() };
    let mut h = Harness::with(standard_ports(), limits);
    h.send(B, &udp(direct(B_IP, A_IP), 1, 2, b"x"));
    for destination_port in 0..5000 {
        h.send(A, &udp(direct(A_IP, B_IP), 1, destination_port, b"x"));
    }
    let rows = h.switch.flows_page(0, 999, h.now).0;
    assert_eq!(rows.iter().filter(|row| row.ingress == A).count(), 16);
    assert_eq!(rows.iter().filter(|row| row.ingress == B).count(), 1);
}

#[test]
fn evictions_are_counted_by_cause() {
    let limits = Limits { flows: 64, flows_per_port: 16, ..Limits::default() };
    let mut h = Harness::with(standard_ports(), limits);
    for source_port in 0..20 {
        h.send(A, &udp(direct(A_IP, B_IP), source_port, 2, b"x"));
    }
    assert_eq!(h.switch.summary().flow_evictions, FlowEvictions { share: 4, ..FlowEvictions::default() });
    h.apply(ConfigDelta::default());
    assert_eq!(h.switch.summary().flows, 0);
    h.send(A, &udp(direct(A_IP, B_IP), 19, 2, b"x"));
    assert_eq!((h.switch.summary().flows, h.switch.summary().flow_evictions.stale), (1, 1));
    h.wait(Duration::from_secs(60));
    h.sweep();
    let evictions = h.switch.summary().flow_evictions;
    assert_eq!((evictions.stale, evictions.idle, evictions.total()), (16, 1, 21));
}

#[test]
fn flow_decided_in_a_batch_serves_the_rest_of_it() {
    let mut h = Harness::with(ports_without_segmentation(), Limits::default());
    let frame = (A, udp(routed(A_IP, B_IP), 1, 2, b"x"));
    assert_eq!(h.send_batch(&vec![frame; 50]).len(), 50);
    let rows = h.switch.flows_page(0, 10, h.now).0;
    assert_eq!(rows.iter().map(|row| row.frames).collect::<Vec<_>>(), [50]);
}

#[derive(Debug, Clone)]
enum Step {
    Frame { ingress: u32, frame: Vec<u8> },
    State(u32, PortState),
    Mtu(u32, u16),
    Secure(u32, bool),
    Reattach(u32),
    Wait(u64),
}

fn station() -> impl Strategy<Value = (Mac, [u8; 4])> {
    prop_oneof![
        Just((pod_mac(A_IP), A_IP)),
        Just((pod_mac(B_IP), B_IP)),
        Just((pod_mac(VM_IP), VM_IP)),
        Just((gateway_mac(), GATEWAY_IP)),
        Just((router_mac(), GATEWAY_IP)),
        Just((router_mac(), NODE_IP)),
        Just((router_mac(), B_IP)),
        Just((router_mac(), [10, 244, 0, 50])),
        Just((Mac([2, 0, 0, 0, 0, 1]), [10, 244, 0, 50])),
    ]
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let ttl = prop_oneof![Just(64u8), Just(1)];
    let len = prop_oneof![Just(1usize), Just(900)];
    (station(), station(), ttl, len, 0..4u8, 0..2u16).prop_map(
        |((from_mac, from), (to_mac, to), ttl, len, kind, l4_port)| {
            let path = Path { from_mac, to_mac, from, to, ttl };
            match kind {
                0 => udp(path, l4_port, 2, &vec![0; len]),
                1 => tcp(path, 1, l4_port, &vec![0; len]),
                2 => echo_request(path, l4_port, &vec![0; len]),
                _ => ArpFrame::request(from_mac, from, to).bytes(),
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![3 => Just(PortState::Active), 1 => Just(PortState::Closed), 1 => Just(PortState::Detached)];
    prop_oneof![
        40 => (0..4u32, frame()).prop_map(|(ingress, frame)| Step::Frame { ingress, frame }),
        1 => (0..4u32, state).prop_map(|(port, state)| Step::State(port, state)),
        1 => (0..4u32, prop_oneof![Just(500u16), Just(1450)]).prop_map(|(port, mtu)| Step::Mtu(port, mtu)),
        1 => (1..4u32, any::<bool>()).prop_map(|(port, secure)| Step::Secure(port, secure)),
        1 => (0..4u32).prop_map(Step::Reattach),
        3 => (0..400u64).prop_map(Step::Wait),
    ]
}

fn run(h: &mut Harness, step: &Step) -> Vec<(PortId, Vec<u8>)> {
    let config = |h: &Harness, id: &u32| h.switch.ports().find(|p| p.id.0 == *id).unwrap().clone();
    match step {
        Step::Frame { ingress, frame } => return h.send(PortId(*ingress), frame),
        Step::State(id, state) => h.switch.set_port_state(PortId(*id), *state),
        Step::Mtu(id, ip_mtu) => h.update(PortConfig { ip_mtu: *ip_mtu, ..config(h, id) }),
        Step::Secure(id, port_security) => {
            h.update(PortConfig { port_security: *port_security, ..config(h, id) });
        }
        Step::Reattach(id) => {
            let again = config(h, id);
            h.apply(ConfigDelta { detach: vec![again.id], attach: vec![again], ..ConfigDelta::default() });
        }
        Step::Wait(seconds) => {
            h.wait(Duration::from_secs(*seconds));
            h.sweep();
        }
    }
    Vec::new()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// The model of the flow table is the switch without one.
    #[test]
    fn switch_with_flow_table_does_what_the_switch_without_does(
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut cached = Harness::with(standard_ports(), Limits { flows: 16, flows_per_port: 6, ..Limits::default() });
        let mut plain = Harness::with(standard_ports(), Limits { flows: 0, flows_per_port: 0, ..Limits::default() });
        for step in &steps {
            prop_assert_eq!(run(&mut cached, step), run(&mut plain, step), "{:?}", step);
            for port in standard_ports() {
                let counters = |h: &Harness| h.switch.port_counters(port.id);
                prop_assert_eq!(counters(&cached), counters(&plain), "{:?}", step);
            }
        }
        prop_assert_eq!(plain.switch.summary().flows, 0);
    }

    /// Looking up a window of frames ahead finds what looking up each in its turn would have.
    #[test]
    fn batches_meet_the_fate_of_single_frames(
        batches in proptest::collection::vec((proptest::collection::vec((0..4u32, frame()), 1..64), any::<bool>()), 1..10),
    ) {
        let limits = |flows, flows_per_port| Limits { flows, flows_per_port, ..Limits::default() };
        let mut together = Harness::with(ports_without_segmentation(), limits(6, 3));
        let mut single = Harness::with(ports_without_segmentation(), limits(0, 0));
        for (frames, reconfigure) in batches {
            let frames: Vec<_> = frames.into_iter().map(|(port, frame)| (PortId(port), frame)).collect();
            let alone: Vec<_> = frames.iter().flat_map(|(port, frame)| single.send(*port, frame)).collect();
            prop_assert_eq!(together.send_batch(&frames), alone);
            for port in standard_ports() {
                let counters = |h: &Harness| h.switch.port_counters(port.id);
                prop_assert_eq!(counters(&together), counters(&single));
            }
            if reconfigure {
                for h in [&mut together, &mut single] {
                    h.apply(ConfigDelta::default());
                }
            }
        }
    }
}
