//! The specification, written down as plainly as can be: every decision looks at every policy.
//!
//! Nothing that forwards uses this. The compiled tables have to agree with it, which the tests try over generated histories;
//! and it is what to read to know what a policy means. The words are those of `networking/v1`, `NetworkPolicySpec`.

use std::net::IpAddr;

use protocol::ObjectRef;

use crate::cluster::{Cluster, Flow, Pod};
use crate::model::{Action, Direction, Peer, Place, Policy, PortRange, Ports, Rule};
use crate::verdict::{Decision, Explanation, Reason, RuleName};

/// Decides about a flow at both ends.
#[must_use]
pub fn explain(cluster: &Cluster, flow: &Flow) -> Explanation {
    let name = |address| cluster.pod_at(address).map(|(name, _)| name.clone());
    Explanation {
        source: name(flow.source),
        destination: name(flow.destination),
        egress: decide(cluster, flow, Direction::Egress),
        ingress: decide(cluster, flow, Direction::Ingress),
    }
}

/// Decides about a flow at one end.
#[must_use]
pub fn decide(cluster: &Cluster, flow: &Flow, direction: Direction) -> Decision {
    let peer = flow.peer(direction);
    let Some((subject_name, subject)) = cluster.pod_at(flow.subject(direction)) else {
        return Decision::allowed(Reason::NoPod);
    };
    if cluster.pod_at(peer).is_some_and(|(name, _)| name == subject_name) {
        return Decision::allowed(Reason::Itself);
    }
    let peer_node = cluster.node_at(peer).filter(|_| cluster.pod_at(peer).is_none());
    if peer_node.is_some() && peer_node == subject.node.as_ref() {
        return Decision::allowed(Reason::OwnNode);
    }
    asked(cluster, flow, direction, subject_name)
}

/// Tier by tier, what the policies say that select the pod.
fn asked(cluster: &Cluster, flow: &Flow, direction: Direction, subject: &ObjectRef) -> Decision {
    let policies = cluster.selecting(subject, direction);
    let mut passed = None;
    for (index, policy) in policies.iter().enumerate() {
        let tier = policy.place.tier;
        for (rule_index, rule) in (0..).zip(policy.rules(direction).unwrap_or_default()) {
            if passed == Some(tier) || !matches(cluster, flow, direction, rule) {
                continue;
            }
            let name = || RuleName {
                policy: policy.name.clone(),
                direction,
                index: rule_index,
                name: rule.name.clone(),
            };
            match rule.action {
                Action::Allow => return Decision::allowed(Reason::Rule(name())),
                Action::Deny => return Decision::denied(Reason::Rule(name())),
                Action::Pass => passed = Some(tier),
            }
        }
        // After the last of the pod's NetworkPolicies: it is isolated, and what none of them allowed is denied.
        let is_isolating = |policy: &&Policy| policy.place == Place::NETWORK_POLICIES;
        if is_isolating(policy) && !policies.get(index + 1).is_some_and(is_isolating) {
            let isolating = policies.iter().copied().filter(is_isolating);
            return Decision::denied(Reason::Isolated(isolating.map(|p| p.name.clone()).collect()));
        }
    }
    Decision::allowed(Reason::Unrestricted)
}

fn matches(cluster: &Cluster, flow: &Flow, direction: Direction, rule: &Rule) -> bool {
    let destination = cluster.pod_at(flow.destination).map(|(_, pod)| pod);
    if rule.peers.is_empty() {
        return ports_match(&rule.ports, flow, destination);
    }
    rule.peers.iter().any(|peer| match peer {
        Peer::Pods(_) => {
            peer_matches(cluster, flow.peer(direction), peer) && ports_match(&rule.ports, flow, destination)
        }
        // A port's name belongs to a pod, an address has none: behind a block, names of the peer's ports mean nothing.
        Peer::Block(_) => {
            let destination = destination.filter(|_| direction == Direction::Ingress);
            peer_matches(cluster, flow.peer(direction), peer) && ports_match(&rule.ports, flow, destination)
        }
    })
}

fn peer_matches(cluster: &Cluster, address: IpAddr, peer: &Peer) -> bool {
    match peer {
        Peer::Pods(pods) => {
            cluster.pod_at(address).is_some_and(|(name, pod)| cluster.selects(pods, name, pod))
        }
        Peer::Block(block) => {
            block.cidr.contains(&address) && !block.except.iter().any(|except| except.contains(&address))
        }
    }
}

fn ports_match(ports: &[Ports], flow: &Flow, destination: Option<&Pod>) -> bool {
    ports.is_empty()
        || ports.iter().any(|item| item.protocol == flow.protocol && in_range(item, flow, destination))
}

fn in_range(item: &Ports, flow: &Flow, destination: Option<&Pod>) -> bool {
    match &item.range {
        PortRange::Any => true,
        PortRange::Numbers(first, last) => (*first..=*last).contains(&flow.port),
        PortRange::Named(name) => destination.is_some_and(|pod| {
            pod.ports
                .iter()
                .any(|port| port.name == *name && port.protocol == item.protocol && port.port == flow.port)
        }),
    }
}
