//! A connection that nothing has come of is given to another server.
//!
//! Between the same client and frontend there is one connection at any moment: the old one goes and the new one comes under one
//! hold of the lock. First of all the old one is marked, so that of two workers one replaces it, and no answer of the old
//! server passes any more.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::key::Key;
use super::memory::{Entry, condition_of, with_generation};
use super::registry::Registry;
use super::state::{Condition, State};
use super::{ConnectionId, Connections, Direction, Hit, NewConnection, Refused};
use crate::time::Instant;

/// What the server that is left has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Said no.
    Refused,
    /// It cannot be reached.
    Unreachable,
    /// Nothing yet: it may still answer.
    Unanswered,
}

impl Connections {
    /// Makes `new` in the place of a connection of the same client, from whose server nothing has come. `None`, and nothing changes, if something
    /// has, or there is no such connection any more. An error leaves none.
    pub(crate) fn replace(
        &self,
        id: ConnectionId,
        new: &NewConnection,
        cause: Cause,
        now: Instant,
    ) -> Result<Option<Hit>, Refused> {
        let original = Key::new(new.protocol, &new.original);
        let hash = self.hash(&original);
        self.index.touch(hash);
        let reply = self.key(id, Direction::Reply);
        let Some(reply) = reply.filter(|_| self.abandon(id)) else { return Ok(None) };
        let mut registry = self.registry.hold();
        self.take_out(&mut registry, id);
        registry.counters.removed += 1;
        if let Some(hit) = self.find(&original, hash) {
            return Ok(Some(hit));
        }
        let made = self.admit(&mut registry, new, original, hash, now);
        match made {
            Ok(_) => {
                registry.counters.created += 1;
                registry.counters.failed_over(cause);
            }
            Err(reason) => registry.counters.refused(reason),
        }
        if cause == Cause::Unanswered {
            self.remember_abandoned(&mut registry, new, reply, now);
        }
        made.map(|id| Some(Hit { id, direction: Direction::Original }))
    }

    /// Whether nothing but its first packet has been seen of it.
    pub(crate) fn is_opening(&self, id: ConnectionId) -> bool {
        self.state(id) == Some(State::SynSent)
    }

    /// From here on nothing comes of it.
    fn abandon(&self, id: ConnectionId) -> bool {
        let Some(slot) = self.memory.slot(id.slot) else { return false };
        let word = slot.state().load(Acquire);
        let condition = condition_of(word, id).and_then(Condition::from_bits);
        let Some(condition) = condition.filter(|condition| condition.state == State::SynSent) else {
            return false;
        };
        let next = Condition { state: State::Abandoned, ..condition };
        let next = with_generation(id.generation, next.bits());
        let is_ours = slot.state().compare_exchange(word, next, AcqRel, Acquire).is_ok();
        if is_ours {
            self.count_change(slot, State::SynSent, State::Abandoned);
        }
        is_ours
    }

    /// So that the late answer of the server is not taken for a packet of no connection, which would pass: an entry that translates
    /// nothing. It takes nobody's room.
    fn remember_abandoned(&self, registry: &mut Registry, new: &NewConnection, reply: Key, now: Instant) {
        let has_room = registry.held(new.owner) < self.share
            && registry.len() < self.memory.capacity().saturating_sub(self.reserve);
        let original = reply.reversed();
        let is_free = self.lookup(&original).is_none() && self.lookup(&reply).is_none();
        if has_room && is_free {
            let entry = Entry::new(original, reply, new.owner, super::Kind::default(), now);
            let is_put = self.put(registry, &entry, Condition::ABANDONED, now).is_ok();
            registry.counters.created += u64::from(is_put);
        }
    }
}
