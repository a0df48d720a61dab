//! Next hops on the uplink's link: asked for, waited for, kept fresh.

use std::time::Duration;

use datapath::{Learned, Limits};
use etherparse::{IcmpEchoHeader, TransportHeader};
use protocol::link::{ConfigDelta, NodeConfig, UplinkConfig};

use crate::common::*;
use crate::services::only;

fn question(target: [u8; 4]) -> Vec<u8> {
    ArpFrame::request(NIC, NODE_IP, target).bytes()
}

/// A packet of pod A that keeps its address, to who is behind the router.
fn far(n: u8) -> Vec<u8> {
    udp(routed(A_IP, KNOWN_IP), 1000, 53, &[n; 10])
}

/// ... to the host on the link.
fn near(n: u8) -> Vec<u8> {
    udp(routed(A_IP, HOST_IP), 1000, 53, &[n; 10])
}

/// A harness that need not announce anything.
fn silent(mut h: Harness) -> Harness {
    let uplink = Some(UplinkConfig { announced: Vec::new(), ..uplink_config() });
    h.apply(ConfigDelta { node: Some(NodeConfig { uplink, ..uplink_node() }), ..ConfigDelta::default() });
    // The keep-alives of the tunnel are trains; frames are the uplink's alone.
    h.quiet();
    h
}

#[track_caller]
fn assert_left(sent: &(protocol::PortId, Vec<u8>), mac: protocol::Mac, frame: &[u8]) {
    let (port, sent) = sent;
    let sent = ethernet(sent);
    assert_eq!((*port, &sent[..6], &sent[6..12]), (UPLINK, &mac.0[..], &NIC.0[..]));
    let (was, is) = (decode(frame), decode(sent));
    assert_eq!(ipv4_of(&is).time_to_live, ipv4_of(&was).time_to_live - 1);
    assert_eq!(
        (ipv4_of(&is).source, ipv4_of(&is).destination),
        (ipv4_of(&was).source, ipv4_of(&was).destination)
    );
    assert_eq!(is.payload.slice(), was.payload.slice());
}

#[test]
fn gateway_is_asked_for_when_it_is_configured() {
    let mut h = harness_uplink_cold(Limits::default());
    let asked = h.run_timers();
    assert!(asked.contains(&question(ROUTER_IP)));
    introduce(&mut h, ROUTER, ROUTER_IP);
    h.assert_deltas([(
        UPLINK,
        Delta {
            rx: 1,
            drops: [("arp_absorbed".to_owned(), 1)].into(),
            tx: 2,
            originated: 2,
            ..Delta::default()
        },
    )]);
    assert_left(&only(h.send(A, &far(1))), ROUTER, &far(1));
    assert_left(&only(h.send(A, &far(2))), ROUTER, &far(2));
    assert_eq!(h.switch.flows_page(0, 9, h.now).0.len(), 1, "remembered");
    let (rows, _) = h.switch.neighbors_page(0, 99, h.now);
    let router = rows.iter().find(|row| row.ip == ip(ROUTER_IP)).unwrap();
    assert_eq!((router.mac, router.port, router.is_static), (ROUTER, UPLINK, false));
}

#[test]
fn first_frames_wait_for_the_answer_and_leave_in_order() {
    let mut h = silent(harness_uplink());
    for n in 1..=3 {
        assert!(h.send(A, &near(n)).is_empty());
    }
    h.assert_deltas([]);
    assert_eq!(h.run_timers(), [question(HOST_IP)], "one question for all");
    h.assert_deltas([(UPLINK, Delta { tx: 1, originated: 1, ..Delta::default() })]);
    introduce(&mut h, HOST, HOST_IP);
    h.sweep();
    let sent = std::mem::take(&mut h.wire.sent);
    assert_eq!(sent.len(), 3);
    for (frame, n) in sent.iter().zip(1..) {
        assert_left(frame, HOST, &near(n));
    }
    h.assert_deltas([
        (A, Delta { rx: 3, forwarded: 3, ..Delta::default() }),
        (UPLINK, Delta { rx: 1, drops: [("arp_absorbed".to_owned(), 1)].into(), tx: 3, ..Delta::default() }),
    ]);
    assert_left(&only(h.send(A, &near(4))), HOST, &near(4));
}

#[test]
fn who_sends_to_nobody_is_told_after_three_seconds() {
    let mut h = silent(harness_uplink());
    h.send(A, &near(1));
    let mut asked = 0;
    for _ in 0..29 {
        asked += h.run_timers().len();
        h.wait(Duration::from_millis(100));
    }
    assert_eq!(asked, 3);
    h.assert_deltas([(UPLINK, Delta { tx: 3, originated: 3, ..Delta::default() })]);
    h.wait(Duration::from_millis(100));
    h.sweep();
    let (port, sent) = only(std::mem::take(&mut h.wire.sent));
    assert_eq!(port, A);
    let error = decode(ethernet(&sent));
    assert_eq!(ethernet(&sent)[34..36], [3, 1], "host unreachable");
    assert_eq!(ipv4_of(&error).source, GATEWAY_IP);
    assert_eq!(error.payload.slice(), &near(1)[14..], "quotes what the pod sent");
    h.assert_deltas([(A, Delta::refused_with_error("next_hop_unresolved"))]);
    // It may have come meanwhile.
    h.send(A, &near(2));
    assert_eq!(h.run_timers(), [question(HOST_IP)]);
}

#[test]
fn no_one_takes_all_the_room_for_frames_that_wait() {
    let mut h = silent(harness_uplink());
    let to = |n: u8| udp(routed(A_IP, [192, 0, 2, 100]), 1000, 53, &[n; 10]);
    let wide = UplinkConfig {
        announced: Vec::new(),
        not_translated: vec!["192.0.2.0/24".parse().unwrap()],
        ..uplink_config()
    };
    h.apply(ConfigDelta {
        node: Some(NodeConfig { uplink: Some(wide), ..uplink_node() }),
        ..ConfigDelta::default()
    });
    for n in 0..8 {
        assert!(h.send(A, &to(n)).is_empty());
    }
    h.assert_deltas([]);
    h.assert_dropped(A, &to(9), "next_hop_unresolved");
    let elsewhere = udp(routed(A_IP, [192, 0, 2, 101]), 1000, 53, b"x");
    h.assert_dropped(A, &elsewhere, "next_hop_unresolved");
    // Others still have theirs: two more of sixteen frames for one next hop.
    for n in 0..8 {
        h.send(B, &udp(routed(B_IP, [192, 0, 2, 100]), 1000, 53, &[n; 10]));
    }
    h.assert_deltas([]);
    let vm = Path { from_mac: pod_mac(VM_IP), ..routed(VM_IP, [192, 0, 2, 100]) };
    h.assert_dropped(VM, &udp(vm, 1000, 53, b"x"), "next_hop_unresolved");
    h.wait(Duration::from_secs(4));
    for _ in 0..5 {
        h.sweep();
        h.wait(Duration::from_secs(1));
    }
    let deltas = h.deltas();
    let dropped = |port| deltas.get(&port).map(|delta: &Delta| (delta.rx, delta.drops.clone()));
    let eight = Some((8, [("next_hop_unresolved".to_owned(), 8)].into()));
    assert_eq!((dropped(A), dropped(B)), (eight.clone(), eight));
}

#[test]
fn superframes_wait_within_their_bytes() {
    let mut h = silent(harness_uplink());
    let mut frame = tcp(routed(A_IP, HOST_IP), 1000, 80, &[7; 60_000]);
    make_partial(&mut frame, 16);
    let gso = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    for _ in 0..2 {
        h.send_with(A, gso, &frame);
    }
    h.assert_deltas([]);
    h.assert_dropped_with(A, gso, &frame, "next_hop_unresolved");
    introduce(&mut h, HOST, HOST_IP);
    h.sweep();
    let sent = std::mem::take(&mut h.wire.sent);
    let superframes: Vec<_> =
        sent.iter().filter(|(_, frame)| Vnet::of(frame).gso_type == GSO_TCPV4).collect();
    assert_eq!(superframes.len(), 2);
    assert_eq!(ethernet(&superframes[0].1).len(), frame.len());
}

#[test]
fn scanning_the_link_is_bounded_as_broadcast_is() {
    let limits = Limits { flood_burst: 5, flood_per_second: 1, ..Limits::default() };
    let mut h = harness_uplink_cold(limits);
    let scan = UplinkConfig { not_translated: vec!["192.0.2.0/24".parse().unwrap()], ..uplink_config() };
    h.apply(ConfigDelta {
        node: Some(NodeConfig { uplink: Some(scan), ..uplink_node() }),
        ..ConfigDelta::default()
    });
    h.quiet();
    for n in 0..5 {
        h.send(A, &udp(routed(A_IP, [192, 0, 2, 100 + n]), 1000, 53, b"x"));
    }
    h.assert_deltas([]);
    h.assert_dropped(A, &udp(routed(A_IP, [192, 0, 2, 105]), 1000, 53, b"x"), "flood_limited");
}

#[test]
fn answers_nobody_asked_for_teach_nothing() {
    let mut h = silent(harness_uplink());
    h.assert_dropped(UPLINK, &ArpFrame::reply(HOST, HOST_IP, NIC, NODE_IP).bytes(), "not_for_switch");
    h.assert_dropped(UPLINK, &ArpFrame::request(HOST, HOST_IP, NODE_IP).bytes(), "not_for_switch");
    h.assert_dropped(UPLINK, &ArpFrame::request(HOST, HOST_IP, HOST_IP).bytes(), "not_for_switch");
    assert!(h.send(A, &near(1)).is_empty());
    assert_eq!(h.run_timers(), [question(HOST_IP)]);
}

/// A router that fails over, or a host whose interface was replaced.
#[test]
fn changed_mac_is_followed_by_flows_that_are_known() {
    let mut h = silent(harness_uplink());
    assert_left(&only(h.send(A, &far(1))), ROUTER, &far(1));
    h.wait(Duration::from_secs(2));
    h.sweep();
    let standby = protocol::Mac([0x52, 0x54, 0, 0, 0, 0xff]);
    let gratuitous = ArpFrame::request(standby, ROUTER_IP, ROUTER_IP);
    h.send(UPLINK, &gratuitous.bytes());
    h.sweep();
    h.wire.sent.clear();
    assert_left(&only(h.send(A, &far(2))), standby, &far(2));
    assert_left(&only(h.send(A, &far(3))), standby, &far(3));
}

#[test]
fn gateway_that_falls_silent_is_probed_then_asked_for_and_its_senders_told() {
    let mut h = silent(harness_uplink());
    assert_left(&only(h.send(A, &far(1))), ROUTER, &far(1));
    let probe = ArpFrame { destination: ROUTER, ..ArpFrame::request(NIC, NODE_IP, ROUTER_IP) }.bytes();
    let mut sent = Vec::new();
    for _ in 0..360 {
        sent.extend(h.run_timers());
        h.wait(Duration::from_millis(100));
    }
    assert_eq!(sent[..3], vec![probe; 3][..]);
    assert!(sent[3..].iter().all(|frame| *frame == question(ROUTER_IP)) && sent.len() >= 5, "{}", sent.len());
    h.deltas();
    assert!(h.send(A, &far(2)).is_empty(), "the cached flow does not go on to a MAC that is silent");
    h.assert_deltas([]);
    for _ in 0..41 {
        h.sweep();
        h.wait(Duration::from_millis(100));
    }
    let deltas = h.deltas();
    assert_eq!(deltas[&A], Delta::refused_with_error("next_hop_unresolved"));
}

#[test]
fn packets_out_lose_a_hop_and_are_told_what_fits() {
    let mut h = harness_uplink();
    let expired = udp(Path { ttl: 1, ..routed(A_IP, KNOWN_IP) }, 1000, 53, b"x");
    assert_eq!(ethernet(&only(h.send(A, &expired)).1)[34..36], [11, 0]);
    h.assert_deltas([(A, Delta::refused_with_error("ttl_expired"))]);
    let mut narrow = uplink_port();
    narrow.ip_mtu = 1000;
    h.update(narrow);
    h.quiet();
    let (_, sent) = only(h.send(A, &udp(routed(A_IP, KNOWN_IP), 1000, 53, &[0; 1200])));
    assert_eq!(ethernet(&sent)[34..42], [3, 4, ethernet(&sent)[36], ethernet(&sent)[37], 0, 0, 0x03, 0xe8]);
    h.assert_deltas([(A, Delta::refused_with_error("packet_too_big"))]);
    let (_, sent) = only(h.send(A, &echo_request(routed(A_IP, KNOWN_IP), 7, b"ping")));
    let packet = decode(ethernet(&sent));
    let Some(TransportHeader::Icmpv4(icmp)) = packet.transport else { panic!("no ICMP") };
    assert_eq!(icmp.icmp_type, etherparse::Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 1 }));
}

/// The worker that reads the uplink hears the answer to another one's question.
#[test]
fn answer_is_told_to_the_worker_that_asked() {
    let (mut reader, mut asker) = (silent(harness_uplink()), silent(harness_uplink()));
    let tell = |from: &mut Harness, to: &mut Harness| {
        let told: Vec<Learned> = std::iter::from_fn(|| from.switch.take_learned(from.now)).collect();
        for learned in &told {
            to.switch.learn_remote(learned, to.now);
        }
        told.len()
    };
    tell(&mut reader, &mut asker);
    asker.send(A, &near(1));
    assert_eq!(asker.run_timers(), [question(HOST_IP)]);
    // The reader has not asked, so it learns nothing, but tells.
    reader.assert_dropped(UPLINK, &ArpFrame::reply(HOST, HOST_IP, NIC, NODE_IP).bytes(), "not_for_switch");
    assert_eq!(tell(&mut reader, &mut asker), 1);
    asker.sweep();
    assert_left(&only(std::mem::take(&mut asker.wire.sent)), HOST, &near(1));
    assert!(reader.send(A, &near(2)).is_empty(), "it asks by itself");
    // A gateway that moves is known to all at once.
    let gratuitous = ArpFrame::request(HOST, ROUTER_IP, ROUTER_IP).bytes();
    for worker in [&mut reader, &mut asker] {
        worker.wait(Duration::from_secs(2));
        worker.quiet();
        assert_left(&only(worker.send(A, &far(1))), ROUTER, &far(1));
    }
    reader.send(UPLINK, &gratuitous);
    assert_eq!(tell(&mut reader, &mut asker), 1);
    for worker in [&mut reader, &mut asker] {
        worker.quiet();
        assert_left(&only(worker.send(A, &far(2))), HOST, &far(2));
    }
}

#[test]
fn change_of_configuration_reaches_frames_that_wait() {
    let mut h = silent(harness_uplink());
    h.send(A, &near(1));
    h.send(B, &udp(routed(B_IP, HOST_IP), 1, 2, b"x"));
    h.apply(ConfigDelta { detach: vec![A], ..ConfigDelta::default() });
    introduce(&mut h, HOST, HOST_IP);
    h.sweep();
    let sent = std::mem::take(&mut h.wire.sent);
    let sources: Vec<_> = sent.iter().map(|(_, frame)| &ethernet(frame)[26..30]).collect();
    assert_eq!(sources, [&B_IP[..]], "what is gone sends nothing any more");
    h.send(B, &udp(routed(B_IP, KNOWN_IP), 1, 2, b"x"));
    h.apply(ConfigDelta { detach: vec![UPLINK], ..ConfigDelta::default() });
    h.quiet();
    h.send(B, &udp(routed(B_IP, KNOWN_IP), 1, 2, b"x"));
    h.assert_deltas([(B, Delta::refused_with_error("no_route"))]);
}
