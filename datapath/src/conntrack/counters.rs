//! What became of connections, counted; and who was refused one.

use protocol::link::{ConnectionEvents, FailOvers};

use super::create::Refused;
use super::replace::Cause;

/// Since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ConntrackCounters {
    /// Made here.
    pub(crate) created: u64,
    /// Found in the memory when the process began.
    pub(crate) recovered: u64,
    /// Found there half written or damaged, and freed.
    pub(crate) damaged: u64,
    /// Silent for too long.
    pub(crate) expired: u64,
    /// Taken out by the caller.
    pub(crate) removed: u64,
    /// Went for another of their own port, which had its share.
    pub(crate) evicted_share: u64,
    /// Went because the table was full.
    pub(crate) evicted_full: u64,
    /// Refused: the table is full of connections that do not go.
    pub(crate) refused_table_full: u64,
    /// Refused: the port has its share of such.
    pub(crate) refused_port_share: u64,
    /// Refused: no source port left for the translated packet.
    pub(crate) refused_port_pool_exhausted: u64,
    /// Given to another server, by cause.
    pub(crate) fail_overs: FailOvers,
}

impl ConntrackCounters {
    /// As control hears it.
    pub(crate) const fn events(self) -> ConnectionEvents {
        ConnectionEvents {
            created: self.created,
            recovered: self.recovered,
            damaged: self.damaged,
            expired: self.expired,
            removed: self.removed,
            evicted_share: self.evicted_share,
            evicted_full: self.evicted_full,
            refused_full: self.refused_table_full,
            refused_share: self.refused_port_share,
            refused_ports: self.refused_port_pool_exhausted,
        }
    }

    pub(super) const fn failed_over(&mut self, cause: Cause) {
        match cause {
            Cause::Refused => self.fail_overs.refused += 1,
            Cause::Unreachable => self.fail_overs.unreachable += 1,
            Cause::Unanswered => self.fail_overs.unanswered += 1,
        }
    }

    pub(super) const fn refused(&mut self, reason: Refused) {
        match reason {
            Refused::TableFull => self.refused_table_full += 1,
            Refused::PortShare | Refused::MappingShare => self.refused_port_share += 1,
            Refused::PortPoolExhausted => self.refused_port_pool_exhausted += 1,
            // For want of a mapping, not of room.
            Refused::NoMapping => {}
        }
    }
}
