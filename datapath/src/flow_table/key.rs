//! What identifies a flow.

use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use protocol::{PeerId, PortId};

use crate::wire::ipv4::{Fragment, Ipv4, Options};
use crate::wire::l4::L4;
use crate::wire::{Body, Packet, icmp};

/// A flow's identity, packed so that hashing and comparing are four words:
///
/// ```text
/// source MAC : 48  ingress port : 16
/// destination MAC : 48  protocol : 8  zero : 8
/// source address : 32  destination address : 32
/// source port : 16  destination port : 16  peer it came from, and one more, or zero : 32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey([u64; 4]);

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Word by word; the derived form would go through bytes, which costs four times as much.
        for word in self.0 {
            state.write_u64(word);
        }
    }
}

impl FlowKey {
    /// No packet's: its ingress and MACs are zero.
    pub(super) const NONE: Self = Self([0; 4]);

    /// The flow `packet` belongs to, if its decision may be remembered at all.
    pub(crate) fn of(ingress: PortId, peer: Option<PeerId>, packet: &Packet) -> Option<Self> {
        let Body::Ipv4(ip) = &packet.body else { return None };
        if ip.fragment != Fragment::Whole
            || ip.options != Options::None
            || packet.destination.is_multicast()
            || ip.destination.is_multicast()
        {
            return None;
        }
        let (source_port, destination_port) = ports(ip)?;
        const { assert!(PortId::MAX_PORTS <= 1 << 16) };
        Some(Self([
            packet.source.to_u64() << 16 | u64::from(ingress.0),
            packet.destination.to_u64() << 16 | u64::from(ip.protocol) << 8,
            u64::from(ip.source.to_bits()) << 32 | u64::from(ip.destination.to_bits()),
            u64::from(source_port) << 48
                | u64::from(destination_port) << 32
                | peer.map_or(0, |id| u64::from(id.0) + 1),
        ]))
    }

    #[expect(clippy::cast_possible_truncation, reason = "unpacks fields at their widths")]
    pub(crate) fn unpack(&self) -> Unpacked {
        let [_, second, addresses, ports] = self.0;
        Unpacked {
            ingress: self.ingress(),
            protocol: (second >> 8) as u8,
            source: Ipv4Addr::from_bits((addresses >> 32) as u32),
            destination: Ipv4Addr::from_bits(addresses as u32),
            source_port: (ports >> 48) as u16,
            destination_port: (ports >> 32) as u16,
        }
    }

    /// The port it comes in by.
    pub(super) const fn ingress(&self) -> PortId {
        let [first, ..] = self.0;
        PortId((first & 0xffff) as u32)
    }

    /// A key that differs in `number` from others of `ingress`, for tests of the table alone.
    #[cfg(test)]
    pub(super) fn numbered(ingress: PortId, number: u32) -> Self {
        Self([1 << 16 | u64::from(ingress.0), 2, 3, u64::from(number) << 32])
    }
}

/// A key's fields, for rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) ingress: PortId,
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

/// Port numbers, or what stands for them. An echo request has its identifier as source and 8 as
/// destination, so that it is not the same flow as a reply.
fn ports(ip: &Ipv4) -> Option<(u16, u16)> {
    match ip.l4 {
        L4::Tcp { source_port, destination_port, .. }
        | L4::Udp { source_port, destination_port, .. }
        | L4::Sctp { source_port, destination_port } => Some((source_port, destination_port)),
        L4::Icmp { kind: kind @ (icmp::ECHO_REQUEST | icmp::ECHO_REPLY), code: 0, identifier } => {
            Some((identifier, u16::from(kind)))
        }
        L4::Icmp { .. } | L4::Headless => None,
        L4::Other => Some((0, 0)),
    }
}
