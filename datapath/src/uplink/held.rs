//! Frames that wait for the MAC of their next hop.
//!
//! A frame is kept as it was read, and decided again when its next hop is known, so whatever changes meanwhile counts; or its sender is
//! told that nobody is there. It is counted then: until then it is nobody's, neither forwarded nor dropped.
//!
//! The switch keeps the frame itself and leaves an empty one in its place, so nothing is copied and nothing allocated. Who would take
//! more room than one may have is dropped by name.

use std::net::Ipv4Addr;

use protocol::PortId;

use crate::burst::Burst;
use crate::frame::Frame;
use crate::window::Seen;

/// Frames in all: at 72 KiB each 2.3 MiB, of which only what was written to is backed by memory.
const MAX_FRAMES: usize = 32;
/// ... for one next hop: a few connections' first packets, and what follows them within one round trip.
const MAX_FRAMES_OF_HOP: usize = 16;
/// ... and their bytes: somewhat less than the kernel's `unres_qlen_bytes`.
const MAX_BYTES_OF_HOP: usize = 128 * 1024;
/// ... of one port, so that it takes four to take all.
const MAX_FRAMES_OF_PORT: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// In order of arrival.
    waiting: Vec<Waiting>,
    spare: Vec<Frame>,
}

/// One frame, and what was found out about it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) next_hop: Ipv4Addr,
    pub(crate) ingress: PortId,
    pub(crate) frame: Frame,
    pub(crate) seen: Seen,
    pub(crate) burst: Burst,
    /// What it is counted as.
    pub(crate) packets: u64,
    pub(crate) bytes: usize,
}

impl Held {
    /// Makes room, or gives it back; allocates.
    pub(crate) fn reserve(&mut self, is_wanted: bool) {
        if !is_wanted {
            self.spare = Vec::new();
        } else if self.spare.is_empty() && self.waiting.is_empty() {
            self.waiting = Vec::with_capacity(MAX_FRAMES);
            self.spare = (0..MAX_FRAMES).map(|_| Frame::new()).collect();
        }
    }

    /// Takes the frame, if there is room; another is left in its place. What it counts as is said by [`Self::count_last`].
    pub(crate) fn push(
        &mut self,
        next_hop: Ipv4Addr,
        ingress: PortId,
        frame: &mut Frame,
        seen: &Seen,
        burst: Burst,
    ) -> bool {
        let of_port = self.waiting.iter().filter(|waiting| waiting.ingress == ingress).count();
        let of_hop = self.waiting.iter().filter(|waiting| waiting.next_hop == next_hop);
        let (frames, bytes) = of_hop.fold((0, frame.ethernet_len()), |(frames, bytes), waiting| {
            (frames + 1, bytes + waiting.frame.ethernet_len())
        });
        if of_port >= MAX_FRAMES_OF_PORT || frames >= MAX_FRAMES_OF_HOP || bytes > MAX_BYTES_OF_HOP {
            return false;
        }
        let Some(mut kept) = self.spare.pop() else { return false };
        std::mem::swap(frame, &mut kept);
        let seen = seen.clone();
        self.waiting.push(Waiting { next_hop, ingress, frame: kept, seen, burst, packets: 1, bytes: 0 });
        true
    }

    /// What the frame last taken counts as.
    pub(crate) fn count_last(&mut self, packets: u64, bytes: usize) {
        if let Some(last) = self.waiting.last_mut() {
            (last.packets, last.bytes) = (packets, bytes);
        }
    }

    /// The first frame that waits no longer.
    pub(crate) fn take(&mut self, is_over: impl Fn(Ipv4Addr) -> bool) -> Option<Waiting> {
        let position = self.waiting.iter().position(|waiting| is_over(waiting.next_hop))?;
        Some(self.waiting.remove(position))
    }

    /// Takes a frame back.
    pub(crate) fn give_back(&mut self, frame: Frame) {
        if self.spare.len() < MAX_FRAMES {
            self.spare.push(frame);
        }
    }
}
