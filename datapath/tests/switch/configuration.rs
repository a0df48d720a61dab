//! Deltas: all or nothing, visible at once, refused by name.

use crate::common::*;
use datapath::{ConfigError, Limits};
use protocol::link::{ConfigDelta, NodeConfig, PortConfig};
use protocol::object::PortKind;
use protocol::{Mac, PortId};

/// The delta is refused so, and nothing changes.
#[track_caller]
fn assert_refused(h: &mut Harness, delta: ConfigDelta, check: impl Fn(&ConfigError) -> bool) -> String {
    let before: Vec<_> = h.switch.ports().cloned().collect();
    let epoch = h.switch.epoch();
    let delta = ConfigDelta { epoch: epoch + 1, commit: true, ..delta };
    let error = h.switch.apply(&delta, h.now).unwrap_err();
    assert!(check(&error), "{error:?}");
    assert_eq!(h.switch.epoch(), epoch);
    assert_eq!(h.switch.ports().cloned().collect::<Vec<_>>(), before);
    assert_eq!(h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x")).len(), 1, "still forwards");
    error.to_string()
}

fn attach(port: PortConfig) -> ConfigDelta {
    ConfigDelta { attach: vec![port], ..ConfigDelta::default() }
}

fn update(port: PortConfig) -> ConfigDelta {
    ConfigDelta { update: vec![port], ..ConfigDelta::default() }
}

fn with_node(node: NodeConfig) -> ConfigDelta {
    ConfigDelta { node: Some(node), ..ConfigDelta::default() }
}

#[test]
fn wrong_deltas_are_refused_by_name() {
    use ConfigError as E;
    let mut h = Harness::new();
    let new = || port(PortId(7), "default/new", [10, 244, 0, 7]);
    let text =
        assert_refused(&mut h, attach(PortConfig { id: A, ..new() }), |e| matches!(e, E::PortExists { .. }));
    assert_eq!(text, "port 1 is already attached as default/a");
    assert_refused(&mut h, attach(PortConfig { id: PortId(4096), ..new() }), |e| {
        matches!(e, E::PortOutOfRange(_))
    });
    assert_refused(&mut h, update(new()), |e| matches!(e, E::UnknownPort(_)));
    let gone = ConfigDelta { detach: vec![PortId(7)], ..ConfigDelta::default() };
    assert_refused(&mut h, gone, |e| matches!(e, E::UnknownPort(PortId(7))));
    assert_refused(
        &mut h,
        update(PortConfig { kind: PortKind::Gateway, ..port(A, "default/a", A_IP) }),
        |e| matches!(e, E::KindChanged { .. }),
    );
    let second = PortConfig { kind: PortKind::Gateway, ..new() };
    assert_refused(&mut h, attach(second), |e| matches!(e, E::SecondGateway { .. }));
    for mac in [Mac::BROADCAST, Mac([0; 6])] {
        assert_refused(&mut h, attach(PortConfig { mac, ..new() }), |e| matches!(e, E::BadMac { .. }));
    }
    for mac in [pod_mac(A_IP), router_mac()] {
        assert_refused(&mut h, attach(PortConfig { mac, ..new() }), |e| matches!(e, E::DuplicateMac { .. }));
    }
    for address in [A_IP, GATEWAY_IP, NODE_IP] {
        let port = PortConfig { addresses: vec![ip(address)], ..new() };
        assert_refused(&mut h, attach(port), |e| matches!(e, E::DuplicateAddress { .. }));
    }
    for address in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1]] {
        let port = PortConfig { addresses: vec![ip(address)], ..new() };
        assert_refused(&mut h, attach(port), |e| matches!(e, E::BadAddress { .. }));
    }
    assert_refused(&mut h, attach(PortConfig { ip_mtu: 67, ..new() }), |e| {
        matches!(e, E::MtuTooSmall { .. })
    });
    let cidr = |text: &str| text.parse().unwrap();
    assert_refused(&mut h, with_node(NodeConfig { pod_cidr: cidr("10.9.0.0/24"), ..node() }), |e| {
        matches!(e, E::OutsideRange { .. })
    });
    assert_refused(&mut h, with_node(NodeConfig { gateway_ip: ip([10, 244, 1, 1]), ..node() }), |e| {
        matches!(e, E::OutsideRange { .. })
    });
    assert_refused(
        &mut h,
        with_node(NodeConfig { pod_cidr: cidr("fd00::/64"), cluster_cidr: cidr("fd00::/48"), ..node() }),
        |e| matches!(e, E::NotIpv4(_)),
    );
    for epoch in [0, 1, 3, u64::MAX] {
        let delta = ConfigDelta { epoch, commit: true, ..ConfigDelta::default() };
        assert_eq!(h.switch.apply(&delta, h.now), Err(E::WrongEpoch { active: 1, got: epoch }));
    }
}

#[test]
fn node_may_list_the_gateway_and_an_address_twice() {
    let mut h = Harness::new();
    let addresses = vec![ip(NODE_IP), ip(GATEWAY_IP), ip(NODE_IP), "fe80::1".parse().unwrap()];
    h.apply(with_node(NodeConfig { node_addresses: addresses, ..node() }));
    assert_eq!(h.send(A, &echo_request(routed(A_IP, GATEWAY_IP), 1, b"x"))[0].0, A);
    assert_eq!(h.send(A, &echo_request(routed(A_IP, NODE_IP), 1, b"x"))[0].0, GATEWAY);
}

#[test]
fn collected_deltas_become_visible_together() {
    let mut h = Harness::bare(Limits::default());
    let frame = udp(direct(A_IP, B_IP), 1, 2, b"x");
    let step = |delta: ConfigDelta, commit| ConfigDelta { epoch: 1, commit, ..delta };
    h.switch.apply(&step(with_node(node()), false), h.now).unwrap();
    h.switch.apply(&step(attach(port(A, "default/a", A_IP)), false), h.now).unwrap();
    assert_eq!((h.switch.epoch(), h.switch.ports().count()), (0, 0));
    assert!(h.send(A, &frame).is_empty());
    h.switch.apply(&step(attach(port(B, "default/b", B_IP)), true), h.now).unwrap();
    assert_eq!((h.switch.epoch(), h.switch.ports().count()), (1, 2));
    assert_eq!(h.send(A, &frame).len(), 1);
}

#[test]
fn refused_delta_discards_what_was_collected_before_it() {
    let mut h = Harness::new();
    let collect = ConfigDelta { epoch: 2, detach: vec![B], ..ConfigDelta::default() };
    h.switch.apply(&collect, h.now).unwrap();
    assert_refused(&mut h, update(port(PortId(7), "x", [10, 244, 0, 7])), |e| {
        matches!(e, ConfigError::UnknownPort(_))
    });
    h.apply(ConfigDelta::default());
    assert_eq!(h.switch.ports().count(), 4, "the detach is gone as well");
}

#[test]
fn one_delta_may_hand_an_address_or_a_number_over() {
    let mut h = Harness::new();
    h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x"));
    h.apply(ConfigDelta {
        detach: vec![A, B],
        attach: vec![port(A, "default/new", B_IP), port(B, "default/other", [10, 244, 0, 8])],
        ..ConfigDelta::default()
    });
    assert_eq!(h.switch.port_counters(A).unwrap().rx_frames, 0, "another port under an old number");
    h.apply(ConfigDelta {
        update: vec![
            PortConfig { addresses: vec![ip(B_IP)], ..port(B, "default/other", [10, 244, 0, 8]) },
            PortConfig { addresses: vec![ip([10, 244, 0, 8])], ..port(A, "default/new", B_IP) },
        ],
        ..ConfigDelta::default()
    });
}

#[test]
fn counters_survive_an_update_and_not_a_new_device() {
    let mut h = Harness::new();
    h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x"));
    h.update(PortConfig { ip_mtu: 900, ..port(A, "default/a", A_IP) });
    assert_eq!(h.switch.port_counters(A).unwrap().forwarded, 1);
    h.apply(ConfigDelta {
        detach: vec![A],
        attach: vec![port(A, "default/a", A_IP)],
        ..ConfigDelta::default()
    });
    assert_eq!(h.switch.port_counters(A).unwrap().forwarded, 0);
    assert_eq!(h.switch.port_counters(PortId(77)), None);
}

#[test]
fn switch_without_node_only_switches() {
    let mut h = Harness::bare(Limits::default());
    h.apply(ConfigDelta { attach: standard_ports(), ..ConfigDelta::default() });
    assert_eq!(h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x"))[0].0, B);
    let sent = h.send(A, &udp(routed(A_IP, B_IP), 1, 2, b"x"));
    assert!(sent.iter().all(|(port, _)| *port != B), "nobody is the router");
}

#[test]
fn summary_adds_the_ports_up() {
    let mut h = Harness::new();
    h.send(A, &udp(direct(A_IP, B_IP), 1, 2, b"x"));
    h.send(B, &udp(direct(A_IP, B_IP), 1, 2, b"x"));
    let summary = h.switch.summary();
    assert_eq!((summary.epoch, summary.ports, summary.flows), (1, 4, 1));
    assert_eq!((summary.rx_frames, summary.forwarded, summary.dropped), (2, 1, 1));
    // Ports and router; ports and the node's address.
    assert_eq!((summary.fdb_entries, summary.neighbors), (5, 5));
}
