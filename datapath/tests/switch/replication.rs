//! Two switches, as two workers have them: what one hears, both know, and they change together.

use std::time::Duration;

use crate::common::*;
use datapath::{ConfigError, Learned, Limits};
use protocol::link::{ConfigDelta, PortConfig};
use protocol::object::{NeighborEntry, PortState};
use protocol::{Mac, PortId};

const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const STRANGER_IP: [u8; 4] = [10, 244, 0, 50];
const VM2: PortId = PortId(4);

/// Two workers with the same configuration; the test says who reads what.
struct Pair {
    near: Harness,
    far: Harness,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let worker = || {
            let mut ports = standard_ports();
            let vm2 = port(VM2, "default/vm2", [10, 244, 0, 5]);
            ports.push(PortConfig { port_security: false, ..vm2 });
            Harness::with(ports, limits)
        };
        Self { near: worker(), far: worker() }
    }

    /// Hands over everything `near` has to tell; says how much it was.
    fn tell(&mut self) -> usize {
        let told = taken(&mut self.near);
        for learned in &told {
            self.far.switch.learn_remote(learned, self.far.now);
        }
        told.len()
    }

    fn wait(&mut self, duration: Duration) {
        for worker in [&mut self.near, &mut self.far] {
            worker.wait(duration);
            worker.sweep();
        }
    }
}

fn taken(worker: &mut Harness) -> Vec<Learned> {
    std::iter::from_fn(|| worker.switch.take_learned(worker.now)).collect()
}

fn from_station(mac: Mac) -> Vec<u8> {
    udp(Path { from_mac: mac, ..direct(STRANGER_IP, A_IP) }, 1, 2, b"x")
}

fn to_station(mac: Mac) -> Vec<u8> {
    udp(Path { to_mac: mac, ..direct(A_IP, STRANGER_IP) }, 2, 1, b"x")
}

/// The ports a frame of pod A to the stranger is written to.
fn reached(worker: &mut Harness) -> Vec<PortId> {
    worker.send(A, &to_station(STRANGER)).into_iter().map(|(port, _)| port).collect()
}

fn learned_neighbors(worker: &Harness) -> Vec<NeighborEntry> {
    let (rows, _) = worker.switch.neighbors_page(0, usize::MAX, worker.now);
    rows.into_iter().filter(|row| !row.is_static).collect()
}

#[test]
fn station_heard_by_one_worker_is_reached_alone_from_the_other() {
    let mut pair = Pair::new(Limits::default());
    assert_eq!(reached(&mut pair.far), [GATEWAY, VM, VM2], "unknown: flooded");
    pair.near.send(VM, &from_station(STRANGER));
    assert_eq!(pair.tell(), 1);
    assert_eq!(reached(&mut pair.far), [VM]);
    assert!(taken(&mut pair.far).is_empty(), "who was told tells nobody");
}

#[test]
fn address_heard_by_one_worker_is_known_to_the_other() {
    let mut pair = Pair::new(Limits::default());
    pair.near.send(VM, &ArpFrame::request(STRANGER, STRANGER_IP, GATEWAY_IP).bytes());
    assert_eq!(pair.tell(), 2, "the station and its address");
    assert_eq!(learned_neighbors(&pair.far), learned_neighbors(&pair.near));
    assert_eq!(learned_neighbors(&pair.far).len(), 1);
}

#[test]
fn frames_of_a_known_station_are_not_told_but_once_in_a_refresh_interval() {
    let mut pair = Pair::new(Limits::default());
    let mut told = 0;
    for _ in 0..1000 {
        pair.near.send(VM, &from_station(STRANGER));
        told += pair.tell();
        pair.wait(Duration::from_millis(10));
    }
    assert!((10..=11).contains(&told), "{told} messages in ten seconds");
}

#[test]
fn station_that_goes_on_talking_ages_on_no_worker() {
    for ageing in [1, 300] {
        let mut pair = Pair::new(Limits::default());
        for worker in [&mut pair.near, &mut pair.far] {
            let node = protocol::link::NodeConfig { fdb_ageing_seconds: ageing, ..node() };
            worker.apply(ConfigDelta { node: Some(node), ..ConfigDelta::default() });
        }
        for _ in 0..ageing * 30 {
            pair.near.send(VM, &from_station(STRANGER));
            pair.tell();
            pair.wait(Duration::from_millis(100));
            assert_eq!(reached(&mut pair.far), [VM], "ageing {ageing} s");
        }
        pair.wait(Duration::from_secs(u64::from(ageing) + 1));
        assert_eq!(reached(&mut pair.far).len(), 3, "forgotten after {ageing} s");
    }
}

#[test]
fn lost_message_is_made_good_by_the_next_refresh() {
    let mut pair = Pair::new(Limits::default());
    pair.near.send(VM, &from_station(STRANGER));
    assert_eq!(taken(&mut pair.near).len(), 1, "lost on the way");
    pair.wait(Duration::from_secs(1));
    pair.near.send(VM, &from_station(STRANGER));
    pair.tell();
    assert_eq!(reached(&mut pair.far), [VM]);
}

#[test]
fn station_moves_between_workers_at_most_once_per_interval() {
    let mut pair = Pair::new(Limits::default());
    pair.near.send(VM, &from_station(STRANGER));
    pair.tell();
    pair.far.assert_dropped(VM2, &from_station(STRANGER), "mac_move_limited");
    pair.wait(Duration::from_secs(1));
    pair.far.send(VM2, &from_station(STRANGER));
    assert_eq!(reached(&mut pair.far), [VM2]);
    std::mem::swap(&mut pair.near, &mut pair.far);
    pair.tell();
    assert_eq!(reached(&mut pair.far), [VM2], "the other worker follows");
    // A loop: the first worker hears it again at once.
    pair.far.assert_dropped(VM, &from_station(STRANGER), "mac_move_limited");
}

#[test]
fn a_port_that_invents_stations_evicts_only_its_own_on_every_worker() {
    let limits = Limits {
        fdb_entries: 64,
        fdb_entries_per_port: 16,
        learned_told_per_second: 100,
        learned_told_burst: 50,
        ..Limits::default()
    };
    let mut pair = Pair::new(limits);
    pair.near.send(VM2, &from_station(STRANGER));
    let mut told = pair.tell();
    for n in 0..10_000u32 {
        let [_, b, c, d] = n.to_be_bytes();
        pair.near.send(VM, &from_station(Mac([6, 0, 0, b, c, d])));
        told += pair.tell();
    }
    assert_eq!(told, 51, "the burst of one port and the one station of the other");
    assert_eq!(reached(&mut pair.far), [VM2]);
    let (rows, _) = pair.far.switch.fdb_page(0, usize::MAX, pair.far.now);
    assert_eq!(rows.iter().filter(|row| !row.is_static && row.port == VM).count(), 16);
}

#[test]
fn outbox_that_nobody_empties_does_not_grow() {
    let mut pair = Pair::new(Limits::default());
    for n in 0..1000u32 {
        let [_, b, c, d] = n.to_be_bytes();
        pair.near.send(VM, &from_station(Mac([6, 0, 0, b, c, d])));
    }
    assert_eq!(pair.tell(), 128);
}

#[test]
fn what_was_learned_under_another_configuration_is_ignored() {
    let change: [fn(&mut Harness); 3] = [
        |h| h.apply(ConfigDelta { detach: vec![VM], attach: vec![vm()], ..ConfigDelta::default() }),
        |h| h.apply(ConfigDelta { detach: vec![VM], ..ConfigDelta::default() }),
        |h| h.update(port(VM, "default/vm", VM_IP)),
    ];
    for change in change {
        let mut pair = Pair::new(Limits::default());
        pair.near.send(VM, &from_station(STRANGER));
        let on_the_way = taken(&mut pair.near);
        pair.near.send(VM, &from_station(Mac([2, 0, 0, 0, 0, 2])));
        change(&mut pair.near);
        change(&mut pair.far);
        assert!(taken(&mut pair.near).is_empty(), "the outbox is of the old configuration");
        assert_eq!(on_the_way.len(), 1);
        pair.far.switch.learn_remote(&on_the_way[0], pair.far.now);
        assert!(pair.far.switch.fdb_page(0, usize::MAX, pair.far.now).0.iter().all(|row| row.is_static));
    }
}

#[test]
fn nothing_is_learned_for_a_port_that_does_not_forward() {
    let mut pair = Pair::new(Limits::default());
    pair.near.send(VM, &from_station(STRANGER));
    pair.far.switch.set_port_state(VM, PortState::Detached);
    pair.tell();
    assert_eq!(pair.far.switch.summary().fdb_entries, 6, "the router and five ports");
}

#[test]
fn prepared_configuration_is_seen_only_when_committed() {
    let mut h = Harness::new();
    let nine = || port(PortId(9), "default/nine", [10, 244, 0, 9]);
    let delta = ConfigDelta { epoch: 2, attach: vec![nine()], commit: true, ..ConfigDelta::default() };
    h.switch.prepare(&delta).unwrap();
    assert_eq!((h.switch.epoch(), h.switch.ports().count()), (1, 4));
    // Another worker's switch refused it.
    h.switch.discard();
    h.switch.commit(h.now);
    assert_eq!((h.switch.epoch(), h.switch.ports().count()), (1, 4));
    h.switch.prepare(&delta).unwrap();
    h.switch.commit(h.now);
    assert_eq!((h.switch.epoch(), h.switch.ports().count()), (2, 5));
    let error = h.switch.prepare(&delta).unwrap_err();
    assert!(matches!(error, ConfigError::WrongEpoch { active: 2, got: 2 }), "{error}");
}
