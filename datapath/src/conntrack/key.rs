//! What a packet is looked up by.

use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use etherparse::ip_number;

use super::mapping::End;
use crate::rewrite::Tuple;
use crate::wire::icmp;
use crate::wire::ipv4::Ipv4;
use crate::wire::l4::L4;

/// The other end of a mapping. No packet has this address: admission sees to that.
const NOBODY: End = (Ipv4Addr::UNSPECIFIED, 0);

/// Which way a packet of a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Direction {
    /// As the first.
    Original = 0,
    /// As the answer to it.
    Reply = 1,
}

impl Direction {
    #[must_use]
    pub(crate) const fn reversed(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    pub(super) const fn from_bit(bit: u32) -> Self {
        if bit & 1 == 0 { Self::Original } else { Self::Reply }
    }
}

/// Protocol, addresses and ports, packed so that hashing and comparing are two words:
///
/// ```text
/// source address : 32  destination address : 32
/// source port : 16  destination port : 16  zero : 24  protocol : 8
/// ```
///
/// An ICMP query has its identifier as port of the side that asks, and zero as the other's: so an answer is its query reversed,
/// as with any protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(pub(super) [u64; 2]);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.0 {
            state.write_u64(word);
        }
    }
}

impl Key {
    pub(crate) fn new(protocol: u8, tuple: &Tuple) -> Self {
        Self([
            u64::from(tuple.source.to_bits()) << 32 | u64::from(tuple.destination.to_bits()),
            u64::from(tuple.source_port) << 48
                | u64::from(tuple.destination_port) << 32
                | u64::from(protocol),
        ])
    }

    /// Of a packet, if its connection can be told from it: a later fragment does not say its ports, and an
    /// ICMP error is about another packet.
    pub(crate) fn of(ip: &Ipv4) -> Option<Self> {
        let (source_port, destination_port) = match ip.l4 {
            L4::Tcp { source_port, destination_port, .. } | L4::Udp { source_port, destination_port, .. } => {
                (source_port, destination_port)
            }
            L4::Icmp { kind: icmp::ECHO_REQUEST, code: 0, identifier } => (identifier, 0),
            L4::Icmp { kind: icmp::ECHO_REPLY, code: 0, identifier } => (0, identifier),
            L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other => return None,
        };
        let (source, destination) = (ip.source, ip.destination);
        Some(Self::new(ip.protocol, &Tuple { source, destination, source_port, destination_port }))
    }

    /// The same, also of protocols that are never translated.
    pub(crate) fn with_ports(ip: &Ipv4) -> Option<Self> {
        let L4::Sctp { source_port, destination_port } = ip.l4 else { return Self::of(ip) };
        let (source, destination) = (ip.source, ip.destination);
        Some(Self::new(ip.protocol, &Tuple { source, destination, source_port, destination_port }))
    }

    #[expect(clippy::cast_possible_truncation, reason = "unpacks a field at its width")]
    pub(crate) const fn protocol(&self) -> u8 {
        self.0[1] as u8
    }

    pub(crate) const fn is_tcp(&self) -> bool {
        self.protocol() == ip_number::TCP.0
    }

    #[expect(clippy::cast_possible_truncation, reason = "unpacks fields at their widths")]
    pub(crate) const fn tuple(&self) -> Tuple {
        let [addresses, ports] = self.0;
        Tuple {
            source: Ipv4Addr::from_bits((addresses >> 32) as u32),
            destination: Ipv4Addr::from_bits(addresses as u32),
            source_port: (ports >> 48) as u16,
            destination_port: (ports >> 32) as u16,
        }
    }

    /// Of what goes from one address and port to another.
    pub(crate) fn between(protocol: u8, from: End, to: End) -> Self {
        let ((source, source_port), (destination, destination_port)) = (from, to);
        Self::new(protocol, &Tuple { source, destination, source_port, destination_port })
    }

    /// What the mapping of `inside` is found by: a packet of theirs to nobody.
    pub(super) fn inside(protocol: u8, inside: End) -> Self {
        Self::between(protocol, inside, NOBODY)
    }

    /// What the mapping to `outside` is found by: a packet of nobody to them.
    pub(super) fn outside(protocol: u8, outside: End) -> Self {
        Self::between(protocol, NOBODY, outside)
    }

    /// As [`Self::inside`].
    pub(super) fn is_to_nobody(&self) -> bool {
        let Tuple { destination, destination_port, .. } = self.tuple();
        (destination, destination_port) == NOBODY
    }

    /// Of what goes the other way.
    #[must_use]
    pub(crate) const fn reversed(&self) -> Self {
        let [addresses, ports] = self.0;
        let swapped = ((ports >> 32) as u32).rotate_left(16);
        Self([addresses.rotate_left(32), (swapped as u64) << 32 | ports & 0xffff_ffff])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packing_loses_nothing(protocol: u8, source: u32, destination: u32, source_port: u16, destination_port: u16) {
            let tuple = Tuple { source: source.into(), destination: destination.into(), source_port, destination_port };
            let key = Key::new(protocol, &tuple);
            prop_assert_eq!((key.protocol(), key.tuple()), (protocol, tuple));
            prop_assert_eq!(key.reversed(), Key::new(protocol, &tuple.reversed()));
        }
    }
}
