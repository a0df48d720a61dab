//! The pods of this node, as services see them.

use std::collections::BTreeMap;

use protocol::object::{ContainerPort, Pod, PodPhase};
use store::services::{NamedPort, ObjectRef, PodFacts, Table};

use super::super::inventory::Life;
use super::super::node::Control;
use super::super::pods;

/// Of all pods of this node; probes and the watch for exits follow them.
pub(super) fn facts(control: &Control) -> BTreeMap<ObjectRef, PodFacts> {
    let services = &control.services;
    let pods = pods::list(control, None);
    services.probes.follow(control, &pods);
    if let Some(exits) = &services.exits {
        exits.follow(control.config.pods_dir().as_path(), &pods);
    }
    pods.into_iter()
        .filter_map(|pod| of_pod(control, pod))
        .map(|facts| (facts.object.clone(), facts))
        .collect()
}

fn of_pod(control: &Control, pod: Pod) -> Option<PodFacts> {
    let reference = protocol::message::PodRef { namespace: pod.metadata.namespace, name: pod.metadata.name };
    let life = control.inventory.lock().get(&reference)?.life;
    let port =
        |port: ContainerPort| NamedPort { name: port.name, transport: port.transport, number: port.number };
    let host_ports = pods::host_ports::of(&pod.spec.serving);
    Some(PodFacts {
        object: ObjectRef { namespace: reference.namespace, name: reference.name },
        labels: pod.metadata.labels,
        addresses: pod.spec.pod_ips,
        node: control.config.node.clone(),
        zone: control.config.zone.clone(),
        ready: pod.status.ready,
        terminating: life == Life::Deleting,
        // One that is being made has its address, but nobody may be sent there yet; the record says Pending.
        ended: matches!(pod.status.phase, PodPhase::Succeeded | PodPhase::Failed),
        ports: pod.spec.serving.ports.into_iter().map(port).collect(),
        weight: pod.spec.serving.weight.unwrap_or(1),
        host_ports,
        hostname: pod.spec.hostname,
        subdomain: pod.spec.subdomain,
    })
}

/// These are all pods of `node`.
pub(super) fn put(table: &mut Table, node: &str, facts: &BTreeMap<ObjectRef, PodFacts>) {
    let gone: Vec<ObjectRef> = table.pods_of(node).filter(|pod| !facts.contains_key(*pod)).cloned().collect();
    gone.iter().for_each(|pod| table.remove_pod(pod));
    facts.values().cloned().for_each(|pod| table.put_pod(pod));
}
