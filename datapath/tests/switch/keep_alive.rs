//! Two daemons find out about each other: the frames of one fed to the other, time passed by hand.

use std::time::Duration;

use crate::common::*;
use datapath::{Limits, Transmit};
use protocol::PeerId;
use protocol::link::{ConfigDelta, PeerConfig};
use protocol::object::PeerHealth;

/// IPv4, UDP.
const OUTER: usize = 28;

struct World {
    a: Harness,
    b: Harness,
    /// Largest outer packet the underlay carries.
    carries: usize,
    cut: bool,
}

impl World {
    fn new() -> Self {
        Self { a: harness_a(), b: harness_b(), carries: 1500, cut: false }
    }

    /// A tenth of a second at a time.
    fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / 100 {
            for _ in 0..4 {
                self.a.sweep();
                self.b.sweep();
                carry(&mut self.a, &mut self.b, NODE_IP, self.carries, self.cut);
                carry(&mut self.b, &mut self.a, NODE_B_IP, self.carries, self.cut);
            }
            self.a.wait(Duration::from_millis(100));
            self.b.wait(Duration::from_millis(100));
        }
    }

    fn health(&self) -> PeerHealth {
        let rows = self.a.switch.peers_page(None, 10, self.a.now);
        assert_eq!(rows.len(), 1);
        rows[0].1
    }
}

fn carry(from: &mut Harness, to: &mut Harness, source: [u8; 4], carries: usize, cut: bool) {
    for train in std::mem::take(&mut from.wire.trains) {
        for datagram in train.datagrams.iter().filter(|d| !cut && d.len() + OUTER <= carries) {
            to.receive(TUNNEL, source, train.tos, std::slice::from_ref(datagram));
        }
    }
}

#[test]
fn daemons_see_each_other_and_the_size_of_the_path_within_a_second() {
    let mut world = World::new();
    assert_eq!(world.health(), PeerHealth::default());
    world.run(Duration::from_secs(1));
    let health = world.health();
    assert_eq!((health.reachable, health.path_mtu), (Some(true), Some(UNDERLAY_MTU)));
    assert!(health.rtt_us.is_some() && health.last_seen_ms.is_some_and(|ago| ago <= 1000));
    world.run(Duration::from_secs(10));
    assert_eq!(world.health().loss_percent, Some(0));
    let counters = world.a.switch.port_counters(TUNNEL).unwrap();
    assert_eq!(counters.rx_frames, counters.forwarded);
    assert_eq!(counters.originated, counters.tx_frames);
    assert!(counters.tx_frames < 60, "two messages a second, mostly: {}", counters.tx_frames);
}

#[test]
fn partition_is_reported_after_three_seconds_and_heals() {
    let mut world = World::new();
    world.run(Duration::from_secs(5));
    world.cut = true;
    world.run(Duration::from_millis(1500));
    assert_eq!(world.health().reachable, Some(true));
    world.run(Duration::from_millis(2500));
    let health = world.health();
    assert_eq!(health.reachable, Some(false));
    assert!(health.loss_percent.unwrap() > 20);
    // Its route stays: a packet is lost in the tunnel, not sent somewhere else.
    world.a.send(A, &udp(routed(A_IP, C_IP), 1, 2, b"x"));
    assert!(!world.a.wire.trains.is_empty());
    world.cut = false;
    world.run(Duration::from_millis(1200));
    assert_eq!(world.health().reachable, Some(true));
}

#[test]
fn underlay_that_filters_icmp_is_measured_and_pods_are_told() {
    let mut world = World::new();
    world.carries = 1400;
    world.run(Duration::from_secs(20));
    let mtu = world.health().path_mtu.unwrap();
    assert!((1396..=1400).contains(&mtu), "{mtu}");
    let a = &mut world.a;
    a.send(A, &udp(routed(A_IP, C_IP), 1, 2, &vec![7; usize::from(mtu) - 50 - 28]));
    assert_eq!(a.wire.trains.len(), 1);
    let sent = a.send(A, &udp(routed(A_IP, C_IP), 1, 2, &vec![7; usize::from(mtu) - 50 - 27]));
    let error = ethernet(&sent[0].1);
    assert_eq!(u16::from_be_bytes([error[40], error[41]]), mtu - 50);
}

#[test]
fn plain_device_is_not_asked() {
    let mut h = harness_a();
    h.apply(ConfigDelta {
        peers: vec![PeerConfig { keep_alive: false, ..node_b() }],
        ..ConfigDelta::default()
    });
    h.wire.trains.clear();
    for _ in 0..50 {
        h.wait(Duration::from_millis(100));
        h.sweep();
    }
    assert!(h.wire.trains.is_empty());
    assert_eq!(h.switch.peers_page(None, 1, h.now)[0].1.reachable, None);
}

#[test]
fn rounds_to_thousands_of_peers_are_spread_over_the_second() {
    let mut h = harness_a_with(tunnel_config(NODE_IP), Limits::default());
    let peers = (0..3000u32).map(|n| {
        let [_, _, high, low] = n.to_be_bytes();
        PeerConfig {
            id: PeerId(100 + n),
            name: format!("n{n}"),
            address: [198, 18, high, low].into(),
            pod_cidrs: vec![format!("10.{}.{}.0/24", 100 + high, low).parse().unwrap()],
            node_addresses: Vec::new(),
            ..node_b()
        }
    });
    h.apply(ConfigDelta { peers: peers.collect(), ..ConfigDelta::default() });
    let mut asked = std::collections::BTreeMap::<_, u32>::new();
    for _ in 0..1100 {
        h.switch.on_deadline(h.now, &mut h.wire);
        let trains = std::mem::take(&mut h.wire.trains);
        // A small one and probes of two sizes at first.
        assert!(trains.len() <= 3 * 31, "{} messages in one turn", trains.len());
        for train in trains.iter().filter(|train| train.datagrams[0].len() < 100) {
            *asked.entry(train.to).or_default() += 1;
        }
        h.wait(Duration::from_millis(1));
    }
    assert_eq!(asked.len(), 3001);
    assert!(asked.values().all(|times| *times <= 2));
    let rows = h.switch.peers_page(Some(PeerId(150)), 10, h.now);
    assert_eq!(rows.first().map(|(id, _)| id.0), Some(151));
    assert_eq!(rows.len(), 10);
}

#[test]
fn answer_heard_by_another_worker_counts() {
    let options = |worker| datapath::SwitchOptions { seed: 1, has_peers: true, worker, ..Default::default() };
    let mut first = harness_a();
    let mut second = harness_a();
    let configure = |h: &mut Harness| {
        let attach = [standard_ports(), vec![tunnel_port()]].concat();
        let node = Some(protocol::link::NodeConfig { tunnel: Some(tunnel_config(NODE_IP)), ..node() });
        h.apply(ConfigDelta { node, attach, peers: vec![node_b()], ..ConfigDelta::default() });
    };
    first.switch = datapath::Switch::new(options(0));
    second.switch = datapath::Switch::new(options(1));
    configure(&mut first);
    configure(&mut second);
    let mut b = harness_b();
    second.sweep();
    assert!(second.wire.trains.is_empty(), "only the first worker asks");
    first.sweep();
    carry(&mut first, &mut b, NODE_IP, 1500, false);
    carry(&mut b, &mut second, NODE_B_IP, 1500, false);
    while let Some(told) = second.switch.take_learned(second.now) {
        first.switch.learn_remote(&told, first.now);
    }
    let health = first.switch.peers_page(None, 1, first.now)[0].1;
    assert_eq!((health.reachable, health.path_mtu), (Some(true), Some(1500)));
    while let Some(told) = first.switch.take_learned(first.now) {
        second.switch.learn_remote(&told, second.now);
    }
    assert_eq!(second.switch.peers_page(None, 1, second.now)[0].1.path_mtu, Some(1500));
}

#[test]
fn device_that_refuses_a_probe_answers_it() {
    let mut h = harness_a();
    h.wire.tunnel = Some(Transmit::TooBig);
    for _ in 0..20 {
        h.sweep();
        h.wait(Duration::from_secs(1));
    }
    let health = h.switch.peers_page(None, 1, h.now)[0].1;
    assert_eq!((health.reachable, health.path_mtu), (Some(false), None));
}
