//! What services have to do is counted, by service and by backend.

use std::time::Duration;

use protocol::link::{BackendChanges, ConfigDelta, ServiceRow};
use protocol::object::ServiceCounters;

use crate::common::*;
use crate::services::{DNS, SYN, VIP, WEB, put, segment, with_services};
use crate::uplink_services::with_uplink_services;

/// Rows of all services, after the sweep has counted what flows have.
fn rows(h: &mut Harness) -> Vec<ServiceRow> {
    h.wait(Duration::from_secs(2));
    h.sweep();
    let (mut all, mut cursor) = (Vec::new(), Some(0));
    while let Some(next) = cursor {
        // Small pages, so that there are several.
        let (page, more) = h.switch.services_page(next, 2);
        all.extend(page);
        cursor = more;
    }
    all
}

#[track_caller]
fn of(rows: &[ServiceRow], service: protocol::ServiceId, backend: Option<([u8; 4], u16)>) -> ServiceCounters {
    let backend = backend.map(|(address, port)| (ip(address), port));
    let found = rows.iter().find(|row| (row.service, row.backend) == (service, backend));
    found.unwrap_or_else(|| panic!("no row {service} {backend:?}: {rows:?}")).counters.clone()
}

/// Questions of `size` bytes payload from as many ports, each answered by whoever got it.
fn converse(h: &mut Harness, ports: std::ops::Range<u16>, size: usize) {
    for port in ports {
        let sent = h.send(A, &udp(routed(A_IP, VIP), port, 53, &vec![1; size]));
        let (to, _) = sent.first().expect("it is forwarded");
        let address = if *to == B { B_IP } else { VM_IP };
        let answer = udp(direct(address, A_IP), 5353, port, &vec![2; size * 2]);
        // The virtual machine is learned by its frames, which are not remembered as flows.
        assert_eq!(h.send(*to, &answer).len(), 1);
    }
}

#[test]
fn packets_of_both_directions_count_for_the_backend_and_its_service() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    converse(&mut h, 4000..4003, 100);
    converse(&mut h, 4000..4003, 100);
    let early = of(&rows(&mut h), DNS, None);
    assert_eq!((early.packets_in, early.packets_out), (6, 6));
    // Of flows that live, bytes are counted in 16s.
    assert!(6 * 142 - early.bytes_in < 3 * 16 && 6 * 242 - early.bytes_out < 3 * 16, "{early:?}");
    h.wait(Duration::from_secs(11));
    let rows = rows(&mut h);
    assert_eq!(rows.len(), 4, "two services with a backend each");
    let wanted = ServiceCounters {
        active: 3,
        connections: 3,
        packets_in: 6,
        bytes_in: 6 * 142,
        packets_out: 6,
        bytes_out: 6 * 242,
        refused: Vec::new(),
    };
    assert_eq!(of(&rows, DNS, Some((B_IP, 5353))), wanted);
    assert_eq!(of(&rows, DNS, None), wanted);
    assert_eq!(of(&rows, WEB, None), ServiceCounters::default());
}

#[test]
fn counts_only_grow_while_flows_come_and_go() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    let mut before = 0;
    for round in 0..40u16 {
        converse(&mut h, 4000 + round..4004 + round, usize::from(round));
        if round % 10 == 9 {
            // Longer than flows live, but not connections.
            h.wait(Duration::from_secs(11));
        }
        let rows = rows(&mut h);
        let counters = of(&rows, DNS, None);
        assert_eq!(counters, of(&rows, DNS, Some((B_IP, 5353))));
        assert_eq!(counters.packets_in, 4 * (u64::from(round) + 1));
        assert!(counters.bytes_in > before);
        before = counters.bytes_in;
    }
    let bytes: u64 = (0..40).map(|round| 4 * (42 + round)).sum();
    // The last flows' bytes are counted in whole 16s until they go.
    h.wait(Duration::from_secs(11));
    assert_eq!(of(&rows(&mut h), DNS, None).bytes_in, bytes);
}

#[test]
fn what_a_former_backend_did_stays_the_services_and_is_not_its_successors() {
    let mut h = with_services(Harness::new(), &[B_IP]);
    converse(&mut h, 4000..4002, 10);
    let _ = rows(&mut h);
    let swap = BackendChanges {
        remove: vec![(ip(B_IP), 5353)],
        ..put(DNS, &[crate::services::backend(VM_IP, 5353)])
    };
    h.apply(ConfigDelta { backends: vec![swap], ..ConfigDelta::default() });
    let rows = rows(&mut h);
    assert_eq!(of(&rows, DNS, None).packets_in, 2);
    assert_eq!(of(&rows, DNS, None).connections, 2);
    assert_eq!(of(&rows, DNS, Some((VM_IP, 5353))), ServiceCounters::default());
    h.apply(ConfigDelta { forget_services: vec![DNS], ..ConfigDelta::default() });
    let service = crate::services::service(DNS, protocol::link::Transport::Udp, 53);
    h.apply(ConfigDelta { services: vec![service], ..ConfigDelta::default() });
    assert_eq!(
        of(&self::rows(&mut h), DNS, None),
        ServiceCounters::default(),
        "another service of that number"
    );
}

#[test]
fn refused_connections_count_by_reason() {
    let mut h = with_services(Harness::new(), &[]);
    for port in 4000..4003 {
        h.send(A, &udp(routed(A_IP, VIP), port, 53, b"?"));
    }
    h.send(A, &segment(routed(A_IP, VIP), (4000, 80), SYN, b""));
    let rows = rows(&mut h);
    let refused = |service| -> Vec<(String, u64)> {
        of(&rows, service, None).refused.iter().map(|drop| (drop.reason.clone(), drop.frames)).collect()
    };
    assert_eq!(refused(DNS), [("service_no_endpoints".to_owned(), 3)]);
    assert_eq!(refused(WEB), [("service_no_endpoints".to_owned(), 1)]);
}

#[test]
fn clients_outside_are_counted_like_those_inside() {
    let mut h = with_uplink_services(&[B_IP]);
    for port in 4000..4003 {
        assert_eq!(h.send(UPLINK, &udp(outside(CLIENT_IP, LB_IP), port, 53, b"?")).len(), 1);
    }
    let rows = rows(&mut h);
    for counters in [of(&rows, DNS, None), of(&rows, DNS, Some((B_IP, 5353)))] {
        assert_eq!((counters.connections, counters.packets_in, counters.active), (3, 3, 3));
    }
    let mut h = with_uplink_services(&[]);
    h.send(UPLINK, &udp(outside(CLIENT_IP, LB_IP), 5000, 53, b"?"));
    let refused = of(&self::rows(&mut h), DNS, None).refused;
    assert_eq!(
        refused.iter().map(|refused| (refused.reason.as_str(), refused.frames)).collect::<Vec<_>>(),
        [("service_no_endpoints", 1)]
    );
}
