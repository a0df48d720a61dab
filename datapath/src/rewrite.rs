//! The rewrite of a flow's frames, prepared once: new MACs, one hop less, and, for a translated flow,
//! new addresses and ports with what they add to the checksums.
//!
//! How checksums follow (RFC 1624): the one's complement sum of all changes is worked out when the flow
//! is decided, and a frame costs one addition for each checksum, whatever its length. A complete
//! checksum takes the changes of addresses and ports. A partial one holds the sum of the
//! pseudo-header, not complemented, so it takes those of the addresses only; whoever completes it sums
//! the ports anyway. UDP's zero means "none" and stays (RFC 768).
//!
//! The identifier of an ICMP query is the port of who asks (RFC 5508 §3). Its checksum covers the message alone, so it takes the change of the
//! identifier, as it comes.
//!
//! Left out: other protocols get new addresses only.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use protocol::Mac;

use crate::offload::checksum::never_zero;
use crate::wire::checksum::Sum;
use crate::wire::ipv4::{Ipv4, Ipv4Header};
use crate::wire::l4::{L4, TransportPorts};
use crate::wire::vnet::Checksum;
use crate::wire::{ethernet, icmp};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    /// Whom the packet is tunnelled to: the peer's number and one more. Here, where it takes no room.
    pub(crate) peer: Option<NonZeroU16>,
    /// Whether it counts against the time to live.
    pub(crate) counts_hop: bool,
}

/// Addresses and ports of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

/// What a flow's addresses and ports become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Translation {
    to: Tuple,
    /// Σ (new − old) over the addresses.
    addresses: u16,
    /// Σ (new − old) over addresses and ports.
    all: u16,
}

impl Rewrite {
    /// Rewrites a frame and what is known about it. The TTL is the caller's to check.
    pub(crate) fn apply(
        &self,
        frame: &mut [u8],
        ip: &mut Ipv4,
        checksum: Checksum,
        translation: Option<&Translation>,
    ) {
        ethernet::readdress(frame, self.destination, self.source);
        if self.counts_hop
            && let Some(header) = Ipv4Header::in_frame(frame)
        {
            header.decrement_ttl();
        }
        if let Some(translation) = translation {
            translation.apply(frame, ip, checksum);
        }
    }
}

impl Translation {
    /// Prepares the change of `from`, as every frame of the flow has it, into `to`.
    pub(crate) fn new(from: &Tuple, to: Tuple) -> Self {
        let addresses = to.addresses().minus(from.addresses());
        let ports = to.ports().minus(from.ports());
        Self { to, addresses: addresses.folded(), all: addresses.word(ports.folded()).folded() }
    }

    /// What it leads to.
    pub(crate) const fn to(&self) -> Tuple {
        self.to
    }

    /// As [`Self::new`] made it, from what [`Self::changes`] said of it.
    pub(crate) const fn with_changes(to: Tuple, (addresses, all): (u16, u16)) -> Self {
        Self { to, addresses, all }
    }

    /// What it adds to checksums: the changes of the addresses, and of addresses and ports.
    pub(crate) const fn changes(&self) -> (u16, u16) {
        (self.addresses, self.all)
    }

    fn apply(&self, frame: &mut [u8], ip: &mut Ipv4, checksum: Checksum) {
        if let Some(header) = Ipv4Header::in_frame(frame) {
            header.source = self.to.source.octets();
            header.destination = self.to.destination.octets();
            header.checksum = changed(header.checksum.get(), self.addresses).into();
        }
        (ip.source, ip.destination) = (self.to.source, self.to.destination);
        let l4_offset = ip.l4_offset();
        match &mut ip.l4 {
            L4::Tcp { source_port, destination_port, .. } | L4::Udp { source_port, destination_port, .. } => {
                (*source_port, *destination_port) = (self.to.source_port, self.to.destination_port);
            }
            L4::Icmp { kind, code: 0, identifier } if icmp::is_echo(*kind) => {
                let is_request = *kind == icmp::ECHO_REQUEST;
                *identifier = if is_request { self.to.source_port } else { self.to.destination_port };
                if let Some(message) = frame.get_mut(l4_offset..) {
                    icmp::set_identifier(message, *identifier);
                }
                return;
            }
            L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other => return,
        }
        let Some(l4) = frame.get_mut(l4_offset..) else { return };
        if let Some(ports) = TransportPorts::in_front(l4) {
            ports.source = self.to.source_port.into();
            ports.destination = self.to.destination_port.into();
        }
        let Some(field) = ip.l4.checksum_offset() else { return };
        let Some(field) = l4.get_mut(field..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
        let old = u16::from_be_bytes(*field);
        let new = match (checksum, ip.l4) {
            (Checksum::Partial, _) => Sum::new().word(old).word(self.addresses).folded(),
            (Checksum::Complete | Checksum::Inner { .. }, L4::Udp { .. }) if old == 0 => 0,
            (Checksum::Complete | Checksum::Inner { .. }, L4::Udp { .. }) => {
                never_zero(changed(old, self.all))
            }
            (Checksum::Complete | Checksum::Inner { .. }, _) => changed(old, self.all),
        };
        *field = new.to_be_bytes();
    }
}

impl Tuple {
    /// Of what goes the other way.
    #[must_use]
    pub(crate) const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }

    fn addresses(&self) -> Sum {
        Sum::new().bytes(&self.source.octets()).bytes(&self.destination.octets())
    }

    const fn ports(&self) -> Sum {
        Sum::new().word(self.source_port).word(self.destination_port)
    }
}

/// A complemented checksum after a change: RFC 1624 equation 3.
pub(crate) const fn changed(checksum: u16, change: u16) -> u16 {
    Sum::new().word(!checksum).word(change).checksum()
}

#[cfg(test)]
mod tests;
