//! Services of load balancers: which nodes may announce their addresses, and what their health is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use protocol::link::TrafficPolicy;

use super::super::endpoints::Endpoint;
use super::super::names::ObjectRef;
use super::super::spec::Spec;
use super::Table;

/// What a health check of a service is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Where it is asked.
    pub port: u16,
    /// Of which service.
    pub service: ObjectRef,
    /// Endpoints on this node that connections from outside are given to.
    pub local_endpoints: usize,
}

impl Table {
    /// Whether anything of load balancers' services has changed since this was last asked: they, or their endpoints.
    pub fn take_balanced_changed(&mut self) -> bool {
        std::mem::take(&mut self.balanced_changed)
    }

    /// Services of load balancers that are handled here.
    pub fn balanced(&self) -> impl Iterator<Item = &Spec> {
        let specs = self.balanced.iter().filter_map(|object| self.specs.get(object));
        specs.filter(|spec| !spec.is_foreign && !spec.has_foreign_class)
    }

    /// Those that wait for an address.
    pub fn waiting(&self) -> impl Iterator<Item = &ObjectRef> {
        self.balanced().filter(|spec| spec.ingress.is_empty()).map(|spec| &spec.object)
    }

    /// Each address of a load balancer, with those of the nodes `live` that may announce it: all of them, or, with
    /// `externalTrafficPolicy: Local`, those with endpoints.
    #[must_use]
    pub fn announceable(&self, live: &BTreeSet<String>) -> BTreeMap<Ipv4Addr, BTreeSet<String>> {
        let mut may: BTreeMap<Ipv4Addr, BTreeSet<String>> = BTreeMap::new();
        for spec in self.balanced() {
            let nodes = match spec.external_policy {
                TrafficPolicy::Cluster => live.clone(),
                TrafficPolicy::Local => {
                    let endpoints = self.endpoints_of(&spec.object);
                    let with = nodes_with(&endpoints);
                    live.iter().filter(|node| with.contains(node.as_str())).cloned().collect()
                }
            };
            for ip in &spec.ingress {
                if let IpAddr::V4(v4) = ip
                    && self.owner(*ip).is_none()
                {
                    may.entry(*v4).or_default().extend(nodes.iter().cloned());
                }
            }
        }
        may
    }

    /// What this node answers to health checks of services that send to local endpoints only.
    #[must_use]
    pub fn health(&self) -> Vec<Health> {
        // Whoever balances: the port is on this node.
        let all = self.balanced.iter().filter_map(|object| self.specs.get(object));
        let served = all.filter(|spec| !spec.is_foreign);
        let checked = served.filter_map(|spec| Some((spec, spec.health_check_node_port?)));
        let node = &self.settings.place.node;
        let health = |(spec, port): (&Spec, u16)| {
            let all = self.endpoints_of(&spec.object);
            let here = all.iter().filter(|endpoint| endpoint.ready && endpoint.node.as_ref() == Some(node));
            Health { port, service: spec.object.clone(), local_endpoints: here.count() }
        };
        checked.map(health).collect()
    }
}

/// Nodes with endpoints that may be chosen: ready ones, or if there are none, those that still serve while they go.
fn nodes_with(endpoints: &[Endpoint]) -> BTreeSet<&str> {
    let at = |wanted: fn(&Endpoint) -> bool| -> BTreeSet<&str> {
        endpoints
            .iter()
            .filter(|endpoint| wanted(endpoint))
            .filter_map(|endpoint| endpoint.node.as_deref())
            .collect()
    };
    let ready = at(|endpoint| endpoint.ready);
    if ready.is_empty() { at(|endpoint| endpoint.serving && endpoint.terminating) } else { ready }
}
