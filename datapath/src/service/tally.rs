//! What became of connections to services, by service and by backend.
//!
//! Plain numbers of one worker, counted where a connection is made or refused. Memory is made when services change.

use protocol::ServiceId;
use protocol::object::DropCount;

use super::Services;
use super::backends::MAX_BACKENDS;
use crate::flow_table::{Sums, Traffic};
use crate::verdict::DropReason;

/// Why connections to a service are refused.
const REASONS: [DropReason; 6] = [
    DropReason::ServiceNoEndpoints,
    DropReason::ServiceNoLocalEndpoints,
    DropReason::ServiceSourceRefused,
    DropReason::ConnectionTableFull,
    DropReason::ConnectionShareUsed,
    DropReason::NatPortsExhausted,
];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    services: Vec<Tally>,
    /// Connections to the backend in each slot there may ever be, in memory that is made by being used.
    backends: Box<[u64]>,
    /// Slots whose backends went with the last change, and whose they were.
    pub(super) retired: Vec<(u32, ServiceId)>,
    /// Services that went with the last change.
    pub(super) gone: Vec<ServiceId>,
}

/// One service.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    connections: u64,
    refused: [u64; REASONS.len()],
    /// Of backends that are gone.
    traffic: Sums,
}

/// What was counted of a service and its backends before a choice that is only tried.
#[derive(Debug)]
pub(super) struct Counted {
    service: Tally,
    backends: Vec<(u32, u64)>,
}

/// What one worker knows of a service, or of one of its backends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Work {
    pub(crate) active: u64,
    pub(crate) connections: u64,
    pub(crate) traffic: Sums,
    pub(crate) refused: Vec<DropCount>,
}

impl Services {
    /// A connection to the backend in `slot` was made.
    pub(crate) fn count_connection(&mut self, service: ServiceId, slot: u32) {
        if let Some(tally) = self.tallies.services.get_mut(service.index()) {
            tally.connections += 1;
        }
        if let Some(connections) = self.tallies.backends.get_mut(slot as usize) {
            *connections += 1;
        }
    }

    /// The backend in `slot` was offered a connection that another one had been counted for.
    pub(crate) fn count_offer(&mut self, slot: u32) {
        if let Some(connections) = self.tallies.backends.get_mut(slot as usize) {
            *connections += 1;
        }
    }

    /// A connection was refused.
    pub(crate) fn count_refused(&mut self, service: ServiceId, reason: DropReason) {
        let tally = self.tallies.services.get_mut(service.index());
        let place = REASONS.iter().position(|known| *known == reason);
        if let (Some(tally), Some(place)) = (tally, place)
            && let Some(count) = tally.refused.get_mut(place)
        {
            *count += 1;
        }
    }

    /// What a choice changes.
    pub(super) fn tally(&self, service: ServiceId) -> Option<Counted> {
        let tallies = &self.tallies;
        let count = |slot: &u32| tallies.backends.get(*slot as usize).map(|count| (*slot, *count));
        let backends = self.slots(service).iter().filter_map(count).collect();
        Some(Counted { service: *tallies.services.get(service.index())?, backends })
    }

    /// As it was.
    pub(super) fn set_tally(&mut self, service: ServiceId, counted: Counted) {
        if let Some(tally) = self.tallies.services.get_mut(service.index()) {
            *tally = counted.service;
        }
        for (slot, count) in counted.backends {
            if let Some(place) = self.tallies.backends.get_mut(slot as usize) {
                *place = count;
            }
        }
    }

    /// After a change: makes room, and puts what was counted of backends that are gone to their services.
    pub(crate) fn settle_tallies(&mut self, traffic: &mut Traffic) {
        let tallies = &mut self.tallies;
        tallies.services.resize(self.rows.len().max(tallies.services.len()), Tally::default());
        if tallies.backends.is_empty() && self.backends.slots() > 0 {
            tallies.backends = vec![0; MAX_BACKENDS as usize].into();
        }
        for (slot, service) in std::mem::take(&mut tallies.retired) {
            let sums = traffic.retire(slot);
            if let Some(tally) = tallies.services.get_mut(service.index()) {
                tally.traffic = tally.traffic.plus(sums);
            }
            // Memory that was never used stays so.
            if let Some(connections) = tallies.backends.get_mut(slot as usize).filter(|count| **count > 0) {
                *connections = 0;
            }
        }
        for service in std::mem::take(&mut tallies.gone) {
            if let Some(tally) = tallies.services.get_mut(service.index()) {
                *tally = Tally::default();
            }
        }
        traffic.reserve(self.backends.slots());
    }

    /// Bytes on the heap that services and backends without traffic cost.
    #[cfg(test)]
    pub(super) fn tallies_heap_size(&self) -> usize {
        self.tallies.services.capacity() * size_of::<Tally>()
    }

    /// Numbers of services from `first` on.
    pub(crate) fn numbers_from(&self, first: usize) -> impl Iterator<Item = ServiceId> + '_ {
        let all = self.rows.iter().enumerate().skip(first);
        all.filter_map(|(number, row)| row.as_ref().and(u32::try_from(number).ok()).map(ServiceId))
    }

    /// Slots of a service's backends.
    pub(crate) fn slots(&self, service: ServiceId) -> &[u32] {
        self.rows.get(service.index()).and_then(Option::as_deref).map_or(&[], |row| &row.slots)
    }

    /// Address and port of the backend in `slot`.
    pub(crate) fn address(&self, slot: u32) -> Option<(std::net::Ipv4Addr, u16)> {
        self.backends.get(slot).map(|backend| (backend.address, backend.port))
    }

    /// Of a service.
    pub(crate) fn work(&self, service: ServiceId, traffic: &Traffic) -> Work {
        let tally = self.tallies.services.get(service.index()).copied().unwrap_or_default();
        let counted = REASONS.iter().zip(tally.refused).filter(|(_, frames)| *frames > 0);
        let refused = counted.map(|(reason, frames)| DropCount { reason: reason.name().to_owned(), frames });
        let slots = self.slots(service).iter();
        slots.fold(
            Work {
                active: 0,
                connections: tally.connections,
                traffic: tally.traffic,
                refused: refused.collect(),
            },
            |sum, slot| Work {
                active: sum.active + u64::from(self.shared.active.of(*slot)),
                traffic: sum.traffic.plus(traffic.of(*slot)),
                ..sum
            },
        )
    }

    /// Of the backend in `slot`.
    pub(crate) fn work_of(&self, slot: u32, traffic: &Traffic) -> Work {
        Work {
            active: self.shared.active.of(slot).into(),
            connections: self.tallies.backends.get(slot as usize).copied().unwrap_or_default(),
            traffic: traffic.of(slot),
            refused: Vec::new(),
        }
    }
}
