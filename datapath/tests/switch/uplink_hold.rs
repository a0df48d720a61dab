//! A node stands for an address that it has by a lease as long as control says that the lease lasts, and then until somebody else has it.

use std::time::Duration;

use datapath::{Instant, Limits, Switch, SwitchOptions};
use protocol::Mac;
use protocol::link::{ConfigDelta, NodeConfig, UplinkConfig};

use crate::common::*;
use crate::services::only;

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
    said(h).0
}

/// Times it was told unasked, and times the link was asked who has it, now.
fn said(h: &mut Harness) -> (usize, usize) {
    let announcement = ArpFrame::request(NIC, LB_IP, LB_IP).bytes();
    let question = ArpFrame::request(NIC, [0; 4], LB_IP).bytes();
    let frames = h.run_timers();
    let count = |wanted: &Vec<u8>| frames.iter().filter(|frame| *frame == wanted).count();
    (count(&announcement), count(&question))
}

/// What another node says that has it now: unasked, or as answer to a question.
fn claims() -> [ArpFrame; 3] {
    [
        ArpFrame::request(HOST, LB_IP, LB_IP),
        ArpFrame { destination: Mac::BROADCAST, ..ArpFrame::reply(HOST, LB_IP, NIC, LB_IP) },
        ArpFrame::reply(HOST, LB_IP, NIC, [0; 4]),
    ]
}

/// The node, whose lease has ended, as far as it knows.
fn overdue_bed() -> Harness {
    let mut h = bed();
    hold(&mut h, 2 * SECOND);
    told(&mut h);
    h.wait(2 * SECOND);
    h
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
fn after_the_end_of_a_lease_it_is_answered_and_asked_for_but_told_no_more() {
    let mut h = bed();
    hold(&mut h, 2 * SECOND);
    told(&mut h);
    let mut asked = Vec::new();
    for second in 0..60 {
        h.wait(SECOND);
        let (told, questions) = said(&mut h);
        // One after a second, while the lease lasts.
        assert_eq!(told, usize::from(second == 0));
        asked.extend(std::iter::repeat_n(second, questions));
        assert!(is_answered(&mut h), "nobody else has it");
    }
    assert_eq!(asked[..6], [1, 2, 4, 8, 12, 16]);
}

#[test]
fn who_says_that_it_has_the_address_is_believed_once_the_lease_has_ended() {
    for claim in claims() {
        let mut h = bed();
        hold(&mut h, 2 * SECOND);
        told(&mut h);
        h.wait(2 * SECOND - Duration::from_nanos(1));
        h.assert_dropped(UPLINK, &claim.bytes(), "arp_spoofed");
        assert!(is_answered(&mut h));
        h.wait(Duration::from_nanos(1));
        // Before any timer.
        h.deltas();
        h.assert_dropped(UPLINK, &claim.bytes(), "arp_absorbed");
        assert!(!is_answered(&mut h));
        for _ in 0..400 {
            h.wait(SECOND);
            assert_eq!(said(&mut h), (0, 0));
        }
        assert!(!is_answered(&mut h));
        // The store is back, and the lease is this node's.
        hold(&mut h, 20 * SECOND);
        assert!(is_answered(&mut h));
        assert_eq!(said(&mut h), (1, 0));
        h.assert_dropped(UPLINK, &claim.bytes(), "arp_spoofed");
    }
}

#[test]
fn who_claims_it_for_another_station_or_only_asks_is_not_believed() {
    let mut h = overdue_bed();
    h.deltas();
    let lie = ArpFrame { sender_mac: ROUTER, ..ArpFrame::request(HOST, LB_IP, LB_IP) };
    h.assert_dropped(UPLINK, &lie.bytes(), "arp_spoofed");
    // The node's own frames, sent back.
    let own = ArpFrame::request(NIC, LB_IP, LB_IP);
    h.assert_dropped(UPLINK, &own.bytes(), "spoofed_mac");
    let probe = ArpFrame::request(HOST, [0; 4], LB_IP);
    let (_, sent) = only(h.send(UPLINK, &probe.bytes()));
    assert_eq!(ethernet(&sent), &ArpFrame::reply(NIC, LB_IP, HOST, [0; 4]).bytes()[..]);
    assert!(is_answered(&mut h));
}

/// What is said late changes nothing, and neither does a configuration of the same addresses.
#[test]
fn only_a_lease_that_lasts_takes_the_address_back() {
    let mut h = overdue_bed();
    h.send(UPLINK, &claims()[0].bytes());
    let until = Instant::from_nanos(h.now.as_nanos() - 1);
    h.switch.hold_announced(until, h.now);
    assert!(!is_answered(&mut h));
    announce(&mut h, true);
    assert!(!is_answered(&mut h));
    assert_eq!(said(&mut h), (0, 0));
    // Where there is no lease, nobody else can have it.
    announce(&mut h, false);
    assert!(is_answered(&mut h));
}

/// Its datapath was started again while the store was away.
#[test]
fn a_lease_that_was_over_before_is_known_to_have_been() {
    let mut h = bed();
    let until = Instant::from_nanos(h.now.as_nanos() - 1);
    h.switch.hold_announced(until, h.now);
    assert!(is_answered(&mut h));
    assert_eq!(said(&mut h), (0, 1));
    h.send(UPLINK, &claims()[2].bytes());
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
    said(&mut h);
    // Questions keep a pause as well.
    h.wait(SECOND);
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
    assert_eq!(said(&mut h), (0, 0));
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
    assert!(is_answered(&mut h));
    assert_eq!(said(&mut h), (0, 1));
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
        h.switch.hold_announced(Instant::from_nanos(0), h.now);
        assert!(!is_answered(&mut h));
    }
}

/// The uplink is read by one worker, and asked for addresses by the first.
#[test]
fn all_workers_give_way() {
    let limits = Limits::default();
    let mut beds: Vec<Harness> = (0..3)
        .map(|worker| {
            let mut h = harness_uplink_cold(limits);
            h.switch = Switch::new(SwitchOptions { seed: 1, limits, has_peers: true, worker });
            h.apply(uplink_delta());
            announce(&mut h, true);
            hold(&mut h, SECOND);
            h.wait(SECOND);
            h
        })
        .collect();
    let now = beds[1].now;
    beds[1].send(UPLINK, &claims()[0].bytes());
    let told: Vec<_> = std::iter::from_fn(|| beds[1].switch.take_learned(now)).collect();
    assert!(!told.is_empty());
    for h in &mut beds {
        told.iter().for_each(|learned| h.switch.learn_remote(learned, now));
        assert!(!is_answered(h));
        assert_eq!(said(h), (0, 0));
    }
}
