//! Mappings (RFC 4787 §4.1): which address and port of the node's a pod's address and port appear as outside.
//!
//! A mapping is an entry without a destination, so its keys name nobody at the other end:
//!
//! ```text
//!  original  (protocol, pod, port → 0.0.0.0, 0)      reply  (protocol, 0.0.0.0, 0 → address, external port)
//! ```
//!
//! Keys are unique, so a pod's port has one mapping, whomever it sends to (REQ-1), and an external port is one pod's port
//! (REQ-3). An ICMP query's identifier is its port. Each connection through a mapping is an entry of its own, refers to it and
//! *holds* it: it neither expires nor makes room for others before the last one goes. Then it
//! stays of use as long as that one would have (`until`), and for `Limits::port_reuse` its port is nobody else's
//! (RFC 6888 REQ-8): it is found again by its own pod, admits nobody, and goes if room or its port is wanted.
//!
//! What nothing came of, and what is over, goes with its mapping when others need the room. Where no port is left, the
//! port of such a one is taken, of the pod with most mappings first.
//!
//! References carry a generation, as all do: a mapping may be taken out while it is held, if its address is the switch's no more.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;

use super::create::{Client, NewConnection, Refused};
use super::key::{Direction, Key};
use super::memory::{Entry, Mappings, Slot};
use super::registry::Registry;
use super::source_ports::candidates;
use super::state::{Condition, Outward, State};
use super::{ConnectionId, Connections, Kind};
use crate::time::Instant;

/// Address and port of a mapping's, inside or outside.
pub(crate) type End = (Ipv4Addr, u16);

/// A mapping as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) id: ConnectionId,
    pub(crate) inside: End,
    pub(crate) outside: End,
    /// Whether outsiders may come in by it, if they may at all.
    pub(crate) is_open: bool,
}

impl Connections {
    /// The mapping of a pod's address and port.
    pub(crate) fn mapping_of(&self, protocol: u8, inside: End, now: Instant) -> Option<Mapped> {
        self.mapped(self.lookup(&Key::inside(protocol, inside))?.id, now)
    }

    /// The mapping to an address and port of the node's.
    pub(crate) fn mapping_to(&self, protocol: u8, outside: End, now: Instant) -> Option<Mapped> {
        self.mapped(self.lookup(&Key::outside(protocol, outside))?.id, now)
    }

    /// What the connection's client and server appear as, if they have mappings that it goes through.
    pub(crate) fn outsides(&self, id: ConnectionId) -> [Option<End>; 2] {
        let entry = self.memory.slot(id.slot).and_then(|slot| slot.read(id.generation));
        let Some(entry) = entry else { return [None; 2] };
        let (original, reply) = (entry.original.tuple(), entry.reply.tuple());
        let client = entry.mappings.client.map(|_| (reply.destination, reply.destination_port));
        let server = entry.mappings.server.map(|_| (original.destination, original.destination_port));
        [client, server]
    }

    fn mapped(&self, id: ConnectionId, now: Instant) -> Option<Mapped> {
        let slot = self.memory.slot(id.slot)?;
        let entry = slot.read(id.generation)?;
        let is_tcp = entry.original.is_tcp();
        let window = if is_tcp { self.idle.egress.tcp_established } else { self.idle.egress.replied };
        let is_in_use = slot.held().load(Relaxed) > 0 || now < slot.until();
        // Not what came from outside counts here, but the last packet of the pod's.
        let is_open = is_in_use && now.saturating_since(slot.last_seen()) < window;
        Some(Mapped { id, inside: entry.inside(), outside: entry.outside(), is_open })
    }

    /// Takes note of a packet that went out by a mapping of the connection's.
    pub(super) fn keep_mapping(&self, slot: Slot, condition: Condition, way: Direction, now: Instant) {
        if !condition.outward.contains(way) {
            return;
        }
        let mappings = slot.mappings();
        let mapping = match way {
            Direction::Original => mappings.client,
            Direction::Reply => mappings.server,
        };
        if let Some(slot) = self.mapping_slot(mapping) {
            slot.set_last_seen(now.max(slot.last_seen()));
        }
    }

    /// Finds the mappings a new connection goes through, makes its client's if there is none, and holds them.
    pub(super) fn hold_mappings(
        &self,
        registry: &mut Registry,
        new: &NewConnection,
        random: u64,
        now: Instant,
    ) -> Result<Mappings, Refused> {
        let server = match new.client {
            Client::Admitted | Client::TurnedRound { .. } => {
                let outside = (new.original.destination, new.original.destination_port);
                let mapping = self.mapping_to(new.protocol, outside, now);
                // Looked at before the lock was held; it may be another by now.
                let mapping = mapping.filter(|mapping| mapping.inside == new.server);
                Some(mapping.ok_or(Refused::NoMapping)?.id)
            }
            Client::Kept
            | Client::Address(_)
            | Client::Masqueraded(_)
            | Client::Mapped(_)
            | Client::Plain { .. } => None,
        };
        self.hold(server);
        let client = match new.client {
            Client::Mapped(address) | Client::TurnedRound { address, .. } => {
                self.client_mapping(registry, new, address, random, now).map(Some)
            }
            Client::Kept
            | Client::Address(_)
            | Client::Masqueraded(_)
            | Client::Admitted
            | Client::Plain { .. } => Ok(None),
        };
        match client {
            Ok(client) => {
                self.hold(client);
                Ok(Mappings { client, server })
            }
            Err(reason) => {
                self.let_go(server, None);
                Err(reason)
            }
        }
    }

    /// The connection they were held for was not made, so one that was made for it is of no use.
    pub(super) fn drop_mappings(&self, registry: &mut Registry, mappings: Mappings) {
        self.let_go(mappings.client, None);
        self.let_go(mappings.server, None);
        if let Some(slot) = self.mapping_slot(mappings.client)
            && let Some(id) = mappings.client
            && slot.held().load(Relaxed) == 0
            && slot.until() <= slot.created()
        {
            registry.counters.removed += u64::from(self.take_out(registry, id));
        }
    }

    /// A connection went: its mappings are of use for as long as it would have been.
    pub(super) fn release_mappings(&self, slot: Slot, entry: &Entry, condition: Condition) {
        let Mappings { client, server } = entry.mappings;
        if client.is_none() && server.is_none() {
            return;
        }
        let age = || slot.last_seen().saturating_since(entry.created);
        let until = slot.last_seen() + condition.idle(&entry.original, age, &self.idle);
        self.let_go(client, Some(until));
        // What its pod never answered is nothing to it.
        let is_answered = !matches!(condition.state, State::Unreplied | State::SynSent | State::Filtered);
        self.let_go(server, is_answered.then_some(until));
    }

    /// The mapping that goes if this entry does, to make room.
    pub(super) fn freed_with(&self, id: ConnectionId) -> Option<ConnectionId> {
        let slot = self.memory.slot(id.slot)?;
        if self.state(id)? == State::Mapping {
            return (slot.held().load(Relaxed) == 0).then_some(id);
        }
        let client = slot.mappings().client?;
        let held = self.mapping_slot(Some(client))?.held().load(Relaxed);
        (held == 1).then_some(client)
    }

    fn client_mapping(
        &self,
        registry: &mut Registry,
        new: &NewConnection,
        address: Ipv4Addr,
        random: u64,
        now: Instant,
    ) -> Result<ConnectionId, Refused> {
        let inside = Key::inside(new.protocol, (new.original.source, new.original.source_port));
        let id = match self.lookup(&inside) {
            Some(hit) => hit.id,
            None => self.make_mapping(registry, new, inside, address, random, now)?,
        };
        if let Some(slot) = self.mapping_slot(Some(id)) {
            slot.set_last_seen(now.max(slot.last_seen()));
        }
        Ok(id)
    }

    fn make_mapping(
        &self,
        registry: &mut Registry,
        new: &NewConnection,
        inside: Key,
        address: Ipv4Addr,
        random: u64,
        now: Instant,
    ) -> Result<ConnectionId, Refused> {
        if registry.mapped(new.owner) >= self.mapping_share {
            let gone = self.evict_if(registry, new.owner, now, |id| self.freed_with(id).is_some());
            registry.counters.evicted_share += u64::from(gone);
            if gone == 0 {
                return Err(Refused::MappingShare);
            }
        }
        let own = new.original.source_port;
        let own_first = new.ports.contains(&own).then_some(own).filter(|own| *own != 0);
        let port = own_first
            .into_iter()
            .chain(candidates(own, new.ports.clone(), random))
            .find(|port| self.is_port_free(new, (address, *port)))
            .or_else(|| self.take_port(registry, new, address, now))
            .ok_or(Refused::PortPoolExhausted)?;
        self.make_room(registry, new.owner, now)?;
        let outside = Key::outside(new.protocol, (address, port));
        let entry = Entry::new(inside, outside, new.owner, Kind::default(), now);
        let id = self.put(registry, &entry, Condition::MAPPING, now)?;
        registry.counters.created += 1;
        Ok(id)
    }

    /// Neither a mapping's, nor that of a connection to this server by the address without one.
    fn is_port_free(&self, new: &NewConnection, outside: End) -> bool {
        self.lookup(&Key::outside(new.protocol, outside)).is_none()
            && self.lookup(&Key::between(new.protocol, new.server, outside)).is_none()
    }

    /// A port of `address` whose mapping goes for another's.
    fn take_port(
        &self,
        registry: &mut Registry,
        new: &NewConnection,
        address: Ipv4Addr,
        now: Instant,
    ) -> Option<u16> {
        let outside = |id: ConnectionId| Some(self.mapped(self.freed_with(id)?, now)?.outside);
        let is_wanted = |id: ConnectionId| {
            let protocol = self.memory.slot(id.slot).map(|slot| slot.raw_key(Direction::Original).protocol());
            protocol == Some(new.protocol)
                && outside(id).is_some_and(|outside| {
                    let is_other = self.lookup(&Key::between(new.protocol, new.server, outside));
                    let is_free = is_other.is_none_or(|hit| hit.id == id);
                    outside.0 == address && new.ports.contains(&outside.1) && is_free
                })
        };
        for port in [registry.fullest_mapped().unwrap_or(new.owner), new.owner] {
            let Some(victim) = self.victim(registry, port, now, is_wanted) else { continue };
            let (_, external) = outside(victim)?;
            let gone = self.take_out_whole(registry, victim);
            registry.counters.evicted_full += u64::from(gone);
            return Some(external);
        }
        None
    }

    fn hold(&self, mapping: Option<ConnectionId>) {
        if let Some(slot) = self.mapping_slot(mapping) {
            slot.held().fetch_add(1, Relaxed);
        }
    }

    fn let_go(&self, mapping: Option<ConnectionId>, until: Option<Instant>) {
        let Some(slot) = self.mapping_slot(mapping) else { return };
        let held = slot.held().load(Relaxed);
        slot.held().store(held.saturating_sub(1), Relaxed);
        if let Some(until) = until {
            slot.set_until(until.max(slot.until()));
        }
    }

    fn mapping_slot(&self, mapping: Option<ConnectionId>) -> Option<Slot> {
        let id = mapping?;
        self.memory.slot(id.slot).filter(|slot| slot.live() == Some(id.generation))
    }

    /// After a restart: holds what the connection goes through. `false` if that is not what its keys say.
    pub(super) fn hold_again(&self, entry: &Entry, condition: Condition) -> bool {
        let Mappings { client, server } = entry.mappings;
        let outward = condition.outward;
        let is_as_said = client.is_some() == outward.contains(Direction::Original)
            && server.is_some() == outward.contains(Direction::Reply);
        let (original, reply) = (entry.original.tuple(), entry.reply.tuple());
        let client_ends =
            ((original.source, original.source_port), (reply.destination, reply.destination_port));
        let server_ends =
            ((reply.source, reply.source_port), (original.destination, original.destination_port));
        let is_mapping = |id: Option<ConnectionId>, ends: (End, End)| {
            let Some(id) = id else { return true };
            let mapping = self.mapping_slot(Some(id)).and_then(|slot| slot.read(id.generation));
            mapping.is_some_and(|mapping| {
                mapping.is_mapping()
                    && mapping.original.protocol() == entry.original.protocol()
                    && (mapping.inside(), mapping.outside()) == ends
            })
        };
        let is_whole = is_as_said && is_mapping(client, client_ends) && is_mapping(server, server_ends);
        if is_whole {
            self.hold(client);
            self.hold(server);
        }
        is_whole
    }
}

impl Client {
    /// Which packets of its connections go out through a mapping.
    pub(super) const fn outward(self) -> Outward {
        match self {
            Self::Kept | Self::Address(_) | Self::Masqueraded(_) | Self::Plain { .. } => Outward::NONE,
            Self::Mapped(_) => Outward::ORIGINAL,
            Self::Admitted => Outward::REPLY,
            Self::TurnedRound { .. } => Outward::BOTH,
        }
    }
}
