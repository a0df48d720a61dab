//! The VXLAN header (RFC 7348 §5): the I flag, a 24-bit VNI, and bits that are sent as zero and ignored.
//!
//! ```text
//! | flags: 8 (I = 0x08) | reserved: 24 | VNI: 24 | reserved: 8 |
//! ```

use crate::verdict::{DropReason, Verdict};

/// Bytes of the header.
pub(crate) const LEN: usize = 8;

const FLAG_VNI: u8 = 0x08;

/// A header for network `vni`.
pub(crate) const fn header(vni: u32) -> [u8; LEN] {
    let [_, high, middle, low] = vni.to_be_bytes();
    [FLAG_VNI, 0, 0, 0, high, middle, low, 0]
}

/// What follows a header of network `vni`.
pub(crate) fn open(datagram: &mut [u8], vni: u32) -> Verdict<&mut [u8]> {
    let (header, inner) = datagram.split_first_chunk_mut::<LEN>().ok_or(DropReason::NotVxlan)?;
    let [flags, _, _, _, high, middle, low, _] = *header;
    if flags & FLAG_VNI == 0 {
        return Err(DropReason::NotVxlan);
    }
    if u32::from_be_bytes([0, high, middle, low]) != vni {
        return Err(DropReason::BadVni);
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_the_rfcs() {
        assert_eq!(header(0x12_3456), [8, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
    }

    #[test]
    fn reserved_bits_are_ignored_and_others_are_not() {
        let mut datagram = [0xff, 1, 2, 3, 0, 0, 1, 4, 9];
        assert_eq!(open(&mut datagram, 1), Ok(&mut [9][..]));
        assert_eq!(open(&mut datagram, 2), Err(DropReason::BadVni));
        datagram[0] = 0xf7;
        assert_eq!(open(&mut datagram, 1), Err(DropReason::NotVxlan));
        assert_eq!(open(&mut [8, 0, 0, 0, 0, 0, 1], 1), Err(DropReason::NotVxlan));
    }
}
