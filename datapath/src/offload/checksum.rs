//! Checksums left partial by the sender (`NEEDS_CSUM`): made trustworthy, or completed.

use crate::wire::checksum::Sum;
use crate::wire::ipv4::{Fragment, Ipv4};
use crate::wire::l4::L4;

/// Stores the pseudo-header's sum in the checksum field, whatever was there. The sender should have;
/// where it did not, somebody else would complete it to a wrong checksum.
pub(crate) fn store_pseudo_header(frame: &mut [u8], ip: &Ipv4) {
    let sum = pseudo_header(ip, ip.l4_len()).folded();
    store(frame, ip, sum);
}

/// Completes the packet's own TCP or UDP checksum.
pub(crate) fn complete(frame: &mut [u8], ip: &Ipv4) {
    store(frame, ip, 0);
    let l4 = frame.get(ip.l4_offset()..ip.end()).unwrap_or_default();
    let sum = pseudo_header(ip, ip.l4_len()).bytes(l4);
    store(frame, ip, never_zero(sum.checksum()));
}

/// Completes a checksum inside the payload: the field already holds what stands for its
/// pseudo-header, so the sum simply runs over it.
pub(crate) fn complete_inner(frame: &mut [u8], start: usize, field: usize, end: usize) {
    let sum = Sum::new().bytes(frame.get(start..end).unwrap_or_default());
    if let Some(place) = frame.get_mut(field..field + 2) {
        place.copy_from_slice(&never_zero(sum.checksum()).to_be_bytes());
    }
}

/// Whether a sender left the checksum to a device: the field still holds the pseudo-header's sum. So does
/// one complete checksum in 65,536; completing it makes it what it is.
pub(crate) fn is_left(frame: &[u8], ip: &Ipv4) -> bool {
    let left = pseudo_header(ip, ip.l4_len()).folded().to_be_bytes();
    let field = ip.l4.checksum_offset().map(|offset| ip.l4_offset() + offset);
    ip.fragment == Fragment::Whole
        && field.is_some_and(|field| frame.get(field..field + 2) == Some(left.as_slice()))
}

/// Whether a complete checksum is there and right: a UDP one of zero is none (RFC 768).
pub(crate) fn is_correct(frame: &[u8], ip: &Ipv4) -> bool {
    let l4 = frame.get(ip.l4_offset()..ip.end()).unwrap_or_default();
    let absent = match ip.l4 {
        L4::Udp { .. } => l4.get(6..8) == Some(&[0, 0]),
        L4::Tcp { .. } => false,
        L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other => true,
    };
    !absent && pseudo_header(ip, ip.l4_len()).bytes(l4).checksum() == 0
}

/// The pseudo-header of a segment of `l4_len` bytes.
pub(crate) fn pseudo_header(ip: &Ipv4, l4_len: u16) -> Sum {
    Sum::new().pseudo_header(ip.source.octets(), ip.destination.octets(), ip.protocol, l4_len)
}

/// In UDP zero means "no checksum", and its other spelling in one's complement is 0xffff (RFC 768).
/// TCP does not tell the two apart; Linux's `skb_checksum_help` does the same for all.
pub(crate) const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

fn store(frame: &mut [u8], ip: &Ipv4, value: u16) {
    let Some(field) = ip.l4.checksum_offset().map(|offset| ip.l4_offset() + offset) else { return };
    if let Some(place) = frame.get_mut(field..field + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
