//! One received frame in one owned buffer.
//!
//! ```text
//!  0          HEADROOM        HEADROOM+12                           FRAME_SIZE
//!  | headroom | virtio_net_hdr_v1 | Ethernet, at most a superframe | tailroom |
//!             '-- receive_area ------------------------------------------------
//! ```
//!
//! The buffer is large enough that a read never truncates: TAP reads cut silently, so a short
//! buffer would turn a superframe into a frame with wrong lengths. Headroom leaves room to prepend
//! an outer header in place.

use std::fmt;

/// Bytes kept free in front of the virtio header: an outer Ethernet + IPv6 + UDP + VXLAN header is
/// 70, rounded up to two cache lines.
pub const HEADROOM: usize = 128;

/// Size of `struct virtio_net_hdr_v1` (virtio 1.2 §5.1.6), always present, zeroed by the edge when
/// the device has none.
pub const VNET_HDR_LEN: usize = 12;

/// Bytes of an Ethernet header without VLAN tags (IEEE 802.3 §3).
pub const ETHERNET_HDR_LEN: usize = 14;

/// Whole buffer: headroom, virtio header, Ethernet with a VLAN tag and the longest IPv4 packet
/// (65,535 bytes), rounded up to pages with one page to spare for what a larger read would tell.
pub(crate) const FRAME_SIZE: usize = 72 * 1024;

const _: () = assert!(FRAME_SIZE - HEADROOM >= VNET_HDR_LEN + ETHERNET_HDR_LEN + 4 + 65_535);

/// One received frame in a buffer of its own, see the module.
pub struct Frame {
    buffer: Box<[u8]>,
    // INVARIANT: `HEADROOM + len <= buffer.len()`.
    len: usize,
}

impl Frame {
    /// An empty frame. Allocates; frames are made once, when the pool is.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; FRAME_SIZE].into_boxed_slice(), len: 0 }
    }

    /// Where the device writes: virtio header, then Ethernet.
    pub fn receive_area(&mut self) -> &mut [u8] {
        self.buffer.get_mut(HEADROOM..).unwrap_or_default()
    }

    /// Says how much the device wrote, including the virtio header.
    ///
    /// A length beyond the area is the caller's bug; it is cut, so that no later step reads past
    /// the buffer.
    pub fn set_received(&mut self, len: usize) {
        debug_assert!(len <= FRAME_SIZE - HEADROOM, "received length lies outside the receive area");
        self.len = len.min(FRAME_SIZE - HEADROOM);
    }

    /// Virtio header and Ethernet frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(HEADROOM..HEADROOM + self.len).unwrap_or_default()
    }

    /// Virtio header and Ethernet frame, for rewriting in place.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(HEADROOM..HEADROOM + self.len).unwrap_or_default()
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
}
