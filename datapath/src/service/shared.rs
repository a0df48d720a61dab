//! What all workers of a process know together: active connections of backends, and which client has which backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use zerocopy::FromZeros;

use super::affinity::Affinity;
use super::backends::MAX_BACKENDS;

/// Made once per process, and given to the switch of each worker.
#[derive(Debug)]
pub(crate) struct SharedServices {
    pub(crate) active: Arc<ActiveConnections>,
    pub(crate) affinity: Affinity,
}

impl SharedServices {
    /// Nobody is connected yet. Takes 3 MiB of addresses, of which memory backs what is used.
    pub(crate) fn new(seed: u64) -> Self {
        Self { active: Arc::new(ActiveConnections::new()), affinity: Affinity::new(seed) }
    }

    /// Knows what `below` knows, and changes nothing of it.
    pub(crate) fn above(below: &Arc<Self>, slots: usize) -> Self {
        let active = Arc::new(below.active.copy(slots));
        Self { active, affinity: Affinity::above(below) }
    }
}

/// Active connections by backend slot, for the schedulers that look for the fewest.
///
/// Relaxed: the numbers order nothing. A worker that sees another's connection a moment late chooses as if it had come
/// first.
#[derive(Debug, Default)]
pub(crate) struct ActiveConnections(Box<[AtomicU32]>);

impl ActiveConnections {
    pub(crate) fn new() -> Self {
        // Zeroed by the system. Without memory for it there are no counts, and all backends look idle.
        Self(<[AtomicU32]>::new_box_zeroed_with_elems(MAX_BACKENDS as usize).unwrap_or_default())
    }

    /// The first `slots` counts as they are now.
    fn copy(&self, slots: usize) -> Self {
        let copy = |count: &AtomicU32| AtomicU32::new(count.load(Ordering::Relaxed));
        Self(self.0.iter().take(slots).map(copy).collect())
    }

    /// A connection to the backend at `slot` began.
    pub(crate) fn opened(&self, slot: u32) {
        if let Some(count) = self.0.get(slot as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection to the backend at `slot` ended. Below zero it does not go: what ends may be older than the
    /// backend, if one with the same address came back.
    pub(crate) fn closed(&self, slot: u32) {
        if let Some(count) = self.0.get(slot as usize) {
            let one_less = |count: u32| count.checked_sub(1);
            let _was_zero = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        }
    }

    /// Connections of the backend at `slot`.
    pub(crate) fn of(&self, slot: u32) -> u32 {
        self.0.get(slot as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The slot has a new backend. Every worker says so while it commits, when none forwards.
    pub(super) fn reset(&self, slot: u32) {
        if let Some(count) = self.0.get(slot as usize) {
            count.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_slot_and_never_below_zero() {
        let active = ActiveConnections::new();
        active.opened(3);
        active.opened(3);
        active.opened(MAX_BACKENDS - 1);
        active.opened(MAX_BACKENDS);
        assert_eq!([active.of(2), active.of(3), active.of(MAX_BACKENDS - 1)], [0, 2, 1]);
        for _ in 0..3 {
            active.closed(3);
        }
        assert_eq!([active.of(3), active.of(MAX_BACKENDS)], [0, 0]);
        active.opened(3);
        active.reset(3);
        assert_eq!(active.of(3), 0);
    }
}
