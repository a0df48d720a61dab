//! Small numbers for things that are equal, with what is known about each and how many use it.
//!
//! What nobody uses any more keeps its number until [`Interner::reclaim`], so that within a batch of changes it can come back
//! for nothing, and no number means two things in one change. Numbers are used again, the lowest first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Interner<K, V> {
    ids: HashMap<Arc<K>, u32>,
    slots: Vec<Option<Slot<K, V>>>,
    free: BinaryHeap<Reverse<u32>>,
    unused: Vec<u32>,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: Arc<K>,
    value: V,
    users: u32,
}

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self { ids: HashMap::new(), slots: Vec::new(), free: BinaryHeap::new(), unused: Vec::new() }
    }
}

impl<K: Hash + Eq, V> Interner<K, V> {
    /// The number, for one more user, and whether it is new.
    pub(super) fn acquire(&mut self, key: K, make: impl FnOnce() -> V) -> (u32, bool) {
        if let Some(id) = self.ids.get(&key).copied() {
            if let Some(slot) = self.slot_mut(id) {
                slot.users += 1;
            }
            return (id, false);
        }
        let key = Arc::new(key);
        let slot = Some(Slot { key: Arc::clone(&key), value: make(), users: 1 });
        let id = if let Some(Reverse(id)) = self.free.pop() {
            if let Some(free) = self.slots.get_mut(id as usize) {
                *free = slot;
            }
            id
        } else {
            self.slots.push(slot);
            // Whatever has numbers here needs more than a byte of memory.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        };
        self.ids.insert(key, id);
        (id, true)
    }

    /// One user less.
    pub(super) fn release(&mut self, id: u32) {
        if let Some(slot) = self.slot_mut(id) {
            slot.users = slot.users.saturating_sub(1);
            if slot.users == 0 {
                self.unused.push(id);
            }
        }
    }

    /// Forgets what has no user.
    pub(super) fn reclaim(&mut self) -> Vec<(u32, Arc<K>, V)> {
        let mut gone = Vec::new();
        for id in std::mem::take(&mut self.unused) {
            let Some(place) = self.slots.get_mut(id as usize) else { continue };
            if let Some(slot) = place.take_if(|slot| slot.users == 0) {
                self.ids.remove(&slot.key);
                self.free.push(Reverse(id));
                gone.push((id, slot.key, slot.value));
            }
        }
        gone
    }

    pub(super) fn id(&self, key: &K) -> Option<u32> {
        self.ids.get(key).copied()
    }

    pub(super) fn key(&self, id: u32) -> Option<&Arc<K>> {
        self.slot(id).map(|slot| &slot.key)
    }

    pub(super) fn get(&self, id: u32) -> Option<&V> {
        self.slot(id).map(|slot| &slot.value)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut V> {
        self.slot_mut(id).map(|slot| &mut slot.value)
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    fn slot(&self, id: u32) -> Option<&Slot<K, V>> {
        self.slots.get(id as usize)?.as_ref()
    }

    fn slot_mut(&mut self, id: u32) -> Option<&mut Slot<K, V>> {
        self.slots.get_mut(id as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_while_used_and_given_again_after() {
        let mut names: Interner<&str, ()> = Interner::default();
        assert_eq!((names.acquire("a", || ()), names.acquire("b", || ())), ((0, true), (1, true)));
        assert_eq!(names.acquire("a", || ()), (0, false));
        names.release(0);
        assert!(names.reclaim().is_empty());
        names.release(0);
        assert_eq!(names.acquire("c", || ()), (2, true), "0 is not free before it is reclaimed");
        assert_eq!(names.acquire("a", || ()), (0, false), "it came back");
        assert!(names.reclaim().is_empty());
        names.release(0);
        assert_eq!(names.reclaim().len(), 1);
        assert_eq!((names.acquire("d", || ()), names.len()), ((0, true), 3));
    }
}
