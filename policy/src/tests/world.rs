//! A cluster three times: as the reference sees it, as the compiler does, and as somebody who was told the changes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use protocol::{Namespace, ObjectName, ObjectRef};

use crate::{
    Cluster, Compiler, Direction, Explanation, Flow, Labels, NamedPort, Outcome, Pod, Policy, PolicyName,
    Protocol, Tables, reference,
};

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) compiler: Compiler,
    pub(super) replica: Tables,
}

pub(super) fn pod_name(text: &str) -> ObjectRef {
    ObjectRef::parse(text).unwrap()
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn flow(source: &str, destination: &str, protocol: Protocol, port: u16) -> Flow {
    Flow { source: source.parse().unwrap(), destination: destination.parse().unwrap(), protocol, port }
}

impl World {
    pub(super) fn set_pod(&mut self, name: &ObjectRef, pod: &Pod) {
        self.cluster.pods.insert(name.clone(), pod.clone());
        self.compiler.set_pod(name, pod.clone());
    }

    /// A pod at an address, with these labels and named ports, on the node `n1`.
    pub(super) fn pod(
        &mut self,
        name: &str,
        address: &str,
        pairs: &[(&str, &str)],
        ports: &[(&str, Protocol, u16)],
    ) {
        let named = |(name, protocol, port): &(&str, Protocol, u16)| NamedPort {
            name: (*name).to_owned(),
            protocol: *protocol,
            port: *port,
        };
        let pod = Pod {
            labels: labels(pairs),
            addresses: [address.parse().unwrap()].into(),
            ports: ports.iter().map(named).collect(),
            node: Some("n1".parse().unwrap()),
        };
        self.set_pod(&pod_name(name), &pod);
    }

    pub(super) fn remove_pod(&mut self, name: &ObjectRef) {
        self.cluster.pods.remove(name);
        self.compiler.remove_pod(name);
    }

    pub(super) fn set_namespace(&mut self, name: &Namespace, labels: Labels) {
        self.cluster.namespaces.insert(name.clone(), labels.clone());
        self.compiler.set_namespace(name, labels);
    }

    pub(super) fn remove_namespace(&mut self, name: &Namespace) {
        self.cluster.namespaces.remove(name);
        self.compiler.remove_namespace(name);
    }

    pub(super) fn set_node(&mut self, name: &ObjectName, addresses: BTreeSet<IpAddr>) {
        self.cluster.nodes.insert(name.clone(), addresses.clone());
        self.compiler.set_node(name, addresses);
    }

    pub(super) fn remove_node(&mut self, name: &ObjectName) {
        self.cluster.nodes.remove(name);
        self.compiler.remove_node(name);
    }

    pub(super) fn set_policy(&mut self, policy: &Policy) {
        self.cluster.policies.insert(policy.name.clone(), policy.clone());
        self.compiler.set_policy(policy.clone());
    }

    pub(super) fn remove_policy(&mut self, name: &PolicyName) {
        self.cluster.policies.remove(name);
        self.compiler.remove_policy(name);
    }

    /// Commits, and tells the replica.
    pub(super) fn commit(&mut self) {
        let change = self.compiler.commit();
        let bytes = postcard::to_stdvec(&change).unwrap();
        self.replica.apply(&postcard::from_bytes(&bytes).unwrap());
        assert_eq!(&self.replica, self.compiler.tables());
    }

    /// What all three agree on.
    #[track_caller]
    pub(super) fn explain(&self, flow: &Flow) -> Explanation {
        let expected = reference::explain(&self.cluster, flow);
        let compiled = self.compiler.explain(flow);
        assert_eq!(compiled, expected, "{flow:?}");
        for (direction, decision) in
            [(Direction::Ingress, &expected.ingress), (Direction::Egress, &expected.egress)]
        {
            let allowed = match self.replica.decide(flow, direction) {
                Outcome::Rule(rule) => rule.allows(),
                Outcome::NoTable => false,
                Outcome::NoPod | Outcome::Itself | Outcome::OwnNode | Outcome::Unrestricted => true,
            };
            assert_eq!(allowed, decision.allowed, "{flow:?} {direction}");
        }
        expected
    }

    /// The same objects, compiled at once.
    #[track_caller]
    pub(super) fn equals_from_scratch(&self) {
        let mut fresh = Compiler::new();
        let cluster = &self.cluster;
        cluster.policies.values().for_each(|policy| fresh.set_policy(policy.clone()));
        cluster.pods.iter().for_each(|(name, pod)| fresh.set_pod(name, pod.clone()));
        cluster.namespaces.iter().for_each(|(name, labels)| fresh.set_namespace(name, labels.clone()));
        cluster.nodes.iter().for_each(|(name, addresses)| fresh.set_node(name, addresses.clone()));
        fresh.commit();
        assert_eq!(self.compiler.counts(), fresh.counts());
        assert_eq!(self.compiler.tables().counts(), fresh.tables().counts());
        assert_eq!(self.compiler.dump(), fresh.dump());
    }
}
