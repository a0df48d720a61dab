//! What the feed has told, and the tables that follow from it.
//!
//! Changes are taken as they come and published when the feed says that they are complete. An object that is wrong leaves in force what was
//! known of it before; so a feed that begins from scratch is laid over what is known, and what it did not name is removed in the end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::feed::{Changes, FeedChange, RouteChange, ServiceBackends};
use protocol::message::Kind;
use protocol::{Namespace, ObjectName};
use routing::{Objects, ServicePort};

use crate::plan::{Plans, ServiceKey};
use crate::report::metrics::Metrics;
use crate::tables::{Shared, Tables};
use crate::upstream::registry::Registry;

/// What a change speaks of, as a key.
fn subject(change: &RouteChange) -> String {
    match change {
        RouteChange::Object { kind, document } => {
            object_key(*kind, document.namespace.as_ref(), &document.name)
        }
        RouteChange::ObjectGone { kind, namespace, name } => object_key(*kind, namespace.as_ref(), name),
        RouteChange::Backends(ServiceBackends { namespace, name, .. })
        | RouteChange::BackendsGone { namespace, name } => {
            format!("backends {namespace}/{name}")
        }
    }
}

fn object_key(kind: Kind, namespace: Option<&Namespace>, name: &ObjectName) -> String {
    format!("{kind:?} {}/{name}", namespace.map(Namespace::as_str).unwrap_or_default())
}

/// What undoes a change that says that something is there.
fn undo(change: &RouteChange) -> Option<RouteChange> {
    match change {
        RouteChange::Object { kind, document } => Some(RouteChange::ObjectGone {
            kind: *kind,
            namespace: document.namespace.clone(),
            name: document.name.clone(),
        }),
        RouteChange::Backends(ServiceBackends { namespace, name, .. }) => {
            Some(RouteChange::BackendsGone { namespace: namespace.clone(), name: name.clone() })
        }
        RouteChange::ObjectGone { .. } | RouteChange::BackendsGone { .. } => None,
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct State {
    objects: Objects,
    services: Registry,
    /// Everything that is there, with what would undo it.
    known: HashMap<String, RouteChange>,
    /// What a feed that began from scratch has named so far.
    scratch: Option<HashSet<String>>,
    plans: Arc<Plans>,
    /// Objects differ from the plans.
    stale: bool,
    problems: Vec<String>,
}

impl State {
    /// Nothing is known. This class is always served.
    pub(crate) fn new(class: &str) -> Self {
        Self { objects: Objects::with_class(class), ..Self::default() }
    }

    /// Takes changes, in order.
    pub(crate) fn apply(&mut self, changes: Changes, metrics: &Metrics) {
        if changes.from_scratch {
            self.scratch = Some(HashSet::new());
        }
        for change in changes.changes {
            if let FeedChange::Route(change) = change {
                if let Some(named) = &mut self.scratch {
                    named.insert(subject(&change));
                }
                self.take(&change, metrics);
            }
        }
    }

    fn take(&mut self, change: &RouteChange, metrics: &Metrics) {
        match undo(change) {
            Some(undo) => self.known.insert(subject(change), undo),
            None => self.known.remove(&subject(change)),
        };
        match change {
            RouteChange::Backends(backends) => self.services.set(backends, metrics),
            RouteChange::BackendsGone { namespace, name } => {
                self.services.remove(namespace.as_str(), name.as_str(), metrics);
            }
            RouteChange::Object { document, .. } => {
                self.stale = true;
                if let Err(error) = self.objects.take(change) {
                    tracing::warn!(object = %document.name, %error, "refused; what was known of it stays");
                }
            }
            RouteChange::ObjectGone { .. } => {
                self.stale = true;
                // Removing cannot be refused.
                let _ = self.objects.take(change);
            }
        }
    }

    /// Makes tables of what is known, and swaps them for those in use.
    pub(crate) fn publish(&mut self, shared: &Shared) {
        if let Some(named) = self.scratch.take() {
            let left = self.known.iter().filter(|(subject, _)| !named.contains(*subject));
            let gone: Vec<RouteChange> = left.map(|(_, undo)| undo.clone()).collect();
            for undo in gone {
                self.take(&undo, &shared.metrics);
            }
        }
        if self.stale {
            self.rebuild();
        }
        let tables = Tables { plans: Arc::clone(&self.plans), services: self.services.clone() };
        shared.tables.store(Arc::new(tables));
        let count = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
        shared.metrics.reloads.inc();
        shared.metrics.routes.set(count(self.plans.router.rules().len()));
        shared.metrics.problems.set(count(self.problems.len()));
    }

    fn rebuild(&mut self) {
        let services = &self.services;
        let (router, report) =
            self.objects.build(&|port: &ServicePort| services.state(&ServiceKey::from(port)));
        self.plans = Arc::new(Plans::new(Arc::new(router)));
        self.stale = false;
        let refused =
            report.refused.iter().map(|((plural, name), reason)| format!("{plural}/{name}: {reason}"));
        let verdicts = report.ingresses.iter().chain(&report.gateways).chain(&report.routes);
        let partial =
            verdicts.flat_map(|(name, verdict)| verdict.problems.iter().map(move |p| format!("{name}: {p}")));
        let problems: Vec<String> = refused.chain(partial).collect();
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!(problem, "not in force");
        }
        self.problems = problems;
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }
}
