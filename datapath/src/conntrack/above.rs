//! A table over another, in which connections are only tried ([`crate::trace`]).
//!
//! What is not in it is looked for below and copied, entry by entry, as it is asked for; what was taken out here stays out. Whatever is
//! made, changed or removed, is so here alone. One thread uses such a table.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;

use std::num::NonZeroU32;

use super::key::Key;
use super::lock::Lock;
use super::memory::condition_of;
use super::{ConnectionId, Connections, Hit};
use crate::limits::Limits;
use crate::service::ActiveConnections;
use crate::shared::Shared;

/// The table below, and what was taken out here that is in it.
#[derive(Debug)]
pub(super) struct Below {
    shared: Arc<Shared>,
    gone: Lock<Vec<Key>>,
}

impl Below {
    pub(super) fn forget(&self, original: Key) {
        self.gone.hold().push(original);
    }
}

impl Connections {
    /// Over the connections of `below`, in `words` that are all zero.
    pub(crate) fn above(
        below: &Arc<Shared>,
        words: &'static [AtomicU64],
        limits: &Limits,
        active: Arc<ActiveConnections>,
    ) -> Self {
        let below = Below { shared: Arc::clone(below), gone: Lock::new(Vec::new()) };
        Self { below: Some(below), ..Self::new(words, 0, limits, active) }
    }

    #[cold]
    pub(super) fn find_below(&self, below: &Below, key: &Key) -> Option<Hit> {
        let real = &below.shared.connections;
        let hit = real.lookup(key)?;
        let slot = real.memory.slot(hit.id.slot)?;
        let entry = slot.read(hit.id.generation)?;
        let condition = condition_of(slot.state().load(Acquire), hit.id)?;
        if below.gone.hold().contains(&entry.original) {
            return None;
        }
        // Whoever makes a connection has the lock already, and asks only whether a key is taken.
        let Some(mut registry) = self.registry.try_hold() else {
            let id = ConnectionId { slot: u32::MAX, generation: NonZeroU32::MIN };
            return Some(Hit { id, direction: hit.direction });
        };
        let number = registry.take(entry.owner)?;
        if self.memory.used() < registry.used() {
            self.memory.set_used(registry.used());
        }
        let generation = self.memory.slot(number)?.occupy(&entry, condition, slot.last_seen());
        self.enter(&entry, number);
        Some(Hit { id: ConnectionId { slot: number, generation }, direction: hit.direction })
    }
}
