//! A TCP reset in answer to a segment that nobody takes (RFC 9293 §3.5.2, group 1).

use etherparse::{EtherType, ip_number};
use zerocopy::{FromBytes, IntoBytes};

use super::checksum::Sum;
use super::ethernet::EthernetHeader;
use super::icmp::Envelope;
use super::ipv4::{Ipv4, Ipv4Header};
use super::l4::{L4, TcpFlags};
use crate::frame::{ETHERNET_HDR_LEN, VNET_HDR_LEN};
use crate::offload::gso::TcpHeader;

/// TTL of what the router sends itself, as Linux's.
const ORIGINATED_TTL: u8 = 64;
/// Don't fragment: an atomic datagram (RFC 6864 §4.1).
const DONT_FRAGMENT: u16 = 0x4000;

/// Length of the frame, with its virtio header.
pub(crate) const LEN: usize =
    VNET_HDR_LEN + ETHERNET_HDR_LEN + size_of::<Ipv4Header>() + size_of::<TcpHeader>();

/// Writes the reset of `segment`, an Ethernet frame with the headers `ip`, to `out`, and gives its length. It comes
/// from whom the segment was for.
///
/// `None` about a reset, which is never answered, and about what is no TCP; and when `out` is too small.
pub(crate) fn write_reset(out: &mut [u8], envelope: &Envelope, segment: &[u8], ip: &Ipv4) -> Option<usize> {
    let L4::Tcp { flags, .. } = ip.l4 else { return None };
    if flags.intersects(TcpFlags::RST) {
        return None;
    }
    let (received, _) = TcpHeader::ref_from_prefix(segment.get(ip.l4_offset()..)?).ok()?;
    let (vnet, frame) = out.get_mut(..LEN)?.split_at_mut_checked(VNET_HDR_LEN)?;
    vnet.fill(0);
    let (ethernet, packet) = EthernetHeader::mut_from_prefix(frame).ok()?;
    *ethernet = EthernetHeader {
        destination: envelope.to_mac.0,
        source: envelope.from_mac.0,
        ether_type: EtherType::IPV4.0.into(),
    };
    let total_len = u16::try_from(packet.len()).ok()?;
    let (header, rest) = Ipv4Header::mut_from_prefix(packet).ok()?;
    *header = Ipv4Header {
        version_and_len: 0x45,
        tos: 0,
        total_len: total_len.into(),
        identification: 0.into(),
        flags_and_offset: DONT_FRAGMENT.into(),
        ttl: ORIGINATED_TTL,
        protocol: ip_number::TCP.0,
        checksum: 0.into(),
        source: ip.destination.octets(),
        destination: ip.source.octets(),
    };
    header.checksum = Sum::new().bytes(header.as_bytes()).checksum().into();

    let (tcp, _) = TcpHeader::mut_from_prefix(rest).ok()?;
    *tcp = answer(received, flags, ip);
    let l4_len = u16::try_from(size_of::<TcpHeader>()).ok()?;
    let pseudo = Sum::new().pseudo_header(header.source, header.destination, header.protocol, l4_len);
    tcp.checksum = pseudo.bytes(tcp.as_bytes()).checksum().into();
    Some(LEN)
}

/// The reset has the number the sender expects, or, where it expects none yet, acknowledges what it sent.
fn answer(received: &TcpHeader, flags: TcpFlags, ip: &Ipv4) -> TcpHeader {
    let acknowledges = flags.intersects(TcpFlags::ACK);
    let phantom = u32::from(flags.intersects(TcpFlags::SYN)) + u32::from(flags.intersects(TcpFlags::FIN));
    let payload = u32::try_from(ip.end().saturating_sub(ip.payload_offset())).unwrap_or(0);
    let next = received.sequence.get().wrapping_add(payload).wrapping_add(phantom);
    TcpHeader {
        source_port: received.destination_port,
        destination_port: received.source_port,
        sequence: if acknowledges { received.acknowledgment } else { 0.into() },
        acknowledgment: if acknowledges { 0.into() } else { next.into() },
        data_offset: 5 << 4,
        flags: if acknowledges { TcpFlags::RST.0 } else { TcpFlags::RST.and(TcpFlags::ACK).0 },
        window: 0.into(),
        checksum: 0.into(),
        urgent: 0.into(),
    }
}
