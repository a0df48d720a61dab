//! What policies are about, as this node knows it, and the tables made of it.
//!
//! The same objects are kept twice: as they are ([`policy::Cluster`], for what people ask), and compiled ([`policy::Compiler`], for the
//! datapath and for verdicts, which must be the same). Every change goes to both.
//!
//! The pods of this node come from its own records at the moment of a sync, so that a pod's port and its tables are one
//! commit; those of others come from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use policy::{Change, Cluster, Compiler, Flow, Labels, NamedPort, Policy, PolicyName, Protocol};
use protocol::link::Transport;
use protocol::{Namespace, ObjectName, ObjectRef};
use store::record::PodRecord;
use store::services::PodFacts;

/// See the module's text.
#[derive(Default)]
pub(crate) struct PolicyState {
    cluster: Cluster,
    compiler: Compiler,
    /// Pods of other nodes, also those whose name one of this node has, which goes before.
    remote: BTreeMap<ObjectRef, policy::Pod>,
    local: BTreeSet<ObjectRef>,
    /// What the store says was read, or is not to be had.
    is_known: bool,
    /// Something was set that no datapath was told of.
    is_changed: bool,
}

impl PolicyState {
    /// Until this is said nothing is told, so that pods of a new datapath stay closed.
    pub(crate) fn set_known(&mut self) {
        self.is_changed |= !self.is_known;
        self.is_known = true;
    }

    /// Whether [`Self::set_known`] was said.
    pub(crate) const fn is_known(&self) -> bool {
        self.is_known
    }

    /// A policy is there, or is another than it was.
    pub(crate) fn put(&mut self, policy: Policy) {
        if self.cluster.policies.get(&policy.name) == Some(&policy) {
            return;
        }
        self.is_changed = true;
        self.cluster.policies.insert(policy.name.clone(), policy.clone());
        self.compiler.set_policy(policy);
    }

    /// A policy is gone.
    pub(crate) fn remove(&mut self, name: &PolicyName) {
        if self.cluster.policies.remove(name).is_some() {
            self.is_changed = true;
            self.compiler.remove_policy(name);
        }
    }

    /// A namespace has these labels; none: it is gone.
    pub(crate) fn set_namespace(&mut self, name: &Namespace, labels: Option<Labels>) {
        if self.cluster.namespaces.get(name) == labels.as_ref() {
            return;
        }
        self.is_changed = true;
        match labels {
            Some(labels) => {
                self.cluster.namespaces.insert(name.clone(), labels.clone());
                self.compiler.set_namespace(name, labels);
            }
            None => {
                self.cluster.namespaces.remove(name);
                self.compiler.remove_namespace(name);
            }
        }
    }

    /// A pod of another node; none: it is gone.
    pub(crate) fn set_remote(&mut self, name: &ObjectRef, pod: Option<&PodFacts>) {
        let pod = pod.filter(|pod| !pod.ended).map(of_facts);
        if self.remote.get(name) == pod.as_ref() {
            return;
        }
        match &pod {
            Some(pod) => _ = self.remote.insert(name.clone(), pod.clone()),
            None => _ = self.remote.remove(name),
        }
        if !self.local.contains(name) {
            self.set_pod(name, pod);
        }
    }

    /// All nodes, and all of their addresses.
    pub(crate) fn set_nodes(&mut self, nodes: BTreeMap<ObjectName, BTreeSet<IpAddr>>) {
        if self.cluster.nodes == nodes {
            return;
        }
        self.is_changed = true;
        for gone in self.cluster.nodes.keys().filter(|name| !nodes.contains_key(*name)) {
            self.compiler.remove_node(gone);
        }
        for (name, addresses) in &nodes {
            if self.cluster.nodes.get(name) != Some(addresses) {
                self.compiler.set_node(name, addresses.clone());
            }
        }
        self.cluster.nodes = nodes;
    }

    fn set_pod(&mut self, name: &ObjectRef, pod: Option<policy::Pod>) {
        self.is_changed = true;
        match pod {
            Some(pod) => {
                self.cluster.pods.insert(name.clone(), pod.clone());
                self.compiler.set_pod(name, pod);
            }
            None => {
                self.cluster.pods.remove(name);
                self.compiler.remove_pod(name);
            }
        }
    }

    /// Whether there is something that [`Self::change`] would tell.
    pub(crate) const fn is_changed(&self) -> bool {
        self.is_changed && self.is_known
    }

    /// What a datapath is to be told, in which these pods of the node are to be open. One that has nothing (`is_new`) is told
    /// everything. None: it keeps what it has, as long as nothing is known.
    pub(crate) fn change(&mut self, own: &[PodRecord], is_new: bool) -> Option<Change> {
        self.set_local(own);
        if !self.is_known {
            return None;
        }
        self.is_changed = false;
        let change = self.compiler.commit();
        Some(if is_new { self.compiler.tables().whole() } else { change })
    }

    /// The last change has not arrived: it is tried again.
    pub(crate) const fn set_untold(&mut self) {
        self.is_changed = true;
    }

    fn set_local(&mut self, own: &[PodRecord]) {
        let pods: BTreeMap<ObjectRef, policy::Pod> = own.iter().map(of_record).collect();
        let gone: Vec<ObjectRef> =
            self.local.iter().filter(|name| !pods.contains_key(*name)).cloned().collect();
        for name in gone {
            self.local.remove(&name);
            let other = self.remote.get(&name).cloned();
            self.set_pod(&name, other);
        }
        for (name, pod) in pods {
            self.local.insert(name.clone());
            if self.cluster.pods.get(&name) != Some(&pod) {
                self.set_pod(&name, Some(pod));
            }
        }
    }

    /// What the datapath does with a flow, and why.
    pub(crate) fn explain(&self, flow: &Flow) -> policy::Explanation {
        self.compiler.explain(flow)
    }

    /// The objects.
    pub(crate) const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Which pod has an address.
    pub(crate) fn pod_at(&self, address: IpAddr) -> Option<&ObjectRef> {
        self.compiler.pod_at(address)
    }

    /// The name of the policy that a datapath knows by a number.
    pub(crate) fn policy(&self, number: u32) -> Option<&PolicyName> {
        self.compiler.tables().policy(number)
    }
}

/// The tables of objects as they would be.
pub(super) fn compiled(cluster: &Cluster) -> Compiler {
    let mut compiler = Compiler::new();
    cluster.namespaces.iter().for_each(|(name, labels)| compiler.set_namespace(name, labels.clone()));
    cluster.nodes.iter().for_each(|(name, addresses)| compiler.set_node(name, addresses.clone()));
    cluster.pods.iter().for_each(|(name, pod)| compiler.set_pod(name, pod.clone()));
    cluster.policies.values().for_each(|policy| compiler.set_policy(policy.clone()));
    compiler.commit();
    compiler
}

fn of_facts(pod: &PodFacts) -> policy::Pod {
    policy::Pod {
        labels: pod.labels.clone(),
        addresses: pod.addresses.iter().copied().collect(),
        ports: pod.ports.iter().filter_map(|port| named(&port.name, port.transport, port.number)).collect(),
        node: pod.node.parse().ok(),
    }
}

fn of_record(record: &PodRecord) -> (ObjectRef, policy::Pod) {
    let ports = record.spec.serving.ports.iter();
    let pod = policy::Pod {
        labels: record.metadata.labels.clone(),
        addresses: record.spec.pod_ips.iter().copied().collect(),
        ports: ports.filter_map(|port| named(&port.name, port.transport, port.number)).collect(),
        node: record.spec.node_name.parse().ok(),
    };
    let name = ObjectRef { namespace: record.metadata.namespace.clone(), name: record.metadata.name.clone() };
    (name, pod)
}

fn named(name: &str, transport: Transport, port: u16) -> Option<NamedPort> {
    let protocol = match transport {
        Transport::Tcp => Protocol::TCP,
        Transport::Udp => Protocol::UDP,
        Transport::Sctp => Protocol::SCTP,
    };
    (!name.is_empty()).then(|| NamedPort { name: name.to_owned(), protocol, port })
}
