//! Which pods appear as what outside: rules by namespace and label become rules by address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use protocol::link::{EgressRule, UplinkConfig};

use crate::record::PodRecord;

/// Some pods, and the address they appear as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSelector {
    /// Pods of these namespaces; of all if empty.
    pub namespaces: Vec<String>,
    /// Pods that have all of these labels.
    pub labels: BTreeMap<String, String>,
    /// What they appear as.
    pub address: Ipv4Addr,
}

impl EgressSelector {
    fn selects(&self, pod: &PodRecord) -> bool {
        let metadata = &pod.metadata;
        let in_namespace = self.namespaces.is_empty()
            || self.namespaces.iter().any(|namespace| *namespace == metadata.namespace.to_string());
        in_namespace && self.labels.iter().all(|(key, value)| metadata.labels.get(key) == Some(value))
    }
}

/// What an address is in the network that the uplink leads to, if no load balancer and no pod can have it.
#[must_use]
pub fn taken_on_link(uplink: &UplinkConfig, address: Ipv4Addr) -> Option<&'static str> {
    let is_edge = uplink.subnet.prefix_len() < 31;
    if uplink.gateway == Some(address) {
        Some("the uplink's gateway")
    } else if is_edge && address == uplink.subnet.network() {
        Some("the address of the uplink's network")
    } else if is_edge && address == uplink.subnet.broadcast() {
        Some("the broadcast address of the uplink's network")
    } else {
        None
    }
}

/// A pod counts for the first selector that fits. One that fits none of this node's pods makes no rule: the node that has
/// such a pod stands for its address.
pub(super) fn rules(selectors: &[EgressSelector], pods: &[&PodRecord]) -> Vec<EgressRule> {
    if selectors.is_empty() {
        return Vec::new();
    }
    let mut rules: Vec<EgressRule> = selectors
        .iter()
        .map(|selector| EgressRule { sources: Vec::new(), address: selector.address })
        .collect();
    for pod in pods {
        let fits = selectors.iter().zip(&mut rules).find(|(selector, _)| selector.selects(pod));
        if let Some((_, rule)) = fits {
            rule.sources.extend(pod.spec.pod_ips.iter().filter_map(|ip| match ip {
                IpAddr::V4(v4) => Some(Ipv4Net::from(*v4)),
                IpAddr::V6(_) => None,
            }));
        }
    }
    rules.retain(|rule| !rule.sources.is_empty());
    rules
}

#[cfg(test)]
mod tests;
