//! Addresses behind names, for whoever asks about a packet to one.

use std::net::IpAddr;

use protocol::link::Transport;
use protocol::message::PodRef;
use protocol::{Namespace, ObjectName};
use store::services::{ObjectRef, Spec};

use super::super::node::Control;

/// Cluster address and port of a service: of its port of that name or number, else of the first of the protocol. Where
/// there is no protocol the port is 0.
pub(crate) fn place_of(
    control: &Control,
    namespace: &Namespace,
    name: &ObjectName,
    port: Option<&str>,
    transport: Option<Transport>,
) -> Result<(IpAddr, u16), String> {
    let object = ObjectRef { namespace: namespace.clone(), name: name.clone() };
    let table = control.services.table.lock();
    let spec = table.spec(&object).ok_or_else(|| format!("service {object} does not exist"))?;
    let address = spec.cluster_ip.ok_or_else(|| format!("service {object} has no cluster address"))?;
    let Some(transport) = transport else { return Ok((IpAddr::V4(address), 0)) };
    let index = port_of(spec, port, transport)?;
    let number = spec.ports.get(index).map_or(0, |port| port.number);
    Ok((IpAddr::V4(address), number))
}

/// Addresses and ports behind a service's port, found as [`place_of`] does: those of its ready endpoints.
pub(crate) fn backends_of(
    control: &Control,
    namespace: &Namespace,
    name: &ObjectName,
    port: Option<&str>,
    transport: Transport,
) -> Result<Vec<(IpAddr, u16)>, String> {
    let object = ObjectRef { namespace: namespace.clone(), name: name.clone() };
    let table = control.services.table.lock();
    let spec = table.spec(&object).ok_or_else(|| format!("service {object} does not exist"))?;
    let index = port_of(spec, port, transport)?;
    let endpoints = table.endpoints_of(&object).into_iter().filter(|endpoint| endpoint.ready);
    Ok(endpoints.filter_map(|endpoint| Some((endpoint.address, (*endpoint.ports.get(index)?)?))).collect())
}

/// The index of a service's port.
fn port_of(spec: &Spec, port: Option<&str>, transport: Transport) -> Result<usize, String> {
    let is_meant = |word: &str, name: &str, number: u16| name == word || number.to_string() == word;
    let mut ports = spec.ports.iter();
    let found = ports.position(|known| {
        known.transport == transport && port.is_none_or(|word| is_meant(word, &known.name, known.number))
    });
    let protocol = store::services::transport_word(transport);
    found.ok_or_else(|| match port {
        Some(port) => format!("service {} has no {protocol} port {port}", spec.object),
        None => format!("service {} has no {protocol} port", spec.object),
    })
}

/// The address of a pod, on whichever node.
pub(crate) fn pod_address(control: &Control, pod: &PodRef) -> Option<IpAddr> {
    let object = ObjectRef { namespace: pod.namespace.clone(), name: pod.name.clone() };
    control.services.table.lock().address_of(&object)
}
