//! The connection table: which packets are translated into what, both ways, shared by all workers and found again by
//! the next process.
//!
//! A connection is one entry with two keys: what its client sends (`original`), and what the server answers to
//! the translated packet (`reply`). The original direction turns the one into the other reversed, and the other way round; all
//! keys are unique, in both roles, so a packet belongs to one connection and goes one way. Whoever would
//! take a reply key that is taken gets another source port ([`source_ports`]).
//!
//! # How it works
//!
//! ```text
//!  hash ─▶ index: one cache line a bucket       memory: an entry's first cache line
//!          | 7 × (tag, slot, direction) |  ──▶  | sequence | state | last seen | keys | checksums |
//!  (this process's own, rebuilt)                (outlives it: `netdev::SharedMemory`)
//! ```
//!
//! Looking up, translating and tracking take no lock: words are atomic, an entry is written behind a sequence number
//! ([`memory`]), a changed state is swapped in ([`state`], [`track`]). A packet whose flow
//! remembers the connection reads one cache line of it; of an established one it writes none, but for once a second. Whoever makes or removes a connection holds the table's lock for a bounded
//! number of steps ([`registry`]); it looks again under the lock, so of two workers with packets of one new
//! connection one makes it and the other is told ([`create::Created::Existing`]): neither packet is lost.
//!
//! A connection is remembered elsewhere by [`ConnectionId`], slot and generation. When it goes, the generation is
//! another, and whoever remembers finds out by reading one word.
//!
//! # Who gets in
//!
//! An entry counts against the share of the port its first packet came in by. A port that has its share loses its oldest that nothing has come of, or that is over
//! ([`state::State::is_evictable`]); when the table is full, the fullest port does, or the newcomer's own. Established ones never go for others:
//! the newcomer is refused by name ([`Refused`]). A part of the table is kept for ports that have little.
//!
//! # Mappings
//!
//! An entry without a destination says what a pod's port appears as outside, and connections through it hold it ([`mapping`]).
//!
//! # A successor
//!
//! finds the entries in the memory file ([`Connections::new`]) and builds index, queues and counts from them: some hundred
//! nanoseconds each. What was half written when the predecessor died is freed. Two processes must not change one memory at
//! the same time: the lock is each process's own.
//!
//! Left out: IPv6 (a second layout), protocols whose ports are not read, sequence numbers (design 0006).

mod above;
mod counters;
mod create;
mod index;
mod key;
mod lock;
mod mapping;
mod memory;
mod recover;
mod registry;
mod replace;
mod rows;
mod source_ports;
mod state;
mod sweep;
mod track;

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::{AtomicU32, AtomicU64};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use protocol::PortId;

use crate::limits::Limits;
use crate::rewrite::{Translation, Tuple};
use crate::service::ActiveConnections;
use crate::time::Instant;
use above::Below;
use index::Index;
use memory::{Entry, Memory, condition_of};
use registry::Registry;
use state::{Condition, IdleTimes};

pub(crate) use counters::ConntrackCounters;
#[cfg(test)]
pub(crate) use create::Created;
pub(crate) use create::{Client, NewConnection, Refused};
pub(crate) use key::{Direction, Key};
pub(crate) use lock::Lock;
pub(crate) use mapping::{End, Mapped};
pub(crate) use replace::Cause;
pub(crate) use state::{State, TcpInvalid};
pub(crate) use track::Tracked;

/// Slots are numbered with 31 bits, and everything is counted in 32.
const MAX_CONNECTIONS: u32 = 1 << 30;

/// So many lines of entries, and as many of the index, are 1 MiB: what cores have at least as second-level cache.
const CACHED: u32 = 1 << 13;

/// See the module.
#[derive(Debug)]
pub(crate) struct Connections {
    /// Not the fast one, under which some seeds put ports that follow each other into one stretch of buckets.
    hasher: SeedableRandomState,
    index: Index,
    memory: Memory,
    registry: Lock<Registry>,
    share: u32,
    reserve: u32,
    mapping_share: u32,
    idle: IdleTimes,
    active: Arc<ActiveConnections>,
    sweep_from: AtomicU32,
    /// The table that this one is only tried over.
    below: Option<Below>,
}

/// A connection, as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId {
    slot: u32,
    generation: NonZeroU32,
}

impl ConnectionId {
    /// Of those that live at one time, each has another.
    pub(crate) const fn slot(self) -> u32 {
        self.slot
    }
}

/// A packet's connection, and which way the packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) id: ConnectionId,
    pub(crate) direction: Direction,
}

/// What sort of connection it is; stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kind {
    /// To a service's backend.
    pub(crate) is_service: bool,
    /// Of a pod with itself.
    pub(crate) is_hairpin: bool,
    /// Not translated: it is there because policies were asked.
    pub(crate) is_plain: bool,
    /// Nobody knows who began it: what policies say of either way holds.
    pub(crate) is_guessed: bool,
}

impl Kind {
    const SERVICE: u64 = 1;
    const HAIRPIN: u64 = 2;
    // A predecessor that does not know them translates such a connection into itself.
    const PLAIN: u64 = 4;
    const GUESSED: u64 = 8;

    const fn from_bits(bits: u64) -> Self {
        Self {
            is_service: bits & Self::SERVICE != 0,
            is_hairpin: bits & Self::HAIRPIN != 0,
            is_plain: bits & Self::PLAIN != 0,
            is_guessed: bits & Self::GUESSED != 0,
        }
    }

    const fn bits(self) -> u64 {
        let service = if self.is_service { Self::SERVICE } else { 0 };
        let hairpin = if self.is_hairpin { Self::HAIRPIN } else { 0 };
        let plain = if self.is_plain { Self::PLAIN } else { 0 };
        service | hairpin | plain | if self.is_guessed { Self::GUESSED } else { 0 }
    }
}

/// A lookup under way, for lookups of many packets in passes, as the flow table's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    key: Key,
    hash: u64,
    slot: u32,
}

impl Connections {
    /// Words of memory that as many connections need as `limits` allow.
    pub(crate) fn words(limits: &Limits) -> usize {
        Memory::words(limits.connections.min(MAX_CONNECTIONS))
    }

    /// Of memory with a table in it.
    pub(crate) fn used_words(words: &'static [AtomicU64]) -> usize {
        Memory::words(Memory::new(words, MAX_CONNECTIONS).used()).min(words.len())
    }

    /// The table in `words`, with what is in it. Memory of another layout or size is as if it were empty.
    /// Connections made from now on are counted in `active`.
    pub(crate) fn new(
        words: &'static [AtomicU64],
        seed: u64,
        limits: &Limits,
        active: Arc<ActiveConnections>,
    ) -> Self {
        let memory = Memory::new(words, limits.connections.min(MAX_CONNECTIONS));
        let capacity = memory.capacity();
        let connections = Self {
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_random()),
            index: Index::new(capacity as usize * 2),
            memory,
            registry: Lock::new(Registry::new(capacity)),
            share: limits.connections_per_port.min(capacity),
            reserve: limits.connection_reserve.min(capacity),
            mapping_share: limits.mappings_per_port,
            idle: IdleTimes {
                services: limits.connection_idle,
                egress: limits.egress_idle,
                port_reuse: limits.port_reuse,
            },
            active,
            sweep_from: AtomicU32::new(0),
            below: None,
        };
        connections.recover();
        connections
    }

    /// The connection a packet belongs to.
    pub(crate) fn lookup(&self, key: &Key) -> Option<Hit> {
        self.find(key, self.hash(key))
    }

    /// The connection of the packet that an ICMP error quotes, and which way that packet went.
    ///
    /// Whoever sends the error saw the packet when it had been translated, so it is the *answer* to it that the
    /// table knows. The quote is turned back into [`Self::tuple`] of the direction given here; the error itself
    /// is translated as a packet of the other direction.
    pub(crate) fn lookup_embedded(&self, quoted: &Key) -> Option<Hit> {
        let answer = self.lookup(&quoted.reversed())?;
        Some(Hit { id: answer.id, direction: answer.direction.reversed() })
    }

    /// First pass: what to look for.
    pub(crate) fn probe(&self, key: &Key) -> Probe {
        Probe { key: *key, hash: self.hash(key), slot: u32::MAX }
    }

    /// Second pass: loads the bucket. Only the cache needs what comes back.
    pub(crate) fn touch_bucket(&self, probe: &Probe) -> u64 {
        self.index.touch(probe.hash)
    }

    /// Third pass: finds where the entry should be.
    pub(crate) fn find_candidate(&self, probe: &mut Probe) {
        probe.slot = self.index.first_candidate(probe.hash).unwrap_or(u32::MAX);
    }

    /// Fourth pass: loads the entry's first line. Only the cache needs what comes back.
    pub(crate) fn touch_candidate(&self, probe: &Probe) -> u64 {
        self.memory.slot(probe.slot).map_or(0, |slot| slot.last_seen().as_nanos())
    }

    /// Fifth pass: as [`Self::lookup`].
    pub(crate) fn lookup_probe(&self, probe: &Probe) -> Option<Hit> {
        self.find(&probe.key, probe.hash)
    }

    /// Loads a connection's first line. Only the cache needs what comes back.
    pub(crate) fn touch(&self, id: ConnectionId) -> u64 {
        self.memory.slot(id.slot).map_or(0, |slot| slot.last_seen().as_nanos())
    }

    /// Whether there are more than a core's own cache holds, so that lookups are worth their passes.
    pub(crate) fn is_large(&self) -> bool {
        self.memory.used() > CACHED
    }

    /// What becomes of the connection's packets of one direction; `None` if it is gone.
    pub(crate) fn translation(&self, id: ConnectionId, direction: Direction) -> Option<Translation> {
        self.memory.slot(id.slot)?.translation(id.generation, direction)
    }

    /// What the connection's packets of one direction are known by; `None` if it is gone.
    pub(crate) fn key(&self, id: ConnectionId, direction: Direction) -> Option<Key> {
        let (generation, key) = self.memory.slot(id.slot)?.key(direction)?;
        (generation == id.generation).then_some(key)
    }

    /// What the connection's packets of one direction say before they are translated.
    pub(crate) fn tuple(&self, id: ConnectionId, direction: Direction) -> Option<Tuple> {
        let (generation, key) = self.memory.slot(id.slot)?.key(direction)?;
        (generation == id.generation).then(|| key.tuple())
    }

    /// What sort of connection it is.
    pub(crate) fn kind(&self, id: ConnectionId) -> Option<Kind> {
        Some(self.memory.slot(id.slot)?.read(id.generation)?.kind)
    }

    /// When its first packet came; `None` if it is gone.
    pub(crate) fn created(&self, id: ConnectionId) -> Option<Instant> {
        Some(self.memory.slot(id.slot)?.read(id.generation)?.created)
    }

    /// The port its first packet came in by, in whose share it counts; `None` if it is gone.
    pub(crate) fn owner(&self, id: ConnectionId) -> Option<PortId> {
        self.memory.slot(id.slot)?.read(id.generation).map(|entry| entry.owner)
    }

    /// Takes the connection out, if it is still there.
    pub(crate) fn remove(&self, id: ConnectionId) -> bool {
        let mut registry = self.registry.hold();
        let is_removed = self.take_out(&mut registry, id);
        registry.counters.removed += u64::from(is_removed);
        is_removed
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.registry.hold().len()
    }

    /// There is none, and none to expire. A word is read, so it may be asked at any time.
    pub(crate) fn is_empty(&self) -> bool {
        self.memory.used() == 0
    }

    pub(crate) fn counters(&self) -> ConntrackCounters {
        self.registry.hold().counters
    }

    fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key)
    }

    fn find(&self, key: &Key, hash: u64) -> Option<Hit> {
        let found = self.index.find(hash, |slot, direction| {
            let (generation, found) = self.memory.slot(slot)?.key(direction)?;
            (found == *key).then_some(Hit { id: ConnectionId { slot, generation }, direction })
        });
        match (&found, &self.below) {
            (None, Some(below)) => self.find_below(below, key),
            (Some(_), _) | (None, None) => found,
        }
    }

    /// The connection in `slot`; of use to those who hold the lock.
    fn occupant(&self, slot: u32) -> Option<ConnectionId> {
        let generation = self.memory.slot(slot)?.live()?;
        Some(ConnectionId { slot, generation })
    }

    fn take_out(&self, registry: &mut Registry, id: ConnectionId) -> bool {
        let Some(slot) = self.memory.slot(id.slot) else { return false };
        let Some(entry) = slot.read(id.generation) else { return false };
        let condition = condition_of(slot.state().load(Acquire), id).and_then(Condition::from_bits);
        if let Some(backend) = entry.backend
            && condition.is_some_and(|condition| condition.state.is_active())
        {
            self.active.closed(backend);
        }
        if entry.is_mapping() {
            registry.count_mapping(entry.owner, false);
        } else if let Some(condition) = condition {
            self.release_mappings(slot, &entry, condition);
        }
        if let Some(below) = &self.below {
            below.forget(entry.original);
        }
        self.unindex(&entry, id.slot);
        slot.vacate();
        registry.give(id.slot, entry.owner);
        true
    }

    /// Enters both keys, or none.
    fn enter(&self, entry: &Entry, slot: u32) -> bool {
        let is_entered = self.index.insert(self.hash(&entry.original), slot, Direction::Original)
            && self.index.insert(self.hash(&entry.reply), slot, Direction::Reply);
        if !is_entered {
            self.unindex(entry, slot);
        }
        is_entered
    }

    fn unindex(&self, entry: &Entry, slot: u32) {
        self.index.remove(self.hash(&entry.original), slot, Direction::Original);
        self.index.remove(self.hash(&entry.reply), slot, Direction::Reply);
    }
}

#[cfg(test)]
mod tests;
