//! What DNS is told of services, pods and namespaces.
//!
//! A service is named by its cluster address only where the switch serves that address, port by port: a name that leads
//! nowhere is worse than none. A headless one is named by its endpoints, as the EndpointSlice controller would list them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use protocol::Namespace;
use protocol::feed::{NameTarget, NamedEndpoint, NamedPort, NamedService};
use protocol::link::FrontendKind;
use protocol::message::PodRef;

use super::super::endpoints::Endpoint;
use super::super::names::ObjectRef;
use super::super::spec::{PortSpec, Reach, Spec};
use super::Table;

/// Endpoints that one service names: four thousand A records fill the largest answer there is, 64 KiB over TCP.
const MAX_NAMED: usize = 4096;
/// Bytes of them, so that what is told of one service fits a message of 1 MiB.
const MAX_NAMED_BYTES: usize = 768 << 10;
/// Of an endpoint or a port as it is encoded, without its names, at most.
const FIXED_BYTES: usize = 40;

/// Of what DNS is to be told something new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Renamed {
    /// Services that may be others now, or gone.
    pub services: BTreeSet<ObjectRef>,
    /// Pods that may be.
    pub pods: BTreeSet<ObjectRef>,
    /// Namespaces that have come or gone.
    pub namespaces: BTreeSet<Namespace>,
}

/// What there is in namespaces, by number, and what has changed since that was last asked.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) renamed: Renamed,
    made: BTreeSet<Namespace>,
    inhabitants: BTreeMap<Namespace, usize>,
}

impl Names {
    /// A service or pod has come.
    pub(super) fn enter(&mut self, namespace: &Namespace) {
        let count = self.inhabitants.entry(namespace.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.renamed.namespaces.insert(namespace.clone());
        }
    }

    /// A service or pod is gone.
    pub(super) fn leave(&mut self, namespace: &Namespace) {
        let Some(count) = self.inhabitants.get_mut(namespace) else { return };
        *count -= 1;
        if *count == 0 {
            self.inhabitants.remove(namespace);
            self.renamed.namespaces.insert(namespace.clone());
        }
    }
}

impl Table {
    /// A namespace was made.
    pub fn put_namespace(&mut self, namespace: Namespace) {
        self.names.renamed.namespaces.insert(namespace.clone());
        self.names.made.insert(namespace);
    }

    /// A namespace was deleted.
    pub fn remove_namespace(&mut self, namespace: &Namespace) {
        self.names.renamed.namespaces.insert(namespace.clone());
        self.names.made.remove(namespace);
    }

    /// Whether a namespace was made, or something is in it.
    #[must_use]
    pub fn has_namespace(&self, namespace: &Namespace) -> bool {
        self.names.made.contains(namespace) || self.names.inhabitants.contains_key(namespace)
    }

    /// Of what DNS is to be told something new; each is said once.
    pub fn take_renamed(&mut self) -> Renamed {
        std::mem::take(&mut self.names.renamed)
    }

    /// A service as DNS sees it, as of the last [`Table::settle`]; `None` if there is none, or none that its name could lead to.
    #[must_use]
    pub fn named(&self, object: &ObjectRef) -> Option<NamedService> {
        let spec = self.specs.get(object)?;
        let target = match &spec.reach {
            Reach::ExternalName(name) => NameTarget::External { name: name.trim_end_matches('.').to_owned() },
            Reach::Headless => NameTarget::Headless { endpoints: self.named_endpoints(spec) },
            Reach::ClusterIp | Reach::NodePort | Reach::LoadBalancer => NameTarget::Cluster {
                addresses: vec![IpAddr::V4(spec.cluster_ip?)],
                ports: self.served_ports(spec)?,
            },
        };
        Some(NamedService { namespace: object.namespace.clone(), name: object.name.clone(), target })
    }

    /// A pod's address; `None` if it has none, or has ended.
    #[must_use]
    pub fn named_pod(&self, object: &ObjectRef) -> Option<IpAddr> {
        self.pods.get(object).filter(|pod| !pod.ended)?.addresses.first().copied()
    }

    /// Ports that the switch serves at the cluster address; `None` if it serves none.
    fn served_ports(&self, spec: &Spec) -> Option<Vec<NamedPort>> {
        let is_served = |port: &&PortSpec| {
            let state = self.ids.get(&spec.key(port)).and_then(|id| self.states.get(id));
            let frontends = state.iter().flat_map(|state| &state.config.frontends);
            frontends.into_iter().any(|frontend| frontend.kind == FrontendKind::ClusterIp)
        };
        let served: Vec<NamedPort> =
            spec.ports.iter().filter(is_served).map(|port| named_port(port, port.number)).collect();
        (!served.is_empty()).then_some(served)
    }

    fn named_endpoints(&self, spec: &Spec) -> Vec<NamedEndpoint> {
        let all = self.endpoints(spec, &mut Vec::new());
        let may_be_named = |endpoint: &&Endpoint| endpoint.ready || spec.publish_not_ready;
        let named = all.iter().filter(may_be_named).map(|endpoint| named_endpoint(spec, endpoint));
        let mut bytes = 0;
        let fits = |endpoint: &NamedEndpoint| {
            bytes += bytes_of(endpoint);
            bytes <= MAX_NAMED_BYTES
        };
        named.take(MAX_NAMED).take_while(fits).collect()
    }
}

fn named_port(port: &PortSpec, number: u16) -> NamedPort {
    let name = Some(port.name.clone()).filter(|name| !name.is_empty());
    NamedPort { name, transport: port.transport, number }
}

fn named_endpoint(spec: &Spec, endpoint: &Endpoint) -> NamedEndpoint {
    let ports = spec.ports.iter().zip(&endpoint.ports);
    let pod = |pod: &ObjectRef| PodRef { namespace: pod.namespace.clone(), name: pod.name.clone() };
    NamedEndpoint {
        address: endpoint.address,
        hostname: endpoint.hostname.clone(),
        pod: endpoint.pod.as_ref().map(pod),
        ports: ports.filter_map(|(port, number)| Some(named_port(port, (*number)?))).collect(),
    }
}

fn bytes_of(endpoint: &NamedEndpoint) -> usize {
    let pod = endpoint.pod.as_ref();
    let pod = pod.map_or(0, |pod| pod.namespace.as_str().len() + pod.name.as_str().len());
    let port = |port: &NamedPort| FIXED_BYTES + port.name.as_ref().map_or(0, String::len);
    let ports: usize = endpoint.ports.iter().map(port).sum();
    FIXED_BYTES + endpoint.hostname.as_ref().map_or(0, String::len) + pod + ports
}
