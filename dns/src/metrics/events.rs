//! What is counted now and then, by whichever thread: other servers' answers, the own health, changes of the cluster.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::counters::{RCODES, SECONDS, rcode_index};
use super::histogram::{Histogram, add};
use crate::wire::record::Rcode;

/// Upper bounds in seconds for the own health, as CoreDNS has them.
pub(super) const HEALTH_SECONDS: [f64; 5] = [0.00025, 0.0025, 0.025, 0.25, 2.5];
/// Upper bounds in seconds for changes, as CoreDNS has them: from a millisecond, doubled.
pub(super) const PROGRAMMING_SECONDS: [f64; 20] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
    32.768, 65.536, 131.072, 262.144, 524.288,
];

/// How long another server took, by the code of its answer.
#[derive(Default)]
pub struct Answers {
    pub(super) seconds: [Histogram<16>; RCODES.len()],
}

impl Answers {
    /// Counts an answer.
    pub fn observe(&self, rcode: Rcode, duration: Duration) {
        if let Some(histogram) = self.seconds.get(rcode_index(rcode)) {
            histogram.took(&SECONDS, duration, 1);
        }
    }
}

/// What the own `/health` took.
#[derive(Default)]
pub struct Health {
    pub(super) seconds: Histogram<5>,
    pub(super) failures: AtomicU64,
}

impl Health {
    /// Counts a look, and whether there was an answer.
    pub fn observe(&self, duration: Duration, answered: bool) {
        self.seconds.took(&HEALTH_SECONDS, duration, 1);
        if !answered {
            add(&self.failures, 1);
        }
    }
}

/// What a change was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// A service with an address of its own.
    ClusterIp,
    /// One without.
    Headless,
}

/// How long it took from when `vswitchd` heard of a change until it was answered here.
#[derive(Default)]
pub struct Programming {
    pub(super) cluster_ip: Histogram<20>,
    pub(super) headless: Histogram<20>,
}

impl Programming {
    /// Counts a change.
    pub fn observe(&self, kind: ServiceKind, duration: Duration) {
        let histogram = match kind {
            ServiceKind::ClusterIp => &self.cluster_ip,
            ServiceKind::Headless => &self.headless,
        };
        histogram.took(&PROGRAMMING_SECONDS, duration, 1);
    }
}
