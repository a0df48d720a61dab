//! Which of a service's endpoints a request goes to.
//!
//! Endpoints are shared by all workers; what is known about them is a few atomics: requests under way,
//! failures in a row, and until when an endpoint that failed too often is left alone. Health is passive:
//! nothing is probed. An endpoint that was left alone is tried again when its time is over, and where
//! *all* are left alone, the choice is made as if none were: a guess beats a certain error.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::settings::Options;

/// No ejection is longer than so many times the first.
const MAX_EJECTION_FACTOR: u32 = 6;

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Policy {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way; in turn among equals.
    LeastOutstanding,
    /// By a hash of something that stays the same, so that the choice does.
    Hash(u64),
}

/// One address of a service.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    outstanding: AtomicU32,
    failures: AtomicU32,
    /// How often it was ejected without a success in between.
    ejections: AtomicU32,
    ejected_until_ms: AtomicU64,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            outstanding: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
        }
    }

    /// It answered.
    pub(crate) fn succeeded(&self) {
        // Mostly nothing to write: the cache line stays shared between workers.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// It could not be reached, or broke off. True if it is left alone from now on.
    pub(crate) fn failed(&self, options: &Options, now_ms: u64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if options.eject_after == 0 || failures < options.eject_after || self.is_ejected(now_ms) {
            return false;
        }
        let factor =
            self.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1).min(MAX_EJECTION_FACTOR);
        let for_ms = u64::try_from(options.eject_for.as_millis()).unwrap_or(u64::MAX);
        let until = now_ms.saturating_add(for_ms.saturating_mul(u64::from(factor)));
        self.ejected_until_ms.store(until, Ordering::Relaxed);
        true
    }

    fn is_ejected(&self, now_ms: u64) -> bool {
        self.ejected_until_ms.load(Ordering::Relaxed) > now_ms
    }

    /// Requests under way.
    pub(crate) fn load(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// A stable number for this address, the same in every process: what affinity cookies carry.
    pub(crate) fn token(&self) -> u64 {
        let port = u64::from(self.address.port());
        match self.address.ip() {
            IpAddr::V4(ip) => mix(u64::from(u32::from(ip)) << 16 | port),
            IpAddr::V6(ip) => {
                let [high, low] = halves(u128::from(ip));
                mix(mix(high) ^ low.rotate_left(16) ^ port)
            }
        }
    }
}

/// A request under way to an endpoint; dropped when it is over.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Endpoint>);

impl Lease {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The endpoints of a service's port.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    list: Vec<Arc<Endpoint>>,
    turn: AtomicUsize,
}

impl Endpoints {
    /// These, with what is known about those among them that were there before.
    pub(crate) fn updated(addresses: &[(IpAddr, u16)], before: Option<&Self>) -> Self {
        let known = |address: SocketAddr| {
            before.and_then(|b| b.list.iter().find(|e| e.address == address)).map(Arc::clone)
        };
        let list = addresses
            .iter()
            .map(|&(ip, port)| SocketAddr::new(ip, port))
            .map(|address| known(address).unwrap_or_else(|| Arc::new(Endpoint::new(address))))
            .collect();
        let turn = before.map_or(0, |b| b.turn.load(Ordering::Relaxed));
        Self { list, turn: AtomicUsize::new(turn) }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The endpoint that an affinity cookie names, if it still is one and is well.
    pub(crate) fn by_token(&self, token: u64, now_ms: u64) -> Option<Lease> {
        self.list.iter().find(|e| e.token() == token && !e.is_ejected(now_ms)).map(Lease::new)
    }

    /// Chooses one that is not among `tried`, unless all are.
    pub(crate) fn choose(&self, policy: Policy, tried: &[SocketAddr], now_ms: u64) -> Option<Lease> {
        let fresh = |e: &Endpoint| !tried.contains(&e.address);
        let well = |e: &Endpoint| !e.is_ejected(now_ms);
        self.choose_among(policy, |e| fresh(e) && well(e))
            .or_else(|| self.choose_among(policy, fresh))
            .or_else(|| self.choose_among(policy, |_| true))
            .map(Lease::new)
    }

    fn choose_among(&self, policy: Policy, fits: impl Fn(&Endpoint) -> bool) -> Option<&Arc<Endpoint>> {
        match policy {
            Policy::RoundRobin => self.in_turn().find(|e| fits(e)),
            // The first of the least: `min_by_key` keeps it, and the turn makes equals take turns.
            Policy::LeastOutstanding => self.in_turn().filter(|e| fits(e)).min_by_key(|e| e.load()),
            // Rendezvous hashing: an endpoint that goes moves only its own share.
            Policy::Hash(key) => self.list.iter().filter(|e| fits(e)).max_by_key(|e| mix(key ^ e.token())),
        }
    }

    /// All of them, beginning with the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let start = turn.checked_rem(self.list.len()).unwrap_or(0);
        let (before, after) = self.list.split_at_checked(start).unwrap_or((&[], &self.list));
        after.iter().chain(before)
    }
}

/// Spreads a number's bits (splitmix64's finaliser).
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The same for bytes.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, &byte| mix(hash ^ u64::from(byte)))
}

fn halves(x: u128) -> [u64; 2] {
    let bytes = x.to_be_bytes();
    let half =
        |from: usize| bytes.iter().skip(from).take(8).fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
    [half(0), half(8)]
}

#[cfg(test)]
mod tests;
