//! Frames that wait for a port's ingress rate, first in first out, in memory of a fixed size.
//!
//! They are copied, finished, into a ring of bytes: a buffer of its own for each would be 72 KiB for a packet of 100 bytes, and a
//! copy is cheap for what is limited anyway. A frame lies in one piece; what is left at the ring's end is skipped.

use std::collections::VecDeque;

use protocol::PortId;

/// Frames that wait at one port, however small.
const MAX_FRAMES: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: Box<[u8]>,
    waiting: VecDeque<Waiting>,
    /// Where the next one is put, if it fits behind it.
    end: usize,
}

/// What one counts as, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) ingress: PortId,
    /// Packets and bytes it came in as; none of a piece of a frame but the last.
    pub(super) packets: u64,
    pub(super) received_bytes: usize,
    /// As [`super::wire_bytes`].
    pub(super) wire_bytes: usize,
    start: usize,
    len: usize,
}

impl Backlog {
    /// With room for `bytes` bytes; allocates.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes].into_boxed_slice(),
            waiting: VecDeque::with_capacity(MAX_FRAMES),
            end: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts a frame in, virtio header first; `false` if there is no room. What it counts as is said by [`Self::count_last`].
    pub(super) fn push(&mut self, ingress: PortId, wire_bytes: usize, frame: &[u8]) -> bool {
        let Some(start) = self.place(frame.len()) else { return false };
        let Some(room) = self.bytes.get_mut(start..start + frame.len()) else { return false };
        room.copy_from_slice(frame);
        self.end = start + frame.len();
        let (packets, received_bytes, len) = (0, 0, frame.len());
        self.waiting.push_back(Waiting { ingress, packets, received_bytes, wire_bytes, start, len });
        true
    }

    /// What the frame last put in counts as.
    pub(super) fn count_last(&mut self, packets: u64, bytes: usize) {
        if let Some(last) = self.waiting.back_mut() {
            (last.packets, last.received_bytes) = (packets, bytes);
        }
    }

    /// The one that has waited longest.
    pub(super) fn first(&self) -> Option<(Waiting, &[u8])> {
        let waiting = *self.waiting.front()?;
        Some((waiting, self.bytes.get(waiting.start..waiting.start + waiting.len)?))
    }

    /// Takes the one out that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    fn place(&self, len: usize) -> Option<usize> {
        if self.waiting.len() >= MAX_FRAMES {
            return None;
        }
        let Some(first) = self.waiting.front() else { return (len <= self.bytes.len()).then_some(0) };
        // Used is from `first` to `end`, around the ring's end if that comes before.
        if first.start < self.end {
            let fits_behind = len <= self.bytes.len() - self.end;
            return if fits_behind { Some(self.end) } else { (len <= first.start).then_some(0) };
        }
        (len <= first.start - self.end).then_some(self.end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a queue of vectors: what goes in comes out, whole and in order, and little room is wasted.
        #[test]
        fn frames_come_out_as_they_went_in(steps in proptest::collection::vec((1usize..400, any::<bool>()), 1..300)) {
            let mut backlog = Backlog::new(1000);
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            for (number, (len, is_push)) in (0..=u8::MAX).cycle().zip(steps) {
                if is_push {
                    let frame = vec![number; len];
                    let used: usize = model.iter().map(Vec::len).sum();
                    if backlog.push(PortId(1), len, &frame) {
                        prop_assert!(used + len <= 1000);
                        model.push_back(frame);
                    } else {
                        prop_assert!(used + 2 * 400 > 1000, "{used} bytes used, no room for {len}");
                    }
                } else {
                    prop_assert_eq!(backlog.first().map(|(_, bytes)| bytes.to_vec()), model.pop_front());
                    backlog.pop();
                }
                prop_assert_eq!(backlog.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn frames_are_bounded_however_small() {
        let mut backlog = Backlog::new(1 << 20);
        let taken = (0..5000).filter(|_| backlog.push(PortId(1), 1, &[0; 72])).count();
        assert_eq!(taken, MAX_FRAMES);
    }
}
