//! Merges consecutive segments of one flow into a superframe, for a device that splits it again.
//!
//! A write to a TAP costs about a microsecond, whatever is in the frame; copying a small payload costs
//! some nanoseconds. So payloads of followers are copied behind the first frame's, the *head*, in its
//! buffer, and the whole is written once, as a UDP (USO) or TCP (TSO) superframe.
//!
//! How it works: [`Merge::start`] says whether a frame may be a head; [`Merge::append`] is offered the
//! next frame of the batch, and takes it or not; [`Merge::finish`] makes the head's headers right. A
//! frame that is not taken ends the merge, and may be the next head. Only neighbours are compared, so
//! no frame overtakes another, and nothing waits: what is not in the batch yet is not merged.
//!
//! Invariant: splitting the result gives back the very packets that went in, so a receiver cannot
//! tell. The one exception is the identification of packets that must not be fragmented, which
//! nobody may look at (RFC 6864 §4.1); Linux sends zero in all of them on unconnected sockets, while a
//! splitter counts. Hence the rules, those of Linux's `inet_gro_receive`, `tcp_gro_receive` and
//! `udp_gro_receive_segment`, or stricter:
//!
//! - both: same MAC and IP addresses, ports, type of service, TTL and flags; no IP options, no
//!   fragments, no empty payload; all payloads as long as the head's, but for a shorter last one;
//!   identifications that count up, unless the packet must not be fragmented; at most
//!   [`MAX_SEGMENTS`], in one IP packet;
//! - a checksum that is the device's to complete, or is complete and right: a wrong one must reach
//!   the receiver wrong, and a datagram without one (RFC 768) would get one;
//! - TCP: sequence numbers without gap or overlap, and everything else in the header equal, options
//!   included; no flag but ACK, and PSH in the last segment, which it thereby is. Linux does not
//!   compare windows, so of several its receiver sees one.
//!
//! Superframes are neither heads nor followers: they are what merging is for.
//!
//! The caller sees to it that head and followers go to the same port, and rewrites frames of one flow
//! alike: IP addresses and ports are compared as they were read, all else as it is in the frames now.

use zerocopy::FromBytes;

use super::checksum;
use super::gso::{TCP_PSH, TcpHeader};
use crate::frame::{ETHERNET_HDR_LEN, Frame};
use crate::received::Received;
use crate::wire::Body;
use crate::wire::ipv4::{Ipv4Header, Options};
use crate::wire::l4::{L4, UDP_HEADER_LEN};
use crate::wire::vnet::{Checksum, SegmentKind, Segments};

/// Segments one superframe is made of: `UDP_MAX_SEGMENTS` of Linux before 6.9, and where its own UDP
/// GRO stops in any version (`UDP_GRO_CNT_MAX`), so what receivers are sized for. TCP has no such
/// limit; of segments of common size no more fit.
const MAX_SEGMENTS: u16 = 64;

const TCP_ACK: u8 = 0x10;
/// The reserved bits beside the data offset, one of which is AccECN's AE.
const TCP_RESERVED: u8 = 0x0f;
const DONT_FRAGMENT: u16 = 0x4000;

/// What a head has grown by so far; the frame itself is the caller's.
///
/// INVARIANT: the frame's payload is `count` pieces of `size` bytes, the last at most that, and
/// exactly that while `open`. Its headers are still those of the head alone.
#[derive(Debug)]
pub(crate) struct Merge {
    kind: SegmentKind,
    size: u16,
    count: u16,
    open: bool,
}

impl Merge {
    /// Begins with `head`, if it may be the first of several.
    pub(crate) fn start(head: &Frame, received: &Received) -> Option<Self> {
        let segment = Segment::read(head.ethernet(), received)?;
        let size = u16::try_from(segment.payload.len()).ok()?;
        let kind = segment.l4.kind();
        (!segment.l4.is_pushed()).then_some(Self { kind, size, count: 1, open: true })
    }

    /// What the superframe will be; to be asked of the destination's device before the first
    /// [`append`](Self::append).
    pub(crate) const fn segments(&self) -> Segments {
        Segments { kind: self.kind, size: self.size }
    }

    /// Takes the payload of the Ethernet frame `next` if a receiver cannot tell; `next` is then not to be written.
    #[must_use]
    pub(crate) fn append(
        &mut self,
        head: &mut Frame,
        head_received: &Received,
        next: &[u8],
        next_received: &Received,
    ) -> bool {
        let may_follow = self.open && self.count < MAX_SEGMENTS && is_same_flow(head_received, next_received);
        if !may_follow {
            return false;
        }
        let Some(last) = Segment::read(next, next_received) else { return false };
        let fits = last.payload.len() <= usize::from(self.size)
            && head.ethernet_len() + last.payload.len() <= ETHERNET_HDR_LEN + usize::from(u16::MAX);
        if !fits || !self.is_followed_by(head, head_received, &last) {
            return false;
        }
        // Last, because they alone read the payload; the head's not before there is a reason to.
        if !is_intact(next, next_received) || self.count == 1 && !is_intact(head.ethernet(), head_received) {
            return false;
        }
        if !head.extend(last.payload) {
            return false;
        }
        self.count += 1;
        self.open = last.payload.len() == usize::from(self.size);
        if last.l4.is_pushed() {
            self.open = false;
            push(head);
        }
        true
    }

    /// Makes the headers of the head describe what it has become, and says how many frames it took.
    /// Without any it is as it was.
    pub(crate) fn finish(self, head: &mut Frame, received: &mut Received) -> u64 {
        if self.count > 1 {
            received.grow(head, self.segments());
        }
        u64::from(self.count.saturating_sub(1))
    }

    fn is_followed_by(&self, head: &Frame, received: &Received, next: &Segment<'_>) -> bool {
        Segment::read(head.ethernet(), received).is_some_and(|head| {
            head.ethernet == next.ethernet
                && self.ip_continues(head.ip, next.ip)
                && self.l4_continues(head.l4, next.l4)
        })
    }

    fn ip_continues(&self, head: &Ipv4Header, next: &Ipv4Header) -> bool {
        let same =
            head.tos == next.tos && head.ttl == next.ttl && head.flags_and_offset == next.flags_and_offset;
        let expected = head.identification.get().wrapping_add(self.count);
        same && (must_not_fragment(head) || next.identification.get() == expected)
    }

    fn l4_continues(&self, head: Transport<'_>, next: Transport<'_>) -> bool {
        match (head, next) {
            (Transport::Udp, Transport::Udp) => true,
            (Transport::Tcp { header: head, options: before }, Transport::Tcp { header: next, options }) => {
                let bytes = u32::from(self.size) * u32::from(self.count);
                head.sequence.get().wrapping_add(bytes) == next.sequence.get()
                    && head.acknowledgment == next.acknowledgment
                    && head.window == next.window
                    && head.urgent == next.urgent
                    && before == options
            }
            (Transport::Udp, Transport::Tcp { .. }) | (Transport::Tcp { .. }, Transport::Udp) => false,
        }
    }
}

/// A frame that may be a segment of a superframe.
struct Segment<'a> {
    ethernet: &'a [u8],
    ip: &'a Ipv4Header,
    l4: Transport<'a>,
    payload: &'a [u8],
}

#[derive(Clone, Copy)]
enum Transport<'a> {
    Tcp { header: &'a TcpHeader, options: &'a [u8] },
    Udp,
}

impl<'a> Segment<'a> {
    /// The headers as they are now, of a frame that breaks no rule on its own; of a head that has
    /// grown, its own payload.
    fn read(frame: &'a [u8], received: &Received) -> Option<Self> {
        let Body::Ipv4(known) = &received.packet.body else { return None };
        if received.offload.segments.is_some() || known.options != Options::None {
            return None;
        }
        let (ethernet, packet) = frame.get(..known.end())?.split_at_checked(ETHERNET_HDR_LEN)?;
        let (ip, body) = Ipv4Header::ref_from_prefix(packet).ok()?;
        let (l4, payload) = Transport::read(known.l4, body)?;
        // No fragment, and not the reserved bit (RFC 791 §3.1): who knows what that says.
        let is_whole = ip.flags_and_offset.get() & !DONT_FRAGMENT == 0;
        (is_whole && !payload.is_empty()).then_some(Self { ethernet, ip, l4, payload })
    }
}

impl<'a> Transport<'a> {
    /// The header and what follows it.
    fn read(known: L4, body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        match known {
            L4::Udp { fills_packet: true, .. } => {
                let (_, payload) = body.split_at_checked(UDP_HEADER_LEN)?;
                Some((Self::Udp, payload))
            }
            L4::Tcp { header_len, .. } => {
                let (header, rest) = TcpHeader::ref_from_prefix(body).ok()?;
                let options_len = usize::from(header_len).checked_sub(size_of::<TcpHeader>())?;
                let (options, payload) = rest.split_at_checked(options_len)?;
                let is_plain = header.flags & !TCP_PSH == TCP_ACK && header.data_offset & TCP_RESERVED == 0;
                is_plain.then_some((Self::Tcp { header, options }, payload))
            }
            L4::Udp { fills_packet: false, .. }
            | L4::Icmp { .. }
            | L4::Sctp { .. }
            | L4::Headless
            | L4::Other => None,
        }
    }

    /// Nothing may follow it in a superframe: the splitter puts PSH into the last segment.
    const fn is_pushed(self) -> bool {
        match self {
            Self::Tcp { header, .. } => header.flags & TCP_PSH != 0,
            Self::Udp => false,
        }
    }

    const fn kind(self) -> SegmentKind {
        match self {
            // CWR, which is what needs care with ECN, is never merged.
            Self::Tcp { .. } => SegmentKind::Tcp { ecn: false },
            Self::Udp => SegmentKind::Udp,
        }
    }
}

/// Same IP addresses, protocol, ports and header lengths. Asked of what was read, because that is at
/// hand: where flows take turns, every frame ends here.
fn is_same_flow(head: &Received, next: &Received) -> bool {
    let (Body::Ipv4(head), Body::Ipv4(next)) = (&head.packet.body, &next.packet.body) else { return false };
    head.l4.is_alike(next.l4) && head.source == next.source && head.destination == next.destination
}

const fn must_not_fragment(ip: &Ipv4Header) -> bool {
    ip.flags_and_offset.get() & DONT_FRAGMENT != 0
}

/// Whether the checksum the superframe's segments will have is the one the frame has.
fn is_intact(frame: &[u8], received: &Received) -> bool {
    match (received.offload.checksum, &received.packet.body) {
        (Checksum::Partial, _) => true,
        (Checksum::Complete, Body::Ipv4(ip)) => checksum::is_correct(frame, ip),
        (Checksum::Complete, Body::Arp(_)) | (Checksum::Inner { .. }, _) => false,
    }
}

/// Sets PSH in a TCP frame without IP options.
fn push(frame: &mut Frame) {
    let offset = ETHERNET_HDR_LEN + size_of::<Ipv4Header>();
    let l4 = frame.ethernet_mut().get_mut(offset..).unwrap_or_default();
    if let Ok((header, _)) = TcpHeader::mut_from_prefix(l4) {
        header.flags |= TCP_PSH;
    }
}

#[cfg(test)]
mod tests;
