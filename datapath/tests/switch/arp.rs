//! ARP: answered from the configuration, taught only by ports that learn.

use std::time::Duration;

use crate::common::*;
use datapath::Limits;
use protocol::Mac;
use protocol::PortId;
use protocol::link::ConfigDelta;

const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const STRANGER_IP: [u8; 4] = [10, 244, 0, 50];

/// The port asks, and hears exactly this answer; nobody else hears anything.
#[track_caller]
fn assert_answered(h: &mut Harness, port: PortId, request: ArpFrame, mac: Mac) {
    h.deltas();
    let sent = h.send(port, &request.bytes());
    assert_eq!(sent.len(), 1);
    let wanted = ArpFrame::reply(mac, request.target_ip, request.sender_mac, request.sender_ip);
    assert_eq!((sent[0].0, ethernet(&sent[0].1)), (port, &wanted.bytes()[..]));
    assert_eq!(Vnet::of(&sent[0].1), Vnet::default());
    h.assert_deltas([(port, Delta::answered())]);
}

#[test]
fn configured_addresses_are_answered_by_the_switch() {
    let mut h = Harness::new();
    for (target, mac) in
        [(B_IP, pod_mac(B_IP)), (VM_IP, pod_mac(VM_IP)), (GATEWAY_IP, router_mac()), (NODE_IP, gateway_mac())]
    {
        assert_answered(&mut h, A, ArpFrame::request(pod_mac(A_IP), A_IP, target), mac);
    }
    assert_answered(&mut h, VM, ArpFrame::request(pod_mac(VM_IP), VM_IP, GATEWAY_IP), router_mac());
    assert_answered(&mut h, GATEWAY, ArpFrame::request(gateway_mac(), GATEWAY_IP, A_IP), pod_mac(A_IP));
    assert_answered(&mut h, GATEWAY, ArpFrame::request(gateway_mac(), NODE_IP, A_IP), pod_mac(A_IP));
}

#[test]
fn unicast_probe_and_padded_request_are_answered_as_well() {
    let mut h = Harness::new();
    let unicast = ArpFrame { destination: pod_mac(B_IP), ..ArpFrame::request(pod_mac(A_IP), A_IP, B_IP) };
    assert_answered(&mut h, A, unicast, pod_mac(B_IP));
    // A target MAC in the request is not copied into the answer.
    let filled = ArpFrame { target_mac: Mac([9; 6]), ..ArpFrame::request(pod_mac(A_IP), A_IP, B_IP) };
    assert_answered(&mut h, A, filled, pod_mac(B_IP));
    let mut padded = filled.bytes();
    padded.resize(60, 0x55);
    let sent = h.send(A, &padded);
    assert_eq!(ethernet(&sent[0].1).len(), 42);
}

#[test]
fn node_gets_the_router_for_pods_of_other_nodes() {
    let mut h = Harness::new();
    let elsewhere = [10, 244, 9, 9];
    assert_answered(&mut h, GATEWAY, ArpFrame::request(gateway_mac(), GATEWAY_IP, elsewhere), router_mac());
    // A pod has a route by the gateway and no business asking.
    let request = ArpFrame::request(pod_mac(A_IP), A_IP, elsewhere);
    h.assert_dropped(A, &request.bytes(), "arp_unknown_target");
}

#[test]
fn own_address_is_not_answered() {
    let mut h = Harness::new();
    // Probe and announcement (RFC 5227 §2.1.1, §2.3), and a plain question.
    for sender in [[0; 4], A_IP] {
        let request = ArpFrame::request(pod_mac(A_IP), sender, A_IP);
        h.assert_dropped(A, &request.bytes(), "arp_own_address");
    }
    let request = ArpFrame::request(gateway_mac(), [0; 4], GATEWAY_IP);
    h.assert_dropped(GATEWAY, &request.bytes(), "arp_own_address");
    // A probe for somebody else's address is answered: that is the conflict a probe looks for.
    assert_answered(&mut h, A, ArpFrame::request(pod_mac(A_IP), [0; 4], B_IP), pod_mac(B_IP));
}

#[test]
fn forged_sender_is_dropped() {
    let mut h = Harness::new();
    let honest = ArpFrame::request(pod_mac(A_IP), A_IP, B_IP);
    for frame in [
        ArpFrame { sender_mac: pod_mac(B_IP), ..honest },
        ArpFrame { sender_mac: STRANGER, ..honest },
        ArpFrame { sender_ip: B_IP, ..honest },
        ArpFrame { sender_ip: GATEWAY_IP, ..honest },
        ArpFrame { sender_ip: STRANGER_IP, ..honest },
        ArpFrame { sender_ip: [127, 0, 0, 1], ..honest },
        // Zero is only for probes, not for replies.
        ArpFrame { sender_ip: [0; 4], operation: 2, ..honest },
    ] {
        h.assert_dropped(A, &frame.bytes(), "arp_spoofed");
    }
    h.assert_dropped(
        A,
        &ArpFrame { source: pod_mac(B_IP), sender_mac: pod_mac(B_IP), sender_ip: B_IP, ..honest }.bytes(),
        "spoofed_mac",
    );
    let stranger = ArpFrame::request(STRANGER, STRANGER_IP, B_IP);
    for sender_ip in [A_IP, GATEWAY_IP, NODE_IP, [10, 244, 9, 9], [10, 244, 0, 255]] {
        h.assert_dropped(VM, &ArpFrame { sender_ip, ..stranger }.bytes(), "arp_spoofed");
    }
    assert!(h.switch.neighbors_page(0, 99, h.now).0.iter().all(|row| row.is_static));
}

#[test]
fn malformed_arp_is_dropped_by_name() {
    let mut h = Harness::new();
    let good = ArpFrame::request(pod_mac(A_IP), A_IP, B_IP).bytes();
    for len in 14..42 {
        h.assert_dropped(A, &good[..len], "arp_malformed");
    }
    // Hardware type, protocol, the two lengths, operation.
    for (at, value) in [(15, 6), (16, 0x86), (18, 8), (18, 0), (19, 16), (19, 0), (21, 0), (21, 3), (20, 1)] {
        let mut frame = good.clone();
        frame[at] = value;
        frame.resize(80, 0);
        h.assert_dropped(A, &frame, "arp_malformed");
    }
}

#[test]
fn pod_cannot_answer_for_anybody() {
    let mut h = Harness::new();
    let reply = ArpFrame::reply(pod_mac(A_IP), A_IP, pod_mac(B_IP), B_IP);
    h.assert_dropped(A, &reply.bytes(), "arp_unsolicited");
    h.assert_dropped(A, &ArpFrame { destination: Mac::BROADCAST, ..reply }.bytes(), "arp_unsolicited");
}

#[test]
fn unknown_address_is_asked_for_only_where_stations_are_learned() {
    let mut h = Harness::new();
    let request = ArpFrame::request(pod_mac(A_IP), A_IP, STRANGER_IP).bytes();
    let sent = h.send(A, &request);
    assert_eq!(sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [GATEWAY, VM]);
    assert!(sent.iter().all(|(_, frame)| ethernet(frame) == request));
    h.assert_deltas([(A, Delta::forwarded()), (GATEWAY, Delta::sent()), (VM, Delta::sent())]);
    h.apply(ConfigDelta { detach: vec![GATEWAY, VM], ..ConfigDelta::default() });
    h.assert_dropped(A, &request, "arp_unknown_target");
}

#[test]
fn learned_neighbor_answers_for_itself() {
    let mut h = Harness::new();
    // It shows itself by asking for the gateway.
    assert_answered(&mut h, VM, ArpFrame::request(STRANGER, STRANGER_IP, GATEWAY_IP), router_mac());
    let rows = h.switch.neighbors_page(0, 99, h.now).0;
    let learned: Vec<_> = rows.iter().filter(|row| !row.is_static).collect();
    assert_eq!(
        (learned.len(), learned[0].ip, learned[0].mac, learned[0].port),
        (1, ip(STRANGER_IP), STRANGER, VM)
    );
    assert_eq!(learned[0].port_name, "default/vm");
    // A question for it goes to its port alone, and its answer back to who asked.
    let request = ArpFrame::request(pod_mac(A_IP), A_IP, STRANGER_IP);
    let sent = h.send(A, &request.bytes());
    assert_eq!((sent.len(), sent[0].0), (1, VM));
    let reply = ArpFrame::reply(STRANGER, STRANGER_IP, pod_mac(A_IP), A_IP);
    let sent = h.send(VM, &reply.bytes());
    assert_eq!((sent.len(), sent[0].0, ethernet(&sent[0].1)), (1, A, &reply.bytes()[..]));
    // The router finds it as well.
    let sent = h.send(B, &udp(routed(B_IP, STRANGER_IP), 1, 2, b"x"));
    assert_eq!((sent.len(), sent[0].0), (1, VM));
    assert_eq!(&ethernet(&sent[0].1)[..6], STRANGER.0);
    // Forgotten after the ageing time.
    h.wait(Duration::from_secs(301));
    h.sweep();
    assert!(h.switch.neighbors_page(0, 99, h.now).0.iter().all(|row| row.is_static));
}

#[test]
fn announcements_teach_and_end() {
    let mut h = Harness::new();
    let announcement = ArpFrame::request(STRANGER, STRANGER_IP, STRANGER_IP);
    h.assert_dropped(VM, &announcement.bytes(), "arp_absorbed");
    let gratuitous = ArpFrame {
        destination: Mac::BROADCAST,
        ..ArpFrame::reply(STRANGER, [10, 244, 0, 51], STRANGER, [10, 244, 0, 51])
    };
    h.assert_dropped(VM, &gratuitous.bytes(), "arp_absorbed");
    let to_router = ArpFrame::reply(STRANGER, STRANGER_IP, router_mac(), GATEWAY_IP);
    h.assert_dropped(VM, &to_router.bytes(), "arp_absorbed");
    let learned = h.switch.neighbors_page(0, 99, h.now).0.into_iter().filter(|row| !row.is_static).count();
    assert_eq!(learned, 2);
}

#[test]
fn learned_address_moves_at_most_once_a_second() {
    let mut h = Harness::new();
    let claim = |mac| ArpFrame::request(mac, STRANGER_IP, GATEWAY_IP).bytes();
    let owner = |h: &Harness| {
        h.switch.neighbors_page(0, 99, h.now).0.into_iter().find(|row| row.ip == ip(STRANGER_IP)).unwrap().mac
    };
    let other = Mac([2, 0, 0, 0, 0, 2]);
    h.send(VM, &claim(STRANGER));
    h.send(VM, &claim(other));
    assert_eq!(owner(&h), STRANGER);
    h.wait(Duration::from_secs(1));
    h.send(VM, &claim(other));
    assert_eq!(owner(&h), other);
}

#[test]
fn one_port_cannot_fill_the_neighbor_table() {
    let limits = Limits { neighbors: 20, neighbors_per_port: 8, ..Limits::default() };
    let mut h = Harness::with(standard_ports(), limits);
    for last in 20..200 {
        h.send(VM, &ArpFrame::request(STRANGER, [10, 244, 0, last], GATEWAY_IP).bytes());
    }
    assert_eq!(h.switch.neighbors_page(0, 999, h.now).0.into_iter().filter(|row| !row.is_static).count(), 8);
}
