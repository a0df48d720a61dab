//! What the tests of egress have in common: pods A and VM appear as the node, pod B as an address of its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use datapath::Limits;
use etherparse::PacketBuilder;
use protocol::PortId;
use protocol::link::{ConfigDelta, Filtering, NodeConfig, UplinkConfig};

use crate::common::*;
use crate::services::{ends, only};

/// Address and port.
pub(crate) type End = (Ipv4Addr, u16);

pub(crate) const SERVER: [u8; 4] = CLIENT_IP;
pub(crate) const OTHER: [u8; 4] = [203, 0, 113, 8];
pub(crate) const RANGE: std::ops::RangeInclusive<u16> = 61_000..=65_535;

pub(crate) fn harness_nat(filtering: Filtering) -> Harness {
    harness_nat_with(Limits::default(), |uplink| uplink.filtering = filtering)
}

pub(crate) fn harness_nat_with(limits: Limits, change: impl Fn(&mut UplinkConfig)) -> Harness {
    let mut h = harness_uplink_cold(limits);
    configure(&mut h, change);
    h.sweep();
    introduce(&mut h, ROUTER, ROUTER_IP);
    h.quiet();
    h
}

/// The configuration changes.
pub(crate) fn configure(h: &mut Harness, change: impl Fn(&mut UplinkConfig)) {
    let mut uplink = uplink_config();
    change(&mut uplink);
    h.apply(ConfigDelta {
        node: Some(NodeConfig { uplink: Some(uplink), ..uplink_node() }),
        ..ConfigDelta::default()
    });
}

/// Time passes; the gateway goes on to answer.
pub(crate) fn later(h: &mut Harness, seconds: u64) {
    h.wait(Duration::from_secs(seconds));
    h.sweep();
    introduce(h, ROUTER, ROUTER_IP);
    h.quiet();
}

/// A pod's packet leaves by the uplink; gives it as the link sees it.
#[track_caller]
pub(crate) fn leaves(h: &mut Harness, pod: PortId, frame: &[u8]) -> Vec<u8> {
    let (port, sent) = only(h.send(pod, frame));
    let sent = ethernet(&sent).to_vec();
    assert_eq!((port, &sent[..6], &sent[6..12]), (UPLINK, &ROUTER.0[..], &NIC.0[..]));
    sent
}

/// A datagram leaves by the uplink; what its sender appears as.
#[track_caller]
pub(crate) fn asks(h: &mut Harness, (pod, address): (PortId, [u8; 4]), port: u16, to: ([u8; 4], u16)) -> End {
    let sent = leaves(h, pod, &udp(routed(address, to.0), port, to.1, b"?"));
    let (from, destination) = ends(&sent);
    assert_eq!(destination, (to.0.into(), to.1));
    from
}

/// A datagram from outside.
pub(crate) fn answer(from: ([u8; 4], u16), to: End) -> Vec<u8> {
    udp(outside(from.0, to.0.octets()), from.1, to.1, b"!")
}

/// What comes from outside reaches a pod; gives its ends there.
#[track_caller]
pub(crate) fn reaches(h: &mut Harness, frame: &[u8], pod: PortId) -> (End, End) {
    let (port, sent) = only(h.send(UPLINK, frame));
    assert_eq!(port, pod);
    ends(ethernet(&sent))
}

/// It is dropped, and nobody is told.
#[track_caller]
pub(crate) fn refused(h: &mut Harness, port: PortId, frame: &[u8], reason: &str) {
    h.deltas();
    h.assert_dropped(port, frame, reason);
}

/// It is dropped, and its sender gets an ICMP error with this type and code.
#[track_caller]
pub(crate) fn told(h: &mut Harness, pod: PortId, frame: &[u8], reason: &str, error: [u8; 2]) {
    h.deltas();
    let (port, sent) = only(h.send(pod, frame));
    assert_eq!((port, &ethernet(&sent)[34..36]), (pod, &error[..]));
    // It quotes the packet as its sender knows it.
    assert_eq!(ethernet(&sent)[54..62], frame[26..34]);
    h.assert_deltas([(pod, Delta::refused_with_error(reason))]);
}

pub(crate) fn echo_reply(path: Path, identifier: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
        .ipv4(path.from, path.to, path.ttl)
        .icmpv4_echo_reply(identifier, 1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// Rows of the connection table: mappings, and others.
pub(crate) fn table(h: &Harness) -> (usize, usize) {
    let (rows, next) = h.switch.connections_page(0, 100_000, h.now);
    assert_eq!(next, None);
    let mappings = rows.iter().filter(|row| row.state == "MAPPING").count();
    (mappings, rows.len() - mappings)
}
