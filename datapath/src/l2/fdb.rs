//! The forwarding database: which port a station is behind (IEEE 802.1Q §8.8).
//!
//! Pods, the gateway and the router are static, from the configuration; traffic neither ages, moves
//! nor evicts them. Stations behind ports without port security are learned from their source
//! addresses, within a cap and a share per port ([`BoundedTable`]), and forgotten after the ageing
//! time. A learned station changes ports at most once per `move_interval`, so a loop cannot make the
//! table oscillate.
//!
//! INVARIANT: no MAC is both static and learned; [`Fdb::replace_static`] evicts, [`Fdb::learn`] refuses.

use std::time::Duration;

use protocol::{Mac, PortId};

use crate::bounded::BoundedTable;
use crate::limits::Limits;
use crate::replication::News;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};

/// Where a station is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Station {
    /// The switch's own router.
    Router,
    /// Configured.
    Static(PortId),
    /// Learned from traffic.
    Learned(PortId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fdb {
    /// Sorted by MAC.
    fixed: Vec<(Mac, Station)>,
    learned: BoundedTable<u64, Learned>,
    move_interval: Duration,
    /// See [`Limits::refresh_interval`].
    pub(crate) refresh_interval: Duration,
}

/// What is remembered about a learned station besides its port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Learned {
    pub(crate) mac: Mac,
    /// When it came to its present port.
    since: Instant,
    /// When the other workers were last told of it.
    told: Instant,
}

impl Fdb {
    pub(crate) fn new(seed: u64, limits: &Limits) -> Self {
        Self {
            fixed: Vec::new(),
            learned: BoundedTable::new(seed, limits.fdb_entries, limits.fdb_entries_per_port),
            move_interval: limits.move_interval,
            refresh_interval: limits.refresh_interval,
        }
    }

    /// Takes over the configured stations, and forgets learned ones that are now configured or whose
    /// port `may_learn` refuses.
    pub(crate) fn replace_static(
        &mut self,
        mut fixed: Vec<(Mac, Station)>,
        may_learn: impl Fn(PortId) -> bool,
    ) {
        fixed.sort_unstable_by_key(|(mac, _)| *mac);
        self.fixed = fixed;
        for (_, station) in &self.fixed {
            if let Station::Static(port) = station {
                self.learned.reserve_owner(*port);
            }
        }
        let fixed = &self.fixed;
        self.learned.retain(|entry| {
            may_learn(entry.owner) && fixed.binary_search_by_key(&entry.value.mac, |(mac, _)| *mac).is_err()
        });
    }

    /// Where `mac` is.
    pub(crate) fn lookup(&self, mac: Mac) -> Option<Station> {
        self.lookup_static(mac)
            .or_else(|| self.learned.lookup(&mac.to_u64()).map(|entry| Station::Learned(entry.owner)))
    }

    /// Where `mac` is configured to be.
    pub(crate) fn lookup_static(&self, mac: Mac) -> Option<Station> {
        let position = self.fixed.binary_search_by_key(&mac, |(mac, _)| *mac).ok()?;
        self.fixed.get(position).map(|(_, station)| *station)
    }

    /// A frame from `mac` came in by `port`. The caller has made sure that it is nobody's configured
    /// address; a frame that moves the station again too soon is dropped.
    pub(crate) fn learn(&mut self, mac: Mac, port: PortId, now: Instant) -> Verdict<News> {
        debug_assert!(self.lookup_static(mac).is_none(), "{mac} is configured");
        let key = mac.to_u64();
        match self.learned.lookup(&key) {
            Some(entry) if entry.owner == port => {
                let refresh = self.refresh_interval;
                let told = self.learned.touch(&key, now).map(|station| &mut station.told);
                return Ok(News::of_refresh(told, now, refresh));
            }
            Some(entry) if now.saturating_since(entry.value.since) < self.move_interval => {
                return Err(DropReason::MacMoveLimited);
            }
            Some(_) | None => self.learned.insert(key, port, Learned { mac, since: now, told: now }, now),
        }
        Ok(News::Fresh)
    }

    /// See [`BoundedTable::expire`].
    pub(crate) fn expire(&mut self, now: Instant, ageing: Duration, budget: u32) -> bool {
        self.learned.expire(now, ageing, budget)
    }

    /// Learned stations.
    pub(crate) fn learned(&self) -> &BoundedTable<u64, Learned> {
        &self.learned
    }

    /// Configured stations from position `from` on.
    pub(crate) fn fixed(&self, from: usize) -> impl Iterator<Item = (usize, Mac, Station)> {
        self.fixed.iter().enumerate().skip(from).map(|(index, (mac, station))| (index, *mac, *station))
    }
}

#[cfg(test)]
mod tests;
