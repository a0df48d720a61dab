//! What the switch reads of transport headers: TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792), SCTP's ports (RFC 9260).

use etherparse::{IpNumber, TcpHeaderSlice, UdpHeaderSlice, ip_number};
use zerocopy::byteorder::{BigEndian, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::icmp;
use super::ipv4::Fragment;
use crate::verdict::{DropReason, Verdict};

/// Bytes of a UDP header.
pub(crate) const UDP_HEADER_LEN: usize = 8;

/// Where in a TCP header its flags are.
const FLAGS_OFFSET: usize = 13;

/// A transport header, checked; port numbers in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum L4 {
    Tcp {
        source_port: u16,
        destination_port: u16,
        /// 20 to 60, all of it in the packet.
        header_len: u8,
        flags: TcpFlags,
    },
    Udp {
        source_port: u16,
        destination_port: u16,
        /// The datagram fills the IP packet; otherwise surplus follows it (RFC 9868).
        fills_packet: bool,
    },
    Icmp {
        kind: u8,
        code: u8,
        /// Of echo messages; what it means in others is up to them.
        identifier: u16,
    },
    /// RFC 9260.
    Sctp { source_port: u16, destination_port: u16 },
    /// Not the first fragment: the transport header is in another frame.
    Headless,
    /// Any other protocol, passed by its addresses alone.
    Other,
}

/// The control bits of a TCP header (RFC 9293 §3.1), but the one in the byte before (Accurate ECN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpFlags(pub(crate) u8);

impl TcpFlags {
    pub(crate) const FIN: Self = Self(1);
    pub(crate) const SYN: Self = Self(2);
    pub(crate) const RST: Self = Self(4);
    pub(crate) const ACK: Self = Self(16);
    pub(crate) const URG: Self = Self(32);

    /// Both sets.
    #[must_use]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of `mask`.
    #[must_use]
    pub(crate) const fn only(self, mask: Self) -> Self {
        Self(self.0 & mask.0)
    }

    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// A first segment: SYN without ACK, and nothing that ends what it begins.
    pub(crate) const fn begins(self) -> bool {
        self.only(Self::SYN.and(Self::ACK).and(Self::RST).and(Self::FIN)).0 == Self::SYN.0
    }

    /// What some receiver may take for a first segment: SYN without ACK, whatever else it says.
    pub(crate) const fn opens(self) -> bool {
        self.only(Self::SYN.and(Self::ACK)).0 == Self::SYN.0
    }
}

impl L4 {
    /// Reads what follows the IP header. A first fragment must hold the whole transport header
    /// (RFC 1858 §3.1): what decides about a datagram must be in one frame.
    pub(crate) fn parse(protocol: IpNumber, body: &[u8], fragment: Fragment) -> Verdict<Self> {
        match (fragment, protocol) {
            (Fragment::Later, _) => Ok(Self::Headless),
            (Fragment::Whole | Fragment::First, ip_number::TCP) => tcp(body),
            (Fragment::Whole | Fragment::First, ip_number::UDP) => udp(body, fragment),
            (Fragment::Whole | Fragment::First, ip_number::ICMP) => icmp(body),
            (Fragment::Whole | Fragment::First, ip_number::SCTP) => Ok(sctp(body)),
            (Fragment::Whole | Fragment::First, _) => Ok(Self::Other),
        }
    }

    /// Equal but for what differs between segments of one connection.
    pub(crate) fn is_alike(self, other: Self) -> bool {
        match (self, other) {
            (
                Self::Tcp { source_port, destination_port, header_len, .. },
                Self::Tcp { source_port: source, destination_port: destination, header_len: len, .. },
            ) => (source_port, destination_port, header_len) == (source, destination, len),
            _ => self == other,
        }
    }

    /// Bytes of the header; zero for protocols whose header is not read.
    pub(crate) fn header_len(self) -> usize {
        match self {
            Self::Tcp { header_len, .. } => usize::from(header_len),
            Self::Udp { .. } => UDP_HEADER_LEN,
            Self::Icmp { .. } => icmp::HEADER_LEN,
            Self::Sctp { .. } | Self::Headless | Self::Other => 0,
        }
    }

    /// Where in the header the checksum is, of protocols whose checksum a device completes.
    pub(crate) const fn checksum_offset(self) -> Option<usize> {
        match self {
            Self::Tcp { .. } => Some(16),
            Self::Udp { .. } => Some(6),
            Self::Icmp { .. } | Self::Sctp { .. } | Self::Headless | Self::Other => None,
        }
    }
}

/// What TCP and UDP headers begin with, for rewriting.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct TransportPorts {
    pub(crate) source: U16<BigEndian>,
    pub(crate) destination: U16<BigEndian>,
}

impl TransportPorts {
    /// The ports in a transport header.
    pub(crate) fn in_front(l4: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(l4).ok().map(|(ports, _)| ports)
    }
}

fn tcp(body: &[u8]) -> Verdict<L4> {
    // Checks the data offset against 5 and against the bytes there are.
    let header = TcpHeaderSlice::from_slice(body).map_err(|_| DropReason::TcpHeaderInvalid)?;
    Ok(L4::Tcp {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        header_len: header.data_offset() * 4,
        flags: TcpFlags(header.slice().get(FLAGS_OFFSET).copied().unwrap_or_default()),
    })
}

fn udp(body: &[u8], fragment: Fragment) -> Verdict<L4> {
    let header = UdpHeaderSlice::from_slice(body).map_err(|_| DropReason::UdpHeaderInvalid)?;
    let len = usize::from(header.length());
    // The length of a first fragment's datagram counts the other fragments too.
    if len < UDP_HEADER_LEN || fragment == Fragment::Whole && len > body.len() {
        return Err(DropReason::UdpHeaderInvalid);
    }
    Ok(L4::Udp {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        fills_packet: len == body.len(),
    })
}

/// Nothing but its ports is looked at; what has none is passed as what has no ports.
fn sctp(body: &[u8]) -> L4 {
    match *body {
        [a, b, c, d, ..] => {
            let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            let [source_port, destination_port] = ports;
            L4::Sctp { source_port, destination_port }
        }
        _ => L4::Other,
    }
}

fn icmp(body: &[u8]) -> Verdict<L4> {
    let [kind, code, _, _, id_high, id_low, _, _, ..] = *body else {
        return Err(DropReason::IcmpHeaderInvalid);
    };
    Ok(L4::Icmp { kind, code, identifier: u16::from_be_bytes([id_high, id_low]) })
}
