//! A connection is made: its translated tuple chosen, room found or made.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Acquire;

use protocol::PortId;

use super::key::{Direction, Key};
use super::memory::{Entry, Mappings, condition_of};
use super::registry::Registry;
use super::source_ports::candidates;
use super::state::{Condition, State};
use super::{ConnectionId, Connections, Hit, Kind};
use crate::rewrite::Tuple;
use crate::time::Instant;

/// A port with less than this part of its share is a quiet one, for whom a reserve is kept.
const QUIET_PART: u32 = 16;

/// What a connection is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewConnection {
    pub(crate) protocol: u8,
    /// What its first packet says.
    pub(crate) original: Tuple,
    /// Where that goes instead.
    pub(crate) server: (Ipv4Addr, u16),
    /// Whom it seems to come from.
    pub(crate) client: Client,
    /// Where it came in.
    pub(crate) owner: PortId,
    pub(crate) kind: Kind,
    /// Slot of the backend that it is a connection of.
    pub(crate) backend: Option<u32>,
    /// Source ports to choose from if the client's own is taken.
    pub(crate) ports: RangeInclusive<u16>,
}

/// Whom a connection seems to come from, to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Whom it does come from; by another port only if its own is taken.
    Kept,
    /// This address, of which only the table has connections; by another port only if its own is taken.
    Address(Ipv4Addr),
    /// This address, which the node's kernel has connections of as well: by one of the given ports.
    Masqueraded(Ipv4Addr),
    /// The address and port that its own are mapped to (RFC 4787 REQ-1); if there is no mapping yet, this address and one of
    /// the given ports.
    Mapped(Ipv4Addr),
    /// Whom it does come from: somebody outside, let in by the mapping to where its packet goes, which is the server's.
    Admitted,
    /// Both: from a mapping of this node to another, as [`Client::Mapped`].
    TurnedRound {
        address: Ipv4Addr,
        /// The server's mapping lets it in. If not, it waits until the server sends to its client.
        is_let_in: bool,
    },
    /// Whom it does come from, by its own port or not at all: nothing is translated.
    Plain {
        /// Its first packet was in the middle of it.
        is_picked_up: bool,
    },
}

/// The connection there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// As asked for, and this packet is its first.
    New(ConnectionId),
    /// The packet belongs to one that was there first: another worker had the packet before it.
    Existing(Hit),
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// All slots, or all but the reserve, hold connections that do not go for others.
    TableFull,
    /// The port has its share of such connections.
    PortShare,
    /// No source port is left with which the translated packet is nobody else's.
    PortPoolExhausted,
    /// The port has as many mappings as one may have.
    MappingShare,
    /// There is no mapping that lets it in (any more).
    NoMapping,
}

impl Connections {
    /// Makes a connection, or finds the one that another worker just made of a packet of the same.
    pub(crate) fn create(&self, new: &NewConnection, now: Instant) -> Result<Created, Refused> {
        let original = Key::new(new.protocol, &new.original);
        let hash = self.hash(&original);
        // Waits for memory before it has the lock.
        self.index.touch(hash);
        let mut registry = self.registry.hold();
        if let Some(hit) = self.find(&original, hash) {
            return Ok(Created::Existing(hit));
        }
        let made = self.admit(&mut registry, new, original, hash, now);
        match made {
            Ok(_) => registry.counters.created += 1,
            Err(reason) => registry.counters.refused(reason),
        }
        made.map(Created::New)
    }

    pub(super) fn admit(
        &self,
        registry: &mut Registry,
        new: &NewConnection,
        original: Key,
        hash: u64,
        now: Instant,
    ) -> Result<ConnectionId, Refused> {
        // Another start each time, also after a refusal.
        let tries = registry.counters.created + registry.counters.refused_port_pool_exhausted;
        let random = hash.rotate_left(32).wrapping_add(tries);
        let mappings = self.hold_mappings(registry, new, random, now)?;
        let made = self.admit_through(registry, new, original, mappings, random, now);
        if made.is_err() {
            self.drop_mappings(registry, mappings);
        }
        made
    }

    fn admit_through(
        &self,
        registry: &mut Registry,
        new: &NewConnection,
        original: Key,
        mappings: Mappings,
        random: u64,
        now: Instant,
    ) -> Result<ConnectionId, Refused> {
        let reply = self.reply_key(new, &original, mappings, random).ok_or(Refused::PortPoolExhausted)?;
        self.make_room(registry, new.owner, now)?;
        let entry =
            Entry { backend: new.backend, mappings, ..Entry::new(original, reply, new.owner, new.kind, now) };
        let mut condition = Condition::first(&original, new.client.outward());
        if matches!(new.client, Client::TurnedRound { is_let_in: false, .. }) {
            condition.state = State::Filtered;
        }
        if matches!(new.client, Client::Plain { is_picked_up: true }) {
            condition.state = State::Established;
        }
        let id = self.put(registry, &entry, condition, now)?;
        if let Some(backend) = new.backend {
            self.active.opened(backend);
        }
        Ok(id)
    }

    /// Puts an entry that nobody has the keys of into a slot. There is room for it.
    pub(super) fn put(
        &self,
        registry: &mut Registry,
        entry: &Entry,
        condition: Condition,
        now: Instant,
    ) -> Result<ConnectionId, Refused> {
        let number = registry.take(entry.owner).ok_or(Refused::TableFull)?;
        let slot = self.memory.slot(number).ok_or(Refused::TableFull)?;
        if self.memory.used() < registry.used() {
            self.memory.set_used(registry.used());
        }
        let generation = slot.occupy(entry, condition.bits(), now);
        if !self.enter(entry, number) {
            slot.vacate();
            registry.give(number, entry.owner);
            return Err(Refused::TableFull);
        }
        if entry.is_mapping() {
            registry.count_mapping(entry.owner, true);
        }
        Ok(ConnectionId { slot: number, generation })
    }

    /// What the server will answer, with a source port that makes it nobody else's.
    fn reply_key(&self, new: &NewConnection, original: &Key, mappings: Mappings, random: u64) -> Option<Key> {
        let answer_to = |client| Key::between(new.protocol, new.server, client);
        let is_free = |key: &Key| key != original && self.lookup(key).is_none();
        let own_port = new.original.source_port;
        let (address, may_keep_port) = match new.client {
            // The mapping says both.
            Client::Mapped(_) | Client::TurnedRound { .. } => {
                let mapping =
                    mappings.client.and_then(|id| self.memory.slot(id.slot)?.read(id.generation))?;
                return Some(answer_to(mapping.outside())).filter(is_free);
            }
            Client::Admitted | Client::Plain { .. } => {
                return Some(answer_to((new.original.source, own_port))).filter(is_free);
            }
            Client::Kept => (new.original.source, true),
            Client::Address(address) => (address, true),
            Client::Masqueraded(address) => (address, new.ports.contains(&own_port)),
        };
        let is_masqueraded = matches!(new.client, Client::Masqueraded(_));
        let is_mapped = |port| self.lookup(&Key::outside(new.protocol, (address, port))).is_some();
        let own = may_keep_port.then_some(own_port);
        own.into_iter()
            .chain(candidates(own_port, new.ports.clone(), random))
            .filter(|port| !is_masqueraded || !is_mapped(*port))
            .map(|port| answer_to((address, port)))
            .find(is_free)
    }

    /// Sees to it that the port may have one more, and that there is a slot.
    pub(super) fn make_room(
        &self,
        registry: &mut Registry,
        port: PortId,
        now: Instant,
    ) -> Result<(), Refused> {
        let held = registry.held(port);
        if held >= self.share {
            let gone = self.evict(registry, port, now);
            registry.counters.evicted_share += u64::from(gone);
            return if gone > 0 { Ok(()) } else { Err(Refused::PortShare) };
        }
        let is_quiet = held < self.share / QUIET_PART;
        let reserve = if is_quiet { 0 } else { self.reserve };
        if registry.len() < self.memory.capacity().saturating_sub(reserve) {
            return Ok(());
        }
        let fullest = registry.fullest().unwrap_or(port);
        let mut gone = self.evict(registry, fullest, now);
        if gone == 0 && fullest != port {
            gone = self.evict(registry, port, now);
        }
        registry.counters.evicted_full += u64::from(gone);
        if gone > 0 { Ok(()) } else { Err(Refused::TableFull) }
    }

    /// Takes out the oldest of the port's that may go; how many entries that were.
    fn evict(&self, registry: &mut Registry, port: PortId, now: Instant) -> u32 {
        self.evict_if(registry, port, now, |_| true)
    }

    /// Of those that are `wanted`.
    pub(super) fn evict_if(
        &self,
        registry: &mut Registry,
        port: PortId,
        now: Instant,
        wanted: impl Fn(ConnectionId) -> bool,
    ) -> u32 {
        let victim = self.victim(registry, port, now, wanted);
        victim.map_or(0, |id| self.take_out_whole(registry, id))
    }

    /// The oldest of the port's that is `wanted` and may go.
    pub(super) fn victim(
        &self,
        registry: &mut Registry,
        port: PortId,
        now: Instant,
        wanted: impl Fn(ConnectionId) -> bool,
    ) -> Option<ConnectionId> {
        let may_go = |slot| self.occupant(slot).is_none_or(|id| self.is_evictable(id, now) && wanted(id));
        registry.victim(port, may_go).and_then(|slot| self.occupant(slot))
    }

    fn is_evictable(&self, id: ConnectionId, now: Instant) -> bool {
        let Some(slot) = self.memory.slot(id.slot) else { return false };
        let word = slot.state().load(Acquire);
        let Some(condition) = condition_of(word, id).and_then(Condition::from_bits) else { return true };
        let silent = now.saturating_since(slot.last_seen());
        let age = || slot.last_seen().saturating_since(slot.created());
        condition.state.is_evictable()
            || condition.state == State::Mapping && self.freed_with(id).is_some()
            || condition.is_answered_question(&slot.raw_key(Direction::Original), silent, age)
    }

    /// With the mapping of its client's, if nobody else holds that; how many entries these are.
    pub(super) fn take_out_whole(&self, registry: &mut Registry, id: ConnectionId) -> u32 {
        let freed = self.freed_with(id).filter(|mapping| *mapping != id);
        let gone = self.take_out(registry, id);
        let mapping_gone = freed.is_some_and(|mapping| self.take_out(registry, mapping));
        u32::from(gone) + u32::from(mapping_gone)
    }
}

impl Created {
    pub(crate) const fn is_new(self) -> bool {
        matches!(self, Self::New(_))
    }

    /// Whichever it is, and which way this packet goes.
    pub(crate) const fn hit(self) -> Hit {
        match self {
            Self::New(id) => Hit { id, direction: Direction::Original },
            Self::Existing(hit) => hit,
        }
    }
}
