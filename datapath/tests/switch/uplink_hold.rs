//! A node stands for an address that it has by a lease only as long as control says that the lease lasts.

use std::time::Duration;

use datapath::{Instant, Limits, Switch, SwitchOptions};
use protocol::link::{ConfigDelta, NodeConfig, UplinkConfig};

use crate::common::*;

const SECOND: Duration = Duration::from_secs(1);

/// The node, which has [`LB_IP`] by a lease of which nothing was said.
fn bed() -> Harness {
    let mut h = harness_uplink();
    announce(&mut h, true);
    h.quiet();
    // Announcements keep a pause, and there was one.
    h.wait(SECOND);
    h
}

fn announce(h: &mut Harness, announced_by_lease: bool) {
    let uplink = Some(UplinkConfig { announced_by_lease, gateway: None, ..uplink_config() });
    h.apply(ConfigDelta { node: Some(NodeConfig { uplink, ..uplink_node() }), ..ConfigDelta::default() });
}

fn hold(h: &mut Harness, time: Duration) {
    h.switch.hold_announced(h.now + time, h.now);
}

fn is_answered(h: &mut Harness) -> bool {
    let answers = h.send(UPLINK, &ArpFrame::request(HOST, HOST_IP, LB_IP).bytes());
    let is_answer = answers.iter().any(|(port, frame)| {
        (*port, ethernet(frame)) == (UPLINK, &ArpFrame::reply(NIC, LB_IP, HOST, HOST_IP).bytes()[..])
    });
    assert_eq!(is_answer, !answers.is_empty());
    is_answer
}

/// Times it was told unasked, now.
fn told(h: &mut Harness) -> usize {
    let announcement = ArpFrame::request(NIC, LB_IP, LB_IP).bytes();
    h.run_timers().iter().filter(|frame| **frame == announcement).count()
}

#[test]
fn what_is_not_known_to_be_held_is_not_stood_for() {
    let mut h = bed();
    assert!(!is_answered(&mut h));
    assert_eq!(told(&mut h), 0);
    hold(&mut h, 2 * SECOND);
    assert!(is_answered(&mut h));
    assert_eq!(told(&mut h), 1);
    // Without a lease nobody else could have it.
    let mut h = bed();
    announce(&mut h, false);
    assert!(is_answered(&mut h));
    assert_eq!((told(&mut h), h.switch.next_deadline().is_some()), (1, true));
}

#[test]
fn the_end_of_a_lease_is_the_end_of_answers_whether_timers_ran_or_not() {
    let mut h = bed();
    hold(&mut h, 2 * SECOND);
    told(&mut h);
    h.wait(2 * SECOND - Duration::from_nanos(1));
    assert!(is_answered(&mut h));
    h.wait(Duration::from_nanos(1));
    assert!(!is_answered(&mut h), "before any timer");
    assert_eq!(told(&mut h), 0, "though one is due after 1 s");
    for _ in 0..400 {
        h.wait(SECOND);
        assert_eq!(told(&mut h), 0);
    }
    assert!(!is_answered(&mut h));
}

#[test]
fn a_lease_that_is_renewed_goes_on_without_a_word_and_one_that_had_ended_is_told_anew() {
    let mut h = bed();
    let mut times = Vec::new();
    for half in 0..60 {
        hold(&mut h, 2 * SECOND);
        times.extend(std::iter::repeat_n(half, told(&mut h)));
        assert!(is_answered(&mut h));
        h.wait(SECOND / 2);
    }
    assert_eq!(times, [0, 2, 6, 14, 30], "as often as without a lease: after 0, 1, 3, 7, 15 s");
    h.wait(10 * SECOND);
    assert!(!is_answered(&mut h));
    hold(&mut h, 20 * SECOND);
    let mut times = Vec::new();
    for second in 0..8 {
        times.extend(std::iter::repeat_n(second, told(&mut h)));
        h.wait(SECOND);
    }
    assert_eq!(times, [0, 1, 3, 7]);
}

#[test]
fn a_lease_can_be_given_up_early() {
    let mut h = bed();
    hold(&mut h, 20 * SECOND);
    assert!(is_answered(&mut h));
    h.switch.hold_announced(Instant::from_nanos(0), h.now);
    assert!(!is_answered(&mut h));
    assert_eq!(told(&mut h), 0);
}

/// A switch that lets go sleeps: a deadline that has passed for ever would be a loop.
#[test]
fn nothing_is_due_after_the_end() {
    let mut h = bed();
    hold(&mut h, 2 * SECOND);
    h.wait(3 * SECOND);
    h.sweep();
    let due = h.switch.next_deadline();
    assert!(due.is_none_or(|due| due > h.now), "{due:?} at {:?}", h.now);
}

#[test]
fn a_new_configuration_changes_nothing_about_the_lease() {
    let mut h = bed();
    announce(&mut h, true);
    assert!(!is_answered(&mut h));
    hold(&mut h, 2 * SECOND);
    announce(&mut h, true);
    assert!(is_answered(&mut h));
    h.wait(2 * SECOND);
    announce(&mut h, true);
    assert!(!is_answered(&mut h));
    assert_eq!(told(&mut h), 0);
}

#[test]
fn all_workers_let_go() {
    let limits = Limits::default();
    for worker in 0..3 {
        let mut h = harness_uplink_cold(limits);
        h.switch = Switch::new(SwitchOptions { seed: 1, limits, has_peers: true, worker });
        h.apply(uplink_delta());
        announce(&mut h, true);
        assert!(!is_answered(&mut h));
        hold(&mut h, SECOND);
        assert!(is_answered(&mut h));
        h.wait(SECOND);
        assert!(!is_answered(&mut h));
    }
}
