//! A packet as a description has it, in a frame.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{PacketBuilder, ip_number};
use protocol::Mac;
use protocol::link::{TracePacket, TraceProtocol};
use protocol::object::ConnTuple;

use crate::frame::{Frame, VNET_HDR_LEN};
use crate::wire::ipv4::Ipv4;
use crate::wire::l4::L4;
use crate::wire::{Body, Packet};

pub(super) const TCP: u8 = ip_number::TCP.0;

/// Linux's default.
const TTL: u8 = 64;
/// What a SYN offers.
const WINDOW: u16 = 64_240;

/// Of the IP header.
pub(super) const fn number(protocol: TraceProtocol) -> u8 {
    match protocol {
        TraceProtocol::Tcp => TCP,
        TraceProtocol::Udp => ip_number::UDP.0,
        TraceProtocol::Icmp => ip_number::ICMP.0,
    }
}

/// As it is described.
pub(super) fn tuple_of(wanted: &TracePacket, source: Ipv4Addr) -> ConnTuple {
    ConnTuple {
        source: IpAddr::V4(source),
        source_port: wanted.source_port,
        destination: IpAddr::V4(wanted.destination),
        destination_port: wanted.destination_port,
    }
}

/// As a packet has it; an echo request's identifier is its source port.
pub(super) fn tuple(ip: &Ipv4) -> ConnTuple {
    let (source_port, destination_port) = match ip.l4 {
        L4::Tcp { source_port, destination_port, .. } | L4::Udp { source_port, destination_port, .. } => {
            (source_port, destination_port)
        }
        L4::Icmp { identifier, .. } => (identifier, 0),
        L4::Sctp { .. } | L4::Headless | L4::Other => (0, 0),
    };
    ConnTuple {
        source: IpAddr::V4(ip.source),
        source_port,
        destination: IpAddr::V4(ip.destination),
        destination_port,
    }
}

/// What a frame has become.
pub(super) fn after(frame: &Frame) -> Option<ConnTuple> {
    match Packet::parse(frame.ethernet()).ok()?.body {
        Body::Ipv4(ip) => Some(tuple(&ip)),
        Body::Arp(_) => None,
    }
}

/// The packet with complete checksums, as long as described or as its headers.
pub(super) fn build(wanted: &TracePacket, from: Mac, to: Mac, source: Ipv4Addr) -> Frame {
    let builder =
        PacketBuilder::ethernet2(from.0, to.0).ipv4(source.octets(), wanted.destination.octets(), TTL);
    let (source_port, destination_port) = (wanted.source_port, wanted.destination_port);
    let payload = |headers: u16| vec![0; usize::from(wanted.size.saturating_sub(headers))];
    let mut bytes = vec![0; VNET_HDR_LEN];
    // A vector takes everything, and no packet is longer than a size of 16 bits.
    let _ = match wanted.protocol {
        TraceProtocol::Tcp => {
            builder.tcp(source_port, destination_port, 0, WINDOW).syn().write(&mut bytes, &payload(40))
        }
        TraceProtocol::Udp => builder.udp(source_port, destination_port).write(&mut bytes, &payload(28)),
        TraceProtocol::Icmp => builder.icmpv4_echo_request(source_port, 1).write(&mut bytes, &payload(28)),
    };
    let mut frame = Frame::new();
    let area = frame.receive_area();
    let len = bytes.len().min(area.len());
    if let (Some(place), Some(bytes)) = (area.get_mut(..len), bytes.get(..len)) {
        place.copy_from_slice(bytes);
    }
    frame.set_received(len);
    frame
}
