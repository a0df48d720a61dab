//! The packet that an ICMP error quotes (RFC 792, RFC 1812 §4.3.2.3): at least its IP header, with options, and the first
//! 8 bytes behind that. Routers quote up to 576 bytes, so the TCP checksum may be in it, or not.

use etherparse::{IpNumber, Ipv4HeaderSlice, ip_number};

use crate::conntrack::Key;
use crate::offload::checksum::never_zero;
use crate::rewrite::{Translation, Tuple, changed};
use crate::wire::checksum::{self, Sum};
use crate::wire::icmp::{ECHO_REPLY, ECHO_REQUEST};
use crate::wire::ipv4::{Ipv4, Ipv4Header};
use crate::wire::l4::TransportPorts;

/// Where the transport headers have their checksums.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const ICMP_CHECKSUM: usize = 2;
/// Where an ICMP query has its identifier.
const ICMP_IDENTIFIER: usize = 4;

/// What can be told of a quoted packet's connection, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quote {
    key: Key,
    /// Where it begins in the Ethernet frame, and its transport header.
    start: usize,
    l4: usize,
    /// Where the error ends.
    end: usize,
    /// The header adds up.
    pub(super) is_intact: bool,
}

impl Quote {
    /// The packet quoted by the error `ip` in an Ethernet frame. `None` if its connection cannot be told: no
    /// IPv4 packet, cut short, a later fragment, or of a protocol without ports.
    pub(super) fn read(ethernet: &[u8], ip: &Ipv4) -> Option<Self> {
        let (start, end) = (ip.payload_offset(), ip.end());
        let bytes = ethernet.get(start..end)?;
        // Its options are part of the header; its length is that of the packet, not of the quote.
        let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
        if header.fragments_offset().value() != 0 {
            return None;
        }
        let l4 = bytes.get(header.slice().len()..)?;
        let (source_port, destination_port) = ports(header.protocol(), l4)?;
        let (source, destination) = (header.source_addr(), header.destination_addr());
        let tuple = Tuple { source, destination, source_port, destination_port };
        Some(Self {
            key: Key::new(header.protocol().0, &tuple),
            start,
            l4: start + header.slice().len(),
            end,
            is_intact: checksum::is_valid(header.slice()),
        })
    }

    /// What it was looked up by when it was forwarded.
    pub(super) const fn key(&self) -> Key {
        self.key
    }

    /// Of TCP.
    pub(super) fn tcp_sequence(&self, ethernet: &[u8]) -> Option<u32> {
        let [_, _, _, _, sequence @ ..] = ethernet.get(self.l4..self.end)?.first_chunk::<8>()?;
        Some(u32::from_be_bytes(*sequence))
    }

    /// Makes it the packet `to`, with all checksums that are quoted.
    pub(super) fn rewrite(&self, ethernet: &mut [u8], to: Tuple) {
        let (addresses, all) = Translation::new(&self.key.tuple(), to).changes();
        // Of an ICMP query's checksum, in which no addresses are.
        let ports = Sum::new().word(all).word(!addresses).folded();
        if let Some(packet) = ethernet.get_mut(self.start..self.end)
            && let Some(header) = Ipv4Header::in_front(packet)
        {
            header.readdress(to.source, to.destination);
        }
        let Some(l4) = ethernet.get_mut(self.l4..self.end) else { return };
        match IpNumber(self.key.protocol()) {
            ip_number::TCP => {
                rewrite_ports(l4, &to);
                update(l4, TCP_CHECKSUM, |old| changed(old, all));
            }
            ip_number::UDP => {
                rewrite_ports(l4, &to);
                // Zero means that there is none.
                update(l4, UDP_CHECKSUM, |old| if old == 0 { 0 } else { never_zero(changed(old, all)) });
            }
            _ => {
                let identifier =
                    if l4.first() == Some(&ECHO_REPLY) { to.destination_port } else { to.source_port };
                update(l4, ICMP_IDENTIFIER, |_| identifier);
                update(l4, ICMP_CHECKSUM, |old| changed(old, ports));
            }
        }
    }
}

/// Ports, or what stands for them in a key.
fn ports(protocol: IpNumber, l4: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d, e, f, _, _, ..] = *l4 else { return None };
    let identifier = u16::from_be_bytes([e, f]);
    match (protocol, a, b) {
        (ip_number::TCP | ip_number::UDP, _, _) => {
            Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        }
        (ip_number::ICMP, ECHO_REQUEST, 0) => Some((identifier, 0)),
        (ip_number::ICMP, ECHO_REPLY, 0) => Some((0, identifier)),
        _ => None,
    }
}

fn rewrite_ports(l4: &mut [u8], to: &Tuple) {
    if let Some(ports) = TransportPorts::in_front(l4) {
        ports.source = to.source_port.into();
        ports.destination = to.destination_port.into();
    }
}

/// Changes a field, if it was quoted.
fn update(l4: &mut [u8], offset: usize, change: impl FnOnce(u16) -> u16) {
    let field = l4.get_mut(offset..).and_then(|rest| rest.first_chunk_mut::<2>());
    if let Some(field) = field {
        *field = change(u16::from_be_bytes(*field)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests;
