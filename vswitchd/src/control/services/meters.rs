//! How quickly changes of services reach the datapath, under the names that kube-proxy's dashboards know.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use protocol::link::TrafficPolicy;
use protocol::object::Timestamp;
use store::cluster::mirror::Change;
use store::services::write::{POLICIES, SERVICES};

use super::super::node::Control;

/// From a millisecond to half a minute.
fn buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.001, 2.0, 16)
}

/// See the module's text.
pub(crate) struct Meters {
    /// One round: what has come is derived and given to the datapath.
    pub(crate) sync: Histogram,
    /// From the first change that was heard of to the datapath running it.
    pub(crate) programming: Histogram,
    service_changes: AtomicU64,
    endpoint_changes: AtomicU64,
    last_sync: AtomicU64,
    last_queued: AtomicU64,
}

/// What the meters say.
#[derive(Debug)]
pub(crate) struct Readings {
    pub(crate) sync: Histogram,
    pub(crate) programming: Histogram,
    pub(crate) service_changes: u64,
    pub(crate) endpoint_changes: u64,
    /// Changes that have come and are not taken yet.
    pub(crate) pending: [u64; 2],
    pub(crate) last_sync: u64,
    pub(crate) last_queued: u64,
    /// Services of policy `Local` without endpoints here: internal, external.
    pub(crate) no_local_endpoints: [u64; 2],
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            sync: Histogram::new(buckets()),
            programming: Histogram::new(buckets()),
            service_changes: AtomicU64::new(0),
            endpoint_changes: AtomicU64::new(0),
            last_sync: AtomicU64::new(0),
            last_queued: AtomicU64::new(0),
        }
    }

    /// A change of the store was taken.
    pub(super) fn on_change(&self, change: &Change) {
        let key = match change {
            Change::Put(entry) => &entry.key,
            Change::Delete { key } => key,
        };
        if key.starts_with(POLICIES) {
            return;
        }
        let count = if key.starts_with(SERVICES) { &self.service_changes } else { &self.endpoint_changes };
        count.fetch_add(1, Ordering::Relaxed);
        self.last_queued.store(Timestamp::now().0, Ordering::Relaxed);
    }

    /// The datapath was told, `since_heard` after the first of the changes was heard of.
    pub(super) fn on_sync(&self, took: Duration, since_heard: Duration) {
        self.sync.observe(took.as_secs_f64());
        self.programming.observe(since_heard.as_secs_f64());
        self.last_sync.store(Timestamp::now().0, Ordering::Relaxed);
    }
}

/// All of it, at this moment.
pub(crate) fn readings(control: &Control) -> Readings {
    let services = &control.services;
    let meters = &services.meters;
    let [of_services, slices, pods, ..] = services.mirrors.all().map(|mirror| mirror.changes().len() as u64);
    let mut no_local_endpoints = [0, 0];
    for state in services.table.lock().states().values() {
        let is_lacking = !state.backends.values().any(|backend| backend.is_local);
        let policies = [state.config.internal_policy, state.config.external_policy];
        for (count, policy) in no_local_endpoints.iter_mut().zip(policies) {
            *count += u64::from(is_lacking && policy == TrafficPolicy::Local);
        }
    }
    Readings {
        sync: meters.sync.clone(),
        programming: meters.programming.clone(),
        service_changes: meters.service_changes.load(Ordering::Relaxed),
        endpoint_changes: meters.endpoint_changes.load(Ordering::Relaxed),
        pending: [of_services, slices + pods],
        last_sync: meters.last_sync.load(Ordering::Relaxed),
        last_queued: meters.last_queued.load(Ordering::Relaxed),
        no_local_endpoints,
    }
}
