//! Lowers the maximum segment size that a TCP SYN offers to what fits the tunnel, for paths on which
//! "fragmentation needed" does not reach the sender.

use zerocopy::FromBytes;

use crate::offload::gso::TcpHeader;
use crate::wire::checksum::Sum;
use crate::wire::ipv4::{Fragment, Ipv4};
use crate::wire::l4::L4;
use crate::wire::vnet::Checksum;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
/// IPv4 and TCP headers without options, which the MSS does not count (RFC 6691).
const HEADERS: u16 = 40;
/// Bytes of the option: kind, length, value.
const OPTION_LEN: usize = 4;

/// Clamps the option of the packet in an Ethernet frame, if it is a SYN and has one, to IP packets of
/// `ip_mtu`. The checksum follows.
pub(crate) fn clamp(frame: &mut [u8], ip: &Ipv4, checksum: Checksum, ip_mtu: u16) {
    let L4::Tcp { header_len, .. } = ip.l4 else { return };
    if ip.fragment != Fragment::Whole {
        return;
    }
    let Some(header) = frame.get_mut(ip.l4_offset()..).and_then(|l4| l4.get_mut(..usize::from(header_len)))
    else {
        return;
    };
    let Ok((tcp, options)) = TcpHeader::mut_from_prefix(header) else { return };
    if tcp.flags & (SYN | RST) != SYN {
        return;
    }
    let Some(at) = find(options) else { return };
    let most = ip_mtu.saturating_sub(HEADERS);
    let Some([_, _, high, low]) = options.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<OPTION_LEN>())
    else {
        return;
    };
    let old = [*high, *low];
    if u16::from_be_bytes(old) <= most {
        return;
    }
    let new = most.to_be_bytes();
    [*high, *low] = new;
    match checksum {
        Checksum::Complete | Checksum::Inner { .. } => {
            tcp.checksum = changed(tcp.checksum.get(), old, new, at % 2 == 1).into();
        }
        Checksum::Partial => {}
    }
}

/// Where the option is among `options`.
fn find(options: &[u8]) -> Option<usize> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const MAX_SEGMENT_SIZE: u8 = 2;
    let mut at = 0;
    loop {
        at += match *options.get(at..)? {
            [] | [END, ..] => return None,
            [NO_OPERATION, ..] => 1,
            [MAX_SEGMENT_SIZE, 4, _, _, ..] => return Some(at),
            [_, len, ..] if len >= 2 => usize::from(len),
            [..] => return None,
        };
    }
}

/// RFC 1624 for two bytes, which at an odd place are halves of two words: in one's complement that is
/// the same word with its bytes swapped (RFC 1071 §2(B)).
fn changed(checksum: u16, old: [u8; 2], new: [u8; 2], odd: bool) -> u16 {
    let word = |bytes| if odd { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    Sum::new().word(!checksum).word(!word(old)).word(word(new)).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_is_found_behind_others_or_not_at_all() {
        assert_eq!(find(&[2, 4, 5, 180]), Some(0));
        assert_eq!(find(&[1, 3, 3, 7, 2, 4, 5, 180]), Some(4));
        assert_eq!(find(&[1, 2, 4, 5, 180]), Some(1));
        for none in [&[][..], &[0, 2, 4, 5, 180], &[3, 0, 2, 4], &[2, 3, 4, 5], &[2, 4, 5], &[1, 1, 9]] {
            assert_eq!(find(none), None, "{none:?}");
        }
    }
}
