//! Which ports have something to read, and how much of it one port may have at a time.
//!
//! The poller is edge triggered: the kernel tells once that a port became readable, and says
//! nothing more until the port was read empty. So a port stays in this list until a read found
//! nothing. It is served round robin, each time under a [`Budget`], so that a port under flood
//! delays the others by one budget at most.

use std::collections::VecDeque;

use protocol::PortId;

/// Frames a port may have in one turn; with small frames about 70 µs of work.
pub(super) const TURN_FRAMES: usize = 64;
/// Bytes a port may have in one turn: four superframes.
pub(super) const TURN_BYTES: usize = 256 * 1024;

/// Ports that may have frames waiting, in the order they are served.
///
/// INVARIANT: a port is in it at most once, so it never holds more than [`PortId::MAX_PORTS`].
#[derive(Debug)]
pub(super) struct ReadyList {
    queue: VecDeque<PortId>,
    queued: Box<[bool]>,
}

impl ReadyList {
    pub(super) fn new() -> Self {
        let ports = PortId::MAX_PORTS as usize;
        Self { queue: VecDeque::with_capacity(ports), queued: vec![false; ports].into_boxed_slice() }
    }

    /// Puts `port` at the end, unless it is in the list.
    pub(super) fn push(&mut self, port: PortId) {
        if let Some(queued) = self.queued.get_mut(port.index())
            && !*queued
        {
            *queued = true;
            self.queue.push_back(port);
        }
    }

    /// The port to serve next. It must be pushed again unless it was read empty or is gone.
    pub(super) fn pop(&mut self) -> Option<PortId> {
        let port = self.queue.pop_front()?;
        if let Some(queued) = self.queued.get_mut(port.index()) {
            *queued = false;
        }
        Some(port)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// What is left of a port's turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    frames: usize,
    bytes: usize,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self { frames: TURN_FRAMES, bytes: TURN_BYTES }
    }

    /// Accounts for what was read.
    pub(super) const fn spend(&mut self, frames: usize, bytes: usize) {
        self.frames = self.frames.saturating_sub(frames);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Nothing is left: another port's turn. May be overdrawn by one batch.
    pub(super) const fn is_spent(self) -> bool {
        self.frames == 0 || self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_served_in_the_order_they_became_ready() {
        let mut ready = ReadyList::new();
        for id in [3, 1, 2] {
            ready.push(PortId(id));
        }
        let served: Vec<_> = std::iter::from_fn(|| ready.pop()).map(|p| p.0).collect();
        assert_eq!(served, [3, 1, 2]);
        assert!(ready.is_empty());
    }

    #[test]
    fn a_port_is_in_the_list_once_however_often_it_becomes_ready() {
        let mut ready = ReadyList::new();
        ready.push(PortId(7));
        ready.push(PortId(7));
        ready.push(PortId(8));
        ready.push(PortId(7));
        assert_eq!(ready.len(), 2);
        assert_eq!(ready.pop(), Some(PortId(7)));
        ready.push(PortId(7));
        assert_eq!(ready.pop(), Some(PortId(8)));
        assert_eq!(ready.pop(), Some(PortId(7)), "an unfinished port comes after the waiting one");
    }

    #[test]
    fn a_port_number_out_of_range_is_never_ready() {
        let mut ready = ReadyList::new();
        ready.push(PortId(PortId::MAX_PORTS));
        assert!(ready.is_empty());
    }

    #[test]
    fn a_turn_ends_after_its_frames_or_its_bytes() {
        let mut small_frames = Budget::new();
        small_frames.spend(TURN_FRAMES - 1, 60);
        assert!(!small_frames.is_spent());
        small_frames.spend(1, 60);
        assert!(small_frames.is_spent());

        let mut superframes = Budget::new();
        superframes.spend(3, 3 * 65536);
        assert!(!superframes.is_spent());
        superframes.spend(2, 2 * 65536);
        assert!(superframes.is_spent(), "overdrawn by one frame");
    }
}
