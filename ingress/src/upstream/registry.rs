//! The services that routes can lead to, and their endpoints.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::feed::{BackendPort, ServiceBackends};
use routing::{PortRef, ServiceState};

use super::Protocol;
use super::balance::Endpoints;
use crate::plan::{ServiceKey, joined};
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

/// The ports of services; a table of its own per version, sharing what did not change.
#[derive(Debug, Default, Clone)]
pub(crate) struct Registry(HashMap<String, Arc<Vec<Port>>>);

#[derive(Debug, Clone)]
struct Port {
    name: String,
    number: u16,
    service: Arc<Service>,
}

impl Registry {
    pub(crate) fn lookup(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        let ports = self.0.get(&key.service)?;
        let port = ports.iter().find(|port| match &key.port {
            PortRef::Number(number) => port.number == *number,
            PortRef::Name(name) => port.name == *name,
        });
        port.map(|port| &port.service)
    }

    /// What is known of a service's port.
    pub(crate) fn state(&self, key: &ServiceKey) -> ServiceState {
        match (self.lookup(key), self.0.contains_key(&key.service)) {
            (Some(port), _) => ServiceState::Known(port.endpoints.len()),
            (None, true) => ServiceState::NoPort,
            (None, false) => ServiceState::NoService,
        }
    }

    /// A service is there, or is another.
    pub(crate) fn set(&mut self, backends: &ServiceBackends, metrics: &Metrics) {
        let (namespace, name) = (backends.namespace.as_str(), backends.name.as_str());
        let key = joined(namespace, name);
        let before = self.0.get(&key).cloned().unwrap_or_default();
        let service_metrics = before
            .first()
            .map_or_else(|| metrics.service(namespace, name), |port| port.service.metrics.clone());
        let ports = backends.ports.iter().map(|port| {
            let known = before.iter().find(|known| known.number == port.number);
            let service = Service {
                label: format!("{key}:{}", port.number),
                protocol: protocol(port),
                endpoints: Endpoints::updated(&port.endpoints, known.map(|known| &known.service.endpoints)),
                metrics: service_metrics.clone(),
            };
            Port { name: port.name.clone(), number: port.number, service: Arc::new(service) }
        });
        let ports = Arc::new(ports.collect());
        self.0.insert(key, ports);
    }

    /// A service is gone.
    pub(crate) fn remove(&mut self, namespace: &str, name: &str, metrics: &Metrics) {
        if self.0.remove(&joined(namespace, name)).is_some() {
            metrics.forget(namespace, name);
        }
    }
}

fn protocol(port: &BackendPort) -> Protocol {
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c" | "h2c" | "grpc" | "kubernetes.io/grpc") => Protocol::H2c,
        _ => Protocol::Http1,
    }
}
