//! Index, queues and counts are built from what is in the memory.

use std::sync::atomic::Ordering::Acquire;

use super::memory::{Entry, Slot, condition_of};
use super::state::Condition;
use super::{ConnectionId, Connections};

impl Connections {
    /// Before anybody else has the table. What is not whole is freed.
    pub(super) fn recover(&self) {
        let mut registry = self.registry.hold();
        for number in 0..self.memory.used() {
            let Some(slot) = self.memory.slot(number) else { return };
            slot.forget_backend();
            let entry = self.whole(slot, number).filter(|entry| self.enter(entry, number));
            if entry.is_none() {
                registry.counters.damaged += u64::from(!slot.is_vacant());
                slot.vacate();
            }
            registry.counters.recovered += u64::from(entry.is_some());
            registry.restore(entry.map(|entry| entry.owner));
        }
    }

    /// The entry in the slot, if it is complete and nobody else's keys are its own.
    fn whole(&self, slot: Slot, number: u32) -> Option<Entry> {
        let generation = slot.live()?;
        let id = ConnectionId { slot: number, generation };
        let condition = condition_of(slot.state().load(Acquire), id).and_then(Condition::from_bits);
        let entry = slot.read(generation).filter(Entry::is_consistent)?;
        let is_alone = self.lookup(&entry.original).is_none() && self.lookup(&entry.reply).is_none();
        (condition.is_some() && is_alone && entry.original != entry.reply).then_some(entry)
    }
}
