//! Ports with limits: what comes to them waits or is dropped by name, what they send is left where it is.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use datapath::{Limits, MayRead, Shared, Switch, SwitchOptions};
use protocol::PortId;
use protocol::link::{ConfigDelta, PortConfig};
use protocol::object::Bandwidth;

use crate::common::*;

const RATE: u64 = 10_000_000;

fn to_pod(rate: u64, burst: u64) -> Bandwidth {
    Bandwidth { ingress_rate: Some(rate), ingress_burst: Some(burst), ..Bandwidth::default() }
}

fn from_pod(rate: u64, burst: u64) -> Bandwidth {
    Bandwidth { egress_rate: Some(rate), egress_burst: Some(burst), ..Bandwidth::default() }
}

/// `b` has this limit.
fn limited(bandwidth: Bandwidth) -> Harness {
    let ports = standard_ports();
    let limit = |port: PortConfig| if port.id == B { PortConfig { bandwidth, ..port } } else { port };
    Harness::with(ports.into_iter().map(limit).collect(), Limits::default())
}

/// A datagram that is so many bytes of IP.
fn datagram(ip_len: usize) -> Vec<u8> {
    udp(direct(A_IP, B_IP), 1, 2, &vec![7; ip_len - 28])
}

/// Lets time pass to when something is due, up to `until`; gives what was written.
fn run(h: &mut Harness, until: datapath::Instant) -> Vec<(PortId, Vec<u8>)> {
    h.wire.sent.clear();
    while let Some(due) = h.switch.next_deadline().filter(|due| *due <= until) {
        h.now = h.now.max(due);
        h.switch.on_deadline(h.now, &mut h.wire);
        h.assert_conservation();
    }
    h.now = until;
    std::mem::take(&mut h.wire.sent)
}

#[test]
fn frames_beyond_the_burst_wait_and_leave_in_order_at_the_rate() {
    let mut h = limited(to_pod(RATE, 8 * 4_000));
    let mut at_once = 0;
    for n in 0..20u8 {
        at_once += h.send(A, &udp(direct(A_IP, B_IP), 1, 2, &[n; 972])).len();
    }
    // 4000 bytes of burst, which the last of them may overdraw.
    assert_eq!(at_once, 4);
    h.assert_deltas([
        (A, Delta { rx: 4, forwarded: 4, ..Delta::default() }),
        (B, Delta { tx: 4, ..Delta::default() }),
    ]);
    // 1000 bytes are 0.8 ms.
    let later = h.now + Duration::from_micros(8_100);
    let written = run(&mut h, later);
    assert!((10..=11).contains(&written.len()), "{} in 8.1 ms", written.len());
    let later = later + Duration::from_millis(50);
    let rest = run(&mut h, later);
    assert_eq!(written.len() + rest.len(), 16);
    let order: Vec<u8> = written.iter().chain(&rest).map(|(_, frame)| *frame.last().unwrap()).collect();
    assert_eq!(order, (4..20).collect::<Vec<_>>());
    h.assert_deltas([
        (A, Delta { rx: 16, forwarded: 16, ..Delta::default() }),
        (B, Delta { tx: 16, ..Delta::default() }),
    ]);
    let counters = h.switch.port_counters(B).unwrap();
    assert_eq!((counters.delayed_frames, counters.delayed_bytes), (16, 16 * 1014));
}

#[test]
fn flood_gets_the_rate_and_the_rest_is_dropped_by_name() {
    let mut h = limited(to_pod(RATE, 8 * 64 * 1024));
    let start = h.now;
    let mut written = 0;
    // 100 Mbit/s for 5 s.
    for _ in 0..50_000 {
        let next = h.now + Duration::from_micros(100);
        written += run(&mut h, next).len();
        written += h.send(A, &datagram(1_250)).len();
    }
    let seconds = h.now.saturating_since(start).as_secs_f64();
    let bits = (written * 1_250 * 8) as f64;
    let share = bits / (RATE as f64 * seconds + 8.0 * 65_536.0);
    assert!((0.99..1.01).contains(&share), "{share} of the rate");
    let end = h.now + Duration::from_secs(10);
    written += run(&mut h, end).len();
    let deltas = h.deltas();
    let dropped = deltas[&A].drops["rate_limited"];
    assert_eq!(
        (deltas[&A].rx, deltas[&A].forwarded, deltas[&B].tx),
        (50_000, written as u64, written as u64)
    );
    assert_eq!(dropped + deltas[&A].forwarded, 50_000);
    let counters = h.switch.port_counters(B).unwrap();
    assert_eq!((counters.limited_frames, counters.limited_bytes), (dropped, dropped * 1_264));
}

#[test]
fn superframe_counts_as_its_segments_and_passes_however_small_the_burst() {
    let mut h = limited(to_pod(RATE, 8 * 1_450));
    let mut superframe = tcp(direct(A_IP, B_IP), 1, 2, &[7; 14_000]);
    make_partial(&mut superframe, 16);
    let gso = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    assert_eq!(h.send_with(A, gso, &superframe).len(), 1);
    assert_eq!(h.send_with(A, gso, &superframe).len(), 0);
    let start = h.now;
    // Ten segments of 1440 bytes are 11.52 ms, of which 2 ms were there.
    assert_eq!(run(&mut h, start + Duration::from_micros(9_500)).len(), 0);
    let written = run(&mut h, start + Duration::from_micros(9_600));
    assert_eq!(Vnet::of(&written[0].1).gso_size, 1400, "whole, as it came");
}

#[test]
fn pieces_for_a_plain_device_wait_too_and_are_one_verdict() {
    let ports = ports_without_segmentation();
    let bandwidth = to_pod(RATE, 8 * 1_450);
    let limit = |port: PortConfig| if port.id == B { PortConfig { bandwidth, ..port } } else { port };
    let mut h = Harness::with(ports.into_iter().map(limit).collect(), Limits::default());
    let mut superframe = tcp(direct(A_IP, B_IP), 1, 2, &[7; 14_000]);
    make_partial(&mut superframe, 16);
    let gso = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    assert_eq!(h.send_with(A, gso, &superframe).len(), 10);
    assert_eq!(h.send_with(A, gso, &superframe).len(), 0);
    h.deltas();
    let later = h.now + Duration::from_millis(30);
    assert_eq!(run(&mut h, later).len(), 10);
    h.assert_deltas([
        (A, Delta { rx: 1, forwarded: 1, ..Delta::default() }),
        (B, Delta { tx: 10, ..Delta::default() }),
    ]);
}

#[test]
fn idle_pod_with_a_limit_gets_its_frames_at_once() {
    let mut h = limited(to_pod(RATE, 8 * 1_450));
    for _ in 0..100 {
        assert_eq!(h.send(A, &datagram(1_250)).len(), 1);
        h.wait(Duration::from_millis(1));
    }
    assert_eq!(h.switch.port_counters(B).unwrap().delayed_frames, 0);
}

#[test]
fn others_are_not_held_up() {
    let mut h = limited(to_pod(1_000, 8 * 1_450));
    for _ in 0..100 {
        h.send(A, &datagram(1_250));
        assert_eq!(h.send(A, &udp(direct(A_IP, VM_IP), 1, 2, b"other")).len(), 1);
    }
    assert_eq!(h.switch.port_counters(VM).unwrap().tx_frames, 100);
}

#[test]
fn flooded_frame_does_not_wait() {
    let mut h = limited(to_pod(1_000, 8 * 1_450));
    let group = Path { to_mac: protocol::Mac::BROADCAST, ..direct(A_IP, [255; 4]) };
    let ports = |sent: Vec<(PortId, Vec<u8>)>| sent.into_iter().map(|(port, _)| port).collect::<Vec<_>>();
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(ports(h.send(A, &udp(group, 1, 2, &[1; 1_300]))).contains(&B));
    }
    // 1328 of the 1450 bytes, then the overdraft, then nothing.
    assert_eq!(sent, [true, true, false]);
    assert_eq!(h.switch.port_counters(A).unwrap().forwarded, 3, "others got them");
    assert_eq!(h.switch.port_counters(B).unwrap().limited_frames, 1);
}

#[test]
fn what_waits_at_a_port_that_goes_is_dropped_and_counted() {
    let mut h = limited(to_pod(1_000, 8 * 1_450));
    for _ in 0..5 {
        h.send(A, &datagram(1_250));
    }
    h.deltas();
    h.apply(ConfigDelta { detach: vec![B], ..ConfigDelta::default() });
    h.assert_conservation();
    assert_eq!(h.deltas()[&A].drops["port_gone"], 3);
    let later = h.now + Duration::from_secs(60);
    assert!(run(&mut h, later).is_empty());
}

#[test]
fn limit_changes_and_what_waits_goes_on() {
    let mut h = limited(to_pod(1_000, 8 * 1_450));
    for _ in 0..5 {
        h.send(A, &datagram(1_250));
    }
    h.update(PortConfig { bandwidth: to_pod(1_000_000_000, 8 * 64_000), ..port(B, "default/b", B_IP) });
    let later = h.now + Duration::from_secs(30);
    assert_eq!(run(&mut h, later).len(), 3);
    h.update(port(B, "default/b", B_IP));
    for _ in 0..100 {
        assert_eq!(h.send(A, &datagram(1_250)).len(), 1);
    }
    h.deltas();
}

#[test]
fn device_that_refuses_what_waited_is_named() {
    let mut h = limited(to_pod(RATE, 8 * 1_450));
    for _ in 0..5 {
        h.send(A, &datagram(1_450));
    }
    h.deltas();
    h.wire.full = vec![B];
    let later = h.now + Duration::from_secs(1);
    run(&mut h, later);
    let deltas = h.deltas();
    assert_eq!((deltas[&A].drops["port_queue_full"], deltas[&B].refused), (deltas[&A].rx, deltas[&A].rx));
}

#[test]
fn sender_is_not_read_while_it_owes_bytes() {
    let mut h = limited(from_pod(RATE, 8 * 4_000));
    assert!(h.switch.limits_senders() && h.switch.limits_sender(B) && !h.switch.limits_sender(A));
    assert_eq!(h.switch.may_read(A, h.now), MayRead::Anything);
    let start = h.now;
    let mut sent = 0;
    while h.now.saturating_since(start) < Duration::from_secs(2) {
        match h.switch.may_read(B, h.now) {
            MayRead::Bytes(_) => {
                assert_eq!(h.send(B, &udp(direct(B_IP, A_IP), 1, 2, &[7; 1_222])).len(), 1);
                sent += 1;
            }
            MayRead::NotBefore(until) => h.now = until,
            MayRead::Anything => panic!("it has a limit"),
        }
    }
    let bits = f64::from(sent * 1_250 * 8);
    assert!((0.99..1.01).contains(&(bits / (2.0 * RATE as f64))), "{bits} bits in 2 s");
    assert!(h.switch.port_counters(B).unwrap().pauses > 1_000);
}

#[test]
fn what_a_limited_sender_sends_counts_whatever_becomes_of_it() {
    let mut h = limited(from_pod(RATE, 8 * 4_000));
    let before = h.switch.may_read(B, h.now);
    h.assert_dropped(B, &udp(direct(A_IP, B_IP), 1, 2, &[7; 972]), "spoofed_mac");
    assert_eq!((before, h.switch.may_read(B, h.now)), (MayRead::Bytes(4_000), MayRead::Bytes(3_000)));
    let mut superframe = tcp(direct(B_IP, A_IP), 1, 2, &[7; 14_000]);
    make_partial(&mut superframe, 16);
    let gso = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    h.send_with(B, gso, &superframe);
    // 14,400 bytes on the wire, 3,000 of which were there: 11,400 bytes are 9.12 ms.
    let MayRead::NotBefore(until) = h.switch.may_read(B, h.now) else { panic!("it owes bytes") };
    let wait = until.saturating_since(h.now);
    assert!(wait > Duration::from_micros(9_119) && wait < Duration::from_micros(9_121), "{wait:?}");
}

#[test]
fn trace_takes_nothing_and_waits_for_nothing() {
    let mut h = limited(to_pod(1_000, 8 * 1_450));
    for _ in 0..5 {
        h.send(A, &datagram(1_250));
    }
    let before = h.switch.port_counters(B).unwrap();
    let packet = protocol::link::TracePacket {
        port: A,
        source: None,
        destination: B_IP.into(),
        protocol: protocol::link::TraceProtocol::Udp,
        source_port: 1,
        destination_port: 2,
        size: 1_000,
    };
    let trace = h.switch.trace(&packet, h.now).unwrap();
    assert_eq!(trace.drop, None);
    assert_eq!(h.switch.port_counters(B).unwrap(), before);
    let later = h.now + Duration::from_secs(60);
    assert_eq!(run(&mut h, later).len(), 3);
}

/// Two workers read frames for one pod: together they get its rate, and each what it read in order.
#[test]
fn workers_share_a_pods_rate() {
    let limits = Limits::default();
    let memory = || AtomicU64::new(0);
    let words: Vec<_> = std::iter::repeat_with(memory).take(Shared::connection_words(&limits)).collect();
    let shared = Arc::new(Shared::new(Box::leak(words.into_boxed_slice()), 1, &limits));
    let mut workers = [0, 1].map(|worker| {
        let options = SwitchOptions { seed: 1, limits, has_peers: true, worker };
        let mut harness = Harness::bare(limits);
        harness.switch = Switch::sharing(options, Arc::clone(&shared));
        harness
    });
    for worker in &mut workers {
        let bandwidth = to_pod(RATE, 8 * 64 * 1024);
        let mut ports = standard_ports();
        ports[2] = PortConfig { bandwidth, ..port(B, "default/b", B_IP) };
        worker.apply(ConfigDelta { node: Some(node()), attach: ports, ..ConfigDelta::default() });
    }
    let mut orders = [Vec::new(), Vec::new()];
    let number = |frame: &[u8]| u16::from_be_bytes([frame[frame.len() - 2], frame[frame.len() - 1]]);
    for n in 0..30_000u16 {
        // Whose timer is first is chance.
        let first = usize::from(n.wrapping_mul(40_503) >> 13 & 1);
        for number_of_worker in [first, 1 - first] {
            let (worker, order) = (&mut workers[number_of_worker], &mut orders[number_of_worker]);
            let (from, ip) = [(A, A_IP), (VM, VM_IP)][number_of_worker];
            let next = worker.now + Duration::from_micros(100);
            let mut sent = run(worker, next);
            let mut payload = vec![7; 1_222];
            payload[1_220..].copy_from_slice(&n.to_be_bytes());
            sent.extend(worker.send(from, &udp(direct(ip, B_IP), 1, 2, &payload)));
            order.extend(sent.iter().map(|(_, frame)| number(frame)));
        }
    }
    assert!(orders.iter().all(|order| order.is_sorted()), "a flow's frames keep their order");
    let bits = (orders[0].len() + orders[1].len()) as f64 * 10_000.0;
    let share = bits / (3.0 * RATE as f64 + 8.0 * 65_536.0);
    assert!((0.99..1.01).contains(&share), "{share} of the rate");
    let least = orders.iter().map(Vec::len).min().unwrap();
    assert!(least > 500, "{} and {} frames", orders[0].len(), orders[1].len());
}
