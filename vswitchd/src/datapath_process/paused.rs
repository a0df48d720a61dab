//! Ports that are not read until their rate lets them send again.
//!
//! Their frames wait in their devices' queues. The poller says nothing of a port that was not read empty, so each is put on the
//! ready list again when its time has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use datapath::time::Instant;
use protocol::PortId;

/// See the module.
///
/// INVARIANT: a port is in it at most once, so it never holds more than [`PortId::MAX_PORTS`].
#[derive(Debug)]
pub(super) struct Paused {
    queue: BinaryHeap<Reverse<(Instant, PortId)>>,
    queued: Box<[bool]>,
}

impl Paused {
    pub(super) fn new() -> Self {
        let ports = PortId::MAX_PORTS as usize;
        Self { queue: BinaryHeap::with_capacity(ports), queued: vec![false; ports].into_boxed_slice() }
    }

    /// Leaves `port` alone until then, unless that is decided already.
    pub(super) fn push(&mut self, port: PortId, until: Instant) {
        if let Some(queued) = self.queued.get_mut(port.index())
            && !std::mem::replace(queued, true)
        {
            self.queue.push(Reverse((until, port)));
        }
    }

    /// When the first may be read.
    pub(super) fn due(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((until, _))| *until)
    }

    /// One that may be read.
    pub(super) fn pop(&mut self, now: Instant) -> Option<PortId> {
        self.due().filter(|due| *due <= now)?;
        self.pop_any()
    }

    /// The first, whenever it may be read: limits have changed.
    pub(super) fn pop_any(&mut self) -> Option<PortId> {
        let Reverse((_, port)) = self.queue.pop()?;
        if let Some(queued) = self.queued.get_mut(port.index()) {
            *queued = false;
        }
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_let_go_when_their_time_has_come() {
        let at = Instant::from_nanos;
        let mut paused = Paused::new();
        for (port, until) in [(1, 30), (2, 10), (3, 20), (2, 90), (PortId::MAX_PORTS, 1)] {
            paused.push(PortId(port), at(until));
        }
        assert_eq!((paused.due(), paused.pop(at(9))), (Some(at(10)), None));
        assert_eq!(
            [paused.pop(at(20)), paused.pop(at(20)), paused.pop(at(20))],
            [Some(PortId(2)), Some(PortId(3)), None]
        );
        paused.push(PortId(2), at(90));
        assert_eq!(
            [paused.pop_any(), paused.pop_any(), paused.pop_any()],
            [Some(PortId(1)), Some(PortId(2)), None]
        );
    }
}
