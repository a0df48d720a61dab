//! Makes fragments of a packet that is larger than the link it is to take (RFC 791 §3.2, RFC 1812 §5.2.7).
//!
//! Inside a cluster all links are of one size. Who is outside knows nothing of the pods' MTU, and what it sends without "don't
//! fragment" must arrive: datagrams that were fragments already, answers of resolvers. A fragment is cut like any other packet.

use crate::frame::{ETHERNET_HDR_LEN, VNET_HDR_LEN};
use crate::wire::checksum::Sum;
use crate::wire::ipv4::{Ipv4, Ipv4Header};
use crate::wire::vnet::Offload;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// What offsets count in.
const UNIT: usize = 8;
/// Options with this bit are in every fragment (RFC 791 §3.1).
const COPIED: u8 = 0x80;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;

/// Whether a packet that is too large may be cut. A superframe is a train of packets that TCP, or an application, has cut
/// to measure; it has to learn the measure.
pub(crate) const fn may_cut(offload: Offload, ip: &Ipv4) -> bool {
    !ip.dont_fragment && offload.segments.is_none()
}

/// Makes the fragments of the packet in the Ethernet frame `frame`, whose checksums are complete, one after the other in `scratch`, each
/// with a zeroed virtio header and at most `mtu` bytes, and hands them to `emit` until that returns `false`.
pub(crate) fn cut(
    frame: &[u8],
    ip: &Ipv4,
    mtu: usize,
    scratch: &mut [u8],
    mut emit: impl FnMut(&[u8]) -> bool,
) {
    let (Some(headers), Some(body)) = (frame.get(..ip.l4_offset()), frame.get(ip.l4_offset()..ip.end()))
    else {
        return;
    };
    let size = mtu.saturating_sub(ip.header_len()) / UNIT * UNIT;
    if size == 0 {
        return;
    }
    let count = body.len().div_ceil(size);
    for (index, piece) in body.chunks(size).enumerate() {
        let place = Place { offset: index * size, is_last: index + 1 == count };
        if !make(headers, piece, place, scratch).is_some_and(&mut emit) {
            return;
        }
    }
}

/// Which part of the packet a fragment is.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: usize,
    is_last: bool,
}

/// One fragment. `None` when the scratch buffer is too small; it holds the largest frame there is.
fn make<'a>(headers: &[u8], piece: &[u8], place: Place, scratch: &'a mut [u8]) -> Option<&'a [u8]> {
    let len = VNET_HDR_LEN + headers.len() + piece.len();
    let out = scratch.get_mut(..len)?;
    let (vnet, frame) = out.split_at_mut_checked(VNET_HDR_LEN)?;
    vnet.fill(0);
    let (front, back) = frame.split_at_mut_checked(headers.len())?;
    front.copy_from_slice(headers);
    back.copy_from_slice(piece);
    finish(front.get_mut(ETHERNET_HDR_LEN..)?, piece.len(), place)?;
    Some(out)
}

/// Makes an IP header that of a fragment.
fn finish(header: &mut [u8], body_len: usize, place: Place) -> Option<()> {
    let total_len = u16::try_from(header.len() + body_len).ok()?;
    let offset = u16::try_from(place.offset / UNIT).ok()?;
    if place.offset > 0 {
        drop_uncopied(header.get_mut(size_of::<Ipv4Header>()..)?);
    }
    let fields = Ipv4Header::in_front(header)?;
    let before = fields.flags_and_offset.get();
    let more = if place.is_last { before & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
    fields.total_len = total_len.into();
    fields.flags_and_offset = (more | ((before & OFFSET) + offset) & OFFSET).into();
    fields.checksum = 0.into();
    let checksum = Sum::new().bytes(header).checksum();
    Ipv4Header::in_front(header)?.checksum = checksum.into();
    Some(())
}

/// Options that are for the first fragment alone become padding, so that all headers have one length.
fn drop_uncopied(mut options: &mut [u8]) {
    loop {
        options = match options {
            [] | [END, ..] => return,
            [NO_OPERATION, rest @ ..] => rest,
            [kind, len, ..] => {
                let (kind, len) = (*kind, usize::from(*len).max(2));
                let Some((option, rest)) = options.split_at_mut_checked(len) else { return };
                if kind & COPIED == 0 {
                    option.fill(NO_OPERATION);
                }
                rest
            }
            [_] => return,
        };
    }
}

#[cfg(test)]
mod tests;
