//! Where the entries are, and each port's queue through them.
//!
//! A slot is a pair of cache lines: what tells a flow and what its frames change in the first; in the
//! second, which they only read, what to do with them and whether that still holds.
//!
//! Invariants:
//! - a slot is vacant and in the free list, or occupied and in the queue of exactly one port;
//! - `held` is the length of each queue;
//! - slots are stable: an entry stays in its slot until it goes.

use protocol::PortId;

use super::key::FlowKey;
use super::traffic::Account;
use crate::action::Forward;
use crate::time::Instant;

/// No slot; ends lists.
pub(super) const NIL: u32 = u32::MAX;

/// Generation of a vacant slot. The table's own begins above.
pub(super) const VACANT: u64 = 0;

/// One remembered decision.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(128))]
pub(crate) struct Slot {
    pub(crate) key: FlowKey,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) last_used: Instant,
    /// Used again since it was queued; the first frame is what put it here.
    pub(super) is_used: bool,
    /// Of `frames`, the low half of those that are counted for the backend.
    pub(super) drained_frames: u32,
    // Second cache line.
    pub(super) generation: u64,
    pub(crate) forward: Forward,
    older: u32,
    /// Also links the free list.
    newer: u32,
    /// Whom its packets are counted for.
    pub(super) account: Account,
    /// Of `bytes`, the low half of the 16s that are counted for the backend.
    pub(super) drained_bytes: u32,
}

const _: () = assert!(size_of::<Slot>() == 128 && std::mem::offset_of!(Slot, generation) == 64);

/// From the entry queued first to the one queued last.
#[derive(Debug, Clone, Copy)]
struct Queue {
    first: u32,
    last: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    free: u32,
    queues: Vec<Queue>,
    // Apart from the queues: the fullest port is found in few cache lines.
    held: Vec<u32>,
    len: u32,
    cap: u32,
}

impl Slab {
    pub(super) fn new(cap: u32) -> Self {
        let slots = Vec::with_capacity(cap as usize);
        Self { slots, free: NIL, queues: Vec::new(), held: Vec::new(), len: 0, cap }
    }

    /// Makes a queue for `port`.
    pub(super) fn reserve(&mut self, port: PortId) {
        if self.queues.len() <= port.index() {
            self.queues.resize(port.index() + 1, Queue { first: NIL, last: NIL });
            self.held.resize(port.index() + 1, 0);
        }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len >= self.cap
    }

    /// Entries of `port`; `None` without a queue.
    pub(super) fn held(&self, port: PortId) -> Option<u32> {
        self.held.get(port.index()).copied()
    }

    /// The port with most entries.
    pub(super) fn fullest(&self) -> Option<PortId> {
        let (port, _) = self.held.iter().enumerate().max_by_key(|(_, held)| **held)?;
        u32::try_from(port).ok().map(PortId)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)
    }

    /// Loads both lines of `slot`, for its effect on the cache; what comes back is of no other use.
    pub(super) fn touch(&self, slot: u32) -> u64 {
        self.get(slot).map_or(0, |place| place.frames ^ place.generation)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
    }

    /// Slots from `from` on, vacant ones too.
    pub(super) fn slots_from(&self, from: usize) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate().skip(from)
    }

    /// The entry of `port` that was queued first.
    pub(super) fn first_of(&self, port: PortId) -> Option<u32> {
        self.queues.get(port.index()).map(|queue| queue.first).filter(|slot| *slot != NIL)
    }

    /// Takes a vacant slot for a new entry and queues it. `None` when all are taken, or the port has no
    /// queue.
    pub(super) fn occupy(
        &mut self,
        key: FlowKey,
        forward: Forward,
        generation: u64,
        now: Instant,
    ) -> Option<u32> {
        let port = key.ingress();
        self.held(port)?;
        let entry = Slot {
            key,
            frames: 0,
            bytes: 0,
            last_used: now,
            is_used: false,
            drained_frames: 0,
            generation,
            forward,
            older: NIL,
            newer: NIL,
            account: Account::NOBODY,
            drained_bytes: 0,
        };
        let slot = self.free;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            self.free = place.newer;
            *place = entry;
            self.queue(slot, port);
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < self.cap)?;
        self.slots.push(entry);
        self.queue(slot, port);
        Some(slot)
    }

    /// Takes the entry out.
    pub(super) fn vacate(&mut self, slot: u32) {
        self.unqueue(slot);
        let free = self.free;
        if let Some(place) = self.get_mut(slot) {
            place.generation = VACANT;
            place.key = FlowKey::NONE;
            place.newer = free;
            self.free = slot;
        }
    }

    /// Queues the entry again, behind all others of its port.
    pub(super) fn requeue(&mut self, slot: u32) {
        let Some(port) = self.get(slot).map(|place| place.key.ingress()) else { return };
        self.unqueue(slot);
        self.queue(slot, port);
        if let Some(place) = self.get_mut(slot) {
            place.is_used = false;
        }
    }

    /// Begins at the first slot again when no entry is left, so that a table that was full once is not
    /// walked to its end for ever.
    pub(super) fn shrink(&mut self) {
        if self.len == 0 {
            self.slots.clear();
            self.free = NIL;
        }
    }

    fn queue(&mut self, slot: u32, port: PortId) {
        let (Some(queue), Some(held)) = (self.queues.get_mut(port.index()), self.held.get_mut(port.index()))
        else {
            return;
        };
        let before = queue.last;
        queue.last = slot;
        if before == NIL {
            queue.first = slot;
        }
        *held += 1;
        self.len += 1;
        if let Some(place) = self.get_mut(slot) {
            (place.older, place.newer) = (before, NIL);
        }
        if let Some(place) = self.get_mut(before) {
            place.newer = slot;
        }
    }

    fn unqueue(&mut self, slot: u32) {
        let Some((port, older, newer)) = self.get(slot).map(|s| (s.key.ingress(), s.older, s.newer)) else {
            return;
        };
        if let Some(place) = self.get_mut(older) {
            place.newer = newer;
        }
        if let Some(place) = self.get_mut(newer) {
            place.older = older;
        }
        if let Some(queue) = self.queues.get_mut(port.index()) {
            if queue.first == slot {
                queue.first = newer;
            }
            if queue.last == slot {
                queue.last = older;
            }
        }
        if let Some(held) = self.held.get_mut(port.index()) {
            *held -= 1;
        }
        self.len -= 1;
    }
}
