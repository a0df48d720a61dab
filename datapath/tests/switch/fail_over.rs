//! A backend that refuses the first packet, or does not answer it: another one gets it, and the client notices nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use datapath::{Limits, Shared, Switch, SwitchOptions};
use etherparse::{PacketBuilder, TransportHeader};
use protocol::PortId;
use protocol::link::{ConfigDelta, FailOvers, Scheduler, ServiceConfig, TrafficPolicy, Transport};

use crate::common::*;
use crate::connection_errors::{error, packet};
use crate::services::*;
use crate::uplink_services::with_uplink_services;

/// Of the client's SYN.
const SEQUENCE: u32 = 77_000;
const OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

fn numbered(path: Path, ports: (u16, u16), flags: &str, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut builder = PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
        .ipv4(path.from, path.to, path.ttl)
        .tcp(ports.0, ports.1, numbers.0, 64_240);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(numbers.1),
            'R' => builder.rst(),
            other => panic!("no flag {other}"),
        };
    }
    let builder = if flags == SYN { builder.options_raw(&OPTIONS).unwrap() } else { builder };
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

fn syn_from(path: Path, port: u16) -> Vec<u8> {
    numbered(path, (port, 80), SYN, (SEQUENCE, 0), b"")
}

/// A client's to the service.
fn syn(port: u16) -> Vec<u8> {
    syn_from(routed(A_IP, VIP), port)
}

/// What a host without a listener says to the SYN.
fn refusal(path: Path, port: u16) -> Vec<u8> {
    numbered(path, (8080, port), "RA", (0, SEQUENCE + 1), b"")
}

/// The backend behind a port.
fn address_of(port: PortId) -> [u8; 4] {
    match port {
        A => A_IP,
        B => B_IP,
        VM => VM_IP,
        GATEWAY => GATEWAY_IP,
        other => panic!("nobody at {other}"),
    }
}

/// Who gets the client's SYN.
#[track_caller]
fn connect(h: &mut Harness, port: u16) -> PortId {
    let (to, sent) = only(h.send(A, &syn(port)));
    assert_eq!(ends(ethernet(&sent)), (at(A_IP, port), at(address_of(to), 8080)));
    h.deltas();
    to
}

/// The backend at `by` refuses the connection of A; who gets it instead.
#[track_caller]
fn refuse(h: &mut Harness, by: PortId, port: u16) -> (PortId, Vec<u8>) {
    only(h.send(by, &refusal(direct(address_of(by), A_IP), port)))
}

#[track_caller]
fn state(h: &Harness) -> String {
    let (rows, _) = h.switch.connections_page(0, 99, h.now);
    let states: Vec<_> = rows.iter().map(|row| row.state.as_str()).filter(|s| *s != "ABANDONED").collect();
    states.join(" ")
}

fn fail_overs(h: &Harness) -> FailOvers {
    h.switch.summary().fail_overs
}

/// From its SYN on, the connection of A with the backend at `server` runs its course.
#[track_caller]
fn assert_works(h: &mut Harness, server: PortId, port: u16) {
    let back = direct(address_of(server), A_IP);
    let (to, sent) = only(h.send(server, &numbered(back, (8080, port), SYN_ACK, (5, SEQUENCE + 1), b"")));
    assert_eq!((to, ends(ethernet(&sent))), (A, (at(VIP, 80), at(A_IP, port))));
    for data in [&b""[..], b"GET /", b"more"] {
        let frame = numbered(routed(A_IP, VIP), (port, 80), ACK, (SEQUENCE + 1, 6), data);
        let (to, sent) = only(h.send(A, &frame));
        assert_eq!((to, ends(ethernet(&sent)).1), (server, at(address_of(server), 8080)));
    }
    let (to, sent) = only(h.send(server, &numbered(back, (8080, port), ACK, (6, SEQUENCE + 1), b"page")));
    assert_eq!((to, ends(ethernet(&sent))), (A, (at(VIP, 80), at(A_IP, port))));
}

fn with_scheduler(h: &mut Harness, change: impl Fn(ServiceConfig) -> ServiceConfig) {
    let services = vec![change(service(WEB, Transport::Tcp, 80))];
    h.apply(ConfigDelta { services, ..ConfigDelta::default() });
}

#[test]
fn refused_syn_is_sent_to_another_backend_as_it_was() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    for port in 4000..4004 {
        let first = connect(&mut h, port);
        let (second, sent) = refuse(&mut h, first, port);
        assert_ne!(first, second);
        assert_eq!(ends(ethernet(&sent)), (at(A_IP, port), at(address_of(second), 8080)));
        let decoded = decode(ethernet(&sent));
        let Some(TransportHeader::Tcp(tcp)) = &decoded.transport else { panic!("no TCP") };
        assert_eq!((tcp.sequence_number, tcp.options.as_slice()), (SEQUENCE, &OPTIONS[..]));
        assert_eq!((tcp.syn, tcp.ack, tcp.window_size), (true, false, 64_240));
        assert_eq!(ipv4_of(&decoded).time_to_live, 63);
        h.assert_deltas([
            (first, Delta::dropped("failed_over")),
            (second, Delta { tx: 1, originated: 1, ..Delta::default() }),
        ]);
        assert_works(&mut h, second, port);
    }
    assert_eq!(state(&h), ["ESTABLISHED"; 4].join(" "));
    assert_eq!(fail_overs(&h), FailOvers { refused: 4, ..FailOvers::default() });
}

#[test]
fn checksum_left_to_the_device_is_left_to_it_again() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let mut frame = syn(4000);
    make_partial(&mut frame, 16);
    let (first, _) = only(h.send_with(A, Vnet::partial(16), &frame));
    let (second, sent) = refuse(&mut h, first, 4000);
    let mut wanted =
        syn_from(Path { from_mac: router_mac(), ttl: 63, ..direct(A_IP, address_of(second)) }, 4000);
    wanted[36..38].copy_from_slice(&8080u16.to_be_bytes());
    make_partial(&mut wanted, 16);
    let vnet = Vnet { hdr_len: 74, ..Vnet::partial(16) };
    assert_eq!((Vnet::of(&sent), ethernet(&sent)), (vnet, &wanted[..]));
}

#[test]
fn client_is_refused_when_all_backends_have_refused() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let first = connect(&mut h, 4000);
    let (second, _) = refuse(&mut h, first, 4000);
    h.deltas();
    let (to, sent) = refuse(&mut h, second, 4000);
    assert_eq!((to, ends(ethernet(&sent))), (A, (at(VIP, 80), at(A_IP, 4000))));
    h.assert_deltas([(second, Delta::forwarded()), (A, Delta::sent())]);
    assert_eq!(state(&h), "RESET");
    // The client may try again from the same port.
    let third = connect(&mut h, 4000);
    let (fourth, _) = refuse(&mut h, third, 4000);
    assert_works(&mut h, fourth, 4000);
}

#[test]
fn only_backend_that_refuses_is_heard_at_once() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    assert_eq!(connect(&mut h, 4000), B);
    let (to, sent) = refuse(&mut h, B, 4000);
    assert_eq!((to, ends(ethernet(&sent))), (A, (at(VIP, 80), at(A_IP, 4000))));
    assert_eq!(fail_overs(&h), FailOvers::default());
}

#[test]
fn three_others_are_asked_and_no_more() {
    let addresses: Vec<[u8; 4]> = (2..10).map(|last| [10, 244, 1, last]).collect();
    let mut h = with_services(harness_a(), &addresses);
    h.wire.trains.clear();
    assert!(h.send(A, &syn(4000)).is_empty());
    let mut asked = BTreeSet::new();
    for refused in 1.. {
        let Some(train) = h.wire.trains.pop() else { break };
        let (from, (backend, port)) = ends(inner(&train.datagrams[0]));
        assert_eq!((from, port), (at(A_IP, 4000), 8080));
        assert!(asked.insert(backend), "{backend} is asked twice");
        h.deltas();
        let sent =
            h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &refusal(from_peer(backend.octets(), A_IP), 4000))]);
        assert_eq!(sent.len(), usize::from(refused == 4), "the client hears of the fourth");
    }
    assert_eq!(asked.len(), 4);
    assert_eq!(state(&h), "RESET");
}

#[test]
fn reset_of_something_else_moves_nothing() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let first = connect(&mut h, 4000);
    let back = direct(address_of(first), A_IP);
    let wrong = [
        numbered(back, (8080, 4000), "RA", (0, SEQUENCE), b""),
        numbered(back, (8080, 4000), "RA", (0, SEQUENCE + 2), b""),
        numbered(back, (8080, 4000), "R", (0, 0), b""),
    ];
    for frame in wrong {
        // The client knows what it sent, and ignores it.
        assert_eq!(only(h.send(first, &frame)).0, A);
        assert_eq!(state(&h), "SYN_SENT");
    }
    let (second, _) = refuse(&mut h, first, 4000);
    assert_works(&mut h, second, 4000);
    // After the answer it is no first packet any more.
    let reset = numbered(direct(address_of(second), A_IP), (8080, 4000), "RA", (6, SEQUENCE + 1), b"");
    assert_eq!(only(h.send(second, &reset)).0, A);
    assert_eq!(state(&h), "RESET");
    // Nor does one by a third party.
    let first = connect(&mut h, 4001);
    let third = if first == B { VM } else { B };
    let (to, sent) = only(h.send(third, &refusal(direct(address_of(third), A_IP), 4001)));
    assert_eq!((to, ends(ethernet(&sent)).0), (A, at(address_of(third), 8080)), "of no connection");
    assert_eq!(state(&h), "RESET SYN_SENT");
    assert_eq!(fail_overs(&h), FailOvers { refused: 1, ..FailOvers::default() });
}

#[test]
fn refusal_after_the_syn_ack_is_the_clients() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let first = connect(&mut h, 4000);
    let back = direct(address_of(first), A_IP);
    h.send(first, &numbered(back, (8080, 4000), SYN_ACK, (5, SEQUENCE + 1), b""));
    assert_eq!(refuse(&mut h, first, 4000).0, A);
    assert_eq!(fail_overs(&h), FailOvers::default());
}

#[test]
fn half_open_backend_challenges_is_reset_and_refuses() {
    // RFC 9293 §3.5.1: the acknowledgement of an old connection passes, and makes a flow of the answers' way.
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let first = connect(&mut h, 4000);
    let back = direct(address_of(first), A_IP);
    assert_eq!(only(h.send(first, &numbered(back, (8080, 4000), ACK, (9, 9), b""))).0, A);
    assert_ne!(refuse(&mut h, first, 4000).0, A);
}

#[test]
fn repeated_syn_goes_to_another_backend_and_the_late_answer_nowhere() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let first = connect(&mut h, 4000);
    for millis in [0, 499] {
        h.wait(Duration::from_millis(millis));
        assert_eq!(connect(&mut h, 4000), first, "a duplicate");
    }
    h.wait(Duration::from_millis(501));
    let second = connect(&mut h, 4000);
    assert_ne!(first, second);
    assert_eq!(fail_overs(&h), FailOvers { unanswered: 1, ..FailOvers::default() });
    let late = numbered(direct(address_of(first), A_IP), (8080, 4000), SYN_ACK, (5, SEQUENCE + 1), b"");
    for _ in 0..2 {
        let (to, sent) = only(h.send(first, &late));
        // As its client's kernel would: what it has half opened it forgets.
        assert_eq!((to, ends(ethernet(&sent))), (first, (at(A_IP, 4000), at(address_of(first), 8080))));
        let Some(TransportHeader::Tcp(tcp)) = decode(ethernet(&sent)).transport else { panic!("no TCP") };
        assert_eq!((tcp.rst, tcp.sequence_number), (true, SEQUENCE + 1));
        h.assert_deltas([(first, Delta::refused_with_error("answered_too_late"))]);
    }
    let reset = numbered(direct(address_of(first), A_IP), (8080, 4000), "R", (6, 0), b"");
    h.assert_dropped(first, &reset, "answered_too_late");
    assert_works(&mut h, second, 4000);
    // The client speaks to that pod itself, from the same port.
    let direct_syn = numbered(direct(A_IP, address_of(first)), (4000, 8080), SYN, (1, 0), b"");
    assert_eq!(only(h.send(A, &direct_syn)).0, first);
    assert_eq!(only(h.send(first, &late)).0, A);
}

#[test]
fn silent_backends_are_tried_in_turn_and_the_last_one_stays() {
    let addresses: Vec<[u8; 4]> = (2..10).map(|last| [10, 244, 1, last]).collect();
    let mut h = with_services(harness_a(), &addresses);
    let mut asked = Vec::new();
    for seconds in [0, 1, 2, 4, 8, 16] {
        h.wait(Duration::from_secs(seconds));
        h.wire.trains.clear();
        h.send(A, &syn(4000));
        asked.push(ends(inner(&h.wire.trains.remove(0).datagrams[0])).1);
    }
    let different: BTreeSet<(Ipv4Addr, u16)> = asked.iter().copied().collect();
    assert_eq!((different.len(), asked[3], asked[4]), (4, asked[5], asked[5]));
}

#[test]
fn other_attempt_from_the_same_port_is_known_by_its_number() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let first = connect(&mut h, 4000);
    let other = numbered(routed(A_IP, VIP), (4000, 80), SYN, (1, 0), b"");
    h.wait(Duration::from_secs(1));
    assert_eq!(only(h.send(A, &other)).0, first);
    let answer = |number| numbered(direct(address_of(first), A_IP), (8080, 4000), "RA", (0, number), b"");
    assert_eq!(only(h.send(first, &answer(SEQUENCE + 1))).0, A, "of the attempt before");
    assert_ne!(only(h.send(first, &answer(2))).0, A);
}

#[test]
fn unreachable_backend_is_passed_over() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    for (port, code) in (4000..).zip([0, 1, 2, 3, 9, 10, 13]) {
        let (first, seen) = only(h.send(A, &syn(port)));
        let told = |code, quote: &[u8]| error(direct(address_of(first), A_IP), (3, code), quote);
        // That it is too big is the client's to know; and only who has seen the SYN knows its number.
        assert_eq!(only(h.send(first, &told(4, packet(&seen)))).0, A);
        let mut guessed = packet(&seen).to_vec();
        guessed[24] ^= 1;
        assert_eq!(only(h.send(first, &told(code, &guessed))).0, A);
        h.deltas();
        let (second, _) = only(h.send(first, &told(code, packet(&seen))));
        assert!(second != first && second != A);
        h.assert_deltas([
            (first, Delta::dropped("failed_over")),
            (second, Delta { tx: 1, originated: 1, ..Delta::default() }),
        ]);
        assert_works(&mut h, second, port);
    }
    assert_eq!(fail_overs(&h).unreachable, 7);
}

#[test]
fn router_of_another_node_speaks_for_its_absent_pod() {
    let mut h = with_services(harness_a(), &[C_IP, B_IP]);
    let port = (4000..).find(|port| h.send(A, &syn(*port)).is_empty()).unwrap();
    let seen = inner(&h.wire.trains.pop().unwrap().datagrams[0])[14..].to_vec();
    let told = vxlan(VNI, &error(from_peer(GATEWAY_B_IP, A_IP), (3, 1), &seen));
    let (to, _) = only(h.receive(TUNNEL, NODE_B_IP, 0, &[told]));
    assert_eq!(to, B);
    assert_works(&mut h, B, port);
}

#[test]
fn absent_pod_here_is_passed_over_at_once() {
    let gone = [10, 244, 0, 99];
    let mut h = with_services(Harness::new(), &[gone, B_IP]);
    for port in 4000..4010 {
        let (to, _) = only(h.send(A, &syn(port)));
        assert_eq!(to, B);
        let sent = h.deltas();
        assert_eq!((sent[&A].clone(), sent[&B].tx), (Delta::forwarded(), 1));
        assert_works(&mut h, B, port);
        h.deltas();
    }
    // In turn: the first is B's, and after each that failed over it is the absent one's turn again.
    assert_eq!(fail_overs(&h), FailOvers { unreachable: 9, ..FailOvers::default() });
    // Nobody else: the client is told as ever.
    let mut h = with_services(Harness::new(), &[gone]);
    let (to, sent) = only(h.send(A, &syn(4000)));
    assert_eq!((to, &ethernet(&sent)[34..36]), (A, &[3, 1][..]));
    h.assert_deltas([(A, Delta::refused_with_error("no_neighbor"))]);
}

#[test]
fn device_that_has_just_gone_is_passed_over() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    h.wire.gone.push(B);
    for port in 4000..4010 {
        assert_eq!(only(h.send(A, &syn(port))).0, VM);
        assert_works(&mut h, VM, port);
    }
    assert_eq!(fail_overs(&h).unreachable, 10);
    // The one that refuses is the only other: the client is refused by the switch.
    with_scheduler(&mut h, |service| ServiceConfig { scheduler: Scheduler::SourceHash, ..service });
    h.wire.gone.clear();
    let first = connect(&mut h, 5000);
    h.wire.gone.push(if first == B { VM } else { B });
    let (to, sent) = refuse(&mut h, first, 5000);
    assert_eq!((to, ends(ethernet(&sent))), (A, (at(VIP, 80), at(A_IP, 5000))));
    let Some(TransportHeader::Tcp(tcp)) = decode(ethernet(&sent)).transport else { panic!("no TCP") };
    assert_eq!((tcp.rst, tcp.ack, tcp.acknowledgment_number), (true, true, SEQUENCE + 1));
}

#[test]
fn silent_next_hop_is_passed_over_and_not_spoken_of() {
    let mut h = with_uplink_services(&[HOST_IP, B_IP]);
    let to_pods = |sent: Vec<(PortId, Vec<u8>)>| -> Vec<PortId> {
        sent.into_iter().map(|(to, _)| to).filter(|to| *to != UPLINK).collect()
    };
    let port = (4000..).find(|port| to_pods(h.send(A, &syn(*port))).is_empty()).unwrap();
    h.wait(Duration::from_secs(1));
    h.sweep();
    assert_eq!(to_pods(h.send(A, &syn(port))), [B]);
    h.wait(Duration::from_secs(3));
    h.sweep();
    assert!(to_pods(std::mem::take(&mut h.wire.sent)).is_empty(), "the client is told nothing");
    assert_works(&mut h, B, port);
    assert_eq!(fail_overs(&h), FailOvers { unanswered: 1, ..FailOvers::default() });
}

#[test]
fn affinity_follows() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    with_scheduler(&mut h, |service| ServiceConfig { affinity_seconds: Some(100), ..service });
    let first = connect(&mut h, 4000);
    let (second, _) = refuse(&mut h, first, 4000);
    for port in 4001..4010 {
        assert_eq!(connect(&mut h, port), second);
    }
}

#[test]
fn fewest_connections_are_counted_where_they_are() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    with_scheduler(&mut h, |service| ServiceConfig { scheduler: Scheduler::LeastConnections, ..service });
    for port in 4000..4010 {
        let first = connect(&mut h, port);
        let to = if first == B { refuse(&mut h, B, port).0 } else { first };
        assert_works(&mut h, to, port);
    }
    // All ten are with VM: the next nine are B's, each of them established.
    for port in 5000..5009 {
        assert_eq!(connect(&mut h, port), B);
        assert_works(&mut h, B, port);
    }
}

#[test]
fn pod_that_refuses_itself_is_served_by_another() {
    let mut h = with_services(Harness::new(), &[A_IP, B_IP]);
    let (port, _) =
        (4000..).map(|port| (port, only(h.send(A, &syn(port))).0)).find(|(_, to)| *to == A).unwrap();
    let (to, sent) = only(h.send(A, &refusal(routed(A_IP, GATEWAY_IP), port)));
    assert_eq!((to, ends(ethernet(&sent))), (B, (at(A_IP, port), at(B_IP, 8080))), "no hairpin any more");
    assert_works(&mut h, B, port);
}

#[test]
fn node_is_served_by_another() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let path = Path { to_mac: router_mac(), ..from_node(VIP) };
    let (first, _) = only(h.send(GATEWAY, &syn_from(path, 4000)));
    let back = Path { to_mac: router_mac(), ..direct(address_of(first), GATEWAY_IP) };
    let (second, sent) = only(h.send(first, &refusal(back, 4000)));
    assert_eq!(ends(ethernet(&sent)), (at(GATEWAY_IP, 4000), at(address_of(second), 8080)));
    assert_ne!(first, second);
}

#[test]
fn client_outside_is_served_by_another_also_of_another_node() {
    for others in [&[B_IP, A_IP][..], &[B_IP, C_IP]] {
        for (address, port) in [(NODE_IP, 30_080), (LB_IP, 80)] {
            let mut h = with_uplink_services(others);
            let question =
                |number| numbered(outside(CLIENT_IP, address), (number, port), SYN, (SEQUENCE, 0), b"");
            let first = (4000..).find(|number| {
                h.wire.trains.clear();
                h.send(UPLINK, &question(*number)).first().is_some_and(|(to, _)| *to == B)
            });
            let first = first.unwrap();
            h.wire.trains.clear();
            let sent = h.send(B, &refusal(routed(B_IP, CLIENT_IP), first));
            match h.wire.trains.pop() {
                // A pod elsewhere answers this node.
                Some(train) => assert_eq!(ends(inner(&train.datagrams[0])).0.0, Ipv4Addr::from(GATEWAY_IP)),
                None => assert_eq!(
                    (sent[0].0, ends(ethernet(&sent[0].1))),
                    (A, (at(CLIENT_IP, first), at(A_IP, 8080)))
                ),
            }
            assert_eq!(fail_overs(&h).refused, 1);
        }
    }
}

#[test]
fn policy_holds_for_the_next_backend_too() {
    let mut h = with_uplink_services(&[B_IP, C_IP]);
    let local = ServiceConfig {
        external_policy: TrafficPolicy::Local,
        frontends: vec![frontend(protocol::link::FrontendKind::LoadBalancer, LB_IP, 80)],
        ..service(WEB, Transport::Tcp, 80)
    };
    h.apply(ConfigDelta { services: vec![local], ..ConfigDelta::default() });
    assert_eq!(only(h.send(UPLINK, &syn_from(outside(CLIENT_IP, LB_IP), 4000))).0, B);
    assert_eq!(only(h.send(B, &refusal(routed(B_IP, CLIENT_IP), 4000))).0, UPLINK, "C is elsewhere");
}

#[test]
fn question_and_refusal_may_be_read_by_different_workers() {
    let limits = Limits { connections: 64, connection_reserve: 0, ..Limits::default() };
    let words: Vec<_> =
        std::iter::repeat_with(|| AtomicU64::new(0)).take(Shared::connection_words(&limits)).collect();
    let shared = Arc::new(Shared::new(Box::leak(words.into_boxed_slice()), 1, &limits));
    let worker = |number| {
        let options = SwitchOptions { seed: 1, limits, has_peers: true, worker: number };
        let mut h = Harness::bare(limits);
        h.switch = Switch::sharing(options, Arc::clone(&shared));
        h.apply(ConfigDelta { node: Some(node()), attach: standard_ports(), ..ConfigDelta::default() });
        with_services(h, &[B_IP, VM_IP])
    };
    let (mut one, mut two) = (worker(0), worker(1));
    let first = connect(&mut one, 4000);
    two.deltas();
    let (second, sent) = refuse(&mut two, first, 4000);
    assert_eq!(ends(ethernet(&sent)), (at(A_IP, 4000), at(address_of(second), 8080)));
    two.assert_deltas([
        (first, Delta::dropped("failed_over")),
        (second, Delta { tx: 1, originated: 1, ..Delta::default() }),
    ]);
    let back = direct(address_of(second), A_IP);
    two.send(second, &numbered(back, (8080, 4000), SYN_ACK, (5, SEQUENCE + 1), b""));
    let (to, _) = only(one.send(A, &numbered(routed(A_IP, VIP), (4000, 80), ACK, (SEQUENCE + 1, 6), b"")));
    assert_eq!(to, second, "the flow that led to the first one is gone");
}

#[test]
fn flood_of_syns_costs_others_nothing() {
    let limits = Limits { connections: 16_384, ..Limits::default() };
    let mut h = with_services(Harness::with(standard_ports(), limits), &[B_IP, VM_IP]);
    let path = Path { to_mac: router_mac(), ..from_node(VIP) };
    let (first, _) = only(h.send(GATEWAY, &syn_from(path, 4000)));
    for port in 10_000..16_000 {
        h.send(A, &syn(port));
    }
    // The last ones of who floods still fail over, the first ones do not.
    let moved = |h: &mut Harness, port: u16| {
        let sent = [B, VM].map(|by| h.send(by, &refusal(direct(address_of(by), A_IP), port)));
        sent.iter().flatten().any(|(to, _)| [B, VM].contains(to))
    };
    assert!((15_990..16_000).all(|port| moved(&mut h, port)));
    assert!((10_000..10_010).all(|port| !moved(&mut h, port)));
    let back = Path { to_mac: router_mac(), ..direct(address_of(first), GATEWAY_IP) };
    let (second, _) = only(h.send(first, &refusal(back, 4000)));
    assert!(second != GATEWAY && second != first);
}

#[test]
fn syn_with_data_or_with_more_than_tcps_options_is_refused_as_ever() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let with_data = numbered(routed(A_IP, VIP), (4000, 80), SYN, (SEQUENCE, 0), b"GET /");
    let (first, _) = only(h.send(A, &with_data));
    let back = direct(address_of(first), A_IP);
    let answer = numbered(back, (8080, 4000), "RA", (0, SEQUENCE + 6), b"");
    assert_eq!(only(h.send(first, &answer)).0, A);

    let whole = syn(4001);
    let mut header = etherparse::Ipv4Header::new(0, 64, 6.into(), A_IP, VIP).unwrap();
    header.options = etherparse::Ipv4Options::try_from(&[1u8; 40][..]).unwrap();
    let (first, _) = only(h.send(A, &ipv4_with(routed(A_IP, VIP), header, &whole[34..])));
    assert_eq!(refuse(&mut h, first, 4001).0, A);
}

#[test]
fn datagrams_are_refused_as_ever() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let (first, seen) = only(h.send(A, &udp(routed(A_IP, VIP), 4000, 53, b"?")));
    let told = error(direct(address_of(first), A_IP), (3, 3), packet(&seen));
    assert_eq!(only(h.send(first, &told)).0, A);
    assert_eq!(fail_overs(&h), FailOvers::default());
}
