//! Splits a TCP or UDP superframe into the segments the sender asked for.
//!
//! As Linux's `tcp_gso_segment` and `__udp_gso_segment` do: identification and sequence number count
//! up, FIN and PSH are in the last segment only, CWR in the first only, lengths and checksums are
//! each segment's own.

use zerocopy::FromBytes;
use zerocopy::byteorder::{BigEndian, U16, U32};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{never_zero, pseudo_header};
use crate::frame::{ETHERNET_HDR_LEN, VNET_HDR_LEN};
use crate::wire::ipv4::{Ipv4, Ipv4Header};
use crate::wire::vnet::{SegmentKind, Segments};

const TCP_FIN: u8 = 0x01;
pub(super) const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct TcpHeader {
    pub(crate) source_port: U16<BigEndian>,
    pub(crate) destination_port: U16<BigEndian>,
    pub(crate) sequence: U32<BigEndian>,
    pub(crate) acknowledgment: U32<BigEndian>,
    pub(crate) data_offset: u8,
    pub(crate) flags: u8,
    pub(crate) window: U16<BigEndian>,
    pub(crate) checksum: U16<BigEndian>,
    pub(crate) urgent: U16<BigEndian>,
}

#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct UdpHeader {
    source_port: U16<BigEndian>,
    destination_port: U16<BigEndian>,
    len: U16<BigEndian>,
    checksum: U16<BigEndian>,
}

/// Whether the TCP packet says that its sender has lowered its window (RFC 3168 §6.1.2).
pub(crate) fn is_cwr(frame: &[u8], ip: &Ipv4) -> bool {
    let l4 = frame.get(ip.l4_offset()..).unwrap_or_default();
    TcpHeader::ref_from_prefix(l4).is_ok_and(|(tcp, _)| tcp.flags & TCP_CWR != 0)
}

/// Which of the segments one is.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: u16,
    offset: u32,
    is_last: bool,
}

/// Makes the segments of the Ethernet frame `frame` one after the other in `scratch`, each with a
/// zeroed virtio header, and hands them to `emit` until that returns `false`.
pub(crate) fn split(
    frame: &[u8],
    ip: &Ipv4,
    segments: Segments,
    scratch: &mut [u8],
    mut emit: impl FnMut(&[u8]) -> bool,
) {
    let headers = frame.get(..ip.payload_offset()).unwrap_or_default();
    for (place, piece) in places(frame, ip, segments) {
        let segment = make(headers, piece, ip, segments.kind, place, scratch);
        if !segment.is_some_and(&mut emit) {
            return;
        }
    }
}

/// Makes only the headers of the segments, each behind `prefix`, one after the other in `out`; their
/// payload is the frame's, cut by `segments.size`. Gives the length of all; `None` when `out` is too
/// small.
pub(crate) fn split_headers(
    frame: &[u8],
    ip: &Ipv4,
    segments: Segments,
    prefix: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let headers = frame.get(..ip.payload_offset())?;
    let len = prefix.len() + headers.len();
    let mut rest = out;
    let mut used = 0;
    for (place, piece) in places(frame, ip, segments) {
        let (room, behind) = rest.split_at_mut_checked(len)?;
        let (front, back) = room.split_at_mut_checked(prefix.len())?;
        front.copy_from_slice(prefix);
        back.copy_from_slice(headers);
        finish(back, piece, ip, segments.kind, place)?;
        rest = behind;
        used += len;
    }
    Some(used)
}

/// The payload of each segment.
fn places<'a>(frame: &'a [u8], ip: &Ipv4, segments: Segments) -> impl Iterator<Item = (Place, &'a [u8])> {
    let payload = frame.get(ip.payload_offset()..ip.end()).unwrap_or_default();
    let size = usize::from(segments.size.max(1));
    let count = payload.len().div_ceil(size);
    payload.chunks(size).enumerate().map(move |(index, piece)| {
        let place = Place {
            index: u16::try_from(index).unwrap_or(u16::MAX),
            offset: u32::try_from(index * size).unwrap_or(u32::MAX),
            is_last: index + 1 == count,
        };
        (place, piece)
    })
}

/// Makes the length in the UDP header that of the packet.
pub(crate) fn set_udp_len(frame: &mut [u8], ip: &Ipv4) {
    let l4 = frame.get_mut(ip.l4_offset()..).unwrap_or_default();
    if let Ok((udp, _)) = UdpHeader::mut_from_prefix(l4) {
        udp.len = ip.l4_len().into();
    }
}

/// One segment. `None` when the scratch buffer is too small; it holds the largest frame there is.
fn make<'a>(
    headers: &[u8],
    payload: &[u8],
    ip: &Ipv4,
    kind: SegmentKind,
    place: Place,
    scratch: &'a mut [u8],
) -> Option<&'a [u8]> {
    let len = VNET_HDR_LEN + headers.len() + payload.len();
    let out = scratch.get_mut(..len)?;
    let (vnet, frame) = out.split_at_mut_checked(VNET_HDR_LEN)?;
    vnet.fill(0);
    let (front, back) = frame.split_at_mut_checked(headers.len())?;
    front.copy_from_slice(headers);
    back.copy_from_slice(payload);
    finish(front, payload, ip, kind, place)?;
    Some(out)
}

/// Makes a copy of the superframe's headers those of one segment with this payload.
fn finish(headers: &mut [u8], payload: &[u8], ip: &Ipv4, kind: SegmentKind, place: Place) -> Option<()> {
    let l4_len = u16::try_from(headers.len() + payload.len() - ip.l4_offset()).ok()?;
    let header = Ipv4Header::in_frame(headers)?;
    header.set_total_len(u16::try_from(ip.header_len()).ok()? + l4_len);
    header.set_identification(header.identification.get().wrapping_add(place.index));
    debug_assert!(headers.len() == ETHERNET_HDR_LEN + ip.header_len() + ip.l4.header_len());

    let l4 = headers.get_mut(ip.l4_offset()..)?;
    // Of even length, both headers, so that the payload's sum follows theirs.
    let pseudo = pseudo_header(ip, l4_len).bytes(payload);
    match kind {
        SegmentKind::Tcp { .. } => {
            let tcp = TcpHeader::mut_from_prefix(l4).ok()?.0;
            tcp.sequence = tcp.sequence.get().wrapping_add(place.offset).into();
            if !place.is_last {
                tcp.flags &= !(TCP_FIN | TCP_PSH);
            }
            if place.index > 0 {
                tcp.flags &= !TCP_CWR;
            }
            tcp.checksum = 0.into();
            let checksum = pseudo.bytes(l4).checksum();
            TcpHeader::mut_from_prefix(l4).ok()?.0.checksum = checksum.into();
        }
        SegmentKind::Udp => {
            let udp = UdpHeader::mut_from_prefix(l4).ok()?.0;
            udp.len = l4_len.into();
            udp.checksum = 0.into();
            let checksum = never_zero(pseudo.bytes(l4).checksum());
            UdpHeader::mut_from_prefix(l4).ok()?.0.checksum = checksum.into();
        }
    }
    Some(())
}
