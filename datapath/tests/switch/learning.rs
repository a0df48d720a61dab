//! Stations behind ports without port security: learned, moved, aged, bounded.

use std::time::Duration;

use crate::common::*;
use datapath::Limits;
use protocol::link::{ConfigDelta, PortConfig};
use protocol::object::FdbEntry;
use protocol::{Mac, PortId};

const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const STRANGER_IP: [u8; 4] = [10, 244, 0, 50];
const VM2: PortId = PortId(4);
const VM2_IP: [u8; 4] = [10, 244, 0, 5];

fn two_vms(limits: Limits) -> Harness {
    let mut ports = standard_ports();
    ports.push(PortConfig { port_security: false, ..port(VM2, "default/vm2", VM2_IP) });
    Harness::with(ports, limits)
}

/// A frame from a station behind a VM to pod A.
fn from_station(mac: Mac) -> Vec<u8> {
    udp(Path { from_mac: mac, ..direct(STRANGER_IP, A_IP) }, 1, 2, b"x")
}

fn to_station(mac: Mac) -> Vec<u8> {
    udp(Path { to_mac: mac, ..direct(A_IP, STRANGER_IP) }, 2, 1, b"x")
}

fn learned(h: &Harness) -> Vec<FdbEntry> {
    let (rows, next) = h.switch.fdb_page(0, usize::MAX, h.now);
    assert_eq!(next, None);
    rows.into_iter().filter(|row| !row.is_static).collect()
}

#[test]
fn station_is_learned_and_then_reached_alone() {
    let mut h = Harness::new();
    assert_eq!(h.send(A, &to_station(STRANGER)).len(), 2, "unknown: to every port that learns");
    h.send(VM, &from_station(STRANGER));
    h.wait(Duration::from_millis(1500));
    let wanted = FdbEntry {
        mac: STRANGER,
        port: VM,
        port_name: "default/vm".to_owned(),
        is_static: false,
        age_ms: 1500,
    };
    assert_eq!(learned(&h), [wanted]);
    let sent = h.send(A, &to_station(STRANGER));
    assert_eq!((sent.len(), sent[0].0), (1, VM));
}

#[test]
fn ports_with_security_teach_nothing() {
    let mut h = Harness::new();
    h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x"));
    h.assert_dropped(A, &from_station(STRANGER), "spoofed_mac");
    assert!(learned(&h).is_empty());
}

#[test]
fn configured_station_is_never_learned_elsewhere() {
    let mut h = Harness::new();
    h.assert_dropped(VM, &from_station(pod_mac(B_IP)), "spoofed_mac");
    assert_eq!(h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x"))[0].0, B);
    // A station learned first loses its place when the address is configured.
    let mac = pod_mac([10, 244, 0, 9]);
    h.send(VM, &from_station(mac));
    assert_eq!(learned(&h).len(), 1);
    let nine = port(PortId(9), "default/nine", [10, 244, 0, 9]);
    h.apply(ConfigDelta { attach: vec![nine], ..ConfigDelta::default() });
    assert!(learned(&h).is_empty());
    h.assert_dropped(VM, &from_station(mac), "spoofed_mac");
    assert_eq!(h.send(A, &to_station(mac))[0].0, PortId(9));
}

#[test]
fn station_moves_but_not_to_and_fro() {
    let mut h = two_vms(Limits::default());
    h.send(VM, &from_station(STRANGER));
    assert_eq!(h.send(A, &to_station(STRANGER))[0].0, VM);
    h.assert_dropped(VM2, &from_station(STRANGER), "mac_move_limited");
    assert_eq!(learned(&h)[0].port, VM);
    h.wait(Duration::from_secs(1));
    assert_eq!(h.send(VM2, &from_station(STRANGER)).len(), 1);
    assert_eq!(learned(&h)[0].port, VM2);
    assert_eq!(h.send(A, &to_station(STRANGER))[0].0, VM2, "no cached decision survives the move");
    h.assert_dropped(VM, &from_station(STRANGER), "mac_move_limited");
}

#[test]
fn station_is_forgotten_after_the_ageing_time_unless_heard_of() {
    let mut h = Harness::new();
    h.send(VM, &from_station(STRANGER));
    for _ in 0..10 {
        h.wait(Duration::from_secs(200));
        h.sweep();
        h.send(VM, &from_station(STRANGER));
    }
    h.wait(Duration::from_secs(299));
    h.sweep();
    assert_eq!(learned(&h).len(), 1);
    h.wait(Duration::from_secs(1));
    h.sweep();
    assert!(learned(&h).is_empty());
    assert_eq!(h.send(A, &to_station(STRANGER)).len(), 2, "flooded again");
}

#[test]
fn mac_flood_evicts_only_the_flooder() {
    let limits = Limits { fdb_entries: 64, fdb_entries_per_port: 16, ..Limits::default() };
    let mut h = two_vms(limits);
    h.send(VM2, &from_station(STRANGER));
    for n in 0..10_000u32 {
        let [_, b, c, d] = n.to_be_bytes();
        h.send(VM, &from_station(Mac([6, 0, 0, b, c, d])));
    }
    let rows = learned(&h);
    assert_eq!(rows.iter().filter(|row| row.port == VM).count(), 16);
    assert_eq!(rows.iter().filter(|row| row.port == VM2).count(), 1);
    assert_eq!(h.send(A, &to_station(STRANGER))[0].0, VM2);
}

#[test]
fn what_a_port_taught_goes_with_it() {
    let change: [fn(&mut Harness); 3] = [
        |h| h.apply(ConfigDelta { detach: vec![VM], ..ConfigDelta::default() }),
        // The number is taken again in the same delta.
        |h| h.apply(ConfigDelta { detach: vec![VM], attach: vec![vm()], ..ConfigDelta::default() }),
        |h| h.update(port(VM, "default/vm", VM_IP)),
    ];
    for change in change {
        let mut h = Harness::new();
        h.send(VM, &from_station(STRANGER));
        h.send(VM, &ArpFrame::request(STRANGER, STRANGER_IP, GATEWAY_IP).bytes());
        assert_eq!(learned(&h).len(), 1);
        change(&mut h);
        assert!(learned(&h).is_empty());
        assert!(h.switch.neighbors_page(0, usize::MAX, h.now).0.iter().all(|row| row.is_static));
    }
}

#[test]
fn unrelated_change_forgets_nothing() {
    let mut h = Harness::new();
    h.send(VM, &from_station(STRANGER));
    h.apply(ConfigDelta { detach: vec![B], ..ConfigDelta::default() });
    assert_eq!(learned(&h).len(), 1);
}

#[test]
fn pages_show_every_row_once() {
    let mut h = Harness::new();
    for n in 1..=40 {
        h.send(VM, &from_station(Mac([6, 0, 0, 0, 0, n])));
        h.send(VM, &ArpFrame::request(STRANGER, [10, 244, 0, 50 + n], GATEWAY_IP).bytes());
    }
    for max in [1, 7, 45, 1000] {
        let (mut macs, mut ips, mut cursor) = (Vec::new(), Vec::new(), Some(0));
        while let Some(at) = cursor {
            let (rows, next) = h.switch.fdb_page(at, max, h.now);
            assert!(rows.len() <= max && (next.is_none() || rows.len() == max));
            macs.extend(rows.into_iter().map(|row| row.mac));
            cursor = next;
        }
        cursor = Some(0);
        while let Some(at) = cursor {
            let (rows, next) = h.switch.neighbors_page(at, max, h.now);
            ips.extend(rows.into_iter().map(|row| row.ip));
            cursor = next;
        }
        macs.sort_unstable();
        macs.dedup();
        ips.sort_unstable();
        ips.dedup();
        // Four ports and the router; 40 stations and the one that only spoke ARP.
        assert_eq!(macs.len(), 5 + 41);
        // Four ports and the node's address.
        assert_eq!(ips.len(), 5 + 40);
    }
}
