//! A connection is made: its translated tuple chosen, room found or made.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use protocol::PortId;

use super::key::{Direction, Key};
use super::memory::Entry;
use super::registry::Registry;
use super::source_ports::candidates;
use super::state::Condition;
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
    #[expect(dead_code, reason = "for the uplink")]
    Masqueraded(Ipv4Addr),
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

    fn admit(
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
        let reply = self.reply_key(new, &original, random).ok_or(Refused::PortPoolExhausted)?;
        self.make_room(registry, new.owner)?;
        let number = registry.take(new.owner).ok_or(Refused::TableFull)?;
        let slot = self.memory.slot(number).ok_or(Refused::TableFull)?;
        if self.memory.used() < registry.used() {
            self.memory.set_used(registry.used());
        }
        let entry = Entry { backend: new.backend, ..Entry::new(original, reply, new.owner, new.kind, now) };
        let generation = slot.occupy(&entry, Condition::first(&original).bits(), now);
        if !self.enter(&entry, number) {
            slot.vacate();
            registry.give(number, new.owner);
            return Err(Refused::TableFull);
        }
        if let Some(backend) = new.backend {
            self.active.opened(backend);
        }
        Ok(ConnectionId { slot: number, generation })
    }

    /// What the server will answer, with a source port that makes it nobody else's.
    fn reply_key(&self, new: &NewConnection, original: &Key, random: u64) -> Option<Key> {
        let with_port = |source_port| {
            let client = match new.client {
                Client::Kept => new.original.source,
                Client::Address(address) | Client::Masqueraded(address) => address,
            };
            let (destination, destination_port) = new.server;
            let forward = Tuple { source: client, destination, source_port, destination_port };
            Key::new(new.protocol, &forward.reversed())
        };
        let is_free = |key: &Key| key != original && self.lookup(key).is_none();
        let own = with_port(new.original.source_port);
        let may_keep_port = match new.client {
            Client::Kept | Client::Address(_) => true,
            Client::Masqueraded(_) => new.ports.contains(&new.original.source_port),
        };
        if may_keep_port && is_free(&own) {
            return Some(own);
        }
        candidates(new.original.source_port, new.ports.clone(), random).map(with_port).find(is_free)
    }

    /// Sees to it that the port may have one more, and that there is a slot.
    fn make_room(&self, registry: &mut Registry, port: PortId) -> Result<(), Refused> {
        let held = registry.held(port);
        if held >= self.share {
            let is_made = self.evict(registry, port);
            registry.counters.evicted_share += u64::from(is_made);
            return if is_made { Ok(()) } else { Err(Refused::PortShare) };
        }
        let is_quiet = held < self.share / QUIET_PART;
        let reserve = if is_quiet { 0 } else { self.reserve };
        if registry.len() < self.memory.capacity().saturating_sub(reserve) {
            return Ok(());
        }
        let fullest = registry.fullest().unwrap_or(port);
        let is_made = self.evict(registry, fullest) || (fullest != port && self.evict(registry, port));
        registry.counters.evicted_full += u64::from(is_made);
        if is_made { Ok(()) } else { Err(Refused::TableFull) }
    }

    /// Takes out the oldest of the port's that may go.
    fn evict(&self, registry: &mut Registry, port: PortId) -> bool {
        let victim = registry.victim(port, |slot| {
            let state = self.occupant(slot).and_then(|id| self.state(id));
            state.is_none_or(|state| state.is_evictable())
        });
        victim.and_then(|slot| self.occupant(slot)).is_some_and(|id| self.take_out(registry, id))
    }
}

impl Created {
    /// Whichever it is, and which way this packet goes.
    pub(crate) const fn hit(self) -> Hit {
        match self {
            Self::New(id) => Hit { id, direction: Direction::Original },
            Self::Existing(hit) => hit,
        }
    }
}
