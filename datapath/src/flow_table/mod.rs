//! The flow table: finished decisions by exact match.
//!
//! A key holds everything a decision looked at and that may differ between frames: where the frame
//! came in, both MACs, both addresses, protocol and ports. What is not in the key is checked for every
//! frame (lengths and checksums at parsing, TTL, MTU and the state of the egress when the decision is
//! carried out), and a packet whose decision depended on more (options, fragments, ICMP other than
//! echo, groups) has no key. Decisions that rest on learned tables are never put here.
//!
//! # How it works
//!
//! ```text
//!  hash ─▶ index: one cache line a bucket        slab: two cache lines a slot
//!          | 8 tags of 32 bits | 8 slots |  ──▶  | key, counters | generation, forward |
//! ```
//!
//! A seeded hash chooses one bucket, and that one line decides: a flow is in it or nowhere, so neither
//! a hit nor a miss probes further, and removing leaves nothing behind. Counting uses the slot that the
//! lookup found. The index is apart from the slots because it is then dense enough to stay in the cache
//! (16 bytes a flow), a miss does not touch the slots at all, and slots can be handed out from the
//! lowest on: what is swept, shown and paged in by the kernel is what was used, not what could be.
//!
//! For a batch the lookup is done in passes: [`FlowTable::probe`] hashes, [`FlowTable::touch_bucket`]
//! loads the buckets, [`FlowTable::find_candidate`] compares tags, [`FlowTable::touch_candidate`] loads
//! the slots. The two that load do nothing else, so that the loads of many frames fit into the
//! processor's window of instructions and are under way at once. They are real loads, because the language has no prefetch without `unsafe`. What was found is a
//! hint: [`FlowTable::lookup`] compares keys, because acting on the frames before may have changed the
//! table.
//!
//! A new configuration begins a new generation; entries of older ones count as absent, all at once and
//! for free, and go when their flow comes again, when room is needed, or when the sweep finds them.
//!
//! # Who goes
//!
//! Each port's entries are queued in order of insertion. To make room the port's first is taken if
//! nothing used it since it was queued beyond the frame that brought it; otherwise it is queued again
//! (the CLOCK algorithm, a queue a port), at most [`SECOND_CHANCES`] times for one insertion. So a scan
//! pushes out its own flows, a hit moves nothing, and the work is bounded. Which port: one that has its
//! share loses its own; when the table is full, the fullest does. A full bucket loses an entry of an
//! older generation, an idle one, one of the same port, or the least recently used, in this order.
//! Every entry that goes is counted by its cause ([`FlowEvictions`]).
//!
//! Memory: 144 bytes a flow; nothing is allocated after [`FlowTable::new`] and [`FlowTable::reserve`].

mod evictions;
mod index;
mod key;
mod slab;
mod traffic;

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use protocol::link::FlowEvictions;
use protocol::{PeerId, PortId};

use crate::action::Forward;
use crate::burst::Burst;
use crate::conntrack::Direction;
use crate::limits::Limits;
use crate::time::Instant;
use crate::wire::Packet;
use evictions::Cause;
use index::Index;
use slab::{NIL, Slab, VACANT};
use traffic::Account;

pub(crate) use key::FlowKey;
pub(crate) use slab::Slot;
pub(crate) use traffic::{Sums, Traffic};

/// Entries one insertion may look at in a queue: each is a cache miss.
const SECOND_CHANCES: usize = 4;

/// Slots the sweep may look at for each entry it may expire; they lie side by side.
const LOOKS_PER_ENTRY: u32 = 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct FlowTable {
    hasher: SeedableRandomState,
    index: Index,
    slab: Slab,
    traffic: Traffic,
    share: u32,
    idle: Duration,
    // INVARIANT: above `VACANT`, and only grows.
    generation: u64,
    /// Entries of this generation.
    live: u32,
    evictions: FlowEvictions,
    sweep_from: u32,
}

/// A lookup under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    key: FlowKey,
    hash: u64,
    /// Where the entry was when it was last looked for, or `NIL`.
    slot: u32,
}

impl Probe {
    /// Whether both look for the same entry.
    pub(crate) fn is_same_flow(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}

/// An entry just found; good until the table changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowId(u32);

impl FlowTable {
    pub(crate) fn new(seed: u64, limits: &Limits) -> Self {
        Self {
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_random()),
            index: Index::new(limits.flows),
            slab: Slab::new(limits.flows),
            traffic: Traffic::default(),
            share: limits.flows_per_port.min(limits.flows),
            idle: limits.flow_idle,
            generation: VACANT + 1,
            live: 0,
            evictions: FlowEvictions::default(),
            sweep_from: 0,
        }
    }

    /// Makes room for the flows that come in by `port`.
    pub(crate) fn reserve(&mut self, port: PortId) {
        self.slab.reserve(port);
    }

    /// Voids every decision: the configuration changed.
    pub(crate) const fn begin_generation(&mut self) {
        self.generation += 1;
        self.live = 0;
    }

    /// First pass: what to look for, if the packet belongs to a flow at all.
    pub(crate) fn probe(&self, ingress: PortId, peer: Option<PeerId>, packet: &Packet) -> Option<Probe> {
        FlowKey::of(ingress, peer, packet).map(|key| self.probe_key(key))
    }

    fn probe_key(&self, key: FlowKey) -> Probe {
        Probe { key, hash: self.hasher.hash_one(key), slot: NIL }
    }

    /// Second pass: loads the bucket. Only the cache needs what comes back.
    pub(crate) fn touch_bucket(&self, probe: &Probe) -> u32 {
        self.index.touch(probe.hash)
    }

    /// Third pass: finds where the entry should be.
    pub(crate) fn find_candidate(&self, probe: &mut Probe) {
        probe.slot = self.index.first_candidate(probe.hash).unwrap_or(NIL);
    }

    /// Fourth pass: loads the slot. Only the cache needs what comes back.
    pub(crate) fn touch_candidate(&self, probe: &Probe) -> u64 {
        self.slab.touch(probe.slot)
    }

    /// What was decided under this configuration.
    pub(crate) fn lookup(&self, probe: &Probe) -> Option<(FlowId, Forward)> {
        let slot = if self.is_at(&probe.key, probe.slot) { probe.slot } else { self.find(probe)? };
        let entry = self.slab.get(slot).filter(|entry| entry.generation == self.generation)?;
        Some((FlowId(slot), entry.forward))
    }

    /// Remembers a decision, in place of an older one; evicts if it must.
    ///
    /// Refused for a port without [`reserve`](Self::reserve) and by a table without room for the port.
    pub(crate) fn insert(&mut self, probe: &Probe, forward: Forward, now: Instant) -> Option<FlowId> {
        let port = probe.key.ingress();
        self.slab.held(port)?;
        if self.share == 0 {
            return None;
        }
        if let Some(slot) = self.find(probe) {
            if let Some(entry) = self.slab.get_mut(slot)
                && entry.generation == self.generation
            {
                entry.forward = forward;
                return Some(FlowId(slot));
            }
            self.release(slot, Cause::Stale);
        }
        if let Some(slots) = self.index.full_bucket(probe.hash) {
            self.evict_from_bucket(slots, port, now);
        }
        if self.slab.held(port)? >= self.share {
            self.evict_from_port(port, Cause::Share, now);
        } else if self.slab.is_full() {
            self.evict_from_port(self.slab.fullest()?, Cause::Full, now);
        }
        let slot = self.slab.occupy(probe.key, forward, self.generation, now)?;
        self.index.insert(probe.hash, slot);
        self.live += 1;
        Some(FlowId(slot))
    }

    /// Frames of the flow were forwarded.
    pub(crate) fn count(&mut self, flow: FlowId, burst: Burst, now: Instant) {
        if let Some(entry) = self.slab.get_mut(flow.0) {
            entry.is_used |= entry.frames > 0;
            entry.frames += burst.frames as u64;
            entry.bytes += burst.bytes as u64;
            entry.last_used = entry.last_used.max(now);
        }
    }

    /// From now on the flow's frames count for the backend in a slot, or for nobody.
    pub(crate) fn charge(&mut self, flow: FlowId, backend: Option<u32>, direction: Direction) {
        let account = backend.map_or(Account::NOBODY, |slot| self.traffic.account(slot, direction));
        if self.slab.get(flow.0).is_some_and(|entry| entry.account != account) {
            self.drain(flow.0);
            if let Some(entry) = self.slab.get_mut(flow.0) {
                entry.account = account;
            }
        }
    }

    /// Counts for its backend what an entry has counted since; of bytes whole 16s, so that two halves of a word are
    /// enough to remember what was counted before, whatever passes between two sweeps.
    fn drain(&mut self, slot: u32) {
        let Some(entry) = self.slab.get_mut(slot) else { return };
        let (frames, bytes) = (low(entry.frames), low(entry.bytes >> 4));
        let more = frames.wrapping_sub(entry.drained_frames);
        let more_bytes = u64::from(bytes.wrapping_sub(entry.drained_bytes)) << 4;
        (entry.drained_frames, entry.drained_bytes) = (frames, bytes);
        self.traffic.add(entry.account, more.into(), more_bytes);
    }

    pub(crate) const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    pub(crate) const fn traffic_mut(&mut self) -> &mut Traffic {
        &mut self.traffic
    }

    /// Takes out at most `budget` entries that are idle or of an older generation. `true` when it came
    /// to the end of the table, `false` when the budget ended first; the next call goes on there.
    pub(crate) fn expire(&mut self, now: Instant, budget: u32) -> bool {
        let mut left = budget;
        for _ in 0..budget.saturating_mul(LOOKS_PER_ENTRY) {
            if self.slab.get(self.sweep_from).is_none() {
                self.sweep_from = 0;
                self.slab.shrink();
                return true;
            }
            self.drain(self.sweep_from);
            if let Some(cause) = self.spent(self.sweep_from, now) {
                if left == 0 {
                    return false;
                }
                left -= 1;
                self.release(self.sweep_from, cause);
            }
            self.sweep_from += 1;
        }
        false
    }

    /// Entries of this configuration.
    pub(crate) const fn live(&self) -> u32 {
        self.live
    }

    /// Nothing to expire, now or later.
    pub(crate) const fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    pub(crate) const fn evictions(&self) -> FlowEvictions {
        self.evictions
    }

    /// Entries of this configuration from slot `cursor` on, with their slots. Slots are stable: paging
    /// through a changing table never shows an entry twice, and misses only what came meanwhile.
    pub(crate) fn rows_from(&self, cursor: usize) -> impl Iterator<Item = (usize, &Slot)> {
        self.slab.slots_from(cursor).filter(|(_, entry)| entry.generation == self.generation)
    }

    fn find(&self, probe: &Probe) -> Option<u32> {
        self.index.candidates(probe.hash).find(|slot| self.is_at(&probe.key, *slot))
    }

    fn is_at(&self, key: &FlowKey, slot: u32) -> bool {
        self.slab.get(slot).is_some_and(|entry| entry.key == *key)
    }

    /// Why nobody would miss the entry, if nobody would.
    fn spent(&self, slot: u32, now: Instant) -> Option<Cause> {
        let entry = self.slab.get(slot).filter(|entry| entry.generation != VACANT)?;
        if entry.generation != self.generation {
            return Some(Cause::Stale);
        }
        (now.saturating_since(entry.last_used) >= self.idle).then_some(Cause::Idle)
    }

    fn evict_from_port(&mut self, port: PortId, cause: Cause, now: Instant) {
        for _ in 0..SECOND_CHANCES {
            let Some(slot) = self.slab.first_of(port) else { return };
            let is_used = self.slab.get(slot).is_some_and(|entry| entry.is_used);
            match self.spent(slot, now) {
                Some(spent) => return self.release(slot, spent),
                None if !is_used => return self.release(slot, cause),
                None => self.slab.requeue(slot),
            }
        }
        if let Some(slot) = self.slab.first_of(port) {
            self.release(slot, cause);
        }
    }

    fn evict_from_bucket(&mut self, slots: [u32; index::WAYS], port: PortId, now: Instant) {
        let spent = slots.iter().find_map(|slot| self.spent(*slot, now).map(|cause| (*slot, cause)));
        let oldest = || {
            slots.into_iter().min_by_key(|slot| {
                self.slab.get(*slot).map(|entry| (entry.key.ingress() != port, entry.last_used))
            })
        };
        let victim = spent.or_else(|| oldest().map(|slot| (slot, Cause::Collision)));
        if let Some((slot, cause)) = victim {
            self.release(slot, cause);
        }
    }

    fn release(&mut self, slot: u32, cause: Cause) {
        self.drain(slot);
        let Some(entry) = self.slab.get(slot) else { return };
        self.traffic.add(entry.account, 0, entry.bytes & 0xf);
        if entry.generation == self.generation {
            self.live -= 1;
        }
        self.index.remove(self.hasher.hash_one(entry.key), slot);
        self.slab.vacate(slot);
        cause.count(&mut self.evictions);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests;
