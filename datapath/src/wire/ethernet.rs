//! Ethernet II (IEEE 802.3 §3), untagged.

use etherparse::{EtherType, Ethernet2HeaderSlice};
use protocol::Mac;
use zerocopy::byteorder::{BigEndian, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::ETHERNET_HDR_LEN;
use crate::verdict::{DropReason, Verdict};

/// What the header says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ethernet {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) ether_type: EtherType,
}

/// Reads the header and gives what follows it.
pub(crate) fn split(frame: &[u8]) -> Verdict<(Ethernet, &[u8])> {
    let header = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| DropReason::FrameTooShort)?;
    let payload = frame.get(ETHERNET_HDR_LEN..).ok_or(DropReason::FrameTooShort)?;
    let ethernet = Ethernet {
        destination: Mac(header.destination()),
        source: Mac(header.source()),
        ether_type: header.ether_type(),
    };
    Ok((ethernet, payload))
}

/// The header, for rewriting.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct EthernetHeader {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) ether_type: U16<BigEndian>,
}

/// Gives the frame new addresses.
pub(crate) fn readdress(frame: &mut [u8], destination: Mac, source: Mac) {
    if let Ok((header, _)) = EthernetHeader::mut_from_prefix(frame) {
        header.destination = destination.0;
        header.source = source.0;
    }
}

/// `01-80-C2-00-00-00` to `-0F`: never forwarded by a bridge (IEEE 802.1Q §8.6.3).
pub(crate) fn is_reserved_group(mac: Mac) -> bool {
    matches!(mac.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
}
