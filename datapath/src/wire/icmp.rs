//! ICMP for IPv4 (RFC 792, RFC 1812 §4.3): the errors the router sends and its answer to echo.

use std::net::Ipv4Addr;

use etherparse::{EtherType, ip_number};
use protocol::Mac;
use zerocopy::byteorder::{BigEndian, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, Sum};
use super::ethernet::EthernetHeader;
use super::ipv4::{Ipv4Header, MIN_HEADER_LEN};
use crate::frame::{ETHERNET_HDR_LEN, VNET_HDR_LEN};

/// Bytes of the header all messages share, with the four bytes each uses its own way.
pub(crate) const HEADER_LEN: usize = 8;

/// Longest error, from the IP header on (RFC 1812 §4.3.2.3).
pub(crate) const MAX_ERROR_LEN: usize = 576;

/// Longest frame an error makes, with its virtio header.
pub(crate) const MAX_ERROR_FRAME_LEN: usize = VNET_HDR_LEN + ETHERNET_HDR_LEN + MAX_ERROR_LEN;

pub(crate) const ECHO_REPLY: u8 = 0;
pub(crate) const UNREACHABLE: u8 = 3;
pub(crate) const SOURCE_QUENCH: u8 = 4;
pub(crate) const REDIRECT: u8 = 5;
pub(crate) const ECHO_REQUEST: u8 = 8;
pub(crate) const ROUTER_ADVERTISEMENT: u8 = 9;
pub(crate) const TIME_EXCEEDED: u8 = 11;
pub(crate) const PARAMETER_PROBLEM: u8 = 12;

/// TTL of what the router sends itself (RFC 1700; Linux uses the same).
const ORIGINATED_TTL: u8 = 64;

/// Precedence 6, internetwork control (RFC 1812 §4.3.2.5).
const ERROR_TOS: u8 = 0xc0;

/// Why the router could not deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IcmpError {
    NetUnreachable,
    HostUnreachable,
    /// About a TCP segment it is said by a reset.
    PortUnreachable,
    FragmentationNeeded {
        next_hop_mtu: u16,
    },
    TimeExceeded,
    /// Communication administratively prohibited (RFC 1812 §5.2.7.1).
    AdminProhibited,
}

impl IcmpError {
    /// Type, code, and the second half of the header's last word (RFC 1191 §4).
    const fn fields(self) -> (u8, u8, u16) {
        match self {
            Self::NetUnreachable => (UNREACHABLE, 0, 0),
            Self::HostUnreachable => (UNREACHABLE, 1, 0),
            Self::PortUnreachable => (UNREACHABLE, 3, 0),
            Self::FragmentationNeeded { next_hop_mtu } => (UNREACHABLE, 4, next_hop_mtu),
            Self::TimeExceeded => (TIME_EXCEEDED, 0, 0),
            Self::AdminProhibited => (UNREACHABLE, 13, 0),
        }
    }
}

/// Messages that ask or answer. Everything else counts as an error message, which never causes
/// another (RFC 1122 §3.2.2): an unknown type may be one.
pub(crate) const fn is_query(kind: u8) -> bool {
    // Echo, router discovery, timestamp, information, address mask, extended echo (RFC 8335).
    matches!(kind, ECHO_REPLY | ECHO_REQUEST | 9 | 10 | 13..=18 | 42 | 43)
}

/// Messages about a packet that go to who sent it, with the packet quoted. A redirect does too, but is between neighbours, who
/// see no translation.
pub(crate) const fn is_about_packet(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | SOURCE_QUENCH | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// The quoted packet did not get where it was to go; not that it was too big for the way.
pub(crate) const fn is_unreachable(kind: u8, code: u8) -> bool {
    const FRAGMENTATION_NEEDED: u8 = 4;
    kind == UNREACHABLE && code != FRAGMENTATION_NEEDED
}

/// A question of echo, or an answer.
pub(crate) const fn is_echo(kind: u8) -> bool {
    matches!(kind, ECHO_REQUEST | ECHO_REPLY)
}

/// Another identifier of an echo message, with the checksum updated in place.
pub(crate) fn set_identifier(message: &mut [u8], identifier: u16) {
    let Ok((header, _)) = EchoHeader::mut_from_prefix(message) else { return };
    let old = header.identifier.get();
    header.checksum = checksum::update(header.checksum.get(), old, identifier).into();
    header.identifier = identifier.into();
}

#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EchoHeader {
    kind: u8,
    code: u8,
    checksum: U16<BigEndian>,
    identifier: U16<BigEndian>,
    sequence: U16<BigEndian>,
}

#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct IcmpHeader {
    kind: u8,
    code: u8,
    checksum: U16<BigEndian>,
    unused: U16<BigEndian>,
    next_hop_mtu: U16<BigEndian>,
}

/// Between whom an error travels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) from_mac: Mac,
    pub(crate) from_ip: Ipv4Addr,
    pub(crate) to_mac: Mac,
    pub(crate) to_ip: Ipv4Addr,
}

/// Writes the error about `offender`, an IP packet from its header on, as a whole frame with virtio
/// header to `out`, and gives its length. At most `max_ip_len` bytes of IP packet.
///
/// `None` when `out` is too small; it never is, see [`MAX_ERROR_FRAME_LEN`].
pub(crate) fn write_error(
    out: &mut [u8],
    error: IcmpError,
    envelope: &Envelope,
    offender: &[u8],
    max_ip_len: usize,
) -> Option<usize> {
    let room = max_ip_len.min(MAX_ERROR_LEN).checked_sub(MIN_HEADER_LEN + HEADER_LEN)?;
    let quote = offender.get(..room).unwrap_or(offender);
    let ip_len = MIN_HEADER_LEN + HEADER_LEN + quote.len();
    let total = VNET_HDR_LEN + ETHERNET_HDR_LEN + ip_len;

    let (vnet, frame) = out.get_mut(..total)?.split_at_mut_checked(VNET_HDR_LEN)?;
    vnet.fill(0);
    let (ethernet, packet) = EthernetHeader::mut_from_prefix(frame).ok()?;
    *ethernet = EthernetHeader {
        destination: envelope.to_mac.0,
        source: envelope.from_mac.0,
        ether_type: EtherType::IPV4.0.into(),
    };
    let (ip, message) = Ipv4Header::mut_from_prefix(packet).ok()?;
    *ip = ip_header(u16::try_from(ip_len).ok()?, envelope);
    ip.checksum = Sum::new().bytes(ip.as_bytes()).checksum().into();

    let (kind, code, next_hop_mtu) = error.fields();
    let (header, quoted) = IcmpHeader::mut_from_prefix(message).ok()?;
    *header =
        IcmpHeader { kind, code, checksum: 0.into(), unused: 0.into(), next_hop_mtu: next_hop_mtu.into() };
    quoted.copy_from_slice(quote);
    header.checksum = Sum::new().bytes(header.as_bytes()).bytes(quoted).checksum().into();
    Some(total)
}

fn ip_header(total_len: u16, envelope: &Envelope) -> Ipv4Header {
    /// Don't fragment: an atomic datagram, whose identification means nothing (RFC 6864 §4.1).
    const DONT_FRAGMENT: u16 = 0x4000;
    Ipv4Header {
        version_and_len: 0x45,
        tos: ERROR_TOS,
        total_len: total_len.into(),
        identification: 0.into(),
        flags_and_offset: DONT_FRAGMENT.into(),
        ttl: ORIGINATED_TTL,
        protocol: ip_number::ICMP.0,
        checksum: 0.into(),
        source: envelope.from_ip.octets(),
        destination: envelope.to_ip.octets(),
    }
}

/// Turns the echo request in the Ethernet frame into its reply, addresses swapped, answered by `mac`.
///
/// The packet has no IP options. The message checksum is updated, not computed: a request that was
/// damaged makes a reply that is too, so damage is never hidden (RFC 1624).
pub(crate) fn answer_echo(frame: &mut [u8], mac: Mac) {
    let Ok((ethernet, packet)) = EthernetHeader::mut_from_prefix(frame) else { return };
    let Ok((ip, message)) = Ipv4Header::mut_from_prefix(packet) else { return };
    let Ok((header, _)) = IcmpHeader::mut_from_prefix(message) else { return };
    ethernet.destination = ethernet.source;
    ethernet.source = mac.0;
    std::mem::swap(&mut ip.source, &mut ip.destination);
    ip.ttl = ORIGINATED_TTL;
    ip.checksum = 0.into();
    ip.checksum = Sum::new().bytes(ip.as_bytes()).checksum().into();
    let old = u16::from_be_bytes([header.kind, header.code]);
    header.kind = ECHO_REPLY;
    let new = u16::from_be_bytes([header.kind, header.code]);
    header.checksum = checksum::update(header.checksum.get(), old, new).into();
}

/// Stores the checksum of the message that is `message`, changed since its checksum was found right.
pub(crate) fn store_checksum(message: &mut [u8]) {
    if let Ok((header, _)) = IcmpHeader::mut_from_prefix(message) {
        header.checksum = 0.into();
    }
    let checksum = Sum::new().bytes(message).checksum();
    if let Ok((header, _)) = IcmpHeader::mut_from_prefix(message) {
        header.checksum = checksum.into();
    }
}
