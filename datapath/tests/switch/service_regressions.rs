//! What users of other service proxies complain about, each as a test that would show it.

use protocol::link::{BackendChanges, BackendConfig, BackendState, ConfigDelta, ServiceConfig, Transport};
use protocol::{PortId, ServiceId};

use crate::common::*;
use crate::services::*;

/// Pairs of queries: as many as it took others to see one in some thousands lost.
const PAIRS: usize = 100_000;
/// Of one batch.
const SOCKETS: usize = 25;
const CLIENTS: u16 = 50;

fn swap(service: ServiceId, port: u16, from: [u8; 4], to: [u8; 4]) -> ConfigDelta {
    let change = BackendChanges { service, remove: vec![(ip(from), port)], put: vec![backend(to, port)] };
    ConfigDelta { backends: vec![change], ..ConfigDelta::default() }
}

fn question(client: u16) -> Vec<u8> {
    udp(routed(A_IP, VIP), 20_000 + client, 53, b"?")
}

/// Clients that never change their port, as `CoreDNS` forwarders and syslog senders do: each follows with its next datagram.
#[test]
fn fifty_clients_with_fixed_ports_follow_every_swap_of_the_backend() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    for client in 0..CLIENTS {
        only(h.send(A, &question(client)));
    }
    for round in 0..6 {
        let ((from, _), (to, port)) =
            if round % 2 == 0 { ((B_IP, B), (VM_IP, VM)) } else { ((VM_IP, VM), (B_IP, B)) };
        h.apply(swap(DNS, 5353, from, to));
        for client in 0..CLIENTS {
            let (sent_to, sent) = only(h.send(A, &question(client)));
            assert_eq!(
                (sent_to, ends(ethernet(&sent)).1),
                (port, at(to, 5353)),
                "round {round}, client {client}"
            );
        }
    }
    let rows = h.switch.connections_page(0, 1000, h.now).0;
    assert_eq!(rows.len(), usize::from(CLIENTS), "no connection of a former backend is left");
}

/// One pod at a time, which comes back with another address, from one source port.
#[test]
fn datagrams_of_one_port_survive_a_backend_that_is_gone_for_a_while() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    only(h.send(A, &question(0)));
    let gone = BackendChanges { service: DNS, remove: vec![(ip(B_IP), 5353)], put: Vec::new() };
    h.apply(ConfigDelta { backends: vec![gone], ..ConfigDelta::default() });
    let (to, sent) = only(h.send(A, &question(0)));
    assert_eq!((to, &ethernet(&sent)[34..36]), (A, &[3, 3][..]), "told, not swallowed");
    h.apply(ConfigDelta { backends: vec![put(DNS, &[backend(VM_IP, 5353)])], ..ConfigDelta::default() });
    let (to, sent) = only(h.send(A, &question(0)));
    assert_eq!((to, ends(ethernet(&sent)).1), (VM, at(VM_IP, 5353)));
}

/// A resolver's A and AAAA queries leave one socket back to back, in one batch: both reach one backend, and both answers come back.
#[test]
fn a_hundred_thousand_pairs_of_queries_are_all_answered() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let mut ports = (1024..=u16::MAX).cycle();
    for _ in 0..PAIRS / SOCKETS {
        let clients: Vec<u16> = ports.by_ref().take(SOCKETS).collect();
        let ask = |port: u16, payload: &[u8]| (A, udp(routed(A_IP, VIP), port, 53, payload));
        let queries: Vec<_> =
            clients.iter().flat_map(|port| [ask(*port, b"A"), ask(*port, b"AAAA")]).collect();
        let mut answers = Vec::new();
        for (to, query) in h.send_batch(&queries) {
            let (client, server) = ends(ethernet(&query));
            answers.push((to, udp(direct(server.0.octets(), A_IP), server.1, client.1, b"!")));
        }
        assert_eq!(answers.len(), queries.len(), "every query reaches a backend");
        let answered: Vec<_> =
            h.send_batch(&answers).iter().map(|(to, sent)| (*to, ends(ethernet(sent)))).collect();
        for port in clients {
            let of_this = answered.iter().filter(|one| **one == (A, (at(VIP, 53), at(A_IP, port)))).count();
            assert_eq!(of_this, 2, "both answers for port {port}");
        }
        // Long enough for the connections to be forgotten, so that a port's share is not used up.
        h.wait(std::time::Duration::from_secs(10));
        h.sweep();
    }
}

fn with_sequence(mut frame: Vec<u8>, sequence: u32) -> Vec<u8> {
    let tcp = 34;
    let old = u32::from_be_bytes(frame[tcp + 4..tcp + 8].try_into().unwrap());
    frame[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
    let sum = u16::from_be_bytes(frame[tcp + 16..tcp + 18].try_into().unwrap());
    let halves = |value: u32| [value >> 16, value & 0xffff];
    // RFC 1624.
    let mut total = u32::from(!sum);
    for (was, is) in halves(old).into_iter().zip(halves(sequence)) {
        total += (!was & 0xffff) + is;
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    frame[tcp + 16..tcp + 18].copy_from_slice(&(!u16::try_from(total).unwrap()).to_be_bytes());
    frame
}

/// Complaint: a segment that conntrack calls invalid leaves untranslated, and the client answers it with a reset.
#[test]
fn segments_out_of_the_window_are_translated_or_dropped_never_passed_on_as_they_are() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let back = |flags, data: &[u8]| segment(direct(B_IP, A_IP), (8080, 4000), flags, data);
    only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b"")));
    only(h.send(B, &back(SYN_ACK, b"")));
    only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), ACK, b"")));
    for sequence in [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ff00] {
        let (to, sent) = only(h.send(B, &with_sequence(back(ACK, b"late"), sequence)));
        assert_eq!((to, ends(ethernet(&sent))), (A, (at(VIP, 80), at(A_IP, 4000))), "{sequence:x}");
    }
    // Ended by a reset; whatever the backend still sends is the service's, or nothing.
    only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), "R", b"")));
    for flags in [ACK, "FA", SYN_ACK, "R"] {
        for (to, sent) in h.send(B, &back(flags, b"")) {
            let source = ends(ethernet(&sent)).0;
            assert!(to != A || source == at(VIP, 80), "{flags}: the client sees {source:?}");
        }
    }
}

/// All that are left are going: they serve to the end, and no longer once one is ready.
#[test]
fn terminating_backends_are_used_while_there_is_no_other() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let draining = BackendConfig { state: BackendState::Draining, ..backend(B_IP, 8080) };
    h.apply(ConfigDelta { backends: vec![put(WEB, &[draining])], ..ConfigDelta::default() });
    let begin = |h: &mut Harness, port| only(h.send(A, &segment(routed(A_IP, VIP), (port, 80), SYN, b""))).0;
    assert_eq!(begin(&mut h, 4000), B);
    h.apply(ConfigDelta { backends: vec![put(WEB, &[backend(VM_IP, 8080)])], ..ConfigDelta::default() });
    for port in 4001..4010 {
        assert_eq!(begin(&mut h, port), VM);
    }
    // The connection that was begun meanwhile stays.
    let (to, _) = only(h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b"")));
    assert_eq!(to, B);
}

/// A new version comes pod by pod: at every step each connection finds one that is ready.
#[test]
fn rolling_update_refuses_nobody() {
    let olds = [B_IP, VM_IP];
    let mut h = with_services(Harness::with(standard_ports_and(8), datapath::Limits::default()), &olds);
    let mut next = 4000;
    let mut ask = |h: &mut Harness, allowed: &[[u8; 4]]| {
        for _ in 0..20 {
            next += 1;
            let (_, sent) = only(h.send(A, &segment(routed(A_IP, VIP), (next, 80), SYN, b"")));
            let to = ends(ethernet(&sent)).1.0.octets();
            assert!(allowed.contains(&to), "{to:?} is none of {allowed:?}");
        }
    };
    let news = [[10, 244, 0, 20], [10, 244, 0, 21]];
    ask(&mut h, &olds);
    let step = |h: &mut Harness, remove: &[[u8; 4]], put: Vec<BackendConfig>| {
        let remove = remove.iter().map(|address| (ip(*address), 8080)).collect();
        let change = BackendChanges { service: WEB, remove, put };
        h.apply(ConfigDelta { backends: vec![change], ..ConfigDelta::default() });
    };
    step(&mut h, &[], vec![backend(news[0], 8080)]);
    ask(&mut h, &[olds[0], olds[1], news[0]]);
    step(&mut h, &[], vec![BackendConfig { state: BackendState::Draining, ..backend(olds[0], 8080) }]);
    ask(&mut h, &[olds[1], news[0]]);
    step(&mut h, &[olds[0]], vec![backend(news[1], 8080)]);
    ask(&mut h, &[olds[1], news[0], news[1]]);
    step(&mut h, &[olds[1]], Vec::new());
    ask(&mut h, &news);
}

/// The standard ports, and pods from 10.244.0.20 on.
fn standard_ports_and(count: u8) -> Vec<protocol::link::PortConfig> {
    let more =
        (0..count).map(|n| port(PortId(20 + u32::from(n)), &format!("default/n{n}"), [10, 244, 0, 20 + n]));
    standard_ports().into_iter().chain(more).collect()
}

/// After its time a client may get another backend; before it does not, whatever its port.
#[test]
fn affinity_holds_for_its_time_and_no_longer() {
    let mut h = with_services(Harness::new(), &[B_IP, VM_IP]);
    let config = ServiceConfig { affinity_seconds: Some(10), ..service(DNS, Transport::Udp, 53) };
    h.apply(ConfigDelta { services: vec![config], ..ConfigDelta::default() });
    let mut client = 0;
    let mut ask = |h: &mut Harness| {
        client += 1;
        only(h.send(A, &question(client))).0
    };
    let first = ask(&mut h);
    for _ in 0..20 {
        // Each connection begins the time anew.
        h.wait(std::time::Duration::from_secs(9));
        assert_eq!(ask(&mut h), first);
    }
    h.wait(std::time::Duration::from_secs(11));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        seen.insert(ask(&mut h));
        h.wait(std::time::Duration::from_secs(11));
    }
    assert_eq!(seen.len(), 2, "each has its turn again");
}
