//! Which slots are taken, and by whom: what only those know who hold the lock.
//!
//! Each port's entries are a ring, looked at from the one queued first (the CLOCK algorithm): what may not go is queued
//! again, so those that can go are found with bounded work, oldest first.
//!
//! Invariants:
//! - a slot below `links.len()` is free and in the free list, or in the queue of exactly one port;
//! - `held` is the length of each queue.

use protocol::PortId;

use super::counters::ConntrackCounters;

/// No slot; ends lists.
const NIL: u32 = u32::MAX;

/// Entries looked at for one eviction: each is a cache miss. A port with so many established ones in a row gets its
/// next connection a few tries later.
pub(super) const LOOKS: u32 = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Registry {
    links: Vec<Link>,
    capacity: u32,
    free: u32,
    queues: Vec<Queue>,
    // Apart from the queues: the fullest port is found in few cache lines.
    held: Vec<u32>,
    /// Of those, mappings.
    mapped: Vec<u32>,
    /// Ports from here on never had an entry.
    ports: usize,
    len: u32,
    pub(super) counters: ConntrackCounters,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    older: u32,
    /// Also links the free list.
    newer: u32,
}

#[derive(Debug, Clone, Copy)]
struct Queue {
    first: u32,
    last: u32,
}

impl Registry {
    pub(super) fn new(capacity: u32) -> Self {
        let ports = PortId::MAX_PORTS as usize;
        Self {
            links: Vec::with_capacity(capacity as usize),
            capacity,
            free: NIL,
            queues: vec![Queue { first: NIL, last: NIL }; ports],
            held: vec![0; ports],
            mapped: vec![0; ports],
            ports: 0,
            len: 0,
            counters: ConntrackCounters::default(),
        }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Entries of `port`.
    pub(super) fn held(&self, port: PortId) -> u32 {
        self.held.get(port.index()).copied().unwrap_or_default()
    }

    /// Mappings of `port`.
    pub(super) fn mapped(&self, port: PortId) -> u32 {
        self.mapped.get(port.index()).copied().unwrap_or_default()
    }

    /// One more entry of `port` is a mapping, or one less.
    pub(super) fn count_mapping(&mut self, port: PortId, is_more: bool) {
        if let Some(mapped) = self.mapped.get_mut(port.index()) {
            *mapped = if is_more { *mapped + 1 } else { mapped.saturating_sub(1) };
        }
    }

    /// The port with most entries.
    pub(super) fn fullest(&self) -> Option<PortId> {
        most(self.held.get(..self.ports)?)
    }

    /// The port with most mappings.
    pub(super) fn fullest_mapped(&self) -> Option<PortId> {
        most(self.mapped.get(..self.ports)?)
    }

    /// Slots ever used since the table was empty.
    #[expect(clippy::cast_possible_truncation, reason = "at most `capacity`")]
    pub(super) const fn used(&self) -> u32 {
        self.links.len() as u32
    }

    /// A free slot for an entry of `port`.
    pub(super) fn take(&mut self, port: PortId) -> Option<u32> {
        self.queues.get(port.index())?;
        let slot = if let Some(link) = self.links.get(self.free as usize) {
            std::mem::replace(&mut self.free, link.newer)
        } else if self.used() < self.capacity {
            self.links.push(Link { older: NIL, newer: NIL });
            self.used() - 1
        } else {
            return None;
        };
        self.queue(slot, port);
        Some(slot)
    }

    /// After a restart, slots in order: the next holds an entry of `owner`, or nothing.
    pub(super) fn restore(&mut self, owner: Option<PortId>) {
        let slot = self.used();
        self.links.push(Link { older: NIL, newer: NIL });
        match owner {
            Some(port) => self.queue(slot, port),
            None => self.release(slot),
        }
    }

    /// The slot is free again.
    pub(super) fn give(&mut self, slot: u32, port: PortId) {
        self.unqueue(slot, port);
        self.release(slot);
    }

    /// The first of the port's that `may_go`; what may not is queued again, which stops after [`LOOKS`].
    pub(super) fn victim(&mut self, port: PortId, may_go: impl Fn(u32) -> bool) -> Option<u32> {
        for _ in 0..LOOKS.min(self.held(port)) {
            let slot = self.queues.get(port.index())?.first;
            if may_go(slot) {
                return Some(slot);
            }
            self.unqueue(slot, port);
            self.queue(slot, port);
        }
        None
    }

    /// Begins at the first slot again when no entry is left, so that a table that was full once is not
    /// walked to its end for ever. Says whether.
    pub(super) fn shrink(&mut self) -> bool {
        let is_empty = self.len == 0 && !self.links.is_empty();
        if is_empty {
            self.links.clear();
            self.free = NIL;
        }
        is_empty
    }

    fn release(&mut self, slot: u32) {
        let free = self.free;
        if let Some(link) = self.links.get_mut(slot as usize) {
            link.newer = free;
            self.free = slot;
        }
    }

    fn queue(&mut self, slot: u32, port: PortId) {
        let (Some(queue), Some(held)) = (self.queues.get_mut(port.index()), self.held.get_mut(port.index()))
        else {
            return;
        };
        let before = std::mem::replace(&mut queue.last, slot);
        if before == NIL {
            queue.first = slot;
        }
        *held += 1;
        self.len += 1;
        self.ports = self.ports.max(port.index() + 1);
        if let Some(link) = self.links.get_mut(slot as usize) {
            *link = Link { older: before, newer: NIL };
        }
        if let Some(link) = self.links.get_mut(before as usize) {
            link.newer = slot;
        }
    }

    fn unqueue(&mut self, slot: u32, port: PortId) {
        let Some(&Link { older, newer }) = self.links.get(slot as usize) else { return };
        if let Some(link) = self.links.get_mut(older as usize) {
            link.newer = newer;
        }
        if let Some(link) = self.links.get_mut(newer as usize) {
            link.older = older;
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

fn most(counts: &[u32]) -> Option<PortId> {
    // In two steps, as the first has no branch and is vector code.
    let most = counts.iter().copied().max()?;
    let port = counts.iter().rposition(|count| *count == most)?;
    u32::try_from(port).ok().map(PortId)
}
