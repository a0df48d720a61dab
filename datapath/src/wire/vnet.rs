//! `struct virtio_net_hdr_v1` (virtio 1.2 §5.1.6), in front of every frame.
//!
//! Every field is hostile: a pod with a packet socket chooses what the TAP reader gets, and the
//! kernel does not make it agree with the packet. So the header is read as a *request*, checked
//! against the parsed packet ([`Offload::validate`]), and what leaves the switch is written anew from
//! the packet ([`Offload::header`]): exact `hdr_len`, our own `csum_start`, no other flag.

use zerocopy::byteorder::{NativeEndian, U16};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ipv4::{Fragment, Ipv4};
use super::l4::L4;
use super::{Body, Packet};
use crate::frame::VNET_HDR_LEN;
use crate::verdict::{DropReason, Verdict};

/// Bytes of an SCTP header that are read.
const SCTP_PORTS: usize = 4;
const FLAG_NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_UDP_L4: u8 = 5;
const GSO_TCPV4_ECN: u8 = GSO_TCPV4 | 0x80;
/// Linux's `GSO_BY_FRAGS` (`include/linux/skbuff.h`): an SCTP marker, never a size.
const GSO_BY_FRAGS: u16 = 0xffff;

/// Segments one UDP superframe may ask for: Linux's `UDP_MAX_SEGMENTS` since 6.9.
const MAX_UDP_SEGMENTS: usize = 128;

/// Segments one TCP superframe may ask for. Bounds the work one frame causes where it is split,
/// without a least segment size: a Linux sender may use an MSS of 48 (`tcp_min_snd_mss`, less with
/// TCP options), and then 64 KiB are 1365 segments or a few more.
pub(crate) const MAX_TCP_SEGMENTS: usize = 2048;

/// In the machine's byte order, as TAP devices use unless told otherwise (`TUNSETVNETLE`).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct VnetHeader {
    flags: u8,
    gso_type: u8,
    hdr_len: U16<NativeEndian>,
    gso_size: U16<NativeEndian>,
    csum_start: U16<NativeEndian>,
    csum_offset: U16<NativeEndian>,
    num_buffers: U16<NativeEndian>,
}

const _: () = assert!(size_of::<VnetHeader>() == VNET_HDR_LEN);

/// What is left to do to a frame before it is on a wire, agreed with its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offload {
    pub(crate) checksum: Checksum,
    pub(crate) segments: Option<Segments>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// Nothing to do; whether it is right is the receiver's to verify.
    Complete,
    /// The packet's own TCP or UDP checksum: the field holds the pseudo-header's sum.
    Partial,
    /// A checksum inside the payload, as a tunnel endpoint in a pod leaves undone for the packet it
    /// carries: sum from `start` to the end of the packet, store at `field`; offsets in the frame.
    Inner { start: usize, field: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segments {
    pub(crate) kind: SegmentKind,
    /// Payload bytes in each but the last.
    pub(crate) size: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    Tcp {
        /// CWR belongs in the first segment only.
        ecn: bool,
    },
    Udp,
}

impl Offload {
    pub(crate) const NONE: Self = Self { checksum: Checksum::Complete, segments: None };

    /// Checks what the header asks for against the packet in a frame of `frame_len` bytes.
    pub(crate) fn validate(header: &VnetHeader, packet: &Packet, frame_len: usize) -> Verdict<Self> {
        let needs_checksum = header.flags & FLAG_NEEDS_CSUM != 0;
        if !needs_checksum && header.gso_type == GSO_NONE {
            return Ok(Self::NONE);
        }
        let Body::Ipv4(ip) = &packet.body else {
            let gso = header.gso_type != GSO_NONE;
            return Err(if gso { DropReason::VnetGsoInvalid } else { DropReason::VnetChecksumInvalid });
        };
        // Before the checksum: a wrong type says more about the sender.
        let segments = segments(header, ip, packet.frame_len() == frame_len)?;
        let checksum = if needs_checksum { checksum(header, ip)? } else { Checksum::Complete };
        if segments.is_some() && checksum != Checksum::Partial {
            return Err(DropReason::VnetChecksumInvalid);
        }
        Ok(Self { checksum, segments: segments.filter(|s| payload_len(ip) > usize::from(s.size)) })
    }

    /// Largest IP packet on the wire: of the whole, or of one segment.
    pub(crate) fn ip_len(&self, ip: &Ipv4) -> usize {
        match self.segments {
            Some(segments) => ip.header_len() + ip.l4.header_len() + usize::from(segments.size),
            None => ip.total_len(),
        }
    }

    /// The header that describes exactly this packet. `hdr_len` is what the kernel makes linear.
    pub(crate) fn header(&self, packet: &Packet) -> VnetHeader {
        let mut header = VnetHeader::new_zeroed();
        let Body::Ipv4(ip) = &packet.body else { return header };
        let short = |len: usize| U16::new(u16::try_from(len).unwrap_or(u16::MAX));
        if self.checksum == Checksum::Partial
            && let Some(offset) = ip.l4.checksum_offset()
        {
            header.flags = FLAG_NEEDS_CSUM;
            header.hdr_len = short(ip.payload_offset());
            header.csum_start = short(ip.l4_offset());
            header.csum_offset = short(offset);
        }
        if let Some(segments) = self.segments {
            header.gso_size = segments.size.into();
            header.gso_type = match segments.kind {
                SegmentKind::Tcp { ecn: true } => GSO_TCPV4_ECN,
                SegmentKind::Tcp { ecn: false } => GSO_TCPV4,
                SegmentKind::Udp => GSO_UDP_L4,
            };
        }
        header
    }
}

/// Transport payload bytes.
fn payload_len(ip: &Ipv4) -> usize {
    ip.end().saturating_sub(ip.payload_offset())
}

fn segments(header: &VnetHeader, ip: &Ipv4, exact: bool) -> Verdict<Option<Segments>> {
    let kind = match (header.gso_type, ip.l4) {
        (GSO_NONE, _) => return Ok(None),
        (GSO_TCPV4, L4::Tcp { .. }) => SegmentKind::Tcp { ecn: false },
        (GSO_TCPV4_ECN, L4::Tcp { .. }) => SegmentKind::Tcp { ecn: true },
        (GSO_UDP_L4, L4::Udp { fills_packet: true, .. }) => SegmentKind::Udp,
        // Another type, another protocol, UDP with ECN, or a datagram that ends early.
        (
            _,
            L4::Tcp { .. } | L4::Udp { .. } | L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other,
        ) => {
            return Err(DropReason::VnetGsoInvalid);
        }
    };
    // Trailing bytes would become part of the last segment somewhere else than here.
    if ip.fragment != Fragment::Whole || !exact {
        return Err(DropReason::VnetGsoInvalid);
    }
    let max_segments = match kind {
        SegmentKind::Tcp { .. } => MAX_TCP_SEGMENTS,
        SegmentKind::Udp => MAX_UDP_SEGMENTS,
    };
    let size = header.gso_size.get();
    if size == 0 || size == GSO_BY_FRAGS || payload_len(ip).div_ceil(usize::from(size)) > max_segments {
        return Err(DropReason::VnetSegmentsInvalid);
    }
    Ok(Some(Segments { kind, size }))
}

/// Where the checksum asked for is. Never a place that the packet's own headers were read from: what
/// was classified must be what is forwarded.
fn checksum(header: &VnetHeader, ip: &Ipv4) -> Verdict<Checksum> {
    let start = usize::from(header.csum_start.get());
    let offset = usize::from(header.csum_offset.get());
    let (l4, end) = (ip.l4_offset(), ip.end());
    let inner = Checksum::Inner { start, field: start + offset };
    let fits = start + offset + 2 <= end;
    let accepted = match ip.l4 {
        _ if ip.fragment != Fragment::Whole || !fits => None,
        L4::Tcp { .. } if start == l4 && offset == 16 => Some(Checksum::Partial),
        L4::Udp { fills_packet: true, .. } if start == l4 && offset == 6 => Some(Checksum::Partial),
        // VXLAN and the like: the outer UDP checksum is complete (Linux's local checksum offload).
        L4::Udp { .. } if start >= ip.payload_offset() => Some(inner),
        L4::Icmp { .. } if start == l4 && offset == 2 => Some(inner),
        // SCTP: its ports were read, which are before its checksum.
        L4::Sctp { .. } if start >= l4 && start + offset >= l4 + SCTP_PORTS => Some(inner),
        // IP in IP, GRE: nothing behind the IP header was read.
        L4::Other if start >= l4 => Some(inner),
        L4::Tcp { .. } | L4::Udp { .. } | L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other => {
            None
        }
    };
    accepted.ok_or(DropReason::VnetChecksumInvalid)
}
