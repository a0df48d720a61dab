//! The neighbour table: which station has an address.
//!
//! Addresses of ports are static, from the configuration, and are what ARP is answered from.
//! Addresses of stations behind ports without port security are learned from their ARP packets,
//! within a cap and a share per port ([`BoundedTable`]). A learned neighbour never takes a configured
//! address, and changes station at most once per `move_interval`.
//!
//! Keys are [`IpAddr`] so that IPv6 neighbours fit beside IPv4 ones.

use std::net::IpAddr;
use std::time::Duration;

use protocol::{Mac, PortId};

use crate::bounded::BoundedTable;
use crate::limits::Limits;
use crate::replication::News;
use crate::time::Instant;

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neighbor {
    pub(crate) mac: Mac,
    pub(crate) port: PortId,
    pub(crate) is_static: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Neighbors {
    /// Sorted by address.
    fixed: Vec<(IpAddr, Neighbor)>,
    learned: BoundedTable<u128, Learned>,
    move_interval: Duration,
    /// See [`Limits::refresh_interval`].
    pub(crate) refresh_interval: Duration,
}

/// What is remembered about a learned neighbour besides its port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Learned {
    pub(crate) ip: IpAddr,
    pub(crate) mac: Mac,
    /// When the address came to its present station.
    since: Instant,
    /// When the other workers were last told of it.
    told: Instant,
}

impl Neighbors {
    pub(crate) fn new(seed: u64, limits: &Limits) -> Self {
        Self {
            fixed: Vec::new(),
            learned: BoundedTable::new(seed, limits.neighbors, limits.neighbors_per_port),
            move_interval: limits.move_interval,
            refresh_interval: limits.refresh_interval,
        }
    }

    /// Takes over the configured addresses, and forgets learned ones that are now configured or whose
    /// port `may_learn` refuses.
    pub(crate) fn replace_static(
        &mut self,
        mut fixed: Vec<(IpAddr, Neighbor)>,
        may_learn: impl Fn(PortId) -> bool,
    ) {
        fixed.sort_unstable_by_key(|(ip, _)| *ip);
        self.fixed = fixed;
        let fixed = &self.fixed;
        self.learned.retain(|entry| {
            may_learn(entry.owner) && fixed.binary_search_by_key(&entry.value.ip, |(ip, _)| *ip).is_err()
        });
    }

    /// Makes room for what `port` will teach.
    pub(crate) fn reserve(&mut self, port: PortId) {
        self.learned.reserve_owner(port);
    }

    /// Who has `ip`.
    pub(crate) fn lookup(&self, ip: IpAddr) -> Option<Neighbor> {
        self.lookup_static(ip).or_else(|| {
            let entry = self.learned.lookup(&key(ip))?;
            Some(Neighbor { mac: entry.value.mac, port: entry.owner, is_static: false })
        })
    }

    /// Who is configured to have `ip`.
    pub(crate) fn lookup_static(&self, ip: IpAddr) -> Option<Neighbor> {
        let position = self.fixed.binary_search_by_key(&ip, |(ip, _)| *ip).ok()?;
        self.fixed.get(position).map(|(_, neighbor)| *neighbor)
    }

    /// The station `mac` behind `port` says it has `ip`. An address that moves again too soon stays
    /// where it is.
    pub(crate) fn learn(&mut self, ip: IpAddr, mac: Mac, port: PortId, now: Instant) -> News {
        if self.lookup_static(ip).is_some() {
            return News::Known;
        }
        let key = key(ip);
        match self.learned.lookup(&key) {
            Some(entry) if entry.owner == port && entry.value.mac == mac => {
                let refresh = self.refresh_interval;
                let told = self.learned.touch(&key, now).map(|neighbor| &mut neighbor.told);
                News::of_refresh(told, now, refresh)
            }
            Some(entry) if now.saturating_since(entry.value.since) < self.move_interval => News::Known,
            Some(_) | None => {
                self.learned.insert(key, port, Learned { ip, mac, since: now, told: now }, now);
                News::Fresh
            }
        }
    }

    /// See [`BoundedTable::expire`].
    pub(crate) fn expire(&mut self, now: Instant, ageing: Duration, budget: u32) -> bool {
        self.learned.expire(now, ageing, budget)
    }

    /// Learned neighbours.
    pub(crate) fn learned(&self) -> &BoundedTable<u128, Learned> {
        &self.learned
    }

    /// Configured neighbours from position `from` on.
    pub(crate) fn fixed(&self, from: usize) -> impl Iterator<Item = (usize, IpAddr, Neighbor)> {
        self.fixed.iter().enumerate().skip(from).map(|(index, (ip, neighbor))| (index, *ip, *neighbor))
    }
}

/// Both families in one key space, IPv4 as RFC 4291 §2.5.5.2 maps it.
fn key(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
