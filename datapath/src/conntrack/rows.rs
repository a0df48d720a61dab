//! Connections as rows of a table, for the control process. Allocates.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use protocol::PortId;
use protocol::object::{ConnTuple, Connection};

#[cfg(test)]
use super::key::Key;
use super::memory::{Entry, condition_of};
use super::state::Condition;
use super::{ConnectionId, Connections};
use crate::rewrite::Tuple;
use crate::time::{Instant, millis};

/// One connection at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    entry: Entry,
    condition: Condition,
    last_seen: Instant,
    /// Silence after which it goes.
    idle: Duration,
}

impl Connections {
    /// Connections from slot `cursor` on, with their slots. Slots are stable: paging through a changing table
    /// never shows a connection twice, and misses only what came meanwhile.
    pub(crate) fn rows_from(&self, cursor: u32) -> impl Iterator<Item = (u32, Row)> + '_ {
        (cursor..self.memory.used()).filter_map(|number| {
            let generation = self.memory.slot(number)?.live()?;
            Some((number, self.row(number, generation)?))
        })
    }

    fn row(&self, number: u32, generation: NonZeroU32) -> Option<Row> {
        let (slot, id) = (self.memory.slot(number)?, ConnectionId { slot: number, generation });
        let condition = Condition::from_bits(condition_of(slot.state().load(Acquire), id)?)?;
        let last_seen = slot.last_seen();
        let entry = slot.read(generation)?;
        let age = || last_seen.saturating_since(entry.created);
        let idle = condition.idle(&entry.original, age, &self.idle);
        Some(Row { entry, condition, last_seen, idle })
    }
}

impl Row {
    /// Whose share it counts in.
    pub(crate) const fn owner(&self) -> PortId {
        self.entry.owner
    }

    #[cfg(test)]
    pub(crate) const fn original(&self) -> Key {
        self.entry.original
    }

    /// For users; its owner's name is the switch's to know.
    pub(crate) fn object(&self, owner_name: String, now: Instant) -> Connection {
        let silent = now.saturating_since(self.last_seen);
        Connection {
            protocol: self.entry.original.protocol(),
            original: tuple(self.entry.original.tuple()),
            reply: tuple(self.entry.reply.tuple()),
            state: self.condition.state.name().to_owned(),
            age_ms: millis(now.saturating_since(self.entry.created)),
            idle_ms: millis(silent),
            timeout_ms: millis((self.last_seen + self.idle).saturating_since(now)),
            owner: self.entry.owner,
            owner_name,
            is_service: self.entry.kind.is_service,
            is_hairpin: self.entry.kind.is_hairpin,
        }
    }
}

fn tuple(tuple: Tuple) -> ConnTuple {
    ConnTuple {
        source: tuple.source.into(),
        source_port: tuple.source_port,
        destination: tuple.destination.into(),
        destination_port: tuple.destination_port,
    }
}
