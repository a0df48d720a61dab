//! A hash table with a cap, a share per port, and fair eviction; the table behind the FDB and the
//! neighbours. Flows, looked up for every frame, have their own (`flow_table`).
//!
//! How it works: entries live in a slab; a seeded hash index finds them; each port's entries form a
//! doubly linked list from least to most recently used. A port that has its share loses its own
//! oldest entry to a new one. When the whole table is full, the fullest port loses its oldest (the
//! idea of Open vSwitch's `mac-learning.h`): whoever floods the table evicts itself first.
//!
//! Invariants:
//! - an entry is in the index, in exactly one port's list, and not in the free list, or only in the
//!   free list;
//! - a port's list is ordered by `last_used`, because time does not run backwards and every use
//!   moves the entry to the end; hence expiry looks at the heads of lists only;
//! - nothing is allocated after [`BoundedTable::new`] and [`BoundedTable::reserve_owner`].

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use protocol::PortId;

use crate::time::Instant;

/// No slot; ends lists.
const NIL: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct BoundedTable<K, V> {
    hasher: SeedableRandomState,
    index: HashTable<u32>,
    slots: Vec<Slot<K, V>>,
    free: u32,
    owners: Vec<Owner>,
    cap: u32,
    share: u32,
    sweep_from: usize,
}

#[derive(Debug)]
struct Slot<K, V> {
    entry: Option<Entry<K, V>>,
    older: u32,
    // Also links the free list.
    newer: u32,
}

/// One entry, as rows and lookups see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) owner: PortId,
    pub(crate) last_used: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    oldest: u32,
    newest: u32,
    len: u32,
}

impl Owner {
    const EMPTY: Self = Self { oldest: NIL, newest: NIL, len: 0 };
}

impl<K: Copy + Eq + Hash, V> BoundedTable<K, V> {
    /// An empty table of at most `cap` entries, at most `share` of one port.
    pub(crate) fn new(seed: u64, cap: u32, share: u32) -> Self {
        // Twice the cap: at most half full, hashbrown clears its tombstones in place instead of
        // growing, so inserting and removing for ever never allocates.
        let index = HashTable::with_capacity(cap as usize * 2);
        Self {
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_random()),
            index,
            slots: Vec::with_capacity(cap as usize),
            free: NIL,
            owners: Vec::new(),
            cap,
            share: share.min(cap),
            sweep_from: 0,
        }
    }

    /// Makes room for the list of `port`; called when the port is configured. Entries of a port
    /// without it are refused.
    pub(crate) fn reserve_owner(&mut self, port: PortId) {
        if self.owners.len() <= port.index() {
            self.owners.resize(port.index() + 1, Owner::EMPTY);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The entry of `key`; changes nothing.
    pub(crate) fn lookup(&self, key: &K) -> Option<&Entry<K, V>> {
        self.entry(self.position(key)?)
    }

    /// The entry of `key`, which is now the most recently used of its port.
    pub(crate) fn touch(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let slot = self.position(key)?;
        let owner = self.entry(slot)?.owner;
        self.unlink(slot, owner);
        self.link_newest(slot, owner);
        let entry = self.slots.get_mut(slot as usize)?.entry.as_mut()?;
        entry.last_used = entry.last_used.max(now);
        Some(&mut entry.value)
    }

    /// Puts an entry in, in place of one with the same key; evicts if it must.
    ///
    /// Refused for a port without [`reserve_owner`](Self::reserve_owner) and by a table without room.
    pub(crate) fn insert(&mut self, key: K, owner: PortId, value: V, now: Instant) {
        self.remove(&key);
        let Some(held) = self.owners.get(owner.index()).map(|o| o.len) else { return };
        if held >= self.share {
            self.evict_oldest(owner);
        } else if self.index.len() >= self.cap as usize {
            self.evict_from_fullest();
        }
        let Some(slot) = self.allocate() else { return };
        let entry = Entry { key, value, owner, last_used: now };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.entry = Some(entry);
        }
        self.link_newest(slot, owner);
        let (hasher, slots) = (&self.hasher, &self.slots);
        self.index.insert_unique(hasher.hash_one(key), slot, |&other| hash_of(hasher, slots, other));
    }

    /// Takes the entry of `key` out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<Entry<K, V>> {
        let slot = self.position(key)?;
        self.release(slot)
    }

    /// Takes out what `keep` refuses. Looks at every slot: for configuration changes only.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Entry<K, V>) -> bool) {
        for slot in 0..self.slots.len() {
            let Ok(slot) = u32::try_from(slot) else { return };
            if self.entry(slot).is_some_and(|entry| !keep(entry)) {
                self.release(slot);
            }
        }
    }

    /// Takes out at most `budget` entries unused for `max_age`, port by port. `true` when none is
    /// left, `false` when the budget ended first; the next call goes on there.
    pub(crate) fn expire(&mut self, now: Instant, max_age: Duration, budget: u32) -> bool {
        let mut left = budget;
        for _ in 0..self.owners.len() {
            let Some(owner) = self.owners.get(self.sweep_from) else {
                self.sweep_from = 0;
                continue;
            };
            let oldest = owner.oldest;
            let expired = |e: &Entry<K, V>| now.saturating_since(e.last_used) >= max_age;
            let mut next = oldest;
            while self.entry(next).is_some_and(expired) {
                if left == 0 {
                    return false;
                }
                left -= 1;
                let newer = self.slots.get(next as usize).map_or(NIL, |s| s.newer);
                self.release(next);
                next = newer;
            }
            self.sweep_from = (self.sweep_from + 1) % self.owners.len();
        }
        true
    }

    /// Entries from slot `cursor` on, with their slots. Slots are stable: paging through a changing
    /// table never shows an entry twice, and misses only what came or moved meanwhile.
    pub(crate) fn rows_from(&self, cursor: usize) -> impl Iterator<Item = (usize, &Entry<K, V>)> {
        let slots = self.slots.iter().enumerate().skip(cursor);
        slots.filter_map(|(slot, place)| place.entry.as_ref().map(|entry| (slot, entry)))
    }

    /// Every entry's key and value, in no order. Looks at every slot: for small tables only.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        let entries = self.slots.iter_mut().filter_map(|place| place.entry.as_mut());
        entries.map(|entry| (entry.key, &mut entry.value))
    }

    fn position(&self, key: &K) -> Option<u32> {
        let same = |&slot: &u32| self.entry(slot).is_some_and(|entry| entry.key == *key);
        self.index.find(self.hasher.hash_one(key), same).copied()
    }

    fn entry(&self, slot: u32) -> Option<&Entry<K, V>> {
        self.slots.get(slot as usize)?.entry.as_ref()
    }

    fn evict_oldest(&mut self, owner: PortId) {
        if let Some(list) = self.owners.get(owner.index()) {
            self.release(list.oldest);
        }
    }

    fn evict_from_fullest(&mut self) {
        // A scan of at most `MAX_PORTS` small rows, only when the whole table is full.
        if let Some(fullest) = self.owners.iter().max_by_key(|owner| owner.len) {
            self.release(fullest.oldest);
        }
    }

    fn allocate(&mut self) -> Option<u32> {
        if self.free != NIL {
            let slot = self.free;
            self.free = self.slots.get(slot as usize)?.newer;
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < self.cap)?;
        self.slots.push(Slot { entry: None, older: NIL, newer: NIL });
        Some(slot)
    }

    fn release(&mut self, slot: u32) -> Option<Entry<K, V>> {
        let (key, owner) = self.entry(slot).map(|entry| (entry.key, entry.owner))?;
        if let Ok(found) = self.index.find_entry(self.hasher.hash_one(key), |&other| other == slot) {
            found.remove();
        }
        self.unlink(slot, owner);
        let place = self.slots.get_mut(slot as usize)?;
        place.newer = self.free;
        self.free = slot;
        place.entry.take()
    }

    fn link_newest(&mut self, slot: u32, owner: PortId) {
        let Some(list) = self.owners.get_mut(owner.index()) else { return };
        let before = list.newest;
        list.newest = slot;
        list.len += 1;
        if before == NIL {
            list.oldest = slot;
        }
        if let Some(place) = self.slots.get_mut(slot as usize) {
            (place.older, place.newer) = (before, NIL);
        }
        if let Some(place) = self.slots.get_mut(before as usize) {
            place.newer = slot;
        }
    }

    fn unlink(&mut self, slot: u32, owner: PortId) {
        let Some((older, newer)) = self.slots.get(slot as usize).map(|s| (s.older, s.newer)) else { return };
        if let Some(place) = self.slots.get_mut(older as usize) {
            place.newer = newer;
        }
        if let Some(place) = self.slots.get_mut(newer as usize) {
            place.older = older;
        }
        let Some(list) = self.owners.get_mut(owner.index()) else { return };
        if list.oldest == slot {
            list.oldest = newer;
        }
        if list.newest == slot {
            list.newest = older;
        }
        list.len -= 1;
    }
}

/// Hash of the entry in `slot`, for the index when it rearranges itself.
fn hash_of<K: Hash, V>(hasher: &SeedableRandomState, slots: &[Slot<K, V>], slot: u32) -> u64 {
    let entry = slots.get(slot as usize).and_then(|place| place.entry.as_ref());
    entry.map_or(0, |entry| hasher.hash_one(&entry.key))
}

#[cfg(test)]
mod tests;
