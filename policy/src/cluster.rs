//! What policies are about: pods, namespaces, nodes. And a flow, which is what is decided.
//!
//! Pods of the node's own network (`hostNetwork`) and pods that have ended do not belong here: the former are their node,
//! as in most implementations, and the latter's addresses may be others' already.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use protocol::{Namespace, ObjectName, ObjectRef};
use serde::{Deserialize, Serialize};

use crate::model::{Direction, Labels, Pods, Policy, PolicyName, Protocol, Scope, Selector};

/// The label that every namespace has, with its name (Kubernetes 1.22, `NamespaceDefaultLabelName`).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A port that a pod's containers have given a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedPort {
    /// Of the same name there may be one per protocol, and in several containers several.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// A pod, as far as policies can see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its own.
    pub labels: Labels,
    /// At most one per family.
    pub addresses: BTreeSet<IpAddr>,
    /// Of all its containers.
    pub ports: BTreeSet<NamedPort>,
    /// Where it runs.
    pub node: Option<ObjectName>,
}

/// The first packet of a connection, or one that belongs to none: after a service's address became a backend's, before
/// the source became another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who asks.
    pub source: IpAddr,
    /// Who is asked.
    pub destination: IpAddr,
    /// With which protocol.
    pub protocol: Protocol,
    /// The destination's; 0 for protocols without.
    pub port: u16,
}

impl Flow {
    /// Where the pod is whose policies of this direction are asked.
    #[must_use]
    pub fn subject(&self, direction: Direction) -> IpAddr {
        match direction {
            Direction::Ingress => self.destination,
            Direction::Egress => self.source,
        }
    }

    /// Who is there at the other end.
    #[must_use]
    pub fn peer(&self, direction: Direction) -> IpAddr {
        match direction {
            Direction::Ingress => self.source,
            Direction::Egress => self.destination,
        }
    }
}

/// All that decisions depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The pods with an address or about to get one.
    pub pods: BTreeMap<ObjectRef, Pod>,
    /// Labels of namespaces. One that is not here has just its name's label.
    pub namespaces: BTreeMap<Namespace, Labels>,
    /// All addresses of nodes.
    pub nodes: BTreeMap<ObjectName, BTreeSet<IpAddr>>,
    /// Of all kinds.
    pub policies: BTreeMap<PolicyName, Policy>,
}

impl Cluster {
    /// A namespace's labels, with that of its name, whatever it is said to be.
    #[must_use]
    pub fn namespace_labels(&self, namespace: &Namespace) -> Labels {
        with_name(self.namespaces.get(namespace), namespace)
    }

    /// Which node has an address; of several that claim it, the first by name.
    #[must_use]
    pub fn node_at(&self, address: IpAddr) -> Option<&ObjectName> {
        self.nodes.iter().find(|(_, addresses)| addresses.contains(&address)).map(|(name, _)| name)
    }

    /// Who has an address; of several that claim it, the first by name.
    #[must_use]
    pub fn pod_at(&self, address: IpAddr) -> Option<(&ObjectRef, &Pod)> {
        self.pods.iter().find(|(_, pod)| pod.addresses.contains(&address))
    }

    /// Whether a pod is among some.
    #[must_use]
    pub fn selects(&self, pods: &Pods, name: &ObjectRef, pod: &Pod) -> bool {
        let in_scope = match &pods.namespaces {
            Scope::Own(namespace) => *namespace == name.namespace,
            Scope::Matching(selector) => self.namespace_matches(selector, &name.namespace),
        };
        in_scope && pods.selector.matches(&pod.labels)
    }

    fn namespace_matches(&self, selector: &Selector, namespace: &Namespace) -> bool {
        selector.is_empty() || selector.matches(&self.namespace_labels(namespace))
    }

    /// The policies that select a pod for a direction, in the order in which they are asked.
    #[must_use]
    pub fn selecting(&self, name: &ObjectRef, direction: Direction) -> Vec<&Policy> {
        let Some(pod) = self.pods.get(name) else { return Vec::new() };
        let mut selecting: Vec<&Policy> = self
            .policies
            .values()
            .filter(|policy| policy.rules(direction).is_some() && self.selects(&policy.subject, name, pod))
            .collect();
        selecting.sort_by_key(|policy| (policy.place, &policy.name));
        selecting
    }
}

/// A namespace's labels with that of its name.
pub(crate) fn with_name(labels: Option<&Labels>, namespace: &Namespace) -> Labels {
    let mut labels = labels.cloned().unwrap_or_default();
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_string());
    labels
}
