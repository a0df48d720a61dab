//! Ports of this node that lead to one of its pods (`hostPort`): each is a service of its own with one backend.
//!
//! They are the pod's from its beginning to its end, ready or not, as the port mapping of other network plug-ins is. Who may have which
//! is decided when a pod is created; where two have the same nevertheless, the first by name has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use protocol::ServiceId;
use protocol::link::{
    BackendConfig, BackendState, Frontend, FrontendKind, Scheduler, ServiceConfig, TrafficPolicy,
};

use super::super::change::ServiceState;
use super::super::names::{ObjectRef, PortKey};
use super::super::pods::{HostPort, PodFacts};
use super::Table;

/// As many as the datapath takes for one service.
const MAX_FRONTENDS: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HostPorts {
    /// Pods of this node that have some.
    pods: BTreeSet<ObjectRef>,
    /// Addresses of this node.
    own: BTreeSet<Ipv4Addr>,
    /// What was last made of them.
    known: BTreeSet<PortKey>,
    is_dirty: bool,
}

impl HostPorts {
    pub(super) fn on_pod(&mut self, pod: &PodFacts, node: &str) {
        if pod.node == node && !pod.host_ports.is_empty() {
            self.pods.insert(pod.object.clone());
            self.is_dirty = true;
        }
    }

    pub(super) fn on_pod_gone(&mut self, pod: &ObjectRef) {
        self.is_dirty |= self.pods.remove(pod);
    }
}

impl Table {
    /// Addresses of this node, at which ports of its pods are.
    pub fn set_own_addresses(&mut self, own: BTreeSet<Ipv4Addr>) {
        if self.host_ports.own != own {
            self.host_ports.own = own;
            self.host_ports.is_dirty = true;
        }
    }

    /// Ports that are gone, and all that there are, if anything has changed.
    pub(super) fn host_port_changes(&mut self) -> (Vec<PortKey>, Vec<(PortKey, ServiceState)>) {
        if !std::mem::take(&mut self.host_ports.is_dirty) {
            return Default::default();
        }
        let mut taken = BTreeSet::new();
        let mut wanted = BTreeMap::new();
        for pod in self.host_ports.pods.iter().filter_map(|pod| self.pods.get(pod)) {
            let Some(address) = pod.address() else { continue };
            for port in &pod.host_ports {
                let mut frontends = self.frontends_of_host_port(port);
                frontends.retain(|frontend| taken.insert((port.transport, frontend.address, frontend.port)));
                if !frontends.is_empty() {
                    let key = key(&pod.object, port);
                    wanted.insert(key.clone(), state(&key, frontends, (address, port.target)));
                }
            }
        }
        let known = std::mem::replace(&mut self.host_ports.known, wanted.keys().cloned().collect());
        let gone = known.into_iter().filter(|key| !wanted.contains_key(key)).collect();
        (gone, wanted.into_iter().collect())
    }

    fn frontends_of_host_port(&self, port: &HostPort) -> Vec<Frontend> {
        let at = |kind, address| Frontend { kind, address: IpAddr::V4(address), port: port.number };
        let local = at(FrontendKind::HostLocal, self.settings.service_cidr.network());
        let own = self.host_ports.own.iter().copied();
        let is_meant = |own: &Ipv4Addr| port.address.is_none_or(|wanted| wanted == *own);
        let is_local = port.address.is_none_or(|wanted| wanted.is_loopback());
        let own = own.filter(is_meant).map(|own| at(FrontendKind::HostPort, own));
        is_local.then_some(local).into_iter().chain(own).take(MAX_FRONTENDS).collect()
    }
}

/// No port of a service has such a name.
fn key(pod: &ObjectRef, port: &HostPort) -> PortKey {
    let at = port.address.map(|address| format!("@{address}")).unwrap_or_default();
    PortKey { service: pod.clone(), port: format!("hostPort-{}{at}", port.number), transport: port.transport }
}

fn state(key: &PortKey, frontends: Vec<Frontend>, backend: (IpAddr, u16)) -> ServiceState {
    let (address, port) = backend;
    let config = BackendConfig {
        address,
        port,
        weight: 1,
        state: BackendState::Ready,
        is_local: true,
        is_preferred: true,
    };
    ServiceState {
        config: ServiceConfig {
            // Known once it is applied.
            id: ServiceId(0),
            name: key.to_string(),
            transport: key.transport,
            frontends,
            scheduler: Scheduler::Random,
            affinity_seconds: None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            source_ranges: Vec::new(),
        },
        backends: [(backend, config)].into(),
    }
}
