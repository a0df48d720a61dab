//! What the feed has told, and the tables that follow from it.

use std::sync::Arc;

use protocol::feed::{Changes, FeedChange, RouteChange};

use crate::front::tls::Certificates;
use crate::plan::{Asked, Plan, Routes};
use crate::report::metrics::Metrics;
use crate::settings::Settings;
use crate::tables::{Shared, Tables};
use crate::upstream::registry::Registry;

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    services: Registry,
    problems: Vec<String>,
}

#[derive(Debug)]
struct None404;
impl Routes for None404 {
    fn decide(&self, _asked: &Asked<'_>) -> Plan {
        Plan::Answer(hyper::StatusCode::NOT_FOUND)
    }
}

impl State {
    pub(crate) fn new(_settings: &Settings) -> Self {
        Self { services: Registry::default(), problems: Vec::new() }
    }

    pub(crate) fn empty(&self) -> Tables {
        Tables {
            routes: Box::new(None404),
            certificates: Certificates::default(),
            services: Registry::default(),
        }
    }

    pub(crate) fn apply(&mut self, changes: Changes, metrics: &Metrics) {
        for change in changes.changes {
            if let FeedChange::Route(RouteChange::Backends(backends)) = change {
                self.services.set(&backends, metrics);
            }
        }
    }

    pub(crate) fn publish(&mut self, shared: &Shared) {
        let tables = Tables {
            routes: Box::new(None404),
            certificates: Certificates::default(),
            services: self.services.clone(),
        };
        shared.tables.store(Arc::new(tables));
        shared.metrics.reloads.inc();
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }
}
