//! IPv4 (RFC 791).

use std::net::Ipv4Addr;

use etherparse::{Ipv4HeaderSlice, ip_number};
use zerocopy::byteorder::{BigEndian, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, Sum};
use super::l4::L4;
use crate::frame::ETHERNET_HDR_LEN;
use crate::verdict::{DropReason, Verdict};

/// Bytes of a header without options.
pub(crate) const MIN_HEADER_LEN: usize = 20;

/// What an IPv4 packet says.
///
/// INVARIANT: `MIN_HEADER_LEN <= header_len <= total_len <= ` bytes in the frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ipv4 {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    header_len: u8,
    total_len: u16,
    /// The same in all fragments of a datagram.
    pub(crate) identification: u16,
    pub(crate) fragment: Fragment,
    /// Nobody may make fragments of it on its way.
    pub(crate) dont_fragment: bool,
    pub(crate) options: Options,
    pub(crate) l4: L4,
}

/// Which part of a datagram this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fragment {
    Whole,
    First,
    Later,
}

/// What the options ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Options {
    None,
    Harmless,
    /// Loose or strict source route, or a list that does not parse.
    SourceRoute,
}

impl Ipv4 {
    /// Reads what follows the Ethernet header. Bytes beyond the total length are Ethernet padding.
    pub(crate) fn parse(payload: &[u8]) -> Verdict<Self> {
        let header = Ipv4HeaderSlice::from_slice(payload).map_err(|_| DropReason::Ipv4HeaderInvalid)?;
        let (header_len, total_len) = (header.ihl() * 4, header.total_len());
        let body = payload
            .get(usize::from(header_len)..usize::from(total_len))
            .ok_or(DropReason::Ipv4LengthInvalid)?;
        if !checksum::is_valid(header.slice()) {
            return Err(DropReason::Ipv4ChecksumWrong);
        }
        let fragment = fragment(&header, body.len())?;
        Ok(Self {
            source: header.source_addr(),
            destination: header.destination_addr(),
            protocol: header.protocol().0,
            ttl: header.ttl(),
            header_len,
            total_len,
            identification: header.identification(),
            fragment,
            dont_fragment: header.dont_fragment(),
            options: options(header.options()),
            l4: L4::parse(header.protocol(), body, fragment)?,
        })
    }

    /// Bytes of the IP packet.
    pub(crate) fn total_len(&self) -> usize {
        usize::from(self.total_len)
    }

    /// The packet became longer, in a frame that holds it.
    pub(crate) const fn grow(&mut self, total_len: u16) {
        debug_assert!(total_len >= self.total_len, "a packet only grows");
        self.total_len = total_len;
    }

    /// Bytes of the IP header.
    pub(crate) fn header_len(&self) -> usize {
        usize::from(self.header_len)
    }

    /// Bytes after the IP header.
    pub(crate) const fn l4_len(&self) -> u16 {
        self.total_len - self.header_len as u16
    }

    /// Where the transport header starts in the Ethernet frame.
    pub(crate) fn l4_offset(&self) -> usize {
        ETHERNET_HDR_LEN + self.header_len()
    }

    /// Where the transport's payload starts in the Ethernet frame; the transport header itself for
    /// protocols whose header is not read.
    pub(crate) fn payload_offset(&self) -> usize {
        self.l4_offset() + self.l4.header_len()
    }

    /// Where the packet ends in the Ethernet frame.
    pub(crate) fn end(&self) -> usize {
        ETHERNET_HDR_LEN + self.total_len()
    }
}

/// Fragments that a reassembler or a filter could be fooled by are refused: first fragments too
/// small for a transport header (`L4::parse` sees to those), ones that overlap it (RFC 1858 §3.2),
/// and ends beyond the largest datagram.
fn fragment(header: &Ipv4HeaderSlice<'_>, body_len: usize) -> Verdict<Fragment> {
    let units = header.fragments_offset().value();
    let more = header.more_fragments();
    if units == 0 && !more {
        return Ok(Fragment::Whole);
    }
    let end = header.slice().len() + usize::from(units) * 8 + body_len;
    let uneven = more && !body_len.is_multiple_of(8);
    let overlaps = units == 1 && header.protocol() == ip_number::TCP;
    if body_len == 0 || uneven || overlaps || end > usize::from(u16::MAX) {
        return Err(DropReason::FragmentInvalid);
    }
    Ok(if units == 0 { Fragment::First } else { Fragment::Later })
}

fn options(mut bytes: &[u8]) -> Options {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    if bytes.is_empty() {
        return Options::None;
    }
    loop {
        bytes = match bytes {
            [] | [END, ..] => return Options::Harmless,
            [NO_OPERATION, rest @ ..] => rest,
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => return Options::SourceRoute,
            // The length counts the type and itself.
            [_, len, ..] if *len >= 2 => match bytes.get(usize::from(*len)..) {
                Some(rest) => rest,
                None => return Options::SourceRoute,
            },
            [..] => return Options::SourceRoute,
        };
    }
}

/// The header without options, for rewriting.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv4Header {
    pub(crate) version_and_len: u8,
    pub(crate) tos: u8,
    pub(crate) total_len: U16<BigEndian>,
    pub(crate) identification: U16<BigEndian>,
    pub(crate) flags_and_offset: U16<BigEndian>,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: U16<BigEndian>,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

impl Ipv4Header {
    /// The header in an Ethernet frame.
    pub(crate) fn in_frame(frame: &mut [u8]) -> Option<&mut Self> {
        Self::in_front(frame.get_mut(ETHERNET_HDR_LEN..)?)
    }

    /// The header of a packet.
    pub(crate) fn in_front(packet: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(packet).ok().map(|(header, _)| header)
    }

    /// One hop less to live, with the checksum updated in place (RFC 1624).
    pub(crate) fn decrement_ttl(&mut self) {
        // TTL and protocol share a 16-bit word of the checksum.
        let old = u16::from_be_bytes([self.ttl, self.protocol]);
        self.ttl = self.ttl.saturating_sub(1);
        let new = u16::from_be_bytes([self.ttl, self.protocol]);
        self.checksum = checksum::update(self.checksum.get(), old, new).into();
    }

    /// Other addresses, with the checksum updated in place.
    pub(crate) fn readdress(&mut self, source: Ipv4Addr, destination: Ipv4Addr) {
        let old = Sum::new().bytes(&self.source).bytes(&self.destination);
        (self.source, self.destination) = (source.octets(), destination.octets());
        let new = Sum::new().bytes(&self.source).bytes(&self.destination);
        self.checksum = new.minus(old).word(!self.checksum.get()).checksum().into();
    }

    /// Another packet length, with the checksum updated in place.
    pub(crate) fn set_total_len(&mut self, total_len: u16) {
        self.checksum = checksum::update(self.checksum.get(), self.total_len.get(), total_len).into();
        self.total_len = total_len.into();
    }

    /// Another identification, with the checksum updated in place.
    pub(crate) fn set_identification(&mut self, identification: u16) {
        let old = self.identification.get();
        self.checksum = checksum::update(self.checksum.get(), old, identification).into();
        self.identification = identification.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_route_or_do_not_parse_are_told_from_harmless_ones() {
        assert_eq!(options(&[]), Options::None);
        assert_eq!(options(&[1, 1, 0, 99]), Options::Harmless);
        assert_eq!(options(&[148, 4, 0, 0]), Options::Harmless, "router alert");
        assert_eq!(options(&[1, 131, 3, 4]), Options::SourceRoute);
        assert_eq!(options(&[137, 3, 4, 0]), Options::SourceRoute);
        assert_eq!(options(&[7, 9, 4, 0]), Options::SourceRoute, "longer than the header");
        assert_eq!(options(&[7, 0, 4, 0]), Options::SourceRoute, "would not advance");
        assert_eq!(options(&[1, 1, 1, 7]), Options::SourceRoute, "no length");
    }
}
