//! One received frame in one owned buffer.
//!
//! ```text
//!  0          start               start+12                         FRAME_SIZE
//!  | headroom | virtio_net_hdr_v1 | Ethernet, at most a superframe | tailroom |
//!             '-- receive_area ------------------------------------------------
//! ```
//!
//! `start` is at least [`HEADROOM`], and such that the payload of a TCP superframe begins on a
//! cache line: the kernel copies 64 KiB in and 64 KiB out with `rep movsb`, which runs at full speed
//! only between aligned addresses.
//!
//! The buffer is large enough that a read never truncates: TAP reads cut silently, so a short
//! buffer would turn a superframe into a frame with wrong lengths. Headroom leaves room to prepend
//! an outer header in place.

use std::fmt;

use protocol::PeerId;

/// Bytes kept free in front of the virtio header: an outer Ethernet + IPv6 + UDP + VXLAN header is
/// 70, rounded up to two cache lines.
pub const HEADROOM: usize = 128;

/// Size of `struct virtio_net_hdr_v1` (virtio 1.2 §5.1.6), always present, zeroed by the edge when
/// the device has none.
pub const VNET_HDR_LEN: usize = 12;

/// Bytes of an Ethernet header without VLAN tags (IEEE 802.3 §3).
pub const ETHERNET_HDR_LEN: usize = 14;

/// Whole buffer: headroom, virtio header, Ethernet with a VLAN tag and the longest IPv4 packet
/// (65,535 bytes), rounded up to pages with one page to spare for what a larger read would tell; and
/// a cache line to align the payload in.
pub(crate) const FRAME_SIZE: usize = 72 * 1024 + CACHE_LINE;

/// Bytes of a cache line on the machines we run on.
const CACHE_LINE: usize = 64;

/// From the virtio header to the payload of a bulk TCP segment: Ethernet, IPv4 without options, TCP
/// with timestamps (Linux sends them on every segment by default).
const BULK_PAYLOAD_OFFSET: usize = VNET_HDR_LEN + ETHERNET_HDR_LEN + 20 + 32;

const _: () = assert!(FRAME_SIZE - HEADROOM - CACHE_LINE >= VNET_HDR_LEN + ETHERNET_HDR_LEN + 4 + 65_535);

/// One received frame in a buffer of its own, see the module.
pub struct Frame {
    buffer: Box<[u8]>,
    // INVARIANT: `HEADROOM <= start < HEADROOM + CACHE_LINE`.
    start: usize,
    // INVARIANT: `start + len <= buffer.len()`.
    len: usize,
    origin: Option<Origin>,
}

/// Where a frame of the tunnel comes from, and as what.
#[derive(Debug, Clone, Copy)]
struct Origin {
    peer: PeerId,
    packets: u32,
    bytes: usize,
}

impl Frame {
    /// An empty frame. Allocates; frames are made once, when the pool is.
    #[must_use]
    pub(crate) fn new() -> Self {
        let buffer = vec![0; FRAME_SIZE].into_boxed_slice();
        let payload = buffer.as_ptr().addr() + HEADROOM + BULK_PAYLOAD_OFFSET;
        let start = HEADROOM + payload.next_multiple_of(CACHE_LINE) - payload;
        Self { buffer, start, len: 0, origin: None }
    }

    /// Where the device writes: virtio header, then Ethernet.
    pub fn receive_area(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..).unwrap_or_default()
    }

    /// Says how much the device wrote, including the virtio header.
    ///
    /// A length beyond the area is the caller's bug; it is cut, so that no later step reads past
    /// the buffer.
    pub fn set_received(&mut self, len: usize) {
        let room = FRAME_SIZE - self.start;
        debug_assert!(len <= room, "received length lies outside the receive area");
        self.len = len.min(room);
        self.origin = None;
    }

    /// Virtio header and Ethernet frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// Virtio header and Ethernet frame, for rewriting in place.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }

    /// The Ethernet frame.
    pub(crate) fn ethernet(&self) -> &[u8] {
        self.bytes().get(VNET_HDR_LEN..).unwrap_or_default()
    }

    /// The Ethernet frame, for rewriting in place.
    pub(crate) fn ethernet_mut(&mut self) -> &mut [u8] {
        self.bytes_mut().get_mut(VNET_HDR_LEN..).unwrap_or_default()
    }

    /// Bytes from the Ethernet header on; what counters and budgets count.
    #[must_use]
    pub fn ethernet_len(&self) -> usize {
        self.len.saturating_sub(VNET_HDR_LEN)
    }

    /// Adds bytes behind what there is; `false`, and nothing changes, where the buffer ends.
    #[must_use]
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> bool {
        let end = self.start + self.len;
        let Some(place) = self.buffer.get_mut(end..end + bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }

    /// Becomes this Ethernet frame, behind a virtio header that asks for nothing.
    pub(crate) fn fill(&mut self, ethernet: &[u8]) {
        let area = self.receive_area();
        if let Some((vnet, place)) = area.split_at_mut_checked(VNET_HDR_LEN)
            && let Some(place) = place.get_mut(..ethernet.len())
        {
            vnet.fill(0);
            place.copy_from_slice(ethernet);
            self.set_received(VNET_HDR_LEN + ethernet.len());
        }
    }

    /// It came through the tunnel from `peer`, as so many packets with so many bytes from their Ethernet
    /// headers on.
    pub(crate) const fn set_origin(&mut self, peer: PeerId, packets: u32, bytes: usize) {
        self.origin = Some(Origin { peer, packets, bytes });
    }

    /// The peer it came from, if it came through the tunnel.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        self.origin.map(|origin| origin.peer)
    }

    /// Packets it came in as: more than one only through the tunnel, where they were merged.
    pub(crate) fn packets(&self) -> u64 {
        self.origin.map_or(1, |origin| u64::from(origin.packets))
    }

    /// Bytes it came in as, from Ethernet headers on.
    pub(crate) fn received_bytes(&self) -> usize {
        self.origin.map_or(self.ethernet_len(), |origin| origin.bytes)
    }

    /// Forgets the tail, as when an answer made in place is shorter than the question.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_payload_begins_on_a_cache_line() {
        for _ in 0..8 {
            let mut frame = Frame::new();
            assert_eq!(frame.receive_area()[BULK_PAYLOAD_OFFSET..].as_ptr().addr() % CACHE_LINE, 0);
        }
    }

    #[test]
    fn bytes_are_what_the_device_wrote() {
        let mut frame = Frame::new();
        assert!(frame.receive_area().len() >= VNET_HDR_LEN + ETHERNET_HDR_LEN + 4 + 65_535);
        frame.receive_area()[..20].copy_from_slice(&[7; 20]);
        frame.set_received(20);
        assert_eq!(frame.bytes(), &[7; 20]);
        assert_eq!(frame.ethernet_len(), 8);
        frame.truncate(15);
        assert_eq!(frame.bytes(), &[7; 15]);
    }

    #[test]
    fn frame_is_extended_up_to_its_buffer_and_no_further() {
        let mut frame = Frame::new();
        let room = frame.receive_area().len();
        frame.set_received(room - 3);
        assert!(frame.extend(&[1, 2]));
        assert_eq!(frame.bytes()[room - 4..], [0, 1, 2]);
        assert!(!frame.extend(&[3, 4]));
        assert!(frame.extend(&[5]));
        assert_eq!((frame.bytes().len(), frame.bytes()[room - 1]), (room, 5));
    }
}
