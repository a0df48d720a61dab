//! What all workers read, and how it is replaced.
//!
//! Everything that follows from routes (the router, certificates, endpoints) is in one immutable [`Tables`]; a change builds
//! another aside and swaps it. A request keeps the tables that it began with, so no change can cut it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::limit::concurrent::ConcurrencyLimit;
use crate::limit::connections::ConnectionLimit;
use crate::limit::rate::RateLimit;
use crate::plan::Plans;
use crate::report::access_log::AccessLog;
use crate::report::metrics::{Metrics, ServiceMetrics};
use crate::settings::Settings;
use crate::upstream::registry::Registry;

/// What follows from the cluster's objects.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) plans: Arc<Plans>,
    pub(crate) services: Registry,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) tables: ArcSwap<Tables>,
    pub(crate) metrics: Metrics,
    /// Of requests that no service sees.
    pub(crate) no_service: ServiceMetrics,
    pub(crate) connections: Arc<ConnectionLimit>,
    pub(crate) rates: RateLimit,
    pub(crate) concurrent: Arc<ConcurrencyLimit>,
    pub(crate) access_log: Option<AccessLog>,
    /// Becomes true once.
    pub(crate) draining: watch::Sender<bool>,
    /// Routes have been learned.
    pub(crate) synced: AtomicBool,
    /// A successor has the listeners.
    pub(crate) handed_over: AtomicBool,
}

impl Shared {
    pub(crate) fn new(settings: Settings, access_log: Option<AccessLog>) -> Self {
        let metrics = Metrics::new();
        let no_service = metrics.service("", "");
        Self {
            tables: ArcSwap::default(),
            no_service,
            metrics,
            connections: Arc::new(ConnectionLimit::new(&settings.options)),
            rates: RateLimit::default(),
            concurrent: Arc::default(),
            access_log,
            draining: watch::Sender::new(false),
            synced: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            settings,
        }
    }

    /// Why no traffic should be sent here, if so.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        if *self.draining.borrow() {
            Some("draining")
        } else if !self.synced.load(Ordering::Acquire) {
            Some("no routes have been learned yet")
        } else {
            None
        }
    }
}
