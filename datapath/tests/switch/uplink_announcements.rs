//! Addresses of load balancers are announced by the node that stands for them, and by no other.

use std::time::Duration;

use datapath::{Limits, Switch, SwitchOptions};
use protocol::link::{ConfigDelta, NodeConfig, UplinkConfig};

use crate::common::*;

fn announcement(address: [u8; 4]) -> Vec<u8> {
    ArpFrame::request(NIC, address, address).bytes()
}

fn announce(h: &mut Harness, announced: &[[u8; 4]]) {
    let announced = announced.iter().map(|address| (*address).into()).collect();
    let uplink = Some(UplinkConfig { announced, gateway: None, ..uplink_config() });
    h.apply(ConfigDelta { node: Some(NodeConfig { uplink, ..uplink_node() }), ..ConfigDelta::default() });
}

/// The node, which stands for nothing and asks for nobody.
fn bed() -> Harness {
    let mut h = harness_uplink();
    announce(&mut h, &[]);
    h.wait(Duration::from_secs(200));
    for _ in 0..10 {
        h.quiet();
        h.wait(Duration::from_secs(1));
    }
    h
}

/// Seconds after which the address was announced, within so many.
fn announced(h: &mut Harness, address: [u8; 4], seconds: u64) -> Vec<u64> {
    let mut times = Vec::new();
    for second in 0..seconds {
        let count = h.run_timers().iter().filter(|frame| **frame == announcement(address)).count();
        times.extend(std::iter::repeat_n(second, count));
        h.wait(Duration::from_secs(1));
    }
    times
}

#[test]
fn new_address_is_announced_at_once_and_again_and_again() {
    let mut h = bed();
    announce(&mut h, &[LB_IP]);
    assert_eq!(announced(&mut h, LB_IP, 600), [0, 1, 3, 7, 15, 31, 63, 127, 255, 405, 555]);
    let counted = h.deltas().remove(&UPLINK).unwrap();
    assert_eq!((counted.tx, counted.originated, counted.rx), (11, 11, 0));
}

#[test]
fn change_announces_what_is_new_and_ends_what_is_elsewhere() {
    let other = [192, 0, 2, 81];
    let mut h = bed();
    announce(&mut h, &[LB_IP]);
    announced(&mut h, LB_IP, 100);
    announce(&mut h, &[LB_IP, other]);
    assert_eq!(announced(&mut h, other, 20), [0, 1, 3, 7, 15]);
    announce(&mut h, &[other]);
    assert!(announced(&mut h, LB_IP, 600).is_empty());
    announce(&mut h, &[LB_IP]);
    assert_eq!(announced(&mut h, LB_IP, 2), [0, 1], "it is back");
}

#[test]
fn new_interface_is_told_of_everything() {
    let mut h = bed();
    announce(&mut h, &[LB_IP]);
    announced(&mut h, LB_IP, 100);
    h.apply(ConfigDelta { detach: vec![UPLINK], attach: vec![uplink_port()], ..ConfigDelta::default() });
    assert_eq!(announced(&mut h, LB_IP, 3), [0, 1]);
    // Nothing is sent where there is no interface.
    h.apply(ConfigDelta { detach: vec![UPLINK], ..ConfigDelta::default() });
    assert!(announced(&mut h, LB_IP, 10).is_empty());
}

#[test]
fn one_worker_announces_and_asks() {
    let mut h = harness_uplink_cold(Limits::default());
    let limits = Limits::default();
    h.switch = Switch::new(SwitchOptions { seed: 1, limits, has_peers: true, worker: 1 });
    h.apply(uplink_delta());
    assert!(announced(&mut h, LB_IP, 300).is_empty());
    assert_eq!(h.switch.port_counters(UPLINK).unwrap().tx_frames, 0);
}

#[test]
fn many_addresses_are_no_burst() {
    let mut h = bed();
    let many: Vec<[u8; 4]> = (0..1000_u32).map(|n| (0xc612_0000 + n).to_be_bytes()).collect();
    announce(&mut h, &many);
    let (start, mut count) = (h.now, 0);
    while count < 1000 {
        let sent = h.run_timers().len();
        assert!(sent <= 4, "{sent} at once");
        count += sent;
        h.now = h.switch.next_deadline().unwrap();
    }
    let took = h.now.saturating_since(start);
    assert!(took <= Duration::from_millis(1100), "{took:?}");
}
