//! Frames that a well-behaved kernel would not send.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{PacketBuilder, VlanId};
use protocol::Mac;

/// Sent in every hostile frame, looked for at the victim.
pub const EVIL: &[u8] = b"vpod-test-evil-payload";
/// Sent in the last, honest frame, so that a victim knows that nothing more will come.
pub const CANARY: &[u8] = b"vpod-test-canary";

/// Who a frame claims to be from and to.
#[derive(Debug, Clone, Copy)]
pub struct Between {
    /// Source of the Ethernet header.
    pub from_mac: Mac,
    /// Source of the IP or ARP header.
    pub from_ip: Ipv4Addr,
    /// Destination of the Ethernet header.
    pub to_mac: Mac,
    /// Destination of the IP or ARP header.
    pub to_ip: Ipv4Addr,
}

/// `ip` as an IPv4 address.
///
/// # Panics
/// When it is not.
#[must_use]
pub fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip} is not IPv4"),
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame);
    frame
}

/// An echo request that carries `payload`.
#[must_use]
pub fn ping(b: Between, payload: &[u8]) -> Vec<u8> {
    written(|frame| {
        PacketBuilder::ethernet2(b.from_mac.0, b.to_mac.0)
            .ipv4(b.from_ip.octets(), b.to_ip.octets(), 64)
            .icmpv4_echo_request(77, 1)
            .write(frame, payload)
            .expect("a vector takes everything");
    })
}

/// A UDP datagram that carries `payload`.
#[must_use]
pub fn udp(b: Between, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    written(|frame| {
        PacketBuilder::ethernet2(b.from_mac.0, b.to_mac.0)
            .ipv4(b.from_ip.octets(), b.to_ip.octets(), 64)
            .udp(ports.0, ports.1)
            .write(frame, payload)
            .expect("a vector takes everything");
    })
}

/// Any ICMP message.
#[must_use]
pub fn icmp(b: Between, kind: u8, code: u8, payload: &[u8]) -> Vec<u8> {
    written(|frame| {
        PacketBuilder::ethernet2(b.from_mac.0, b.to_mac.0)
            .ipv4(b.from_ip.octets(), b.to_ip.octets(), 64)
            .icmpv4_raw(kind, code, b.from_ip.octets())
            .write(frame, payload)
            .expect("a vector takes everything");
    })
}

/// An echo request inside an 802.1Q tag.
#[must_use]
pub fn vlan_ping(b: Between, vlan: u16, payload: &[u8]) -> Vec<u8> {
    written(|frame| {
        PacketBuilder::ethernet2(b.from_mac.0, b.to_mac.0)
            .single_vlan(VlanId::try_new(vlan).expect("a VLAN number has 12 bits"))
            .ipv4(b.from_ip.octets(), b.to_ip.octets(), 64)
            .icmpv4_echo_request(77, 1)
            .write(frame, payload)
            .expect("a vector takes everything");
    })
}

/// An IPv6 router advertisement to all nodes: how a pod would become the others' gateway
/// (CVE-2020-10749).
#[must_use]
pub fn router_advertisement(from: Mac) -> Vec<u8> {
    // Link-local source; hop limit 255 and ff02::1 as RFC 4861 §4.2 demands.
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    written(|frame| {
        PacketBuilder::ethernet2(from.0, [0x33, 0x33, 0, 0, 0, 1])
            .ipv6(source, all_nodes, 255)
            .icmpv6_raw(134, 0, [64, 0, 0x07, 0x08])
            .write(frame, &[&[0; 8], EVIL].concat())
            .expect("a vector takes everything");
    })
}

/// What an ARP packet says.
#[derive(Debug, Clone, Copy)]
pub enum Arp {
    /// Who has the destination address?
    Request,
    /// The source address is at the source MAC.
    Reply,
}

/// An ARP packet (RFC 826), padded with [`EVIL`] so that it can be recognised.
#[must_use]
pub fn arp(kind: Arp, ethernet_source: Mac, b: Between) -> Vec<u8> {
    let operation: u8 = match kind {
        Arp::Request => 1,
        Arp::Reply => 2,
    };
    [
        &b.to_mac.0[..],
        &ethernet_source.0,
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation],
        &b.from_mac.0,
        &b.from_ip.octets(),
        &b.to_mac.0,
        &b.to_ip.octets(),
        EVIL,
    ]
    .concat()
}
