//! What a policy does in the cluster as it is: whom it selects, and what in it is about nothing.
//!
//! None of this makes a policy wrong: the pod that it waits for may come. But a misspelt label or port name looks just like that.

use std::collections::BTreeSet;

use protocol::ObjectRef;
use protocol::problem::Problem;

use crate::cluster::{Cluster, Pod};
use crate::model::{Direction, Peer, Pods, Policy, PolicyName, PortRange, Ports};

/// See the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyStatus {
    /// The pods it is about.
    pub selected: BTreeSet<ObjectRef>,
    /// By field, what matches nothing at the moment.
    pub notes: Vec<Problem>,
}

/// The status of a policy, by looking at every pod. None: there is no such policy.
#[must_use]
pub fn status(cluster: &Cluster, name: &PolicyName) -> Option<PolicyStatus> {
    let policy = cluster.policies.get(name)?;
    let selected = pods(cluster, &policy.subject);
    let mut notes = Vec::new();
    if selected.is_empty() {
        note(&mut notes, "spec.podSelector", "selects no pod");
    }
    rules(cluster, policy, Direction::Ingress, &selected, &mut notes);
    rules(cluster, policy, Direction::Egress, &selected, &mut notes);
    Some(PolicyStatus { selected: selected.into_iter().map(|(name, _)| name.clone()).collect(), notes })
}

type Named<'c> = (&'c ObjectRef, &'c Pod);

fn rules(
    cluster: &Cluster,
    policy: &Policy,
    direction: Direction,
    selected: &[Named<'_>],
    notes: &mut Vec<Problem>,
) {
    let peers_field = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    for (index, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
        let path = format!("spec.{direction}[{index}]");
        let mut peers = Vec::new();
        for (index, peer) in rule.peers.iter().enumerate() {
            let Peer::Pods(selectors) = peer else { continue };
            let matched = pods(cluster, selectors);
            if matched.is_empty() {
                note(notes, format!("{path}.{peers_field}[{index}]"), "selects no pod");
            }
            peers.extend(matched);
        }
        if rule.peers.is_empty() {
            peers.extend(&cluster.pods);
        }
        let destinations = match direction {
            Direction::Ingress => selected,
            Direction::Egress => &peers,
        };
        for (index, item) in rule.ports.iter().enumerate() {
            if let PortRange::Named(name) = &item.range
                && !destinations.iter().any(|(_, pod)| has_port(pod, item, name))
            {
                let why = format!("no pod that it is about has a port of {} with this name", item.protocol);
                note(notes, format!("{path}.ports[{index}].port"), why);
            }
        }
    }
}

fn has_port(pod: &Pod, item: &Ports, name: &str) -> bool {
    pod.ports.iter().any(|port| port.name == name && port.protocol == item.protocol)
}

fn pods<'c>(cluster: &'c Cluster, selectors: &Pods) -> Vec<Named<'c>> {
    cluster.pods.iter().filter(|(name, pod)| cluster.selects(selectors, name, pod)).collect()
}

fn note(notes: &mut Vec<Problem>, path: impl Into<String>, text: impl Into<String>) {
    notes.push(Problem { path: path.into(), text: text.into() });
}
