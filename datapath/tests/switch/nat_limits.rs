//! RFC 6888 and RFC 5508 REQ-8: how much a pod may have, and what happens when there is no more.

use std::time::Duration;

use datapath::Limits;
use protocol::PortId;
use protocol::link::Filtering;

use crate::common::*;
use crate::nat_bed::*;
use crate::services::{ACK, SYN, SYN_ACK, ends, only, segment};

const POD_A: (PortId, [u8; 4]) = (A, A_IP);
const POD_VM: (PortId, [u8; 4]) = (VM, VM_IP);
const ADMIN_PROHIBITED: [u8; 2] = [3, 13];

/// A conversation: both ends have spoken, to no well-known port.
#[track_caller]
fn talks(h: &mut Harness, pod: (PortId, [u8; 4]), port: u16) -> End {
    let mapped = asks(h, pod, port, (SERVER, 5000));
    reaches(h, &answer((SERVER, 5000), mapped), pod.0);
    mapped
}

#[test]
fn rfc6888_req4_pod_has_so_many_mappings_and_others_theirs() {
    let mut h = harness_nat_with(Limits { mappings_per_port: 4, ..Limits::default() }, |_| ());
    let mapped: Vec<_> = (0..4).map(|n| talks(&mut h, POD_A, 4000 + n)).collect();
    let fifth = udp(routed(A_IP, SERVER), 4004, 5000, b"?");
    told(&mut h, A, &fifth, "nat_quota_used", ADMIN_PROHIBITED);
    talks(&mut h, POD_VM, 4000);
    for (port, mapped) in (4000..).zip(&mapped) {
        assert_eq!(asks(&mut h, POD_A, port, (OTHER, 9)), *mapped, "existing ones are as good as ever");
    }
    later(&mut h, 300);
    talks(&mut h, POD_A, 4004);
}

#[test]
fn rfc6888_req5_pod_has_its_share_of_connections() {
    let limits = Limits { connections_per_port: 8, ..Limits::default() };
    let mut h = harness_nat_with(limits, |_| ());
    for server_port in 0..7 {
        let mapped = asks(&mut h, POD_A, 4000, (SERVER, 5000 + server_port));
        reaches(&mut h, &answer((SERVER, 5000 + server_port), mapped), A);
    }
    let next = udp(routed(A_IP, SERVER), 4000, 6000, b"?");
    told(&mut h, A, &next, "connection_share_used", ADMIN_PROHIBITED);
    talks(&mut h, POD_VM, 4000);
}

#[test]
fn rfc6888_req8_port_is_nobody_elses_for_two_minutes() {
    let mut h = harness_nat_with(Limits::default(), |uplink| uplink.source_ports = 61_000..=61_003);
    let mapped = talks(&mut h, POD_A, 4000);
    later(&mut h, 300);
    // While there are others, nobody gets it; the pod itself does.
    let others: Vec<_> = (0..3).map(|n| talks(&mut h, POD_VM, 4000 + n)).collect();
    assert!(!others.contains(&mapped));
    assert_eq!(talks(&mut h, POD_A, 4000), mapped);
    later(&mut h, 300);
    later(&mut h, 119);
    assert_eq!(table(&h), (4, 0));
    later(&mut h, 1);
    assert_eq!(table(&h), (0, 0));
}

#[test]
fn rfc5508_req8_rfc6888_req11_who_finds_no_port_is_told_and_existing_mappings_stay() {
    let mut h = harness_nat_with(Limits::default(), |uplink| uplink.source_ports = 61_000..=61_003);
    let mapped: Vec<_> = (0..4).map(|n| talks(&mut h, POD_A, 4000 + n)).collect();
    let udp_packet = udp(routed(VM_IP, SERVER), 4000, 5000, b"?");
    told(&mut h, VM, &udp_packet, "nat_ports_exhausted", ADMIN_PROHIBITED);
    for (port, mapped) in (4000..).zip(&mapped) {
        assert_eq!(asks(&mut h, POD_A, port, (SERVER, 5000)), *mapped);
    }
    // Queries and TCP have ports of their own.
    for n in 0..4 {
        leaves(&mut h, A, &echo_request(routed(A_IP, SERVER), 100 + n, b"ping"));
        let back = ends(&leaves(&mut h, A, &segment(routed(A_IP, SERVER), (4000 + n, 80), SYN, b""))).0;
        reaches(&mut h, &segment(outside(SERVER, NODE_IP), (80, back.1), SYN_ACK, b""), A);
        leaves(&mut h, A, &segment(routed(A_IP, SERVER), (4000 + n, 80), ACK, b""));
    }
    let syn = segment(routed(VM_IP, SERVER), (4000, 80), SYN, b"");
    told(&mut h, VM, &syn, "nat_ports_exhausted", ADMIN_PROHIBITED);
    // Told, but not more often than others are of their errors.
    h.wait(Duration::from_millis(1));
    let mut errors = 0;
    for _ in 0..200 {
        errors += h.send(VM, &udp_packet).len();
    }
    assert!(errors < 40, "{errors}");
}

#[test]
fn what_nothing_came_of_or_is_over_gives_its_port_to_others() {
    let mut h = harness_nat_with(Limits::default(), |uplink| uplink.source_ports = 61_000..=61_003);
    let mut open = Vec::new();
    for n in 0..4 {
        let mapped = ends(&leaves(&mut h, A, &segment(routed(A_IP, SERVER), (4000 + n, 80), SYN, b""))).0;
        reaches(&mut h, &segment(outside(SERVER, NODE_IP), (80, mapped.1), SYN_ACK, b""), A);
        leaves(&mut h, A, &segment(routed(A_IP, SERVER), (4000 + n, 80), ACK, b""));
        open.push(mapped);
    }
    let syn = segment(routed(VM_IP, SERVER), (4000, 80), SYN, b"");
    told(&mut h, VM, &syn, "nat_ports_exhausted", ADMIN_PROHIBITED);
    reaches(&mut h, &segment(outside(SERVER, NODE_IP), (80, open[2].1), "R", b""), A);
    assert_eq!(ends(&leaves(&mut h, VM, &syn)).0, open[2]);
    let (port, _) = only(h.send(UPLINK, &segment(outside(SERVER, NODE_IP), (80, open[1].1), ACK, b"")));
    assert_eq!(port, A, "who goes on keeps its own");
}

#[test]
fn rfc6888_req15_ports_cannot_be_guessed() {
    let mut h = harness_nat(Filtering::default());
    let ports: Vec<_> = (0..200).map(|n| asks(&mut h, POD_A, 4000 + n * 2, (SERVER, 53)).1).collect();
    let steps: std::collections::BTreeSet<_> =
        ports.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect();
    assert!(steps.len() > 150, "{steps:?}");
}
