//! Connections that were silent for too long go.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::key::Direction;
use super::memory::Slot;
use super::state::{Condition, State};
use super::{ConnectionId, Connections};
use crate::time::Instant;

/// Slots looked at for each entry that may be taken out; they lie side by side, one cache line each.
const LOOKS_PER_ENTRY: u32 = 8;

impl Connections {
    /// Takes out at most `budget` silent connections. `true` when it came to the end of the table, `false`
    /// when the budget ended first; the next call goes on there. The lock is taken for each that goes, not
    /// for those that stay.
    pub(crate) fn expire(&self, now: Instant, budget: u32) -> bool {
        let mut left = budget;
        let mut number = self.sweep_from.load(Relaxed);
        let mut is_finished = false;
        for _ in 0..budget.saturating_mul(LOOKS_PER_ENTRY) {
            if number >= self.memory.used() {
                self.shrink();
                (number, is_finished) = (0, true);
                break;
            }
            if self.memory.slot(number).is_some_and(|slot| self.is_due(slot, now)) {
                if left == 0 {
                    break;
                }
                left -= 1;
                self.remove_due(number, now);
            }
            number += 1;
        }
        self.sweep_from.store(number, Relaxed);
        is_finished
    }

    /// Time until the entry goes, as far as can be told without its generation.
    pub(super) fn is_due(&self, slot: Slot, now: Instant) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "the condition is the lower half")]
        let condition = Condition::from_bits(slot.state().load(Acquire) as u32);
        let Some(condition) = condition else { return false };
        let since = if condition.state == State::Mapping { slot.until() } else { slot.last_seen() };
        let age = || slot.last_seen().saturating_since(slot.created());
        let is_held = || condition.state == State::Mapping && slot.held().load(Relaxed) > 0;
        let idle = condition.idle(&slot.raw_key(Direction::Original), age, &self.idle);
        now.saturating_since(since) >= idle && now >= since && !is_held()
    }

    /// Looks again under the lock, where no slot changes its connection.
    fn remove_due(&self, number: u32, now: Instant) {
        let mut registry = self.registry.hold();
        let Some(slot) = self.memory.slot(number).filter(|slot| self.is_due(*slot, now)) else { return };
        let Some(generation) = slot.live() else { return };
        let is_gone = self.take_out(&mut registry, ConnectionId { slot: number, generation });
        registry.counters.expired += u64::from(is_gone);
    }

    fn shrink(&self) {
        if self.memory.used() == 0 {
            return;
        }
        let mut registry = self.registry.hold();
        if registry.shrink() {
            self.memory.set_used(0);
        }
    }
}
