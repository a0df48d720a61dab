//! The services that routes can lead to, and their endpoints.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::feed::{BackendPort, ServiceBackends};

use super::balance::Endpoints;
use crate::plan::{Protocol, ServiceKey};
use crate::report::metrics::{Metrics, ServiceMetrics};

/// A service's port.
#[derive(Debug)]
pub(crate) struct Service {
    /// `namespace/name:port`, for logs.
    pub(crate) label: String,
    /// By its `appProtocol`.
    pub(crate) protocol: Protocol,
    pub(crate) endpoints: Endpoints,
    pub(crate) metrics: ServiceMetrics,
}

/// Services by key; a table of its own per version, sharing what did not change.
#[derive(Debug, Default, Clone)]
pub(crate) struct Registry(HashMap<ServiceKey, Arc<Service>>);

impl Registry {
    pub(crate) fn lookup(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.0.get(key)
    }

    /// A service is there, or is another.
    pub(crate) fn set(&mut self, backends: &ServiceBackends, metrics: &Metrics) {
        let (namespace, name) = (backends.namespace.as_str(), backends.name.as_str());
        let gone = |key: &ServiceKey| !backends.ports.iter().any(|port| port.number == key.port);
        self.0.retain(|key, _| !(key.namespace == namespace && key.service == name && gone(key)));
        for port in &backends.ports {
            let key =
                ServiceKey { namespace: namespace.to_owned(), service: name.to_owned(), port: port.number };
            let before = self.0.get(&key);
            let service = Service {
                label: format!("{namespace}/{name}:{}", port.number),
                protocol: protocol(port),
                endpoints: Endpoints::updated(&port.endpoints, before.map(|s| &s.endpoints)),
                metrics: before.map_or_else(|| metrics.service(namespace, name), |s| s.metrics.clone()),
            };
            self.0.insert(key, Arc::new(service));
        }
    }

    /// A service is gone.
    pub(crate) fn remove(&mut self, namespace: &str, name: &str, metrics: &Metrics) {
        self.0.retain(|key, _| !(key.namespace == namespace && key.service == name));
        metrics.forget(namespace, name);
    }

    /// Forgets services that are not among these.
    pub(crate) fn retain(&mut self, metrics: &Metrics, there: impl Fn(&str, &str) -> bool) {
        let gone: Vec<(String, String)> = self
            .0
            .keys()
            .filter(|key| !there(&key.namespace, &key.service))
            .map(|key| (key.namespace.clone(), key.service.clone()))
            .collect();
        for (namespace, name) in gone {
            self.remove(&namespace, &name, metrics);
        }
    }
}

fn protocol(port: &BackendPort) -> Protocol {
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c" | "h2c" | "grpc" | "kubernetes.io/grpc") => Protocol::H2c,
        _ => Protocol::Http1,
    }
}
