//! Pods of the cluster, as far as services are about them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use protocol::link::Transport;
use serde::{Deserialize, Serialize};

use super::names::ObjectRef;

/// A pod, as its node publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFacts {
    /// Its name.
    pub object: ObjectRef,
    /// What selectors match.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where it runs.
    pub node: String,
    /// That node's zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// It can serve: its containers run and its probes succeed.
    pub ready: bool,
    /// It is being deleted.
    #[serde(default)]
    pub terminating: bool,
    /// All its containers have ended for good.
    #[serde(default)]
    pub ended: bool,
    /// Ports of its containers that have names.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
    /// For weighted schedulers.
    #[serde(default = "one")]
    pub weight: u16,
    /// Ports of its node that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
    /// `spec.hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `spec.subdomain`: the headless service that names it by its host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
}

/// A port of the node that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// Its protocol.
    pub transport: Transport,
    /// The node's address, or 127.0.0.1; all of them without.
    pub address: Option<Ipv4Addr>,
    /// Its number at the node.
    pub number: u16,
    /// Its number at the pod.
    pub target: u16,
}

const fn one() -> u16 {
    1
}

/// A container port that target ports can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub transport: Transport,
    /// Its number.
    pub number: u16,
}

impl PodFacts {
    /// The number of a named port.
    #[must_use]
    pub fn port(&self, name: &str, transport: Transport) -> Option<u16> {
        self.ports
            .iter()
            .find(|port| port.name == name && port.transport == transport)
            .map(|port| port.number)
    }

    /// The host name that it has in a service of its namespace, which must be its subdomain.
    #[must_use]
    pub fn hostname_in(&self, service: &ObjectRef) -> Option<String> {
        let is_meant = self.subdomain.as_deref() == Some(service.name.as_str());
        self.hostname.clone().filter(|_| is_meant && self.object.namespace == service.namespace)
    }

    /// The address services reach it at.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.addresses.iter().copied().find(IpAddr::is_ipv4)
    }
}
