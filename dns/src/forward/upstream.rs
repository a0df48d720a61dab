//! The servers of a domain, and the order in which they are asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::Deserialize;

use crate::metrics::Answers;
use crate::wire::name::{Name, QueryName};

/// Failed checks after which a server is not asked, as CoreDNS's `max_fails`.
pub(super) const MAX_FAILS: u32 = 2;

/// In which order servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Any.
    #[default]
    Random,
    /// Each first in turn.
    RoundRobin,
    /// As they are written.
    Sequential,
}

/// A server for names outside.
pub struct Upstream {
    address: SocketAddr,
    /// Asked to see whether it asks us; another one each time, so that nobody on the way knows an answer.
    probe: Mutex<Name>,
    /// The probe has come to us.
    is_caught: AtomicBool,
    fails: AtomicU32,
    pub(super) is_checked: AtomicBool,
    is_loop: AtomicBool,
    /// Questions it was asked.
    pub requests: AtomicU64,
    /// Questions it did not answer, or not well.
    pub failures: AtomicU64,
    /// Checks it did not answer.
    pub failed_checks: AtomicU64,
    /// How long its answers took.
    pub answers: Answers,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            probe: Mutex::new(Name::root()),
            is_caught: AtomicBool::new(false),
            fails: AtomicU32::new(0),
            is_checked: AtomicBool::new(false),
            is_loop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failed_checks: AtomicU64::new(0),
            answers: Answers::default(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is worth asking.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.fails.load(Ordering::Relaxed) < MAX_FAILS && !self.is_loop.load(Ordering::Relaxed)
    }

    /// A name to ask it for, that nobody else has ever asked for.
    pub(super) fn begin_probe(&self) -> Name {
        let label = format!("{:016x}.{:016x}", rand::random::<u64>(), rand::random::<u64>());
        // Such a name has nothing in it that could be too long.
        let name = Name::from_text(&label).unwrap_or_else(Name::root);
        *self.probe.lock() = name.clone();
        self.is_caught.store(false, Ordering::Relaxed);
        name
    }

    /// Says whether it leads to us. One that could not be asked is what it was.
    pub(super) fn end_probe(&self, answered: bool) -> bool {
        let is_mended = answered && !self.is_caught.load(Ordering::Relaxed);
        if is_mended && self.is_loop.swap(false, Ordering::Relaxed) {
            tracing::info!(upstream = %self.address, "does not ask us any more");
        }
        self.is_loop.load(Ordering::Relaxed)
    }

    /// Whether `name` is its probe, which has come back to us: it leads to ourselves.
    pub(super) fn caught(&self, name: &Name) -> bool {
        let is_probe = *name == *self.probe.lock() && *name != Name::root();
        if is_probe {
            self.is_caught.store(true, Ordering::Relaxed);
            if !self.is_loop.swap(true, Ordering::Relaxed) {
                tracing::error!(upstream = %self.address, "asks us what we ask it: a loop; it is not asked until that ends");
            }
        }
        is_probe
    }

    pub(super) fn on_check(&self, answered: bool) {
        if answered {
            if self.fails.swap(0, Ordering::Relaxed) >= MAX_FAILS {
                tracing::info!(upstream = %self.address, "answers again");
            }
            return;
        }
        self.failed_checks.fetch_add(1, Ordering::Relaxed);
        if self.fails.fetch_add(1, Ordering::Relaxed) + 1 == MAX_FAILS {
            tracing::warn!(upstream = %self.address, "does not answer; it is not asked until it does");
        }
    }
}

/// The servers of a domain.
pub(super) struct Pool {
    domain: QueryName,
    upstreams: Vec<Arc<Upstream>>,
    policy: Policy,
    next: AtomicUsize,
}

impl Pool {
    pub(super) fn new(domain: &Name, servers: &[SocketAddr], policy: Policy) -> Option<Self> {
        let upstreams = servers.iter().map(|address| Arc::new(Upstream::new(*address))).collect();
        Some(Self { domain: QueryName::of(domain)?, upstreams, policy, next: AtomicUsize::new(0) })
    }

    pub(super) fn domain(&self) -> &QueryName {
        &self.domain
    }

    pub(super) fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Those worth asking, in the order to ask them.
    pub(super) fn candidates(&self) -> Vec<Arc<Upstream>> {
        let mut usable: Vec<_> =
            self.upstreams.iter().filter(|upstream| upstream.is_usable()).map(Arc::clone).collect();
        let first = match self.policy {
            Policy::Sequential => 0,
            Policy::RoundRobin => self.next.fetch_add(1, Ordering::Relaxed),
            Policy::Random => rand::random_range(0..usize::MAX),
        };
        let first = first.checked_rem(usable.len()).unwrap_or_default();
        usable.rotate_left(first);
        usable
    }
}
