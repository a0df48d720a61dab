//! Index, queues and counts are built from what is in the memory.

use std::sync::atomic::Ordering::Acquire;

use super::memory::{Entry, Mappings, Slot, condition_of};
use super::registry::Registry;
use super::state::{Condition, Outward, State};
use super::{ConnectionId, Connections};

impl Connections {
    /// Before anybody else has the table. What is not whole is freed.
    pub(super) fn recover(&self) {
        let mut registry = self.registry.hold();
        for number in 0..self.memory.used() {
            let Some(slot) = self.memory.slot(number) else { return };
            slot.forget_process();
            let entry = self.whole(slot, number).filter(|entry| self.enter(entry, number));
            if entry.is_none() {
                registry.counters.damaged += u64::from(!slot.is_vacant());
                slot.vacate();
            }
            registry.counters.recovered += u64::from(entry.is_some());
            registry.restore(entry.map(|entry| entry.owner));
            if let Some(entry) = entry.filter(Entry::is_mapping) {
                registry.count_mapping(entry.owner, true);
            }
        }
        self.recover_holders(&mut registry);
    }

    /// When all mappings are known: connections hold theirs again. One whose mapping is not there is damaged.
    fn recover_holders(&self, registry: &mut Registry) {
        for number in 0..self.memory.used() {
            let Some(slot) = self.memory.slot(number) else { return };
            let Some(id) = self.occupant(number) else { continue };
            let condition = condition_of(slot.state().load(Acquire), id).and_then(Condition::from_bits);
            let goes_through_none = |condition: &Condition| condition.outward == Outward::NONE;
            if condition.as_ref().is_none_or(goes_through_none) && slot.mappings() == Mappings::default() {
                continue;
            }
            let Some((condition, entry)) = condition.zip(slot.read(id.generation)) else { continue };
            if !self.hold_again(&entry, condition) {
                self.unindex(&entry, number);
                slot.vacate();
                registry.give(number, entry.owner);
                registry.counters.recovered -= 1;
                registry.counters.damaged += 1;
            }
        }
    }

    /// The entry in the slot, if it is complete and nobody else's keys are its own.
    fn whole(&self, slot: Slot, number: u32) -> Option<Entry> {
        let generation = slot.live()?;
        let id = ConnectionId { slot: number, generation };
        let condition = condition_of(slot.state().load(Acquire), id).and_then(Condition::from_bits);
        let entry = slot.read(generation).filter(Entry::is_consistent)?;
        let is_alone = self.lookup(&entry.original).is_none() && self.lookup(&entry.reply).is_none();
        let is_mapping = condition.map(|condition| condition.state == State::Mapping);
        (is_mapping == Some(entry.is_mapping()) && is_alone && entry.original != entry.reply).then_some(entry)
    }
}
